//! StopReplica: the controller takes replicas away from this broker, or their leadership.

use std::sync::Arc;

use base::last::last_of_each;
use protocol::StrBytes;
use protocol::ids::{LeaderEpoch, TopicPartition};
use protocol::kafka::errors::ErrorCode;
use protocol::messages::stop_replica_response::StopReplicaPartitionError;
use protocol::messages::{StopReplicaRequest, StopReplicaResponse, TopicName};
use replication::role::{StopOrder, Stopped};
use tracing::error;

use crate::api::errors::replication_code;
use crate::api::peers::authority::Orders;
use crate::api::request::Context;

/// Since this version each partition says for itself whether it is to be deleted, and its epoch.
const EACH_SINCE: i16 = 3;

pub(crate) async fn answer(
    context: &Context,
    orders: &Orders,
    request: StopReplicaRequest,
) -> StopReplicaResponse {
    let authority = orders.authority(request.controller_epoch, request.broker_epoch);
    let is_without_zookeeper = request.is_k_raft_controller;
    let wanted = read(context.version, request);
    match Orders::check_epoch(authority, is_without_zookeeper) {
        // Kafka: an order from another life of this broker is refused without a word of its
        // partitions.
        Err(ErrorCode::StaleBrokerEpoch) => return refuse(ErrorCode::StaleBrokerEpoch),
        Err(code) => {
            let each = wanted
                .into_iter()
                .map(|order| error_of(order.partition, code));
            return refuse(code).with_partition_errors(each.collect());
        }
        Ok(()) => {}
    }
    // Kafka: it makes a map of them.
    let wanted = last_of_each(wanted, |order| order.partition.clone());
    let (replicas, groups) = (Arc::clone(&orders.replicas), Arc::clone(&orders.groups));
    let done = orders.thread.run(move || {
        let stopped = replicas.apply_stop_replica(authority, &wanted)?;
        // Kafka: one that is merely stopped is coordinated until somebody else leads it.
        for (partition, deleted) in &stopped.gone {
            if *deleted {
                groups.note_gone(partition);
            }
        }
        Ok(stopped)
    });
    match done.await {
        Ok(Ok(stopped)) => write(stopped),
        Ok(Err(refusal)) => refuse(replication_code(&refusal)),
        Err(full) => {
            // The controller asks again.
            error!(target: "state_change", reason = %full, "StopReplica not carried out");
            refuse(ErrorCode::UnknownServerError)
        }
    }
}

fn refuse(code: ErrorCode) -> StopReplicaResponse {
    StopReplicaResponse::default().with_error_code(code.code())
}

fn read(version: i16, request: StopReplicaRequest) -> Vec<StopOrder> {
    let delete_all = request.delete_partitions;
    let order = |topic: &Arc<str>, partition, leader_epoch, delete| StopOrder {
        partition: TopicPartition::new(Arc::clone(topic), partition),
        leader_epoch: LeaderEpoch(leader_epoch),
        delete,
    };
    let shared = |name: &TopicName| Arc::<str>::from(name.0.as_str());
    let mut orders = Vec::new();
    for one in &request.ungrouped_partitions {
        let name = shared(&one.topic_name);
        orders.push(order(&name, one.partition_index, -1, delete_all));
    }
    for topic in &request.topics {
        let name = shared(&topic.name);
        for &index in &topic.partition_indexes {
            orders.push(order(&name, index, -1, delete_all));
        }
    }
    for topic in &request.topic_states {
        let name = shared(&topic.topic_name);
        for state in &topic.partition_states {
            let delete = if version >= EACH_SINCE {
                state.delete_partition
            } else {
                delete_all
            };
            orders.push(order(
                &name,
                state.partition_index,
                state.leader_epoch,
                delete,
            ));
        }
    }
    orders
}

fn write(stopped: Stopped) -> StopReplicaResponse {
    let errors = stopped.results.into_iter().map(|(partition, result)| {
        let code = result.map_or_else(|refusal| replication_code(&refusal), |()| ErrorCode::None);
        error_of(partition, code)
    });
    StopReplicaResponse::default().with_partition_errors(errors.collect())
}

fn error_of(partition: TopicPartition, code: ErrorCode) -> StopReplicaPartitionError {
    let name = StrBytes::from_string(partition.topic.to_string());
    StopReplicaPartitionError::default()
        .with_topic_name(TopicName(name))
        .with_partition_index(partition.partition)
        .with_error_code(code.code())
}
