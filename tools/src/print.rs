//! Standard output: buffered, and silent when the other end of the pipe is gone. Standard error too.

use std::fmt::Arguments;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

pub(crate) struct Out {
    to: BufWriter<Stdout>,
    /// Whether the tool looks itself whether anybody still reads.
    told: bool,
    gone: bool,
}

impl Out {
    pub(crate) fn new() -> Self {
        Out {
            to: BufWriter::with_capacity(64 * 1024, io::stdout()),
            told: false,
            gone: false,
        }
    }

    /// From now on a closed pipe does not end the tool: it looks at [`Out::is_gone`].
    pub(crate) fn tell_when_gone(&mut self) {
        self.told = true;
    }

    /// Whether nobody reads any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    pub(crate) fn line(&mut self, text: Arguments<'_>) {
        if self.gone {
            return;
        }
        let done = self
            .to
            .write_fmt(text)
            .and_then(|()| self.to.write_all(b"\n"));
        self.settle(done);
    }

    pub(crate) fn text(&mut self, text: Arguments<'_>) {
        if self.gone {
            return;
        }
        let done = self.to.write_fmt(text);
        self.settle(done);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        if self.gone {
            return;
        }
        let done = self.to.write_all(bytes);
        self.settle(done);
    }

    pub(crate) fn flush(&mut self) {
        if self.gone {
            return;
        }
        let done = self.to.flush();
        self.settle(done);
    }

    /// Whoever closed the pipe has seen enough: that is a good end.
    fn settle(&mut self, done: io::Result<()>) {
        if done.is_ok() {
            return;
        }
        if !self.told {
            std::process::exit(0);
        }
        self.gone = true;
    }
}

/// Writes to standard error; where nobody reads it any more nothing is said.
pub(crate) fn complain(text: Arguments<'_>) {
    let mut to = io::stderr().lock();
    let _gone = to.write_fmt(text).and_then(|()| to.flush());
}

/// The same with a line's end, in red on a terminal.
pub(crate) fn complain_in_red(text: &str) {
    let terminal = io::stderr().is_terminal();
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|name| name == "dumb");
    match terminal && !plain {
        true => complain(format_args!("\x1b[31m{text}\x1b[0m\n")),
        false => complain(format_args!("{text}\n")),
    }
}

/// One line on standard error.
#[macro_export]
macro_rules! warn {
    ($($text:tt)*) => {
        $crate::print::complain(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// One line on standard output.
#[macro_export]
macro_rules! say {
    ($out:expr) => { $out.line(format_args!("")) };
    ($out:expr, $($text:tt)*) => { $out.line(format_args!($($text)*)) };
}

/// Ids as Kafka's tables show them.
pub(crate) fn joined(ids: impl Iterator<Item = i32>) -> String {
    ids.map(|id| id.to_string()).collect::<Vec<_>>().join(",")
}
