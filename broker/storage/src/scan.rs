//! Walking the batches of a segment file: heads only, or whole with their checksum.
//!
//! Nothing here trusts a byte: lengths are held against the file's, and a batch that cannot be is
//! where the walk ends.

use std::io;

use base::disk::DiskFile;
use protocol::batch::Header;

/// `i64 offset`, `i32 size`: what stands before every batch of any magic.
pub(crate) const OVERHEAD: usize = 12;
/// The head of a batch v2, up to its records.
pub(crate) const HEAD_V2: usize = 61;
const MAGIC_AT: usize = 16;
const CRC_FROM: usize = 21;
const WINDOW: usize = 4096;
/// How much a whole walk reads at once.
const CHUNK: usize = 1 << 20;

/// What the head of one batch says, of any magic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub position: u64,
    /// With the overhead.
    pub size: usize,
    pub magic: u8,
    /// For v0 and v1: the offset field, which is that of the last message.
    pub base_offset: i64,
    pub last_offset: i64,
    /// −1 for v0 and v1.
    pub leader_epoch: i32,
    pub attributes: i16,
    /// −1 for v0.
    pub max_timestamp: i64,
    pub base_timestamp: i64,
    pub producer: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub count: i32,
    pub crc: u32,
}

impl Head {
    /// The first offset; of v0 and v1 only the last is known here.
    pub(crate) fn first_known(&self) -> i64 {
        match self.magic {
            2.. => self.base_offset,
            _ => self.last_offset,
        }
    }

    pub fn is_transactional(&self) -> bool {
        self.magic >= 2 && self.attributes & 0x10 != 0
    }

    pub fn is_control(&self) -> bool {
        self.magic >= 2 && self.attributes & 0x20 != 0
    }

    pub fn is_compressed(&self) -> bool {
        self.attributes & 7 != 0
    }

    /// Wraps at the highest number. Kafka: `DefaultRecordBatch.incrementSequence`.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        let sum = i64::from(self.base_sequence) + (self.last_offset - self.base_offset);
        i32::try_from(sum.rem_euclid(1 << 31)).unwrap_or(-1)
    }

    /// Reads a head; `None` where these bytes can be none (or are too few to say).
    pub fn parse(bytes: &[u8], position: u64) -> Option<Head> {
        Head::of(&Header::read(bytes).ok()??, position)
    }

    /// What a decoded header means at a place; `None` for offsets that cannot be.
    pub fn of(header: &Header, position: u64) -> Option<Head> {
        let base_offset = header.base_offset.0;
        if base_offset < 0 || header.last_offset_delta < 0 {
            return None;
        }
        Some(Head {
            position,
            size: header.size,
            magic: header.magic,
            base_offset,
            last_offset: base_offset
                .checked_add(i64::from(header.last_offset_delta))
                .filter(|last| *last < i64::MAX)?,
            leader_epoch: header.leader_epoch.0,
            attributes: header.attributes,
            max_timestamp: header.max_timestamp_ms,
            base_timestamp: header.base_timestamp_ms,
            producer: header.producer_id.0,
            producer_epoch: header.producer_epoch.0,
            base_sequence: header.base_sequence,
            count: header.count,
            crc: header.crc,
        })
    }

    /// Whether the checksum of a whole batch holds. `batch` begins at its offset.
    pub fn crc_holds(&self, batch: &[u8]) -> bool {
        match self.magic {
            2 => batch
                .get(CRC_FROM..self.size)
                .is_some_and(|body| crc32c::crc32c(body) == self.crc),
            _ => batch
                .get(MAGIC_AT..self.size)
                .is_some_and(|body| crc32fast::hash(body) == self.crc),
        }
    }
}

/// Walks heads from `position` to `end` without reading the records between them.
#[derive(Debug)]
pub(crate) struct Heads<'f> {
    file: &'f dyn DiskFile,
    position: u64,
    end: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl<'f> Heads<'f> {
    pub(crate) fn new(file: &'f dyn DiskFile, position: u64, end: u64) -> Self {
        Heads {
            file,
            position,
            end,
            window: Vec::new(),
            window_at: 0,
        }
    }

    /// Where the next head is read; after the walk has ended, where it could not go on.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next head; `None` at the end and where no whole batch follows.
    pub(crate) fn next(&mut self) -> io::Result<Option<Head>> {
        let rest = self.end.saturating_sub(self.position);
        if rest < (OVERHEAD + 14) as u64 {
            return Ok(None);
        }
        let need = usize::try_from(rest).unwrap_or(usize::MAX).min(HEAD_V2);
        let from = self
            .position
            .checked_sub(self.window_at)
            .and_then(|d| usize::try_from(d).ok());
        let held = from.and_then(|from| self.window.get(from..from + need));
        let head = match held {
            Some(bytes) => Head::parse(bytes, self.position),
            None => {
                let len = usize::try_from(rest).unwrap_or(usize::MAX).min(WINDOW);
                self.window.resize(len, 0);
                let got = self.file.read_at(&mut self.window, self.position)?;
                self.window.truncate(got);
                self.window_at = self.position;
                Head::parse(
                    self.window.get(..need).unwrap_or(&self.window),
                    self.position,
                )
            }
        };
        let Some(head) = head else { return Ok(None) };
        if head.size as u64 > rest {
            return Ok(None);
        }
        self.position += head.size as u64;
        Ok(Some(head))
    }
}

/// Reads whole batches one after the other, each with its checksum verified.
#[derive(Debug)]
pub struct Batches<'f> {
    file: &'f dyn DiskFile,
    position: u64,
    end: u64,
    chunk: Vec<u8>,
    chunk_at: u64,
}

impl<'f> Batches<'f> {
    pub fn new(file: &'f dyn DiskFile, position: u64, end: u64) -> Self {
        Batches {
            file,
            position,
            end,
            chunk: Vec::new(),
            chunk_at: position,
        }
    }

    /// Where the next batch is read; after the walk has ended, where it could not go on.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next batch and its bytes; `None` at the end, at the first torn or damaged batch.
    pub fn read_next(&mut self) -> io::Result<Option<(Head, &[u8])>> {
        let rest = usize::try_from(self.end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        if rest < OVERHEAD + 14 {
            return Ok(None);
        }
        self.fill(rest.min(HEAD_V2), rest)?;
        let Some(head) = Head::parse(self.held(), self.position) else {
            return Ok(None);
        };
        if head.size > rest {
            return Ok(None);
        }
        self.fill(head.size, rest)?;
        let from = self.from();
        let Some(batch) = self.chunk.get(from..from + head.size) else {
            return Ok(None);
        };
        if !head.crc_holds(batch) {
            return Ok(None);
        }
        self.position += head.size as u64;
        Ok(Some((head, batch)))
    }

    fn from(&self) -> usize {
        usize::try_from(self.position - self.chunk_at).unwrap_or(usize::MAX)
    }

    fn held(&self) -> &[u8] {
        self.chunk.get(self.from()..).unwrap_or_default()
    }

    /// Makes `need` bytes from the position be held, as far as the file has them.
    fn fill(&mut self, need: usize, rest: usize) -> io::Result<()> {
        if self.held().len() >= need {
            return Ok(());
        }
        let len = need.max(CHUNK.min(rest));
        self.chunk.resize(len, 0);
        let got = self.file.read_at(&mut self.chunk, self.position)?;
        self.chunk.truncate(got);
        self.chunk_at = self.position;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_batch_give_no_head() {
        for len in 0..80 {
            for fill in [0, 1, 2, 0x7f, 0xff] {
                let _ = Head::parse(&vec![fill; len], 0);
            }
        }
        assert_eq!(Head::parse(&[0; 61], 0), None);
    }

    #[test]
    fn sequences_wrap_at_the_highest_number() {
        let mut bytes = [0; 61];
        bytes[8..12].copy_from_slice(&49i32.to_be_bytes());
        bytes[16] = 2;
        bytes[23..27].copy_from_slice(&1i32.to_be_bytes());
        bytes[53..57].copy_from_slice(&i32::MAX.to_be_bytes());
        assert_eq!(Head::parse(&bytes, 0).unwrap().last_sequence(), 0);
    }
}
