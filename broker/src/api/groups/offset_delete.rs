//! OffsetDelete: forget offsets of topics nobody in the group reads.
//!
//! Kafka: `KafkaApis.handleOffsetDeleteRequest`. Trouble with the group leaves no topics in the
//! answer.

use std::sync::Arc;

use protocol::ids::TopicPartition;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse, TopicName};

use crate::api::groups::{code, text, wire};
use crate::coordination::Groups;
use crate::metadata::Image;

pub(crate) async fn answer(
    image: &Image,
    groups: &Arc<Groups>,
    request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let mut topics: Vec<OffsetDeleteResponseTopic> = Vec::new();
    let mut known = Vec::new();
    for topic in &request.topics {
        let name = text(&topic.name.0);
        if image.topic(&name).is_none() {
            place(&mut topics, &topic.name);
        }
        for partition in &topic.partitions {
            let number = partition.partition_index;
            if image.partition(&name, number).is_some() {
                known.push(TopicPartition::new(Arc::clone(&name), number));
            } else {
                let code = ErrorCode::UnknownTopicOrPartition.code();
                add(&mut topics, &topic.name, number, code);
            }
        }
    }
    match groups.delete_offsets(&request.group_id.0, &known).await {
        Err(refusal) => OffsetDeleteResponse::default().with_error_code(code::<()>(Err(refusal))),
        Ok(verdicts) => {
            for (tp, verdict) in known.iter().zip(verdicts) {
                add(
                    &mut topics,
                    &TopicName(wire(&tp.topic)),
                    tp.partition,
                    code(verdict),
                );
            }
            OffsetDeleteResponse::default().with_topics(topics)
        }
    }
}

/// The topic's place in the answer; the few topics of such a request are searched one by one.
fn place<'a>(
    topics: &'a mut Vec<OffsetDeleteResponseTopic>,
    name: &TopicName,
) -> &'a mut OffsetDeleteResponseTopic {
    let at = topics
        .iter()
        .position(|topic| topic.name == *name)
        .unwrap_or_else(|| {
            topics.push(OffsetDeleteResponseTopic::default().with_name(name.clone()));
            topics.len() - 1
        });
    &mut topics[at]
}

fn add(topics: &mut Vec<OffsetDeleteResponseTopic>, name: &TopicName, partition: i32, code: i16) {
    let entry = OffsetDeleteResponsePartition::default()
        .with_partition_index(partition)
        .with_error_code(code);
    place(topics, name).partitions.push(entry);
}
