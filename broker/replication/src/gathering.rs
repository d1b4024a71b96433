//! How long a round of syncs waits for more to join it.
//!
//! A producer that waits for its record to be on the disk sends the next one as soon as it hears. If
//! a round began the moment the last is over, those who have just heard would miss it, and one half
//! would wait for the other for ever: twice the syncs. So a round waits until as many have asked as
//! may: those whom the last one released and those who were waiting when it ended; for no longer
//! than half of what the last one took. Where they do not come, as they do not when producers have
//! pauses, the next rounds begin at once, twice as many each time.

use std::time::Duration;

/// No round waits for longer, however slow the disk.
const PATIENCE_MAX_US: i64 = 2_000;
/// After so many rounds that began at once it is worth another try.
const HASTY_MAX: u32 = 64;

/// What the last rounds teach about the next.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    expected: usize,
    patience_us: i64,
    /// How many rounds are to begin at once, and how many of them are left.
    hasty: u32,
    hasty_left: u32,
}

impl Gathering {
    /// A round is over that `released` had asked for and that took so long; `waiting` ask for the
    /// next already.
    pub(crate) fn over(&mut self, released: usize, waiting: usize, took_us: i64) {
        self.expected = released.saturating_add(waiting);
        self.patience_us = (took_us / 2).clamp(0, PATIENCE_MAX_US);
    }

    /// Whether so many are all who may come.
    pub(crate) fn is_complete(&self, asked: usize) -> bool {
        asked >= self.expected
    }

    /// How long the round waits for which so many have asked.
    pub(crate) fn patience(&mut self, asked: usize) -> Duration {
        if self.is_complete(asked) {
            return Duration::ZERO;
        }
        if self.hasty_left > 0 {
            self.hasty_left -= 1;
            return Duration::ZERO;
        }
        Duration::from_micros(self.patience_us.unsigned_abs())
    }

    /// It waited: how many had asked before, and how many after.
    pub(crate) fn waited(&mut self, before: usize, after: usize) {
        let missing = self.expected.saturating_sub(before);
        let has_paid = after.saturating_sub(before) * 2 >= missing;
        self.hasty = if has_paid {
            0
        } else {
            (self.hasty * 2).clamp(1, HASTY_MAX)
        };
        self.hasty_left = self.hasty;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Duration = Duration::from_micros(500);

    #[test]
    fn the_first_round_and_a_single_producer_never_wait() {
        let mut gathering = Gathering::default();
        assert!(gathering.patience(1).is_zero());
        gathering.over(1, 0, 1_000);
        assert!(gathering.patience(1).is_zero());
    }

    #[test]
    fn a_round_waits_for_those_whom_the_last_one_released() {
        let mut gathering = Gathering::default();
        gathering.over(32, 32, 1_000);
        assert_eq!(gathering.patience(32), HALF);
        assert!(!gathering.is_complete(63) && gathering.is_complete(64));
        gathering.waited(32, 64);
        gathering.over(64, 0, 1_000);
        assert_eq!(gathering.patience(1), HALF);
    }

    #[test]
    fn a_slow_disk_makes_nobody_wait_long() {
        let mut gathering = Gathering::default();
        gathering.over(8, 8, 3_000_000);
        assert_eq!(gathering.patience(8), Duration::from_millis(2));
        gathering.over(8, 8, -1);
        assert!(gathering.patience(8).is_zero());
    }

    #[test]
    fn where_nobody_comes_back_rounds_begin_at_once_more_and_more() {
        let mut gathering = Gathering::default();
        let mut waits = 0;
        for _round in 0..1_000 {
            gathering.over(10, 1, 1_000);
            if !gathering.patience(1).is_zero() {
                waits += 1;
                gathering.waited(1, 2);
            }
        }
        assert!((8..30).contains(&waits), "{waits}");
        gathering.hasty_left = 0;
        assert_eq!(gathering.patience(1), HALF);
        gathering.waited(1, 11);
        gathering.over(11, 0, 1_000);
        assert_eq!(gathering.patience(1), HALF, "it has paid");
    }
}
