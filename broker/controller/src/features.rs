//! The `/feature` node: enabled and empty in ZooKeeper mode, disabled before 2.7.

use tracing::warn;
use znodes::bodies::features::Features;
use znodes::paths;
use znodes::store::{ANY, Error, Kind, Store};

use crate::agreed::Agreed;

/// What the node shall say, now that it says `held`. Kafka: `enableFeatureVersioning`, which keeps
/// what an enabled node names, and `disableFeatureVersioning`, which keeps nothing.
fn wanted(held: Option<Features>, agreed: Agreed) -> Features {
    let version = agreed.features_version;
    let enabled = agreed.features;
    let kept = held.filter(|held| held.enabled && enabled);
    let levels = kept.into_iter().flat_map(|held| held.levels);
    // Version 1 has a lowest level as well; it begins with 1.
    let levels = levels.map(|(name, min, max)| match version {
        1 => (name, Some(min.unwrap_or(1)), max),
        _ => (name, None, max),
    });
    Features {
        version,
        enabled,
        levels: levels.collect(),
    }
}

/// Makes the node what it shall be.
pub(crate) async fn settle(store: &dyn Store, agreed: Agreed) -> Result<(), Error> {
    loop {
        let node = store.get(paths::FEATURES, None).await?;
        let held = node.as_ref().map(|node| Features::decode(&node.data));
        let held = match held.transpose() {
            Ok(held) => held,
            Err(error) => {
                warn!(%error, "the feature node cannot be read; left alone");
                return Ok(());
            }
        };
        let body = wanted(held, agreed).encode();
        let written = match &node {
            Some(node) if body.as_bytes() == node.data => return Ok(()),
            Some(_) => {
                let set = store.set(paths::FEATURES, body.as_bytes(), ANY);
                set.await.map(drop)
            }
            None => {
                let kind = Kind::Persistent;
                let made = store.create(paths::FEATURES, body.as_bytes(), kind);
                made.await.map(drop)
            }
        };
        match written {
            Ok(()) => return Ok(()),
            Err(Error::NodeExists { .. } | Error::NoNode { .. } | Error::Unknown { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(version: i32, enabled: bool, levels: &[(&str, Option<i32>, i32)]) -> Features {
        let levels = levels
            .iter()
            .map(|(name, min, max)| ((*name).to_owned(), *min, *max));
        Features {
            version,
            enabled,
            levels: levels.collect(),
        }
    }

    /// As brokers of Kafka 3.9 left the node at these protocol versions.
    #[test]
    fn the_node_follows_the_protocol_version() {
        let new = |text| wanted(None, Agreed::at(text)).encode();
        assert_eq!(new("2.6"), r#"{"features":{},"version":1,"status":0}"#);
        assert_eq!(new("2.8"), r#"{"features":{},"version":1,"status":1}"#);
        assert_eq!(new("3.9"), r#"{"features":{},"version":2,"status":1}"#);
    }

    #[test]
    fn what_an_enabled_node_names_is_kept_in_the_words_of_the_version() {
        let held = node(1, true, &[("f", Some(2), 3)]);
        let at = |text| wanted(Some(held.clone()), Agreed::at(text));
        assert_eq!(at("3.9"), node(2, true, &[("f", None, 3)]));
        assert_eq!(at("2.8"), held);
        assert_eq!(at("2.6"), node(1, false, &[]));
        let newer = node(2, true, &[("f", None, 3)]);
        let older = wanted(Some(newer), Agreed::at("3.2"));
        assert_eq!(older, node(1, true, &[("f", Some(1), 3)]));
        let disabled = node(1, false, &[("f", Some(2), 3)]);
        assert_eq!(
            wanted(Some(disabled), Agreed::at("3.9")),
            node(2, true, &[])
        );
    }
}
