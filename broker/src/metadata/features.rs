//! The features node: its version, which ApiVersions tells clients, and what it asks of brokers.
//!
//! Kafka: `FinalizedFeatureChangeListener`. No feature can be finalized in ZooKeeper mode by this
//! version; where a newer one has done it, a broker that does not know the feature may not go on.

use std::sync::Arc;

use base::stop::Stop;
use tokio::sync::{Notify, watch};
use tracing::{debug, error};
use znodes::bodies::features::Features;
use znodes::paths;
use znodes::store::{Error, Event, Listener, Node, Store, get_watched};

/// The one name that stands for no feature of a broker's.
const METADATA_VERSION: &str = "metadata.version";

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    /// −1 until the node has been seen, and while it is disabled.
    epoch: i64,
    unsupported: Vec<String>,
}

/// What the node said last. Clones share it.
#[derive(Clone, Debug)]
pub struct ClusterFeatures(Arc<watch::Sender<Seen>>);

impl Default for ClusterFeatures {
    fn default() -> Self {
        let (seen, _) = watch::channel(Seen {
            epoch: -1,
            unsupported: vec![],
        });
        ClusterFeatures(Arc::new(seen))
    }
}

impl ClusterFeatures {
    pub fn epoch(&self) -> i64 {
        self.0.borrow().epoch
    }

    /// Returns once the cluster has agreed on features that nobody knows here, with their names.
    pub async fn unsupported(&self) -> Vec<String> {
        let mut seen = self.0.subscribe();
        // The sender lives as long as `self`.
        match seen.wait_for(|seen| !seen.unsupported.is_empty()).await {
            Ok(seen) => seen.unsupported.clone(),
            Err(_gone) => vec![],
        }
    }

    /// Follows the node until stop is said, through renewed sessions.
    pub async fn follow(self, store: Arc<dyn Store>, stop: Stop) {
        let woken = Arc::new(Notify::new());
        let mut state = store.state();
        loop {
            let wake = Arc::clone(&woken);
            let listener = Listener::new(move |_event: Event| wake.notify_one());
            // While ZooKeeper is away nothing answers.
            let found = tokio::select! {
                found = get_watched(&*store, paths::FEATURES, &listener) => found,
                () = stop.stopped() => return,
            };
            self.note(found);
            tokio::select! {
                () = woken.notified() => {}
                changed = state.changed() => if changed.is_err() { return },
                () = stop.stopped() => return,
            }
        }
    }

    fn note(&self, found: Result<Option<Node>, Error>) {
        match found {
            Ok(node) => match read(node.as_ref()) {
                Ok(seen) => drop(self.0.send_replace(seen)),
                Err(error) => error!(
                    %error,
                    "the features node cannot be read; what it said before is kept"
                ),
            },
            // The session is being renewed: its change of state wakes us.
            Err(error) => debug!(%error, "look at the features node"),
        }
    }
}

fn read(node: Option<&Node>) -> Result<Seen, znodes::bodies::json::BodyError> {
    let mut seen = Seen {
        epoch: -1,
        unsupported: vec![],
    };
    let Some(node) = node else { return Ok(seen) };
    let held = Features::decode(&node.data)?;
    if held.enabled {
        seen.epoch = i64::from(node.stat.version);
        let names = held.levels.into_iter().map(|(name, _, _)| name);
        seen.unsupported = names.filter(|name| name != METADATA_VERSION).collect();
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use base::clock::Clock;
    use znodes::memory::World;
    use znodes::store::{ANY, Kind};

    use super::*;

    /// As a live Apache Kafka 3.9 took each: it went on, kept what it knew, or ended.
    #[tokio::test]
    async fn features_that_nobody_knows_here_end_the_broker_and_nonsense_does_not() {
        let store = Arc::new(World::new(Clock::by_hand(1)).connect());
        let features = ClusterFeatures::default();
        let (_stopper, stop) = base::stop::pair();
        let following = features.clone().follow(Arc::clone(&store) as _, stop);
        let _following = base::tasks::spawn("features", following);
        store
            .create(paths::FEATURES, b"", Kind::Persistent)
            .await
            .unwrap();
        let write = async |body: &str| {
            store
                .set(paths::FEATURES, body.as_bytes(), ANY)
                .await
                .unwrap();
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            (features.epoch(), features.0.borrow().unsupported.clone())
        };
        for (body, epoch) in [
            (r#"{"features":{},"version":2,"status":1}"#, 1),
            ("not json", 1),
            (r#"{"features":{},"version":3,"status":1}"#, 1),
            (
                r#"{"features":{"f":{"max_version_level":5}},"version":2,"status":0}"#,
                -1,
            ),
            (
                r#"{"features":{"metadata.version":{"max_version_level":1}},"version":2,"status":1}"#,
                5,
            ),
        ] {
            assert_eq!(write(body).await, (epoch, vec![]), "{body}");
        }
        let body = r#"{"features":{"f":{"max_version_level":5}},"version":2,"status":1}"#;
        assert_eq!(write(body).await.0, 6);
        assert_eq!(features.unsupported().await, ["f"]);
    }
}
