//! Bodies by API and version, to and from `kafka-protocol`'s types.
//!
//! Decoding runs [`shape::check`] first; encoding writes the whole frame, length prefix and header
//! included. A body that the version cannot carry (a field set that it does not have) is an error
//! of ours, never a panic.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{RequestKind, ResponseKind};

use crate::kafka::apis::Api;
use crate::kafka::header::{self, RequestHeader};
use crate::kafka::shape::{self, Direction, Extent, Malformed};
use crate::limits::LENGTH_PREFIX_BYTES;

/// Why a body could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    #[error("read {api:?} version {version}: {cause}")]
    Malformed {
        api: Api,
        version: i16,
        cause: Malformed,
    },
    /// The decoder refused what the shape allowed: text that is not UTF-8, for one.
    #[error("decode {api:?} version {version}: {words}")]
    Refused {
        api: Api,
        version: i16,
        words: String,
    },
    #[error("encode {api:?} version {version}: {words}")]
    Unwritable {
        api: Api,
        version: i16,
        words: String,
    },
    #[error("encode {api:?} version {version}: {bytes} bytes are more than a frame holds")]
    TooLong {
        api: Api,
        version: i16,
        bytes: usize,
    },
}

/// A request's body whose shape is as it should be.
#[derive(Clone, Debug)]
pub struct CheckedRequest {
    api: Api,
    version: i16,
    body: Bytes,
    extent: Extent,
}

impl CheckedRequest {
    pub fn check(api: Api, version: i16, body: Bytes) -> Result<Self, CodecError> {
        let extent = shape::check(api, version, &body).map_err(|cause| CodecError::Malformed {
            api,
            version,
            cause,
        })?;
        Ok(CheckedRequest {
            api,
            version,
            body,
            extent,
        })
    }

    /// How much memory decoding takes at most, besides the body.
    pub fn memory(&self) -> usize {
        self.extent.memory
    }

    /// How many plain numbers lie in its arrays.
    pub fn numbers(&self) -> usize {
        self.extent.numbers
    }

    /// Reads it. Names and records are slices of the body: copy what is kept.
    pub fn decode(self) -> Result<RequestKind, CodecError> {
        let CheckedRequest {
            api,
            version,
            mut body,
            ..
        } = self;
        RequestKind::decode(api.crate_key(), &mut body, version).map_err(|error| {
            CodecError::Refused {
                api,
                version,
                words: error.to_string(),
            }
        })
    }
}

/// Reads a request's body, however much memory it takes.
pub fn decode_request(api: Api, version: i16, body: Bytes) -> Result<RequestKind, CodecError> {
    CheckedRequest::check(api, version, body)?.decode()
}

/// Reads an answer's body.
pub fn decode_response(
    api: Api,
    version: i16,
    mut body: Bytes,
) -> Result<ResponseKind, CodecError> {
    shape::check_message(Direction::Response, api, version, &body).map_err(|cause| {
        CodecError::Malformed {
            api,
            version,
            cause,
        }
    })?;
    ResponseKind::decode(api.crate_key(), &mut body, version).map_err(|error| CodecError::Refused {
        api,
        version,
        words: error.to_string(),
    })
}

/// Writes a whole answer: length prefix, header, body.
pub fn encode_response(
    api: Api,
    version: i16,
    correlation_id: i32,
    response: &ResponseKind,
) -> Result<Bytes, CodecError> {
    let mut frame = BytesMut::with_capacity(256);
    frame.put_i32(0);
    header::write_answer_header(&mut frame, api, version, correlation_id);
    response
        .encode(&mut frame, version)
        .map_err(|error| CodecError::Unwritable {
            api,
            version,
            words: error.to_string(),
        })?;
    close(api, version, frame)
}

/// Writes a whole request: length prefix, header, body.
pub fn encode_request(header: &RequestHeader, request: &RequestKind) -> Result<Bytes, CodecError> {
    let RequestHeader { api, version, .. } = *header;
    let mut frame = BytesMut::with_capacity(256);
    frame.put_i32(0);
    header.write(&mut frame);
    request
        .encode(&mut frame, version)
        .map_err(|error| CodecError::Unwritable {
            api,
            version,
            words: error.to_string(),
        })?;
    close(api, version, frame)
}

/// Puts the length where room was left for it.
fn close(api: Api, version: i16, mut frame: BytesMut) -> Result<Bytes, CodecError> {
    let bytes = frame.len() - LENGTH_PREFIX_BYTES;
    let length = i32::try_from(bytes).map_err(|_| CodecError::TooLong {
        api,
        version,
        bytes,
    })?;
    frame[..LENGTH_PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(frame.freeze())
}
