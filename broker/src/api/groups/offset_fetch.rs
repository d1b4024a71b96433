//! OffsetFetch: where a group has read to.
//!
//! Kafka: `KafkaApis.handleOffsetFetchRequest`. Version 0 reads from ZooKeeper, up to version 7
//! one group is asked for, from 8 on many. Versions without a code for the whole answer (1) hear
//! of trouble with the group in an answer without topics.

use std::sync::Arc;

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

use crate::api::groups::{code, text, wire, zookeeper_offsets};
use crate::api::request::Context;
use crate::coordination::Groups;
use crate::coordination::verbs::{Asked, FetchedOffset};
use crate::metadata::Image;

/// First version with a list of groups.
const GROUPS_FROM: i16 = 8;
/// First version with a code for the whole answer.
const TOP_LEVEL_FROM: i16 = 2;

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
        let topics = request.topics.as_deref().unwrap_or(&[]);
        return fetch_from_zookeeper(image, store, &request.group_id.0, topics).await;
    }
    let require_stable = request.require_stable;
    if context.version >= GROUPS_FROM {
        let each = request.groups.into_iter().map(|group| {
            let asked = group.topics.map(|topics| {
                topics
                    .into_iter()
                    .map(|topic| (topic.name, topic.partition_indexes))
                    .collect()
            });
            let (code, topics) = fetch(groups, &group.group_id.0, asked, require_stable);
            OffsetFetchResponseGroup::default()
                .with_group_id(group.group_id)
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

/// One group's offsets, by topic; `None` asks for all.
fn fetch(
    groups: &Groups,
    group: &str,
    asked: Option<Vec<(TopicName, Vec<i32>)>>,
    require_stable: bool,
) -> (i16, Vec<OffsetFetchResponseTopics>) {
    let asked = match asked {
        None => Asked::All,
        Some(topics) => {
            let partitions = topics.into_iter().flat_map(|(name, numbers)| {
                let name = text(&name.0);
                let tp = move |number| TopicPartition::new(Arc::clone(&name), number);
                numbers.into_iter().map(tp)
            });
            Asked::Partitions(partitions.collect())
        }
    };
    match groups.fetch(group, asked, require_stable) {
        Ok(fetched) => (ErrorCode::None.code(), by_topic(fetched)),
        Err(refusal) => (code::<()>(Err(refusal)), Vec::new()),
    }
}

fn by_topic(fetched: Vec<FetchedOffset>) -> Vec<OffsetFetchResponseTopics> {
    let mut topics: Vec<OffsetFetchResponseTopics> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for (tp, found) in fetched {
        let place = *places.entry(Arc::clone(&tp.topic)).or_insert_with(|| {
            let name = TopicName(wire(&tp.topic));
            topics.push(OffsetFetchResponseTopics::default().with_name(name));
            topics.len() - 1
        });
        let partition = match found {
            Ok(found) => partition(found),
            Err(refusal) => partition(None).with_error_code(code::<()>(Err(refusal))),
        };
        topics[place]
            .partitions
            .push(partition.with_partition_index(tp.partition));
    }
    topics
}

fn partition(found: Option<Committed>) -> OffsetFetchResponsePartitions {
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
    topics: &[OffsetFetchRequestTopic],
) -> OffsetFetchResponse {
    let mut answered = Vec::with_capacity(topics.len());
    for topic in topics {
        let name = &topic.name.0;
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for number in topic.partition_indexes.iter().copied() {
            let found = if image.partition(name, number).is_some() {
                zookeeper_offsets::load_offset(store, group, name, number).await
            } else {
                Ok(None)
            };
            let (offset, code) = match found {
                Ok(Some(offset)) => (offset, ErrorCode::None),
                Ok(None) => (NO_OFFSET, ErrorCode::UnknownTopicOrPartition),
                Err(failed) => (NO_OFFSET, failed),
            };
            partitions.push(
                OffsetFetchResponsePartition::default()
                    .with_partition_index(number)
                    .with_committed_offset(offset)
                    .with_metadata(Some(StrBytes::default()))
                    .with_error_code(code.code()),
            );
        }
        answered.push(
            OffsetFetchResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions),
        );
    }
    OffsetFetchResponse::default().with_topics(answered)
}
