//! Message sets of formats v0 and v1: read, and written for consumers that know nothing newer.
//!
//! ```text
//! 0        8      12    16  17     18            v0 has no timestamp
//! ├ offset ┼ size ┼ crc ┼ m ┼ bits ┼ [timestamp] ┼ i32 key length, key ┼ i32 value length, value
//! ```
//!
//! A compressed message holds a message set as its value. Inner offsets are absolute in v0 and
//! count from 0 in v1, where the outer offset is that of the last inside. Nesting is one level
//! deep; deeper is refused, not followed.

use bytes::Bytes;
use thiserror::Error;

use crate::batch::compress::decompress;
use crate::batch::records::MessageMark;
use crate::batch::view::{BatchView, NO_SEQUENCE, NO_TIMESTAMP, OVERHEAD_BYTES, i32_at, i64_at};
use crate::batch::{
    Codec, Compression, Fault, Record, RecordHeaders, SIZE_MIN, TimestampType, split,
};
use crate::ids::Offset;

/// Message bytes before key and value, with both their lengths, offset and size not counted.
const BYTES_V0: usize = 14;
const BYTES_V1: usize = 22;
const BIT_APPEND_TIME: u8 = 0x08;

/// One message as it stands, whether in a file or inside another.
struct Message {
    offset: i64,
    magic: u8,
    attributes: u8,
    crc: u32,
    crc_computed: u32,
    timestamp_ms: i64,
    key: Option<Bytes>,
    value: Option<Bytes>,
    size: usize,
}

impl Message {
    /// Reads exactly one message.
    fn read(bytes: &Bytes) -> Result<Message, Fault> {
        const CUT: Fault = Fault::Legacy("message is cut");
        let magic = *bytes.get(16).ok_or(CUT)?;
        let attributes = *bytes.get(17).ok_or(CUT)?;
        let (timestamp_ms, mut at) = match magic {
            0 => (NO_TIMESTAMP, 18),
            1 => (i64_at(bytes, 18).ok_or(CUT)?, 26),
            other => return Err(Fault::Magic(other.cast_signed())),
        };
        let mut sized = || {
            let len = i32_at(bytes, at).ok_or(CUT)?;
            at += 4;
            let Ok(len) = usize::try_from(len) else {
                return Ok(None);
            };
            if len > bytes.len() - at {
                return Err(Fault::Legacy("field is longer than its message"));
            }
            at += len;
            Ok(Some(bytes.slice(at - len..at)))
        };
        let (key, value) = (sized()?, sized()?);
        Ok(Message {
            offset: i64_at(bytes, 0).ok_or(CUT)?,
            magic,
            attributes,
            crc: i32_at(bytes, 12).ok_or(CUT)?.cast_unsigned(),
            crc_computed: crc32fast::hash(bytes.get(16..).ok_or(CUT)?),
            timestamp_ms,
            key,
            value,
            size: bytes.len(),
        })
    }

    fn record(self, offset: i64, timestamp_ms: i64) -> Record {
        let (magic, crc, crc_computed) = (self.magic, self.crc, self.crc_computed);
        Record {
            offset: Offset(offset),
            timestamp_ms,
            sequence: NO_SEQUENCE,
            key: self.key,
            value: self.value,
            headers: RecordHeaders::default(),
            size: self.size,
            message: Some(MessageMark {
                magic,
                crc,
                crc_computed,
            }),
        }
    }
}

/// The records of a v0 or v1 message: itself, or what is compressed in it.
pub(crate) fn read(batch: &BatchView, bound: u64) -> Result<Vec<Record>, Fault> {
    let outer = Message::read(batch.bytes())?;
    if !batch.is_compressed() {
        let (offset, timestamp_ms) = (outer.offset, outer.timestamp_ms);
        return Ok(vec![outer.record(offset, timestamp_ms)]);
    }
    let codec = batch.codec()?;
    if codec == Codec::Zstd {
        return Err(Fault::Legacy("zstd inside a message set"));
    }
    let packed = outer
        .value
        .ok_or(Fault::Legacy("compressed message without a value"))?;
    let inner = read_inner(decompress(codec, batch.magic, packed, bound)?, bound)?;
    let last_inner = inner
        .last()
        .ok_or(Fault::Legacy("compressed message with none inside"))?;
    let base = match (batch.magic, batch.base_offset.0) {
        (0, _) => 0,
        // Kafka: some versions of librdkafka sent 0 here (AbstractLegacyRecordBatch).
        (_, 0) => 0,
        (_, last) if last < last_inner.offset => {
            return Err(Fault::Legacy("outer offset is below the last inner one"));
        }
        (_, last) => (last.checked_sub(last_inner.offset))
            .ok_or(Fault::Legacy("inner offset is out of reach"))?,
    };
    let append_time = batch.timestamp_type() == TimestampType::LogAppend;
    let mut records = Vec::with_capacity(inner.len());
    for message in inner {
        let offset = base
            .checked_add(message.offset)
            .ok_or(Fault::Legacy("offset overflows"))?;
        let timestamp_ms = match message.magic {
            1 if append_time => batch.max_timestamp_ms,
            _ => message.timestamp_ms,
        };
        records.push(message.record(offset, timestamp_ms));
    }
    Ok(records)
}

/// The messages of a decompressed set. A cut one at the end is left out, as Java does.
///
/// Messages of a few bytes take many times their bytes while they are looked at, and that is bounded
/// too.
fn read_inner(set: Bytes, bound: u64) -> Result<Vec<Message>, Fault> {
    const TAKEN_BYTES: usize = size_of::<Message>() + size_of::<Record>();
    let mut messages = Vec::new();
    let mut at = 0usize;
    while let Some(claim) = i32_at(&set, at.saturating_add(8)) {
        if claim < SIZE_MIN {
            return Err(Fault::Size(claim));
        }
        let end = at + OVERHEAD_BYTES + claim.unsigned_abs() as usize;
        if end > set.len() {
            break;
        }
        let message = Message::read(&set.slice(at..end))?;
        if message.attributes & 7 != 0 {
            return Err(Fault::Legacy("compressed message inside a compressed one"));
        }
        messages.push(message);
        if (set.len() + messages.len() * TAKEN_BYTES) as u64 > bound {
            return Err(Fault::Bomb { bound });
        }
        at = end;
    }
    Ok(messages)
}

/// The offset of the first record of a v0 or v1 message, which only its inside tells.
pub fn first_offset(batch: &BatchView, bound: u64) -> Result<Offset, Fault> {
    if !batch.is_compressed() {
        return Ok(batch.base_offset);
    }
    let records = read(batch, bound)?;
    Ok(records
        .first()
        .map_or(batch.base_offset, |record| record.offset))
}

/// Why a set cannot be shown to an old consumer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DownConvertError {
    /// Kafka: UNSUPPORTED_COMPRESSION_TYPE.
    #[error("down-conversion of zstandard-compressed batches is not supported")]
    Zstd,
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// How much is rewritten at a time (`LazyDownConversionRecords`).
const RUN_BYTES: usize = 128 << 10;

/// Rewrites a record set for consumers of format `magic` (0 or 1); what is that old already is
/// kept as it is. Control batches are left out, headers are lost, offsets stay. Records below
/// `from` are left out where they stand uncompressed. What comes out is no longer than the set or,
/// if that alone is longer, its first batch: the rest is cut off, as at the end of any fetch. No
/// batch may unpack to more than `bound`, nor become longer than that.
pub fn down_convert(
    set: &Bytes,
    magic: u8,
    from: Offset,
    bound: u64,
) -> Result<Bytes, DownConvertError> {
    let mut out = Vec::new();
    // Kafka: the first batch is rewritten alone, the others in runs of some size, and a run that
    // cannot be rewritten is left out where anything lies before it.
    let (mut kept, mut run_bytes) = (0, 0);
    let mut bytes_max = None;
    for batch in split(set) {
        let batch = batch?;
        if batch.is_control() {
            continue;
        }
        if (kept == 0 && !out.is_empty()) || run_bytes >= RUN_BYTES {
            (kept, run_bytes) = (out.len(), 0);
            // Kafka: `LazyDownConversionRecords.sizeInBytes`.
            if kept >= *bytes_max.get_or_insert(kept.max(set.len())) {
                break;
            }
        }
        run_bytes += batch.bytes().len();
        let codec = batch.codec()?;
        if codec == Codec::Zstd {
            if kept == 0 {
                return Err(DownConvertError::Zstd);
            }
            out.truncate(kept);
            break;
        }
        if batch.magic <= magic {
            out.extend_from_slice(batch.bytes());
            continue;
        }
        let append_time =
            (batch.timestamp_type() == TimestampType::LogAppend).then_some(batch.max_timestamp_ms);
        let mut messages = SetWriter::new(magic, codec, append_time);
        for record in batch.records(bound)? {
            let record = record?;
            // Kafka: inside compressed batches all are kept (RecordsUtil), lest the consumer
            // sees nothing at all of a batch and asks again.
            if codec != Codec::None || record.offset >= from {
                messages.push(&record)?;
            }
            if messages.set.len() as u64 > bound {
                return Err(Fault::Bomb { bound }.into());
            }
        }
        messages.finish(&mut out)?;
    }
    out.truncate(bytes_max.unwrap_or(usize::MAX));
    Ok(out.into())
}

/// Writes records as messages of format `magic`, wrapped into one where a codec is named.
pub fn write_set(
    records: &[Record],
    magic: u8,
    codec: Codec,
    append_time_ms: Option<i64>,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let mut messages = SetWriter::new(magic, codec, append_time_ms);
    for record in records {
        messages.push(record)?;
    }
    messages.finish(out)
}

/// Takes records one by one, so that nobody holds all of a batch unpacked.
struct SetWriter {
    magic: u8,
    codec: Codec,
    append_time_ms: Option<i64>,
    mark: u8,
    /// Where offsets inside a wrapper count from, once the first is there.
    base: Option<i64>,
    last: Offset,
    max_timestamp_ms: i64,
    set: Vec<u8>,
}

impl SetWriter {
    fn new(magic: u8, codec: Codec, append_time_ms: Option<i64>) -> Self {
        let is_marked = append_time_ms.is_some() && magic > 0;
        SetWriter {
            magic,
            codec,
            append_time_ms,
            mark: if is_marked { BIT_APPEND_TIME } else { 0 },
            base: None,
            last: Offset(0),
            max_timestamp_ms: NO_TIMESTAMP,
            set: Vec::new(),
        }
    }

    fn push(&mut self, record: &Record) -> Result<(), Fault> {
        // v1 counts from the first inside a wrapper.
        let counts = self.magic > 0 && self.codec != Codec::None;
        let first = if counts { record.offset.0 } else { 0 };
        let base = *self.base.get_or_insert(first);
        let timestamp_ms = self.append_time_ms.unwrap_or(record.timestamp_ms);
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
        self.last = record.offset;
        let head = Head {
            offset: record.offset - Offset(base),
            magic: self.magic,
            bits: self.mark,
            timestamp_ms,
        };
        head.write(
            record.key.as_deref(),
            record.value.as_deref(),
            &mut self.set,
        )
    }

    /// Adds what was taken, wrapped into one message where a codec is named.
    fn finish(self, out: &mut Vec<u8>) -> Result<(), Fault> {
        if self.base.is_none() || self.codec == Codec::None {
            out.extend_from_slice(&self.set);
            return Ok(());
        }
        let mut packed = Vec::new();
        Compression::from(self.codec).compress(self.magic, &self.set, &mut packed)?;
        let head = Head {
            offset: self.last.0,
            magic: self.magic,
            bits: self.mark | self.codec.id(),
            timestamp_ms: self.max_timestamp_ms,
        };
        head.write(None, Some(&packed), out)
    }
}

struct Head {
    offset: i64,
    magic: u8,
    bits: u8,
    timestamp_ms: i64,
}

impl Head {
    fn write(
        &self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        const TOO_LONG: Fault = Fault::Legacy("message is longer than 2 GiB");
        let fields = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        let size = if self.magic == 0 { BYTES_V0 } else { BYTES_V1 } + fields;
        let claim = i32::try_from(size).map_err(|_| TOO_LONG)?;
        out.extend_from_slice(&self.offset.to_be_bytes());
        out.extend_from_slice(&claim.to_be_bytes());
        let at = out.len();
        out.extend_from_slice(&[0, 0, 0, 0, self.magic, self.bits]);
        if self.magic > 0 {
            out.extend_from_slice(&self.timestamp_ms.to_be_bytes());
        }
        for field in [key, value] {
            let len = field.map_or(Ok(-1), |bytes| i32::try_from(bytes.len()));
            out.extend_from_slice(&len.map_err(|_| TOO_LONG)?.to_be_bytes());
            out.extend_from_slice(field.unwrap_or_default());
        }
        let crc = crc32fast::hash(&out[at + 4..]);
        out[at..at + 4].copy_from_slice(&crc.to_be_bytes());
        Ok(())
    }
}
