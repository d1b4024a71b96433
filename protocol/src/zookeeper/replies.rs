//! Replies and events, appended frame by frame to a connection's outgoing bytes.

use crate::zookeeper::errors::Code;
use crate::zookeeper::jute::{Malformed, Reader, Writer};
use crate::zookeeper::ops;
use crate::zookeeper::types::EventKind;

/// The answer to a connect request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectResponse {
    pub timeout_ms: i32,
    pub session_id: i64,
    pub password: [u8; 16],
    /// Whether the client sent the read-only byte and so expects one back.
    pub with_read_only: bool,
}

impl ConnectResponse {
    /// The answer that says: no such session any more.
    pub fn refused(with_read_only: bool) -> Self {
        ConnectResponse {
            timeout_ms: 0,
            session_id: 0,
            password: [0; 16],
            with_read_only,
        }
    }

    pub fn write_frame(&self, out: &mut Vec<u8>) {
        let frame = Frame::begin(out);
        let mut writer = Writer(out);
        writer
            .int(0)
            .int(self.timeout_ms)
            .long(self.session_id)
            .buffer(Some(&self.password));
        if self.with_read_only {
            writer.bool(false);
        }
        frame.end(out);
    }
}

/// A frame being written: its length is filled in at the end.
#[derive(Debug)]
#[must_use]
pub struct Frame {
    at: usize,
}

impl Frame {
    pub fn begin(out: &mut Vec<u8>) -> Self {
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        Frame { at }
    }

    /// Begins a reply: its header is written with it.
    pub fn reply(out: &mut Vec<u8>, xid: i32, zxid: i64, code: Code) -> Self {
        let frame = Frame::begin(out);
        Writer(out).int(xid).long(zxid).int(code.0);
        frame
    }

    pub fn end(self, out: &mut [u8]) {
        let len = out.len() - self.at - 4;
        let len = u32::try_from(len).expect("a reply is shorter than 4 GB");
        out[self.at..self.at + 4].copy_from_slice(&len.to_be_bytes());
    }
}

/// A reply that is only a header.
pub fn write_bare(out: &mut Vec<u8>, xid: i32, zxid: i64, code: Code) {
    Frame::reply(out, xid, zxid, code).end(out);
}

/// A watch event; the state is always "connected".
pub fn write_event(out: &mut Vec<u8>, zxid: i64, kind: EventKind, path: &str) {
    let frame = Frame::reply(out, ops::XID_NOTIFICATION, zxid, Code::OK);
    Writer(out).int(kind as i32).int(3).string(path);
    frame.end(out);
}

/// The header before one result of a `multi`.
pub fn write_multi_header(writer: &mut Writer<'_>, op: i32, done: bool, error: i32) {
    writer.int(op).bool(done).int(error);
}

/// What a reply begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHeader {
    pub xid: i32,
    pub zxid: i64,
    pub code: Code,
}

impl ReplyHeader {
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(ReplyHeader {
            xid: reader.int()?,
            zxid: reader.long()?,
            code: Code(reader.int()?),
        })
    }
}
