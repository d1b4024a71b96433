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
#[derive(Debug)]
pub(crate) struct Rate(Mutex<Given>);

#[derive(Debug)]
struct Given {
    bytes_per_second: f64,
    /// Until when time is given away, in monotonic milliseconds.
    to_ms: f64,
    /// How often the limit was changed.
    changes: u64,
}

impl Rate {
    pub(crate) fn new(bytes_per_second: f64) -> Rate {
        Rate(Mutex::new(Given {
            bytes_per_second,
            to_ms: 0.0,
            changes: 0,
        }))
    }

    /// From now on; what was owed at another limit is forgiven.
    pub(crate) fn limit_to(&self, bytes_per_second: f64) {
        let mut given = self.0.lock();
        if given.bytes_per_second.to_bits() != bytes_per_second.to_bits() {
            *given = Given {
                bytes_per_second,
                to_ms: 0.0,
                changes: given.changes + 1,
            };
        }
    }

    /// Takes the time that `bytes` take at the limit, behind all who took some before: until when, and
    /// by which of the limits.
    fn take(&self, bytes: usize, now_ms: i64) -> (i64, u64) {
        let mut given = self.0.lock();
        let takes_ms = bytes as f64 * 1_000.0 / given.bytes_per_second;
        given.to_ms = given.to_ms.max(now_ms as f64) + takes_ms;
        (given.to_ms as i64, given.changes)
    }

    fn changes(&self) -> u64 {
        self.0.lock().changes
    }
}

/// Counts bytes read and written, and pauses where they come too fast.
#[derive(Debug)]
pub(crate) struct Throttle<'a> {
    clock: &'a Clock,
    halt: &'a Halt,
    rate: &'a Rate,
}

impl<'a> Throttle<'a> {
    pub(crate) fn new(clock: &'a Clock, halt: &'a Halt, rate: &'a Rate) -> Self {
        Throttle { clock, halt, rate }
    }

    /// Notes `bytes` moved; false where the compaction is to stop.
    pub(crate) fn pass(&mut self, bytes: usize) -> bool {
        let (until_ms, changes) = self.rate.take(bytes, self.clock.monotonic_ms());
        loop {
            let early_ms = until_ms - self.clock.monotonic_ms();
            if self.halt.is_stopped() {
                return false;
            }
            if early_ms <= 0 || self.rate.changes() != changes {
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
        let rate = Rate::new(1.0);
        let mut throttle = Throttle::new(&clock, &halt, &rate);
        assert!(!throttle.pass(1_000_000), "a pause of a second would show");
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let (clock, halt) = (Clock::by_hand(0), Halt::default());
        let rate = Rate::new(f64::MAX);
        let mut throttle = Throttle::new(&clock, &halt, &rate);
        assert!((0..1000).all(|_| throttle.pass(1 << 30)));
    }

    #[test]
    fn all_who_move_bytes_share_one_limit() {
        let rate = Rate::new(1_000.0);
        assert_eq!(rate.take(500, 10_000).0, 10_500);
        // Another pass, at the same moment: behind the first.
        assert_eq!(rate.take(2_000, 10_000).0, 12_500);
        assert_eq!(rate.take(0, 11_000).0, 12_500);
        // Time in which nobody moved anything is not saved up.
        assert_eq!(rate.take(100, 20_000).0, 20_100);
    }

    #[test]
    fn a_higher_limit_holds_at_once_for_those_who_pause_too() {
        let (clock, halt, rate) = (Clock::by_hand(0), Halt::default(), Rate::new(1.0));
        std::thread::scope(|scope| {
            let pausing = scope.spawn(|| Throttle::new(&clock, &halt, &rate).pass(1_000_000));
            while rate.take(0, 0).0 == 0 {
                std::thread::yield_now();
            }
            rate.limit_to(1_000_000.0);
            assert!(pausing.join().unwrap(), "its pause would last for days");
        });
        assert_eq!(rate.take(1_000, 0).0, 1);
    }

    #[test]
    fn small_pieces_add_up() {
        let rate = Rate::new(1e6);
        let ends: Vec<i64> = (0..10_000).map(|_| rate.take(1, 0).0).collect();
        assert!(matches!(ends.last(), Some(9 | 10)), "{:?}", ends.last());
    }
}
