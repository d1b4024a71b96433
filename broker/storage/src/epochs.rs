//! Leader epoch → first offset written under it, and the file that keeps it.
//!
//! Kafka: `LeaderEpochFileCache`. Invariant: both columns strictly rise. An epoch without data is
//! normal: each new leader notes its own at the end of the log; it lives in memory until it has some.

use crate::checkpoint;

/// The epochs of one log. The log writes the file, before its recovery point passes a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Epochs(Vec<(i32, i64)>);

impl Epochs {
    /// Kafka: only entries that are out of order are dropped, with those they contradict.
    pub(crate) fn load(entries: Vec<(i32, i64)>) -> Epochs {
        let mut epochs = Epochs::default();
        for (epoch, start) in entries {
            if epoch >= 0 && start >= 0 {
                epochs.assign(epoch, start);
            }
        }
        epochs
    }

    pub(crate) fn entries(&self) -> &[(i32, i64)] {
        &self.0
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        checkpoint::encode_epochs(&self.0)
    }

    pub(crate) fn latest(&self) -> Option<(i32, i64)> {
        self.0.last().copied()
    }

    /// Notes that `epoch` begins at `start`; gives whether anything changed.
    pub(crate) fn assign(&mut self, epoch: i32, start: i64) -> bool {
        if epoch < 0 || self.latest().is_some_and(|(e, s)| e == epoch && start >= s) {
            return false;
        }
        while self.latest().is_some_and(|(e, s)| e >= epoch || s >= start) {
            self.0.pop();
        }
        self.0.push((epoch, start));
        true
    }

    /// A batch from `first` to `last` has been found to be of `epoch`: entries that contradict it go, and
    /// what it says is noted. Gives whether anything changed. Above a recovery point the file may be older
    /// than the batches are; there they are right.
    pub(crate) fn learn(&mut self, epoch: i32, first: i64, last: i64) -> bool {
        if epoch < 0 {
            return false;
        }
        let before = self.0.len();
        self.0.retain(|(e, s)| *e <= epoch || *s > last.max(first));
        let dropped = self.0.len() != before;
        let (below, above) = (
            self.0.partition_point(|(e, s)| *e < epoch && *s < first),
            self.0.partition_point(|(e, _)| *e <= epoch),
        );
        match self.0.get(below..above) {
            Some([(e, s)]) if *e == epoch && *s <= first => dropped,
            _ => {
                self.0.splice(below..above, [(epoch, first)]);
                true
            }
        }
    }

    /// Forgets what begins at or after `end`.
    pub(crate) fn truncate_from_end(&mut self, end: i64) -> bool {
        let before = self.0.len();
        self.0.retain(|(_, start)| *start < end);
        self.0.len() != before
    }

    /// Forgets what ended before `start`; the epoch in force there now begins there.
    pub(crate) fn truncate_from_start(&mut self, start: i64) -> bool {
        let covered = self.0.iter().take_while(|(_, s)| *s <= start).count();
        match covered
            .checked_sub(1)
            .and_then(|last| self.0.get(last).copied())
        {
            Some((_, s)) if covered == 1 && s == start => false,
            Some((epoch, _)) => {
                self.0.splice(..covered, [(epoch, start)]);
                true
            }
            None => false,
        }
    }

    pub(crate) fn clear(&mut self) -> bool {
        let changed = !self.0.is_empty();
        self.0.clear();
        changed
    }

    /// Kafka: `endOffsetFor`. The largest epoch at or below `epoch`, and where it ends.
    pub(crate) fn end_offset_for(&self, epoch: i32, log_end: i64) -> Option<(i32, i64)> {
        let (latest, _) = self.latest()?;
        if epoch == -1 || epoch > latest {
            return None;
        }
        if epoch == latest {
            return Some((epoch, log_end));
        }
        let above = self.0.partition_point(|(e, _)| *e <= epoch);
        let (_, end) = *self.0.get(above)?;
        // Kafka: an epoch older than all known ends where the first known begins.
        let floor = above.checked_sub(1).and_then(|at| self.0.get(at));
        Some((floor.map_or(epoch, |(e, _)| *e), end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assigning_drops_what_it_contradicts() {
        let mut epochs = Epochs::default();
        assert!(epochs.assign(0, 0) && epochs.assign(2, 10) && epochs.assign(3, 20));
        assert!(!epochs.assign(3, 25));
        assert!(epochs.assign(4, 20), "an epoch without data gives way");
        assert_eq!(epochs.entries(), [(0, 0), (2, 10), (4, 20)]);
        assert!(epochs.assign(2, 5));
        assert_eq!(epochs.entries(), [(0, 0), (2, 5)]);
    }

    #[test]
    fn a_batch_is_right_where_an_entry_contradicts_it() {
        let mut epochs = Epochs::load(vec![(1, 0), (3, 10), (6, 20)]);
        assert!(!epochs.learn(1, 4, 9) && !epochs.learn(3, 10, 12) && !epochs.learn(6, 30, 40));
        assert!(!epochs.learn(-1, 0, 50));
        // Nothing of 6 lies at 20, as it should.
        assert!(epochs.learn(3, 18, 22));
        assert_eq!(epochs.entries(), [(1, 0), (3, 10)]);
        assert!(epochs.learn(6, 23, 25));
        assert_eq!(epochs.entries(), [(1, 0), (3, 10), (6, 23)]);
        // One between them that is in no file, one that begins earlier than is known.
        assert!(epochs.learn(2, 8, 9));
        assert_eq!(epochs.entries(), [(1, 0), (2, 8), (3, 10), (6, 23)]);
        assert!(epochs.learn(6, 15, 16));
        assert_eq!(epochs.entries(), [(1, 0), (2, 8), (3, 10), (6, 15)]);
        // At the very beginning, where the file knew only a newer one.
        let mut epochs = Epochs::load(vec![(5, 0)]);
        assert!(epochs.learn(3, 0, 4));
        assert_eq!(epochs.entries(), [(3, 0)]);
        assert!(epochs.learn(5, 5, 5));
        assert_eq!(epochs.entries(), [(3, 0), (5, 5)]);
    }

    #[test]
    fn both_ends_can_be_cut() {
        let mut epochs = Epochs::load(vec![(0, 0), (2, 10), (4, 20)]);
        assert!(epochs.truncate_from_start(15));
        assert_eq!(epochs.entries(), [(2, 15), (4, 20)]);
        assert!(!epochs.truncate_from_start(15) && !epochs.truncate_from_start(3));
        assert!(epochs.truncate_from_end(20));
        assert_eq!(epochs.entries(), [(2, 15)]);
    }

    #[test]
    fn an_epoch_ends_where_the_next_known_one_begins() {
        let epochs = Epochs::load(vec![(1, 0), (3, 10), (6, 20)]);
        assert_eq!(epochs.end_offset_for(6, 33), Some((6, 33)));
        assert_eq!(epochs.end_offset_for(4, 33), Some((3, 20)));
        assert_eq!(epochs.end_offset_for(3, 33), Some((3, 20)));
        assert_eq!(epochs.end_offset_for(0, 33), Some((0, 0)));
        assert_eq!(epochs.end_offset_for(7, 33), None);
        assert_eq!(epochs.end_offset_for(-1, 33), None);
    }

    #[test]
    fn entries_out_of_order_are_dropped_at_load() {
        let epochs = Epochs::load(vec![(1, 0), (5, 50), (3, 10)]);
        assert_eq!(epochs.entries(), [(1, 0), (3, 10)]);
    }
}
