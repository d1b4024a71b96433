//! ListOffsets: which offset belongs to a moment; versions 0 to 9.
//!
//! Kafka: `KafkaApis.handleListOffsetRequest`, with version 0's list of segment starts.

use std::collections::HashSet;
use std::sync::Arc;

use protocol::ids::LeaderEpoch;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::list_offsets_request::ListOffsetsPartition;
use protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use replication::error::Refusal;
use replication::partition::{Partition, Reader};
use replication::replicas::Replicas;
use storage::log::{FoundOffset, Moment};

use crate::api::data::leader::{ask, ask_disk, find};
use crate::api::errors;
use crate::api::request::Context;
use crate::metadata::Image;

const CONSUMER: i32 = -1;
const DEBUGGING: i32 = -2;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// Since this version a client understands that an offset is not known yet.
const KNOWS_NOT_AVAILABLE_SINCE: i16 = 5;
/// Since this version answers carry leader epochs.
const EPOCHS_SINCE: i16 = 4;

/// Looks into indexes and, for timestamps, into records: may sleep on the disk.
pub(crate) async fn answer(
    context: &Context,
    replicas: &Arc<Replicas>,
    image: &Arc<Image>,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let twice = duplicates(&request);
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let index = asked.partition_index;
            let is_twice = context.version > 0
                && request.isolation_level <= 1
                && twice.contains(&(&*topic.name, index));
            let found = if is_twice {
                Err(ErrorCode::InvalidRequest)
            } else {
                find_one(
                    context.version,
                    replicas,
                    image,
                    &request,
                    &topic.name,
                    asked,
                )
                .await
            };
            let blank = ListOffsetsPartitionResponse::default().with_partition_index(index);
            partitions.push(match found {
                Ok(found) => found.with_partition_index(index),
                Err(code) if context.version == 0 => blank.with_error_code(code.code()),
                Err(code) => blank
                    .with_error_code(code.code())
                    .with_timestamp(-1)
                    .with_offset(-1),
            });
        }
        topics.push(
            ListOffsetsTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions),
        );
    }
    ListOffsetsResponse::default().with_topics(topics)
}

fn duplicates(request: &ListOffsetsRequest) -> HashSet<(&str, i32)> {
    let mut seen = HashSet::new();
    let mut twice = HashSet::new();
    for topic in &request.topics {
        for asked in &topic.partitions {
            if !seen.insert((&*topic.name, asked.partition_index)) {
                twice.insert((&**topic.name, asked.partition_index));
            }
        }
    }
    twice
}

async fn find_one(
    version: i16,
    replicas: &Replicas,
    image: &Image,
    request: &ListOffsetsRequest,
    topic: &str,
    asked: &ListOffsetsPartition,
) -> Result<ListOffsetsPartitionResponse, ErrorCode> {
    // Kafka: neither is looked for before it is used, and then it is a failure.
    if !(0..=1).contains(&request.isolation_level) || (version == 0 && asked.max_num_offsets < 0) {
        return Err(ErrorCode::UnknownServerError);
    }
    let moment = moment(version, asked.timestamp).ok_or(ErrorCode::UnsupportedVersion)?;
    let code = |refusal: Refusal| match errors::replication_code(&refusal) {
        ErrorCode::OffsetNotAvailable if version < KNOWS_NOT_AVAILABLE_SINCE => {
            ErrorCode::LeaderNotAvailable
        }
        code => code,
    };
    let partition = find(replicas, image, topic, asked.partition_index).map_err(code)?;
    let reader = match request.replica_id.0 {
        CONSUMER => Reader::Consumer {
            committed_only: request.isolation_level == 1,
            leader_only: true,
        },
        DEBUGGING => Reader::Local,
        id => Reader::Follower {
            id: protocol::ids::BrokerId(id),
            log_start: (-1).into(),
        },
    };
    let epoch = Some(asked.current_leader_epoch)
        .filter(|epoch| *epoch != -1)
        .map(LeaderEpoch);
    let blank = ListOffsetsPartitionResponse::default();
    if version == 0 {
        let offsets_max = usize::try_from(asked.max_num_offsets).unwrap_or(0);
        let offsets = old_style(partition, asked.timestamp, offsets_max, reader)
            .await
            .map_err(code)?;
        return Ok(blank.with_old_style_offsets(offsets));
    }
    let found = match moment {
        // These three are known without looking at the disk.
        Moment::Latest | Moment::Earliest | Moment::EarliestLocal => {
            ask(&partition, move |it| it.find_offset(moment, reader, epoch))
                .await
                .map_err(code)?
        }
        Moment::MaxTimestamp | Moment::LatestTiered | Moment::At(_) => {
            let found = ask_disk(&partition, move |it| it.find_offset(moment, reader, epoch)).await;
            found.map_err(code)?
        }
    };
    Ok(match found {
        None => blank.with_timestamp(-1).with_offset(-1),
        Some(FoundOffset {
            timestamp_ms,
            offset,
            leader_epoch,
        }) => {
            let told = blank.with_timestamp(timestamp_ms).with_offset(offset.0);
            match leader_epoch {
                Some(epoch) if version >= EPOCHS_SINCE => told.with_leader_epoch(epoch.0),
                _ => told,
            }
        }
    })
}

/// What a timestamp stands for in this version; `None` where it stands for nothing.
fn moment(version: i16, timestamp: i64) -> Option<Moment> {
    let (moment, since) = match timestamp {
        LATEST => (Moment::Latest, 0),
        EARLIEST => (Moment::Earliest, 0),
        -3 => (Moment::MaxTimestamp, 7),
        -4 => (Moment::EarliestLocal, 8),
        -5 => (Moment::LatestTiered, 9),
        0.. => (Moment::At(timestamp), 0),
        _ => return None,
    };
    (version >= since).then_some(moment)
}

/// Version 0: the starts of segments that were changed last before a moment, newest first.
///
/// Kafka: `Partition.legacyFetchOffsetsForTimestamp`: a consumer hears of nothing past the
/// watermark, but of the watermark itself in its place.
async fn old_style(
    partition: Arc<Partition>,
    timestamp: i64,
    offsets_max: usize,
    reader: Reader,
) -> Result<Vec<i64>, Refusal> {
    let (starts, end) = ask_disk(&partition, move |it| {
        // The look at the end checks the leadership as well.
        let end = it
            .find_offset(Moment::Latest, reader, None)?
            .map_or(0, |found| found.offset.0);
        let starts = it.log().segment_starts()?;
        Ok((
            starts
                .into_iter()
                .map(|(start, ms)| (start.0, ms))
                .collect::<Vec<_>>(),
            end,
        ))
    })
    .await?;
    Ok(choose_old_style(&starts, end, timestamp, offsets_max))
}

/// `starts` are first offsets with their times of last change, oldest first, the log's end last.
fn choose_old_style(
    starts: &[(i64, i64)],
    end: i64,
    timestamp: i64,
    offsets_max: usize,
) -> Vec<i64> {
    let count = match timestamp {
        LATEST => starts.len(),
        EARLIEST => 1,
        _ => starts
            .iter()
            .rposition(|(_, ms)| *ms <= timestamp)
            .map_or(0, |last| last + 1),
    };
    let newest_first = starts.iter().take(count).rev().map(|(start, _)| *start);
    let offsets: Vec<i64> = newest_first.take(offsets_max).collect();
    if !offsets.iter().any(|offset| *offset > end) {
        return offsets;
    }
    let beneath = offsets.into_iter().skip_while(|offset| *offset > end);
    std::iter::once(end).chain(beneath).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_0_tells_segment_starts_newest_first() {
        let starts = [(0, 100), (10, 200), (25, 300)];
        assert_eq!(choose_old_style(&starts, 25, LATEST, 5), [25, 10, 0]);
        assert_eq!(choose_old_style(&starts, 25, LATEST, 1), [25]);
        assert_eq!(choose_old_style(&starts, 25, EARLIEST, 5), [0]);
        assert_eq!(choose_old_style(&starts, 25, 250, 5), [10, 0]);
        assert_eq!(choose_old_style(&starts, 25, 50, 5), [0_i64; 0]);
    }

    #[test]
    fn version_0_tells_consumers_the_watermark_in_place_of_what_lies_past_it() {
        let starts = [(0, 100), (10, 200), (25, 300)];
        assert_eq!(choose_old_style(&starts, 12, LATEST, 5), [12, 10, 0]);
    }

    #[test]
    fn special_timestamps_need_the_version_that_brought_them() {
        assert_eq!(moment(6, -3), None);
        assert_eq!(moment(7, -3), Some(Moment::MaxTimestamp));
        assert_eq!(moment(8, -5), None);
        assert_eq!(moment(9, -6), None);
        assert_eq!(moment(0, 5), Some(Moment::At(5)));
    }
}
