//! DescribeProducers: who writes to a partition with a producer id, and since when in one
//! transaction.

use std::collections::HashMap;
use std::sync::Arc;

use protocol::StrBytes;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use protocol::messages::{DescribeProducersRequest, DescribeProducersResponse};
use protocol::names;
use replication::asking::{PATIENCE_MS, Question};
use replication::partition::Partition;
use replication::replicas::Replicas;
use storage::log::ActiveProducer;

use crate::api::again::Again;
use crate::api::data::leader::{ask_each, find};
use crate::api::errors;
use crate::metadata::Image;

/// One producer of the answer.
const PRODUCER_BYTES: usize = 37;

pub(crate) async fn answer(
    replicas: &Arc<Replicas>,
    image: &Arc<Image>,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let topics = request.topics.iter();
    let topics: Vec<_> = topics
        .map(|topic| (topic, refuse_topic(image, &topic.name)))
        .collect();
    // Each is asked once, however often it is named.
    let mut places = HashMap::new();
    let mut found = Vec::new();
    for (topic, _) in topics.iter().filter(|(_, refused)| refused.is_none()) {
        for index in &topic.partition_indexes {
            places.entry((&topic.name, *index)).or_insert_with(|| {
                let partition = find(replicas, image, &topic.name, *index);
                found.push(partition.map(|partition| Question {
                    partition,
                    may_sleep: false,
                    ask: |it: &Partition| Ok(it.log().active_producers()),
                }));
                found.len() - 1
            });
        }
    }
    let answers = ask_each(found, PATIENCE_MS, |refusal| refusal).await;
    let mut again = Again::new();
    let topics = topics.iter().map(|(topic, refused)| {
        let partitions = topic.partition_indexes.iter().map(|index| {
            let blank = PartitionResponse::default().with_partition_index(*index);
            // What is wrong with a topic is the same for all its partitions.
            let thing = (&topic.name, refused.is_none().then_some(*index));
            if !again.may_tell(&thing) {
                return blank.with_error_code(ErrorCode::InvalidRequest.code());
            }
            if let Some((code, text)) = refused {
                again.note(thing, text.len());
                return blank
                    .with_error_code(code.code())
                    .with_error_message(Some(text.clone()));
            }
            let place = places.get(&(&topic.name, *index));
            match place.and_then(|place| answers.get(*place)) {
                Some(Ok(active)) => {
                    again.note(thing, active.len() * PRODUCER_BYTES);
                    blank.with_active_producers(active.iter().map(state).collect())
                }
                // Kafka: what a partition refuses has no words.
                Some(Err(refusal)) => {
                    blank.with_error_code(errors::replication_code(refusal).code())
                }
                None => blank.with_error_code(ErrorCode::UnknownServerError.code()),
            }
        });
        TopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}

/// What is wrong with a topic as a whole, in Kafka's words.
fn refuse_topic(image: &Image, topic: &str) -> Option<(ErrorCode, StrBytes)> {
    if let Err(why) = names::check_topic_name(topic) {
        let text = format!("Topic name is invalid: {why}");
        return Some((
            ErrorCode::InvalidTopicException,
            StrBytes::from_string(text),
        ));
    }
    let code = ErrorCode::UnknownTopicOrPartition;
    image.topic(topic).is_none().then(|| {
        (
            code,
            StrBytes::from_static_str(code.message().unwrap_or_default()),
        )
    })
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
