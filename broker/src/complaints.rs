//! Warnings that strangers can cause as often as they like: the first is written at once, those
//! that follow are counted and written as one line a minute, with an example.
//!
//! A scanner, a health check of a load balancer or a client with the wrong port would otherwise
//! fill a disk with lines that all say the same.

use std::sync::Arc;
use std::time::Duration;

use base::clock::Clock;
use base::tasks;
use parking_lot::Mutex;
use tracing::warn;

/// For how long after a line the next ones are only counted.
const QUIET_MS: i64 = 60_000;

/// More is not needed to know what was meant: names of topics are no longer.
const SHOWN_CHARS_MAX: usize = 249;

/// A stranger's words as a line of the log can bear them: they may be 32 KB long and hold anything.
pub(crate) fn shown(words: &str) -> String {
    let short: String = words.chars().take(SHOWN_CHARS_MAX).collect();
    format!("{short:?}")
}

/// One kind of complaint.
#[derive(Debug)]
pub(crate) struct Complaint {
    /// What happened, in the words of a log line.
    what: &'static str,
    clock: Clock,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    quiet_until_ms: Option<i64>,
    more: u64,
    /// The last one that was only counted.
    example: String,
}

/// What is to be done about one more.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Write,
    /// The first that is only counted: the sum is to be written after so many milliseconds.
    SumUpIn(i64),
    Counted,
}

impl Complaint {
    pub(crate) fn new(what: &'static str, clock: &Clock) -> Arc<Self> {
        Arc::new(Complaint {
            what,
            clock: clock.clone(),
            kept: Mutex::default(),
        })
    }

    /// One more, told by whom or what.
    pub(crate) fn note(self: &Arc<Self>, about: impl FnOnce() -> String) {
        let now_ms = self.clock.monotonic_ms();
        let about = about();
        let step = self.kept.lock().note(&about, now_ms);
        match step {
            Step::Write => warn!("{}: {about}", self.what),
            Step::Counted => {}
            Step::SumUpIn(delay_ms) => {
                let complaint = Arc::clone(self);
                tasks::spawn("complaints", async move {
                    tokio::time::sleep(Duration::from_millis(delay_ms.unsigned_abs())).await;
                    complaint.sum_up();
                });
            }
        }
    }

    fn sum_up(&self) {
        let (more, example) = self.kept.lock().sum_up(self.clock.monotonic_ms());
        warn!(
            "{}: {more} more in the last minute, the last of them {example}",
            self.what
        );
    }
}

impl Kept {
    fn note(&mut self, about: &str, now_ms: i64) -> Step {
        let left_ms = self.quiet_until_ms.map_or(0, |until_ms| until_ms - now_ms);
        if self.more == 0 && left_ms <= 0 {
            self.quiet_until_ms = Some(now_ms.saturating_add(QUIET_MS));
            return Step::Write;
        }
        self.more += 1;
        about.clone_into(&mut self.example);
        match self.more {
            1 => Step::SumUpIn(left_ms),
            _ => Step::Counted,
        }
    }

    fn sum_up(&mut self, now_ms: i64) -> (u64, String) {
        self.quiet_until_ms = Some(now_ms.saturating_add(QUIET_MS));
        (
            std::mem::take(&mut self.more),
            std::mem::take(&mut self.example),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_words_take_one_short_line() {
        assert_eq!(shown("a\nb"), r#""a\nb""#);
        assert_eq!(shown(&"x".repeat(32_000)).len(), SHOWN_CHARS_MAX + 2);
    }

    #[test]
    fn the_first_is_written_and_the_rest_of_the_minute_is_one_line() {
        let mut kept = Kept::default();
        assert_eq!(kept.note("a", 0), Step::Write);
        assert_eq!(kept.note("b", 20_000), Step::SumUpIn(40_000));
        assert_eq!(kept.note("c", 30_000), Step::Counted);
        // The sum may be late; until it is written, everything is counted.
        assert_eq!(kept.note("d", 61_000), Step::Counted);
        assert_eq!(kept.sum_up(62_000), (3, "d".to_owned()));
        assert_eq!(kept.note("e", 100_000), Step::SumUpIn(22_000));
        assert_eq!(kept.sum_up(122_000), (1, "e".to_owned()));
        assert_eq!(kept.note("f", 200_000), Step::Write);
    }
}
