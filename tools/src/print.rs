//! Standard output: buffered, and silent when the other end of the pipe is gone.

use std::fmt::Arguments;
use std::io::{self, BufWriter, Stdout, Write};

pub(crate) struct Out {
    to: BufWriter<Stdout>,
}

impl Out {
    pub(crate) fn new() -> Self {
        Out {
            to: BufWriter::with_capacity(64 * 1024, io::stdout()),
        }
    }

    pub(crate) fn line(&mut self, text: Arguments<'_>) {
        let done = self
            .to
            .write_fmt(text)
            .and_then(|()| self.to.write_all(b"\n"));
        Self::settle(done);
    }

    pub(crate) fn text(&mut self, text: Arguments<'_>) {
        let done = self.to.write_fmt(text);
        Self::settle(done);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let done = self.to.write_all(bytes);
        Self::settle(done);
    }

    pub(crate) fn flush(&mut self) {
        let done = self.to.flush();
        Self::settle(done);
    }

    /// Whoever closed the pipe has seen enough: that is a good end.
    fn settle(done: io::Result<()>) {
        if done.is_err() {
            std::process::exit(0);
        }
    }
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
