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
use crate::scan::Batches;
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
            if head.max_timestamp > largest.timestamp {
                largest = TimeEntry {
                    timestamp: head.max_timestamp,
                    offset: head.last_offset,
                };
            }
        }
        Ok((batches.position() == size).then_some(largest))
    }

    /// Unless an append or a cut has changed it meanwhile.
    fn correct_largest(&self, told: &TimeEntry, found: TimeEntry) {
        let mut marks = self.marks.lock();
        if marks.largest == Some(*told) {
            marks.largest = Some(found);
        }
    }
}
