//! What a session speaks over: whole frames, in the open or secured.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use protocol::zookeeper::jute::Writer;

/// A reply is never longer: ZooKeeper's own bound for a client.
const FRAME_MAX: usize = 64 << 20;

/// A body with its length before it.
pub(crate) fn framed(body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    body(&mut Writer(&mut bytes));
    let len = u32::try_from(bytes.len() - 4).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&len.to_be_bytes());
    bytes
}

/// A connection: in the open, or secured. One thread reads it, others write.
#[derive(Debug)]
pub(crate) enum Line {
    Open(TcpStream),
    Secure(Box<coordinator::Line>),
}

impl Line {
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Line::Open(socket) => socket,
            Line::Secure(line) => line.socket(),
        }
    }

    pub(crate) fn read(&self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Line::Open(socket) => { socket }.read(out),
            Line::Secure(line) => line.read(out),
        }
    }

    pub(crate) fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Line::Open(socket) => { socket }.write_all(bytes),
            Line::Secure(line) => line.write_all(bytes),
        }
    }
}

/// Whole frames out of what a connection gives; one that is not whole yet stays for the next time.
pub(crate) struct Frames {
    line: Arc<Line>,
    bytes: Vec<u8>,
}

impl Frames {
    pub(crate) fn of(line: Arc<Line>) -> Frames {
        let bytes = Vec::new();
        Frames { line, bytes }
    }

    pub(crate) fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// How much there is of what is not whole yet.
    pub(crate) fn begun(&self) -> usize {
        self.bytes.len()
    }

    /// The next one. Where the connection's patience ends before it is whole, that is the error, and
    /// it may be asked for again.
    pub(crate) fn next(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = [0; 4 << 10];
        loop {
            if let Some(head) = self.bytes.first_chunk::<4>() {
                let len = u32::from_be_bytes(*head) as usize;
                if len > FRAME_MAX {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                if self.bytes.len() >= 4 + len {
                    let rest = self.bytes.split_off(4 + len);
                    let mut frame = std::mem::replace(&mut self.bytes, rest);
                    frame.drain(..4);
                    return Ok(frame);
                }
            }
            match self.line.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                got => self.bytes.extend_from_slice(&piece[..got]),
            }
        }
    }
}
