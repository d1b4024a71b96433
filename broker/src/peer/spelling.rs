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

/// The versions a controller sends orders in: fixed by `inter.broker.protocol.version`, never
/// negotiated. Kafka: `AbstractControllerBrokerRequestBatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub leader_and_isr: i16,
    pub update_metadata: i16,
    pub stop_replica: i16,
}

impl Versions {
    /// What 3.9 sends at its own protocol version.
    pub const LATEST: Versions = Versions {
        leader_and_isr: 7,
        update_metadata: 8,
        stop_replica: 4,
    };

    /// `text` as in `2.8`, `2.8-IV1`, `3.4-IV0`; without an IV the last of its release. Below 2.6
    /// the versions of 2.6 are sent, which every broker since 2.6 understands.
    pub fn of(text: &str) -> Versions {
        let (release, step) = text.split_once("-IV").unwrap_or((text, "999"));
        let mut numbers = release.split('.').map(str::parse::<u32>);
        let (Some(Ok(major)), Some(Ok(minor)), Ok(step)) =
            (numbers.next(), numbers.next(), step.parse::<u32>())
        else {
            return Versions::LATEST;
        };
        let at = (major, minor, step);
        let (leader_and_isr, update_metadata, stop_replica) = match at {
            _ if at >= (3, 4, 0) => (7, 8, 4),
            _ if at >= (3, 2, 0) => (6, 7, 3),
            _ if at >= (2, 8, 1) => (5, 7, 3),
            _ => (4, 6, 3),
        };
        Versions {
            leader_and_isr,
            update_metadata,
            stop_replica,
        }
    }
}

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
pub fn request(order: &Order, versions: Versions) -> (Api, i16, RequestKind) {
    match order {
        Order::LeaderAndIsr(order) => (
            Api::LeaderAndIsr,
            versions.leader_and_isr,
            RequestKind::LeaderAndIsr(lead(order)),
        ),
        Order::UpdateMetadata { broker_epoch, body } => (
            Api::UpdateMetadata,
            versions.update_metadata,
            RequestKind::UpdateMetadata(update(*broker_epoch, body)),
        ),
        Order::StopReplica(order) => (
            Api::StopReplica,
            versions.stop_replica,
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
            // Below version 5 answers name their topics.
            let named = response.partition_errors.iter().map(|one| {
                let tp = TopicPartition::new(one.topic_name.as_str(), one.partition_index);
                (tp, ErrorCode::of(one.error_code))
            });
            let mut partitions: Vec<_> = named.collect();
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
        (Order::StopReplica(order), ResponseKind::StopReplica(response)) => {
            let partitions = response.partition_errors.iter().map(|one| {
                let tp = TopicPartition::new(one.topic_name.as_str(), one.partition_index);
                (tp, ErrorCode::of(one.error_code))
            });
            let error = ErrorCode::of(response.error_code);
            Some(order.answered(error, partitions))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_follow_the_protocol_version_as_kafkas_do() {
        for (text, expected) in [
            ("3.9-IV0", (7, 8, 4)),
            ("3.9", (7, 8, 4)),
            ("3.4-IV0", (7, 8, 4)),
            ("3.3", (6, 7, 3)),
            ("3.2-IV0", (6, 7, 3)),
            ("3.0", (5, 7, 3)),
            ("2.8", (5, 7, 3)),
            ("2.8-IV0", (4, 6, 3)),
            ("2.6-IV0", (4, 6, 3)),
        ] {
            let got = Versions::of(text);
            let got = (got.leader_and_isr, got.update_metadata, got.stop_replica);
            assert_eq!(got, expected, "{text}");
        }
    }
}
