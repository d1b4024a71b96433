//! Replicas move between the directories of this broker: ordered, taken up again after a start,
//! called off, carried through a turn at a time.
//!
//! Kafka: `ReplicaManager.alterReplicaLogDirs` and `ReplicaAlterLogDirsThread`. What the disk looks
//! like on the way is told in `storage::store`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::stop::Stop;
use protocol::ids::TopicPartition;
use storage::log::Log;
use tracing::{info, warn};

use crate::error::Refusal;
use crate::moves::Turn;
use crate::partition::Partition;
use crate::partition::relocation::{Copied, CopyError};
use crate::replicas::{Hosted, Replicas};

/// What is to be done after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another turn, at once.
    Again,
    /// Nothing for so many milliseconds, unless something changes.
    Pause(i64),
    /// Nothing until something changes.
    Nothing,
}

impl Replicas {
    /// AlterReplicaLogDirs: the replica is to lie in `wished`, one of the store's directories. One
    /// that is not here yet will be made there, and the answer says that it is not here.
    pub fn alter_directory(&self, id: &TopicPartition, wished: &Path) -> Result<(), Refusal> {
        let mut known = self.orders.lock();
        let directories = self.store().directories();
        match directories.iter().find(|dir| dir.path == wished) {
            None => return Err(Refusal::DirectoryNotFound),
            Some(dir) if !dir.online => return Err(Refusal::DirectoryOffline),
            Some(_usable) => {}
        }
        let hosted = self.find(id);
        if let Hosted::Offline = hosted {
            return Err(Refusal::DirectoryOffline);
        }
        let hosted = hosted.online();
        if let Some(partition) = &hosted
            && partition.directories().1.is_some_and(|to| to != wished)
        {
            self.call_off_move(partition)?;
        }
        let lies_there = |log: Option<Arc<Log>>| log.is_some_and(|it| it.directory() == wished);
        let store = self.store();
        if !lies_there(store.log(id)) && !lies_there(store.future_log(id)) {
            known.wished.insert(id.clone(), wished.to_path_buf());
        }
        let partition = hosted.ok_or(Refusal::UnknownPartition)?;
        let (at, to) = partition.directories();
        if at != wished && to.is_none() {
            self.begin_move(&partition, wished)?;
            known.wished.remove(id);
        }
        Ok(())
    }

    fn begin_move(&self, partition: &Arc<Partition>, wished: &Path) -> Result<(), Refusal> {
        let id = partition.id();
        let log = partition.log();
        let made = self
            .store()
            .create_future(id, log.topic_id(), log.config(), wished);
        let future = made?;
        info!(partition = %id, from = %log.directory().display(), to = %wished.display(),
            "the replica moves");
        // They may have changed while it was made.
        future.set_config(log.config());
        partition.set_future(Some(Arc::clone(&future)));
        self.moves.add(id, future);
        Ok(())
    }

    /// A copy was under way when the broker stopped: it goes on. The partition is in the table.
    pub(crate) fn resume_move(&self, partition: &Arc<Partition>) {
        let id = partition.id();
        let log = partition.log();
        let Some(future) = self.store().future_log(id) else {
            return;
        };
        let is_other = |ours, theirs| matches!((ours, theirs), (Some(a), Some(b)) if a != b);
        if future.directory() == log.directory() || is_other(log.topic_id(), future.topic_id()) {
            warn!(partition = %id, copy = %future.path().display(),
                "a copy that cannot take the replica's place is removed");
            if let Err(failed) = self.store().delete_future(id) {
                warn!(partition = %id, error = %failed, "the copy is not removed");
            }
            return;
        }
        info!(partition = %id, to = %future.directory().display(), "the replica's move goes on");
        future.set_config(log.config());
        partition.set_future(Some(Arc::clone(&future)));
        self.moves.add(id, future);
    }

    /// The replica stays where it is; the copy is removed.
    pub(crate) fn call_off_move(&self, partition: &Arc<Partition>) -> Result<(), Refusal> {
        let Some(future) = partition.future() else {
            return Ok(());
        };
        self.end_move(partition, &future);
        info!(partition = %partition.id(), copy = %future.path().display(), "the move is called off");
        Ok(self.store().delete_future(partition.id())?)
    }

    /// The replica stays where it is, and whoever waits for records to be gone waits for the copy no
    /// more.
    fn end_move(&self, partition: &Arc<Partition>, copy: &Arc<Log>) {
        partition.set_future(None);
        self.moves.remove(partition.id(), copy);
        partition.advance().fire();
    }

    /// `replica.alter.log.dirs.io.max.bytes.per.second` changed.
    pub fn set_move_limit(&self, bytes_per_second: u64) {
        self.moves.set_limit(bytes_per_second);
    }

    /// Whether any replica is on its way.
    pub fn is_moving(&self) -> bool {
        !self.moves.is_empty()
    }

    /// How many replicas on their way failed at their last turn, and will be tried again.
    pub fn failing_moves(&self) -> usize {
        self.moves.failing()
    }

    /// How many offsets the copy that is furthest behind still lacks,
    /// without those that somebody is at for longer than `wait`.
    pub fn move_lag_max(&self, wait: Duration) -> i64 {
        let end = |log: &Log| Some(log.measures(wait)?.offsets.end.0);
        let lag = |(id, future): (TopicPartition, Arc<Log>)| {
            let log = self.store().log(&id)?;
            Some(end(&log)?.saturating_sub(end(&future)?))
        };
        let lags = self.moves.all().into_iter().filter_map(lag);
        lags.max().unwrap_or(0).max(0)
    }

    /// Copies whenever there is something to copy. Ends at stop, between two turns.
    pub(crate) async fn keep_moving(self: Arc<Self>, stop: Stop) {
        while !stop.is_stopped() {
            let changed = self.moves.changed().notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let next = if self.moves.is_empty() {
                Next::Nothing
            } else {
                self.turn_elsewhere().await
            };
            let clock = &self.shared().clock;
            match next {
                Next::Again => {}
                Next::Pause(ms) => tokio::select! {
                    () = stop.stopped() => return,
                    () = changed => {}
                    () = clock.sleep_ms(ms) => {}
                },
                Next::Nothing => tokio::select! {
                    () = stop.stopped() => return,
                    () = changed => {}
                },
            }
        }
    }

    async fn turn_elsewhere(self: &Arc<Self>) -> Next {
        let pause = Next::Pause(self.moves.backoff_ms());
        let Some(threads) = self.moves.threads() else {
            return pause;
        };
        let replicas = Arc::clone(self);
        threads
            .run(move || replicas.move_some())
            .await
            .unwrap_or(pause)
    }

    /// One turn: some bytes of one replica, or its taking over. Blocks on the disks.
    pub fn move_some(&self) -> Next {
        let clock = &self.shared().clock;
        let (id, future) = match self.moves.take(clock.monotonic_ms()) {
            Turn::Of(id, future) => (id, future),
            Turn::NotFor(ms) => return Next::Pause(ms),
            Turn::Nobody => return Next::Nothing,
        };
        let partition = self.find(&id).online();
        let is_ours = |known: Arc<Log>| Arc::ptr_eq(&known, &future);
        let partition = partition.filter(|it| it.future().is_some_and(is_ours));
        let Some(partition) = partition else {
            // Deleted, or its directory failed: the copy stays for whoever starts next.
            self.moves.remove(&id, &future);
            return Next::Again;
        };
        match self.advance_move(&partition, &future) {
            Ok(bytes) => self.moves.copied(&id, &future, bytes, clock.monotonic_ms()),
            Err(failed) if failed.is_closed() => self.moves.remove(&id, &future),
            Err(failed) => self.note_move_failed(&partition, &future, &failed),
        }
        Next::Again
    }

    fn advance_move(
        &self,
        partition: &Arc<Partition>,
        future: &Arc<Log>,
    ) -> Result<u64, CopyError> {
        let bytes_max = self.moves.copy_bytes();
        let start = future.offsets().start;
        let bytes = match partition.copy_some(future, bytes_max)? {
            Copied::Some(bytes) => {
                if future.unflushed_bytes().unwrap_or(0) >= FLUSH_BYTES {
                    future.flush()?;
                }
                bytes
            }
            Copied::Level(bytes) => {
                future.flush()?;
                self.store().announce_move(&partition.log(), future)?;
                match partition.take_over(self.store(), future, bytes_max)? {
                    Some(left) => self.finish_move(partition, &left, future),
                    None => {
                        let later_ms = self.shared().clock.monotonic_ms() + BUSY_MS;
                        self.moves.rest(partition.id(), future, later_ms);
                    }
                }
                bytes
            }
        };
        if future.offsets().start > start {
            // Who waits for records to be gone waits for the copy too.
            partition.advance().fire();
        }
        Ok(bytes)
    }

    fn finish_move(&self, partition: &Arc<Partition>, left: &Arc<Log>, served: &Arc<Log>) {
        let id = partition.id();
        self.moves.remove(id, served);
        partition.advance().fire();
        if let Err(failed) = self.store().finish_move(left, served) {
            warn!(partition = %id, left = %left.path().display(), error = %failed,
                "the replica has moved, but what it left behind could not be removed");
            return;
        }
        info!(partition = %id, to = %served.directory().display(), end = served.offsets().end.0,
            "the replica has moved");
    }

    fn note_move_failed(&self, partition: &Arc<Partition>, future: &Arc<Log>, failed: &CopyError) {
        let id = partition.id();
        let is_offline = |path: &PathBuf| {
            let directories = self.store().directories();
            directories
                .iter()
                .any(|dir| dir.path == *path && !dir.online)
        };
        if is_offline(&future.directory()) {
            warn!(partition = %id, to = %future.directory().display(), error = %failed,
                "the move ends: the directory it goes to is offline");
            self.end_move(partition, future);
            self.store().forget_future(id);
            return;
        }
        let now_ms = self.shared().clock.monotonic_ms();
        if self.moves.failed(id, future, now_ms) {
            warn!(partition = %id, error = %failed, "a replica cannot be copied now; tried again");
        }
    }
}

/// How long a partition that is too busy to be swapped is left alone.
const BUSY_MS: i64 = 20;
/// What is copied does not wait longer than this to be written out.
const FLUSH_BYTES: u64 = 64 << 20;
