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

/// Counts bytes read and written, and pauses where they come too fast.
#[derive(Debug)]
pub(crate) struct Throttle<'a> {
    clock: &'a Clock,
    halt: &'a Halt,
    bytes_per_second: f64,
    since_ms: i64,
    bytes: f64,
}

impl<'a> Throttle<'a> {
    pub(crate) fn new(clock: &'a Clock, halt: &'a Halt, bytes_per_second: f64) -> Self {
        Throttle {
            clock,
            halt,
            bytes_per_second,
            since_ms: clock.monotonic_ms(),
            bytes: 0.0,
        }
    }

    /// Notes `bytes` moved; false where the compaction is to stop.
    pub(crate) fn pass(&mut self, bytes: usize) -> bool {
        self.bytes += bytes as f64;
        let due_ms = (self.bytes * 1_000.0 / self.bytes_per_second) as i64;
        let early_ms = due_ms - (self.clock.monotonic_ms() - self.since_ms);
        if early_ms > 0 {
            self.halt.wait_ms(early_ms.min(PAUSE_MS_MAX));
        }
        !self.halt.is_stopped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_ends_a_pause() {
        let (clock, halt) = (Clock::by_hand(0), Halt::default());
        halt.stop();
        let mut throttle = Throttle::new(&clock, &halt, 1.0);
        assert!(!throttle.pass(1_000_000), "a pause of a second would show");
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let (clock, halt) = (Clock::by_hand(0), Halt::default());
        let mut throttle = Throttle::new(&clock, &halt, f64::MAX);
        assert!((0..1000).all(|_| throttle.pass(1 << 30)));
    }
}
