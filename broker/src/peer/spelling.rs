//! Orders as Kafka's messages, and answers back.

use std::collections::HashMap;
use std::sync::Arc;

use controller::sender::{Answer, LeaderAndIsr, Order, StopReplica, UpdateMetadata};
use protocol::StrBytes;
use protocol::ids::TopicPartition;
use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::leader_and_isr_request::{
    LeaderAndIsrLiveLeader, LeaderAndIsrPartitionState, LeaderAndIsrTopicState,
};
use protocol::messages::stop_replica_request::{StopReplicaPartitionState, StopReplicaTopicState};
use protocol::messages::update_metadata_request::{
    UpdateMetadataBroker, UpdateMetadataEndpoint, UpdateMetadataPartitionState,
    UpdateMetadataTopicState,
};
use protocol::messages::{
    BrokerId, LeaderAndIsrRequest, RequestKind, ResponseKind, StopReplicaRequest, TopicName,
    UpdateMetadataRequest,
};

/// Kafka: what version 3.9 sends at its own protocol version; never negotiated.
pub const LEADER_AND_ISR_VERSION: i16 = 7;
pub const UPDATE_METADATA_VERSION: i16 = 8;
pub const STOP_REPLICA_VERSION: i16 = 4;

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

pub(crate) fn broker_ids(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().map(|id| BrokerId(*id)).collect()
}

/// The API, the version and the message of an order.
pub fn request(order: &Order) -> (Api, i16, RequestKind) {
    match order {
        Order::LeaderAndIsr(order) => (
            Api::LeaderAndIsr,
            LEADER_AND_ISR_VERSION,
            RequestKind::LeaderAndIsr(lead(order)),
        ),
        Order::UpdateMetadata { broker_epoch, body } => (
            Api::UpdateMetadata,
            UPDATE_METADATA_VERSION,
            RequestKind::UpdateMetadata(update(*broker_epoch, body)),
        ),
        Order::StopReplica(order) => (
            Api::StopReplica,
            STOP_REPLICA_VERSION,
            RequestKind::StopReplica(stop(order)),
        ),
    }
}

fn lead(order: &LeaderAndIsr) -> LeaderAndIsrRequest {
    let topics = order.topics.iter().map(|topic| {
        let states = topic.partitions.iter().map(|one| {
            LeaderAndIsrPartitionState::default()
                .with_partition_index(one.index)
                .with_controller_epoch(one.controller_epoch)
                .with_leader(BrokerId(one.leader))
                .with_leader_epoch(one.leader_epoch)
                .with_isr(broker_ids(&one.isr))
                .with_partition_epoch(one.partition_epoch)
                .with_replicas(broker_ids(&one.replicas))
                .with_adding_replicas(broker_ids(&one.adding))
                .with_removing_replicas(broker_ids(&one.removing))
                .with_is_new(one.is_new)
                .with_leader_recovery_state(i8::from(one.recovering))
        });
        LeaderAndIsrTopicState::default()
            .with_topic_name(topic_name(&topic.name))
            .with_topic_id(topic.id.0)
            .with_partition_states(states.collect())
    });
    let leaders = order.live_leaders.iter().map(|leader| {
        LeaderAndIsrLiveLeader::default()
            .with_broker_id(BrokerId(leader.id))
            .with_host_name(text(&leader.host))
            .with_port(leader.port)
    });
    LeaderAndIsrRequest::default()
        .with_controller_id(BrokerId(order.controller_id))
        .with_controller_epoch(order.controller_epoch)
        .with_broker_epoch(order.broker_epoch)
        .with_topic_states(topics.collect())
        .with_live_leaders(leaders.collect())
}

fn update(broker_epoch: i64, body: &UpdateMetadata) -> UpdateMetadataRequest {
    let topics = body.topics.iter().map(|topic| {
        let states = topic.partitions.iter().map(|one| {
            UpdateMetadataPartitionState::default()
                .with_partition_index(one.index)
                .with_controller_epoch(one.controller_epoch)
                .with_leader(BrokerId(one.leader))
                .with_leader_epoch(one.leader_epoch)
                .with_isr(broker_ids(&one.isr))
                .with_zk_version(one.partition_epoch)
                .with_replicas(broker_ids(&one.replicas))
                .with_offline_replicas(broker_ids(&one.offline_replicas))
        });
        UpdateMetadataTopicState::default()
            .with_topic_name(topic_name(&topic.name))
            .with_topic_id(topic.id.0)
            .with_partition_states(states.collect())
    });
    let brokers = body.brokers.iter().map(|broker| {
        let endpoints = broker.endpoints.iter().map(|at| {
            UpdateMetadataEndpoint::default()
                .with_port(at.port)
                .with_host(text(&at.host))
                .with_listener(text(&at.listener))
                .with_security_protocol(at.protocol_id())
        });
        UpdateMetadataBroker::default()
            .with_id(BrokerId(broker.id))
            .with_endpoints(endpoints.collect())
            .with_rack(broker.rack.as_deref().map(text))
    });
    UpdateMetadataRequest::default()
        .with_controller_id(BrokerId(body.controller_id))
        .with_controller_epoch(body.controller_epoch)
        .with_broker_epoch(broker_epoch)
        .with_topic_states(topics.collect())
        .with_live_brokers(brokers.collect())
}

fn stop(order: &StopReplica) -> StopReplicaRequest {
    let topics = order.topics.iter().map(|topic| {
        let states = topic.partitions.iter().map(|one| {
            StopReplicaPartitionState::default()
                .with_partition_index(one.index)
                .with_leader_epoch(one.leader_epoch)
                .with_delete_partition(one.delete)
        });
        StopReplicaTopicState::default()
            .with_topic_name(topic_name(&topic.name))
            .with_partition_states(states.collect())
    });
    StopReplicaRequest::default()
        .with_controller_id(BrokerId(order.controller_id))
        .with_controller_epoch(order.controller_epoch)
        .with_broker_epoch(order.broker_epoch)
        .with_topic_states(topics.collect())
}

/// What a broker answered to `order`; `None` where the answer is to something else.
pub fn answer(order: &Order, response: ResponseKind) -> Option<Answer> {
    match (order, response) {
        (Order::LeaderAndIsr(order), ResponseKind::LeaderAndIsr(response)) => {
            let names: HashMap<_, Arc<str>> = order
                .topics
                .iter()
                .map(|topic| (topic.id.0, topic.name.clone()))
                .collect();
            let mut partitions = Vec::new();
            for topic in &response.topics {
                let Some(name) = names.get(&topic.topic_id) else {
                    continue;
                };
                partitions.extend(topic.partition_errors.iter().map(|one| {
                    let tp = TopicPartition::new(name.clone(), one.partition_index);
                    (tp, ErrorCode::of(one.error_code))
                }));
            }
            let error = ErrorCode::of(response.error_code);
            Some(Answer::LeaderAndIsr { error, partitions })
        }
        (Order::UpdateMetadata { .. }, ResponseKind::UpdateMetadata(response)) => {
            Some(Answer::UpdateMetadata {
                error: ErrorCode::of(response.error_code),
            })
        }
        (Order::StopReplica(_), ResponseKind::StopReplica(response)) => {
            let partitions = response.partition_errors.iter().map(|one| {
                let tp = TopicPartition::new(one.topic_name.as_str(), one.partition_index);
                (tp, ErrorCode::of(one.error_code))
            });
            let error = ErrorCode::of(response.error_code);
            Some(Answer::StopReplica {
                error,
                partitions: partitions.collect(),
            })
        }
        _ => None,
    }
}
