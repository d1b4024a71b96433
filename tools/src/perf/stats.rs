//! How many records were taken, how fast and after how long: each five seconds and of the whole.

use base::clock::Clock;

use crate::kafka::producer::Producer;
use crate::print::Out;
use crate::progress::Progress;
use crate::{say, warn};

const WINDOW_MS: i64 = 5000;

#[derive(Default)]
struct Window {
    count: u64,
    bytes: u64,
    latency: i64,
    latency_max: i64,
    start: i64,
}

pub(super) struct Stats {
    clock: Clock,
    all: Window,
    window: Window,
    latencies: Vec<i32>,
    sampling: u64,
    progress: Progress,
}

impl Stats {
    pub(super) fn new(clock: &Clock, count: u64) -> Stats {
        let start = clock.monotonic_ms();
        let window = || Window {
            start,
            ..Window::default()
        };
        let sampling = (count / count.clamp(1, 500_000)).max(1);
        Stats {
            clock: clock.clone(),
            all: window(),
            window: window(),
            latencies: Vec::new(),
            sampling,
            progress: Progress::new("records", count, start),
        }
    }

    pub(super) fn take(&mut self, producer: &mut Producer, out: &mut Out) {
        for delivered in producer.delivered() {
            let now = self.clock.monotonic_ms();
            if let Err(error) = &delivered.outcome {
                self.progress.clear();
                warn!("{error}");
                continue;
            }
            for tag in &delivered.tags {
                let latency = now - (tag >> 32) as i64;
                if self.all.count.is_multiple_of(self.sampling) {
                    self.latencies
                        .push(i32::try_from(latency).unwrap_or(i32::MAX));
                }
                for window in [&mut self.all, &mut self.window] {
                    window.count += 1;
                    window.bytes += tag & 0xffff_ffff;
                    window.latency += latency;
                    window.latency_max = window.latency_max.max(latency);
                }
            }
            self.progress.at(self.all.count, now);
            if now - self.window.start >= WINDOW_MS {
                self.progress.clear();
                self.print_window(now, out);
                self.window = Window {
                    start: now,
                    ..Window::default()
                };
            }
        }
    }

    fn print_window(&self, now: i64, out: &mut Out) {
        let window = &self.window;
        let seconds = (now - window.start) as f64 / 1000.0;
        say!(
            out,
            "{} records sent, {:.1} records/sec ({:.2} MB/sec), {:.1} ms avg latency, {:.1} ms max latency.",
            window.count,
            window.count as f64 / seconds,
            window.bytes as f64 / seconds / 1_048_576.0,
            window.latency as f64 / window.count as f64,
            window.latency_max as f64
        );
        out.flush();
    }

    pub(super) fn total(&mut self, out: &mut Out) {
        self.progress.clear();
        let all = &self.all;
        // A test of less than a millisecond counts as one.
        let seconds = (self.clock.monotonic_ms() - all.start).max(1) as f64 / 1000.0;
        self.latencies.sort_unstable();
        let at = |share: f64| {
            let index = (share * self.latencies.len() as f64) as usize;
            self.latencies.get(index).copied().unwrap_or(0)
        };
        say!(
            out,
            "{} records sent, {:.6} records/sec ({:.2} MB/sec), {:.2} ms avg latency, {:.2} ms max latency, {} ms 50th, {} ms 95th, {} ms 99th, {} ms 99.9th.",
            all.count,
            all.count as f64 / seconds,
            all.bytes as f64 / seconds / 1_048_576.0,
            all.latency as f64 / all.count as f64,
            all.latency_max as f64,
            at(0.5),
            at(0.95),
            at(0.99),
            at(0.999)
        );
    }
}
