//! The current snapshot, and the only way to change it while running.
//!
//! Readers take an `Arc` and keep it as long as one decision lasts. Whoever must act on a change
//! (listeners, logs, thread counts) waits on the watch. A change that would not be valid leaves
//! the snapshot as it is and is told.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use settings::layers::{Layers, Texts};
use settings::value::Fault;
use tokio::sync::watch;

use crate::config::Config;

/// A cheap handle on the current configuration. Clones see the same.
#[derive(Clone, Debug)]
pub struct Live(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    now: ArcSwap<Config>,
    changed: watch::Sender<u64>,
    /// Held while a new snapshot is made, so that two changes do not undo each other.
    changing: Mutex<()>,
}

impl Live {
    pub fn new(config: Config) -> Live {
        Live(Arc::new(Shared {
            now: ArcSwap::from_pointee(config),
            changed: watch::Sender::new(0),
            changing: Mutex::new(()),
        }))
    }

    pub fn now(&self) -> Arc<Config> {
        self.0.now.load_full()
    }

    /// Counts the changes; a receiver sees every state that lasts.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// What `/config/brokers/<default>` says now.
    pub fn set_cluster(&self, texts: Texts) -> Result<(), Vec<Fault>> {
        self.change(|layers| layers.cluster = texts)
    }

    /// What `/config/brokers/<id>` says now.
    pub fn set_broker(&self, texts: Texts) -> Result<(), Vec<Fault>> {
        self.change(|layers| layers.broker = texts)
    }

    fn change(&self, edit: impl FnOnce(&mut Layers)) -> Result<(), Vec<Fault>> {
        let changing = self.0.changing.lock();
        let old = self.now();
        let mut layers = old.layers.clone();
        edit(&mut layers);
        if layers == old.layers {
            return Ok(());
        }
        let new = old.with_layers(layers)?;
        self.0.now.store(Arc::new(new));
        drop(changing);
        self.0.changed.send_modify(|count| *count += 1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(key: &str, text: &str) -> Texts {
        Texts::from([(key.to_owned(), text.to_owned())])
    }

    #[test]
    fn a_change_is_seen_and_told_and_a_bad_one_leaves_all_as_it_was() {
        let live = Live::new(Config::of(&[("log.retention.ms", "1000")]).unwrap());
        let mut watch = live.watch();
        live.set_cluster(texts("log.retention.hours", "1")).unwrap();
        assert_eq!(live.now().topic(&Texts::new()).log.retention_ms, 3_600_000);
        assert!(watch.has_changed().unwrap());
        watch.mark_unchanged();
        assert!(live.set_broker(texts("log.segment.bytes", "1")).is_err());
        assert!(!watch.has_changed().unwrap());
        assert_eq!(live.now().topic(&Texts::new()).log.segment_bytes, 1 << 30);
        live.set_cluster(Texts::new()).unwrap();
        assert_eq!(live.now().topic(&Texts::new()).log.retention_ms, 1000);
    }
}
