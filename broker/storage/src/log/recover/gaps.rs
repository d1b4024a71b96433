//! Offsets that no batch has: given away by compaction, or lost with the power. Pure.
//!
//! ```text
//! 0.log [ 0 … 41 ]   gap   57.log [ 57 … 80 ]
//! ```
//!
//! Compaction leaves gaps that belong to the log. A power cut leaves some that do not: the file system
//! brings pages to the disk in an order of its own, so the later of two segments may be there while the
//! end of the earlier one is not. Whatever follows such a gap was never acknowledged as being on the
//! disk, for a flush brings all that lies before it along; and served with it, a follower would never
//! ask for what is missing. So the log ends before the gap, as at a torn batch.
//!
//! A gap belongs to the log where
//! - it begins below the recovery point, or the stop was clean: all around it was on the disk, and Kafka
//!   keeps it;
//! - something shows that a cleaner was at work there: its checkpoint lies above, the segment before the
//!   gap is being put in the place of others, or those are still around under another ending and the
//!   segment is no younger than they are. The last shows it in a compacted topic only: elsewhere
//!   retention and truncation are what gives files that ending. This is for logs that Apache wrote:
//!   ours has its recovery point noted above whatever the cleaner puts in place;
//! - it lies inside a segment of a compacted topic: bytes that follow one another with right checksums
//!   lack no page, and a follower is sent gaps. Between segments it gets none here: it names a new one
//!   after the end of the one before. Apache's names it after the first record it is sent, so in a
//!   directory where ours never was that is no sign of a loss either. Where nothing is compacted, an
//!   offset was spoilt, which no checksum covers.
//!
//! Which boot of the machine this is says nothing here: a file system can lose its pages without one.

use std::collections::BTreeSet;

/// Where offsets are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log::recover) enum Side {
    /// Between two batches of a segment, or before its first.
    Inside,
    /// Between the end of a segment and the name of the next.
    Behind,
}

/// What a recovery judges gaps by.
#[derive(Clone, Debug, Default)]
pub(in crate::log::recover) struct Gaps {
    pub(in crate::log::recover) clean: bool,
    /// Below it everything was on the disk.
    pub(in crate::log::recover) recovery: i64,
    /// The cleaner's checkpoint.
    pub(in crate::log::recover) cleaned_to: i64,
    /// Bases of segments that were just being put in the place of others.
    pub(in crate::log::recover) swapped: BTreeSet<i64>,
    /// Of segments that stand in the place of others, which wait to be removed.
    pub(in crate::log::recover) replaced: BTreeSet<i64>,
    pub(in crate::log::recover) compacts: bool,
    /// Ours was never here: segments may be named as Apache names them.
    pub(in crate::log::recover) is_foreign: bool,
}

impl Gaps {
    /// Whether the offsets missing from `at` on, in or behind the segment of this base, were lost.
    pub(in crate::log::recover) fn is_torn(&self, at: i64, base: i64, side: Side) -> bool {
        let was_on_the_disk = self.clean || at < self.recovery;
        let was_rewritten =
            self.swapped.contains(&base) || (self.compacts && self.replaced.contains(&base));
        let was_cleaned = at < self.cleaned_to || was_rewritten;
        let was_sent = self.compacts && (side == Side::Inside || self.is_foreign);
        !was_on_the_disk && !was_cleaned && !was_sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crashed() -> Gaps {
        Gaps {
            recovery: 40,
            ..Gaps::default()
        }
    }

    #[test]
    fn a_gap_at_or_above_the_recovery_point_is_torn_and_one_below_is_not() {
        for side in [Side::Inside, Side::Behind] {
            assert!(crashed().is_torn(40, 0, side) && crashed().is_torn(41, 0, side));
            assert!(!crashed().is_torn(39, 0, side));
            let clean = Gaps {
                clean: true,
                ..crashed()
            };
            assert!(!clean.is_torn(41, 0, side));
        }
    }

    #[test]
    fn a_gap_that_a_cleaner_left_belongs_to_the_log() {
        let cleaned = Gaps {
            cleaned_to: 50,
            swapped: BTreeSet::from([20]),
            ..crashed()
        };
        for side in [Side::Inside, Side::Behind] {
            assert!(!cleaned.is_torn(49, 0, side) && cleaned.is_torn(50, 0, side));
            assert!(!cleaned.is_torn(60, 20, side));
        }
    }

    #[test]
    fn a_segment_that_waits_to_be_removed_vouches_for_its_successor_in_a_compacted_topic_only() {
        let replaced = |compacts| Gaps {
            replaced: BTreeSet::from([20]),
            compacts,
            ..crashed()
        };
        assert!(!replaced(true).is_torn(60, 20, Side::Behind));
        assert!(replaced(true).is_torn(60, 0, Side::Behind));
        for side in [Side::Inside, Side::Behind] {
            assert!(replaced(false).is_torn(60, 20, side));
        }
    }

    #[test]
    fn a_compacted_topic_has_gaps_inside_its_segments_but_loses_the_end_of_one_like_others() {
        let compacted = Gaps {
            compacts: true,
            ..crashed()
        };
        assert!(!compacted.is_torn(41, 0, Side::Inside));
        assert!(compacted.is_torn(41, 0, Side::Behind));
        let foreign = |compacts| Gaps {
            compacts,
            is_foreign: true,
            ..crashed()
        };
        assert!(!foreign(true).is_torn(41, 0, Side::Behind));
        assert!(foreign(false).is_torn(41, 0, Side::Behind));
    }
}
