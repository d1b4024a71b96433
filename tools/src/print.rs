//! Standard output: buffered, and silent when the other end of the pipe is gone; what cannot be written
//! for another reason is said and ends with exit code 1. Standard error is silent in both cases.

use std::fmt::Arguments;
use std::future::pending;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::oneshot;

pub(crate) struct Out {
    to: BufWriter<Stdout>,
    /// Whether the tool looks itself whether anybody still reads.
    told: bool,
    gone: bool,
    /// Whether something could not be written though somebody reads.
    failed: bool,
}

impl Out {
    pub(crate) fn new() -> Self {
        Out {
            to: BufWriter::with_capacity(64 * 1024, io::stdout()),
            told: false,
            gone: false,
            failed: false,
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

    /// Nothing more is written: nobody reads it.
    pub(crate) fn leave(&mut self) {
        self.gone = true;
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed
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

    /// Whoever closed the pipe has seen enough: that is a good end. A full disk is none.
    fn settle(&mut self, done: io::Result<()>) {
        let Err(cause) = done else {
            return;
        };
        self.gone = true;
        self.failed = cause.kind() != io::ErrorKind::BrokenPipe;
        if self.failed {
            complain_in_red(&format!("cannot write to standard output: {cause}"));
        }
        if !self.told {
            std::process::exit(i32::from(self.failed));
        }
    }
}

/// Waits until nobody reads standard output any more: for ever where that is never told, as of a file.
pub(crate) async fn nobody_reads() {
    let (to, left) = oneshot::channel();
    // It sleeps until then, or until the tool ends.
    std::thread::spawn(move || {
        let stdout = io::stdout();
        // Nothing is asked for: that the other end is gone is always told.
        let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
        while let Err(Errno::INTR) = poll(&mut watched, None) {}
        if !watched[0].revents().is_empty() {
            // Whoever waits no more need not be told.
            let _told = to.send(());
        }
    });
    if left.await.is_err() {
        pending().await
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
