//! The check at the door: what a producer sent is looked at once, completely, before it may be
//! stored; afterwards nobody looks again.
//!
//! ```text
//! from a client: size → magic → CRC → counts and flags → each record's outline → timestamps
//! from a leader: size → magic → CRC → order of offsets
//! ```
//!
//! What comes out for the leader is always one v2 batch, counted from offset 0, whose header is
//! patched beside the bytes: nothing is copied unless the format or the codec must change.
//! Kafka: LogValidator and UnifiedLog.analyzeAndValidateRecords.
//!
//! Hot path: no allocation and one pass over the bytes for the CRC, one over the outlines of the
//! records; compressed records stream through one small buffer.

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use crate::batch::compress::Decompressor;
use crate::batch::records::{Input, Outline, Slice, Stream, outline};
use crate::batch::view::{
    AT_ATTRIBUTES, BIT_APPEND_TIME, HEADER_BYTES, NO_TIMESTAMP, patch_offset_epoch,
};
use crate::batch::{
    BatchBuilder, BatchView, BuildError, Codec, Compression, Fault, Header, Record, TimestampType,
    split,
};
use crate::ids::{LeaderEpoch, Offset, TopicPartition};

/// Faulty records a refusal tells of; Kafka tells of all, which a hostile client could make many.
const RECORD_ERRORS_MAX: usize = 1000;

/// Who appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A producer: nothing is taken on trust.
    Client,
    /// This broker's own coordinators, whose markers and offsets are well made.
    Coordinator,
}

/// What the topic and the broker ask of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Whom a refusal names.
    pub partition: &'a TopicPartition,
    pub origin: Origin,
    /// `max.message.bytes`.
    pub message_bytes_max: usize,
    /// `cleanup.policy` contains `compact`: records need keys.
    pub compacted: bool,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`, or what `…difference.max.ms` makes of it.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`, or what `…difference.max.ms` makes of it.
    pub timestamp_after_max_ms: i64,
    /// `compression.type` and its level; `None` for `producer`.
    pub compression: Option<Compression>,
    /// The most one batch may decompress to.
    pub decompressed_bytes_max: u64,
    pub now_ms: i64,
}

/// One record that cannot be taken, as Produce answers of version 8 and up tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    pub batch_index: i32,
    pub message: String,
}

/// Why a record set is not taken. Each variant is one Kafka error code.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("{0}")]
    Corrupt(String),
    #[error("{message}")]
    TooLarge { message: String },
    #[error("{message}")]
    InvalidRecord {
        message: String,
        records: Vec<RecordError>,
    },
    #[error("{message}")]
    InvalidTimestamp {
        message: String,
        records: Vec<RecordError>,
    },
    #[error("{0}")]
    UnsupportedCompression(String),
    /// Kafka has no better word where decompression fails or a codec is unknown.
    #[error("{0}")]
    Unreadable(String),
}

impl Refusal {
    fn invalid(message: impl Into<String>) -> Self {
        Refusal::InvalidRecord {
            message: message.into(),
            records: Vec::new(),
        }
    }

    /// The number on the wire.
    pub fn error_code(&self) -> i16 {
        match self {
            Refusal::Corrupt(_) => 2,
            Refusal::TooLarge { .. } => 10,
            Refusal::InvalidTimestamp { .. } => 32,
            Refusal::UnsupportedCompression(_) => 76,
            Refusal::InvalidRecord { .. } => 87,
            Refusal::Unreadable(_) => -1,
        }
    }

    pub fn record_errors(&self) -> &[RecordError] {
        match self {
            Refusal::InvalidRecord { records, .. } | Refusal::InvalidTimestamp { records, .. } => {
                records
            }
            _ => &[],
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Record(_) | Fault::Legacy(_) => Refusal::invalid(fault.to_string()),
            Fault::UnknownCodec(_) | Fault::Compressed { .. } | Fault::Bomb { .. } => {
                Refusal::Unreadable(fault.to_string())
            }
            Fault::Short | Fault::Size(_) | Fault::Magic(_) | Fault::Crc { .. } => {
                Refusal::Corrupt(fault.to_string())
            }
        }
    }
}

impl From<BuildError> for Refusal {
    fn from(error: BuildError) -> Self {
        Refusal::invalid(error.to_string())
    }
}

/// A batch that passed: one v2 batch whose offsets count from 0 until [`Checked::place`].
#[derive(Clone, Debug)]
pub struct Checked {
    // The original bytes; their first 61 are overruled by `head`.
    bytes: Bytes,
    head: [u8; HEADER_BYTES],
    header: Header,
    append_time_ms: Option<i64>,
}

impl Checked {
    /// The header as it will be stored, but for offset and epoch before [`Checked::place`].
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes it takes in the log.
    pub fn size(&self) -> usize {
        self.header.size
    }

    /// How many offsets it takes.
    pub fn offsets(&self) -> i64 {
        i64::from(self.header.last_offset_delta) + 1
    }

    /// The largest timestamp inside, −1 for none; its offset for the time index is the last one.
    pub fn max_timestamp_ms(&self) -> i64 {
        self.header.max_timestamp_ms
    }

    /// The broker's time, where the topic stamps with it.
    pub fn append_time_ms(&self) -> Option<i64> {
        self.append_time_ms
    }

    /// Says where in the log the batch begins.
    pub fn place(&mut self, base_offset: Offset, epoch: LeaderEpoch) {
        self.header.base_offset = base_offset;
        self.header.leader_epoch = epoch;
        patch_offset_epoch(&mut self.head, base_offset, epoch);
    }

    /// The two parts to write, header first.
    pub fn parts(&self) -> [&[u8]; 2] {
        [&self.head, &self.bytes[HEADER_BYTES..]]
    }

    /// As one piece: in place where nobody else holds the bytes, else copied.
    pub fn into_bytes(self) -> Bytes {
        let mut bytes = self
            .bytes
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        bytes[..HEADER_BYTES].copy_from_slice(&self.head);
        bytes.freeze()
    }

    fn of(view: BatchView, header: Header, append_time_ms: Option<i64>) -> Checked {
        let mut head = [0; HEADER_BYTES];
        head.copy_from_slice(&view.bytes()[..HEADER_BYTES]);
        Checked {
            bytes: view.into_bytes(),
            head,
            header,
            append_time_ms,
        }
    }
}

/// Checks what a producer (or a coordinator of this broker) hands to the leader. `None` where
/// there is not one whole batch to append.
pub fn check_for_leader(set: &Bytes, rules: &Rules<'_>) -> Result<Option<Checked>, Refusal> {
    let Some(source) = check_outside(set, rules)? else {
        return Ok(None);
    };
    let target = rules.compression.unwrap_or(source.codec.into());
    let first = &source.first;
    if first.magic == 2 {
        check_flags(first, rules)?;
        // Kafka: control records stay uncompressed unless they came compressed.
        if source.codec == target.codec || (first.is_control() && source.codec == Codec::None) {
            let max_timestamp_ms = check_inside(first, rules)?;
            return Ok(Some(keep(source.first, max_timestamp_ms, rules)));
        }
    }
    convert(set, &source, target, rules).map(Some)
}

/// What is known of a set after its outside was checked.
struct Source {
    first: BatchView,
    codec: Codec,
}

/// Sizes, magics, CRCs and codecs of all batches, and that there is one only where it matters.
fn check_outside(set: &Bytes, rules: &Rules<'_>) -> Result<Option<Source>, Refusal> {
    let mut first: Option<BatchView> = None;
    let mut codec = Codec::None;
    let mut batches = 0usize;
    for batch in split(set) {
        let batch = batch?;
        if batch.magic == 2 && rules.origin == Origin::Client && batch.base_offset.0 != 0 {
            return Err(Refusal::invalid(format!(
                "The baseOffset of the record batch in the append to {} should be 0, but it is {}",
                rules.partition, batch.base_offset
            )));
        }
        if batch.size > rules.message_bytes_max {
            return Err(too_large(batch.size, rules));
        }
        if let Err(Fault::Crc { stored, .. }) = batch.check_crc() {
            return Err(Refusal::Corrupt(format!(
                "Record is corrupt (stored crc = {stored}) in topic partition {}.",
                rules.partition
            )));
        }
        match batch.codec()? {
            Codec::None => {}
            other => codec = other,
        }
        batches += 1;
        first.get_or_insert(batch);
    }
    let Some(first) = first else { return Ok(None) };
    if batches > 1 && (first.magic == 2 || codec != Codec::None) {
        return Err(Refusal::invalid(
            "Compressed outer record has more than one batch",
        ));
    }
    Ok(Some(Source { first, codec }))
}

fn too_large(size: usize, rules: &Rules<'_>) -> Refusal {
    let message = format!(
        "The record batch size in the append to {} is {size} bytes which exceeds the maximum \
         configured value of {}.",
        rules.partition, rules.message_bytes_max
    );
    Refusal::TooLarge { message }
}

/// The header of a v2 batch against what its sender may claim.
fn check_flags(batch: &BatchView, rules: &Rules<'_>) -> Result<(), Refusal> {
    if rules.origin != Origin::Client {
        return Ok(());
    }
    let offsets = i64::from(batch.last_offset_delta) + 1;
    if offsets <= 0 {
        return Err(Refusal::invalid(format!(
            "Batch has an invalid offset range: [{}, {}] in topic partition {}",
            batch.base_offset,
            batch.last_offset(),
            rules.partition
        )));
    }
    if batch.count <= 0 {
        return Err(Refusal::invalid(format!(
            "Invalid reported count for record batch: {} in topic partition {}",
            batch.count, rules.partition
        )));
    }
    if offsets != i64::from(batch.count) {
        return Err(Refusal::invalid(format!(
            "Inconsistent batch offset range [{}, {}] and count of records {} in topic partition {}",
            batch.base_offset,
            batch.last_offset(),
            batch.count,
            rules.partition
        )));
    }
    if batch.is_control() {
        return Err(Refusal::invalid(format!(
            "Clients are not allowed to write control records in topic partition {}",
            rules.partition
        )));
    }
    if batch.has_producer_id() && batch.base_sequence < 0 {
        return Err(Refusal::invalid(format!(
            "Invalid sequence number {} in record batch with producerId {} in topic partition {}",
            batch.base_sequence, batch.producer_id, rules.partition
        )));
    }
    Ok(())
}

/// Walks over the records of a v2 batch without keeping any; gives the largest timestamp.
fn check_inside(batch: &BatchView, rules: &Rules<'_>) -> Result<i64, Refusal> {
    let body = batch.bytes().slice(HEADER_BYTES..);
    match Decompressor::open(batch.codec()?, 2, body, rules.decompressed_bytes_max)? {
        Some(stream) => walk(&mut Stream::over(stream), batch, rules),
        None => walk(&mut Slice::of(batch), batch, rules),
    }
}

fn walk(input: &mut impl Input, batch: &BatchView, rules: &Rules<'_>) -> Result<i64, Refusal> {
    let mut errors = RecordErrors::default();
    let mut max_timestamp_ms = NO_TIMESTAMP;
    let append_time = batch.timestamp_type() == TimestampType::LogAppend;
    for index in 0..batch.count {
        let Outline {
            timestamp_delta,
            offset_delta,
            has_key,
        } = outline(input)?;
        // Kafka takes sparse deltas of an uncompressed batch as they are; consumers then see
        // offsets the log does not have. A producer that counts is never refused by this.
        if offset_delta != index {
            return Err(Refusal::invalid(format!(
                "Record {index} of the batch has offset delta {offset_delta} in topic partition {}",
                rules.partition
            )));
        }
        let timestamp_ms = if append_time {
            batch.max_timestamp_ms
        } else {
            (batch.base_timestamp_ms.checked_add(timestamp_delta))
                .ok_or(Fault::Record("timestamp overflows"))?
        };
        max_timestamp_ms = max_timestamp_ms.max(timestamp_ms);
        errors.check(index, has_key, timestamp_ms, append_time, rules);
    }
    if !input.is_at_end()? {
        return Err(Fault::Record("bytes remain behind the last record").into());
    }
    errors.refuse()?;
    Ok(max_timestamp_ms)
}

/// Leaves the batch as it came; the header alone may change.
fn keep(view: BatchView, max_timestamp_ms: i64, rules: &Rules<'_>) -> Checked {
    let mut header = *view.header();
    let append_time_ms = (rules.timestamp_type == TimestampType::LogAppend).then_some(rules.now_ms);
    let stored_ms = append_time_ms.unwrap_or(max_timestamp_ms);
    let stamped = header.timestamp_type() == rules.timestamp_type;
    if stamped && header.max_timestamp_ms == stored_ms {
        return Checked::of(view, header, append_time_ms);
    }
    header.max_timestamp_ms = stored_ms;
    // Kafka: attributes are one byte when it rewrites them, the second is dropped.
    header.attributes &= 0x77;
    if append_time_ms.is_some() {
        header.attributes |= BIT_APPEND_TIME;
    }
    let mut checked = Checked::of(view, header, append_time_ms);
    checked.head[AT_ATTRIBUTES..AT_ATTRIBUTES + 2]
        .copy_from_slice(&header.attributes.to_be_bytes());
    checked.head[35..43].copy_from_slice(&header.max_timestamp_ms.to_be_bytes());
    let crc = crc32c::crc32c(&checked.head[AT_ATTRIBUTES..]);
    let crc = crc32c::crc32c_append(crc, &checked.bytes[HEADER_BYTES..]);
    checked.head[17..21].copy_from_slice(&crc.to_be_bytes());
    checked.header.crc = crc;
    checked
}

/// Writes the records anew: into format v2, or with the codec the topic asks for.
fn convert(
    set: &Bytes,
    source: &Source,
    target: Compression,
    rules: &Rules<'_>,
) -> Result<Checked, Refusal> {
    let first = &source.first;
    let mut builder = BatchBuilder::new(target)
        .producer(first.producer_id, first.producer_epoch, first.base_sequence)
        .transactional(first.is_transactional())
        .control(first.is_control());
    let append_time_ms = (rules.timestamp_type == TimestampType::LogAppend).then_some(rules.now_ms);
    if let Some(now_ms) = append_time_ms {
        builder = builder.log_append_time(now_ms);
    }
    let mut offset = 0;
    for batch in split(set) {
        let batch = batch?;
        if batch.magic != first.magic {
            return Err(Refusal::invalid(format!(
                "Batch magic {} is not the same as the first batch's magic byte {} in topic partition {}",
                batch.magic, first.magic, rules.partition
            )));
        }
        convert_records(&batch, &mut builder, &mut offset, rules)?;
    }
    let bytes = builder.build()?;
    let view = BatchView::open(&bytes)?.ok_or(Fault::Short)?;
    if view.size > rules.message_bytes_max {
        return Err(too_large(view.size, rules));
    }
    let header = *view.header();
    Ok(Checked::of(view, header, append_time_ms))
}

fn convert_records(
    batch: &BatchView,
    builder: &mut BatchBuilder,
    offset: &mut i64,
    rules: &Rules<'_>,
) -> Result<(), Refusal> {
    let append_time = batch.timestamp_type() == TimestampType::LogAppend;
    let mut errors = RecordErrors::default();
    for (index, record) in batch.records(rules.decompressed_bytes_max)?.enumerate() {
        let record = record?;
        let index = i32::try_from(index).unwrap_or(i32::MAX);
        check_message(batch, &record, rules)?;
        errors.check(
            index,
            record.key.is_some(),
            record.timestamp_ms,
            append_time,
            rules,
        );
        if errors.is_empty() {
            builder.push_record(Offset(*offset), &record)?;
            *offset += 1;
        }
    }
    errors.refuse()
}

/// What is compressed in a v0 or v1 message has checksums of its own.
fn check_message(batch: &BatchView, record: &Record, rules: &Rules<'_>) -> Result<(), Refusal> {
    let Some(mark) = record.message else {
        return Ok(());
    };
    if mark.magic != batch.magic {
        return Err(Refusal::invalid(format!(
            "Record's magic {} does not match outer magic {} in topic partition {}",
            mark.magic, batch.magic, rules.partition
        )));
    }
    if mark.crc != mark.crc_computed {
        return Err(Refusal::Corrupt(format!(
            "Record is corrupt (stored crc = {}, computed crc = {}) in topic partition {}",
            mark.crc, mark.crc_computed, rules.partition
        )));
    }
    Ok(())
}

/// Faults of single records, gathered over a batch.
#[derive(Default)]
struct RecordErrors {
    told: Vec<RecordError>,
    count: usize,
    any_timestamp: bool,
}

impl RecordErrors {
    fn is_empty(&self) -> bool {
        self.count == 0
    }

    #[inline]
    fn check(
        &mut self,
        index: i32,
        has_key: bool,
        timestamp_ms: i64,
        stamped: bool,
        rules: &Rules<'_>,
    ) {
        if rules.compacted && !has_key {
            return self.note(index, keyless(rules));
        }
        if rules.timestamp_type == TimestampType::Create && timestamp_ms != NO_TIMESTAMP {
            let age_ms = rules.now_ms.wrapping_sub(timestamp_ms);
            if age_ms > rules.timestamp_before_max_ms
                || age_ms.wrapping_neg() > rules.timestamp_after_max_ms
            {
                self.any_timestamp = true;
                self.note(index, out_of_range(index, timestamp_ms, rules));
            }
        } else if stamped {
            self.any_timestamp = true;
            let message = "Invalid timestamp type in message. Producer should not set timestamp \
                           type to LogAppendTime.";
            self.note(index, message.to_owned());
        }
    }

    #[cold]
    fn note(&mut self, batch_index: i32, message: String) {
        self.count += 1;
        if self.told.len() < RECORD_ERRORS_MAX {
            self.told.push(RecordError {
                batch_index,
                message,
            });
        }
    }

    fn refuse(self) -> Result<(), Refusal> {
        if self.count == 0 {
            return Ok(());
        }
        if self.any_timestamp {
            let message = "One or more records have been rejected due to invalid timestamp";
            return Err(Refusal::InvalidTimestamp {
                message: message.to_owned(),
                records: self.told,
            });
        }
        let shown: Vec<String> = (self.told.iter().take(3))
            .map(|e| {
                format!(
                    "RecordError(batchIndex={}, message='{}')",
                    e.batch_index, e.message
                )
            })
            .collect();
        let message = format!(
            "One or more records have been rejected due to {} record errors in total, and only \
             showing the first three errors at most: [{}]",
            self.count,
            shown.join(", ")
        );
        Err(Refusal::InvalidRecord {
            message,
            records: self.told,
        })
    }
}

#[cold]
fn keyless(rules: &Rules<'_>) -> String {
    format!(
        "Compacted topic cannot accept message without key in topic partition {}",
        rules.partition
    )
}

#[cold]
fn out_of_range(index: i32, timestamp_ms: i64, rules: &Rules<'_>) -> String {
    format!(
        "Timestamp {timestamp_ms} of message with offset {index} is out of range. The timestamp \
         should be within [{}, {}]",
        rules.now_ms.wrapping_sub(rules.timestamp_before_max_ms),
        rules.now_ms.wrapping_add(rules.timestamp_after_max_ms)
    )
}

/// What a follower learns of a set its leader sent.
#[derive(Clone, Debug)]
pub struct Replicated {
    /// The headers of all whole batches.
    pub batches: Vec<Header>,
    /// Bytes of whole batches; behind them the answer was cut.
    pub size: usize,
    /// Each batch ends above the one before it.
    pub in_order: bool,
    pub max_timestamp_ms: i64,
    /// The last offset of the earliest batch that has [`Replicated::max_timestamp_ms`]; −1 for none.
    pub offset_of_max_timestamp: Offset,
}

/// Checks what a leader sent to this follower. It was checked inside by the leader; here only
/// that it arrived as it was sent.
pub fn check_for_follower(set: &Bytes) -> Result<Replicated, Refusal> {
    let mut found = Replicated {
        batches: Vec::new(),
        size: 0,
        in_order: true,
        max_timestamp_ms: NO_TIMESTAMP,
        offset_of_max_timestamp: Offset::NONE,
    };
    let mut last = Offset::NONE;
    for batch in split(set) {
        let batch = batch?;
        batch.check_crc()?;
        batch.codec()?;
        found.in_order &= last < batch.last_offset();
        last = batch.last_offset();
        if batch.max_timestamp_ms > found.max_timestamp_ms {
            found.max_timestamp_ms = batch.max_timestamp_ms;
            found.offset_of_max_timestamp = last;
        }
        found.size += batch.size;
        found.batches.push(*batch.header());
    }
    Ok(found)
}
