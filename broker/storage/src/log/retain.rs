//! Retention carried out: which segments go is decided in [`crate::retention`].

use std::sync::Arc;

use protocol::ids::Offset;

use crate::error::Result;
use crate::log::{Log, State};
use crate::retention::{self, Aged, Limits};
use crate::segment::Segment;

impl State {
    fn raise_start(&mut self, to: i64) {
        let to = to.min(self.end);
        if to <= self.start {
            return;
        }
        self.start = to;
        let watermark = self.watermark.max(to);
        self.set_watermark(watermark);
        self.producers.note_watermark(to);
        // The file follows with the upkeep; every start cuts the same.
        self.epochs_unwritten |= self.epochs.truncate_from_start(to);
    }
}

impl Log {
    /// Records below `to` may not be read any more. The caller has checked `to` ≤ watermark;
    /// gives the new start (unchanged where `to` is below it).
    pub fn delete_records_before(&self, to: Offset) -> Result<Offset> {
        let mut state = self.lock_open()?;
        state.raise_start(to.0);
        Ok(Offset(state.start))
    }

    /// Deletes the segments that retention names. Gives how many.
    pub fn apply_retention(&self) -> Result<usize> {
        let result = self.retain();
        self.conclude(result)
    }

    fn retain(&self) -> Result<usize> {
        let config = self.config();
        let (segments, mut limits, end, cuts) = {
            let state = self.lock_open()?;
            let limits = Limits {
                start: state.start,
                watermark: state.watermark,
                now_ms: self.clock.wall_ms(),
                retention_ms: Some(config.retention_ms).filter(|ms| *ms >= 0),
                retention_bytes: u64::try_from(config.retention_bytes).ok(),
            };
            (state.segments.clone(), limits, state.end, state.cuts)
        };
        // Kafka: a topic that is only compacted loses what lies below its start, no more.
        if !config.delete {
            limits.retention_ms = None;
            limits.retention_bytes = None;
        }
        let mut aged = self.ages(&segments, end, limits.retention_ms.is_some())?;
        let mut count = retention::count_expired(&aged, &limits);
        let timeless = Limits {
            retention_ms: None,
            ..limits
        };
        // What goes for its age goes by the batches' word, not by that of an index without a checksum.
        let by_age = retention::count_expired(&aged, &timeless)..count;
        for (aged, segment) in aged
            .iter_mut()
            .zip(&segments)
            .take(count)
            .skip(by_age.start)
        {
            aged.largest_timestamp = segment.confirmed_timestamp_or_modified()?;
        }
        if !by_age.is_empty() {
            count = count.min(retention::count_expired(&aged, &limits));
        }
        if count == 0 {
            return Ok(0);
        }
        let mut state = self.lock_settled()?;
        if state.end != end {
            // The last one was judged without what came meanwhile. Those before it do not grow.
            count = count.min(segments.len() - 1);
        }
        let mut same = state.segments.iter().zip(&segments).take(count);
        let were_cleaned = same.len() < count || !same.all(|(a, b)| Arc::ptr_eq(a, b));
        if count == 0 || were_cleaned || state.cuts != cuts {
            // The next round looks again.
            return Ok(0);
        }
        let dropped = self.drop_oldest(&mut state, count);
        self.directory.judge(dropped)?;
        Ok(count)
    }

    fn ages(&self, segments: &[Arc<Segment>], end: i64, by_time: bool) -> Result<Vec<Aged>> {
        let ends = segments
            .iter()
            .skip(1)
            .map(|next| next.base_offset())
            .chain([end]);
        let ages = segments.iter().zip(ends).map(|(segment, end)| {
            Ok(Aged {
                end,
                size: segment.size(),
                largest_timestamp: if by_time && segment.size() > 0 {
                    segment.largest_timestamp_or_modified()?
                } else {
                    i64::MAX
                },
            })
        });
        ages.collect()
    }

    fn drop_oldest(&self, state: &mut State, count: usize) -> Result<()> {
        if count == state.segments.len() {
            let end = state.end;
            self.start_segment(state, end)?;
        }
        let kept = state
            .segments
            .split_off(count.min(state.segments.len() - 1));
        let gone = std::mem::replace(&mut state.segments, kept);
        let bytes: u64 = gone.iter().map(|segment| segment.size()).sum();
        let bases: Vec<i64> = gone.iter().map(|segment| segment.base_offset()).collect();
        let first = state
            .segments
            .first()
            .map_or(state.end, |segment| segment.base_offset());
        state.raise_start(first);
        self.doom(gone)?;
        self.remove_snapshots(state, |at| bases.contains(&at))?;
        tracing::info!(
            topic = %self.partition.topic,
            partition = self.partition.partition,
            segments = count,
            bytes,
            start = state.start,
            "deleted old segments"
        );
        Ok(())
    }
}
