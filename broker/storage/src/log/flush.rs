//! Flush: what was written is on the disk when it returns; many callers share one sync.
//!
//! An append in the durable mode needs one sync of one file: the indexes of the active segment are
//! rebuilt by recovery, so only sealed segments and checkpoints wait for theirs. What is written down as
//! recovery point lies no higher than the indexes are on the disk.
//! [`crate::writeback`] decides when a log is flushed that nobody asked to.

use std::sync::Arc;

use base::disk::{DiskFile, Open};
use protocol::ids::Offset;

use crate::error::{Error, Result};
use crate::files;
use crate::log::{Condition, Log, State};

/// How far a log had come when a sync began.
pub(crate) struct Mark {
    end: i64,
    /// The indexes come along up to here.
    indexed: i64,
    cuts: u64,
    folder_changes: u64,
    written: u64,
    at_ms: i64,
}

/// What a flush must bring to the disk, and how far that reaches.
struct Due {
    files: Vec<Arc<dyn DiskFile>>,
    /// Files were made or renamed.
    folder: bool,
    mark: Mark,
}

/// A flush whose files are known, or that has nothing to do.
enum Begun {
    Done(Offset),
    Due(Due),
}

/// [`Log::flush`] of many logs, with one round of syncs for those that lie where the first does.
pub fn flush_together(logs: &[Arc<Log>]) -> Vec<Result<Offset>> {
    let Some(first) = logs.first() else {
        return Vec::new();
    };
    let together = |log: &Log| Arc::ptr_eq(&log.directory, &first.directory);
    let mut files = Vec::new();
    let begin = |log: &Arc<Log>| {
        let begun = log.begin_flush(false)?;
        if let Begun::Due(due) = &begun
            && together(log)
        {
            log.conclude(log.sync_folder_due(due))?;
            files.extend(due.files.iter().cloned());
        }
        Ok(begun)
    };
    let begun: Vec<Result<Begun>> = logs.iter().map(begin).collect();
    let is_synced = first.directory.sync(files, &first.directory.path).is_ok();
    if !is_synced {
        first.directory.announce();
    }
    let finish = |(log, begun): (&Arc<Log>, Result<Begun>)| match begun? {
        Begun::Done(safe) => Ok(safe),
        Begun::Due(due) => {
            if !(is_synced && together(log)) {
                // Elsewhere; or the round failed, and each log hears why.
                log.conclude(log.sync_due(&due))?;
            }
            Ok(log.flushed(&due.mark))
        }
    };
    logs.iter().zip(begun).map(finish).collect()
}

impl Log {
    /// Puts everything on the disk that was written before the call, together with whoever else
    /// asks on the same directory. Gives the offset below which all is safe.
    pub fn flush(&self) -> Result<Offset> {
        self.flush_and(false)
    }

    /// As [`Log::flush`], with the indexes of the active segment too: before a recovery point is
    /// written down, so that a later recovery may trust them.
    pub(crate) fn flush_whole(&self) -> Result<Offset> {
        self.flush_and(true)
    }

    fn flush_and(&self, whole: bool) -> Result<Offset> {
        let due = match self.begin_flush(whole)? {
            Begun::Done(safe) => return Ok(safe),
            Begun::Due(due) => due,
        };
        let synced = self.sync_due(&due);
        self.conclude(synced)?;
        Ok(self.flushed(&due.mark))
    }

    fn begin_flush(&self, whole: bool) -> Result<Begun> {
        let mut state = self.lock_settled()?;
        let noted = !state.topic_id_unwritten && !state.epochs_unwritten;
        if state.recovery >= state.end && noted && !whole {
            return Ok(Begun::Done(Offset(state.recovery)));
        }
        let due = self.due(&mut state, whole);
        drop(state);
        Ok(Begun::Due(self.conclude(due)?))
    }

    fn due(&self, state: &mut State, whole: bool) -> Result<Due> {
        self.write_notes(state)?;
        self.make_room(state);
        let active = state.segments.len().saturating_sub(1);
        let from = state.segment_index(state.recovery.min(state.indexed));
        let mut files = Vec::new();
        for (number, segment) in state.segments.iter().enumerate().skip(from) {
            files.extend(segment.files_to_sync(whole || number < active)?);
        }
        let mark = self.mark(state, whole);
        Ok(Due {
            files,
            // As the mark has them: a folder is renamed without the lock, and what comes between two
            // looks would count as synced.
            folder: mark.folder_changes > state.folder_synced,
            mark,
        })
    }

    fn sync_due(&self, due: &Due) -> Result<()> {
        self.sync_folder_due(due)?;
        self.directory.sync(due.files.clone(), &self.place.path())
    }

    fn sync_folder_due(&self, due: &Due) -> Result<()> {
        if !due.folder {
            return Ok(());
        }
        let (path, disk) = (self.place.path(), &self.place.handles.disk);
        disk.sync_dir(&path)
            .and_then(|()| disk.sync_dir(&self.directory.path))
            .map_err(|e| Error::io("sync", &path, e))
    }

    /// The first half of a flush by a sync of the whole file system: all is handed to the kernel.
    pub(crate) fn write_out(&self) -> Result<Mark> {
        let result = {
            let mut state = self.lock_settled()?;
            self.write_out_locked(&mut state)
        };
        self.conclude(result)
    }

    fn write_out_locked(&self, state: &mut State) -> Result<Mark> {
        self.write_notes(state)?;
        let from = state.segment_index(state.recovery.min(state.indexed));
        for segment in state.segments.iter().skip(from) {
            segment.write_out()?;
        }
        Ok(self.mark(state, true))
    }

    fn mark(&self, state: &State, whole: bool) -> Mark {
        Mark {
            end: state.end,
            indexed: if whole {
                state.end
            } else {
                state.active().base_offset()
            },
            cuts: state.cuts,
            folder_changes: self.place.changes(),
            written: state.written,
            at_ms: self.clock.wall_ms(),
        }
    }

    /// The second half: everything up to the mark is on the disk. Gives the recovery point.
    pub(crate) fn flushed(&self, mark: &Mark) -> Offset {
        let mut state = self.state.lock();
        state.folder_synced = state.folder_synced.max(mark.folder_changes);
        if state.cuts == mark.cuts {
            state.recovery = state.recovery.max(mark.end.min(state.end));
            state.indexed = state.indexed.max(mark.indexed.min(state.end));
            state.synced = state.synced.max(mark.written);
            state.last_flush_ms = mark.at_ms;
        }
        Offset(state.recovery)
    }

    /// What may be written down as recovery point: recovery trusts batches and indexes below it.
    pub(crate) fn recovery_to_note(&self) -> Offset {
        let state = self.state.lock();
        Offset(state.recovery.min(state.indexed))
    }

    /// Whether a checkpoint would find less on the disk than lies in the log.
    pub(crate) fn is_checkpoint_due(&self) -> bool {
        let state = self.state.lock();
        state.condition == Condition::Open && state.recovery.min(state.indexed) < state.end
    }

    /// How many bytes a crash would make recovery look at, of those written since the start;
    /// `None` where everything is on the disk.
    pub fn unflushed_bytes(&self) -> Option<u64> {
        let state = self.state.lock();
        let is_due = state.condition == Condition::Open && state.recovery < state.end;
        is_due.then_some(state.written - state.synced)
    }

    /// Whether `flush.ms`, `flush.messages` or a sealed segment ask for a flush.
    pub(crate) fn is_flush_due(&self) -> bool {
        let config = self.config();
        let state = self.state.lock();
        if state.condition != Condition::Open || state.recovery >= state.end {
            return false;
        }
        let age_ms = self.clock.wall_ms().saturating_sub(state.last_flush_ms);
        state.recovery < state.active().base_offset()
            || state.end - state.recovery >= config.flush_messages
            || age_ms >= config.flush_ms
    }

    /// Frees what only a busy log needs, and writes out what waits in memory.
    pub(crate) fn rest(&self) -> Result<()> {
        let result = {
            let state = self.lock_open()?;
            state.active().rest()
        };
        self.conclude(result)
    }

    /// The first half of a clean stop: producers written down, indexes complete, nothing waiting
    /// in memory. Gives how far a sync of the file system will make it safe.
    pub(crate) fn seal(&self) -> Result<Mark> {
        let sealed = {
            let mut state = self.lock_settled()?;
            let state = &mut *state;
            self.write_notes(state)
                .and_then(|()| self.give_room_back_for_good(state))
                .and_then(|()| state.active().seal())
                .and_then(|()| {
                    state.producers.end = state.end;
                    self.write_snapshot(state)
                })
                .map(|()| self.mark(state, true))
        };
        self.conclude(sealed)
    }

    /// As [`Log::seal`], where no sync of the file system will do: all is on the disk when it returns.
    pub(crate) fn seal_for_good(&self) -> Result<Mark> {
        let mark = self.seal()?;
        if !self.is_touched() {
            return Ok(mark);
        }
        self.flush_whole()?;
        let synced = self.sync_last_snapshot();
        self.conclude(synced).map(|()| mark)
    }

    /// Whether any file may differ from what the disk had at the start.
    fn is_touched(&self) -> bool {
        let state = self.state.lock();
        let is_renamed = self.place.changes() > state.folder_synced;
        !self.directory.was_clean || is_renamed || state.cuts > 0 || state.written > 0
    }

    fn sync_last_snapshot(&self) -> Result<()> {
        let Some(at) = self.state.lock().snapshots.last().copied() else {
            return Ok(());
        };
        let path = self.place.join(&files::segment_file(at, files::SNAPSHOT));
        let disk = &self.place.handles.disk;
        let file = disk.open(&path, Open::Write);
        file.and_then(|file| file.sync())
            .map_err(|e| Error::io("sync", &path, e))
    }

    /// The second half: the sync is done. Gives how far the log is on the disk, which is less
    /// than its end where somebody appended between.
    pub(crate) fn close_at(&self, mark: &Mark) -> Offset {
        self.shut();
        self.flushed(mark);
        self.recovery_to_note()
    }
}
