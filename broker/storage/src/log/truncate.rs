//! Truncation: to an offset, or whole and on from another; with all that belongs to it.

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
            self.truncate_locked(&mut state, to.0.max(0))
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
        self.lower_recovery(state, to)?;
        let kept = state
            .segments
            .partition_point(|segment| segment.base_offset() <= to)
            .max(1);
        let gone = state.segments.split_off(kept);
        self.doom(state, gone)?;
        let cut = state.active().truncate_to(to)?;
        state.room = Room::none(state.written);
        // On the disk before anything follows: else a power cut could leave an old batch between
        // new ones.
        let file = state.active().log_file()?;
        self.directory.sync(vec![file], &self.place.path())?;
        state.end = to;
        state.start = state.start.min(to);
        state.set_watermark(state.watermark.min(to));
        // One that fails keeps the other from nothing: the bytes are cut, nobody comes here again.
        let epochs = match state.epochs.truncate_from_end(to) {
            true => self.write_epochs(state),
            false => Ok(()),
        };
        self.rebuild_producers(state, to)?;
        epochs?;
        tracing::info!(
            topic = %self.partition.topic,
            partition = self.partition.partition,
            offset = to,
            bytes = cut,
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
            self.start_over(&mut state, at.0, log_start.unwrap_or(at).0)
        };
        self.conclude(result)
    }

    pub(in crate::log) fn start_over(&self, state: &mut State, at: i64, start: i64) -> Result<()> {
        self.lower_recovery(state, at.min(state.recovery))?;
        let gone = std::mem::take(&mut state.segments);
        self.doom(state, gone)?;
        let segment = Segment::create(&self.place, at, Ending::Plain, self.clock.wall_ms());
        // The log must never be without a segment, whatever fails.
        let segment = match segment {
            Ok(segment) => segment,
            Err(e) => {
                state
                    .segments
                    .push(Arc::new(Segment::existing(&self.place, at, 0, 0)));
                return Err(e);
            }
        };
        state.segments.push(Arc::new(segment));
        state.room = Room::none(state.written);
        state.folder_changes += 1;
        if state.epochs.clear() {
            self.write_epochs(state)?;
        }
        self.remove_snapshots(state, |_| true)?;
        state.producers = Producers::starting_at(at);
        state.end = at;
        state.start = start.min(at);
        state.recovery = at;
        state.indexed = at;
        state.tail_unchecked = false;
        state.set_watermark(at);
        Ok(())
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
    pub(in crate::log) fn doom(&self, state: &mut State, gone: Vec<Arc<Segment>>) -> Result<()> {
        let due_ms = self
            .clock
            .wall_ms()
            .saturating_add(self.config().file_delete_delay_ms);
        for segment in gone {
            segment.rename_files(Ending::Deleted)?;
            state.folder_changes += 1;
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
