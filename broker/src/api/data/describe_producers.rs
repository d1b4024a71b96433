//! DescribeProducers: who writes to a partition with a producer id, and since when in one
//! transaction.

use std::sync::Arc;

use protocol::StrBytes;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use protocol::messages::{DescribeProducersRequest, DescribeProducersResponse};
use protocol::names;
use replication::asking::{PATIENCE_MS, Question};
use replication::error::Refusal;
use replication::partition::Partition;
use replication::replicas::Replicas;
use storage::log::ActiveProducer;

use crate::api::data::leader::{ask_each, find};
use crate::api::errors;
use crate::metadata::Image;

pub(crate) async fn answer(
    replicas: &Arc<Replicas>,
    image: &Arc<Image>,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let mut found = Vec::new();
    for topic in &request.topics {
        let refused = refuse_topic(image, &topic.name);
        found.extend(topic.partition_indexes.iter().map(|index| {
            if let Some((code, text)) = &refused {
                return Err((*code, Some(text.clone())));
            }
            let partition = find(replicas, image, &topic.name, *index).map_err(told)?;
            Ok(Question {
                partition,
                may_sleep: false,
                ask: |it: &Partition| Ok(it.log().active_producers()),
            })
        }));
    }
    let mut answers = ask_each(found, PATIENCE_MS, told).await.into_iter();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partition_indexes.iter().zip(&mut answers);
        let partitions = partitions.map(|(index, active)| {
            let blank = PartitionResponse::default().with_partition_index(*index);
            match active {
                Ok(active) => blank.with_active_producers(active.iter().map(state).collect()),
                Err((code, text)) => blank
                    .with_error_code(code.code())
                    .with_error_message(text.map(StrBytes::from_string)),
            }
        });
        TopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}

/// Kafka: what a partition refuses has no words.
fn told(refusal: Refusal) -> (ErrorCode, Option<String>) {
    (errors::replication_code(&refusal), None)
}

/// What is wrong with a topic as a whole, in Kafka's words.
fn refuse_topic(image: &Image, topic: &str) -> Option<(ErrorCode, String)> {
    if let Err(why) = names::check_topic_name(topic) {
        let text = format!("Topic name is invalid: {why}");
        return Some((ErrorCode::InvalidTopicException, text));
    }
    let code = ErrorCode::UnknownTopicOrPartition;
    image
        .topic(topic)
        .is_none()
        .then(|| (code, code.message().unwrap_or_default().to_owned()))
}

fn state(producer: &ActiveProducer) -> ProducerState {
    ProducerState::default()
        .with_producer_id(protocol::messages::ProducerId(producer.producer.0))
        .with_producer_epoch(i32::from(producer.epoch.0))
        .with_last_sequence(producer.last_sequence)
        .with_last_timestamp(producer.last_timestamp_ms)
        .with_coordinator_epoch(producer.coordinator_epoch)
        .with_current_txn_start_offset(producer.transaction_start.0)
}
