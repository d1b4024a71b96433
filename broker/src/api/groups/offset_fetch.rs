//! OffsetFetch: where a group has read to.
//!
//! Kafka: `KafkaApis.handleOffsetFetchRequest`. Version 0 reads from ZooKeeper, up to version 7
//! one group is asked for, from 8 on many. Versions without a code for the whole answer (1) hear
//! of trouble with the group in an answer without topics.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use groups::Refusal;
use groups::offsets::Committed;
use protocol::StrBytes;
use protocol::ids::TopicPartition;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use znodes::store::Store;

use crate::api::again::Again;
use crate::api::groups::{code, text, wire, zookeeper_offsets};
use crate::api::request::Context;
use crate::coordination::Groups;
use crate::coordination::verbs::Asked;
use crate::metadata::Image;

/// First version with a list of groups.
const GROUPS_FROM: i16 = 8;
/// First version with a code for the whole answer.
const TOP_LEVEL_FROM: i16 = 2;

/// A partition of the answer besides what was noted with its offset.
const PARTITION_BYTES: usize = 20;

/// What stands for no offset.
const NO_OFFSET: i64 = -1;

pub(crate) async fn answer(
    context: &Context,
    image: &Image,
    groups: &Groups,
    store: &dyn Store,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    if context.version == 0 {
        let topics = request.topics.unwrap_or_default();
        return fetch_from_zookeeper(image, store, &request.group_id.0, topics).await;
    }
    let require_stable = request.require_stable;
    if context.version >= GROUPS_FROM {
        let mut again = Again::new();
        let each = request.groups.into_iter().map(|group| {
            let id = group.group_id;
            if !again.may_tell(&id) {
                return OffsetFetchResponseGroup::default()
                    .with_group_id(id)
                    .with_error_code(ErrorCode::InvalidRequest.code());
            }
            let asked = group.topics.map(|topics| {
                topics
                    .into_iter()
                    .map(|topic| (topic.name, topic.partition_indexes))
                    .collect()
            });
            let (code, topics) = fetch(groups, &id.0, asked, require_stable);
            again.note(id.clone(), topics.iter().map(bytes).sum());
            OffsetFetchResponseGroup::default()
                .with_group_id(id)
                .with_topics(topics)
                .with_error_code(code)
        });
        return OffsetFetchResponse::default().with_groups(each.collect());
    }
    let asked = request.topics.map(|topics| {
        topics
            .into_iter()
            .map(|topic| (topic.name, topic.partition_indexes))
            .collect()
    });
    let (code, topics) = fetch(groups, &request.group_id.0, asked, require_stable);
    let written =
        OffsetFetchResponse::default().with_topics(topics.into_iter().map(older).collect());
    if context.version >= TOP_LEVEL_FROM {
        written.with_error_code(code)
    } else {
        written
    }
}

/// What the offsets of one topic take on the wire, about.
fn bytes(topic: &OffsetFetchResponseTopics) -> usize {
    let partitions = topic.partitions.iter().map(|partition| {
        PARTITION_BYTES + partition.metadata.as_ref().map_or(0, |note| note.len())
    });
    topic.name.0.len() + partitions.sum::<usize>()
}

/// One group's offsets, by topic; `None` asks for all.
fn fetch(
    groups: &Groups,
    group: &str,
    asked: Option<Vec<(TopicName, Vec<i32>)>>,
    require_stable: bool,
) -> (i16, Vec<OffsetFetchResponseTopics>) {
    let asked = match asked {
        None => Asked::All,
        Some(topics) => Asked::Partitions(each_once(topics.into_iter())),
    };
    match groups.fetch(group, asked, require_stable) {
        Ok(fetched) => {
            let told = fetched.iter().map(|(tp, found)| (tp, told(found.as_ref())));
            (ErrorCode::None.code(), by_topic(told))
        }
        Err(refusal) => (code::<()>(Err(refusal)), Vec::new()),
    }
}

/// Kafka: a map, so a partition that is named more often is told once.
fn each_once(topics: impl Iterator<Item = (TopicName, Vec<i32>)>) -> Vec<TopicPartition> {
    let mut named = HashSet::new();
    let all = topics.flat_map(|(name, numbers)| {
        let name = text(&name.0);
        let tp = move |number| TopicPartition::new(Arc::clone(&name), number);
        numbers.into_iter().map(tp)
    });
    all.filter(|tp| named.insert(tp.clone())).collect()
}

fn by_topic<'a>(
    told: impl Iterator<Item = (&'a TopicPartition, OffsetFetchResponsePartitions)>,
) -> Vec<OffsetFetchResponseTopics> {
    let mut topics: Vec<OffsetFetchResponseTopics> = Vec::new();
    let mut places = HashMap::new();
    for (tp, partition) in told {
        let place = *places.entry(&tp.topic).or_insert_with(|| {
            let name = TopicName(wire(&tp.topic));
            topics.push(OffsetFetchResponseTopics::default().with_name(name));
            topics.len() - 1
        });
        topics[place]
            .partitions
            .push(partition.with_partition_index(tp.partition));
    }
    topics
}

fn told(found: Result<&Option<Committed>, &Refusal>) -> OffsetFetchResponsePartitions {
    match found {
        Ok(found) => partition(found.as_ref()),
        Err(refusal) => partition(None).with_error_code(code::<()>(Err(*refusal))),
    }
}

fn partition(found: Option<&Committed>) -> OffsetFetchResponsePartitions {
    let partition = OffsetFetchResponsePartitions::default();
    match found {
        None => partition
            .with_committed_offset(NO_OFFSET)
            .with_committed_leader_epoch(-1)
            .with_metadata(Some(StrBytes::default())),
        Some(found) => partition
            .with_committed_offset(found.offset)
            .with_committed_leader_epoch(found.leader_epoch)
            .with_metadata(Some(wire(&found.metadata))),
    }
}

/// The same as versions up to 7 write it.
fn older(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let partitions = topic.partitions.into_iter().map(|partition| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(partition.partition_index)
            .with_committed_offset(partition.committed_offset)
            .with_committed_leader_epoch(partition.committed_leader_epoch)
            .with_metadata(partition.metadata)
            .with_error_code(partition.error_code)
    });
    OffsetFetchResponseTopic::default()
        .with_name(topic.name)
        .with_partitions(partitions.collect())
}

async fn fetch_from_zookeeper(
    image: &Image,
    store: &dyn Store,
    group: &str,
    topics: Vec<OffsetFetchRequestTopic>,
) -> OffsetFetchResponse {
    let topics = topics.into_iter();
    let asked = each_once(topics.map(|topic| (topic.name, topic.partition_indexes)));
    let is_known = |tp: &&TopicPartition| image.partition(&tp.topic, tp.partition).is_some();
    let known: Vec<_> = asked.iter().filter(is_known).collect();
    let loaded = zookeeper_offsets::load_offsets(store, group, &known).await;
    let mut loaded: HashMap<_, _> = known.into_iter().zip(loaded).collect();
    let told = asked.iter().map(|tp| {
        let told = match loaded.remove(tp).unwrap_or(Ok(None)) {
            Ok(Some(offset)) => partition(None).with_committed_offset(offset),
            Ok(None) => partition(None).with_error_code(ErrorCode::UnknownTopicOrPartition.code()),
            Err(failed) => partition(None).with_error_code(failed.code()),
        };
        (tp, told)
    });
    let topics = by_topic(told).into_iter().map(older).collect();
    OffsetFetchResponse::default().with_topics(topics)
}
