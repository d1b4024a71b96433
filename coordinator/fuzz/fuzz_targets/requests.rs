//! Every decoder of what a client or a log may hold: the first four bytes are the operation.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::zookeeper::jute::Reader;
use protocol::zookeeper::requests::{ConnectRequest, Request};
use protocol::zookeeper::txns::Txn;

fuzz_target!(|bytes: &[u8]| {
    let _outcome = ConnectRequest::read(bytes);
    if let Some((op, body)) = bytes.split_first_chunk::<4>() {
        let op = i32::from_be_bytes(*op);
        let _outcome = Request::read(op, &mut Reader::new(body));
        let _outcome = Txn::read(op, &mut Reader::new(body));
    }
});
