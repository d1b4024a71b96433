//! TxnOffsetCommit: refused as long as transactions are; versions 0 to 4.

use protocol::kafka::errors::ErrorCode;
use protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use crate::metadata::Image;

pub(crate) fn answer(image: &Image, request: &TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
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
        TxnOffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}
