//! OffsetCommit: where a group's members have read to.
//!
//! Kafka: `KafkaApis.handleOffsetCommitRequest`. Unknown partitions are sorted out first; if
//! nothing else is left, no group is looked at. Version 0 writes to ZooKeeper.

use std::collections::HashMap;
use std::sync::Arc;

use groups::Refusal;
use groups::commit::CommitRequest;
use groups::offsets::Committed;
use protocol::ids::TopicPartition;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use protocol::messages::{OffsetCommitRequest, OffsetCommitResponse, TopicName};
use znodes::store::Store;

use crate::api::groups::{code, text, text_or_none, zookeeper_offsets};
use crate::api::request::Context;
use crate::coordination::Groups;
use crate::metadata::Image;

/// The retention that stands for the broker's own.
const DEFAULT_RETENTION_MS: i64 = -1;
/// The commit time that stands for now.
const DEFAULT_TIMESTAMP: i64 = -1;

pub(crate) async fn answer(
    context: &Context,
    image: &Image,
    groups: &Arc<Groups>,
    store: &dyn Store,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let mut verdicts = Verdicts::default();
    let mut known: Vec<(TopicPartition, &OffsetCommitRequestPartition)> = Vec::new();
    // Kafka: but for version 0 what is asked is a map: of a partition that is named more often
    // only the last counts.
    let mut places: HashMap<TopicPartition, usize> = HashMap::new();
    for topic in &request.topics {
        if image.topic(&topic.name.0).is_none() {
            verdicts.topic(&topic.name);
        }
        let name = text(&topic.name.0);
        for partition in &topic.partitions {
            let number = partition.partition_index;
            if image.partition(&name, number).is_some() {
                let tp = TopicPartition::new(Arc::clone(&name), number);
                match places.get(&tp) {
                    Some(place) if context.version > 0 => known[*place].1 = partition,
                    _ => {
                        places.insert(tp.clone(), known.len());
                        known.push((tp, partition));
                    }
                }
            } else {
                verdicts.add(
                    &topic.name,
                    number,
                    ErrorCode::UnknownTopicOrPartition.code(),
                );
            }
        }
    }
    let codes = if known.is_empty() {
        Vec::new()
    } else if context.version == 0 {
        commit_to_zookeeper(groups, store, &request.group_id.0, &known).await
    } else {
        let offsets = known.iter().map(|(tp, partition)| {
            (
                tp.clone(),
                committed(partition, request.retention_time_ms, groups.now().wall_ms),
            )
        });
        let commit = CommitRequest {
            group: text(&request.group_id.0),
            generation: request.generation_id_or_member_epoch,
            member_id: text(&request.member_id),
            group_instance_id: text_or_none(request.group_instance_id.as_ref()),
            transaction: None,
            offsets: offsets.collect(),
        };
        groups.commit(commit).await.into_iter().map(code).collect()
    };
    for ((tp, _), code) in known.iter().zip(codes) {
        let name = TopicName(crate::api::groups::wire(&tp.topic));
        verdicts.add(&name, tp.partition, code);
    }
    OffsetCommitResponse::default().with_topics(verdicts.topics)
}

fn committed(
    partition: &OffsetCommitRequestPartition,
    retention_ms: i64,
    now_ms: i64,
) -> Committed {
    Committed {
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.as_deref().unwrap_or("").into(),
        commit_timestamp: match partition.commit_timestamp {
            DEFAULT_TIMESTAMP => now_ms,
            told => told,
        },
        expire_timestamp: match retention_ms {
            DEFAULT_RETENTION_MS => None,
            told => Some(now_ms.saturating_add(told)),
        },
    }
}

/// Of a partition that is named more often the last offset stays, so it alone is written.
async fn commit_to_zookeeper(
    groups: &Groups,
    store: &dyn Store,
    group: &str,
    known: &[(TopicPartition, &OffsetCommitRequestPartition)],
) -> Vec<i16> {
    let length_max = groups.config().offset_metadata_max;
    let is_short = |partition: &OffsetCommitRequestPartition| {
        let note = partition.committed_metadata.as_deref().unwrap_or("");
        note.encode_utf16().count() <= length_max
    };
    let mut places = HashMap::new();
    let mut offsets: Vec<(&TopicPartition, i64)> = Vec::new();
    for (tp, partition) in known.iter().filter(|(_, partition)| is_short(partition)) {
        let place = *places.entry(tp).or_insert_with(|| {
            offsets.push((tp, 0));
            offsets.len() - 1
        });
        offsets[place].1 = partition.committed_offset;
    }
    let verdicts = zookeeper_offsets::store_offsets(store, group, &offsets).await;
    let too_large = crate::api::errors::of_group(Refusal::OffsetMetadataTooLarge);
    let code = |(tp, partition): &(TopicPartition, &OffsetCommitRequestPartition)| {
        if !is_short(partition) {
            return too_large.code();
        }
        let written = places.get(tp).and_then(|place| verdicts.get(*place));
        let written = written
            .copied()
            .unwrap_or(Err(ErrorCode::UnknownServerError));
        written.err().unwrap_or(ErrorCode::None).code()
    };
    known.iter().map(code).collect()
}

/// Answers by topic, in the order topics were first mentioned.
#[derive(Default)]
struct Verdicts {
    topics: Vec<OffsetCommitResponseTopic>,
    places: HashMap<TopicName, usize>,
}

impl Verdicts {
    fn topic(&mut self, name: &TopicName) -> &mut OffsetCommitResponseTopic {
        let place = *self.places.entry(name.clone()).or_insert_with(|| {
            self.topics
                .push(OffsetCommitResponseTopic::default().with_name(name.clone()));
            self.topics.len() - 1
        });
        &mut self.topics[place]
    }

    fn add(&mut self, name: &TopicName, partition: i32, code: i16) {
        let entry = OffsetCommitResponsePartition::default()
            .with_partition_index(partition)
            .with_error_code(code);
        self.topic(name).partitions.push(entry);
    }
}
