//! `.index`: offset → position in the segment. Entries are `i32 relative offset, i32 position`.

use crate::error::Result;
use crate::index::{At, IndexFile};

pub(crate) const ENTRY: usize = 8;

/// One entry: the batch at `position` ends at `offset` or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    pub(crate) offset: i64,
    pub(crate) position: u64,
}

#[derive(Debug)]
pub(crate) struct OffsetIndex {
    base: i64,
    pub(crate) file: IndexFile<ENTRY>,
}

pub(crate) fn decode(base: i64, entry: &[u8; ENTRY]) -> OffsetEntry {
    let [o0, o1, o2, o3, p0, p1, p2, p3] = *entry;
    OffsetEntry {
        offset: base.saturating_add(i64::from(i32::from_be_bytes([o0, o1, o2, o3]))),
        position: u64::from(u32::from_be_bytes([p0, p1, p2, p3])),
    }
}

impl OffsetIndex {
    pub(crate) fn new(base: i64, file: IndexFile<ENTRY>) -> Self {
        OffsetIndex { base, file }
    }

    /// Notes an entry; refused silently where it does not follow the last (Apache would throw).
    pub(crate) fn push(&mut self, at: At<'_>, offset: i64, position: u64) -> Result<()> {
        let (Ok(relative), Ok(position)) =
            (i32::try_from(offset - self.base), i32::try_from(position))
        else {
            return Ok(());
        };
        if let Some(last) = self.last(at)?
            && last.offset >= offset
        {
            return Ok(());
        }
        let mut entry = [0; ENTRY];
        entry[..4].copy_from_slice(&relative.to_be_bytes());
        entry[4..].copy_from_slice(&position.to_be_bytes());
        self.file.push(at, entry)
    }

    pub(crate) fn last(&mut self, at: At<'_>) -> Result<Option<OffsetEntry>> {
        Ok(self.file.last(at)?.map(|entry| decode(self.base, &entry)))
    }

    /// Drops entries at or above `offset`.
    pub(crate) fn truncate_to(&mut self, at: At<'_>, offset: i64) -> Result<()> {
        let base = self.base;
        let keep = self
            .file
            .partition_point(at, |entry| decode(base, entry).offset < offset)?;
        self.file.truncate(at, keep)
    }

    /// Keeps the leading entries that can be true: strictly rising, inside a log of `size` bytes.
    /// What a crash or Apache's reserved zeros left behind them is cut.
    pub(crate) fn keep_sound(&mut self, at: At<'_>, size: u64) -> Result<()> {
        let len = self.file.len(at)?;
        let mut before = OffsetEntry {
            offset: self.base - 1,
            position: 0,
        };
        for number in 0..len {
            let entry = self.file.get(at, number)?;
            match entry.map(|entry| decode(self.base, &entry)) {
                Some(entry)
                    if entry.offset > before.offset
                        && entry.position >= before.position
                        && entry.position < size
                        && (number == 0 || entry.position > before.position) =>
                {
                    before = entry;
                }
                _ => return self.file.truncate(at, number),
            }
        }
        self.file.truncate(at, len)
    }

    pub(crate) fn is_full(&mut self, at: At<'_>, index_bytes_max: u32) -> Result<bool> {
        Ok(self.file.len(at)? >= index_bytes_max / ENTRY as u32)
    }
}
