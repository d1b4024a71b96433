//! How far long work has come: one line on a terminal, kept up to date; nothing where stderr is none.

use std::io::{IsTerminal, Write};

const SHOWN_EVERY_MS: i64 = 500;

pub(crate) struct Progress {
    what: &'static str,
    whole: u64,
    began_ms: i64,
    shown_ms: i64,
    shown: bool,
    terminal: bool,
}

impl Progress {
    /// Of so many `what`, from now on.
    pub(crate) fn new(what: &'static str, whole: u64, now_ms: i64) -> Progress {
        Progress {
            what,
            whole,
            began_ms: now_ms,
            shown_ms: now_ms,
            shown: false,
            terminal: std::io::stderr().is_terminal(),
        }
    }

    pub(crate) fn at(&mut self, done: u64, now_ms: i64) {
        if !self.terminal || now_ms - self.shown_ms < SHOWN_EVERY_MS {
            return;
        }
        self.shown_ms = now_ms;
        self.shown = true;
        let line = line(self.what, done, self.whole, now_ms - self.began_ms);
        let mut to = std::io::stderr().lock();
        // A terminal that is gone is nobody to tell.
        let _gone = write!(to, "\r{line}\x1b[K").and_then(|()| to.flush());
    }

    /// Takes the line away, before anything else is printed.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let mut to = std::io::stderr().lock();
            let _gone = write!(to, "\r\x1b[K").and_then(|()| to.flush());
        }
    }
}

/// `42% of 1000000 records, 12 s left`.
fn line(what: &str, done: u64, whole: u64, taken_ms: i64) -> String {
    let share = done.min(whole).saturating_mul(100) / whole.max(1);
    let mut text = format!("{share}% of {whole} {what}");
    if done > 0 && taken_ms > 0 {
        let left = whole.saturating_sub(done) as f64 * taken_ms as f64 / done as f64 / 1000.0;
        text.push_str(&format!(", {left:.0} s left"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_much_is_done_and_how_long_the_rest_takes() {
        assert_eq!(
            line("records", 25, 100, 1000),
            "25% of 100 records, 3 s left"
        );
        assert_eq!(line("records", 0, 100, 0), "0% of 100 records");
        assert_eq!(line("records", 0, 0, 9), "0% of 0 records");
    }
}
