//! What a segment knows of its batches beside the log file: its indexes and the newest places.

use std::collections::VecDeque;

use crate::error::Result;
use crate::files;
use crate::index::At;
use crate::index::aborted::AbortedIndex;
use crate::index::offset::OffsetIndex;
use crate::index::time::{TimeEntry, TimeIndex};
use crate::segment::{Appending, Segment};

#[derive(Debug)]
pub(in crate::segment) struct Marks {
    pub(in crate::segment) offsets: OffsetIndex,
    pub(in crate::segment) times: TimeIndex,
    pub(in crate::segment) aborted: AbortedIndex,
    pub(in crate::segment) bytes_since_entry: u64,
    /// The largest timestamp and the last offset of the batch that has it; `None`: not looked up yet.
    pub(in crate::segment) largest: Option<TimeEntry>,
    /// How often the indexes were cut: what was looked up before says nothing of what is left.
    pub(in crate::segment) cuts: u32,
    /// Of the first batch; `None`: not looked up yet.
    pub(in crate::segment) first_timestamp: Option<i64>,
    pub(in crate::segment) created_ms: i64,
    pub(in crate::segment) recent: VecDeque<Recent>,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::segment) struct Recent {
    pub(in crate::segment) base: i64,
    pub(in crate::segment) last: i64,
    pub(in crate::segment) position: u64,
    pub(in crate::segment) size: u32,
}

impl Marks {
    pub(in crate::segment) fn largest(&mut self, segment: &Segment) -> Result<TimeEntry> {
        if let Some(largest) = self.largest {
            return Ok(largest);
        }
        let last = self
            .times
            .last(segment.at(&|| segment.path(files::TIME_INDEX)))?;
        let largest = last.unwrap_or_else(|| segment.no_time());
        self.largest = Some(largest);
        Ok(largest)
    }

    pub(in crate::segment) fn note_timestamp(
        &mut self,
        segment: &Segment,
        appending: Appending,
    ) -> Result<()> {
        if appending.max_timestamp > self.largest(segment)?.timestamp {
            self.largest = Some(TimeEntry {
                timestamp: appending.max_timestamp,
                offset: appending.offset_of_max,
            });
        }
        Ok(())
    }

    /// Kafka: `LogSegment.append`. The first set of a segment is never indexed.
    pub(in crate::segment) fn note_appended(
        &mut self,
        segment: &Segment,
        appending: Appending,
        position: u64,
        len: u64,
        index_interval_bytes: u32,
    ) -> Result<()> {
        self.note_timestamp(segment, appending)?;
        if self.bytes_since_entry > u64::from(index_interval_bytes) {
            self.push_entries(segment, appending.last_offset, position)?;
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += len;
        Ok(())
    }

    pub(in crate::segment) fn push_entries(
        &mut self,
        segment: &Segment,
        offset: i64,
        position: u64,
    ) -> Result<()> {
        self.offsets.push(
            segment.at(&|| segment.path(files::OFFSET_INDEX)),
            offset,
            position,
        )?;
        self.push_last_time(segment)
    }

    /// Where a timestamp is known. Kafka: `maybeAppend(…, skipFullCheck)` on roll, close, recovery.
    pub(in crate::segment) fn push_last_time(&mut self, segment: &Segment) -> Result<()> {
        let largest = self.largest(segment)?;
        if largest.timestamp < 0 {
            return Ok(());
        }
        let path = || segment.path(files::TIME_INDEX);
        self.times
            .push(segment.at(&path), largest.timestamp, largest.offset)
    }

    pub(in crate::segment) fn write_out(&mut self, segment: &Segment) -> Result<()> {
        self.offsets
            .file
            .write_out(segment.at(&|| segment.path(files::OFFSET_INDEX)))?;
        self.times
            .file
            .write_out(segment.at(&|| segment.path(files::TIME_INDEX)))?;
        self.write_aborted(segment, |aborted, at| aborted.file.write_out(at))
    }

    /// Writes aborted transactions. Their file is made with the first of them that can be written,
    /// which may be long after its marker was.
    pub(in crate::segment) fn write_aborted<T>(
        &mut self,
        segment: &Segment,
        write: impl FnOnce(&mut AbortedIndex, At<'_>) -> Result<T>,
    ) -> Result<T> {
        let had_entries = self.aborted.file.is_in_use();
        let path = || segment.path(files::TXN_INDEX);
        let written = write(&mut self.aborted, segment.at(&path));
        if !had_entries && self.aborted.file.is_in_use() {
            segment.place.note_change();
        }
        written
    }

    pub(in crate::segment) fn truncate_indexes(
        &mut self,
        segment: &Segment,
        offset: i64,
    ) -> Result<()> {
        // An entry that is spoilt may lie below the base, and goes as well.
        let aborted_below = if offset <= segment.base { 0 } else { offset };
        self.aborted.truncate_to(
            segment.at(&|| segment.path(files::TXN_INDEX)),
            aborted_below,
        )?;
        self.truncate_rebuilt(segment, offset)
    }

    /// All but the aborted transactions: what is lost of the other indexes costs time, no more.
    pub(in crate::segment) fn truncate_rebuilt(
        &mut self,
        segment: &Segment,
        offset: i64,
    ) -> Result<()> {
        self.offsets
            .truncate_to(segment.at(&|| segment.path(files::OFFSET_INDEX)), offset)?;
        self.times
            .truncate_to(segment.at(&|| segment.path(files::TIME_INDEX)), offset)?;
        self.recent.clear();
        self.bytes_since_entry = 0;
        self.largest = None;
        self.cuts += 1;
        if offset <= segment.base {
            self.first_timestamp = None;
        }
        Ok(())
    }
}
