//! What compaction has lately done, for whoever measures.
//!
//! Kafka: the gauges of `LogCleaner` and `LogCleanerManager`; each thread is judged by its last pass.

use std::collections::HashMap;
use std::thread::ThreadId;

use parking_lot::Mutex;

use crate::compaction::Stats;

/// Percentages and times as Kafka's gauges give them: whole numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionMeasures {
    /// Of what the last passes read, how much they wrote.
    pub recopy_percent: i64,
    /// How full the fullest map was.
    pub buffer_percent: i64,
    pub clean_seconds_max: i64,
    /// By how much `max.compaction.lag.ms` was missed when a log was last looked for.
    pub delay_seconds_max: i64,
    /// Of the dirtiest log at that moment.
    pub dirty_percent: i64,
    pub since_look_ms: i64,
    /// Read and written since the start.
    pub bytes: u64,
}

/// One pass that is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastPass {
    pub(crate) stats: Stats,
    /// Slots of the map that were taken, and how many it might have had.
    pub(crate) slots: (usize, usize),
    pub(crate) took_ms: i64,
}

#[derive(Debug)]
pub(crate) struct Measured(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    last: HashMap<ThreadId, LastPass>,
    looked_ms: i64,
    dirty_ratio: f64,
    delay_ms: i64,
    bytes: u64,
}

impl Measured {
    pub(crate) fn new(now_ms: i64) -> Self {
        Measured(Mutex::new(Kept {
            last: HashMap::new(),
            looked_ms: now_ms,
            dirty_ratio: 0.0,
            delay_ms: 0,
            bytes: 0,
        }))
    }

    /// All logs have been looked at.
    pub(crate) fn note_look(&self, now_ms: i64, dirty_ratio: f64, delay_ms: i64) {
        let mut kept = self.0.lock();
        (kept.looked_ms, kept.dirty_ratio, kept.delay_ms) = (now_ms, dirty_ratio, delay_ms);
    }

    /// This thread has ended a pass.
    pub(crate) fn note_pass(&self, pass: LastPass) {
        let mut kept = self.0.lock();
        let Stats {
            keys: _,
            bytes_gathered,
            bytes_mapped,
            bytes_read,
            bytes_written,
        } = pass.stats;
        kept.bytes += bytes_gathered + bytes_mapped + bytes_read + bytes_written;
        kept.last.insert(std::thread::current().id(), pass);
    }

    /// This thread compacts no more.
    pub(crate) fn forget_thread(&self) {
        self.0.lock().last.remove(&std::thread::current().id());
    }

    pub(crate) fn told(&self, now_ms: i64) -> CompactionMeasures {
        let kept = self.0.lock();
        let sum =
            |of: fn(&Stats) -> u64| kept.last.values().map(|pass| of(&pass.stats)).sum::<u64>();
        let (read, written) = (sum(|s| s.bytes_read), sum(|s| s.bytes_written));
        let max = |of: fn(&LastPass) -> i64| kept.last.values().map(of).max().unwrap_or(0);
        CompactionMeasures {
            recopy_percent: percent(written as f64 / read.max(1) as f64),
            buffer_percent: max(|pass| percent(pass.slots.0 as f64 / pass.slots.1.max(1) as f64)),
            clean_seconds_max: max(|pass| pass.took_ms / 1_000),
            delay_seconds_max: kept.delay_ms / 1_000,
            dirty_percent: percent(kept.dirty_ratio),
            since_look_ms: now_ms.saturating_sub(kept.looked_ms),
            bytes: kept.bytes,
        }
    }
}

fn percent(part: f64) -> i64 {
    (100.0 * part) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_judged_by_their_last_pass() {
        let measured = Measured::new(10);
        assert_eq!(measured.told(10), CompactionMeasures::default());
        let pass = |read, written, taken: usize, took_ms| LastPass {
            stats: Stats {
                keys: taken as u64,
                bytes_gathered: 0,
                bytes_mapped: read,
                bytes_read: read,
                bytes_written: written,
            },
            slots: (taken, 1_000),
            took_ms,
        };
        measured.note_pass(pass(1_000, 900, 900, 9_000));
        measured.note_pass(pass(1_000, 250, 405, 2_900));
        std::thread::scope(|scope| {
            scope.spawn(|| measured.note_pass(pass(1_000, 250, 100, 3_100)));
        });
        measured.note_look(500, 0.639, 7_999);
        let told = measured.told(520);
        let expected = CompactionMeasures {
            recopy_percent: 25,
            buffer_percent: 40,
            clean_seconds_max: 3,
            delay_seconds_max: 7,
            dirty_percent: 63,
            since_look_ms: 20,
            bytes: 7_400,
        };
        assert_eq!(told, expected);
        measured.forget_thread();
        assert_eq!(measured.told(520).buffer_percent, 10);
    }
}
