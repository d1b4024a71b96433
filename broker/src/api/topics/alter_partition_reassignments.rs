//! AlterPartitionReassignments: moves partitions, or calls moves off; the controller answers.

use std::collections::HashMap;
use std::sync::Arc;

use base::last::last_of_each;
use controller::ControllerHandle;
use protocol::StrBytes;
use protocol::ids::TopicPartition;
use protocol::messages::alter_partition_reassignments_request::ReassignableTopic;
use protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use protocol::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};

/// Kafka: what is asked is a map: a topic without partitions is not in it, and of a partition
/// that is named more often only the last counts.
fn as_map(all: Vec<ReassignableTopic>) -> Vec<ReassignableTopic> {
    let mut places = HashMap::new();
    let mut topics: Vec<ReassignableTopic> = Vec::new();
    for topic in all.into_iter().filter(|topic| !topic.partitions.is_empty()) {
        let place = *places.entry(topic.name.clone()).or_insert(topics.len());
        match topics.get_mut(place) {
            Some(before) => before.partitions.extend(topic.partitions),
            None => topics.push(topic),
        }
    }
    for topic in &mut topics {
        let all = std::mem::take(&mut topic.partitions);
        topic.partitions = last_of_each(all, |one| one.partition_index);
    }
    topics
}

pub(crate) async fn answer(
    controller: &ControllerHandle,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let topics = as_map(request.topics);
    let targets = topics.iter().flat_map(|topic| {
        let name: Arc<str> = topic.name.as_str().into();
        topic.partitions.iter().map(move |one| {
            let tp = TopicPartition::new(Arc::clone(&name), one.partition_index);
            let replicas = one
                .replicas
                .as_ref()
                .map(|ids| ids.iter().map(|id| id.0).collect());
            (tp, replicas)
        })
    });
    let verdicts = match controller.reassign(targets.collect()).await {
        Ok(verdicts) => verdicts,
        Err(code) => {
            return AlterPartitionReassignmentsResponse::default()
                .with_error_code(code.code())
                .with_error_message(code.message().map(StrBytes::from_static_str));
        }
    };
    let mut verdicts = verdicts.into_iter();
    // The verdicts come in the order asked.
    let topics = topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().zip(verdicts.by_ref());
        let partitions = partitions.map(|(one, (_, (code, text)))| {
            ReassignablePartitionResponse::default()
                .with_partition_index(one.partition_index)
                .with_error_code(code.code())
                .with_error_message(text.map(StrBytes::from_string))
        });
        ReassignableTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    AlterPartitionReassignmentsResponse::default()
        .with_error_message(Some(StrBytes::from_static_str("")))
        .with_responses(topics.collect())
}
