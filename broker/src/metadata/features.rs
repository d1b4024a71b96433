//! The features node: its version, which ApiVersions tells clients, and what it asks of brokers.
//!
//! Kafka: `FinalizedFeatureChangeListener`. No feature can be finalized in ZooKeeper mode by this
//! version; where a newer one has done it, a broker that does not know the feature may not go on.

use std::sync::Arc;

use base::stop::Stop;
use tokio::sync::{Notify, watch};
use tracing::{debug, error};
use znodes::bodies::features::{Features, Nonsense};
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
        let (seen, _) = watch::channel(Seen::default());
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
        let node = match found {
            Ok(node) => node,
            // The session is being renewed: its change of state wakes us.
            Err(error) => {
                debug!(%error, "look at the features node");
                return;
            }
        };
        let seen = match node.map(|node| (Features::decode(&node.data), node.stat.version)) {
            None => Seen::default(),
            Some((Ok(held), version)) => Seen::of(held, version),
            Some((Err(Nonsense::Void(error)), _)) => {
                error!(%error, "the features node cannot be read and counts as none");
                Seen::default()
            }
            Some((Err(Nonsense::Foreign(error)), _)) => {
                error!(%error, "the features node cannot be read; what it said before is kept");
                return;
            }
        };
        self.0.send_replace(seen);
    }
}

impl Seen {
    fn of(held: Features, version: i32) -> Self {
        if !held.enabled {
            return Seen::default();
        }
        let names = held.levels.into_iter().map(|(name, _, _)| name);
        Seen {
            epoch: i64::from(version),
            unsupported: names.filter(|name| name != METADATA_VERSION).collect(),
        }
    }
}

impl Default for Seen {
    fn default() -> Self {
        Seen {
            epoch: -1,
            unsupported: vec![],
        }
    }
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
        let level = |version: i32, status: i32, level: &str| {
            format!(r#"{{"features":{{{level}}},"version":{version},"status":{status}}}"#)
        };
        // What the epoch is after each, with one that says nothing before it.
        enum Then {
            None,
            Kept,
            New,
        }
        for (body, then) in [
            ("not json", Then::None),
            ("[]", Then::Kept),
            ("{}", Then::Kept),
            (r#"{"features":{},"version":"2","status":1}"#, Then::Kept),
            (r#"{"features":{},"version":3,"status":1}"#, Then::None),
            (r#"{"features":{},"version":2}"#, Then::None),
            (r#"{"features":{},"version":2,"status":"1"}"#, Then::Kept),
            (r#"{"version":2,"status":1}"#, Then::None),
            (r#"{"features":[],"version":2,"status":1}"#, Then::Kept),
            (&level(2, 1, r#""f":{"max_version_level":0}"#), Then::None),
            (&level(2, 0, r#""f":{"max_version_level":5}"#), Then::None),
            (
                &level(2, 1, r#""metadata.version":{"max_version_level":1}"#),
                Then::New,
            ),
        ] {
            let (before, _) = write(&level(2, 1, "")).await;
            assert!(before > 0);
            let epoch = match then {
                Then::None => -1,
                Then::Kept => before,
                Then::New => before + 1,
            };
            assert_eq!(write(body).await, (epoch, vec![]), "{body}");
        }
        write(&level(2, 1, r#""f":{"max_version_level":5}"#)).await;
        assert_eq!(features.unsupported().await, ["f"]);
    }
}
