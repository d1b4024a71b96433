//! How fast something goes: an average over samples, and a bucket that refills. Pure.
//!
//! Kafka: `Rate`, `SampledStat` and `TokenBucket` of its metrics. Between the two there is a
//! difference that can be seen: after a burst an average stays high until the burst's sample is
//! dropped, a bucket pays it off evenly.

use std::collections::VecDeque;

use crate::config::parts::Window;

/// Amounts over the last samples.
#[derive(Clone, Debug)]
pub struct Rate {
    /// When each sample began, and what it holds; the last is open.
    samples: VecDeque<(i64, f64)>,
}

impl Rate {
    pub fn new(now_ms: i64) -> Rate {
        Rate {
            samples: VecDeque::from([(now_ms, 0.0)]),
        }
    }

    /// Adds an amount at a time.
    pub fn add(&mut self, amount: f64, window: Window, now_ms: i64) {
        self.forget(window, now_ms);
        match self.samples.back_mut() {
            Some((began, held)) if now_ms - *began < window.sample_ms => *held += amount,
            _ => self.samples.push_back((now_ms, amount)),
        }
    }

    fn forget(&mut self, window: Window, now_ms: i64) {
        let is_out = |sample: &(i64, f64)| now_ms - sample.0 >= span_ms(window);
        while self.samples.front().is_some_and(is_out) {
            self.samples.pop_front();
        }
    }

    /// For how long nothing may happen so that the average falls to `limit`.
    ///
    /// Kafka: `QuotaUtils.throttleTime`: the overdraft's share of the whole window.
    pub fn delay_ms(&self, limit: f64, window: Window, now_ms: i64) -> i64 {
        let span = self.span_ms(window, now_ms);
        let per_second = self.total() / (span / 1000.0);
        if per_second <= limit {
            return 0;
        }
        let delay = (per_second - limit) / limit * span;
        if delay.is_finite() {
            delay.round() as i64
        } else {
            i64::from(i32::MAX)
        }
    }

    fn total(&self) -> f64 {
        self.samples.iter().map(|(_, amount)| amount).sum()
    }

    /// The time that the samples stand for: never less than all but one of them, so that a first
    /// request does not look like an endless rate.
    fn span_ms(&self, window: Window, now_ms: i64) -> f64 {
        let began = self.samples.front().map_or(now_ms, |(began, _)| *began);
        let elapsed = now_ms.saturating_sub(began);
        let full = i64::try_from(window.samples.saturating_sub(1)).unwrap_or(i64::MAX);
        let missing = (full - elapsed / window.sample_ms.max(1)).max(0);
        elapsed
            .saturating_add(missing.saturating_mul(window.sample_ms))
            .max(window.sample_ms) as f64
    }

    /// Whether everything it remembers is out of the window.
    pub fn is_idle(&self, window: Window, now_ms: i64) -> bool {
        let newest = self.samples.back();
        newest.is_none_or(|(began, _)| now_ms - began >= span_ms(window))
    }
}

/// For how long a sample counts.
fn span_ms(window: Window) -> i64 {
    let samples = i64::try_from(window.samples).unwrap_or(i64::MAX);
    window.sample_ms.saturating_mul(samples)
}

/// Tokens that refill at a steady rate and may be overdrawn by one request.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    tokens: f64,
    burst: f64,
    refilled_ms: i64,
}

impl Bucket {
    /// As full as it ever gets.
    pub fn full(limit: f64, window: Window, now_ms: i64) -> Bucket {
        let burst = burst(limit, window);
        Bucket {
            tokens: burst,
            burst,
            refilled_ms: now_ms,
        }
    }

    /// What came in since the last time.
    pub fn refill(&mut self, limit: f64, window: Window, now_ms: i64) {
        let elapsed = now_ms.saturating_sub(self.refilled_ms).max(0) as f64 / 1000.0;
        self.burst = burst(limit, window);
        self.tokens = (self.tokens + limit * elapsed).min(self.burst);
        self.refilled_ms = now_ms;
    }

    pub fn take(&mut self, amount: f64) {
        self.tokens -= amount;
    }

    pub fn is_overdrawn(&self) -> bool {
        self.tokens < 0.0
    }

    /// How long the overdraft takes to be paid off.
    pub fn delay_ms(&self, limit: f64) -> i64 {
        if !self.is_overdrawn() {
            return 0;
        }
        let delay = -self.tokens / limit * 1000.0;
        if delay.is_finite() {
            delay.round() as i64
        } else {
            i64::from(i32::MAX)
        }
    }

    /// Whether nothing was taken for as long as it takes to fill it.
    pub fn is_idle(&self, window: Window, now_ms: i64) -> bool {
        !self.is_overdrawn() && now_ms.saturating_sub(self.refilled_ms) > span_ms(window)
    }
}

fn burst(limit: f64, window: Window) -> f64 {
    limit * window.samples as f64 * window.sample_ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window {
        samples: 3,
        sample_ms: 1000,
    };

    #[test]
    fn the_average_forgets_a_burst_when_its_sample_is_dropped() {
        let mut rate = Rate::new(0);
        rate.add(300.0, WINDOW, 0);
        // Two full samples stand for the time before anything happened.
        assert_eq!(rate.delay_ms(100.0, WINDOW, 0), 1000);
        rate.add(0.0, WINDOW, 2999);
        assert_eq!(rate.delay_ms(100.0, WINDOW, 2999), 1);
        rate.add(0.0, WINDOW, 3000);
        assert_eq!(rate.delay_ms(100.0, WINDOW, 3000), 0);
        assert!(rate.is_idle(WINDOW, 9000));
    }

    #[test]
    fn a_bucket_pays_a_burst_off_evenly() {
        let mut bucket = Bucket::full(5.0, WINDOW, 0);
        bucket.take(75.0);
        assert_eq!(bucket.delay_ms(5.0), 12_000);
        bucket.refill(5.0, WINDOW, 6000);
        assert_eq!(bucket.delay_ms(5.0), 6000);
        bucket.refill(5.0, WINDOW, 12_000);
        assert!(!bucket.is_overdrawn());
    }

    #[test]
    fn a_limit_of_zero_waits_long_and_never_for_ever() {
        let mut rate = Rate::new(0);
        rate.add(1.0, WINDOW, 0);
        assert_eq!(rate.delay_ms(0.0, WINDOW, 0), i64::from(i32::MAX));
    }
}
