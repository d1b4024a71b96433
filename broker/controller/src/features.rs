//! The `/feature` node: enabled and empty in ZooKeeper mode.

use tracing::warn;
use znodes::bodies::features::Features;
use znodes::paths;
use znodes::store::{ANY, Error, Kind, Store};

/// Creates the node, or enables it keeping what it names. Kafka: `enableFeatureVersioning`.
pub(crate) async fn enable(store: &dyn Store) -> Result<(), Error> {
    let empty = Features {
        version: 2,
        enabled: true,
        levels: vec![],
    };
    loop {
        let Some(node) = store.get(paths::FEATURES, None).await? else {
            match store
                .create(paths::FEATURES, empty.encode().as_bytes(), Kind::Persistent)
                .await
            {
                Ok(_) => return Ok(()),
                Err(Error::NodeExists { .. } | Error::Unknown { .. }) => continue,
                Err(error) => return Err(error),
            }
        };
        let wanted = match Features::decode(&node.data) {
            Ok(held) if held.enabled => {
                let levels = held
                    .levels
                    .into_iter()
                    .map(|(name, _, max)| (name, None, max))
                    .collect();
                Features {
                    levels,
                    ..empty.clone()
                }
            }
            Ok(_) => empty.clone(),
            Err(error) => {
                warn!(%error, "the feature node cannot be read; left alone");
                return Ok(());
            }
        };
        let body = wanted.encode();
        if body.as_bytes() == node.data {
            return Ok(());
        }
        match store.set(paths::FEATURES, body.as_bytes(), ANY).await {
            Ok(_) => return Ok(()),
            Err(Error::Unknown { .. } | Error::NoNode { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}
