//! Every order as a broker of each protocol version reads it.

use bytes::BytesMut;
use controller::sender::{LiveLeader, StopPartition};
use protocol::ids::TopicId;
use protocol::kafka::codec;
use protocol::messages::BrokerId as WireId;
use znodes::bodies::broker::Endpoint;

use super::*;

/// One of every set of versions that a protocol version stands for.
const STEPS: [&str; 14] = [
    "0.8.2", "0.9.0", "0.10.0", "0.10.2", "1.0", "2.0", "2.2", "2.4-IV0", "2.4", "2.6", "2.8",
    "3.2", "3.4", "3.9",
];

fn of_topics<T>(topics: Vec<(&str, Vec<T>)>) -> Vec<OfTopic<T>> {
    let named = topics.into_iter().map(|(name, partitions)| OfTopic {
        name: Arc::from(name),
        id: TopicId::random(),
        partitions,
    });
    named.collect()
}

/// The requests of an order as a broker reads them from the wire.
fn sent(order: &Order, text: &str) -> Vec<(i16, RequestKind)> {
    let versions = Versions::of(text);
    let requests = orders(order.clone(), versions).into_iter().map(|one| {
        let (api, version, request) = request(&one, versions);
        let mut body = BytesMut::new();
        request
            .encode(&mut body, version)
            .unwrap_or_else(|error| panic!("{api:?} {version} at {text}: {error}"));
        let read = codec::decode_request(api, version, body.freeze()).unwrap();
        (version, read)
    });
    requests.collect()
}

#[test]
fn leaders_are_told_at_every_protocol_version() {
    let partition = |index| PartitionOrder {
        index,
        controller_epoch: 3,
        leader: 1,
        leader_epoch: 4,
        isr: vec![1],
        partition_epoch: 5,
        replicas: vec![2, 1],
        adding: vec![2],
        removing: vec![1],
        is_new: true,
        recovering: true,
    };
    let order = Order::LeaderAndIsr(LeaderAndIsr {
        controller_id: 1,
        controller_epoch: 3,
        broker_epoch: 9,
        topics: of_topics(vec![
            ("a", vec![partition(0), partition(1)]),
            ("b", vec![partition(0)]),
        ]),
        live_leaders: vec![LiveLeader {
            id: 1,
            host: "h".to_owned(),
            port: 9092,
        }],
    });
    for text in STEPS {
        let sent = sent(&order, text);
        let [(version, RequestKind::LeaderAndIsr(read))] = &sent[..] else {
            panic!("{text}: {sent:?}");
        };
        let mut named: Vec<_> = read.ungrouped_partition_states.iter().collect();
        let mut names: Vec<&str> = named.iter().map(|one| one.topic_name.0.as_str()).collect();
        for topic in &read.topic_states {
            names.extend(
                topic
                    .partition_states
                    .iter()
                    .map(|_| topic.topic_name.0.as_str()),
            );
            named.extend(&topic.partition_states);
        }
        assert_eq!(names, ["a", "a", "b"], "{text}");
        for one in named {
            assert_eq!((one.leader, one.leader_epoch), (WireId(1), 4), "{text}");
            assert_eq!(one.replicas, [WireId(2), WireId(1)], "{text}");
            assert_eq!(one.leader_recovery_state, i8::from(*version >= 6), "{text}");
        }
    }
}

#[test]
fn clients_facts_are_told_at_every_protocol_version() {
    let endpoint = |listener: &str, protocol: &str, port| Endpoint {
        listener: listener.to_owned(),
        protocol: protocol.to_owned(),
        host: "h".to_owned(),
        port,
    };
    let facts = PartitionFacts {
        index: 7,
        controller_epoch: 3,
        leader: 1,
        leader_epoch: 4,
        isr: vec![1],
        partition_epoch: 5,
        replicas: vec![1, 2],
        offline_replicas: vec![2],
    };
    let order = Order::UpdateMetadata {
        broker_epoch: 9,
        body: Arc::new(UpdateMetadata {
            controller_id: 1,
            controller_epoch: 3,
            topics: of_topics(vec![("a", vec![facts])]),
            brokers: vec![BrokerFacts {
                id: 1,
                endpoints: vec![endpoint("TLS", "SSL", 1), endpoint("PLAIN", "PLAINTEXT", 2)],
                rack: Some("r".to_owned()),
            }],
        }),
    };
    for text in STEPS {
        let sent = sent(&order, text);
        let [(version, RequestKind::UpdateMetadata(read))] = &sent[..] else {
            panic!("{text}: {sent:?}");
        };
        let grouped = read
            .topic_states
            .iter()
            .flat_map(|topic| &topic.partition_states);
        let all: Vec<_> = read
            .ungrouped_partition_states
            .iter()
            .chain(grouped)
            .collect();
        let [one] = all[..] else {
            panic!("{text}: {all:?}");
        };
        assert_eq!((one.partition_index, one.leader), (7, WireId(1)), "{text}");
        let offline: &[WireId] = if *version >= 4 { &[WireId(2)] } else { &[] };
        assert_eq!(one.offline_replicas, offline, "{text}");
        let broker = &read.live_brokers[0];
        let ports: Vec<i32> = broker.endpoints.iter().map(|at| at.port).collect();
        match version {
            0 => assert_eq!((broker.v0_port, ports), (2, vec![]), "{text}"),
            _ => assert_eq!(ports, [1, 2], "{text}"),
        }
    }
}

#[test]
fn replicas_are_stopped_at_every_protocol_version() {
    let partition = |index, delete| StopPartition {
        index,
        leader_epoch: 4,
        delete,
    };
    let order = Order::StopReplica(StopReplica {
        controller_id: 1,
        controller_epoch: 3,
        broker_epoch: 9,
        topics: of_topics(vec![
            ("a", vec![partition(0, true), partition(1, false)]),
            ("b", vec![partition(2, false)]),
        ]),
    });
    for text in STEPS {
        let mut told = Vec::new();
        for (_, request) in sent(&order, text) {
            let RequestKind::StopReplica(read) = request else {
                panic!("{text}: {request:?}");
            };
            let all = read.delete_partitions;
            told.extend(
                read.ungrouped_partitions
                    .iter()
                    .map(|one| (one.topic_name.0.to_string(), one.partition_index, all)),
            );
            for topic in &read.topics {
                let name = topic.name.0.to_string();
                let indexes = topic.partition_indexes.iter();
                told.extend(indexes.map(|index| (name.clone(), *index, all)));
            }
            for topic in &read.topic_states {
                let name = topic.topic_name.0.to_string();
                told.extend(
                    topic
                        .partition_states
                        .iter()
                        .map(|one| (name.clone(), one.partition_index, one.delete_partition)),
                );
            }
        }
        told.sort();
        let a = "a".to_owned();
        let expected = [
            (a.clone(), 0, true),
            (a, 1, false),
            ("b".to_owned(), 2, false),
        ];
        assert_eq!(told, expected, "{text}");
    }
}
