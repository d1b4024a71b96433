//! A topic's overrides: checked, and laid over what the broker gives all topics.
//!
//! Kafka: `LogConfig.validate` (ZooKeeper's variant) and `ConfigHelper.createTopicConfigEntry`.

use crate::keys;
use crate::layers::{Layers, Source, Synonym, Texts, Values};
use crate::value::{Fault, Value};

/// Why a topic's overrides are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("Unknown topic config name: {0}")]
    UnknownName(String),
    /// Kafka's callers put `Invalid config value for resource …: ` before these.
    #[error(transparent)]
    BadValue(#[from] Fault),
    /// Values that are fine alone and not together.
    #[error("{0}")]
    Contradiction(String),
}

/// The texts that a topic without overrides would have, from a broker's own settings.
///
/// Kafka: `KafkaConfig.extractLogConfigMap`, with hours and minutes turned to milliseconds.
pub fn defaults(broker: &Values) -> Texts {
    let mut texts = Texts::new();
    for row in keys::topic_rows() {
        let Some(key) = row.broker_key else { continue };
        let text = match key {
            "log.roll.ms" => Some(roll_ms(broker).to_string()),
            "log.roll.jitter.ms" => Some(roll_jitter_ms(broker).to_string()),
            "log.retention.ms" => Some(retention_ms(broker).to_string()),
            "log.flush.interval.ms" => Some(flush_ms(broker).to_string()),
            _ => broker.get(key).text(),
        };
        if let Some(text) = text {
            texts.insert(row.name.to_owned(), text);
        }
    }
    texts
}

const HOUR_MS: i64 = 60 * 60 * 1000;

pub fn roll_ms(broker: &Values) -> i64 {
    let hours = || broker.long("log.roll.hours").saturating_mul(HOUR_MS);
    broker.whole("log.roll.ms").unwrap_or_else(hours)
}

pub fn roll_jitter_ms(broker: &Values) -> i64 {
    let hours = || broker.long("log.roll.jitter.hours").saturating_mul(HOUR_MS);
    broker.whole("log.roll.jitter.ms").unwrap_or_else(hours)
}

/// Kafka: anything below zero is "for ever", −1.
pub fn retention_ms(broker: &Values) -> i64 {
    let minutes = || {
        broker
            .whole("log.retention.minutes")
            .map(|n| n.saturating_mul(60_000))
    };
    let hours = || broker.long("log.retention.hours").saturating_mul(HOUR_MS);
    let ms = broker
        .whole("log.retention.ms")
        .or_else(minutes)
        .unwrap_or_else(hours);
    if ms < 0 { -1 } else { ms }
}

pub fn flush_ms(broker: &Values) -> i64 {
    broker
        .whole("log.flush.interval.ms")
        .unwrap_or_else(|| broker.long("log.flush.scheduler.interval.ms"))
}

/// A topic's values: its overrides over `defaults`. Overrides that cannot be read are left out,
/// as they are where a znode carries them; [`check`] is what keeps them from being written.
pub fn values(overrides: &Texts, defaults: &Texts) -> (Values, Vec<Fault>) {
    let mut texts = defaults.clone();
    texts.extend(
        overrides
            .iter()
            .map(|(key, text)| (key.clone(), text.clone())),
    );
    let (values, faults) = Values::read(keys::topic_rows(), &texts);
    if faults.is_empty() {
        return (values, faults);
    }
    for fault in &faults {
        match defaults.get(&fault.key) {
            Some(text) => texts.insert(fault.key.clone(), text.clone()),
            None => texts.remove(&fault.key),
        };
    }
    (Values::read(keys::topic_rows(), &texts).0, faults)
}

/// Whether a topic may have these overrides, in Kafka's words.
pub fn check(overrides: &Texts, defaults: &Texts) -> Result<(), Refusal> {
    if let Some(name) = overrides.keys().find(|name| keys::topic(name).is_none()) {
        return Err(Refusal::UnknownName(name.clone()));
    }
    let (values, faults) = values(overrides, defaults);
    if let Some(fault) = faults.into_iter().next() {
        return Err(Refusal::BadValue(fault));
    }
    let (min, max) = (
        values.long("min.compaction.lag.ms"),
        values.long("max.compaction.lag.ms"),
    );
    if min > max {
        return Err(Refusal::Contradiction(format!(
            "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms \
             ({max})"
        )));
    }
    if values.flag("remote.log.delete.on.disable") || values.flag("remote.log.copy.disable") {
        return Err(Refusal::Contradiction(
            "It is invalid to set `remote.log.delete.on.disable` or `remote.log.copy.disable` \
             under Zookeeper's mode."
                .to_owned(),
        ));
    }
    if values.flag("remote.storage.enable") {
        return Err(Refusal::BadValue(Fault::between(
            "remote.storage.enable",
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured \
             with remote log storage.",
        )));
    }
    Ok(())
}

/// One line of a topic's `DescribeConfigs`.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    pub name: String,
    pub value: Value,
    pub source: Source,
    pub synonyms: Vec<Synonym>,
}

/// Every key of a topic with the value that counts and where it came from.
pub fn describe(overrides: &Texts, layers: &Layers, broker: &Values) -> Vec<Described> {
    let (values, _) = values(overrides, &defaults(broker));
    keys::topic_rows()
        .map(|row| {
            let value = values.get(row.name).clone();
            let mut synonyms = Vec::new();
            if overrides.contains_key(row.name) {
                let (name, value) = (row.name.to_owned(), value.text());
                synonyms.push(Synonym {
                    name,
                    value,
                    source: Source::Topic,
                });
            }
            if let Some(key) = row.broker_key {
                let alone = [key];
                let same = keys::same_thing(key);
                let names = if same.is_empty() { &alone[..] } else { same };
                synonyms.extend(layers.synonyms(key, names));
            }
            let source = synonyms
                .first()
                .map_or(Source::Default, |first| first.source);
            Described {
                name: row.name.to_owned(),
                value,
                source,
                synonyms,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[(&str, &str)]) -> Texts {
        list.iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn plain() -> Values {
        Values::read(keys::broker_rows(), &Texts::new()).0
    }

    #[test]
    fn a_topic_is_refused_in_kafkas_words() {
        let defaults = defaults(&plain());
        let said = |list: &[(&str, &str)]| check(&texts(list), &defaults).unwrap_err().to_string();
        assert_eq!(said(&[("nope", "1")]), "Unknown topic config name: nope");
        assert_eq!(
            said(&[("cleanup.policy", "shred")]),
            "Invalid value shred for configuration cleanup.policy: String must be one of: compact, \
             delete"
        );
        assert_eq!(
            said(&[("segment.bytes", "13")]),
            "Invalid value 13 for configuration segment.bytes: Value must be at least 14"
        );
        assert_eq!(
            said(&[
                ("min.compaction.lag.ms", "2"),
                ("max.compaction.lag.ms", "1")
            ]),
            "conflict topic config setting min.compaction.lag.ms (2) > max.compaction.lag.ms (1)"
        );
        assert_eq!(check(&texts(&[("retention.ms", "-1")]), &defaults), Ok(()));
    }

    #[test]
    fn hours_and_minutes_of_the_broker_become_a_topics_milliseconds() {
        let file = texts(&[("log.retention.minutes", "5"), ("log.roll.hours", "2")]);
        let (values, faults) = Values::read(keys::broker_rows(), &file);
        assert!(faults.is_empty());
        let defaults = defaults(&values);
        assert_eq!(defaults["retention.ms"], "300000");
        assert_eq!(defaults["segment.ms"], "7200000");
        assert_eq!(defaults["flush.ms"], i64::MAX.to_string());
    }

    #[test]
    fn an_override_that_cannot_be_read_leaves_the_default() {
        let defaults = defaults(&plain());
        let (values, faults) = values(&texts(&[("retention.ms", "soon")]), &defaults);
        assert_eq!(values.long("retention.ms"), 604_800_000);
        assert_eq!(faults.len(), 1);
    }
}
