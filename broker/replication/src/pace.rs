//! How fast replicas are copied between directories: an average over a few samples, with a limit.
//!
//! Kafka: `ReplicationQuotaManager` over `SimpleRate`: bytes are counted after they were copied, and
//! nothing is copied while the average is above the limit.

use std::collections::VecDeque;

use crate::config::MovesConfig;

#[derive(Debug)]
pub(crate) struct Pace {
    samples_max: usize,
    sample_ms: i64,
    limit: u64,
    /// When each sample began, and its bytes; the last one is open.
    samples: VecDeque<(i64, u64)>,
}

impl Pace {
    pub(crate) fn new(config: &MovesConfig, now_ms: i64) -> Self {
        Pace {
            samples_max: config.samples.max(1),
            sample_ms: config.sample_ms.max(1),
            limit: config.bytes_per_second_max,
            samples: VecDeque::from([(now_ms, 0)]),
        }
    }

    pub(crate) fn set_limit(&mut self, bytes_per_second: u64) {
        self.limit = bytes_per_second;
    }

    pub(crate) fn note(&mut self, bytes: u64, now_ms: i64) {
        self.forget(now_ms);
        match self.samples.back_mut() {
            Some((began, held)) if now_ms - *began < self.sample_ms => {
                *held = held.saturating_add(bytes);
            }
            _ => self.samples.push_back((now_ms, bytes)),
        }
    }

    pub(crate) fn is_too_fast(&mut self, now_ms: i64) -> bool {
        self.forget(now_ms);
        let bytes: u64 = self.samples.iter().map(|(_, held)| held).sum();
        let began = self.samples.front().map_or(now_ms, |(began, _)| *began);
        let seconds = (now_ms - began).max(self.sample_ms) as f64 / 1000.0;
        bytes as f64 / seconds > self.limit as f64
    }

    fn forget(&mut self, now_ms: i64) {
        let span_ms = self
            .sample_ms
            .saturating_mul(i64::try_from(self.samples_max).unwrap_or(i64::MAX));
        while self
            .samples
            .front()
            .is_some_and(|(began, _)| now_ms - began >= span_ms)
        {
            self.samples.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(limit: u64) -> Pace {
        let config = MovesConfig {
            bytes_per_second_max: limit,
            ..MovesConfig::default()
        };
        Pace::new(&config, 0)
    }

    #[test]
    fn what_was_too_much_is_waited_out() {
        let mut pace = pace(1_000);
        assert!(!pace.is_too_fast(0));
        pace.note(5_000, 0);
        assert!(pace.is_too_fast(0) && pace.is_too_fast(4_000));
        assert!(!pace.is_too_fast(5_000));
        pace.note(1, 5_000);
        assert!(pace.is_too_fast(5_000));
    }

    #[test]
    fn samples_out_of_the_window_are_forgotten_and_a_limit_may_change() {
        let mut pace = pace(10);
        pace.note(1_000_000, 0);
        assert!(pace.is_too_fast(10_999));
        assert!(!pace.is_too_fast(11_000));
        pace.note(1_000_000, 11_000);
        pace.set_limit(u64::MAX);
        assert!(!pace.is_too_fast(11_000));
    }
}
