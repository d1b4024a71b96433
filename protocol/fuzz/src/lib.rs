//! What is done with bytes of nobody: the targets' bodies, which `protocol/tests/fuzz.rs` runs over
//! a fixed corpus as well.

use bytes::Bytes;
use protocol::kafka::apis::{Api, ROWS};
use protocol::kafka::codec;
use protocol::kafka::data::{decode_fetch, decode_produce};
use protocol::kafka::header::{self, Opening, RequestHeader};

/// A whole frame as it comes from a socket: opening, header, body.
pub fn request(frame: &[u8]) {
    let frame = Bytes::copy_from_slice(frame);
    let Ok(opening) = Opening::read(&frame) else {
        return;
    };
    let Some(api) = Api::from_key(opening.api_key) else {
        return;
    };
    if !api.has_version(opening.api_version) {
        return;
    }
    if let Ok((header, body)) = RequestHeader::read(api, &frame) {
        read_body(api, header.version, body);
    }
}

/// A body alone, its API and version chosen by the first two bytes: every one is within reach.
pub fn body(input: &[u8]) {
    if let Some((api, version, body)) = chosen(input) {
        read_body(api, version, body);
    }
}

/// An answer alone, chosen as a body is: what our own clients read.
pub fn answer(input: &[u8]) {
    let Some((api, version, frame)) = chosen(input) else {
        return;
    };
    if let Ok((_, body)) = header::read_answer_header(api, version, &frame) {
        let _refused = codec::decode_response(api, version, body);
    }
}

fn chosen(input: &[u8]) -> Option<(Api, i16, Bytes)> {
    let [api, version, rest @ ..] = input else {
        return None;
    };
    let row = &ROWS[usize::from(*api) % ROWS.len()];
    let count = row.version_max - row.version_min + 1;
    let version = row.version_min + i16::from(*version) % count;
    Some((row.api, version, Bytes::copy_from_slice(rest)))
}

fn read_body(api: Api, version: i16, body: Bytes) {
    match api {
        Api::Produce => drop(decode_produce(version, &body)),
        Api::Fetch => drop(decode_fetch(version, &body)),
        _ => {}
    }
    let _refused = codec::decode_request(api, version, body);
}
