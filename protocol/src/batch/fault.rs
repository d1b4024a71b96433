//! What can be wrong with the bytes of a record batch.
//!
//! A fault names the broken rule, never the topic: whoever knows where the bytes came from adds
//! that. Two bytes that are merely missing at the end are not a fault; a reader waits for them.

use thiserror::Error;

use crate::batch::Codec;

/// One broken rule of the batch format.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    #[error("batch ends before its header does")]
    Short,
    #[error("batch claims {0} bytes, fewer than its format's header takes")]
    Size(i32),
    #[error("invalid magic {0}")]
    Magic(i8),
    #[error("stored crc = {stored}, computed crc = {computed}")]
    Crc { stored: u32, computed: u32 },
    #[error("unknown compression type id: {0}")]
    UnknownCodec(u8),
    #[error("cannot decompress {}: {reason}", .codec.name())]
    Compressed { codec: Codec, reason: &'static str },
    #[error("decompressed records exceed the bound of {bound} bytes")]
    Bomb { bound: u64 },
    #[error("invalid record: {0}")]
    Record(&'static str),
    #[error("invalid message set: {0}")]
    Legacy(&'static str),
}
