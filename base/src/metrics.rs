//! Counting in hot paths, and the text a Prometheus scraper reads.
//!
//! Whoever counts holds a [`Count`] or [`Timings`]: both are spread over a few shards, each on
//! cache lines of its own, and a thread always adds to the same one. Nothing is locked, looked up
//! or allocated where something is counted; adding up is the scraper's work.
//!
//! A measurement that is kept for each of many things (a topic, a partition) is no `Count`, which
//! takes half a kilobyte, but a plain atomic number, or is asked for at each scrape.

use std::cell::Cell;
use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Workers that count at the same moment; more of them share shards.
const SHARDS: usize = 8;
/// The same for timings, which are larger.
const TIMING_SHARDS: usize = 4;
/// Four buckets for each power of two, up to 2³⁶: a value is known to within a quarter.
const BUCKETS: usize = 35 * 4;
/// Quantiles tell of the last two and a half to five minutes.
const WINDOW_MS: i64 = 150_000;
/// The quantiles that a [`Summary`] has.
pub const QUANTILES: [(f64, &str); 6] = [
    (0.5, "0.50"),
    (0.75, "0.75"),
    (0.95, "0.95"),
    (0.98, "0.98"),
    (0.99, "0.99"),
    (0.999, "0.999"),
];

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The number of this thread, given out in turn.
fn mine() -> usize {
    MINE.with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        mine.get()
    })
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Alone(AtomicU64);

/// A number that only grows, added to by many threads.
#[derive(Debug, Default)]
pub struct Count([Alone; SHARDS]);

impl Count {
    /// Hot path: one uncontended atomic addition.
    pub fn add(&self, more: u64) {
        self.0[mine() % SHARDS].0.fetch_add(more, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        let each = self.0.iter().map(|shard| shard.0.load(Ordering::Relaxed));
        each.fold(0, u64::wrapping_add)
    }
}

/// How many values there were, and how large: times in microseconds, sizes in bytes.
#[derive(Debug)]
pub struct Timings {
    shards: Box<[Shard; TIMING_SHARDS]>,
    window: Mutex<Window>,
}

#[derive(Debug)]
#[repr(align(64))]
struct Shard {
    count: AtomicU64,
    /// They wrap: only what was added between two looks is used.
    buckets: [AtomicU32; BUCKETS],
}

/// The buckets as they were at two earlier looks.
#[derive(Debug, Default)]
struct Window {
    older: Vec<u32>,
    newer: Vec<u32>,
    newer_at_ms: i64,
}

/// What a scraper shows of [`Timings`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub count: u64,
    /// In the order of [`QUANTILES`].
    pub quantiles: [f64; QUANTILES.len()],
}

impl Default for Timings {
    fn default() -> Self {
        let shard = || Shard {
            count: AtomicU64::new(0),
            buckets: std::array::from_fn(|_| AtomicU32::new(0)),
        };
        Timings {
            shards: Box::new(std::array::from_fn(|_| shard())),
            window: Mutex::default(),
        }
    }
}

impl Timings {
    /// Hot path: two uncontended atomic additions. A negative value counts as nothing.
    pub fn note(&self, value: i64) {
        let shard = &self.shards[mine() % TIMING_SHARDS];
        shard.count.fetch_add(1, Ordering::Relaxed);
        let bucket = bucket_of(u64::try_from(value).unwrap_or(0));
        shard.buckets[bucket].fetch_add(1, Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        let each = self
            .shards
            .iter()
            .map(|shard| shard.count.load(Ordering::Relaxed));
        each.fold(0, u64::wrapping_add)
    }

    /// The count of all time and quantiles of the last minutes; of all time where nothing happened
    /// in those.
    pub fn summary(&self, now_ms: i64) -> Summary {
        let mut now = vec![0_u32; BUCKETS];
        for shard in self.shards.iter() {
            for (sum, bucket) in now.iter_mut().zip(&shard.buckets) {
                *sum = sum.wrapping_add(bucket.load(Ordering::Relaxed));
            }
        }
        let mut window = self.window.lock();
        let since: Vec<u32> = match window.older.is_empty() {
            true => now.clone(),
            false => now
                .iter()
                .zip(&window.older)
                .map(|(now, then)| now.wrapping_sub(*then))
                .collect(),
        };
        if now_ms.saturating_sub(window.newer_at_ms) >= WINDOW_MS || window.newer.is_empty() {
            window.older = std::mem::replace(&mut window.newer, now.clone());
            window.newer_at_ms = now_ms;
        }
        drop(window);
        let shown = if since.iter().all(|n| *n == 0) {
            now
        } else {
            since
        };
        Summary {
            count: self.count(),
            quantiles: QUANTILES.map(|(quantile, _)| quantile_of(&shown, quantile)),
        }
    }
}

fn bucket_of(value: u64) -> usize {
    if value < 4 {
        return usize::try_from(value).unwrap_or(0);
    }
    let exponent = 63 - value.leading_zeros();
    let quarter = (value >> (exponent - 2)) & 3;
    let bucket = (u64::from(exponent) - 1) * 4 + quarter;
    usize::try_from(bucket).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The largest value that falls into a bucket.
fn top_of(bucket: usize) -> f64 {
    if bucket < 4 {
        return bucket as f64;
    }
    let (exponent, quarter) = (bucket / 4 + 1, bucket % 4);
    let step = 1_u64 << (exponent - 2);
    ((4 + quarter as u64) * step + step - 1) as f64
}

fn quantile_of(buckets: &[u32], quantile: f64) -> f64 {
    let all: u64 = buckets.iter().map(|n| u64::from(*n)).sum();
    let rank = ((all as f64) * quantile).ceil().max(1.0);
    let mut seen = 0_u64;
    for (bucket, count) in buckets.iter().enumerate() {
        seen += u64::from(*count);
        if seen as f64 >= rank {
            return top_of(bucket);
        }
    }
    0.0
}

/// What a family of samples is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Counter,
    Gauge,
}

/// Writes samples in Prometheus' text format, and hands the text on piece by piece, so that a
/// scrape of very many partitions never lies in memory as a whole.
pub struct Text<'a> {
    text: String,
    hand_on: &'a mut dyn FnMut(&str) -> bool,
    /// Whoever reads has gone; the rest is not written.
    gone: bool,
}

const PIECE_BYTES: usize = 64 * 1024;

impl<'a> Text<'a> {
    /// `hand_on` says whether anybody still reads.
    pub fn new(hand_on: &'a mut dyn FnMut(&str) -> bool) -> Self {
        Text {
            text: String::with_capacity(PIECE_BYTES + 1024),
            hand_on,
            gone: false,
        }
    }

    /// Begins a family; its samples follow, none of another in between.
    pub fn family(&mut self, name: &str, shape: Shape) {
        let shape = match shape {
            Shape::Counter => "counter",
            Shape::Gauge => "gauge",
        };
        self.line(format_args!("# TYPE {name} {shape}\n"));
    }

    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        if self.gone {
            return;
        }
        self.text.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            self.text.push(if at == 0 { '{' } else { ',' });
            self.text.push_str(label);
            self.text.push_str("=\"");
            escape(&mut self.text, text);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.line(format_args!(" {value}\n"));
    }

    /// A family of one sample without labels.
    pub fn one(&mut self, name: &str, shape: Shape, value: impl Display) {
        self.family(name, shape);
        self.sample(name, &[], value);
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _always = self.text.write_fmt(line);
        if self.text.len() >= PIECE_BYTES {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        self.gone = self.gone || !(self.hand_on)(&self.text);
        self.text.clear();
    }

    /// Hands on what is left.
    pub fn finish(mut self) {
        self.hand_over();
    }
}

impl std::fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Text").finish_non_exhaustive()
    }
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_threads_count_adds_up() {
        let (count, timings) = (Count::default(), Timings::default());
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    for n in 0..1000 {
                        count.add(2);
                        timings.note(n);
                    }
                });
            }
        });
        assert_eq!((count.get(), timings.count()), (40_000, 20_000));
    }

    #[test]
    fn a_quantile_is_known_to_within_a_quarter_and_tells_of_the_last_minutes() {
        let timings = Timings::default();
        for value in 1..=1000 {
            timings.note(value);
        }
        let Summary { count, quantiles } = timings.summary(0);
        assert_eq!(count, 1000);
        for ((wanted, _), found) in QUANTILES.iter().zip(quantiles) {
            let exact = wanted * 1000.0;
            assert!(found >= exact && found <= exact * 1.25, "{wanted}: {found}");
        }
        timings.summary(WINDOW_MS);
        for _ in 0..10 {
            timings.note(7);
        }
        assert_eq!(timings.summary(2 * WINDOW_MS).quantiles, [7.0; 6]);
        assert_eq!(timings.summary(9 * WINDOW_MS).quantiles[0], 7.0);
        timings.note(-1);
        timings.note(i64::MAX);
        assert_eq!(timings.count(), 1012);
    }

    #[test]
    fn every_bucket_holds_its_own_top() {
        for bucket in 0..BUCKETS {
            let top = top_of(bucket) as u64;
            assert_eq!(bucket_of(top), bucket);
            if bucket + 1 < BUCKETS {
                assert_eq!(bucket_of(top + 1), bucket + 1);
            }
        }
    }

    #[test]
    fn samples_are_written_with_their_labels_escaped() {
        let mut all = String::new();
        let mut keep = |piece: &str| {
            all.push_str(piece);
            true
        };
        let mut text = Text::new(&mut keep);
        text.one("up", Shape::Gauge, 1);
        text.family("size", Shape::Counter);
        text.sample("size", &[("dir", "a\"\\\n"), ("n", "1")], 2.5);
        text.finish();
        assert_eq!(
            all,
            "# TYPE up gauge\nup 1\n# TYPE size counter\nsize{dir=\"a\\\"\\\\\\n\",n=\"1\"} 2.5\n"
        );
    }
}
