//! How long to wait before the next try: growing, jittered, capped.

use crate::chance::Chance;

/// The waits of one series of tries.
#[derive(Clone, Debug)]
pub struct Backoff {
    first_ms: i64,
    max_ms: i64,
    tries: u32,
}

impl Backoff {
    pub fn new(first_ms: i64, max_ms: i64) -> Self {
        Backoff {
            first_ms,
            max_ms,
            tries: 0,
        }
    }

    /// The next wait: doubled each time, at most `max_ms`, up to a fifth shorter by chance.
    pub fn next_ms(&mut self, chance: &Chance) -> i64 {
        let full = self
            .first_ms
            .saturating_mul(1_i64 << self.tries.min(30))
            .min(self.max_ms);
        self.tries = self.tries.saturating_add(1);
        full - i64::try_from(chance.below((full / 5).max(1).cast_unsigned())).unwrap_or(0)
    }

    /// After a success the series begins anew.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_begin_anew() {
        let chance = Chance::seeded(1);
        let mut backoff = Backoff::new(100, 1_000);
        let waits: Vec<i64> = (0..8).map(|_| backoff.next_ms(&chance)).collect();
        assert!(
            waits.windows(2).take(3).all(|pair| pair[0] < pair[1]),
            "{waits:?}"
        );
        assert!(
            waits.iter().all(|wait| (80..=1_000).contains(wait)),
            "{waits:?}"
        );
        backoff.reset();
        assert!(backoff.next_ms(&chance) <= 100);
    }
}
