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
use replication::asking::{PATIENCE_MS, Question};
use replication::error::Refusal;
use replication::partition::{Partition, Reader};
use replication::replicas::Replicas;
use storage::log::{FoundOffset, Moment};

use crate::api::data::leader::{ask_each, find};
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

/// What one partition is asked.
#[derive(Clone, Copy)]
struct Lookup {
    moment: Moment,
    reader: Reader,
    epoch: Option<LeaderEpoch>,
    /// Version 0: before which time, and how many at most.
    old_style: Option<(i64, usize)>,
}

/// What it says.
enum Found {
    Offset(Option<FoundOffset>),
    OldStyle(Vec<i64>),
}

/// Looks into indexes and, for timestamps, into records: may sleep on the disk.
pub(crate) async fn answer(
    context: &Context,
    replicas: &Arc<Replicas>,
    image: &Arc<Image>,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let version = context.version;
    let twice = duplicates(&request);
    let each = request.topics.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|asked| (topic.name.as_str(), asked))
    });
    let found = each.map(|(topic, asked)| {
        if version > 0 && twice.contains(&(topic, asked.partition_index)) {
            return Err(ErrorCode::InvalidRequest);
        }
        let lookup = Lookup::of(version, &request, asked)?;
        let partition = find(replicas, image, topic, asked.partition_index)
            .map_err(|refusal| told(version, &refusal))?;
        // Kafka: how many is looked at last, and then it is a failure.
        if version == 0 && asked.max_num_offsets < 0 {
            return Err(ErrorCode::UnknownServerError);
        }
        Ok(Question {
            partition,
            may_sleep: lookup.may_sleep(),
            ask: move |it: &Partition| lookup.run(it),
        })
    });
    let found = found.collect();
    let mut answers = ask_each(found, PATIENCE_MS, |refusal| told(version, &refusal))
        .await
        .into_iter();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().zip(&mut answers);
        let partitions = partitions.map(|(asked, found)| tell(version, asked, found));
        ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
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

impl Lookup {
    fn of(
        version: i16,
        request: &ListOffsetsRequest,
        asked: &ListOffsetsPartition,
    ) -> Result<Lookup, ErrorCode> {
        let moment = moment(version, asked.timestamp).ok_or(ErrorCode::UnsupportedVersion)?;
        // Kafka: it is not looked at before it is used, and then it is a failure.
        if request.replica_id.0 == CONSUMER && !(0..=1).contains(&request.isolation_level) {
            return Err(ErrorCode::UnknownServerError);
        }
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
        let offsets_max = usize::try_from(asked.max_num_offsets).unwrap_or(0);
        Ok(Lookup {
            moment,
            reader,
            epoch: Some(asked.current_leader_epoch)
                .filter(|epoch| *epoch != -1)
                .map(LeaderEpoch),
            old_style: (version == 0).then_some((asked.timestamp, offsets_max)),
        })
    }

    fn may_sleep(&self) -> bool {
        let is_in_memory = matches!(
            self.moment,
            Moment::Latest | Moment::Earliest | Moment::EarliestLocal
        );
        self.old_style.is_some() || !is_in_memory
    }

    fn run(self, partition: &Partition) -> Result<Found, Refusal> {
        match self.old_style {
            Some((timestamp, offsets_max)) => {
                old_style(partition, self.reader, timestamp, offsets_max).map(Found::OldStyle)
            }
            None => partition
                .find_offset(self.moment, self.reader, self.epoch)
                .map(Found::Offset),
        }
    }
}

fn told(version: i16, refusal: &Refusal) -> ErrorCode {
    match errors::replication_code(refusal) {
        ErrorCode::OffsetNotAvailable if version < KNOWS_NOT_AVAILABLE_SINCE => {
            ErrorCode::LeaderNotAvailable
        }
        code => code,
    }
}

fn tell(
    version: i16,
    asked: &ListOffsetsPartition,
    found: Result<Found, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let blank = ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
    let without_offset = || blank.clone().with_timestamp(-1).with_offset(-1);
    match found {
        Err(code) if version == 0 => blank.with_error_code(code.code()),
        Err(code) => without_offset().with_error_code(code.code()),
        Ok(Found::OldStyle(offsets)) => blank.with_old_style_offsets(offsets),
        Ok(Found::Offset(None)) => without_offset(),
        Ok(Found::Offset(Some(FoundOffset {
            timestamp_ms,
            offset,
            leader_epoch,
        }))) => {
            let told = blank.with_timestamp(timestamp_ms).with_offset(offset.0);
            match leader_epoch {
                Some(epoch) if version >= EPOCHS_SINCE => told.with_leader_epoch(epoch.0),
                _ => told,
            }
        }
    }
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
fn old_style(
    partition: &Partition,
    reader: Reader,
    timestamp: i64,
    offsets_max: usize,
) -> Result<Vec<i64>, Refusal> {
    // The look at the end checks the leadership as well.
    let end = partition.find_offset(Moment::Latest, reader, None)?;
    let end = end.map_or(0, |found| found.offset.0);
    let starts = partition.log().segment_starts()?;
    let starts: Vec<_> = starts
        .into_iter()
        .map(|(start, ms)| (start.0, ms))
        .collect();
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
