//! ListPartitionReassignments: which moves are under way.

use controller::ControllerHandle;
use protocol::StrBytes;
use protocol::ids::TopicPartition;
use protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use crate::peer::spelling::{broker_ids, topic_name};

pub(crate) async fn answer(
    controller: &ControllerHandle,
    request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let asked = request.topics.map(|topics| {
        let each = topics.iter();
        each.flat_map(|topic| TopicPartition::each_of(&topic.name, &topic.partition_indexes))
            .collect()
    });
    let ongoing = match controller.reassignments(asked).await {
        Ok(ongoing) => ongoing,
        Err(code) => {
            return ListPartitionReassignmentsResponse::default()
                .with_error_code(code.code())
                .with_error_message(code.message().map(StrBytes::from_static_str));
        }
    };
    let mut topics: Vec<OngoingTopicReassignment> = Vec::new();
    for (tp, held) in ongoing {
        let partition = OngoingPartitionReassignment::default()
            .with_partition_index(tp.partition)
            .with_replicas(broker_ids(&held.replicas))
            .with_adding_replicas(broker_ids(&held.adding))
            .with_removing_replicas(broker_ids(&held.removing));
        match topics.last_mut() {
            Some(last) if last.name.as_str() == &*tp.topic => last.partitions.push(partition),
            _ => topics.push(
                OngoingTopicReassignment::default()
                    .with_name(topic_name(&tp.topic))
                    .with_partitions(vec![partition]),
            ),
        }
    }
    ListPartitionReassignmentsResponse::default()
        .with_error_message(Some(StrBytes::from_static_str("")))
        .with_topics(topics)
}
