//! Which value counts: default < file < cluster < broker < topic, with the source kept.
//!
//! Kafka: `DynamicBrokerConfig`. A higher layer that sets one of several keys for the same thing
//! (`log.retention.hours`) hides the others of the layers beneath (`log.retention.ms`), though
//! within one layer the finer unit wins.

use std::collections::{BTreeMap, HashMap};

use crate::keys;
use crate::row::Row;
use crate::value::{Fault, Value};

/// Keys and their texts, as one layer holds them.
pub type Texts = BTreeMap<String, String>;

/// Where a value came from, as `DescribeConfigs` numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Topic,
    Broker,
    Cluster,
    File,
    Default,
    Logger,
    ClientMetrics,
}

impl Source {
    pub fn wire(self) -> i8 {
        match self {
            Source::Topic => 1,
            Source::Broker => 2,
            Source::Cluster => 3,
            Source::File => 4,
            Source::Default => 5,
            Source::Logger => 6,
            Source::ClientMetrics => 7,
        }
    }
}

/// One name under which a value may be found, where, and what it says there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    pub name: String,
    /// `None` for a null default.
    pub value: Option<String>,
    pub source: Source,
}

/// The three layers above the defaults that a broker's own settings come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    /// The file, the command line and what they imply.
    pub file: Texts,
    /// `/config/brokers/<default>`.
    pub cluster: Texts,
    /// `/config/brokers/<id>`.
    pub broker: Texts,
}

impl Layers {
    /// The texts that count, higher layers over lower ones.
    pub fn effective(&self) -> Texts {
        let mut texts = self.file.clone();
        for layer in [&self.cluster, &self.broker] {
            for (key, text) in layer {
                for same in keys::same_thing(key) {
                    texts.remove(*same);
                }
                texts.insert(key.clone(), text.clone());
            }
        }
        texts
    }

    /// Every place that has a say in `name`, the one that counts first.
    ///
    /// Kafka: `ConfigHelper.configSynonyms`: for each layer from the top, each of `names` in turn;
    /// what stands before the first `name` itself is dropped.
    pub fn synonyms(&self, name: &str, names: &[&str]) -> Vec<Synonym> {
        let layers = [
            (&self.broker, Source::Broker),
            (&self.cluster, Source::Cluster),
            (&self.file, Source::File),
        ];
        let mut found = Vec::new();
        for (layer, source) in layers {
            for name in names {
                if let Some(text) = layer.get(*name) {
                    let value = Some(text.clone());
                    found.push(Synonym {
                        name: (*name).to_owned(),
                        value,
                        source,
                    });
                }
            }
        }
        for name in names {
            // A key without a default has none to show, though Kafka names some with a null.
            if let Some(value) = keys::broker(name).and_then(|row| row.default_value().text()) {
                let value = Some(value);
                found.push(Synonym {
                    name: (*name).to_owned(),
                    value,
                    source: Source::Default,
                });
            }
        }
        let first = found
            .iter()
            .position(|synonym| synonym.name == name)
            .unwrap_or(found.len());
        found.split_off(first)
    }
}

/// Parsed values of every key of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Values(HashMap<&'static str, Value>);

impl Values {
    /// Reads `texts` against `rows`; keys without text take their default. All faults at once.
    pub fn read(rows: impl Iterator<Item = &'static Row>, texts: &Texts) -> (Values, Vec<Fault>) {
        let mut faults = Vec::new();
        let values = rows.map(|row| {
            let value = match texts.get(row.name) {
                None => row.default_value(),
                Some(text) => row.read(text).unwrap_or_else(|fault| {
                    faults.push(fault);
                    row.default_value()
                }),
            };
            (row.name, value)
        });
        (Values(values.collect()), faults)
    }

    /// The value of a key of the table; null for any other.
    pub fn get(&self, key: &str) -> &Value {
        self.0.get(key).unwrap_or(&Value::Null)
    }

    /// A whole number that has a default, or one that was set.
    pub fn whole(&self, key: &str) -> Option<i64> {
        self.get(key).whole()
    }

    pub fn real(&self, key: &str) -> Option<f64> {
        match self.get(key) {
            Value::Double(number) => Some(*number),
            other => other.whole().map(|n| n as f64),
        }
    }

    pub fn flag(&self, key: &str) -> bool {
        matches!(self.get(key), Value::Boolean(true))
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn list(&self, key: &str) -> &[String] {
        match self.get(key) {
            Value::List(items) => items,
            _ => &[],
        }
    }

    pub fn long(&self, key: &str) -> i64 {
        self.whole(key).unwrap_or_default()
    }

    pub fn int(&self, key: &str) -> i32 {
        i32::try_from(self.long(key)).unwrap_or(i32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[(&str, &str)]) -> Texts {
        list.iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn a_coarser_unit_of_a_higher_layer_hides_a_finer_one_beneath() {
        let layers = Layers {
            file: texts(&[("log.retention.ms", "1000"), ("num.partitions", "3")]),
            cluster: texts(&[("log.retention.hours", "2")]),
            broker: Texts::new(),
        };
        let effective = layers.effective();
        assert_eq!(effective.get("log.retention.ms"), None);
        assert_eq!(
            effective.get("log.retention.hours").map(String::as_str),
            Some("2")
        );
    }

    #[test]
    fn synonyms_stand_in_the_order_in_which_they_count() {
        let layers = Layers {
            file: texts(&[("log.retention.ms", "1000")]),
            cluster: texts(&[("log.retention.ms", "7")]),
            broker: Texts::new(),
        };
        let names = keys::same_thing("log.retention.ms");
        let list: Vec<_> = layers
            .synonyms("log.retention.ms", names)
            .into_iter()
            .map(|s| (s.name, s.value.unwrap_or_default(), s.source))
            .collect();
        let want = [
            ("log.retention.ms", "7", Source::Cluster),
            ("log.retention.ms", "1000", Source::File),
            ("log.retention.hours", "168", Source::Default),
        ];
        assert_eq!(list, want.map(|(n, v, s)| (n.to_owned(), v.to_owned(), s)));
    }
}
