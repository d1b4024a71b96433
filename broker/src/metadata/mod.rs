//! The broker's copy of the cluster: an immutable image that the controller's UpdateMetadata
//! replaces, readable without a lock.

pub mod image;
pub mod update;
pub mod features;

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;

pub use crate::metadata::image::{Broker, Endpoint, Image, PartitionImage, TopicImage};
pub use crate::metadata::update::Update;

/// Owner of the current image. Readers take snapshots; one writer at a time replaces it.
#[derive(Debug)]
pub struct Metadata {
    image: ArcSwap<Image>,
    writer: Mutex<()>,
    changed: watch::Sender<u64>,
}

impl Default for Metadata {
    fn default() -> Self {
        Metadata {
            image: ArcSwap::from_pointee(Image::default()),
            writer: Mutex::new(()),
            changed: watch::Sender::new(0),
        }
    }
}

impl Metadata {
    /// The cluster as last told. Hot path: no lock, one reference count.
    pub fn image(&self) -> Arc<Image> {
        self.image.load_full()
    }

    /// Applies what a controller sent and wakes whoever waits for a change. Returns the
    /// partitions that were dropped because their topic is gone; nothing where a newer controller
    /// has spoken meanwhile, whom a former one must not contradict.
    pub fn apply(&self, update: Update) -> Option<Vec<protocol::ids::TopicPartition>> {
        let gone = {
            let _one_writer = self.writer.lock();
            if update.controller_epoch < self.image.load().controller_epoch {
                return None;
            }
            let (next, gone) = update::apply(&self.image.load(), update);
            self.image.store(Arc::new(next));
            gone
        };
        self.changed
            .send_modify(|count| *count = count.wrapping_add(1));
        Some(gone)
    }

    /// Hears of every change from now on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
