//! What compaction asks of a log: its segments' facts, and one exchange of segments.
//!
//! The exchange survives a crash at any line: `.cleaned` files are complete before they are called
//! `.swap`, and a log that finds `.swap` files when it opens carries the exchange through.

use std::sync::Arc;

use protocol::ids::Offset;

use crate::error::{Error, Result};
use crate::files;
use crate::log::{Log, State};
use crate::segment::{KINDS, Segment};

/// A segment as the cleaner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    pub base_offset: Offset,
    pub size: u64,
    pub offset_index_bytes: u64,
    pub time_index_bytes: u64,
    /// With what waits to be written.
    pub txn_index_bytes: u64,
    /// The file's time where no record has one.
    pub largest_timestamp_ms: i64,
    /// Of the first batch; −1 where unknown.
    pub first_timestamp_ms: i64,
    pub modified_ms: i64,
}

impl Log {
    /// All segments in order, the active one last.
    pub fn segments(&self) -> Result<Vec<SegmentFacts>> {
        let segments = self.lock_open()?.segments.clone();
        let facts = segments.iter().map(|segment| {
            let (offset_index_bytes, time_index_bytes) = segment.index_bytes()?;
            Ok(SegmentFacts {
                base_offset: Offset(segment.base_offset()),
                size: segment.size(),
                offset_index_bytes,
                time_index_bytes,
                txn_index_bytes: segment.txn_index_bytes()?,
                largest_timestamp_ms: segment.largest_timestamp_or_modified()?,
                first_timestamp_ms: segment.first_timestamp()?.unwrap_or(-1),
                modified_ms: segment.modified_ms()?,
            })
        });
        let result = facts.collect();
        self.conclude(result)
    }

    /// How often the log was truncated.
    pub fn cuts(&self) -> u64 {
        self.state.lock().cuts
    }

    /// The lowest offset the log was truncated to since this was last asked.
    pub fn take_lowest_cut(&self) -> Option<Offset> {
        self.state.lock().lowest_cut.take().map(Offset)
    }

    /// Puts the segment written as `<new_base>.*.cleaned` in the place of the segments `old`.
    /// False, and nothing done, where those are no longer all there or the log was cut since
    /// [`Log::cuts`] said `cuts`: a segment of the same name may hold other records then.
    pub fn replace_segments(&self, new_base: Offset, old: &[Offset], cuts: u64) -> Result<bool> {
        let result = {
            let mut state = self.lock_settled()?;
            if state.cuts != cuts {
                return Ok(false);
            }
            let exchanged = self.exchange(&mut state, new_base.0, old);
            self.directory.judge(exchanged)
        };
        self.conclude(result)
    }

    /// Puts everything below `to` on the disk, and has the recovery point say so: before compaction takes
    /// out what later records supersede. Else a power cut could take those, and then the earlier
    /// ones were gone too; and what is missing between batches would pass for lost.
    pub(crate) fn note_safe(&self, to: Offset) -> Result<()> {
        if self.recovery_to_note() < to {
            self.flush_whole()?;
        }
        // Once it is closed, another may be called as it was.
        let reached = || {
            drop(self.lock_open()?);
            Ok(self.recovery_to_note())
        };
        let noted = self.directory.raise_recovery(&self.partition, to, reached);
        self.conclude(noted)
    }

    fn exchange(&self, state: &mut State, new_base: i64, old: &[Offset]) -> Result<bool> {
        let index = |base: &Offset| {
            state
                .segments
                .iter()
                .position(|segment| segment.base_offset() == base.0)
        };
        let found: Option<Vec<usize>> = old.iter().map(index).collect();
        let Some(found) = found else { return Ok(false) };
        let (Some(first), Some(last)) = (found.first().copied(), found.last().copied()) else {
            return Ok(false);
        };
        let is_run = found
            .iter()
            .enumerate()
            .all(|(number, at)| *at == first + number);
        if !is_run || last + 1 >= state.segments.len() {
            return Ok(false);
        }
        // Batches that go may be the first of an epoch that only they tell yet.
        self.write_notes(state)?;
        self.rename_new(new_base, files::CLEANED, files::SWAP)?;
        if let Err(e) = self.sync_folder() {
            // Nothing was exchanged. Left as it is, the next start would carry it through, whatever
            // had come to lie there by then.
            self.rename_new(new_base, files::SWAP, files::CLEANED)?;
            return Err(e);
        }
        let path = self
            .place
            .join(&(files::segment_file(new_base, files::LOG) + files::SWAP));
        let facts = self.place.handles.disk.facts(&path);
        let size = facts.map_err(|e| Error::io("look at", &path, e))?.len;
        let new = Segment::existing(&self.place, new_base, size, self.clock.wall_ms());
        let gone: Vec<_> = state
            .segments
            .splice(first..=last, [Arc::new(new)])
            .collect();
        let dropped: Vec<i64> = gone
            .iter()
            .map(|segment| segment.base_offset())
            .filter(|base| *base != new_base)
            .collect();
        self.doom(gone)?;
        self.remove_snapshots(state, |at| dropped.contains(&at))?;
        self.rename_new(new_base, files::SWAP, "")?;
        self.sync_folder()?;
        Ok(true)
    }

    fn rename_new(&self, base: i64, from: &str, to: &str) -> Result<()> {
        for kind in KINDS {
            let name = files::segment_file(base, kind);
            let old = self.place.join(&format!("{name}{from}"));
            let new = self.place.join(&format!("{name}{to}"));
            match self.place.handles.disk.rename(&old, &new) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("rename", &old, e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(in crate::log) fn sync_folder(&self) -> Result<()> {
        let path = self.place.path();
        self.place
            .handles
            .disk
            .sync_dir(&path)
            .map_err(|e| Error::io("sync", &path, e))
    }
}
