//! LeaderAndIsr: the controller says which partitions this broker leads or follows.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use protocol::StrBytes;
use protocol::ids::{BrokerId, ControllerEpoch, LeaderEpoch, TopicId, TopicPartition};
use protocol::kafka::errors::ErrorCode;
use protocol::messages::leader_and_isr_request::LeaderAndIsrPartitionState;
use protocol::messages::leader_and_isr_response::{
    LeaderAndIsrPartitionError, LeaderAndIsrTopicError,
};
use protocol::messages::{
    BrokerId as WireBrokerId, LeaderAndIsrRequest, LeaderAndIsrResponse, TopicName,
};
use replication::error::Refusal;
use replication::partition::{Assignment, PartitionOrder};
use replication::role::Applied;
use tracing::error;

use crate::api::errors::replication_code;
use crate::api::peers::authority::Orders;
use crate::api::request::Context;

/// Since this version answers name topics by id.
const IDS_SINCE: i16 = 5;

pub(crate) async fn answer(
    context: &Context,
    orders: &Orders,
    request: LeaderAndIsrRequest,
) -> LeaderAndIsrResponse {
    let authority = orders.authority(request.controller_epoch, request.broker_epoch);
    let asked = Asked::of(context.version, &request);
    if let Err(code) = Orders::check_epoch(authority, request.is_k_raft_controller) {
        return asked.refuse(code);
    }
    // Kafka: it makes a map of the topics' ids, and trips over a name that comes twice.
    let mut names = HashSet::new();
    let mut topics = request.topic_states.iter();
    if topics.any(|topic| !names.insert(&topic.topic_name)) {
        return asked.refuse(ErrorCode::UnknownServerError);
    }
    let wanted = read(request);
    let unknown = wanted
        .iter()
        .filter(|order| orders.replicas.store().log(&order.partition).is_none())
        .map(|order| Arc::clone(&order.partition.topic))
        .collect();
    if let Err(failure) = orders.newcomers.learn(&unknown).await {
        // The controller asks again.
        error!(target: "state_change", %failure, "LeaderAndIsr not carried out");
        return refuse(ErrorCode::UnknownServerError);
    }
    let (replicas, groups) = (Arc::clone(&orders.replicas), Arc::clone(&orders.groups));
    let done = orders.thread.run(move || {
        let applied = replicas.apply_leader_and_isr(authority, &wanted)?;
        for (partition, change) in &applied.changes {
            groups.note_role(partition, *change);
        }
        Ok(applied)
    });
    match done.await {
        Ok(Ok(applied)) => write(context.version, applied),
        Ok(Err(refusal)) => asked.refuse(replication_code(&refusal)),
        Err(full) => {
            // The controller asks again.
            error!(target: "state_change", reason = %full, "LeaderAndIsr not carried out");
            refuse(ErrorCode::UnknownServerError)
        }
    }
}

/// Who is named, as an order that is refused as a whole tells it: topic by topic, as they came.
struct Asked {
    version: i16,
    topics: Vec<(TopicName, TopicId, Vec<i32>)>,
}

impl Asked {
    fn of(version: i16, request: &LeaderAndIsrRequest) -> Asked {
        let ungrouped = request.ungrouped_partition_states.iter();
        let ungrouped = ungrouped.map(|state| {
            (
                state.topic_name.clone(),
                TopicId::ZERO,
                vec![state.partition_index],
            )
        });
        let topics = request.topic_states.iter().map(|topic| {
            let indexes = topic.partition_states.iter();
            let indexes = indexes.map(|state| state.partition_index).collect();
            (topic.topic_name.clone(), TopicId(topic.topic_id), indexes)
        });
        Asked {
            version,
            topics: ungrouped.chain(topics).collect(),
        }
    }

    /// Kafka: `LeaderAndIsrRequest.getErrorResponse`.
    fn refuse(self, code: ErrorCode) -> LeaderAndIsrResponse {
        let error = |index: i32| {
            LeaderAndIsrPartitionError::default()
                .with_partition_index(index)
                .with_error_code(code.code())
        };
        let answer = refuse(code);
        if self.version < IDS_SINCE {
            let each = self.topics.into_iter().flat_map(|(name, _, indexes)| {
                let named = move |index| error(index).with_topic_name(name.clone());
                indexes.into_iter().map(named)
            });
            return answer.with_partition_errors(each.collect());
        }
        let topics = self.topics.into_iter().map(|(_, id, indexes)| {
            LeaderAndIsrTopicError::default()
                .with_topic_id(id.0)
                .with_partition_errors(indexes.into_iter().map(error).collect())
        });
        answer.with_topics(topics.collect())
    }
}

fn refuse(code: ErrorCode) -> LeaderAndIsrResponse {
    LeaderAndIsrResponse::default().with_error_code(code.code())
}

fn read(request: LeaderAndIsrRequest) -> Vec<PartitionOrder> {
    let mut orders = Vec::new();
    // Versions 0 and 1 name the topic in every partition.
    for state in request.ungrouped_partition_states {
        let topic: Arc<str> = state.topic_name.0.as_str().into();
        orders.push(order(topic, TopicId::ZERO, state));
    }
    for topic in request.topic_states {
        let name: Arc<str> = topic.topic_name.0.as_str().into();
        for state in topic.partition_states {
            orders.push(order(Arc::clone(&name), TopicId(topic.topic_id), state));
        }
    }
    orders
}

fn order(topic: Arc<str>, topic_id: TopicId, state: LeaderAndIsrPartitionState) -> PartitionOrder {
    let ids = |ids: Vec<WireBrokerId>| ids.into_iter().map(|id| BrokerId(id.0)).collect();
    PartitionOrder {
        partition: TopicPartition {
            topic,
            partition: state.partition_index,
        },
        topic_id,
        controller_epoch: ControllerEpoch(state.controller_epoch),
        leader: BrokerId(state.leader.0),
        leader_epoch: LeaderEpoch(state.leader_epoch),
        isr: ids(state.isr),
        partition_epoch: state.partition_epoch,
        assignment: Assignment {
            replicas: ids(state.replicas),
            adding: ids(state.adding_replicas),
            removing: ids(state.removing_replicas),
        },
        is_new: state.is_new,
    }
}

fn write(version: i16, applied: Applied) -> LeaderAndIsrResponse {
    answer_each(version, applied.results)
}

fn answer_each(
    version: i16,
    results: impl IntoIterator<Item = (TopicPartition, TopicId, Result<(), Refusal>)>,
) -> LeaderAndIsrResponse {
    let code = |result: Result<(), Refusal>| {
        result
            .map_or_else(|refusal| replication_code(&refusal), |()| ErrorCode::None)
            .code()
    };
    if version < IDS_SINCE {
        let errors = results.into_iter().map(|(partition, _, result)| {
            LeaderAndIsrPartitionError::default()
                .with_topic_name(TopicName(StrBytes::from_string(
                    partition.topic.to_string(),
                )))
                .with_partition_index(partition.partition)
                .with_error_code(code(result))
        });
        return LeaderAndIsrResponse::default().with_partition_errors(errors.collect());
    }
    let mut topics: BTreeMap<TopicId, Vec<LeaderAndIsrPartitionError>> = BTreeMap::new();
    for (partition, id, result) in results {
        let error = LeaderAndIsrPartitionError::default()
            .with_partition_index(partition.partition)
            .with_error_code(code(result));
        topics.entry(id).or_default().push(error);
    }
    let topics = topics.into_iter().map(|(id, errors)| {
        LeaderAndIsrTopicError::default()
            .with_topic_id(id.0)
            .with_partition_errors(errors)
    });
    LeaderAndIsrResponse::default().with_topics(topics.collect())
}
