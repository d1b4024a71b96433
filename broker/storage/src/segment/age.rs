//! How old a segment is, borne out by its batches: no checksum covers the time index, and what is
//! deleted for its age does not come back.
//!
//! ```text
//! last entry ─▶ a batch with a right checksum and that very time   believed: one batch is read
//! anything else                                                    all batches are read
//! a batch of them is spoilt, or the disk cannot read it            the file's time counts, too
//! ```
//!
//! A sector that cannot be read takes nothing offline here: nobody asked for what lies there.
//!
//! Kafka: `LogSegment.largestTimestamp` believes the index.

use crate::error::{Error, Result};
use crate::files;
use crate::index::time::TimeEntry;
use crate::scan::{Batches, Head, Heads};
use crate::segment::Segment;

impl Segment {
    /// As [`Segment::largest_timestamp_or_modified`], where something is to be deleted by it.
    pub(crate) fn confirmed_timestamp_or_modified(&self) -> Result<i64> {
        let told = self.largest_timestamp()?;
        let path = self.path(files::LOG);
        match self.witness(&told) {
            Ok(Some(found)) if found == told => {}
            Ok(Some(found)) => {
                tracing::warn!(
                    path = %path.display(),
                    told = told.timestamp,
                    found = found.timestamp,
                    "the time index does not fit the log; the log is believed"
                );
                self.correct_largest(&told, found);
            }
            Ok(None) => {
                tracing::warn!(
                    path = %path.display(),
                    "a batch is spoilt, so nobody knows how old the youngest record is: the segment \
                     stays until its file is that old"
                );
                return self.no_younger_than_file(&told);
            }
            Err(Error::Disk { source, .. }) => {
                tracing::warn!(
                    path = %path.display(),
                    error = %source,
                    "the disk cannot read a batch, so nobody knows how old the youngest record is: the \
                     segment stays until its file is that old"
                );
                return self.no_younger_than_file(&told);
            }
            Err(e) => return Err(e),
        }
        self.largest_timestamp_or_modified()
    }

    /// What the batches say: the one that is `told`, or else all; `None` where one is spoilt.
    fn witness(&self, told: &TimeEntry) -> Result<Option<TimeEntry>> {
        if self.is_borne_out(told)? {
            return Ok(Some(*told));
        }
        self.find_largest()
    }

    fn no_younger_than_file(&self, told: &TimeEntry) -> Result<i64> {
        let timestamp = told.timestamp.max(self.modified_ms()?);
        let offset = told.offset;
        self.correct_largest(told, TimeEntry { timestamp, offset });
        Ok(timestamp)
    }

    /// Whether the batch an entry speaks of is there, and has that time.
    pub(in crate::segment) fn is_borne_out(&self, told: &TimeEntry) -> Result<bool> {
        if told.timestamp < 0 {
            return Ok(false);
        }
        let place = match self.find(told.offset, self.size()) {
            Ok(Some(place)) => place,
            Ok(None) | Err(Error::Corrupt { .. }) => return Ok(false),
            Err(e) => return Err(e),
        };
        let (file, end) = (self.log_file()?, place.position + place.size as u64);
        let mut batch = Batches::new(&*file, place.position, end);
        let batch = batch
            .read_next()
            .map_err(|e| Error::io("read", &self.path(files::LOG), e))?;
        Ok(batch.is_some_and(|(head, _)| head.max_timestamp == told.timestamp))
    }

    /// By all batches; `None` where one of them is spoilt.
    fn find_largest(&self) -> Result<Option<TimeEntry>> {
        let (file, size) = (self.log_file()?, self.size());
        let mut batches = Batches::new(&*file, 0, size);
        let mut largest = self.no_time();
        while let Some((head, _)) = batches
            .read_next()
            .map_err(|e| Error::io("read", &self.path(files::LOG), e))?
        {
            largest = younger(largest, &head);
        }
        Ok((batches.position() == size).then_some(largest))
    }

    /// The largest timestamp of the batches in the first `keep` bytes, which lie below `offset`: that of
    /// the last entry that stays, or of a batch behind it, where there is no entry yet. Kafka:
    /// `LogSegment.readLargestTimestamp`.
    pub(in crate::segment) fn largest_below(&self, offset: i64, keep: u64) -> Result<TimeEntry> {
        let path = || self.path(files::TIME_INDEX);
        let entry = self.marks.lock().times.last_below(self.at(&path), offset)?;
        let entry = entry.unwrap_or_else(|| self.no_time());
        let from = self.floor_entry(entry.offset)?.position;
        match self.largest_of(entry, from, keep)? {
            Some(largest) => Ok(largest),
            // The index does not fit the log.
            None => Ok(self.largest_of(self.no_time(), 0, keep)?.unwrap_or(entry)),
        }
    }

    /// The largest of `known` and the heads from `from` to `to`; `None` where no batches lead there.
    fn largest_of(&self, known: TimeEntry, from: u64, to: u64) -> Result<Option<TimeEntry>> {
        let file = self.log_file()?;
        let mut heads = Heads::new(&*file, from, to);
        let mut largest = known;
        while let Some(head) = heads
            .next()
            .map_err(|e| Error::io("read", &self.path(files::LOG), e))?
        {
            largest = younger(largest, &head);
        }
        Ok((heads.position() == to).then_some(largest))
    }

    /// Unless an append or a cut has changed it meanwhile.
    fn correct_largest(&self, told: &TimeEntry, found: TimeEntry) {
        let mut marks = self.marks.lock();
        if marks.largest == Some(*told) {
            marks.largest = Some(found);
        }
    }
}

/// Kafka: `FileRecords.largestTimestampAfter`. Of the same time the first batch is told.
fn younger(known: TimeEntry, head: &Head) -> TimeEntry {
    if head.max_timestamp <= known.timestamp {
        return known;
    }
    TimeEntry {
        timestamp: head.max_timestamp,
        offset: head.last_offset,
    }
}
