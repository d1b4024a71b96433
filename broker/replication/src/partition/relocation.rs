//! A replica moves to another directory of this broker: a second log, the *future* one, is filled
//! from the first and takes its place.
//!
//! ```text
//! future set → align, copy; again and again → level → take over (alone with the state) → swapped
//! ```
//!
//! Invariant: the future log is a prefix of the current one, or is cut to one before anything is
//! added to it. Only the thread that has the move in hand touches its files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use protocol::ids::{Offset, TopicPartition};
use storage::error::{AppendError, Error, ReadError};
use storage::log::{Log, ReadRequest, Upto};
use storage::store::Store;
use tracing::info;

use crate::lanes::Lane;
use crate::partition::{NO_FUTURE, Partition};
use crate::waiting::Wakes;

/// How often what came meanwhile is copied while the partition stands still.
const LAST_ROUNDS_MAX: usize = 4;

/// What a turn of copying did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copied {
    /// So many bytes, and there are more.
    Some(u64),
    /// So many bytes, and then there were no more.
    Level(u64),
}

/// Why a turn failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Log(#[from] Error),
}

impl CopyError {
    /// The copy was called off, or the replica is gone.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(
            self,
            CopyError::Read(ReadError::Failed(Error::Closed))
                | CopyError::Append(AppendError::Failed(Error::Closed))
                | CopyError::Log(Error::Closed)
        )
    }
}

impl Partition {
    /// The copy in another directory, while there is one.
    pub fn future(&self) -> Option<Arc<Log>> {
        self.state.read_recursive().future.clone()
    }

    /// Where the replica lies and, while it moves, where to.
    pub(crate) fn directories(&self) -> (PathBuf, Option<PathBuf>) {
        let state = self.state.read_recursive();
        let future = state.future.as_ref().map(|future| future.directory());
        (state.log.directory(), future)
    }

    /// A move begins, or goes on after a restart.
    pub(crate) fn set_future(&self, future: Option<Arc<Log>>) {
        let start = future.as_ref().map(|future| future.offsets().start);
        let mut state = self.state.write();
        self.note_future_start(start);
        state.future = future;
    }

    /// What the copy has counts for who waits until records are gone everywhere.
    fn note_future_start(&self, start: Option<Offset>) {
        let start = start.map_or(NO_FUTURE, |start| start.0);
        self.marks.future_start.store(start, Ordering::Release);
    }

    /// The copy's directory has failed, perhaps under a call that never comes back: nobody waits for
    /// what it has. Waits for no disk.
    pub(crate) fn discount_future(&self) -> Wakes {
        self.note_future_start(None);
        let mut wakes = Wakes::none();
        self.queue.all(&mut wakes);
        wakes
    }

    /// Brings the future log nearer to the current one.
    pub(crate) fn copy_some(&self, future: &Log, bytes_max: usize) -> Result<Copied, CopyError> {
        let current = self.log();
        let copied = copy(&self.id, &current, future, bytes_max);
        let start = future.offsets().start;
        let state = self.state.read_recursive();
        let is_ours = |known: &Log| std::ptr::eq(known, future);
        if state.future.as_deref().is_some_and(is_ours) {
            self.note_future_start(Some(start));
        }
        copied
    }

    /// The future log takes the current one's place, unless more came than can be copied while
    /// everybody waits, or appends wait in the directory's lane. Gives the one that was replaced.
    pub(crate) fn take_over(
        &self,
        store: &Store,
        future: &Arc<Log>,
        bytes_max: usize,
    ) -> Result<Option<Arc<Log>>, CopyError> {
        let mut guard = self.state.write();
        let state = &mut *guard;
        let is_ours = |known: &Arc<Log>| Arc::ptr_eq(known, future);
        if self.gone.get().is_some() || !state.future.as_ref().is_some_and(is_ours) {
            return Err(Error::Closed.into());
        }
        let mut rounds = 0;
        loop {
            let copied = copy(&self.id, &state.log, future, bytes_max);
            self.note_future_start(Some(future.offsets().start));
            if copied? == Copied::Level(0) {
                break;
            }
            rounds += 1;
            if rounds > LAST_ROUNDS_MAX {
                return Ok(None);
            }
        }
        // What was on the disk must be on the disk; and after a power cut the copy must not end
        // before the log it replaced, or nobody could tell which of them to believe.
        future.flush()?;
        let Some(left) = self.go_to_lane(future) else {
            return Ok(None);
        };
        if let Err(failed) = store.take_over(&state.log, future) {
            *self.lane.write() = left;
            return Err(failed.into());
        }
        state.future = None;
        self.note_future_start(None);
        Ok(Some(std::mem::replace(&mut state.log, Arc::clone(future))))
    }

    /// From now on appends that wait do so in the lane of the copy's directory, and for the caller, who
    /// is alone with the state. Gives the lane that was left; `None` while appends wait there. Nobody
    /// has to wait for a disk to learn the lane: its lock is not held over the renames that follow.
    fn go_to_lane(&self, future: &Log) -> Option<Arc<Lane>> {
        let next = self.shared.lanes.lane(&future.directory());
        // Whoever counts itself among the queued holds this lock while it learns the lane.
        let mut lane = self.lane.write();
        let is_free = self.queued.load(Ordering::Acquire) == 0;
        is_free.then(|| std::mem::replace(&mut *lane, next))
    }
}

/// One turn. What is cut off or skipped is the beginning of the next one.
fn copy(
    id: &TopicPartition,
    current: &Log,
    future: &Log,
    bytes_max: usize,
) -> Result<Copied, CopyError> {
    if align(id, current, future)? {
        return Ok(Copied::Some(0));
    }
    let (ours, theirs) = (current.offsets(), future.offsets());
    let mut copied = 0;
    let mut level = theirs.end >= ours.end;
    if !level {
        let plan = current.read(ReadRequest {
            from: theirs.end,
            bytes_max,
            min_one: true,
            upto: Upto::End,
        })?;
        let bytes = plan.read()?;
        future.append_as_follower(&bytes)?;
        copied = bytes.len() as u64;
        level = future.offsets().end >= ours.end;
    }
    future.set_high_watermark(ours.watermark);
    if ours.start > theirs.start {
        future.delete_records_before(ours.start)?;
        future.apply_retention()?;
    }
    Ok(match level {
        true => Copied::Level(copied),
        false => Copied::Some(copied),
    })
}

/// Cuts the future log to what both have. True where something was cut, and another look is due.
///
/// Kafka: `AbstractFetcherThread.getOffsetTruncationState`, and what its threads do about offsets
/// that are out of range.
fn align(id: &TopicPartition, current: &Log, future: &Log) -> Result<bool, Error> {
    let (ours, theirs) = (current.offsets(), future.offsets());
    if theirs.end < ours.start {
        info!(partition = %id, from = ours.start.0, "the copy begins anew at the log's start");
        future.truncate_fully_and_start_at(ours.start, None)?;
        return Ok(true);
    }
    let cut = theirs.end.min(ours.end).min(common_end(current, future));
    if cut >= theirs.end {
        return Ok(false);
    }
    info!(partition = %id, from = theirs.end.0, to = cut.0, "the copy is cut to what the log has");
    if cut <= theirs.start {
        future.truncate_fully_and_start_at(ours.start, None)?;
        return Ok(true);
    }
    future.truncate_to(cut)
}

/// Up to where, as far as epochs tell, both logs have the same.
fn common_end(current: &Log, future: &Log) -> Offset {
    let Some(epoch) = future.latest_epoch() else {
        // Message formats before epochs: only an empty copy is known to be the same.
        let theirs = future.offsets();
        let is_fresh = theirs.end == theirs.start || current.latest_epoch().is_none();
        return if is_fresh { theirs.end } else { theirs.start };
    };
    match current.end_offset_for_epoch(epoch) {
        Some((known, end)) if known == epoch => end,
        Some((older, end)) => match future.end_offset_for_epoch(older) {
            Some((_, here)) => here.min(end),
            None => future.offsets().start,
        },
        None => future.offsets().start,
    }
}
