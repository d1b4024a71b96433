//! A log read from its start to its end, as somebody does who fetches it.

use bytes::Bytes;
use storage::log::{Log, ReadRequest, Upto};

/// What is read at once, of at most so many bytes; each begins where the one before ended.
pub(crate) fn answers(log: &Log, bytes_max: usize) -> impl Iterator<Item = Bytes> + '_ {
    let offsets = log.offsets();
    let mut from = offsets.start;
    std::iter::from_fn(move || {
        if from >= offsets.end {
            return None;
        }
        let request = ReadRequest {
            from,
            bytes_max,
            min_one: true,
            upto: Upto::End,
        };
        let bytes = log.read(request).unwrap().read().unwrap();
        let last = protocol::batch::split(&bytes).last();
        let last = last.unwrap_or_else(|| panic!("nothing at {from} of {offsets:?}"));
        from = last.unwrap().next_offset();
        Some(bytes)
    })
}
