//! Request and answer headers, read and written by hand: they come before all trust.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;

use crate::kafka::apis::Api;
use crate::kafka::shape::{self, Malformed, Walk};
use crate::limits::STRING_BYTES_MAX;

/// The eight bytes every request begins with, whatever follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    pub api_key: i16,
    pub api_version: i16,
    pub correlation_id: i32,
}

impl Opening {
    /// Reads them; nothing of the rest is looked at.
    pub fn read(frame: &[u8]) -> Result<Opening, Malformed> {
        let mut walk = Walk::new(frame);
        Ok(Opening {
            api_key: walk.i16()?,
            api_version: walk.i16()?,
            correlation_id: walk.i32()?,
        })
    }
}

/// A request's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    pub api: Api,
    pub version: i16,
    pub correlation_id: i32,
    /// How the client names itself. It shares the frame's memory: copy it before keeping it.
    pub client_id: Option<StrBytes>,
}

impl RequestHeader {
    /// Reads the header of a request whose API the caller knows, and gives the body as a slice of the
    /// same memory. A version that nobody knows has the header of the newest.
    pub fn read(api: Api, frame: &Bytes) -> Result<(RequestHeader, Bytes), Malformed> {
        let opening = Opening::read(frame)?;
        let mut walk = Walk::new(frame);
        walk.skip(8)?;
        let header_version = api.request_header_version(opening.api_version);
        let mut client_id = None;
        if header_version >= 1 {
            // Kafka: the name keeps its old form even in flexible headers.
            let length = walk.i16()?;
            if length >= 0 {
                let from = walk.at();
                walk.skip(usize::from(length.unsigned_abs()))?;
                let name = StrBytes::from_utf8(frame.slice(from..walk.at()));
                // Kafka: bytes that are no text are replaced, not refused.
                client_id = Some(name.unwrap_or_else(|_| {
                    let bytes = &frame[from..walk.at()];
                    StrBytes::from_string(String::from_utf8_lossy(bytes).into_owned())
                }));
            }
        }
        if header_version >= 2 {
            walk.unknown_tags()?;
        }
        let header = RequestHeader {
            api,
            version: opening.api_version,
            correlation_id: opening.correlation_id,
            client_id,
        };
        Ok((header, frame.slice(walk.at()..)))
    }

    /// Writes the header a client sends.
    pub fn write(&self, to: &mut BytesMut) {
        let header_version = self.api.request_header_version(self.version);
        to.put_i16(self.api.key());
        to.put_i16(self.version);
        to.put_i32(self.correlation_id);
        if header_version >= 1 {
            match &self.client_id {
                Some(name) if name.len() <= STRING_BYTES_MAX => {
                    to.put_i16(name.len() as i16);
                    to.put_slice(name.as_bytes());
                }
                _ => to.put_i16(-1),
            }
        }
        if header_version >= 2 {
            to.put_u8(0);
        }
    }
}

/// Writes an answer's header: the correlation id and, where flexible, no tagged fields.
pub fn write_answer_header(to: &mut impl BufMut, api: Api, version: i16, correlation_id: i32) {
    to.put_i32(correlation_id);
    if api.response_header_version(version) >= 1 {
        to.put_u8(0);
    }
}

/// Reads an answer's header and gives its correlation id and body.
pub fn read_answer_header(
    api: Api,
    version: i16,
    frame: &Bytes,
) -> Result<(i32, Bytes), shape::Malformed> {
    let mut walk = Walk::new(frame);
    let correlation_id = walk.i32()?;
    if api.response_header_version(version) >= 1 {
        walk.unknown_tags()?;
    }
    Ok((correlation_id, frame.slice(walk.at()..)))
}
