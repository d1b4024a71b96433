//! The records of a batch, read one by one as they are asked for.
//!
//! From an uncompressed batch keys and values are slices of the batch itself, not copies; from a
//! compressed one the stream is read as far as the caller goes. Messages of formats v0 and v1 come
//! out as the same records, without headers.

use bytes::{Buf, Bytes, BytesMut};

use crate::batch::compress::Decompressor;
use crate::batch::view::{AT_MAGIC, BatchView, HEADER_BYTES, NO_SEQUENCE, next_sequence};
use crate::batch::{Fault, TimestampType, legacy, varint};
use crate::ids::Offset;

/// What is asked of a decompressor at a time.
const CHUNK_BYTES: usize = 16 << 10;

/// One record. Clones share the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: Offset,
    /// The batch's, where the broker's clock decides.
    pub timestamp_ms: i64,
    /// −1 where no producer numbers its records.
    pub sequence: i32,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: RecordHeaders,
    /// Bytes it takes, uncompressed, its length included.
    pub size: usize,
    /// Formats v0 and v1: each message has its own checksum.
    pub message: Option<MessageMark>,
}

/// What only a message of format v0 or v1 carries itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageMark {
    pub magic: u8,
    pub crc: u32,
    pub crc_computed: u32,
}

/// The headers of a record, in order, duplicates kept. Read again at each walk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordHeaders {
    count: usize,
    // Invariant: walked once without a fault when the record was read.
    bytes: Bytes,
}

impl RecordHeaders {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Key (UTF-8 by convention, not checked) and value.
    pub fn iter(&self) -> impl Iterator<Item = (Bytes, Option<Bytes>)> + '_ {
        let mut at = 0;
        (0..self.count).map_while(move |_| {
            let mut rest = &self.bytes[at..];
            let key = take_sized(&self.bytes, &mut rest).ok()??;
            let value = take_sized(&self.bytes, &mut rest).ok()?;
            at = self.bytes.len() - rest.len();
            Some((key, value))
        })
    }

    /// As they stand in the record, without their count.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The walk over a batch's records. After a fault it is over.
pub struct Records {
    frame: Frame,
    source: Source,
    left: i32,
    over: bool,
}

/// What a record needs of its batch.
#[derive(Clone, Copy)]
struct Frame {
    base_offset: i64,
    base_timestamp_ms: i64,
    append_time_ms: Option<i64>,
    base_sequence: i32,
}

enum Source {
    Plain(Bytes),
    Packed {
        stream: Box<Decompressor>,
        buffer: BytesMut,
    },
    Messages(std::vec::IntoIter<Record>),
}

impl Records {
    pub(crate) fn open(batch: &BatchView, bound: u64) -> Result<Records, Fault> {
        if batch.magic < 2 {
            let messages = legacy::read(batch, bound)?;
            let left = i32::try_from(messages.len()).map_err(|_| Fault::Legacy("too long"))?;
            let source = Source::Messages(messages.into_iter());
            return Ok(Records {
                frame: Frame::of(batch),
                source,
                left,
                over: false,
            });
        }
        if batch.count < 0 {
            return Err(Fault::Record("negative record count"));
        }
        let body = batch.bytes().slice(HEADER_BYTES..);
        let codec = batch.codec()?;
        // Behind a count of zero there may be no stream at all.
        let stream = match batch.count {
            0 => None,
            _ => Decompressor::open(codec, 2, body.clone(), bound)?,
        };
        let source = match stream {
            Some(stream) => Source::Packed {
                stream: Box::new(stream),
                buffer: BytesMut::new(),
            },
            None => Source::Plain(body),
        };
        // Kafka: behind a count of zero nothing is looked at.
        let over = batch.count == 0;
        Ok(Records {
            frame: Frame::of(batch),
            source,
            left: batch.count,
            over,
        })
    }

    fn read(&mut self) -> Result<Option<Record>, Fault> {
        match &mut self.source {
            Source::Messages(messages) => Ok(messages.next()),
            Source::Plain(rest) if self.left == 0 => end_of(rest.is_empty()),
            Source::Plain(rest) => {
                let mut front = &rest[..];
                let len = record_len(varint::take_i32(&mut front)?)?;
                if len > front.len() {
                    return Err(Fault::Record("record is longer than its batch"));
                }
                let prefix = rest.len() - front.len();
                rest.advance(prefix);
                let body = rest.split_to(len);
                self.frame.record(body, prefix + len).map(Some)
            }
            Source::Packed { stream, buffer } if self.left == 0 => {
                end_of(buffer.is_empty() && stream.read(&mut [0])? == 0)
            }
            Source::Packed { stream, buffer } => {
                let len = record_len(varint::read_i32(|| {
                    fill(stream, buffer, 1)?;
                    Ok(buffer.get_u8())
                })?)?;
                fill(stream, buffer, len)?;
                let body = buffer.split_to(len).freeze();
                let prefix = varint::len_i32(i32::try_from(len).unwrap_or(i32::MAX));
                self.frame.record(body, prefix + len).map(Some)
            }
        }
    }
}

impl Iterator for Records {
    type Item = Result<Record, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let read = self.read();
        self.left = self.left.saturating_sub(1);
        self.over = !matches!(read, Ok(Some(_)));
        read.transpose()
    }
}

impl Frame {
    fn of(batch: &BatchView) -> Frame {
        Frame {
            base_offset: batch.base_offset.0,
            base_timestamp_ms: batch.base_timestamp_ms,
            append_time_ms: (batch.timestamp_type() == TimestampType::LogAppend)
                .then_some(batch.max_timestamp_ms),
            base_sequence: batch.base_sequence,
        }
    }

    /// Reads one record from exactly its bytes, length prefix taken off.
    fn record(&self, body: Bytes, size: usize) -> Result<Record, Fault> {
        let mut rest = &body[..];
        // Attributes: one byte, unused.
        rest = rest
            .get(1..)
            .ok_or(Fault::Record("record ends inside a field"))?;
        let timestamp_delta = varint::take_i64(&mut rest)?;
        let offset_delta = varint::take_i32(&mut rest)?;
        let key = take_sized(&body, &mut rest)?;
        let value = take_sized(&body, &mut rest)?;
        let headers = take_headers(&body, &mut rest)?;
        let timestamp_ms = match self.append_time_ms {
            Some(time) => time,
            None => (self.base_timestamp_ms.checked_add(timestamp_delta))
                .ok_or(Fault::Record("timestamp overflows"))?,
        };
        let offset = (self.base_offset.checked_add(i64::from(offset_delta)))
            .ok_or(Fault::Record("offset overflows"))?;
        let sequence = match self.base_sequence {
            base if base >= 0 => next_sequence(base, offset_delta),
            _ => NO_SEQUENCE,
        };
        let offset = Offset(offset);
        Ok(Record {
            offset,
            timestamp_ms,
            sequence,
            key,
            value,
            headers,
            size,
            message: None,
        })
    }
}

fn end_of(nothing_left: bool) -> Result<Option<Record>, Fault> {
    if nothing_left {
        Ok(None)
    } else {
        Err(Fault::Record("bytes remain behind the last record"))
    }
}

fn record_len(claim: i32) -> Result<usize, Fault> {
    usize::try_from(claim).map_err(|_| Fault::Record("negative record length"))
}

/// Reads until `buffer` holds `len` bytes; it grows only by what really comes.
fn fill(stream: &mut Decompressor, buffer: &mut BytesMut, len: usize) -> Result<(), Fault> {
    while buffer.len() < len {
        let filled = buffer.len();
        buffer.resize(filled + CHUNK_BYTES, 0);
        let got = stream.read(&mut buffer[filled..])?;
        buffer.truncate(filled + got);
        if got == 0 {
            return Err(Fault::Record("records end before their count is reached"));
        }
    }
    Ok(())
}

/// A length and that many bytes; any negative length is null. `rest` is a tail of `whole`.
fn take_sized(whole: &Bytes, rest: &mut &[u8]) -> Result<Option<Bytes>, Fault> {
    let len = varint::take_i32(rest)?;
    let Ok(len) = usize::try_from(len) else {
        return Ok(None);
    };
    if len > rest.len() {
        return Err(Fault::Record("field is longer than its record"));
    }
    let at = whole.len() - rest.len();
    *rest = &rest[len..];
    Ok(Some(whole.slice(at..at + len)))
}

fn take_headers(body: &Bytes, rest: &mut &[u8]) -> Result<RecordHeaders, Fault> {
    let count = varint::take_i32(rest)?;
    let Ok(count) = usize::try_from(count) else {
        return Err(Fault::Record("negative header count"));
    };
    if count > rest.len() {
        return Err(Fault::Record("more headers than bytes"));
    }
    let start = body.len() - rest.len();
    let mut walk = *rest;
    for _ in 0..count {
        let mut field = |is_key: bool| {
            let len = varint::take_i32(&mut walk)?;
            if is_key && len < 0 {
                return Err(Fault::Record("header without a key"));
            }
            let len = usize::try_from(len).unwrap_or(0);
            walk = walk
                .get(len..)
                .ok_or(Fault::Record("header is longer than its record"))?;
            Ok(())
        };
        field(true)?;
        field(false)?;
    }
    if !walk.is_empty() {
        return Err(Fault::Record("bytes remain behind the last header"));
    }
    *rest = walk;
    Ok(RecordHeaders {
        count,
        bytes: if count == 0 {
            Bytes::new()
        } else {
            body.slice(start..)
        },
    })
}

/// The outline of a record: all that the check at the door looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outline {
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: i32,
    pub(crate) has_key: bool,
}

/// Where outlines are read from: bytes at hand, or a stream that keeps nothing.
pub(crate) trait Input {
    fn byte(&mut self) -> Result<u8, Fault>;
    fn skip(&mut self, len: usize) -> Result<(), Fault>;
    /// Bytes taken so far.
    fn position(&self) -> u64;
    fn is_at_end(&mut self) -> Result<bool, Fault>;
}

/// Reads past one record.
#[inline]
pub(crate) fn outline(input: &mut impl Input) -> Result<Outline, Fault> {
    let len = record_len(varint::read_i32(|| input.byte())?)?;
    let end = input.position() + len as u64;
    input.skip(1)?;
    let timestamp_delta = varint::read_i64(|| input.byte())?;
    let offset_delta = varint::read_i32(|| input.byte())?;
    let key_len = varint::read_i32(|| input.byte())?;
    input.skip(usize::try_from(key_len).unwrap_or(0))?;
    let value_len = varint::read_i32(|| input.byte())?;
    input.skip(usize::try_from(value_len).unwrap_or(0))?;
    let headers = varint::read_i32(|| input.byte())?;
    if headers < 0 {
        return Err(Fault::Record("negative header count"));
    }
    // Each header takes two bytes at least, so this loop ends with the input.
    for _ in 0..headers {
        let len = varint::read_i32(|| input.byte())?;
        input.skip(record_len(len).map_err(|_| Fault::Record("header without a key"))?)?;
        let len = varint::read_i32(|| input.byte())?;
        input.skip(usize::try_from(len).unwrap_or(0))?;
    }
    if input.position() != end {
        return Err(Fault::Record("record length and its fields disagree"));
    }
    Ok(Outline {
        timestamp_delta,
        offset_delta,
        has_key: key_len >= 0,
    })
}

/// Bytes at hand.
pub(crate) struct Slice<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Slice<'a> {
    /// The records of an uncompressed v2 batch.
    pub(crate) fn of(batch: &'a BatchView) -> Self {
        debug_assert!(batch.bytes()[AT_MAGIC] == 2, "only v2 has this layout");
        Slice {
            bytes: batch.bytes(),
            at: HEADER_BYTES,
        }
    }
}

impl Input for Slice<'_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, Fault> {
        let byte = self
            .bytes
            .get(self.at)
            .ok_or(Fault::Record("records end too early"))?;
        self.at += 1;
        Ok(*byte)
    }

    #[inline]
    fn skip(&mut self, len: usize) -> Result<(), Fault> {
        if len > self.bytes.len() - self.at {
            return Err(Fault::Record("records end too early"));
        }
        self.at += len;
        Ok(())
    }

    #[inline]
    fn position(&self) -> u64 {
        self.at as u64
    }

    fn is_at_end(&mut self) -> Result<bool, Fault> {
        Ok(self.at == self.bytes.len())
    }
}

/// A decompressor read through one buffer that is used again and again.
pub(crate) struct Stream {
    reader: Decompressor,
    buffer: Vec<u8>,
    at: usize,
    filled: usize,
    before: u64,
}

impl Stream {
    pub(crate) fn over(reader: Decompressor) -> Self {
        Stream {
            reader,
            buffer: vec![0; CHUNK_BYTES],
            at: 0,
            filled: 0,
            before: 0,
        }
    }

    /// True where there is more.
    fn refill(&mut self) -> Result<bool, Fault> {
        self.before += self.filled as u64;
        (self.at, self.filled) = (0, 0);
        self.filled = self.reader.read(&mut self.buffer)?;
        Ok(self.filled > 0)
    }
}

impl Input for Stream {
    #[inline]
    fn byte(&mut self) -> Result<u8, Fault> {
        if self.at == self.filled && !self.refill()? {
            return Err(Fault::Record("records end too early"));
        }
        let byte = self.buffer[self.at];
        self.at += 1;
        Ok(byte)
    }

    fn skip(&mut self, mut len: usize) -> Result<(), Fault> {
        loop {
            let step = len.min(self.filled - self.at);
            self.at += step;
            len -= step;
            if len == 0 {
                return Ok(());
            }
            if !self.refill()? {
                return Err(Fault::Record("records end too early"));
            }
        }
    }

    fn position(&self) -> u64 {
        self.before + self.at as u64
    }

    fn is_at_end(&mut self) -> Result<bool, Fault> {
        Ok(self.at == self.filled && !self.refill()?)
    }
}
