//! `/feature`: the features the whole cluster has agreed on. In ZooKeeper mode there are none.

use serde_json::{Map, Value};

use super::json::{BodyError, Fields, Object, number};

/// Why a node does not say what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nonsense {
    /// It says nothing of use: a cluster that has agreed on nothing.
    #[error(transparent)]
    Void(BodyError),
    /// It holds what cannot be there: whoever knew something goes on with it.
    #[error(transparent)]
    Foreign(BodyError),
}

impl From<Nonsense> for BodyError {
    fn from(nonsense: Nonsense) -> Self {
        match nonsense {
            Nonsense::Void(why) | Nonsense::Foreign(why) => why,
        }
    }
}

/// What the node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    pub version: i32,
    pub enabled: bool,
    /// Name, lowest level (version 1 only) and highest level.
    pub levels: Vec<(String, Option<i32>, i32)>,
}

impl Features {
    pub fn encode(&self) -> String {
        let levels = self
            .levels
            .iter()
            .fold(Object::new(), |object, (name, min, max)| {
                let level = match min {
                    Some(min) => Object::new().number("min_version_level", *min),
                    None => Object::new(),
                };
                object.object(name, level.number("max_version_level", *max))
            });
        Object::new()
            .object("features", levels)
            .number("version", self.version)
            .number("status", i32::from(self.enabled))
            .end()
    }

    /// Kafka: `FeatureZNode.decode`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Nonsense> {
        let value: Value = match serde_json::from_slice(bytes) {
            Ok(value) => value,
            // For Jackson, which Kafka reads with, nothing at all is a value too, but no object.
            Err(_) if bytes.is_empty() => return Err(Nonsense::Foreign(BodyError::NotJson)),
            Err(_) => return Err(Nonsense::Void(BodyError::NotJson)),
        };
        let fields = Fields::from_value(&value).map_err(Nonsense::Foreign)?;
        let version = fields.i32("version").map_err(Nonsense::Foreign)?;
        if !(1..=2).contains(&version) {
            return Err(Nonsense::Void(BodyError::Version(i64::from(version))));
        }
        let status = present(&fields, "status")?;
        let enabled = match number(status) {
            Some(0) => false,
            Some(1) => true,
            Some(_) => return Err(Nonsense::Void(BodyError::Field("status"))),
            None => return Err(Nonsense::Foreign(BodyError::Field("status"))),
        };
        let levels = levels(version, present(&fields, "features")?)?;
        Ok(Features {
            version,
            enabled,
            levels,
        })
    }
}

fn present<'a>(fields: &'a Fields, name: &'static str) -> Result<&'a Value, Nonsense> {
    let missing = Nonsense::Void(BodyError::Field(name));
    fields.get(name).ok_or(missing)
}

fn object(value: &Value, error: BodyError) -> Result<&Map<String, Value>, Nonsense> {
    value.as_object().ok_or(Nonsense::Foreign(error))
}

type Level = (String, Option<i32>, i32);

fn levels(version: i32, features: &Value) -> Result<Vec<Level>, Nonsense> {
    const FIELD: BodyError = BodyError::Field("features");
    let mut named = Vec::new();
    for (name, level) in object(features, FIELD)? {
        let level = object(level, FIELD)?;
        if level.values().any(|value| number(value).is_none()) {
            return Err(Nonsense::Foreign(FIELD));
        }
        named.push((name, level));
    }
    let levels = named.into_iter().map(|(name, level)| {
        let of = |key: &str| level.get(key).and_then(number);
        let max = of("max_version_level").filter(|max| *max >= 1)?;
        let min = match version {
            1 => Some(of("min_version_level").filter(|min| (1..=max).contains(min))?),
            _ => None,
        };
        Some((name.clone(), min, max))
    });
    let levels: Option<Vec<Level>> = levels.collect();
    levels.ok_or(Nonsense::Void(FIELD))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Kafka refuses to understand, and what it stumbles over: its two kinds of exception.
    #[test]
    fn nonsense_says_nothing_or_cannot_be_there() {
        let decode = |body: &str| Features::decode(body.as_bytes());
        let void = |body: &str| assert!(matches!(decode(body), Err(Nonsense::Void(_))), "{body}");
        let foreign =
            |body: &str| assert!(matches!(decode(body), Err(Nonsense::Foreign(_))), "{body}");
        void("not json");
        foreign("");
        foreign("[]");
        foreign(r#"{"features":{},"status":1}"#);
        foreign(r#"{"features":{},"version":"2","status":1}"#);
        void(r#"{"features":{},"version":3,"status":1}"#);
        void(r#"{"features":{},"version":2}"#);
        void(r#"{"features":{},"version":2,"status":2}"#);
        foreign(r#"{"features":{},"version":2,"status":"1"}"#);
        void(r#"{"version":2,"status":1}"#);
        void(r#"{"features":null,"version":2,"status":1}"#);
        foreign(r#"{"features":[],"version":2,"status":1}"#);
        let level = |version, level: &str| {
            format!(r#"{{"features":{{"f":{level}}},"version":{version},"status":1}}"#)
        };
        foreign(&level(2, "1"));
        foreign(&level(2, r#"{"max_version_level":"1"}"#));
        void(&level(2, "{}"));
        void(&level(2, r#"{"max_version_level":0}"#));
        void(&level(1, r#"{"max_version_level":2}"#));
        void(&level(
            1,
            r#"{"min_version_level":0,"max_version_level":2}"#,
        ));
        void(&level(
            1,
            r#"{"min_version_level":3,"max_version_level":2}"#,
        ));
        assert!(decode(&level(2, r#"{"max_version_level":1,"more":1}"#)).is_ok());
    }
}
