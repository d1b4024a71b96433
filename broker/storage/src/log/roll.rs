//! When and how a new segment starts.
//!
//! Kafka: `LogSegment.shouldRoll`, `UnifiedLog.roll`. The old segment is sealed, the producers are
//! written down at the new base; housekeeping syncs the old files later.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use protocol::ids::Offset;

use crate::config::LogConfig;
use crate::error::{Error, Result};
use crate::files;
use crate::log::split::fits;
use crate::log::{Log, State};
use crate::producer_snapshot;
use crate::segment::{Appending, Ending, Segment};

impl Log {
    /// Starts a new segment (empty ones stay). Gives the active base offset.
    pub fn roll(&self) -> Result<Offset> {
        let result = {
            let mut state = self.lock_open()?;
            let end = state.end;
            self.start_segment(&mut state, end)
                .map(|()| Offset(state.active().base_offset()))
        };
        self.conclude(result)
    }

    /// Makes room for a set of `bytes` whose first offset is `first`.
    ///
    /// The new segment is named after the end of the one before, though offsets may be missing from
    /// there to `first`: a gap between two segments shows a recovery that something was lost. Kafka names
    /// it after `first`, as is done here where the last offset would not fit otherwise.
    pub(in crate::log) fn roll_if_needed(
        &self,
        state: &mut State,
        bytes: u64,
        appending: &Appending,
        first: i64,
        config: &LogConfig,
    ) -> Result<()> {
        if self.is_roll_due(state, bytes, appending, config)? {
            let base = match fits(state.end, appending.last_offset) {
                true => state.end,
                false => first.max(state.end),
            };
            self.start_segment(state, base)?;
        }
        Ok(())
    }

    fn is_roll_due(
        &self,
        state: &State,
        bytes: u64,
        appending: &Appending,
        config: &LogConfig,
    ) -> Result<bool> {
        let active = state.active();
        let size = active.size();
        if size.saturating_add(bytes) > u64::from(config.segment_bytes) {
            return Ok(size > 0);
        }
        if appending.last_offset - active.base_offset() > i64::from(i32::MAX) {
            return Ok(true);
        }
        if size == 0 {
            return Ok(false);
        }
        let limit_ms = config
            .segment_ms_max()
            .saturating_sub(self.jitter_ms(active, config));
        let waited_ms = match active.first_timestamp()? {
            Some(first) if appending.max_timestamp >= 0 => {
                appending.max_timestamp.saturating_sub(first)
            }
            _ => self.clock.wall_ms().saturating_sub(active.created_ms()),
        };
        Ok(waited_ms > limit_ms || active.is_index_full(config.segment_index_bytes)?)
    }

    /// The same for one segment at every look, different from one segment to the next.
    fn jitter_ms(&self, active: &Segment, config: &LogConfig) -> i64 {
        let bound = config.segment_jitter_ms.min(config.segment_ms);
        if bound <= 0 {
            return 0;
        }
        let mut hasher = DefaultHasher::new();
        (&self.partition, active.base_offset(), active.created_ms()).hash(&mut hasher);
        (hasher.finish() >> 1).cast_signed() % bound
    }

    /// The active segment is closed for good and one that begins at `base` follows.
    pub(in crate::log) fn start_segment(&self, state: &mut State, base: i64) -> Result<()> {
        let active = Arc::clone(state.active());
        if active.size() == 0 && active.base_offset() == base {
            return Ok(());
        }
        self.give_room_back(state, true)?;
        active.seal()?;
        // Kafka: the producers are up to `base` even where offsets were skipped.
        state.producers.end = base;
        self.write_snapshot(state)?;
        let next = Segment::create(&self.place, base, Ending::Plain, self.clock.wall_ms())?;
        if active.size() == 0 {
            // Nothing was ever written there: the new one takes its place.
            active.remove_files()?;
            state.segments.pop();
        }
        state.segments.push(Arc::new(next));
        self.place.note_change();
        Ok(())
    }

    /// Writes the producers down at the offset they reflect, unless that is done already.
    pub(in crate::log) fn write_snapshot(&self, state: &mut State) -> Result<()> {
        let at = state.producers.end;
        if at <= state.producers.snapshot {
            return Ok(());
        }
        let path = self.place.join(&files::segment_file(at, files::SNAPSHOT));
        producer_snapshot::write(&*self.place.handles.disk, &path, &state.producers)?;
        self.place.note_change();
        state.producers.snapshot = at;
        if state.snapshots.last() != Some(&at) {
            state.snapshots.push(at);
        }
        Ok(())
    }

    /// Removes the snapshots that `is_doomed` names.
    pub(in crate::log) fn remove_snapshots(
        &self,
        state: &mut State,
        is_doomed: impl Fn(i64) -> bool,
    ) -> Result<()> {
        let (doomed, kept) = state.snapshots.iter().partition(|at| is_doomed(**at));
        state.snapshots = kept;
        let doomed: Vec<i64> = doomed;
        for at in doomed {
            self.place.note_change();
            let path = self.place.join(&files::segment_file(at, files::SNAPSHOT));
            match self.place.handles.disk.remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &path, e));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
