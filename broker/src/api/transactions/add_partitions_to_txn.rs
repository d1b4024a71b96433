//! AddPartitionsToTxn: this broker coordinates no transactions; versions 0 to 5.

use std::collections::{HashMap, HashSet};

use protocol::kafka::errors::ErrorCode;
use protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, TransactionalId};

use crate::api::request::Context;
use crate::api::transactions::refusal;
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
        let id = &request.v3_and_below_transactional_id;
        let results = refuse(image, id, &request.v3_and_below_topics, false);
        return response.with_results_by_topic_v3_and_below(results);
    }
    let results = request.transactions.iter().map(|transaction| {
        let (id, topics) = (&transaction.transactional_id, &transaction.topics);
        AddPartitionsToTxnResult::default()
            .with_transactional_id(id.clone())
            .with_topic_results(refuse(image, id, topics, transaction.verify_only))
    });
    response.with_results_by_transaction(results.collect())
}

/// Kafka: unknown partitions are found first, and then the others are not attempted.
fn refuse(
    image: &Image,
    id: &TransactionalId,
    topics: &[AddPartitionsToTxnTopic],
    only_asked: bool,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let is_known = |topic: &str, index: i32| image.partition(topic, index).is_some();
    let all_known = topics.iter().all(|topic| {
        let mut indexes = topic.partitions.iter();
        indexes.all(|index| is_known(&topic.name, *index))
    });
    // Kafka: a map, but where all is attempted: then what is asked is told as it was asked.
    let is_map = only_asked || !all_known;
    let mut told = HashSet::new();
    let mut places = HashMap::new();
    let mut results: Vec<AddPartitionsToTxnTopicResult> = Vec::new();
    for topic in topics {
        if is_map && topic.partitions.is_empty() {
            continue;
        }
        let next = results.len();
        let place = match is_map {
            true => *places.entry(&topic.name).or_insert(next),
            false => next,
        };
        if place == next {
            results.push(AddPartitionsToTxnTopicResult::default().with_name(topic.name.clone()));
        }
        let indexes = topic.partitions.iter().copied();
        let indexes = indexes.filter(|index| !is_map || told.insert((&topic.name, *index)));
        let partitions = indexes.map(|index| {
            let code = match (all_known, is_known(&topic.name, index)) {
                (true, _) => refusal(id),
                (false, true) => ErrorCode::OperationNotAttempted,
                (false, false) => ErrorCode::UnknownTopicOrPartition,
            };
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(index)
                .with_partition_error_code(code.code())
        });
        results[place].results_by_partition.extend(partitions);
    }
    results
}
