//! Standard input as lines.

use std::io::{self, IsTerminal, Read};

use tokio::sync::mpsc;

use crate::print::complain;

/// Reads ahead of the producer, and how much each of them takes.
const READS_AHEAD_MAX: usize = 16;
const READ_BYTES: usize = 256 * 1024;

/// Reads standard input on a thread of its own: a terminal may be silent for hours. What could not be
/// read ends it, with the reason.
pub(super) fn lines() -> mpsc::Receiver<io::Result<Vec<Vec<u8>>>> {
    let (to, from) = mpsc::channel(READS_AHEAD_MAX);
    std::thread::spawn(move || {
        let terminal = io::stdin().is_terminal();
        let mut input = io::stdin().lock();
        let mut bytes = vec![0; READ_BYTES];
        let mut cutter = Cutter::default();
        loop {
            if terminal {
                complain(format_args!(">"));
            }
            let read = match input.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => Ok(cutter.cut(&bytes[..count])),
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => Err(cause),
            };
            let last = read.is_err();
            let nobody = to.blocking_send(read).is_err();
            if last || nobody {
                return;
            }
        }
        if let Some(line) = cutter.end() {
            // Whoever does not listen any more was told to stop.
            let _gone = to.blocking_send(Ok(vec![line]));
        }
    });
    from
}

/// Java's lines: they end with LF, CR, or both.
#[derive(Default)]
struct Cutter {
    /// What has no end yet.
    line: Vec<u8>,
    /// Whether the last line was ended by a CR, so that a LF that follows belongs to it.
    after_cr: bool,
}

impl Cutter {
    fn cut(&mut self, mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        while let Some(first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(at) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                self.line.extend_from_slice(bytes);
                break;
            };
            self.line.extend_from_slice(&bytes[..at]);
            self.after_cr = bytes[at] == b'\r';
            lines.push(std::mem::take(&mut self.line));
            bytes = &bytes[at + 1..];
        }
        lines
    }

    /// The last line, where nothing ended it.
    fn end(self) -> Option<Vec<u8>> {
        (!self.line.is_empty()).then_some(self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_javas_do_wherever_a_read_ends() {
        let text = b"a\nb\r\nc\rd\n\n\re\r\r\nf";
        let wanted: [&[u8]; 9] = [b"a", b"b", b"c", b"d", b"", b"", b"e", b"", b"f"];
        for at in 0..text.len() {
            let mut cutter = Cutter::default();
            let mut lines = cutter.cut(&text[..at]);
            lines.extend(cutter.cut(&text[at..]));
            lines.extend(cutter.end());
            assert_eq!(lines, wanted, "cut at {at}");
        }
        let mut ended = Cutter::default();
        assert_eq!(ended.cut(b"a\r"), [b"a"]);
        assert_eq!(ended.end(), None);
    }
}
