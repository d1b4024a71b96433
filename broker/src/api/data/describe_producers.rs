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
use replication::error::Refusal;
use replication::replicas::Replicas;

use crate::api::data::leader::{ask, find};
use crate::api::errors;
use crate::metadata::Image;

pub(crate) async fn answer(
    replicas: &Arc<Replicas>,
    image: &Arc<Image>,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let refused = refuse_topic(image, &topic.name);
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for index in &topic.partition_indexes {
            let blank = PartitionResponse::default().with_partition_index(*index);
            partitions.push(match &refused {
                Some((code, text)) => blank
                    .with_error_code(code.code())
                    .with_error_message(Some(StrBytes::from_string(text.clone()))),
                None => match producers(replicas, image, &topic.name, *index).await {
                    Ok(producers) => blank.with_active_producers(producers),
                    Err(refusal) => {
                        blank.with_error_code(errors::replication_code(&refusal).code())
                    }
                },
            });
        }
        topics.push(
            TopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions),
        );
    }
    DescribeProducersResponse::default().with_topics(topics)
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

async fn producers(
    replicas: &Replicas,
    image: &Image,
    topic: &str,
    index: i32,
) -> Result<Vec<ProducerState>, Refusal> {
    let partition = find(replicas, image, topic, index)?;
    let active = ask(&partition, |it| Ok(it.log().active_producers())).await?;
    let states = active.into_iter().map(|producer| {
        ProducerState::default()
            .with_producer_id(protocol::messages::ProducerId(producer.producer.0))
            .with_producer_epoch(i32::from(producer.epoch.0))
            .with_last_sequence(producer.last_sequence)
            .with_last_timestamp(producer.last_timestamp_ms)
            .with_coordinator_epoch(producer.coordinator_epoch)
            .with_current_txn_start_offset(producer.transaction_start.0)
    });
    Ok(states.collect())
}
