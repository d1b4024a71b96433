//! Every kind of body that Kafka 3.9.2 was seen to write reads and writes back to the same bytes.

use super::*;
use crate::paths;

/// `path TAB body`, taken from real trees.
const NODES: &str = include_str!("../../tests/golden/nodes.txt");

fn again(path: &str, body: &[u8]) -> Result<String, BodyError> {
    let starts = |prefix: &str| path.starts_with(prefix);
    if starts(paths::IDS) {
        broker::Broker::decode(body).map(|body| body.encode())
    } else if path.ends_with("/state") {
        partition::PartitionState::decode(body).map(|body| body.encode())
    } else if starts(paths::TOPICS) {
        topic::Topic::decode(body).map(|body| body.encode())
    } else if starts(paths::CONFIG_CHANGES) {
        config::decode_notice(body).map(|entity| config::encode_notice(&entity))
    } else if starts(paths::CONFIG) {
        let overrides = config::Overrides::decode(body)?;
        if let Some(secret) = overrides.get("SCRAM-SHA-512") {
            assert_eq!(scram::Credential::decode(secret)?.encode(), secret);
        }
        Ok(overrides.encode())
    } else if starts(paths::ACL_CHANGES_EXTENDED) {
        acl::decode_extended_change(body)
            .map(|(kind, name, pattern)| acl::encode_extended_change(&kind, &name, &pattern))
    } else if starts(paths::ACL_CHANGES) {
        acl::decode_literal_change(body)
            .map(|(kind, name)| acl::encode_literal_change(&kind, &name))
    } else if starts(paths::ACLS) {
        acl::decode(body).map(|entries| acl::encode(&entries))
    } else if starts(paths::TOKENS) {
        token::Token::decode(body).map(|token| token.encode())
    } else {
        match path {
            paths::CONTROLLER => controller::Controller::decode(body).map(|body| body.encode()),
            paths::CONTROLLER_EPOCH => {
                controller::decode_epoch(body).map(|epoch| epoch.to_string())
            }
            paths::CLUSTER_ID => cluster::decode(body).map(|id| cluster::encode(&id)),
            paths::FEATURES => features::Features::decode(body)
                .map(|body| body.encode())
                .map_err(BodyError::from),
            paths::PRODUCER_IDS => producer_ids::Block::decode(body).map(|body| body.encode()),
            paths::REASSIGN => {
                reassign::decode_targets(body).map(|targets| reassign::encode_targets(&targets))
            }
            _ => Ok(String::from_utf8_lossy(body).into_owned()),
        }
    }
}

#[test]
fn what_kafka_wrote_is_written_back_byte_for_byte() {
    let mut count = 0;
    for line in NODES.lines() {
        let (path, body) = line.split_once('\t').unwrap();
        assert_eq!(again(path, body.as_bytes()).as_deref(), Ok(body), "{path}");
        count += 1;
    }
    assert!(count > 100, "{count} nodes");
}

#[test]
fn registrations_of_old_brokers_are_read() {
    let v1 = br#"{"version":1,"jmx_port":-1,"host":"h","port":9092,"timestamp":"1"}"#;
    assert_eq!(broker::Broker::decode(v1).unwrap().endpoints[0].port, 9092);
    let v3 = br#"{"version":3,"jmx_port":-1,"endpoints":["SSL://[::1]:9093"],"rack":"r"}"#;
    let read = broker::Broker::decode(v3).unwrap();
    assert_eq!(
        (
            read.endpoints[0].protocol_id(),
            read.endpoints[0].host.as_str()
        ),
        (1, "::1")
    );
    let twice = br#"{"version":3,"jmx_port":-1,"endpoints":["A://a:1","A://b:2"]}"#;
    assert!(broker::Broker::decode(twice).is_err());
}

#[test]
fn numbers_spelled_as_text_are_refused_and_the_reverse() {
    let state = br#"{"controller_epoch":"1","leader":1,"version":1,"leader_epoch":0,"isr":[1]}"#;
    assert_eq!(
        partition::PartitionState::decode(state),
        Err(BodyError::Field("controller_epoch"))
    );
    let block = br#"{"version":1,"broker":1,"block_start":0,"block_end":"999"}"#;
    assert_eq!(
        producer_ids::Block::decode(block),
        Err(BodyError::Field("block_start"))
    );
    let targets = br#"{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1],"log_dirs":["any"]}]}"#;
    assert!(reassign::decode_targets(targets).is_err());
}

#[test]
fn a_topic_node_that_is_no_json_is_a_topic_without_partitions() {
    assert_eq!(topic::Topic::decode(b"junk"), Ok(topic::Topic::default()));
}

#[test]
fn of_a_partition_that_is_named_twice_the_last_word_counts() {
    let body = br#"{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1]},{"topic":"t","partition":1,"replicas":[1]},{"topic":"t","partition":0,"replicas":[2,3]}]}"#;
    let targets = reassign::decode_targets(body).unwrap();
    assert_eq!(
        reassign::encode_targets(&targets),
        r#"{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[2,3]},{"topic":"t","partition":1,"replicas":[1]}]}"#
    );
}

/// As brokers of Kafka 3.9 wrote them at the protocol version 2.6.
#[test]
fn registrations_say_no_more_than_the_agreed_version() {
    let v4 = r#"{"listener_security_protocol_map":{"PLAINTEXT":"PLAINTEXT"},"endpoints":["PLAINTEXT://127.0.0.1:33501"],"jmx_port":-1,"port":33501,"host":"127.0.0.1","version":4,"timestamp":"1795219886546"}"#;
    let mut read = broker::Broker::decode(v4.as_bytes()).unwrap();
    assert_eq!(read.encode(), v4);
    read.rack = Some("r".to_owned());
    read.version = 2;
    let v2 = r#"{"endpoints":["PLAINTEXT://127.0.0.1:33501"],"jmx_port":-1,"port":33501,"host":"127.0.0.1","version":2,"timestamp":"1795219886546"}"#;
    assert_eq!(read.encode(), v2);
}
