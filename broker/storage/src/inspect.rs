//! Walks a file of batches and describes it: for compaction, for `dump-log` and for checkers.
//!
//! Reads in windows, never more than the file holds: a batch that claims more than is there is a
//! torn tail, not an allocation.

use std::io;
use std::sync::Arc;

use base::disk::DiskFile;
use bytes::Bytes;
use protocol::batch::{BatchView, Fault, Header};

/// What is read at a time.
const WINDOW_BYTES: usize = 1 << 20;

/// Why a walk stopped before the end of the file.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    #[error("read at position {position}")]
    Read { position: u64, source: io::Error },
    #[error("batch at position {position}: {fault}")]
    Fault { position: u64, fault: Fault },
}

/// The walk over the batches of a file, in order. Sizes and magics are looked at, nothing else.
#[derive(Debug)]
pub struct Walk {
    file: Arc<dyn DiskFile>,
    // Where the next batch begins; `window` holds the bytes from there on.
    position: u64,
    end: u64,
    window: Bytes,
}

impl Walk {
    /// Over the bytes of `file` from `position` to `end`, or to where the file ends.
    pub fn over(file: Arc<dyn DiskFile>, position: u64, end: u64) -> io::Result<Walk> {
        let end = end.min(file.len()?);
        Ok(Walk {
            file,
            position,
            end,
            window: Bytes::new(),
        })
    }

    /// Where the next batch begins; after the walk, where the whole batches end.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes behind the last whole batch.
    pub fn trailing_bytes(&self) -> u64 {
        self.end.saturating_sub(self.position)
    }

    /// The next batch with its position; `None` where no whole one follows.
    pub fn step(&mut self) -> Result<Option<(u64, BatchView)>, WalkError> {
        loop {
            let position = self.position;
            match BatchView::open(&self.window) {
                Ok(Some(batch)) => {
                    let _taken = self.window.split_to(batch.size);
                    self.position += batch.size as u64;
                    return Ok(Some((position, batch)));
                }
                Ok(None) if !self.widen()? => return Ok(None),
                Ok(None) => {}
                Err(fault) => return Err(WalkError::Fault { position, fault }),
            }
        }
    }

    /// Reads more behind the window; false where the next batch is not all in the file.
    fn widen(&mut self) -> Result<bool, WalkError> {
        let left = self.end.saturating_sub(self.position);
        if left <= self.window.len() as u64 {
            return Ok(false);
        }
        let wanted = match Header::read(&self.window) {
            Ok(Some(header)) if header.size as u64 > left => return Ok(false),
            Ok(Some(header)) => header.size.max(WINDOW_BYTES),
            _ => WINDOW_BYTES,
        };
        let wanted = wanted.min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut window = vec![0; wanted];
        let position = self.position;
        let got = self.file.read_at(&mut window, position);
        let got = got.map_err(|source| WalkError::Read { position, source })?;
        if got <= self.window.len() {
            // The file is shorter than it was.
            self.end = position + got as u64;
            return Ok(false);
        }
        window.truncate(got);
        self.window = window.into();
        Ok(true)
    }
}

/// One entry of an offset index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetEntry {
    pub offset: i64,
    pub position: i32,
}

/// The entries of an offset index whose segment begins at `base`. Bytes behind the last whole
/// entry are left out.
pub fn offset_entries(bytes: &[u8], base: i64) -> impl DoubleEndedIterator<Item = OffsetEntry> {
    bytes.chunks_exact(8).map(move |entry| OffsetEntry {
        offset: base.wrapping_add(i64::from(i32_of(&entry[..4]))),
        position: i32_of(&entry[4..]),
    })
}

/// One entry of a time index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    pub timestamp_ms: i64,
    pub offset: i64,
}

/// The entries of a time index whose segment begins at `base`.
pub fn time_entries(bytes: &[u8], base: i64) -> impl DoubleEndedIterator<Item = TimeEntry> {
    bytes.chunks_exact(12).map(move |entry| TimeEntry {
        timestamp_ms: i64_of(&entry[..8]),
        offset: base.wrapping_add(i64::from(i32_of(&entry[8..]))),
    })
}

/// One entry of a transaction index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedEntry {
    pub version: i16,
    pub producer_id: i64,
    pub first_offset: i64,
    /// Of the abort marker.
    pub last_offset: i64,
    pub last_stable_offset: i64,
}

impl AbortedEntry {
    pub const BYTES: usize = 34;

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_be_bytes());
        let words = [
            self.producer_id,
            self.first_offset,
            self.last_offset,
            self.last_stable_offset,
        ];
        for word in words {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }
}

/// The entries of a transaction index.
pub fn aborted_entries(bytes: &[u8]) -> impl Iterator<Item = AbortedEntry> {
    bytes
        .chunks_exact(AbortedEntry::BYTES)
        .map(|entry| AbortedEntry {
            version: i16::from_be_bytes([entry[0], entry[1]]),
            producer_id: i64_of(&entry[2..10]),
            first_offset: i64_of(&entry[10..18]),
            last_offset: i64_of(&entry[18..26]),
            last_stable_offset: i64_of(&entry[26..34]),
        })
}

/// One producer of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerEntry {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub last_sequence: i32,
    pub last_offset: i64,
    pub offset_delta: i32,
    pub timestamp_ms: i64,
    pub coordinator_epoch: i32,
    pub current_txn_first_offset: i64,
}

/// Why a producer snapshot cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotFault {
    #[error("Snapshot contained an unknown file version {0}")]
    Version(i16),
    #[error(
        "Snapshot is corrupt (CRC is no longer valid). Stored crc: {stored}. Computed crc: {computed}"
    )]
    Crc { stored: u32, computed: u32 },
    #[error("Snapshot is too short for what it claims")]
    Short,
}

/// The producers of a snapshot file, in its order.
pub fn producer_entries(bytes: &[u8]) -> Result<Vec<ProducerEntry>, SnapshotFault> {
    const HEADER_BYTES: usize = 10;
    const ENTRY_BYTES: usize = 46;
    let (Some(header), Some(summed)) = (bytes.get(..HEADER_BYTES), bytes.get(6..)) else {
        return Err(SnapshotFault::Short);
    };
    let version = i16::from_be_bytes([header[0], header[1]]);
    if version != 1 {
        return Err(SnapshotFault::Version(version));
    }
    let stored = i32_of(&header[2..6]).cast_unsigned();
    let computed = crc32c::crc32c(summed);
    if stored != computed {
        return Err(SnapshotFault::Crc { stored, computed });
    }
    let count = usize::try_from(i32_of(&header[6..])).map_err(|_| SnapshotFault::Short)?;
    let entries = &bytes[HEADER_BYTES..];
    if entries.len() / ENTRY_BYTES < count {
        return Err(SnapshotFault::Short);
    }
    let read = |entry: &[u8]| ProducerEntry {
        producer_id: i64_of(&entry[..8]),
        producer_epoch: i16::from_be_bytes([entry[8], entry[9]]),
        last_sequence: i32_of(&entry[10..14]),
        last_offset: i64_of(&entry[14..22]),
        offset_delta: i32_of(&entry[22..26]),
        timestamp_ms: i64_of(&entry[26..34]),
        coordinator_epoch: i32_of(&entry[34..38]),
        current_txn_first_offset: i64_of(&entry[38..46]),
    };
    Ok(entries
        .chunks_exact(ENTRY_BYTES)
        .take(count)
        .map(read)
        .collect())
}

fn i32_of(bytes: &[u8]) -> i32 {
    bytes
        .iter()
        .fold(0u32, |number, byte| number << 8 | u32::from(*byte))
        .cast_signed()
}

fn i64_of(bytes: &[u8]) -> i64 {
    bytes
        .iter()
        .fold(0u64, |number, byte| number << 8 | u64::from(*byte))
        .cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::disk::{Disk, Open, SystemDisk};
    use protocol::batch::{BatchBuilder, Codec};
    use protocol::ids::Offset;

    fn batch(base: i64, value_bytes: usize) -> Bytes {
        let mut builder = BatchBuilder::new(Codec::None).base_offset(Offset(base));
        builder
            .push(1, None, Some(&vec![7; value_bytes]), &[])
            .unwrap();
        builder.build().unwrap()
    }

    #[test]
    fn batches_larger_than_a_window_are_walked_and_a_torn_tail_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let sizes = [10, 3 << 20, 1 << 20, 100];
        let mut bytes = Vec::new();
        for (index, size) in sizes.into_iter().enumerate() {
            bytes.extend_from_slice(&batch(index as i64, size));
        }
        let whole = bytes.len() as u64;
        bytes.extend_from_slice(&batch(9, 500)[..300]);
        std::fs::write(&path, &bytes).unwrap();
        let file = SystemDisk.open(&path, Open::Read).unwrap();
        let mut walk = Walk::over(file, 0, u64::MAX).unwrap();
        for (index, size) in sizes.into_iter().enumerate() {
            let (_, found) = walk.step().unwrap().unwrap();
            assert_eq!(found.base_offset, Offset(index as i64));
            assert!(found.size > size);
            found.check_crc().unwrap();
        }
        assert!(walk.step().unwrap().is_none());
        assert_eq!((walk.position(), walk.trailing_bytes()), (whole, 300));
    }
}
