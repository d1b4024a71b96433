//! All logs in all directories (signatures; bodies follow).
#![allow(
    unused_variables,
    dead_code,
    clippy::unimplemented,
    reason = "published early for the neighbours"
)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::clock::Clock;
use base::disk::Disk;
use protocol::ids::{Offset, TopicId, TopicPartition};

use crate::config::{LogConfig, StoreConfig};
use crate::error::Result;
use crate::log::Log;

/// One log directory as others may see it.
#[derive(Clone, Debug)]
pub struct DirectoryView {
    pub path: PathBuf,
    pub online: bool,
    /// Why it is offline.
    pub reason: Option<String>,
    /// The last stop was clean.
    pub was_clean: bool,
    /// The machine has not been restarted since the store was open last.
    pub same_boot: bool,
}

/// What the store found wrong with one partition when it opened.
#[derive(Clone, Debug)]
pub struct SetAside {
    pub partition: TopicPartition,
    pub now_at: PathBuf,
    pub reason: String,
}

#[derive(Debug)]
pub struct Store {}

impl Store {
    /// Locks and loads all directories. A directory that fails is offline, the others serve.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: StoreConfig,
        clock: Clock,
        config_of: &(dyn Fn(&str) -> Arc<LogConfig> + Sync),
    ) -> Result<Store> {
        unimplemented!()
    }
    pub fn log(&self, tp: &TopicPartition) -> Option<Arc<Log>> {
        unimplemented!()
    }
    /// The move target of a partition, where one is under way.
    pub fn future_log(&self, tp: &TopicPartition) -> Option<Arc<Log>> {
        unimplemented!()
    }
    pub fn all(&self) -> Vec<Arc<Log>> {
        unimplemented!()
    }
    pub fn all_futures(&self) -> Vec<Arc<Log>> {
        unimplemented!()
    }
    /// Makes a log in `dir`, or in the usable directory with the fewest.
    pub fn create(
        &self,
        tp: &TopicPartition,
        topic_id: Option<TopicId>,
        config: Arc<LogConfig>,
        dir: Option<&Path>,
    ) -> Result<Arc<Log>> {
        unimplemented!()
    }
    /// Makes the move target of a partition in another directory.
    pub fn create_future(
        &self,
        tp: &TopicPartition,
        config: Arc<LogConfig>,
        dir: &Path,
    ) -> Result<Arc<Log>> {
        unimplemented!()
    }
    /// The move target has caught up: it becomes the log, the old one is deleted.
    pub fn promote_future(&self, tp: &TopicPartition) -> Result<Arc<Log>> {
        unimplemented!()
    }
    /// Renames the directory to `-delete`; it is removed later by [`Store::housekeep`].
    pub fn delete(&self, tp: &TopicPartition) -> Result<()> {
        unimplemented!()
    }
    pub fn delete_future(&self, tp: &TopicPartition) -> Result<()> {
        unimplemented!()
    }
    pub fn directories(&self) -> Vec<DirectoryView> {
        unimplemented!()
    }
    /// Partitions whose bytes could not be trusted when the store opened; their files are kept.
    pub fn set_aside(&self) -> Vec<SetAside> {
        unimplemented!()
    }
    /// `on_failure` is called once for each directory that fails from now on, from the thread
    /// that met the failure, with no lock of ours held.
    pub fn on_failure(&self, on_failure: Box<dyn Fn(&Path) + Send + Sync>) {
        unimplemented!()
    }
    /// The watermarks of `replication-offset-checkpoint`, over all usable directories.
    pub fn read_watermarks(&self) -> Result<HashMap<TopicPartition, Offset>> {
        unimplemented!()
    }
    /// Writes every log's watermark to its directory's checkpoint (every 5 s in Apache).
    pub fn write_watermarks(&self) -> Result<()> {
        unimplemented!()
    }
    /// One pass of upkeep: deletes what is due, flushes by `flush.ms`, writes checkpoints, applies
    /// retention, forgets old producers. Called by the broker's clock every second or so.
    pub fn housekeep(&self) {
        unimplemented!()
    }
    /// Stops cleanly: flushes, writes snapshots, checkpoints and the marker.
    pub fn close(&self) -> Result<()> {
        unimplemented!()
    }
}
