//! OffsetDelete: forget offsets of topics nobody in the group reads.
//!
//! Kafka: `KafkaApis.handleOffsetDeleteRequest`. Trouble with the group leaves no topics in the
//! answer.

use std::collections::{HashMap, HashSet};
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
    let mut topics = Topics::default();
    let (mut known, mut named) = (Vec::new(), HashSet::new());
    for topic in &request.topics {
        let name = text(&topic.name.0);
        if image.topic(&name).is_none() {
            topics.place(&topic.name);
        }
        for partition in &topic.partitions {
            let number = partition.partition_index;
            if image.partition(&name, number).is_some() {
                let tp = TopicPartition::new(Arc::clone(&name), number);
                // Kafka: a map, so one that is named more often is told once.
                if named.insert(tp.clone()) {
                    known.push(tp);
                }
            } else {
                let code = ErrorCode::UnknownTopicOrPartition.code();
                topics.add(&topic.name, number, code);
            }
        }
    }
    match groups.delete_offsets(&request.group_id.0, &known).await {
        Err(refusal) => OffsetDeleteResponse::default().with_error_code(code::<()>(Err(refusal))),
        Ok(verdicts) => {
            for (tp, verdict) in known.iter().zip(verdicts) {
                let name = TopicName(wire(&tp.topic));
                topics.add(&name, tp.partition, code(verdict));
            }
            OffsetDeleteResponse::default().with_topics(topics.all)
        }
    }
}

/// The answer's topics, in the order in which they come up.
#[derive(Default)]
struct Topics {
    all: Vec<OffsetDeleteResponseTopic>,
    places: HashMap<TopicName, usize>,
}

impl Topics {
    fn place(&mut self, name: &TopicName) -> Option<&mut OffsetDeleteResponseTopic> {
        let next = self.all.len();
        let at = *self.places.entry(name.clone()).or_insert(next);
        if at == next {
            let topic = OffsetDeleteResponseTopic::default().with_name(name.clone());
            self.all.push(topic);
        }
        self.all.get_mut(at)
    }

    fn add(&mut self, name: &TopicName, partition: i32, code: i16) {
        let entry = OffsetDeleteResponsePartition::default()
            .with_partition_index(partition)
            .with_error_code(code);
        if let Some(topic) = self.place(name) {
            topic.partitions.push(entry);
        }
    }
}
