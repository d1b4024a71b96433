//! `.timeindex`: timestamp → offset. Entries are `i64 timestamp, i32 relative offset`: no record up to
//! that offset is younger than the timestamp.

use crate::error::Result;
use crate::index::{At, IndexFile};

pub(crate) const ENTRY: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    pub timestamp: i64,
    pub offset: i64,
}

#[derive(Debug)]
pub(crate) struct TimeIndex {
    base: i64,
    pub(crate) file: IndexFile<ENTRY>,
}

pub(crate) fn decode(base: i64, entry: &[u8; ENTRY]) -> TimeEntry {
    let [t0, t1, t2, t3, t4, t5, t6, t7, o0, o1, o2, o3] = *entry;
    TimeEntry {
        timestamp: i64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
        offset: base.saturating_add(i64::from(i32::from_be_bytes([o0, o1, o2, o3]))),
    }
}

impl TimeIndex {
    pub(crate) fn new(base: i64, file: IndexFile<ENTRY>) -> Self {
        TimeIndex { base, file }
    }

    pub(crate) fn last(&mut self, at: At<'_>) -> Result<Option<TimeEntry>> {
        Ok(self.file.last(at)?.map(|entry| decode(self.base, &entry)))
    }

    /// Notes that nothing up to `offset` is younger than `timestamp`, where that says more than
    /// the last entry does. Kafka: `TimeIndex.maybeAppend`.
    pub(crate) fn push(&mut self, at: At<'_>, timestamp: i64, offset: i64) -> Result<()> {
        let Ok(relative) = i32::try_from(offset - self.base) else {
            return Ok(());
        };
        if let Some(last) = self.last(at)?
            && (last.timestamp >= timestamp || last.offset > offset)
        {
            return Ok(());
        }
        let mut entry = [0; ENTRY];
        entry[..8].copy_from_slice(&timestamp.to_be_bytes());
        entry[8..].copy_from_slice(&relative.to_be_bytes());
        self.file.push(at, entry)
    }

    /// Drops entries at or above `offset`.
    pub(crate) fn truncate_to(&mut self, at: At<'_>, offset: i64) -> Result<()> {
        let base = self.base;
        let keep = self
            .file
            .partition_point(at, |entry| decode(base, entry).offset < offset)?;
        self.file.truncate(at, keep)
    }

    /// As [`crate::index::offset::OffsetIndex::keep_sound`]; gives whether nothing but zeros was cut.
    pub(crate) fn keep_sound(&mut self, at: At<'_>) -> Result<bool> {
        let len = self.file.len(at)?;
        let mut before = TimeEntry {
            timestamp: -1,
            offset: self.base,
        };
        for number in 0..len {
            let entry = self.file.get(at, number)?;
            match entry.map(|entry| decode(self.base, &entry)) {
                Some(entry)
                    if entry.timestamp > before.timestamp && entry.offset >= before.offset =>
                {
                    before = entry;
                }
                _ => {
                    self.file.truncate(at, number)?;
                    return Ok(entry == Some([0; ENTRY]));
                }
            }
        }
        self.file.truncate(at, len)?;
        Ok(true)
    }

    /// The last entry below `offset`.
    pub(crate) fn last_below(&mut self, at: At<'_>, offset: i64) -> Result<Option<TimeEntry>> {
        let base = self.base;
        let below = self
            .file
            .partition_point(at, |entry| decode(base, entry).offset < offset)?;
        let Some(last) = below.checked_sub(1) else {
            return Ok(None);
        };
        Ok(self.file.get(at, last)?.map(|entry| decode(base, &entry)))
    }

    /// Kafka: one entry is kept free for the segment's last timestamp.
    pub(crate) fn is_full(&mut self, at: At<'_>, index_bytes_max: u32) -> Result<bool> {
        Ok(self.file.len(at)? >= (index_bytes_max / ENTRY as u32).saturating_sub(1))
    }
}
