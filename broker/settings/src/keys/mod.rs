//! THE list of keys: every one that Kafka 3.9 knows, and ours.
//!
//! Everything that speaks of a key takes it from here: reading, checking, `DescribeConfigs`, the
//! documentation. The facts (kind, default, bounds, importance, who may change it) are Kafka's;
//! each sentence is our own.

mod broker;
mod cleaner;
mod groups;
mod kraft;
mod log;
mod network;
mod ours;
mod quotas;
mod remote;
mod replication;
mod sasl;
mod security;
mod share;
mod tls;
mod topic;
mod transactions;
mod zookeeper;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::row::Row;

/// The broker's keys, area by area, ours last.
const AREAS: &[&[Row]] = &[
    broker::KEYS,
    network::KEYS,
    zookeeper::KEYS,
    log::KEYS,
    cleaner::KEYS,
    replication::KEYS,
    groups::KEYS,
    transactions::KEYS,
    quotas::KEYS,
    security::KEYS,
    tls::KEYS,
    sasl::KEYS,
    share::KEYS,
    kraft::KEYS,
    remote::KEYS,
    ours::KEYS,
];

static BROKER: LazyLock<HashMap<&'static str, &'static Row>> =
    LazyLock::new(|| broker_rows().map(|row| (row.name, row)).collect());

static TOPIC: LazyLock<HashMap<&'static str, &'static Row>> =
    LazyLock::new(|| topic_rows().map(|row| (row.name, row)).collect());

/// Every key of a broker.
pub fn broker_rows() -> impl Iterator<Item = &'static Row> {
    AREAS.iter().copied().flatten()
}

/// Every key of a topic.
pub fn topic_rows() -> impl Iterator<Item = &'static Row> {
    topic::KEYS.iter()
}

/// The rates that exist only while running, never in a file.
pub fn dynamic_only_rows() -> impl Iterator<Item = &'static Row> {
    quotas::DYNAMIC_ONLY.iter()
}

/// Whether Kafka knows nothing of this key.
pub fn is_ours(name: &str) -> bool {
    ours::KEYS.iter().any(|row| row.name == name)
}

pub fn broker(name: &str) -> Option<&'static Row> {
    BROKER.get(name).copied()
}

pub fn topic(name: &str) -> Option<&'static Row> {
    TOPIC.get(name).copied()
}

/// A broker's row for a name as it may stand in a file: plain, or behind `listener.name.<name>.`
/// (and there, for login keys, behind a mechanism's name too).
pub fn broker_or_listener(name: &str) -> Option<&'static Row> {
    broker(name).or_else(|| listener_base(name).and_then(broker))
}

/// `ssl.keystore.location` for `listener.name.internal.ssl.keystore.location`.
///
/// Kafka: `DynamicBrokerConfig.ListenerConfigRegex` and `ListenerMechanismConfigs`.
pub fn listener_base(name: &str) -> Option<&str> {
    const PER_MECHANISM: [&str; 5] = [
        "sasl.jaas.config",
        "sasl.login.callback.handler.class",
        "sasl.login.class",
        "sasl.server.callback.handler.class",
        "connections.max.reauth.ms",
    ];
    let (listener, base) = name.strip_prefix("listener.name.")?.split_once('.')?;
    if listener.is_empty() {
        return None;
    }
    Some(
        PER_MECHANISM
            .into_iter()
            .find(|key| base.ends_with(key))
            .unwrap_or(base),
    )
}

/// The names under which the same thing may be set, the one that wins within a layer first.
/// Empty for a key that stands alone.
///
/// Kafka: `DynamicBrokerConfig.brokerConfigSynonyms` without listener overrides.
pub fn same_thing(name: &str) -> &'static [&'static str] {
    match name {
        "log.roll.ms" | "log.roll.hours" => &["log.roll.ms", "log.roll.hours"],
        "log.roll.jitter.ms" | "log.roll.jitter.hours" => {
            &["log.roll.jitter.ms", "log.roll.jitter.hours"]
        }
        // The second is only what the first falls back to, and stays itself.
        "log.flush.interval.ms" => &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
        "log.retention.ms" | "log.retention.minutes" | "log.retention.hours" => &[
            "log.retention.ms",
            "log.retention.minutes",
            "log.retention.hours",
        ],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::State;

    #[test]
    fn every_default_can_be_read_and_every_name_is_there_once() {
        for rows in [broker_rows().collect::<Vec<_>>(), topic_rows().collect()] {
            let mut names = Vec::new();
            for row in rows {
                if let Some(default) = row.default {
                    let read = row.read(default);
                    assert!(read.is_ok(), "{}: {read:?}", row.name);
                }
                names.push(row.name);
            }
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all);
        }
        assert_eq!(broker_rows().count() - ours::KEYS.len(), 329);
        assert_eq!(topic_rows().count(), 36);
    }

    #[test]
    fn every_key_has_a_sentence_and_every_topic_key_falls_back_to_a_brokers() {
        for row in broker_rows().chain(topic_rows()).chain(dynamic_only_rows()) {
            assert!(
                row.doc.ends_with('.') && row.doc.len() > 15,
                "{}: {:?}",
                row.name,
                row.doc
            );
            if let State::Works(field) = row.state {
                assert!(!field.is_empty(), "{}", row.name);
            }
            if let Some(key) = row.broker_key {
                let beneath = broker(key).expect("a broker's key");
                assert_eq!(beneath.kind, row.kind, "{}", row.name);
            }
        }
    }

    #[test]
    fn a_listeners_own_key_is_the_plain_key_behind_a_prefix() {
        assert_eq!(
            listener_base("listener.name.internal.ssl.keystore.location"),
            Some("ssl.keystore.location")
        );
        assert_eq!(
            listener_base("listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config"),
            Some("sasl.jaas.config")
        );
        assert_eq!(listener_base("listeners"), None);
    }
}
