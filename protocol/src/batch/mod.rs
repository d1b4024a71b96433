//! Record batches: what producers send, brokers store and consumers read, byte for byte.
//!
//! ```text
//! record set = batch batch batch …            one Produce partition, one file, one Fetch answer
//! batch      = header (61 bytes) + records    v2; records may be one compressed blob
//! message    = offset size crc magic …        v0, v1; a compressed one holds a message set
//! ```
//!
//! Brokers look at headers ([`BatchView`], [`split`]) and check a batch once, at the door
//! ([`check`]); only tools, compaction and conversion ever look inside ([`Records`]).
//!
//! Invariant: no byte in here is believed. Sizes and counts are compared with the bytes that are
//! there, decompression streams and is bounded, nesting is one level deep.

mod fault;
pub mod varint;
pub mod compress;
mod lz4;
mod snappy;
mod view;
pub mod records;
pub mod build;
pub mod legacy;
pub mod check;
pub mod corpus;

pub use build::{BatchBuilder, BuildError, Marker, emptied, end_marker};
pub use compress::{Codec, Compression, DECOMPRESSED_BYTES_MAX};
pub use fault::Fault;
pub use records::{MessageMark, Record, RecordHeaders, Records};
pub use view::{
    BatchView, HEADER_BYTES, Header, NO_SEQUENCE, NO_TIMESTAMP, OVERHEAD_BYTES, PREFIX_BYTES,
    SIZE_MIN, Split, check_crc, next_sequence, patch_offset_epoch, split,
};

/// Whose clock a record's timestamp comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer's.
    #[default]
    Create,
    /// The leader's, when it appended the batch.
    LogAppend,
}

impl TimestampType {
    /// As in the topic setting `message.timestamp.type` and in Kafka's tools.
    pub fn name(self) -> &'static str {
        match self {
            TimestampType::Create => "CreateTime",
            TimestampType::LogAppend => "LogAppendTime",
        }
    }
}
