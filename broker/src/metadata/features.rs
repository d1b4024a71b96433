//! The version of the features node, which ApiVersions tells clients.
//!
//! Kafka: `FinalizedFeatureChangeListener`. In ZooKeeper mode no feature is ever finalized; what
//! clients can see is the epoch.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use base::stop::Stop;
use tokio::sync::Notify;
use tracing::debug;
use znodes::paths;
use znodes::store::{Event, Listener, Store};

/// −1 until the node has been seen.
#[derive(Clone, Debug)]
pub struct FeaturesEpoch(Arc<AtomicI64>);

impl Default for FeaturesEpoch {
    fn default() -> Self {
        FeaturesEpoch(Arc::new(AtomicI64::new(-1)))
    }
}

impl FeaturesEpoch {
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
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
                found = store.exists(paths::FEATURES, Some(listener)) => found,
                () = stop.stopped() => return,
            };
            match found {
                Ok(stat) => {
                    let epoch = stat.map_or(-1, |stat| i64::from(stat.version));
                    self.0.store(epoch, Ordering::Relaxed);
                }
                // The session is being renewed: its change of state wakes us.
                Err(error) => debug!(%error, "look at the features node"),
            }
            tokio::select! {
                () = woken.notified() => {}
                changed = state.changed() => if changed.is_err() { return },
                () = stop.stopped() => return,
            }
        }
    }
}
