//! Builds batches: the broker's own (markers, internal topics), the tools', converted ones, and
//! what compaction leaves.

use bytes::Bytes;
use thiserror::Error;

use crate::batch::view::{
    AT_ATTRIBUTES, AT_CRC, BIT_APPEND_TIME, BIT_CONTROL, BIT_DELETE_HORIZON, BIT_TRANSACTIONAL,
    HEADER_BYTES, Header, NO_SEQUENCE, NO_TIMESTAMP, OVERHEAD_BYTES,
};
use crate::batch::{Codec, Compression, Fault, Record, varint};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

/// Why a batch cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BuildError {
    #[error("offset {offset} follows {last}")]
    OffsetNotRising { offset: i64, last: i64 },
    #[error("offset {offset} is out of reach of base offset {base}")]
    OffsetTooFar { offset: i64, base: i64 },
    #[error("timestamp {timestamp_ms} is out of reach of base timestamp {base_ms}")]
    TimestampTooFar { timestamp_ms: i64, base_ms: i64 },
    #[error("batch is longer than 2 GiB")]
    TooLong,
    #[error(transparent)]
    Compress(#[from] Fault),
}

/// A v2 batch in the making. Records are kept uncompressed until [`BatchBuilder::build`].
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    compression: Compression,
    base_offset: i64,
    last_offset: Option<i64>,
    leader_epoch: LeaderEpoch,
    attributes: i16,
    base_timestamp_ms: Option<i64>,
    max_timestamp_ms: i64,
    append_time_ms: Option<i64>,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    base_sequence: i32,
    count: i32,
    records: Vec<u8>,
    // Where the last offset of the batch is not its last record's: compaction keeps the range.
    end: Option<i64>,
}

impl BatchBuilder {
    /// A batch as a producer without an id makes it: base offset 0, no epoch, create time.
    pub fn new(compression: impl Into<Compression>) -> Self {
        BatchBuilder {
            compression: compression.into(),
            base_offset: 0,
            last_offset: None,
            leader_epoch: LeaderEpoch::NONE,
            attributes: 0,
            base_timestamp_ms: None,
            max_timestamp_ms: NO_TIMESTAMP,
            append_time_ms: None,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch(-1),
            base_sequence: NO_SEQUENCE,
            count: 0,
            records: Vec::new(),
            end: None,
        }
    }

    pub fn base_offset(mut self, offset: Offset) -> Self {
        self.base_offset = offset.0;
        self
    }

    pub fn leader_epoch(mut self, epoch: LeaderEpoch) -> Self {
        self.leader_epoch = epoch;
        self
    }

    /// Numbers the records for an idempotent producer.
    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: i32) -> Self {
        self.producer_id = id;
        self.producer_epoch = epoch;
        self.base_sequence = base_sequence;
        self
    }

    pub fn transactional(mut self, transactional: bool) -> Self {
        self.set(BIT_TRANSACTIONAL, transactional);
        self
    }

    pub fn control(mut self, control: bool) -> Self {
        self.set(BIT_CONTROL, control);
        self
    }

    /// The broker's clock decides: every record counts as of `now_ms`.
    pub fn log_append_time(mut self, now_ms: i64) -> Self {
        self.set(BIT_APPEND_TIME, true);
        self.append_time_ms = Some(now_ms);
        self
    }

    /// When compaction may drop what it kept for a while. Before the first record only.
    pub fn delete_horizon(mut self, horizon_ms: i64) -> Self {
        debug_assert!(
            self.count == 0,
            "records before it are based on another timestamp"
        );
        self.set(BIT_DELETE_HORIZON, true);
        self.base_timestamp_ms = Some(horizon_ms);
        self
    }

    /// Keeps the range of offsets of the batch it is made from, whatever is left inside.
    pub fn last_offset(mut self, offset: Offset) -> Self {
        self.end = Some(offset.0);
        self
    }

    fn set(&mut self, bit: i16, on: bool) {
        self.attributes = if on {
            self.attributes | bit
        } else {
            self.attributes & !bit
        };
    }

    pub fn count(&self) -> usize {
        self.count.unsigned_abs() as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What the batch takes if compression gains nothing.
    pub fn size_max(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// What one more record would add to [`BatchBuilder::size_max`], at most.
    pub fn record_size_max(
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> usize {
        let sized = |bytes: &[u8]| 5 + bytes.len();
        let headers: usize = headers
            .iter()
            .map(|(key, value)| sized(key) + value.map_or(1, sized))
            .sum();
        5 + 1 + 10 + 5 + key.map_or(1, sized) + value.map_or(1, sized) + 5 + headers
    }

    /// Appends a record at the next offset.
    pub fn push(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> Result<(), BuildError> {
        let next = self
            .last_offset
            .map_or(self.base_offset, |last| last.saturating_add(1));
        self.push_at(Offset(next), timestamp_ms, key, value, headers)
    }

    /// Appends a record at an offset, above all before it.
    pub fn push_at(
        &mut self,
        offset: Offset,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> Result<(), BuildError> {
        let mut raw = Vec::new();
        for (key, value) in headers {
            put_sized(&mut raw, Some(key));
            put_sized(&mut raw, *value);
        }
        let headers = (headers.len(), &raw[..]);
        self.push_raw(offset, timestamp_ms, key, value, headers)
    }

    /// Appends a record that was read from another batch, at an offset of its own.
    pub fn push_record(&mut self, offset: Offset, record: &Record) -> Result<(), BuildError> {
        let headers = (record.headers.len(), record.headers.as_bytes());
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        self.push_raw(offset, record.timestamp_ms, key, value, headers)
    }

    fn push_raw(
        &mut self,
        offset: Offset,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        (header_count, headers): (usize, &[u8]),
    ) -> Result<(), BuildError> {
        if let Some(last) = self.last_offset
            && offset.0 <= last
        {
            return Err(BuildError::OffsetNotRising {
                offset: offset.0,
                last,
            });
        }
        let offset_delta = self.delta_of(offset.0)?;
        let base_ms = *self.base_timestamp_ms.get_or_insert(timestamp_ms);
        let timestamp_delta =
            (timestamp_ms.checked_sub(base_ms)).ok_or(BuildError::TimestampTooFar {
                timestamp_ms,
                base_ms,
            })?;
        let sized = |bytes: Option<&[u8]>| {
            let len = bytes.map_or(Ok(-1), |bytes| i32::try_from(bytes.len()));
            let len = len.map_err(|_| BuildError::TooLong)?;
            Ok::<_, BuildError>(varint::len_i32(len) + bytes.map_or(0, <[u8]>::len))
        };
        let header_claim = i32::try_from(header_count).map_err(|_| BuildError::TooLong)?;
        let len = 1
            + varint::len_i64(timestamp_delta)
            + varint::len_i32(offset_delta)
            + sized(key)?
            + sized(value)?
            + varint::len_i32(header_claim)
            + headers.len();
        let claim = i32::try_from(len).map_err(|_| BuildError::TooLong)?;
        if self.records.len() + len + HEADER_BYTES + 5 > i32::MAX as usize {
            return Err(BuildError::TooLong);
        }
        let out = &mut self.records;
        varint::put_i32(out, claim);
        out.push(0);
        varint::put_i64(out, timestamp_delta);
        varint::put_i32(out, offset_delta);
        put_sized(out, key);
        put_sized(out, value);
        varint::put_i32(out, header_claim);
        out.extend_from_slice(headers);
        self.last_offset = Some(offset.0);
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
        self.count += 1;
        Ok(())
    }

    fn delta_of(&self, offset: i64) -> Result<i32, BuildError> {
        (offset.checked_sub(self.base_offset))
            .and_then(|delta| i32::try_from(delta).ok())
            .filter(|delta| *delta >= 0)
            .ok_or(BuildError::OffsetTooFar {
                offset,
                base: self.base_offset,
            })
    }

    /// The finished batch.
    pub fn build(self) -> Result<Bytes, BuildError> {
        let last = self.end.or(self.last_offset).unwrap_or(self.base_offset);
        let mut out = Vec::with_capacity(HEADER_BYTES + self.records.len());
        out.resize(HEADER_BYTES, 0);
        self.compression.compress(2, &self.records, &mut out)?;
        let size = i32::try_from(out.len()).map_err(|_| BuildError::TooLong)?;
        debug_assert!(size >= HEADER_BYTES as i32, "the header is there");
        let header = Header {
            base_offset: Offset(self.base_offset),
            size: out.len(),
            leader_epoch: self.leader_epoch,
            magic: 2,
            crc: 0,
            attributes: self.attributes | i16::from(self.compression.codec.id()),
            last_offset_delta: self.delta_of(last)?,
            base_timestamp_ms: self.base_timestamp_ms.unwrap_or(NO_TIMESTAMP),
            max_timestamp_ms: self.append_time_ms.unwrap_or(self.max_timestamp_ms),
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
            count: self.count,
        };
        write_header(&header, &mut out);
        Ok(out.into())
    }
}

/// Writes a v2 header over the front of its batch and sums it up. `header.crc` is not looked at.
pub(crate) fn write_header(header: &Header, batch: &mut [u8]) {
    batch[..8].copy_from_slice(&header.base_offset.0.to_be_bytes());
    let length = i32::try_from(header.size - OVERHEAD_BYTES).unwrap_or(i32::MAX);
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[12..16].copy_from_slice(&header.leader_epoch.0.to_be_bytes());
    batch[16] = 2;
    batch[21..23].copy_from_slice(&header.attributes.to_be_bytes());
    batch[23..27].copy_from_slice(&header.last_offset_delta.to_be_bytes());
    batch[27..35].copy_from_slice(&header.base_timestamp_ms.to_be_bytes());
    batch[35..43].copy_from_slice(&header.max_timestamp_ms.to_be_bytes());
    batch[43..51].copy_from_slice(&header.producer_id.0.to_be_bytes());
    batch[51..53].copy_from_slice(&header.producer_epoch.0.to_be_bytes());
    batch[53..57].copy_from_slice(&header.base_sequence.to_be_bytes());
    batch[57..61].copy_from_slice(&header.count.to_be_bytes());
    let crc = crc32c::crc32c(&batch[AT_ATTRIBUTES..]);
    batch[AT_CRC..AT_ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
}

/// What compaction leaves of a batch whose producer must not be forgotten: its header.
pub fn emptied(header: &Header) -> Bytes {
    let kept = BIT_APPEND_TIME | BIT_TRANSACTIONAL | BIT_CONTROL;
    let header = Header {
        size: HEADER_BYTES,
        attributes: header.attributes & kept,
        base_timestamp_ms: NO_TIMESTAMP,
        count: 0,
        ..*header
    };
    let mut batch = vec![0; HEADER_BYTES];
    write_header(&header, &mut batch);
    batch.into()
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    Abort,
    Commit,
}

impl Marker {
    fn id(self) -> i16 {
        match self {
            Marker::Abort => 0,
            Marker::Commit => 1,
        }
    }

    /// From the key of a control record; `None` for control records of other kinds.
    pub fn from_key(key: &[u8]) -> Option<Marker> {
        match key {
            // A version of any kind, 0 so far, then the type.
            [0..=0x7f, _, 0, 0, ..] => Some(Marker::Abort),
            [0..=0x7f, _, 0, 1, ..] => Some(Marker::Commit),
            _ => None,
        }
    }
}

/// The batch that ends a transaction in one partition: one control record, 78 bytes.
pub fn end_marker(
    marker: Marker,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    coordinator_epoch: i32,
    now_ms: i64,
) -> Bytes {
    let mut key = [0; 4];
    key[2..].copy_from_slice(&marker.id().to_be_bytes());
    let mut value = [0; 6];
    value[2..].copy_from_slice(&coordinator_epoch.to_be_bytes());
    let mut batch = BatchBuilder::new(Codec::None)
        .producer(producer_id, producer_epoch, NO_SEQUENCE)
        .transactional(true)
        .control(true);
    batch
        .push(now_ms, Some(&key), Some(&value), &[])
        .expect("the first record fits");
    batch.build().expect("78 bytes, uncompressed")
}

fn put_sized(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        // Lengths were compared with 2 GiB before.
        Some(bytes) => {
            varint::put_i32(out, i32::try_from(bytes.len()).unwrap_or(i32::MAX));
            out.extend_from_slice(bytes);
        }
        None => varint::put_i32(out, -1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchView;

    #[test]
    fn a_marker_is_78_bytes_and_says_how_it_ended() {
        let bytes = end_marker(Marker::Commit, ProducerId(7), ProducerEpoch(3), 9, 1000);
        assert_eq!(bytes.len(), 78);
        let view = BatchView::open(&bytes).unwrap().unwrap();
        view.check_crc().unwrap();
        assert!(view.is_control() && view.is_transactional());
        let record = view.records(1 << 10).unwrap().next().unwrap().unwrap();
        assert_eq!(Marker::from_key(&record.key.unwrap()), Some(Marker::Commit));
        assert_eq!(&record.value.unwrap()[..], &[0, 0, 0, 0, 0, 9]);
    }

    #[test]
    fn offsets_that_fall_or_run_away_are_refused() {
        let mut batch = BatchBuilder::new(Codec::None).base_offset(Offset(100));
        batch.push_at(Offset(105), 0, None, None, &[]).unwrap();
        let falls = batch.push_at(Offset(105), 0, None, None, &[]);
        assert_eq!(
            falls,
            Err(BuildError::OffsetNotRising {
                offset: 105,
                last: 105
            })
        );
        let far = batch.push_at(Offset(100 + (1 << 31)), 0, None, None, &[]);
        assert!(matches!(far, Err(BuildError::OffsetTooFar { .. })));
        let far = batch.push_at(Offset(106), i64::MIN, None, None, &[]);
        assert!(far.is_ok(), "a negative timestamp is within reach of zero");
        let far = batch.push_at(Offset(107), i64::MAX, None, None, &[]);
        assert!(far.is_ok());
    }
}
