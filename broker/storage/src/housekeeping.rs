//! Upkeep: one turn flushes, deletes, checkpoints and forgets what is due in a directory; and the
//! clean stop.
//!
//! Called by the broker's clock, about once a second for each directory, on a thread that may sleep
//! and is that directory's own: a sync or a removal that hangs stops the upkeep there, and nowhere else.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use protocol::ids::{Offset, ProducerId, TopicPartition};

use crate::checkpoint::PartitionOffsets;
use crate::compaction::{Compactor, Halt, LastOfProducer, SegmentFacts, Subject};
use crate::config::{LogConfig, StoreConfig};
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::files;
use crate::log::Log;
use crate::offsets::Offsets;
use crate::side_by_side::{few_at_a_time, side_by_side};
use crate::store::{Home, NextDue, Store};
use crate::trash::Trash;
use crate::writeback::settle_in;

/// Kafka: the first look at retention comes 30 s after the start.
const FIRST_RETENTION_MS: i64 = 30_000;

impl NextDue {
    pub(crate) fn starting(config: &StoreConfig, now_ms: i64) -> NextDue {
        NextDue {
            recovery: AtomicI64::new(now_ms.saturating_add(config.recovery_checkpoint_ms)),
            start: AtomicI64::new(now_ms.saturating_add(config.start_checkpoint_ms)),
            retention: AtomicI64::new(now_ms + FIRST_RETENTION_MS.min(config.retention_check_ms)),
            producers: AtomicI64::new(now_ms.saturating_add(config.producer_check_ms)),
            unnoted: AtomicU64::new(0),
        }
    }
}

/// Whether `due` has come; if so the next time is noted.
fn is_due(due: &AtomicI64, now_ms: i64, every_ms: i64) -> bool {
    if now_ms < due.load(Ordering::Acquire) {
        return false;
    }
    due.store(now_ms.saturating_add(every_ms), Ordering::Release);
    true
}

impl Store {
    /// One turn of upkeep in every directory, at a time.
    pub fn housekeep(&self) {
        side_by_side(&self.homes, |home| self.keep(home));
    }

    /// One turn of upkeep in one directory: deletes what is due, flushes by `flush.ms`, writes
    /// checkpoints, applies retention, forgets old producers.
    pub fn housekeep_in(&self, dir: &Path) {
        let home = self.homes.iter().find(|home| home.directory.path == dir);
        if let Some(home) = home {
            self.keep(home);
        }
    }

    fn keep(&self, home: &Home) {
        let (directory, due) = (&home.directory, &home.next_due);
        if !directory.is_online() {
            directory.announce();
            return;
        }
        let _not_while_it_closes = home.turn.lock();
        if !directory.is_locked() {
            return;
        }
        let (now_ms, config) = (self.clock.monotonic_ms(), &self.config);
        self.empty_trash(&home.trash);
        let checkpoint = is_due(&due.recovery, now_ms, config.recovery_checkpoint_ms);
        let retention = is_due(&due.retention, now_ms, config.retention_check_ms);
        let producers = is_due(&due.producers, now_ms, config.producer_check_ms);
        let logs = self.all_in(directory);
        if let Err(e) = settle_in(directory, logs.iter())
            && !e.is_told()
        {
            tracing::warn!(error = %e, "topic ids and epochs were not written");
        }
        for log in &logs {
            self.tell(log, "give the room back of", log.give_idle_room_back());
            if producers {
                log.expire_producers();
                self.tell(log, "rest", log.rest());
            }
            // Topics that are compacted are the cleaner's.
            if retention && !log.config().compact {
                self.tell(log, "apply retention to", log.apply_retention().map(drop));
            }
        }
        if self.flush_due(home, &logs, checkpoint)
            && let Err(e) = self.write_recovery_points_of(directory)
            && !e.is_told()
        {
            tracing::warn!(error = %e, "recovery points were not written");
        }
        if is_due(&due.start, now_ms, config.start_checkpoint_ms)
            && let Err(e) = self.write_starts_of(directory)
            && !e.is_told()
        {
            tracing::warn!(error = %e, "log starts were not written");
        }
        directory.announce();
    }

    /// Move targets are not among them: whoever copies is the only one to touch their files, which
    /// are renamed under him.
    fn all_in(&self, directory: &Arc<Directory>) -> Vec<Arc<Log>> {
        let mut logs = self.all();
        logs.retain(|log| Arc::ptr_eq(log.home(), directory));
        logs
    }

    fn tell(&self, log: &Log, act: &str, result: Result<()>) {
        match result {
            Ok(()) | Err(Error::Closed) => {}
            Err(e) if e.is_told() => {}
            Err(e) => {
                tracing::warn!(partition = %log.partition(), error = %e, "could not {act} a log");
            }
        }
    }

    fn empty_trash(&self, trash: &Trash) {
        for doomed in trash.take_due(self.clock.wall_ms()) {
            if let Err(e) = doomed.remove() {
                tracing::warn!(path = %doomed.path().display(), error = %e, "could not be removed");
            }
        }
    }

    /// One round of a cleaner's thread: in each directory compacts the dirtiest log that is due, then
    /// applies retention to compacted topics. A directory in which enough threads are at work, or
    /// hang, is passed over. False: nothing was due.
    pub fn compact(&self, compactor: &Compactor, halt: &Halt) -> bool {
        let mut cleaned = false;
        for Home { directory, .. } in self.online().take_while(|_| !halt.is_stopped()) {
            if let Some(_turn) = compactor.begin_turn(&directory.path)
                && !halt.is_stopped()
            {
                cleaned |= self.compact_in(directory, compactor, halt);
            }
        }
        cleaned
    }

    /// Has the cleaner's checkpoint follow who left a directory or came into it.
    fn follow_moves(&self, directory: &Directory, compactor: &Compactor) {
        let dir = &directory.path;
        let mut result = Ok(());
        for (tp, to) in self.departures.take_gone(dir) {
            match (compactor.note_left(dir, &tp), to) {
                (Ok(Some(clean_to)), Some(to)) => self.departures.note_come(to, tp, clean_to),
                (left, _) => result = result.and(left.map(drop)),
            }
        }
        for (tp, clean_to) in self.departures.take_come(dir) {
            result = result.and(compactor.note_come(dir, &tp, clean_to));
        }
        if let Err(e) = result {
            tracing::warn!(dir = %dir.display(), error = %e, "the cleaner's checkpoint does not follow a replica that moved");
        }
    }

    fn compact_in(&self, directory: &Arc<Directory>, compactor: &Compactor, halt: &Halt) -> bool {
        self.follow_moves(directory, compactor);
        let mut logs = self.all_in(directory);
        // Kafka: a replica that is being moved is not compacted (`abortAndPauseCleaning`).
        logs.retain(|log| log.config().compact && self.future_log(log.partition()).is_none());
        let cleaned = match compactor.pass(&logs, halt) {
            Ok(cleaned) => cleaned.is_some(),
            Err(e) => {
                if !e.is_told() {
                    tracing::warn!(error = %e, "compaction stopped");
                }
                false
            }
        };
        for log in &logs {
            self.tell(log, "apply retention to", log.apply_retention().map(drop));
        }
        cleaned
    }

    /// Writes how far each log is on the disk.
    pub fn write_recovery_points(&self) -> Result<()> {
        self.side_by_side(|home| self.write_recovery_points_of(&home.directory))
    }

    pub(crate) fn write_recovery_points_of(&self, directory: &Arc<Directory>) -> Result<()> {
        directory
            .write_recovery_points(|| self.collect(directory, |log| Some(log.recovery_to_note())))
    }

    /// Writes `log-start-offset-checkpoint`: only starts that no file name tells.
    pub fn write_starts(&self) -> Result<()> {
        self.side_by_side(|home| self.write_starts_of(&home.directory))
    }

    pub(crate) fn write_starts_of(&self, directory: &Arc<Directory>) -> Result<()> {
        self.write_checkpoint(directory, files::LOG_START_CHECKPOINT, Log::start_to_note)
    }

    /// Stops cleanly: flushes, writes snapshots, checkpoints and the marker.
    pub fn close(&self) -> Result<()> {
        self.close_after(|_nothing_else| ())
    }

    /// As [`Store::close`], with something to be done in each directory just before. One whose disk
    /// hangs, or that much has to be brought to, keeps no other from its clean end.
    pub fn close_after(&self, before: impl Fn(&Path) + Sync) -> Result<()> {
        self.side_by_side(|home| {
            before(&home.directory.path);
            let _no_upkeep = home.turn.lock();
            self.close_directory(&home.directory)
        })
    }

    /// All logs sealed, one sync of the file system for all of them, then what vouches for it.
    fn close_directory(&self, directory: &Arc<Directory>) -> Result<()> {
        if !directory.is_locked() {
            return Ok(());
        }
        let starts = self.collect(directory, Log::start_to_note);
        let mut marks = Vec::new();
        let mut points = PartitionOffsets::new();
        let mut whole = true;
        let logs = self.in_directory(directory);
        let sealed = match directory.is_thorough() {
            true => logs.iter().map(|log| log.seal()).collect(),
            false => few_at_a_time(&logs, |log| log.seal_for_good()),
        };
        for (log, sealed) in logs.iter().zip(sealed) {
            match sealed {
                Ok(mark) => marks.push((log, mark)),
                Err(e) => {
                    // No marker then: the next start looks at everything again.
                    tracing::error!(partition = %log.partition(), error = %e, "a log did not close cleanly");
                    points.insert(log.partition().clone(), log.recovery_to_note());
                    whole = false;
                }
            }
        }
        directory.sync_all()?;
        for (log, mark) in marks {
            let recovery = log.close_at(&mark);
            whole &= recovery == log.offsets().end;
            points.insert(log.partition().clone(), recovery);
        }
        directory.write_recovery_points(|| points.clone())?;
        directory.write_collected(files::LOG_START_CHECKPOINT, || starts)?;
        if whole {
            let marker = directory.path.join(files::CLEAN_SHUTDOWN);
            directory.replace(&marker, files::CLEAN_SHUTDOWN_TEXT)?;
        }
        directory.unlock();
        Ok(())
    }
}

impl Subject for Log {
    fn partition(&self) -> TopicPartition {
        Log::partition(self).clone()
    }

    fn directory(&self) -> PathBuf {
        Log::directory(self)
    }

    fn path(&self) -> PathBuf {
        Log::path(self)
    }

    fn config(&self) -> Arc<LogConfig> {
        Log::config(self)
    }

    fn offsets(&self) -> Offsets {
        Log::offsets(self)
    }

    fn segments(&self) -> Vec<SegmentFacts> {
        // A log that cannot be looked at has nothing to clean; whoever writes there meets the cause.
        let segments = Log::segments(self).unwrap_or_default();
        let facts = segments.iter().map(|segment| SegmentFacts {
            base: segment.base_offset.0,
            size: segment.size,
            index_bytes: segment.offset_index_bytes,
            time_index_bytes: segment.time_index_bytes,
            txn_index_bytes: segment.txn_index_bytes,
            largest_timestamp_ms: segment.largest_timestamp_ms,
            first_timestamp_ms: segment.first_timestamp_ms,
            modified_ms: segment.modified_ms,
        });
        facts.collect()
    }

    fn last_of_producers(&self) -> Vec<(ProducerId, LastOfProducer)> {
        let producers = self.active_producers().into_iter().map(|active| {
            let last = Some(active.last_data_offset).filter(|offset| offset.0 >= 0);
            (
                active.producer,
                LastOfProducer {
                    last_data_offset: last,
                    epoch: active.epoch,
                },
            )
        });
        producers.collect()
    }

    fn note_safe(&self, to: Offset) -> Result<()> {
        Log::note_safe(self, to)
    }

    fn cuts(&self) -> u64 {
        Log::cuts(self)
    }

    fn take_lowest_cut(&self) -> Option<Offset> {
        Log::take_lowest_cut(self)
    }

    fn replace_segments(&self, new_base: Offset, old: &[Offset], cuts: u64) -> Result<bool> {
        Log::replace_segments(self, new_base, old, cuts)
    }

    fn settle(&self, error: Error) -> Error {
        match self.conclude::<()>(Err(error)) {
            Err(error) => error,
            Ok(()) => Error::Closed,
        }
    }
}
