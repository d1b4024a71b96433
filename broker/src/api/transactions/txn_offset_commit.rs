//! TxnOffsetCommit: refused as long as transactions are; versions 0 to 4.

use std::collections::HashMap;

use protocol::kafka::errors::ErrorCode;
use protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use crate::metadata::Image;

pub(crate) fn answer(image: &Image, request: &TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
    let mut places = HashMap::new();
    let mut topics: Vec<TxnOffsetCommitResponseTopic> = Vec::new();
    for topic in &request.topics {
        // Kafka: a topic that is known, and of which nothing is committed, is not told about.
        if topic.partitions.is_empty() && image.topic(&topic.name).is_some() {
            continue;
        }
        // Kafka: one that is named more often is told once.
        let place = *places.entry(&topic.name).or_insert_with(|| {
            topics.push(TxnOffsetCommitResponseTopic::default().with_name(topic.name.clone()));
            topics.len() - 1
        });
        let partitions = topic.partitions.iter().map(|partition| {
            let index = partition.partition_index;
            let code = match image.partition(&topic.name, index) {
                Some(_) => ErrorCode::NotCoordinator,
                None => ErrorCode::UnknownTopicOrPartition,
            };
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(code.code())
        });
        topics[place].partitions.extend(partitions);
    }
    TxnOffsetCommitResponse::default().with_topics(topics)
}
