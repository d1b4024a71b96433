//! `/config/<type>/<entity>`: the overrides of an entity, all values text, order kept.

use super::json::{BodyError, Fields, Object};

/// Every override of one entity. The order is that of the node, so an untouched rewrite is equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides(Vec<(String, String)>);

impl Overrides {
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let (key, value) = (key.into(), value.into());
        match self.0.iter_mut().find(|(name, _)| *name == key) {
            Some((_, held)) => *held = value,
            None => self.0.push((key, value)),
        }
    }

    /// Takes a key out; says whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(name, _)| name != key);
        self.0.len() < before
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub fn encode(&self) -> String {
        let config = self.iter().fold(Object::new(), |object, (key, value)| {
            object.text(key, value)
        });
        Object::new()
            .number("version", 1)
            .object("config", config)
            .end()
    }

    /// What is no JSON, or has no object of configs, is no overrides; only a value that is no text
    /// is an error. Kafka: `ConfigEntityZNode.decode`.
    pub fn decode(bytes: &[u8]) -> Result<Self, BodyError> {
        let mut overrides = Overrides::default();
        let Ok(fields) = Fields::parse(bytes) else {
            return Ok(overrides);
        };
        let Ok(config) = fields.object("config") else {
            return Ok(overrides);
        };
        for (key, value) in config {
            overrides.set(key, value.as_str().ok_or(BodyError::Field("config"))?);
        }
        Ok(overrides)
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Overrides {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(pairs: T) -> Self {
        let mut overrides = Overrides::default();
        for (key, value) in pairs {
            overrides.set(key, value);
        }
        overrides
    }
}

/// A change notice names the entity whose configs were written.
pub fn encode_notice(entity_path: &str) -> String {
    Object::new()
        .number("version", 2)
        .text("entity_path", entity_path)
        .end()
}

/// The entity path of a notice of version 2, or of version 1 (topics and clients only).
pub fn decode_notice(bytes: &[u8]) -> Result<String, BodyError> {
    let fields = Fields::parse(bytes)?;
    match fields.i32("version")? {
        1 => {
            let kind = fields.text("entity_type")?;
            if kind != "topics" && kind != "clients" {
                return Err(BodyError::Field("entity_type"));
            }
            Ok(format!("{kind}/{}", fields.text("entity_name")?))
        }
        2 => Ok(fields.text("entity_path")?.to_owned()),
        other => Err(BodyError::Version(i64::from(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a live Apache Kafka 3.9 took each of these nodes.
    #[test]
    fn a_node_that_holds_no_configs_is_an_empty_one() {
        for body in [
            "not json",
            "",
            "[]",
            "null",
            "7",
            r#"{"version":1}"#,
            r#"{"version":1,"config":[1]}"#,
            r#"{"version":1,"config":"x"}"#,
        ] {
            assert_eq!(
                Overrides::decode(body.as_bytes()),
                Ok(Overrides::default()),
                "{body}"
            );
        }
        let one = Overrides::from_iter([("a", "b")]);
        for body in [
            r#"{"config":{"a":"b"}}"#,
            r#"{"version":9,"config":{"a":"b"}}"#,
        ] {
            assert_eq!(
                Overrides::decode(body.as_bytes()).as_ref(),
                Ok(&one),
                "{body}"
            );
        }
        for value in ["1", "null"] {
            let body = format!(r#"{{"version":1,"config":{{"a":{value}}}}}"#);
            let refused = Overrides::decode(body.as_bytes());
            assert_eq!(refused, Err(BodyError::Field("config")), "{body}");
        }
    }
}
