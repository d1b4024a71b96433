//! The small files beside the segments: `partition.metadata` and `leader-epoch-checkpoint`.
//!
//! ```text
//! one log     the id before its next append, the epochs with its next flush
//! many logs   [`Unsettled::of`] each, written together without their locks, [`Unsettled::done`]
//! ```
//!
//! Kafka: each file is synced by itself, which is four syncs a new partition. Of many made at once
//! hundreds share two syncs here.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::MutexGuard;
use protocol::ids::TopicId;

use crate::error::{Error, Result};
use crate::files;
use crate::log::{Condition, Log, State};

/// What one log has to write down. While this lives its writers wait.
pub(crate) struct Unsettled {
    log: Arc<Log>,
    pub(crate) files: Vec<(PathBuf, Vec<u8>)>,
    topic_id: bool,
    epochs: bool,
    is_done: bool,
}

impl Unsettled {
    /// `None` where nothing waits to be written.
    pub(crate) fn of(log: &Arc<Log>) -> Option<Unsettled> {
        let mut state = log.state.lock();
        // A move target may be renamed at any time: it writes under its lock.
        if state.condition != Condition::Open || state.settling || log.is_future() {
            return None;
        }
        let (topic_id, epochs) = (state.topic_id_unwritten, state.epochs_unwritten);
        let mut files = Vec::new();
        if let Some(id) = state.topic_id.filter(|_| topic_id) {
            files.push((log.place.join(files::PARTITION_METADATA), metadata(id)));
        }
        if epochs {
            let path = log.place.join(files::LEADER_EPOCH_CHECKPOINT);
            files.push((path, state.epochs.encode()));
        }
        if files.is_empty() {
            return None;
        }
        state.settling = true;
        state.topic_id_unwritten = false;
        state.epochs_unwritten = false;
        drop(state);
        Some(Unsettled {
            log: Arc::clone(log),
            files,
            topic_id,
            epochs,
            is_done: false,
        })
    }

    /// They are on the disk.
    pub(crate) fn done(mut self) {
        self.is_done = true;
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        let mut state = self.log.state.lock();
        state.settling = false;
        if !self.is_done {
            state.topic_id_unwritten |= self.topic_id;
            state.epochs_unwritten |= self.epochs;
        }
        drop(state);
        self.log.settled.notify_all();
    }
}

impl Log {
    pub(in crate::log) fn wait_settled(&self, state: &mut MutexGuard<'_, State>) {
        while state.settling {
            self.settled.wait(state);
        }
    }

    pub(in crate::log) fn write_epochs(&self, state: &mut State) -> Result<()> {
        let path = self.place.join(files::LEADER_EPOCH_CHECKPOINT);
        self.directory.replace(&path, &state.epochs.encode())?;
        state.epochs_unwritten = false;
        Ok(())
    }

    /// As [`Log::write_epochs`], where the log has been cut already: without a descriptor the file
    /// follows with the upkeep, and before the recovery point comes back to there.
    pub(in crate::log) fn write_cut_epochs(&self, state: &mut State) -> Result<()> {
        state.epochs_unwritten = true;
        match self.write_epochs(state) {
            Err(Error::TooManyFiles { .. }) => Ok(()),
            written => written,
        }
    }

    /// Writes what waits to be written.
    pub(in crate::log) fn write_notes(&self, state: &mut State) -> Result<()> {
        if let Some(id) = state.topic_id.filter(|_| state.topic_id_unwritten) {
            let path = self.place.join(files::PARTITION_METADATA);
            self.directory.replace(&path, &metadata(id))?;
            state.topic_id_unwritten = false;
        }
        if state.epochs_unwritten {
            self.write_epochs(state)?;
        }
        Ok(())
    }
}

fn metadata(id: TopicId) -> Vec<u8> {
    format!("version: 0\ntopic_id: {id}").into_bytes()
}
