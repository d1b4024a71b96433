//! Slows compaction down to its share of the disk, and stops it at once when asked.

use std::time::Duration;

use base::clock::Clock;
use parking_lot::{Condvar, Mutex};

/// The longest pause at once.
const PAUSE_MS_MAX: i64 = 1_000;

/// Says stop to a compaction under way, also while it pauses.
#[derive(Debug, Default)]
pub struct Halt {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Halt {
    pub fn stop(&self) {
        *self.stopped.lock() = true;
        self.changed.notify_all();
    }

    pub fn is_stopped(&self) -> bool {
        *self.stopped.lock()
    }

    /// Rests, unless and until stop is said.
    pub fn wait_ms(&self, ms: i64) {
        let mut stopped = self.stopped.lock();
        if !*stopped {
            self.changed.wait_for(
                &mut stopped,
                Duration::from_millis(ms.max(0).cast_unsigned()),
            );
        }
    }
}

/// The time on the disks that all passes share, as Kafka's cleaners share one limit.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    /// Until when it is given away, in monotonic milliseconds.
    given_to_ms: Mutex<f64>,
}

impl Rate {
    /// Takes the time that `bytes` take at the limit, behind all who took some before; until when.
    fn take(&self, bytes: usize, bytes_per_second: f64, now_ms: i64) -> i64 {
        let mut given_to_ms = self.given_to_ms.lock();
        let takes_ms = bytes as f64 * 1_000.0 / bytes_per_second;
        *given_to_ms = given_to_ms.max(now_ms as f64) + takes_ms;
        *given_to_ms as i64
    }
}

/// Counts bytes read and written, and pauses where they come too fast.
#[derive(Debug)]
pub(crate) struct Throttle<'a> {
    clock: &'a Clock,
    halt: &'a Halt,
    rate: &'a Rate,
    bytes_per_second: f64,
}

impl<'a> Throttle<'a> {
    pub(crate) fn new(
        clock: &'a Clock,
        halt: &'a Halt,
        rate: &'a Rate,
        bytes_per_second: f64,
    ) -> Self {
        Throttle {
            clock,
            halt,
            rate,
            bytes_per_second,
        }
    }

    /// Notes `bytes` moved; false where the compaction is to stop.
    pub(crate) fn pass(&mut self, bytes: usize) -> bool {
        let now_ms = self.clock.monotonic_ms();
        let until_ms = self.rate.take(bytes, self.bytes_per_second, now_ms);
        loop {
            let early_ms = until_ms - self.clock.monotonic_ms();
            if self.halt.is_stopped() {
                return false;
            }
            if early_ms <= 0 {
                return true;
            }
            self.halt.wait_ms(early_ms.min(PAUSE_MS_MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_ends_a_pause() {
        let (clock, halt) = (Clock::by_hand(0), Halt::default());
        halt.stop();
        let rate = Rate::default();
        let mut throttle = Throttle::new(&clock, &halt, &rate, 1.0);
        assert!(!throttle.pass(1_000_000), "a pause of a second would show");
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let (clock, halt) = (Clock::by_hand(0), Halt::default());
        let rate = Rate::default();
        let mut throttle = Throttle::new(&clock, &halt, &rate, f64::MAX);
        assert!((0..1000).all(|_| throttle.pass(1 << 30)));
    }

    #[test]
    fn all_who_move_bytes_share_one_limit() {
        let rate = Rate::default();
        let limit = 1_000.0;
        assert_eq!(rate.take(500, limit, 10_000), 10_500);
        // Another pass, at the same moment: behind the first.
        assert_eq!(rate.take(2_000, limit, 10_000), 12_500);
        assert_eq!(rate.take(0, limit, 11_000), 12_500);
        // Time in which nobody moved anything is not saved up.
        assert_eq!(rate.take(100, limit, 20_000), 20_100);
    }

    #[test]
    fn small_pieces_add_up() {
        let rate = Rate::default();
        let ends: Vec<i64> = (0..10_000).map(|_| rate.take(1, 1e6, 0)).collect();
        assert!(matches!(ends.last(), Some(9 | 10)), "{:?}", ends.last());
    }
}
