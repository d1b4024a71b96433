//! Truncation: to an offset, or whole and on from another; with all that belongs to it.
//!
//! Invariant: a log is cut whole or not at all, unless the disk fails, and then its directory is
//! offline. So what may fail because the process has no descriptor left comes first; from the first
//! change on, files are only renamed, cut and removed, and those that are cut are held open.

use std::path::PathBuf;
use std::sync::Arc;

use protocol::ids::Offset;

use crate::error::Result;
use crate::log::room::Room;
use crate::log::{Log, State};
use crate::producers::Producers;
use crate::segment::{Ending, Place, Segment};
use crate::trash::Doomed;

impl Log {
    /// Cuts everything at and above `to`. Gives whether anything was cut.
    pub fn truncate_to(&self, to: Offset) -> Result<bool> {
        let result = {
            let mut state = self.lock_settled()?;
            let cut = self.truncate_locked(&mut state, to.0.max(0));
            self.directory.judge(cut)
        };
        self.conclude(result)
    }

    fn truncate_locked(&self, state: &mut State, to: i64) -> Result<bool> {
        if to >= state.end {
            // Kafka: an epoch noted at the end without data may contradict the leader's. Every start
            // cuts the same, so the file may follow with the upkeep.
            state.epochs_unwritten |= state.epochs.truncate_from_end(state.end);
            return Ok(false);
        }
        if state
            .segments
            .first()
            .is_some_and(|first| first.base_offset() > to)
        {
            self.start_over(state, to, to)?;
            return Ok(true);
        }
        // A batch is cut whole, and of offsets that are missing before it nothing stays either: no file
        // would say where the log ends. Kafka goes on at `to`.
        let to = self.batches_end(state, to)?;
        let kept = state
            .segments
            .partition_point(|segment| segment.base_offset() <= to)
            .max(1);
        let last = Arc::clone(&state.segments[kept - 1]);
        let cut = last.plan_cut(to)?;
        let producers = self.producers_at(state, to)?;
        self.lower_recovery(state, to)?;
        let gone = state.segments.split_off(kept);
        self.doom(gone)?;
        last.cut(&cut)?;
        state.room = Room::none(state.written);
        state.producers = producers;
        state.end = to;
        state.start = state.start.min(to);
        state.set_watermark(state.watermark.min(to));
        let forgets = state.epochs.truncate_from_end(to);
        // On the disk before anything follows: else a power cut could leave an old batch between
        // new ones.
        let file = last.log_file()?;
        self.directory.sync(vec![file], &self.place.path())?;
        if forgets {
            self.write_cut_epochs(state)?;
        }
        self.remove_snapshots(state, |at| at > to)?;
        tracing::info!(
            topic = %self.partition.topic,
            partition = self.partition.partition,
            offset = to,
            bytes = cut.bytes(),
            "truncated"
        );
        Ok(true)
    }

    /// Where the last batch ends that lies wholly below `to`.
    fn batches_end(&self, state: &State, to: i64) -> Result<i64> {
        match state.segments.get(state.segment_index(to)) {
            Some(segment) => segment.end_below(to),
            None => Ok(to),
        }
    }

    /// Drops everything; the log goes on, empty, at `at`.
    pub fn truncate_fully_and_start_at(&self, at: Offset, log_start: Option<Offset>) -> Result<()> {
        let result = {
            let mut state = self.lock_settled()?;
            let begun = self.start_over(&mut state, at.0, log_start.unwrap_or(at).0);
            self.directory.judge(begun)
        };
        self.conclude(result)
    }

    pub(in crate::log) fn start_over(&self, state: &mut State, at: i64, start: i64) -> Result<()> {
        self.lower_recovery(state, at.min(state.recovery))?;
        // One that begins at the same offset has its name still.
        let now_ms = self.clock.wall_ms();
        let segment = Segment::create(&self.place, at, Ending::Temporary, now_ms)?;
        let segment = Arc::new(segment);
        let gone = std::mem::replace(&mut state.segments, vec![Arc::clone(&segment)]);
        state.room = Room::none(state.written);
        self.place.note_change();
        let forgets = state.epochs.clear();
        state.producers = Producers::starting_at(at);
        // The recovery point follows with the next flush: a power cut must not bring back segments that
        // end below it.
        state.end = at;
        state.start = start.min(at);
        state.tail_unchecked = false;
        state.set_watermark(at);
        self.doom(gone)?;
        segment.rename_files(Ending::Plain)?;
        if forgets {
            self.write_cut_epochs(state)?;
        }
        self.remove_snapshots(state, |_| true)
    }

    /// The recovery point goes down before the bytes do, on the disk too: what is written there
    /// later must not pass for safe. A flush under way says nothing about it.
    fn lower_recovery(&self, state: &mut State, to: i64) -> Result<()> {
        state.cuts += 1;
        state.lowest_cut = Some(state.lowest_cut.map_or(to, |lowest| lowest.min(to)));
        state.indexed = state.indexed.min(to);
        if state.recovery > to {
            self.directory.lower_recovery(&self.partition, to)?;
            state.recovery = to;
        }
        Ok(())
    }

    /// Takes segments out of the log's sight; their files are removed later.
    pub(in crate::log) fn doom(&self, gone: Vec<Arc<Segment>>) -> Result<()> {
        let due_ms = self
            .clock
            .wall_ms()
            .saturating_add(self.config().file_delete_delay_ms);
        for segment in gone {
            segment.rename_files(Ending::Deleted)?;
            self.place.note_change();
            self.trash.add(due_ms, Doomed::Segment(segment));
        }
        Ok(())
    }

    /// The folder is out of the store's sight under this name; it is removed after `delay_ms`.
    pub(crate) fn doom_folder(&self, folder: PathBuf, delay_ms: i64) {
        let place = Place::new(Arc::clone(&self.place.handles), folder);
        let due_ms = self.clock.wall_ms().saturating_add(delay_ms);
        self.trash.add(due_ms, Doomed::Folder { place });
    }
}
