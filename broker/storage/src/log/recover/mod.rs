//! Opening a log after a clean or an unclean stop; rebuilding what can be rebuilt.
//!
//! ```text
//! clean    names and sizes are enough; the tail is looked at before its first use
//! unclean  [ trusted: below the recovery point ][ scanned, with checksums ][ torn: cut, reported ]
//! ```
//!
//! Kafka: `LogLoader`, `LogSegment.recover`; but the scan begins at the recovery point instead of
//! its segment's beginning, and damage below that point is an error: what was on the disk and is
//! not any more must be seen by a person, not cut.

mod folder;
mod gaps;
mod snapshots;
mod tail;

use std::path::PathBuf;
use std::sync::Arc;

use base::clock::Clock;
use parking_lot::{Condvar, Mutex, RwLock};
use protocol::ids::TopicPartition;

use crate::checkpoint;
use crate::config::LogConfig;
use crate::directory::Directory;
use crate::epochs::Epochs;
use crate::error::{Damage, Error, Result};
use crate::files;
pub(crate) use crate::log::recover::folder::read_topic_id;
use crate::log::recover::folder::{Folder, sort_folder};
use crate::log::recover::gaps::Gaps;
use crate::log::recover::tail::Scanned;
pub(in crate::log) use crate::log::recover::tail::end_by_walk;
use crate::log::room::Room;
use crate::log::{Condition, Log, State};
use crate::producers::Producers;
use crate::segment::{Ending, Place, Segment};
use crate::trash::Trash;

/// What is known of a log before its folder is looked at.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) partition: TopicPartition,
    pub(crate) directory: Arc<Directory>,
    pub(crate) folder: PathBuf,
    pub(crate) trash: Arc<Trash>,
    pub(crate) clock: Clock,
    pub(crate) config: Arc<LogConfig>,
    pub(crate) is_future: bool,
    /// The folder was made a moment ago: nothing is in it.
    pub(crate) is_new: bool,
    /// Of the recovery-point checkpoint.
    pub(crate) recovery: Option<i64>,
    /// Of the log-start checkpoint.
    pub(crate) start: Option<i64>,
    /// Of the cleaner's checkpoint.
    pub(crate) cleaned_to: Option<i64>,
    pub(crate) producer_expiration_ms: i64,
}

impl Log {
    /// Opens the log in its folder; an empty folder gives an empty log.
    pub(crate) fn open(opening: Opening) -> Result<Arc<Log>> {
        let disk = Arc::clone(&opening.directory.handles.disk);
        let place = Place::new(
            Arc::clone(&opening.directory.handles),
            opening.folder.clone(),
        );
        // Whatever was made here before the start may not be on the disk yet.
        place.note_change();
        let folder = match opening.is_new {
            true => Folder::default(),
            false => sort_folder(&*disk, &opening.folder)?,
        };
        let clean = opening.directory.was_clean;
        let now_ms = opening.clock.wall_ms();
        let topic_id = match folder.has_topic_id {
            true => read_topic_id(&*disk, &opening.folder.join(files::PARTITION_METADATA))?,
            false => None,
        };
        let epochs = match folder.has_epochs {
            true => {
                let path = opening.folder.join(files::LEADER_EPOCH_CHECKPOINT);
                Epochs::load(checkpoint::read_epochs(&*disk, &path)?)
            }
            false => Epochs::default(),
        };
        let first = folder.logs.keys().next().copied();
        let noted = opening.start.unwrap_or(0);
        let start = witnessed_start(noted, &epochs).max(first.unwrap_or(0));
        if start < noted {
            tracing::warn!(
                path = %opening.folder.display(),
                noted,
                start,
                "the log-start checkpoint names an offset at which the epochs of the log do not begin: it \
                 is spoilt, or newer than they are; nothing is deleted by it. If records had been deleted up \
                 to there, delete them again"
            );
        }
        let log = Log {
            partition: opening.partition,
            may_have_lost_bytes: !clean && !opening.directory.same_boot && first.is_some(),
            directory: opening.directory,
            place,
            trash: opening.trash,
            clock: opening.clock,
            is_future: opening.is_future.into(),
            damage_told: false.into(),
            producer_expiration_ms: opening.producer_expiration_ms,
            config: RwLock::new(opening.config),
            state: Mutex::new(State {
                segments: Vec::new(),
                start,
                recovery: start,
                indexed: start,
                watermark: start,
                end: start,
                topic_id,
                topic_id_unwritten: false,
                epochs_unwritten: false,
                settling: false,
                producers: Producers::starting_at(start),
                snapshots: folder.snapshots.clone(),
                epochs,
                last_flush_ms: now_ms,
                written: 0,
                synced: 0,
                folder_synced: 0,
                cuts: 0,
                lowest_cut: None,
                tail_unchecked: false,
                room: Room::default(),
                condition: Condition::Open,
            }),
            settled: Condvar::new(),
        };
        if opening.is_new {
            log.begin_empty()?;
        } else {
            let gaps = Gaps {
                clean,
                recovery: opening.recovery.unwrap_or(0),
                cleaned_to: opening.cleaned_to.unwrap_or(0),
                swapped: folder.swapped.clone(),
                replaced: folder.replaced.clone(),
                compacts: log.config().compact,
                is_foreign: log.directory.is_foreign,
            };
            log.load(folder, gaps)?;
        }
        Ok(Arc::new(log))
    }

    /// In a new folder.
    fn begin_empty(&self) -> Result<()> {
        let mut state = self.state.lock();
        let (base, now_ms) = (state.start, self.clock.wall_ms());
        let first = Segment::create_in_new_folder(&self.place, base, now_ms)?;
        state.segments.push(Arc::new(first));
        Ok(())
    }

    fn load(&self, mut folder: Folder, mut gaps: Gaps) -> Result<()> {
        let mut state = self.state.lock();
        let state = &mut *state;
        while let Scanned::Overflows(base) = self.load_folder(state, &folder, &gaps)? {
            let size = folder.logs.get(&base).copied().unwrap_or(0);
            let next = folder.logs.range(base + 1..).next();
            self.split_overflowed(base, size, next.map_or(i64::MAX, |(next, _)| *next))?;
            folder = sort_folder(&*self.place.handles.disk, &self.place.path())?;
            gaps.swapped.extend(&folder.swapped);
            gaps.replaced.extend(&folder.replaced);
            state.segments.clear();
            state.snapshots.clone_from(&folder.snapshots);
        }
        Ok(())
    }

    fn load_folder(&self, state: &mut State, folder: &Folder, gaps: &Gaps) -> Result<Scanned> {
        let (clean, recovery) = (gaps.clean, gaps.recovery);
        let changes = self.place.changes();
        if folder.logs.is_empty() {
            let (start, now_ms) = (state.start, self.clock.wall_ms());
            let first = Segment::create(&self.place, start, Ending::Plain, now_ms)?;
            state.segments.push(Arc::new(first));
            state.epochs_unwritten |= state.epochs.truncate_from_end(start);
            self.remove_snapshots(state, |_| true)?;
            return Ok(Scanned::Whole);
        }
        let scan_from = self.first_to_scan(folder, clean, recovery)?;
        let now_ms = self.clock.wall_ms();
        let (before, rest): (Vec<_>, Vec<_>) = folder
            .logs
            .iter()
            .partition(|(base, _)| scan_from.is_none_or(|from| **base < from));
        for (base, size) in before {
            state.segments.push(Arc::new(Segment::existing(
                &self.place,
                *base,
                *size,
                now_ms,
            )));
        }
        if rest.is_empty() {
            if gaps.swapped.is_empty() && gaps.replaced.is_empty() {
                // As the clean stop left it.
                state.folder_synced = changes;
            }
            self.load_clean(state, recovery)?;
        } else if let Scanned::Overflows(base) = self.scan_all(state, &rest, gaps)? {
            return Ok(Scanned::Overflows(base));
        }
        self.remove_stray_snapshots(state)?;
        self.settle(state, clean, recovery)?;
        Ok(Scanned::Whole)
    }

    /// The segment from which on everything is scanned; `None`: nothing is.
    fn first_to_scan(&self, folder: &Folder, clean: bool, recovery: i64) -> Result<Option<i64>> {
        let bases = || folder.logs.keys().copied();
        let mut from = match clean {
            true => None,
            false => bases()
                .rfind(|base| *base <= recovery)
                .or_else(|| bases().next()),
        };
        let mut include = |base: i64| from = Some(from.map_or(base, |other: i64| other.min(base)));
        // Kafka: a segment without its offset index, or with a bad index of transactions, is
        // recovered.
        bases()
            .filter(|base| !folder.offset_indexes.contains(base))
            .for_each(&mut include);
        for base in folder
            .txn_indexes
            .iter()
            .filter(|base| folder.logs.contains_key(base))
        {
            let segment = Segment::existing(&self.place, *base, 0, 0);
            let next = folder.logs.range(base + 1..).next();
            if !segment.aborted_is_sound(next.map(|(next, _)| *next))? {
                include(*base);
            }
        }
        Ok(from)
    }

    /// After a clean stop two witnesses tell the end, the recovery point and the snapshot; where
    /// they do not agree the heads after the last index entry are walked.
    fn load_clean(&self, state: &mut State, recovery: i64) -> Result<()> {
        let active = Arc::clone(state.active());
        let is_witnessed = recovery >= active.base_offset()
            && match active.size() {
                0 => recovery == active.base_offset(),
                _ => state.snapshots.contains(&recovery),
            };
        if is_witnessed {
            state.end = recovery;
            state.tail_unchecked = active.size() > 0;
        } else {
            let broken = || {
                let damage = Damage::Batch {
                    position: active.size(),
                };
                Error::corrupt("find the end of", &active.path(files::LOG), damage)
            };
            state.end = end_by_walk(&active)?.ok_or_else(broken)?;
        }
        if state.snapshots.is_empty() {
            // Kafka: a clean log without any snapshot is one of an old version: it had no producers.
            state.producers = Producers::starting_at(state.end);
            state.producers.snapshot = state.start.min(state.end);
            return Ok(());
        }
        let end = state.end;
        self.rebuild_producers(state, end)
    }

    /// The last words: offsets in order, epochs inside them.
    fn settle(&self, state: &mut State, clean: bool, recovery: i64) -> Result<()> {
        if state.end < recovery && !clean {
            let damage = Damage::Shorter {
                end: state.end,
                known: recovery,
            };
            return Err(Error::corrupt("open", &self.place.path(), damage));
        }
        if state.end < state.start && clean {
            // No clean stop leaves that: the note of the start is spoilt.
            let damage = Damage::Shorter {
                end: state.end,
                known: state.start,
            };
            return Err(Error::corrupt("open", &self.place.path(), damage));
        }
        if state.end < state.start {
            // Kafka: all that is left was deleted by its owner; the log goes on where it may be read.
            let start = state.start;
            return self.start_over(state, start, start);
        }
        state.recovery = if clean {
            state.end
        } else {
            recovery.clamp(0, state.end)
        };
        state.indexed = state.recovery;
        // What is cut at the end must leave the file before data of an older epoch comes to lie there:
        // no batch of it would say so. What is cut at the start, every start cuts the same.
        state.epochs_unwritten |= state.epochs.truncate_from_end(state.end);
        state.epochs.truncate_from_start(state.start);
        state.set_watermark(state.start);
        Ok(())
    }
}

/// Where a log starts by its checkpoint, as far as the epochs bear it out. Neither file has a checksum;
/// but whoever raises the start has the epochs begin there too, and Kafka does, so that one of them
/// that lies higher cannot have segments deleted all by itself. A log without epochs has one witness.
///
/// The price: the epochs are written a little before the checkpoint here, and in the background by
/// Kafka. A crash between, or a follower of Apache's that was stopped between, brings records that were
/// deleted last into sight again, as any crash does within the minute until the checkpoint is written.
fn witnessed_start(noted: i64, epochs: &Epochs) -> i64 {
    let begin = epochs.entries().first().map(|(_, begin)| *begin);
    begin.map_or(noted, |begin| begin.min(noted))
}
