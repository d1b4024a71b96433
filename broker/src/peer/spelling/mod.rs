//! Orders as Kafka's messages, and answers back.

use std::collections::HashMap;
use std::sync::Arc;

use controller::sender::{
    Answer, BrokerFacts, LeaderAndIsr, OfTopic, Order, PartitionFacts, PartitionOrder, StopReplica,
    UpdateMetadata,
};
use protocol::StrBytes;
use protocol::ids::TopicPartition;
use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::leader_and_isr_request::{
    LeaderAndIsrLiveLeader, LeaderAndIsrPartitionState, LeaderAndIsrTopicState,
};
use protocol::messages::stop_replica_request::{
    StopReplicaPartitionState, StopReplicaPartitionV0, StopReplicaTopicState, StopReplicaTopicV1,
};
use protocol::messages::update_metadata_request::{
    UpdateMetadataBroker, UpdateMetadataEndpoint, UpdateMetadataPartitionState,
    UpdateMetadataTopicState,
};
use protocol::messages::{
    BrokerId, LeaderAndIsrRequest, RequestKind, ResponseKind, StopReplicaRequest, TopicName,
    UpdateMetadataRequest,
};

use crate::peer::versions::Versions;

/// Before this version of LeaderAndIsr, every partition names its topic.
const LEAD_BY_TOPIC: i16 = 2;
/// Before this version of LeaderAndIsr, nobody is told that a leader was elected uncleanly.
const LEAD_RECOVERY: i16 = 6;
/// Before this version of UpdateMetadata, every partition names its topic.
const TELL_BY_TOPIC: i16 = 5;
/// Before this version of StopReplica, every partition names its topic.
const STOP_BY_TOPIC: i16 = 1;
/// Before this version of StopReplica, the request as a whole says whether logs are deleted.
const STOP_EACH: i16 = 3;

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

pub(crate) fn broker_ids(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().map(|id| BrokerId(*id)).collect()
}

/// The requests that an order makes: a StopReplica that deletes some replicas and keeps others is
/// two, where a request can say only one.
pub fn orders(order: Order, versions: Versions) -> Vec<Order> {
    let Order::StopReplica(stop) = order else {
        return vec![order];
    };
    if versions.stop_replica >= STOP_EACH {
        return vec![Order::StopReplica(stop)];
    }
    [true, false]
        .into_iter()
        .filter_map(|delete| {
            let mut part = stop.clone();
            for topic in &mut part.topics {
                topic.partitions.retain(|one| one.delete == delete);
            }
            part.topics.retain(|topic| !topic.partitions.is_empty());
            (!part.topics.is_empty()).then_some(Order::StopReplica(part))
        })
        .collect()
}

/// The API, the version and the message of an order, one of [`orders`].
pub fn request(order: &Order, versions: Versions) -> (Api, i16, RequestKind) {
    match order {
        Order::LeaderAndIsr(order) => {
            let version = versions.leader_and_isr;
            let request = RequestKind::LeaderAndIsr(lead(order, version));
            (Api::LeaderAndIsr, version, request)
        }
        Order::UpdateMetadata { broker_epoch, body } => {
            let version = versions.update_metadata;
            let request = RequestKind::UpdateMetadata(update(*broker_epoch, body, version));
            (Api::UpdateMetadata, version, request)
        }
        Order::StopReplica(order) => {
            let version = versions.stop_replica;
            let request = RequestKind::StopReplica(stop(order, version));
            (Api::StopReplica, version, request)
        }
    }
}

fn lead(order: &LeaderAndIsr, version: i16) -> LeaderAndIsrRequest {
    let state = |name: &str, one: &PartitionOrder| {
        let recovering = one.recovering && version >= LEAD_RECOVERY;
        LeaderAndIsrPartitionState::default()
            .with_topic_name(topic_name(name))
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
            .with_leader_recovery_state(i8::from(recovering))
    };
    let leaders = order.live_leaders.iter().map(|leader| {
        LeaderAndIsrLiveLeader::default()
            .with_broker_id(BrokerId(leader.id))
            .with_host_name(text(&leader.host))
            .with_port(leader.port)
    });
    let request = LeaderAndIsrRequest::default()
        .with_controller_id(BrokerId(order.controller_id))
        .with_controller_epoch(order.controller_epoch)
        .with_broker_epoch(order.broker_epoch)
        .with_live_leaders(leaders.collect());
    if version < LEAD_BY_TOPIC {
        return request.with_ungrouped_partition_states(ungrouped(&order.topics, state));
    }
    let topics = order.topics.iter().map(|topic| {
        let states = topic.partitions.iter().map(|one| state(&topic.name, one));
        LeaderAndIsrTopicState::default()
            .with_topic_name(topic_name(&topic.name))
            .with_topic_id(topic.id.0)
            .with_partition_states(states.collect())
    });
    request.with_topic_states(topics.collect())
}

/// Every partition by itself, as old versions have it.
fn ungrouped<A, B>(topics: &[OfTopic<A>], spell: impl Fn(&str, &A) -> B) -> Vec<B> {
    let each = topics.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|one| spell(&topic.name, one))
    });
    each.collect()
}

fn update(broker_epoch: i64, body: &UpdateMetadata, version: i16) -> UpdateMetadataRequest {
    let state = |name: &str, one: &PartitionFacts| {
        UpdateMetadataPartitionState::default()
            .with_topic_name(topic_name(name))
            .with_partition_index(one.index)
            .with_controller_epoch(one.controller_epoch)
            .with_leader(BrokerId(one.leader))
            .with_leader_epoch(one.leader_epoch)
            .with_isr(broker_ids(&one.isr))
            .with_zk_version(one.partition_epoch)
            .with_replicas(broker_ids(&one.replicas))
            .with_offline_replicas(broker_ids(&one.offline_replicas))
    };
    let brokers = body.brokers.iter().map(|broker| told(broker, version));
    let request = UpdateMetadataRequest::default()
        .with_controller_id(BrokerId(body.controller_id))
        .with_controller_epoch(body.controller_epoch)
        .with_broker_epoch(broker_epoch)
        .with_live_brokers(brokers.collect());
    if version < TELL_BY_TOPIC {
        return request.with_ungrouped_partition_states(ungrouped(&body.topics, state));
    }
    let topics = body.topics.iter().map(|topic| {
        let states = topic.partitions.iter().map(|one| state(&topic.name, one));
        UpdateMetadataTopicState::default()
            .with_topic_name(topic_name(&topic.name))
            .with_topic_id(topic.id.0)
            .with_partition_states(states.collect())
    });
    request.with_topic_states(topics.collect())
}

/// Version 0 knows one plain address and nothing else.
fn told(broker: &BrokerFacts, version: i16) -> UpdateMetadataBroker {
    let told = UpdateMetadataBroker::default()
        .with_id(BrokerId(broker.id))
        .with_rack(broker.rack.as_deref().map(text));
    if version == 0 {
        let mut endpoints = broker.endpoints.iter();
        return match endpoints.find(|at| at.protocol == "PLAINTEXT") {
            Some(at) => told.with_v0_host(text(&at.host)).with_v0_port(at.port),
            None => told,
        };
    }
    let endpoints = broker.endpoints.iter().map(|at| {
        UpdateMetadataEndpoint::default()
            .with_port(at.port)
            .with_host(text(&at.host))
            .with_listener(text(&at.listener))
            .with_security_protocol(at.protocol_id())
    });
    told.with_endpoints(endpoints.collect())
}

fn stop(order: &StopReplica, version: i16) -> StopReplicaRequest {
    let request = StopReplicaRequest::default()
        .with_controller_id(BrokerId(order.controller_id))
        .with_controller_epoch(order.controller_epoch)
        .with_broker_epoch(order.broker_epoch);
    if version >= STOP_EACH {
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
        return request.with_topic_states(topics.collect());
    }
    let mut all = order.topics.iter().flat_map(|topic| &topic.partitions);
    let request = request.with_delete_partitions(all.any(|one| one.delete));
    if version >= STOP_BY_TOPIC {
        let topics = order.topics.iter().map(|topic| {
            let indexes = topic.partitions.iter().map(|one| one.index);
            StopReplicaTopicV1::default()
                .with_name(topic_name(&topic.name))
                .with_partition_indexes(indexes.collect())
        });
        return request.with_topics(topics.collect());
    }
    request.with_ungrouped_partitions(ungrouped(&order.topics, |name, one| {
        StopReplicaPartitionV0::default()
            .with_topic_name(topic_name(name))
            .with_partition_index(one.index)
    }))
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
mod tests;
