//! `/feature`: the features the whole cluster has agreed on. In ZooKeeper mode there are none.

use super::json::{BodyError, Fields, Object};

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

    pub fn decode(bytes: &[u8]) -> Result<Self, BodyError> {
        let fields = Fields::parse(bytes)?;
        let version = fields.i32("version")?;
        if !(1..=2).contains(&version) {
            return Err(BodyError::Version(i64::from(version)));
        }
        let enabled = match fields.i32("status")? {
            0 => false,
            1 => true,
            _ => return Err(BodyError::Field("status")),
        };
        let mut levels = Vec::new();
        for (name, level) in fields.object("features")? {
            let level = Fields::from_value(level).map_err(|_| BodyError::Field("features"))?;
            let min = match version {
                1 => Some(level.i32("min_version_level")?),
                _ => None,
            };
            levels.push((name.clone(), min, level.i32("max_version_level")?));
        }
        Ok(Features {
            version,
            enabled,
            levels,
        })
    }
}
