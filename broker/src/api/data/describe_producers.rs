//! DescribeProducers: who writes to a partition with a producer id, and since when in one
//! transaction.

use protocol::StrBytes;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use protocol::messages::{DescribeProducersRequest, DescribeProducersResponse};
use protocol::names;
use replication::replicas::Replicas;

use crate::api::data::leader::find;
use crate::api::errors;
use crate::metadata::Image;

pub(crate) fn answer(
    replicas: &Replicas,
    image: &Image,
    request: &DescribeProducersRequest,
) -> DescribeProducersResponse {
    let topics = request.topics.iter().map(|topic| {
        let refused = refuse_topic(image, &topic.name);
        let partitions = topic.partition_indexes.iter().map(|index| {
            let blank = PartitionResponse::default().with_partition_index(*index);
            match &refused {
                Some((code, text)) => blank
                    .with_error_code(code.code())
                    .with_error_message(Some(StrBytes::from_string(text.clone()))),
                None => describe(replicas, image, &topic.name, *index, blank),
            }
        });
        TopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}

/// What is wrong with a topic as a whole, in Kafka's words.
fn refuse_topic(image: &Image, topic: &str) -> Option<(ErrorCode, String)> {
    if let Err(why) = names::check_topic_name(topic) {
        return Some((ErrorCode::InvalidTopicException, why));
    }
    let code = ErrorCode::UnknownTopicOrPartition;
    image.topic(topic).is_none().then(|| (code, code.message().unwrap_or_default().to_owned()))
}

fn describe(
    replicas: &Replicas,
    image: &Image,
    topic: &str,
    index: i32,
    blank: PartitionResponse,
) -> PartitionResponse {
    let partition = match find(replicas, image, topic, index) {
        Ok(partition) => partition,
        Err(refusal) => return blank.with_error_code(errors::replication_code(&refusal).code()),
    };
    let producers = partition.log().active_producers().into_iter().map(|producer| {
        ProducerState::default()
            .with_producer_id(protocol::messages::ProducerId(producer.producer.0))
            .with_producer_epoch(i32::from(producer.epoch.0))
            .with_last_sequence(producer.last_sequence)
            .with_last_timestamp(producer.last_timestamp_ms)
            .with_coordinator_epoch(producer.coordinator_epoch)
            .with_current_txn_start_offset(producer.transaction_start.0)
    });
    blank.with_active_producers(producers.collect())
}
