//! `<offset>.snapshot`: the producers as they were at an offset.
//!
//! Kafka: `i16 version = 1, u32 CRC-32C of the rest, i32 count`, then 46 bytes a producer. A file that
//! does not fit its checksum is deleted and the one before it is used.

use std::path::Path;

use base::disk::{Disk, Open};
use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::producers::{Producer, Producers, Seen};

const VERSION: i16 = 1;
const ENTRY: usize = 46;
const CRC_FROM: usize = 6;
const HEAD: usize = 10;
const BYTES_MAX: u64 = 1 << 30;

pub(crate) fn encode(producers: &Producers) -> Vec<u8> {
    let entries = producers.iter();
    let mut bytes = Vec::with_capacity(HEAD + entries.len() * ENTRY);
    bytes.extend(VERSION.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(
        i32::try_from(entries.len())
            .unwrap_or(i32::MAX)
            .to_be_bytes(),
    );
    for (id, producer) in entries {
        let last = producer.batches.last();
        bytes.extend(id.to_be_bytes());
        bytes.extend(producer.epoch.to_be_bytes());
        bytes.extend(producer.last_sequence().to_be_bytes());
        bytes.extend(last.map_or(-1, |seen| seen.last_offset).to_be_bytes());
        bytes.extend(last.map_or(0, |seen| seen.delta).to_be_bytes());
        bytes.extend(producer.last_timestamp.to_be_bytes());
        bytes.extend(producer.coordinator_epoch.to_be_bytes());
        bytes.extend(producer.transaction_first.unwrap_or(-1).to_be_bytes());
    }
    let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
    bytes[2..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// The producers in a snapshot; `None` where the bytes are not one.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<(i64, Producer)>> {
    let head: &[u8; HEAD] = bytes.first_chunk()?;
    let [v0, v1, c0, c1, c2, c3, n0, n1, n2, n3] = *head;
    let body = bytes.get(CRC_FROM..)?;
    if i16::from_be_bytes([v0, v1]) != VERSION
        || u32::from_be_bytes([c0, c1, c2, c3]) != crc32c::crc32c(body)
    {
        return None;
    }
    let count = usize::try_from(i32::from_be_bytes([n0, n1, n2, n3])).ok()?;
    let entries = bytes.get(HEAD..)?;
    if entries.len() != count.checked_mul(ENTRY)? {
        return None;
    }
    entries.chunks_exact(ENTRY).map(decode_entry).collect()
}

fn decode_entry(entry: &[u8]) -> Option<(i64, Producer)> {
    let long = |at: usize| {
        entry
            .get(at..at + 8)?
            .try_into()
            .ok()
            .map(i64::from_be_bytes)
    };
    let int = |at: usize| {
        entry
            .get(at..at + 4)?
            .try_into()
            .ok()
            .map(i32::from_be_bytes)
    };
    let epoch = entry.get(8..10)?.try_into().ok().map(i16::from_be_bytes)?;
    let last_offset = long(14)?;
    let timestamp = long(26)?;
    let mut batches = SmallVec::new();
    if last_offset >= 0 {
        batches.push(Seen {
            last_sequence: int(10)?,
            last_offset,
            delta: int(22)?,
            timestamp,
        });
    }
    let producer = Producer {
        epoch,
        coordinator_epoch: int(34)?,
        last_timestamp: timestamp,
        transaction_first: Some(long(38)?).filter(|first| *first >= 0),
        batches,
    };
    Some((long(0)?, producer))
}

pub(crate) fn write(disk: &dyn Disk, path: &Path, producers: &Producers) -> Result<()> {
    let file = disk
        .open(path, Open::Create)
        .map_err(|e| Error::io("create snapshot", path, e))?;
    let bytes = encode(producers);
    file.truncate(0)
        .and_then(|()| file.write_at(&bytes, 0))
        .map_err(|e| Error::io("write snapshot", path, e))
}

/// `None` where the file is damaged.
pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<(i64, Producer)>>> {
    match disk.read_small(path, BYTES_MAX) {
        Ok(bytes) => Ok(decode(&bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::InvalidData => Ok(None),
        Err(e) => Err(Error::io("read snapshot", path, e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_reads_what_it_wrote_and_nothing_else() {
        let producer = Producer {
            epoch: 3,
            coordinator_epoch: 9,
            last_timestamp: 77,
            transaction_first: Some(12),
            batches: SmallVec::from_slice(&[Seen {
                last_sequence: 5,
                last_offset: 20,
                delta: 4,
                timestamp: 77,
            }]),
        };
        let quiet = Producer {
            epoch: 1,
            ..Producer::default()
        };
        let entries = vec![(42, producer), (43, quiet)];
        let producers = Producers::from_snapshot(21, entries.clone(), -1, i64::MAX);
        let bytes = encode(&producers);
        assert_eq!(bytes.len(), HEAD + 2 * ENTRY);
        let mut read = decode(&bytes).unwrap();
        read.sort_by_key(|(id, _)| *id);
        assert_eq!(read, entries);
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert_eq!(decode(&flipped), None, "byte {at}");
            assert_eq!(decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
