//! UpdateMetadata: the controller tells what every broker tells its clients.

use protocol::ids::{BrokerId, ControllerEpoch, LeaderEpoch, TopicId};
use protocol::kafka::errors::ErrorCode;
use protocol::messages::update_metadata_request::{
    UpdateMetadataBroker, UpdateMetadataPartitionState,
};
use protocol::messages::{BrokerId as WireBrokerId, UpdateMetadataRequest, UpdateMetadataResponse};

use crate::api::peers::authority::Orders;
use crate::metadata::update::TopicUpdate;
use crate::metadata::{Broker, Endpoint, PartitionImage, Update};

pub(crate) fn answer(orders: &Orders, request: UpdateMetadataRequest) -> UpdateMetadataResponse {
    let authority = orders.authority(request.controller_epoch, request.broker_epoch);
    let is_without_zookeeper = request.is_k_raft_controller;
    let code = if let Err(code) = Orders::check_epoch(authority, is_without_zookeeper) {
        code
    } else if !orders
        .replicas
        .accept_controller(authority.controller_epoch)
    {
        ErrorCode::StaleControllerEpoch
    } else if let Some(gone) = orders.metadata.apply(read(request)) {
        orders.groups.forget_partitions(&gone);
        ErrorCode::None
    } else {
        ErrorCode::StaleControllerEpoch
    };
    UpdateMetadataResponse::default().with_error_code(code.code())
}

fn read(request: UpdateMetadataRequest) -> Update {
    let mut topics: Vec<TopicUpdate> = Vec::new();
    // Up to version 4 every partition names its topic.
    for state in request.ungrouped_partition_states {
        let update = TopicUpdate {
            name: state.topic_name.0.as_str().into(),
            id: None,
            partitions: vec![(state.partition_index, partition(state))],
        };
        topics.push(update);
    }
    for topic in request.topic_states {
        let partitions = topic.partition_states.into_iter();
        topics.push(TopicUpdate {
            name: topic.topic_name.0.as_str().into(),
            id: Some(TopicId(topic.topic_id)),
            partitions: partitions
                .map(|state| (state.partition_index, partition(state)))
                .collect(),
        });
    }
    Update {
        controller: BrokerId(request.controller_id.0),
        controller_epoch: ControllerEpoch(request.controller_epoch),
        brokers: request.live_brokers.into_iter().map(broker).collect(),
        topics,
    }
}

fn partition(state: UpdateMetadataPartitionState) -> PartitionImage {
    let ids = |ids: Vec<WireBrokerId>| ids.into_iter().map(|id| BrokerId(id.0)).collect();
    PartitionImage {
        leader: BrokerId(state.leader.0),
        leader_epoch: LeaderEpoch(state.leader_epoch),
        isr: ids(state.isr),
        replicas: ids(state.replicas),
        offline_replicas: ids(state.offline_replicas),
        partition_epoch: state.zk_version,
        controller_epoch: ControllerEpoch(state.controller_epoch),
    }
}

/// Version 0 knows one plain address; 1 and 2 name listeners by their protocol.
fn broker(told: UpdateMetadataBroker) -> Broker {
    let mut endpoints: Vec<Endpoint> = told
        .endpoints
        .iter()
        .map(|at| Endpoint {
            listener: match at.listener.as_str() {
                "" => protocol_name(at.security_protocol).to_owned(),
                name => name.to_owned(),
            },
            host: at.host.to_string(),
            port: at.port,
            security_protocol: at.security_protocol,
        })
        .collect();
    if endpoints.is_empty() && !told.v0_host.is_empty() {
        endpoints.push(Endpoint {
            listener: protocol_name(0).to_owned(),
            host: told.v0_host.to_string(),
            port: told.v0_port,
            security_protocol: 0,
        });
    }
    let rack = told.rack.map(|rack| rack.to_string());
    Broker {
        id: BrokerId(told.id.0),
        endpoints,
        rack,
    }
}

fn protocol_name(security_protocol: i16) -> &'static str {
    match security_protocol {
        1 => "SSL",
        2 => "SASL_PLAINTEXT",
        3 => "SASL_SSL",
        _ => "PLAINTEXT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use protocol::StrBytes;
    use protocol::messages::TopicName;
    use protocol::messages::update_metadata_request::UpdateMetadataTopicState;

    #[test]
    fn old_and_new_shapes_of_the_request_tell_the_same() {
        let state = |name: &'static str| {
            UpdateMetadataPartitionState::default()
                .with_topic_name(TopicName(StrBytes::from_static_str(name)))
                .with_leader(WireBrokerId(1))
                .with_zk_version(3)
        };
        let old = UpdateMetadataRequest::default()
            .with_ungrouped_partition_states(vec![state("t")])
            .with_live_brokers(vec![
                UpdateMetadataBroker::default()
                    .with_v0_host(StrBytes::from_static_str("h"))
                    .with_v0_port(9092),
            ]);
        let topic = UpdateMetadataTopicState::default()
            .with_topic_name(TopicName(StrBytes::from_static_str("t")))
            .with_partition_states(vec![state("")]);
        let new = UpdateMetadataRequest::default().with_topic_states(vec![topic]);
        let (old, new) = (read(old), read(new));
        assert_eq!(old.topics[0].partitions, new.topics[0].partitions);
        assert_eq!(*old.topics[0].name, *new.topics[0].name);
        assert_eq!(old.brokers[0].endpoints[0].listener, "PLAINTEXT");
        assert_eq!(Arc::strong_count(&old.topics[0].name), 1);
    }
}
