//! The `/feature` node: enabled and empty in ZooKeeper mode, disabled before 2.7.

use tracing::warn;
use znodes::bodies::features::Features;
use znodes::fence::{Fence, Fenced};
use znodes::paths;
use znodes::store::{Error, Op, Store};

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

/// Makes the node what it shall be, over what was read. Nothing here decides by what it says, so
/// one that cannot be read or written ends no reign. Kafka's controllers resign over it, one after
/// the other, without end.
pub(crate) async fn settle(store: &dyn Store, fence: Fence, agreed: Agreed) -> Result<(), Fenced> {
    loop {
        let node = match store.get(paths::FEATURES, None).await {
            Err(error @ Error::NoAuth { .. }) => {
                warn!(%error, "the feature node may not be read; left alone");
                return Ok(());
            }
            node => node?,
        };
        let held = node.as_ref().map(|node| Features::decode(&node.data));
        let held = match held.transpose() {
            Ok(held) => held,
            Err(error) => {
                warn!(%error, "the feature node cannot be read; left alone");
                return Ok(());
            }
        };
        let body = wanted(held, agreed).encode();
        let op = match &node {
            Some(node) if body.as_bytes() == node.data => return Ok(()),
            Some(node) => Op::set(paths::FEATURES, body, node.stat.version),
            None => Op::create(paths::FEATURES, body),
        };
        match fence.write(store, vec![op]).await {
            Ok(_) => return Ok(()),
            Err(Fenced::Store(Error::Unknown { .. })) => {}
            Err(Fenced::Store(error))
                if error.is_node_exists() || error.is_no_node() || error.is_bad_version() => {}
            Err(Fenced::Store(error @ Error::Step { .. })) => {
                warn!(%error, "the feature node may not be written; left as it is");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use base::clock::Clock;
    use znodes::memory::{Access, World};
    use znodes::store::{ANY, Kind};

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

    #[tokio::test]
    async fn only_the_newest_controller_writes_the_node() {
        let store = World::new(Clock::by_hand(1)).connect();
        let epoch = store.create(paths::CONTROLLER_EPOCH, b"0", Kind::Persistent);
        epoch.await.unwrap();
        let written = async || {
            let node = store.get(paths::FEATURES, None).await.unwrap();
            node.map(|node| node.stat.version)
        };
        settle(&store, Fence(0), Agreed::at("2.8")).await.unwrap();
        assert_eq!(written().await, Some(0));
        store.set(paths::CONTROLLER_EPOCH, b"1", 0).await.unwrap();
        let late = settle(&store, Fence(0), Agreed::at("3.9")).await;
        assert_eq!((late, written().await), (Err(Fenced::Moved), Some(0)));
        settle(&store, Fence(1), Agreed::at("3.9")).await.unwrap();
        assert_eq!(written().await, Some(1));
    }

    #[tokio::test]
    async fn a_node_that_is_kept_from_us_or_says_nothing_ends_no_reign() {
        let world = World::new(Clock::by_hand(1));
        let store = world.connect();
        for (path, body) in [
            (paths::CONTROLLER_EPOCH, "0"),
            (paths::FEATURES, "nonsense"),
        ] {
            let created = store.create(path, body.as_bytes(), Kind::Persistent);
            created.await.unwrap();
        }
        let settle = async || settle(&store, Fence(0), Agreed::at("3.9")).await;
        assert_eq!(settle().await, Ok(()));
        world.forbid(paths::FEATURES, Access::Read);
        assert_eq!(settle().await, Ok(()));
        world.allow(paths::FEATURES, Access::Read);
        world.forbid(paths::FEATURES, Access::Write);
        let old = Agreed::at("2.8");
        let body = wanted(None, old).encode();
        store.delete(paths::FEATURES, ANY).await.unwrap();
        assert_eq!(settle().await, Ok(()));
        world.allow(paths::FEATURES, Access::Write);
        store
            .create(paths::FEATURES, body.as_bytes(), Kind::Persistent)
            .await
            .unwrap();
        world.forbid(paths::FEATURES, Access::Write);
        assert_eq!(settle().await, Ok(()));
        let node = store.get(paths::FEATURES, None).await.unwrap().unwrap();
        assert_eq!(node.data, body.as_bytes());
    }
}
