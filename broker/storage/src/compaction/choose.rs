//! Which log is compacted next: pure.
//!
//! ```text
//! start ───── first dirty ──────── uncleanable ───── active ── end
//!   compacted before    to be compacted    too young, or open transactions
//! ```
//!
//! Kafka: `LogCleanerManager.cleanableOffsets` and `grabFilthiestCompactedLog`.

use crate::compaction::SegmentFacts;
use crate::config::LogConfig;
use crate::offsets::Offsets;

/// How dirty one log is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Assessment {
    pub(crate) first_dirty: i64,
    /// The checkpoint was outside the log and must be written anew.
    pub(crate) checkpoint_is_wrong: bool,
    /// The base of the first segment that may not be touched.
    pub(crate) upto: i64,
    pub(crate) clean_bytes: u64,
    pub(crate) cleanable_bytes: u64,
    /// For how long `max.compaction.lag.ms` has passed for the oldest of it; 0 where it has not.
    pub(crate) overdue_ms: i64,
}

impl Assessment {
    pub(crate) fn ratio(&self) -> f64 {
        let all = self.clean_bytes + self.cleanable_bytes;
        if all == 0 {
            0.0
        } else {
            self.cleanable_bytes as f64 / all as f64
        }
    }

    pub(crate) fn is_due(&self, config: &LogConfig) -> bool {
        (self.overdue_ms > 0 && self.cleanable_bytes > 0)
            || self.ratio() > config.min_cleanable_dirty_ratio
    }
}

/// Looks at one log. `None` where it has no segment.
pub(crate) fn assess(
    segments: &[SegmentFacts],
    offsets: &Offsets,
    checkpoint: Option<i64>,
    config: &LogConfig,
    now_ms: i64,
) -> Option<Assessment> {
    let (active, closed) = segments.split_last()?;
    let (start, end) = (offsets.start.0, offsets.end.0);
    let checked = checkpoint.unwrap_or(start);
    let checkpoint_is_wrong = checked < start || checked > end;
    let first_dirty = if checkpoint_is_wrong { start } else { checked };
    let dirty = from(closed, active.base, first_dirty);
    let too_young = |segment: &&SegmentFacts| {
        let young_ms = now_ms.saturating_sub(config.min_compaction_lag_ms);
        config.min_compaction_lag_ms > 0 && segment.largest_timestamp_ms > young_ms
    };
    let young = dirty
        .iter()
        .find(too_young)
        .map_or(i64::MAX, |segment| segment.base);
    let uncleanable = offsets
        .stable
        .0
        .min(active.base)
        .min(young)
        .max(first_dirty);
    let upto = from(closed, active.base, uncleanable)
        .first()
        .map_or(active.base, |segment| segment.base);
    let bytes = |segments: &[SegmentFacts]| segments.iter().map(|segment| segment.size).sum();
    let cleanable = from(closed, active.base, first_dirty.min(upto));
    let cleanable = &cleanable[..cleanable.partition_point(|segment| segment.base < upto)];
    Some(Assessment {
        first_dirty,
        checkpoint_is_wrong,
        upto,
        clean_bytes: bytes(&segments[..segments.partition_point(|s| s.base < first_dirty)]),
        cleanable_bytes: bytes(cleanable),
        overdue_ms: overdue_ms(dirty, config, now_ms),
    })
}

fn overdue_ms(dirty: &[SegmentFacts], config: &LogConfig, now_ms: i64) -> i64 {
    let oldest = dirty
        .iter()
        .map(|segment| segment.first_timestamp_ms)
        .filter(|ms| *ms > 0)
        .min();
    let lag_ms = config.max_compaction_lag_ms.max(0);
    let late = |oldest: i64| now_ms.saturating_sub(lag_ms).saturating_sub(oldest);
    oldest.map_or(0, late).max(0)
}

/// The closed segments that may hold `offset` or more.
fn from(closed: &[SegmentFacts], active_base: i64, offset: i64) -> &[SegmentFacts] {
    if offset >= active_base {
        return &[];
    }
    let next = closed.partition_point(|segment| segment.base <= offset);
    &closed[next.saturating_sub(1)..]
}

/// Bounds on what becomes one segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupBounds {
    pub(crate) bytes_max: u64,
    pub(crate) index_bytes_max: u64,
    /// The base of the first segment not compacted.
    pub(crate) upto: i64,
}

/// Puts small neighbours together, so that a log does not crumble.
pub(crate) fn group(segments: &[SegmentFacts], bounds: &GroupBounds) -> Vec<Vec<SegmentFacts>> {
    let mut groups: Vec<Vec<SegmentFacts>> = Vec::new();
    let mut sums = [0u64; 3];
    for (index, segment) in segments.iter().enumerate() {
        let sizes = [segment.size, segment.index_bytes, segment.time_index_bytes];
        // Where the next segment begins is all that is known of where this one ends.
        let end = segments
            .get(index + 1)
            .map_or(bounds.upto, |next| next.base);
        let fits = |group: &Vec<SegmentFacts>| {
            let span = end.saturating_sub(1).saturating_sub(group[0].base);
            sums[0] + sizes[0] <= bounds.bytes_max
                && sums[1] + sizes[1] <= bounds.index_bytes_max
                && sums[2] + sizes[2] <= bounds.index_bytes_max
                && (segment.size == 0 || span <= i64::from(i32::MAX))
        };
        match groups.last_mut() {
            Some(group) if fits(group) => {
                group.push(*segment);
                sums.iter_mut()
                    .zip(sizes)
                    .for_each(|(sum, size)| *sum += size);
            }
            _ => {
                groups.push(vec![*segment]);
                sums = sizes;
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::Offset;

    fn segment(base: i64, size: u64, time_ms: i64) -> SegmentFacts {
        SegmentFacts {
            base,
            size,
            index_bytes: 8,
            time_index_bytes: 12,
            txn_index_bytes: 0,
            largest_timestamp_ms: time_ms,
            first_timestamp_ms: time_ms,
            modified_ms: time_ms,
        }
    }

    fn log() -> (Vec<SegmentFacts>, Offsets) {
        let segments = vec![
            segment(0, 1000, 10),
            segment(100, 500, 20),
            segment(200, 300, 30),
            segment(300, 50, 40),
        ];
        let end = Offset(350);
        let offsets = Offsets {
            start: Offset(0),
            recovery: end,
            stable: end,
            watermark: end,
            end,
        };
        (segments, offsets)
    }

    #[test]
    fn what_was_compacted_counts_as_clean_and_the_active_segment_never_counts() {
        let (segments, offsets) = log();
        let config = LogConfig::default();
        let found = assess(&segments, &offsets, Some(100), &config, 1000).unwrap();
        assert_eq!(
            (found.clean_bytes, found.cleanable_bytes, found.upto),
            (1000, 800, 300)
        );
        assert!(!found.is_due(&config));
        let found = assess(&segments, &offsets, None, &config, 1000).unwrap();
        assert_eq!((found.clean_bytes, found.cleanable_bytes), (0, 1800));
        assert!(found.is_due(&config));
        let nothing = assess(&segments, &offsets, Some(300), &config, 1000).unwrap();
        assert_eq!(
            (nothing.cleanable_bytes, nothing.is_due(&config)),
            (0, false)
        );
    }

    #[test]
    fn open_transactions_and_young_segments_are_left_alone() {
        let (segments, mut offsets) = log();
        offsets.stable = Offset(150);
        let config = LogConfig::default();
        assert_eq!(
            assess(&segments, &offsets, None, &config, 1000)
                .unwrap()
                .upto,
            100
        );
        offsets.stable = Offset(350);
        let config = LogConfig {
            min_compaction_lag_ms: 100,
            ..config
        };
        assert_eq!(
            assess(&segments, &offsets, None, &config, 125)
                .unwrap()
                .upto,
            200
        );
    }

    #[test]
    fn a_checkpoint_outside_the_log_begins_anew() {
        let (segments, mut offsets) = log();
        let config = LogConfig::default();
        let found = assess(&segments, &offsets, Some(351), &config, 0).unwrap();
        assert_eq!((found.first_dirty, found.checkpoint_is_wrong), (0, true));
        offsets.start = Offset(120);
        let found = assess(&segments, &offsets, Some(100), &config, 0).unwrap();
        assert_eq!((found.first_dirty, found.checkpoint_is_wrong), (120, true));
    }

    #[test]
    fn what_has_waited_too_long_is_due_whatever_the_ratio() {
        let (segments, offsets) = log();
        let config = LogConfig {
            max_compaction_lag_ms: 100,
            ..LogConfig::default()
        };
        let found = assess(&segments, &offsets, Some(250), &config, 131).unwrap();
        assert!(found.overdue_ms == 1 && found.is_due(&config));
        let found = assess(&segments, &offsets, Some(250), &config, 130).unwrap();
        assert_eq!(found.overdue_ms, 0);
    }

    #[test]
    fn groups_respect_bytes_indexes_and_the_reach_of_an_index_entry() {
        let (segments, _) = log();
        let bounds = GroupBounds {
            bytes_max: 1500,
            index_bytes_max: 1000,
            upto: 350,
        };
        let lens: Vec<usize> = group(&segments, &bounds).iter().map(Vec::len).collect();
        assert_eq!(lens, [2, 2]);
        let narrow = GroupBounds {
            index_bytes_max: 12,
            ..bounds
        };
        assert_eq!(group(&segments, &narrow).len(), 4);
        let far = [segment(0, 5, 0), segment(1 << 31, 5, 0)];
        let bounds = GroupBounds {
            upto: (1 << 31) + 5,
            ..bounds
        };
        assert_eq!(group(&far, &bounds).len(), 2);
        let empty = [segment(0, 5, 0), segment(1 << 31, 0, 0)];
        assert_eq!(group(&empty, &bounds).len(), 1);
    }
}
