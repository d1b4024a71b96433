//! AddPartitionsToTxn: this broker coordinates no transactions; versions 0 to 5.

use protocol::kafka::errors::ErrorCode;
use protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};

use crate::api::request::Context;
use crate::metadata::Image;

/// Since this version one request carries many transactions.
const BATCHES_SINCE: i16 = 4;

pub(crate) fn answer(
    context: &Context,
    image: &Image,
    request: &AddPartitionsToTxnRequest,
) -> AddPartitionsToTxnResponse {
    let response = AddPartitionsToTxnResponse::default();
    if context.version < BATCHES_SINCE {
        let results = refuse(image, &request.v3_and_below_topics, false);
        return response.with_results_by_topic_v3_and_below(results);
    }
    let results = request.transactions.iter().map(|transaction| {
        AddPartitionsToTxnResult::default()
            .with_transactional_id(transaction.transactional_id.clone())
            .with_topic_results(refuse(image, &transaction.topics, transaction.verify_only))
    });
    response.with_results_by_transaction(results.collect())
}

/// Kafka: unknown partitions are found first, and then the others are not attempted.
fn refuse(
    image: &Image,
    topics: &[AddPartitionsToTxnTopic],
    only_asked: bool,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let is_known = |topic: &str, index: i32| image.partition(topic, index).is_some();
    let all_known = topics.iter().all(|topic| {
        topic
            .partitions
            .iter()
            .all(|index| is_known(&topic.name, *index))
    });
    // Kafka: where it is only asked, a topic without partitions is not told about.
    let is_told = |topic: &&AddPartitionsToTxnTopic| !only_asked || !topic.partitions.is_empty();
    let asked = topics.iter().filter(is_told);
    let results = asked.map(|topic| {
        let partitions = topic.partitions.iter().map(|index| {
            let code = match (all_known, is_known(&topic.name, *index)) {
                (true, _) => ErrorCode::NotCoordinator,
                (false, true) => ErrorCode::OperationNotAttempted,
                (false, false) => ErrorCode::UnknownTopicOrPartition,
            };
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*index)
                .with_partition_error_code(code.code())
        });
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(partitions.collect())
    });
    results.collect()
}
