//! A record batch as a view over its bytes: the header decoded, the records left alone.
//!
//! ```text
//! 0        8      12     16 17   21   23      27       35      43    51    53    57    61
//! ├ offset ┼ size ┼ epoch ┼m┼ crc ┼ bits ┼ delta ┼ base ts ┼ max ts ┼ pid ┼ ep ┼ seq ┼ n ┼ records
//! └─ patched in place ────┘       └─ covered by the CRC-32C ─────────────────────────────
//! ```
//!
//! A message of formats v0 and v1 is shown through the same header: its offset as both ends of a
//! batch of one, with no producer and no epoch.

use std::ops::Deref;

use bytes::Bytes;

use crate::batch::{Codec, Fault, Records, TimestampType};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

/// The bytes before the records of a v2 batch.
pub const HEADER_BYTES: usize = 61;
/// Offset and size, which every format begins with and the size does not count.
pub const OVERHEAD_BYTES: usize = 12;
/// What must be there before the size and the format of a batch are known.
pub const PREFIX_BYTES: usize = 17;
/// The least a batch may claim behind its size field: an empty v0 message.
pub const SIZE_MIN: i32 = 14;

/// "No timestamp", for messages of format v0 and batches without records.
pub const NO_TIMESTAMP: i64 = -1;
/// "No sequence", for batches without a producer id.
pub const NO_SEQUENCE: i32 = -1;

pub(crate) const AT_EPOCH: usize = 12;
pub(crate) const AT_MAGIC: usize = 16;
pub(crate) const AT_CRC: usize = 17;
pub(crate) const AT_ATTRIBUTES: usize = 21;
pub(crate) const AT_BASE_TIMESTAMP: usize = 27;
pub(crate) const AT_MAX_TIMESTAMP: usize = 35;

pub(crate) const BIT_APPEND_TIME: i16 = 0x08;
pub(crate) const BIT_TRANSACTIONAL: i16 = 0x10;
pub(crate) const BIT_CONTROL: i16 = 0x20;
pub(crate) const BIT_DELETE_HORIZON: i16 = 0x40;

/// The header of a batch, decoded. Plain numbers: nothing in it has been checked beyond its size
/// and its magic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// v0 and v1: the offset of the message; for a compressed one, of the last inside.
    pub base_offset: Offset,
    /// All bytes of the batch, its first twelve included.
    pub size: usize,
    pub leader_epoch: LeaderEpoch,
    pub magic: u8,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    /// The delete horizon, where [`Header::delete_horizon_ms`] says so.
    pub base_timestamp_ms: i64,
    pub max_timestamp_ms: i64,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub base_sequence: i32,
    /// Records as claimed. v0 and v1 do not say: −1.
    pub count: i32,
}

impl Header {
    /// Reads the header at the front of `bytes`, which may end anywhere behind it. `None` where
    /// the header itself is not all there yet.
    pub fn read(bytes: &[u8]) -> Result<Option<Header>, Fault> {
        let (Some(length), Some(magic)) = (i32_at(bytes, 8), bytes.get(AT_MAGIC)) else {
            return Ok(None);
        };
        if length < SIZE_MIN {
            return Err(Fault::Size(length));
        }
        let size = OVERHEAD_BYTES + length.unsigned_abs() as usize;
        match *magic {
            2 if size < HEADER_BYTES => Err(Fault::Size(length)),
            2 => Ok(Self::read_v2(bytes, size)),
            // Seen from the message: crc 0, magic 4, attributes 5, timestamp 6.
            1 if size < OVERHEAD_BYTES + 22 => Err(Fault::Size(length)),
            magic @ (0 | 1) => Ok(Self::read_legacy(bytes, size, magic)),
            other => Err(Fault::Magic(other.cast_signed())),
        }
    }

    fn read_v2(bytes: &[u8], size: usize) -> Option<Header> {
        Some(Header {
            base_offset: Offset(i64_at(bytes, 0)?),
            size,
            leader_epoch: LeaderEpoch(i32_at(bytes, AT_EPOCH)?),
            magic: 2,
            crc: i32_at(bytes, AT_CRC)?.cast_unsigned(),
            attributes: i16_at(bytes, AT_ATTRIBUTES)?,
            last_offset_delta: i32_at(bytes, 23)?,
            base_timestamp_ms: i64_at(bytes, AT_BASE_TIMESTAMP)?,
            max_timestamp_ms: i64_at(bytes, AT_MAX_TIMESTAMP)?,
            producer_id: ProducerId(i64_at(bytes, 43)?),
            producer_epoch: ProducerEpoch(i16_at(bytes, 51)?),
            base_sequence: i32_at(bytes, 53)?,
            count: i32_at(bytes, 57)?,
        })
    }

    fn read_legacy(bytes: &[u8], size: usize, magic: u8) -> Option<Header> {
        let timestamp_ms = if magic == 1 {
            i64_at(bytes, 18)?
        } else {
            NO_TIMESTAMP
        };
        Some(Header {
            base_offset: Offset(i64_at(bytes, 0)?),
            size,
            leader_epoch: LeaderEpoch::NONE,
            magic,
            crc: i32_at(bytes, 12)?.cast_unsigned(),
            attributes: i16::from(*bytes.get(17)?),
            last_offset_delta: 0,
            base_timestamp_ms: timestamp_ms,
            max_timestamp_ms: timestamp_ms,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch(-1),
            base_sequence: NO_SEQUENCE,
            count: -1,
        })
    }

    pub fn last_offset(&self) -> Offset {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// Where the next batch may begin.
    pub fn next_offset(&self) -> Offset {
        self.last_offset() + 1
    }

    pub fn codec(&self) -> Result<Codec, Fault> {
        Codec::from_id(self.codec_id()).ok_or(Fault::UnknownCodec(self.codec_id()))
    }

    pub fn is_compressed(&self) -> bool {
        self.codec_id() != 0
    }

    fn codec_id(&self) -> u8 {
        (self.attributes & 7) as u8
    }

    /// Messages of format v0 know no time: they count as created at [`NO_TIMESTAMP`].
    pub fn timestamp_type(&self) -> TimestampType {
        if self.magic > 0 && self.attributes & BIT_APPEND_TIME != 0 {
            TimestampType::LogAppend
        } else {
            TimestampType::Create
        }
    }

    pub fn is_transactional(&self) -> bool {
        self.magic >= 2 && self.attributes & BIT_TRANSACTIONAL != 0
    }

    pub fn is_control(&self) -> bool {
        self.magic >= 2 && self.attributes & BIT_CONTROL != 0
    }

    /// When what compaction kept for a while (tombstones, markers) may go.
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        (self.magic >= 2 && self.attributes & BIT_DELETE_HORIZON != 0)
            .then_some(self.base_timestamp_ms)
    }

    pub fn has_producer_id(&self) -> bool {
        self.producer_id.0 > ProducerId::NONE.0
    }

    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence == NO_SEQUENCE {
            return NO_SEQUENCE;
        }
        next_sequence(self.base_sequence, self.last_offset_delta)
    }
}

/// The sequence `more` records after `sequence`; behind 2³¹ − 1 comes 0.
pub fn next_sequence(sequence: i32, more: i32) -> i32 {
    if sequence > i32::MAX.wrapping_sub(more) {
        more.wrapping_sub(i32::MAX.wrapping_sub(sequence))
            .wrapping_sub(1)
    } else {
        sequence.wrapping_add(more)
    }
}

/// One whole batch (or message of format v0 or v1). Clones share the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchView {
    header: Header,
    // Invariant: exactly `header.size` long.
    bytes: Bytes,
}

impl BatchView {
    /// The batch at the front of `bytes`; what follows it is not looked at. `None` where it is
    /// not all there.
    pub fn open(bytes: &Bytes) -> Result<Option<BatchView>, Fault> {
        match Header::read(bytes)? {
            Some(header) if header.size <= bytes.len() => Ok(Some(BatchView {
                header,
                bytes: bytes.slice(..header.size),
            })),
            _ => Ok(None),
        }
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// All of the batch.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    pub fn check_crc(&self) -> Result<(), Fault> {
        check_crc(&self.header, &self.bytes)
    }

    /// The records in order, read as they are asked for. What is compressed comes out in pieces,
    /// never more than `bound` bytes of it in all.
    pub fn records(&self, bound: u64) -> Result<Records, Fault> {
        Records::open(self, bound)
    }
}

impl Deref for BatchView {
    type Target = Header;
    fn deref(&self) -> &Header {
        &self.header
    }
}

/// Compares the checksum of a whole batch with the one its header carries.
pub fn check_crc(header: &Header, batch: &[u8]) -> Result<(), Fault> {
    let computed = computed_crc(header.magic, batch).ok_or(Fault::Short)?;
    if computed == header.crc {
        Ok(())
    } else {
        Err(Fault::Crc {
            stored: header.crc,
            computed,
        })
    }
}

fn computed_crc(magic: u8, batch: &[u8]) -> Option<u32> {
    if magic >= 2 {
        Some(crc32c::crc32c(batch.get(AT_ATTRIBUTES..)?))
    } else {
        Some(crc32fast::hash(batch.get(AT_MAGIC..)?))
    }
}

/// Cuts a record set into its batches, of whatever formats. A batch that is not all there ends
/// the walk in silence, as a torn tail does; [`Split::position`] tells how far it came.
pub fn split(set: &Bytes) -> Split {
    Split {
        rest: set.clone(),
        position: 0,
        broken: false,
    }
}

/// The walk of [`split`]. After a fault it is over.
#[derive(Clone, Debug)]
pub struct Split {
    rest: Bytes,
    position: usize,
    broken: bool,
}

impl Split {
    /// Bytes of whole batches given so far.
    pub fn position(&self) -> usize {
        self.position
    }
}

impl Iterator for Split {
    type Item = Result<BatchView, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken {
            return None;
        }
        match BatchView::open(&self.rest) {
            Ok(view) => {
                let view = view?;
                let _given = self.rest.split_to(view.size);
                self.position += view.size;
                Some(Ok(view))
            }
            Err(fault) => {
                self.broken = true;
                Some(Err(fault))
            }
        }
    }
}

/// Writes where a v2 batch begins and under which leader, in place; neither is under the CRC.
/// Bytes too short for a header are left alone.
pub fn patch_offset_epoch(batch: &mut [u8], base_offset: Offset, epoch: LeaderEpoch) {
    if batch.len() >= HEADER_BYTES {
        batch[..8].copy_from_slice(&base_offset.0.to_be_bytes());
        batch[AT_EPOCH..AT_MAGIC].copy_from_slice(&epoch.0.to_be_bytes());
    }
}

pub(crate) fn i16_at(bytes: &[u8], at: usize) -> Option<i16> {
    Some(i16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(crate) fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(crate) fn i64_at(bytes: &[u8], at: usize) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(next_sequence(5, 3), 8);
        assert_eq!(next_sequence(i32::MAX, 1), 0);
        assert_eq!(next_sequence(i32::MAX - 1, 3), 1);
        assert_eq!(
            next_sequence(0, i32::MIN),
            0,
            "a hostile delta wraps as in Java"
        );
    }

    #[test]
    fn a_header_not_all_there_is_waited_for_and_a_bad_one_refused() {
        let mut bytes = [0u8; 61];
        bytes[8..12].copy_from_slice(&49i32.to_be_bytes());
        bytes[16] = 2;
        assert!(Header::read(&bytes[..16]).unwrap().is_none());
        assert!(Header::read(&bytes[..60]).unwrap().is_none());
        assert_eq!(Header::read(&bytes).unwrap().unwrap().size, 61);
        bytes[16] = 3;
        assert_eq!(Header::read(&bytes), Err(Fault::Magic(3)));
        bytes[16] = 2;
        bytes[8..12].copy_from_slice(&48i32.to_be_bytes());
        assert_eq!(Header::read(&bytes), Err(Fault::Size(48)));
        bytes[8..12].copy_from_slice(&(-1i32).to_be_bytes());
        assert_eq!(Header::read(&bytes), Err(Fault::Size(-1)));
    }
}
