//! One file of batches with its three indexes.
//!
//! Only the last segment of a log is appended to, under the log's lock; all segments may be read at any
//! time, by anybody who holds the `Arc`. Files are opened when needed; a segment that has been deleted
//! from the log stays readable until its files are removed, and longer for those who hold them open.

mod age;
mod lookup;
mod marks;
mod place;

use std::collections::VecDeque;
use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use base::disk::{DiskFile, Open};
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::files;
use crate::handles::Slot;
use crate::index::aborted::{self, AbortedEntry, AbortedIndex};
use crate::index::offset::OffsetIndex;
use crate::index::time::{self, TimeEntry, TimeIndex};
use crate::index::{At, Floor, IndexFile, Renames};
use crate::scan::{Head, Heads};
use crate::segment::marks::{Marks, Recent};
pub use crate::segment::place::Ending;
pub(crate) use crate::segment::place::{KINDS, Place};
use crate::vetting::Unseen;

/// How many of the newest batches are remembered with their places, so that readers at the end of a
/// log need not look for them.
const RECENT_MAX: usize = 32;

/// One segment of a log.
#[derive(Debug)]
pub struct Segment {
    base: i64,
    place: Arc<Place>,
    ending: AtomicU8,
    renames: Renames,
    log: Arc<Slot>,
    size: AtomicU64,
    unseen: Mutex<Unseen>,
    /// Nothing is unseen any more.
    is_seen: AtomicBool,
    marks: Mutex<Marks>,
}

/// What one append brings into a segment.
#[derive(Clone, Copy, Debug)]
pub struct Appending {
    pub last_offset: i64,
    /// −1: no timestamp known.
    pub max_timestamp: i64,
    /// The last offset of the earliest batch that has it.
    pub offset_of_max: i64,
}

/// A cut that is planned and cannot fail any more for want of a descriptor.
#[derive(Debug)]
pub(crate) struct Cut {
    offset: i64,
    keep: u64,
    /// Of what stays.
    largest: TimeEntry,
    size: u64,
    _held: Vec<Arc<dyn DiskFile>>,
}

impl Cut {
    /// How many go.
    pub(crate) fn bytes(&self) -> u64 {
        self.size - self.keep
    }
}

impl Segment {
    /// A new, empty segment; its files are made.
    pub(crate) fn create(
        place: &Arc<Place>,
        base: i64,
        ending: Ending,
        now_ms: i64,
    ) -> Result<Segment> {
        for kind in KINDS {
            let path = place.join(&(files::segment_file(base, kind) + ending.text()));
            let disk = &place.handles.disk;
            // What lies there under this name is a leftover without a log around it.
            if disk
                .exists(&path)
                .map_err(|e| Error::io("look for", &path, e))?
            {
                disk.remove_file(&path)
                    .map_err(|e| Error::io("remove", &path, e))?;
            }
        }
        Segment::make(place, base, ending, now_ms)
    }

    /// As [`Segment::create`], where nothing can lie under its names.
    pub(crate) fn create_in_new_folder(
        place: &Arc<Place>,
        base: i64,
        now_ms: i64,
    ) -> Result<Segment> {
        Segment::make(place, base, Ending::Plain, now_ms)
    }

    fn make(place: &Arc<Place>, base: i64, ending: Ending, now_ms: i64) -> Result<Segment> {
        let segment = Segment::over(place, base, ending, 0, true, now_ms);
        let made = segment.create_files();
        if made.is_err() {
            // An empty log file that is left behind would be taken for the log's end by the next start.
            let _tried = segment.remove_files();
        }
        made.map(|()| segment)
    }

    fn create_files(&self) -> Result<()> {
        self.log_file_as(Open::Create)?;
        self.create_indexes(&mut self.marks.lock())
    }

    fn create_indexes(&self, marks: &mut Marks) -> Result<()> {
        marks
            .offsets
            .file
            .create(self.at(&|| self.path(files::OFFSET_INDEX)))?;
        marks
            .times
            .file
            .create(self.at(&|| self.path(files::TIME_INDEX)))
    }

    /// A segment whose log file is there, `size` bytes long.
    pub(crate) fn existing(place: &Arc<Place>, base: i64, size: u64, now_ms: i64) -> Segment {
        Segment::over(place, base, Ending::Plain, size, false, now_ms)
    }

    fn over(
        place: &Arc<Place>,
        base: i64,
        ending: Ending,
        size: u64,
        new: bool,
        now_ms: i64,
    ) -> Segment {
        let handles = &*place.handles;
        let unknown = TimeEntry {
            timestamp: -1,
            offset: base,
        };
        let marks = if new {
            Marks {
                offsets: OffsetIndex::new(base, IndexFile::empty(handles)),
                times: TimeIndex::new(base, IndexFile::empty(handles)),
                aborted: AbortedIndex::new(IndexFile::empty(handles)),
                bytes_since_entry: 0,
                largest: Some(unknown),
                cuts: 0,
                first_timestamp: None,
                created_ms: now_ms,
                recent: VecDeque::new(),
            }
        } else {
            Marks {
                offsets: OffsetIndex::new(base, IndexFile::unseen(handles)),
                times: TimeIndex::new(base, IndexFile::unseen(handles)),
                aborted: AbortedIndex::new(IndexFile::unseen(handles)),
                bytes_since_entry: 0,
                largest: None,
                cuts: 0,
                first_timestamp: None,
                created_ms: now_ms,
                recent: VecDeque::new(),
            }
        };
        Segment {
            base,
            place: Arc::clone(place),
            ending: AtomicU8::new(ending as u8),
            renames: Renames::default(),
            log: handles.slot(),
            size: AtomicU64::new(size),
            unseen: Mutex::new(Unseen::whole(size)),
            is_seen: AtomicBool::new(size == 0),
            marks: Mutex::new(marks),
        }
    }

    pub fn base_offset(&self) -> i64 {
        self.base
    }

    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub fn ending(&self) -> Ending {
        Ending::from_number(self.ending.load(Ordering::Acquire))
    }

    /// Where one of its files lies now; `kind` is one of the suffixes in [`crate::files`].
    pub fn path(&self, kind: &str) -> PathBuf {
        let mut name = files::segment_file(self.base, kind);
        name.push_str(self.ending().text());
        self.place.join(&name)
    }

    fn at<'a>(&'a self, path: &'a dyn Fn() -> PathBuf) -> At<'a> {
        At {
            handles: &self.place.handles,
            path,
            renames: &self.renames,
        }
    }

    /// The open log file.
    pub fn log_file(&self) -> Result<Arc<dyn DiskFile>> {
        self.log_file_as(Open::Write)
    }

    fn log_file_as(&self, how: Open) -> Result<Arc<dyn DiskFile>> {
        let path = || self.path(files::LOG);
        self.at(&path).open(&self.log, how, "open segment")
    }

    /// Appends batches that are already numbered: one write, then the indexes as Kafka keeps them.
    ///
    /// Hot path: no allocation but the index entry's, no copy.
    pub fn append(
        &self,
        parts: &mut [IoSlice<'_>],
        heads: &[Head],
        appending: Appending,
        index_interval_bytes: u32,
    ) -> Result<()> {
        let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let position = self.size();
        let file = self.log_file()?;
        if self.marks.lock().largest.is_none() {
            // Once the batch is written its time must be noted, whatever can be opened then.
            self.largest_timestamp()?;
        }
        if let Err(e) = file.write_vectored_at(parts, position) {
            return Err(Error::io("append to", &self.path(files::LOG), e));
        }
        self.size.store(position + len, Ordering::Release);
        let mut marks = self.marks.lock();
        match marks.note_appended(self, appending, position, len, index_interval_bytes) {
            // The batch is written: an index that cannot be opened just now only lacks an entry.
            Ok(()) | Err(Error::TooManyFiles { .. }) => {}
            Err(e) => return Err(e),
        }
        if marks.first_timestamp.is_none() && position == 0 {
            marks.first_timestamp = heads.first().map(|head| head.max_timestamp);
        }
        for head in heads.iter().rev().take(RECENT_MAX).rev() {
            if marks.recent.len() >= RECENT_MAX {
                marks.recent.pop_front();
            }
            marks.recent.push_back(Recent {
                base: head.base_offset,
                last: head.last_offset,
                position: head.position,
                size: u32::try_from(head.size).unwrap_or(u32::MAX),
            });
        }
        Ok(())
    }

    /// The bytes of [from, to) are those that were written.
    pub(crate) fn note_seen(&self, from: u64, to: u64) {
        let mut unseen = self.unseen.lock();
        unseen.note_seen(from, to);
        if unseen.is_empty() {
            self.is_seen.store(true, Ordering::Release);
        }
    }

    /// The largest timestamp in it and the last offset of its batch; (−1, base) where unknown. The
    /// index is read with no lock held: who appends, and who reads what memory knows, do not wait for
    /// the disk.
    pub fn largest_timestamp(&self) -> Result<TimeEntry> {
        let (newest, cuts) = {
            let marks = self.marks.lock();
            if let Some(known) = marks.largest {
                return Ok(known);
            }
            (marks.times.file.newest(), marks.cuts)
        };
        let path = || self.path(files::TIME_INDEX);
        let (last, learned) = match newest {
            Floor::Known(last) => (last, None),
            Floor::Stored(glance) => glance.last(self.at(&path))?,
        };
        let mut marks = self.marks.lock();
        if marks.cuts != cuts {
            drop(marks);
            return self.largest_timestamp();
        }
        if let Some(stored) = learned {
            marks.times.file.note_stored(stored);
        }
        let found = last.map_or_else(|| self.no_time(), |last| time::decode(self.base, &last));
        Ok(*marks.largest.get_or_insert(found))
    }

    /// Of batches none of which has a time.
    fn no_time(&self) -> TimeEntry {
        TimeEntry {
            timestamp: -1,
            offset: self.base,
        }
    }

    /// Kafka: the largest timestamp, or the file's time where no record has one.
    pub fn largest_timestamp_or_modified(&self) -> Result<i64> {
        let largest = self.largest_timestamp()?.timestamp;
        if largest >= 0 {
            Ok(largest)
        } else {
            self.modified_ms()
        }
    }

    pub fn modified_ms(&self) -> Result<i64> {
        let path = || self.path(files::LOG);
        Ok(self.at(&path).facts()?.modified_ms)
    }

    /// The first batch's timestamp, where there is a batch that has one.
    pub fn first_timestamp(&self) -> Result<Option<i64>> {
        if let Some(known) = self.marks.lock().first_timestamp {
            return Ok(Some(known).filter(|timestamp| *timestamp >= 0));
        }
        if self.size() == 0 {
            return Ok(None);
        }
        let file = self.log_file()?;
        let head = Heads::new(&*file, 0, self.size())
            .next()
            .map_err(|e| Error::io("read", &self.path(files::LOG), e))?;
        let timestamp = head.map_or(-1, |head| head.max_timestamp);
        self.marks.lock().first_timestamp = Some(timestamp);
        Ok(Some(timestamp).filter(|timestamp| *timestamp >= 0))
    }

    pub(crate) fn created_ms(&self) -> i64 {
        self.marks.lock().created_ms
    }

    pub(crate) fn note_aborted(&self, entry: &AbortedEntry) -> Result<()> {
        let mut marks = self.marks.lock();
        let path = || self.path(files::TXN_INDEX);
        // Whether there is a file must be known, or it could not be told that one was made.
        marks.aborted.file.len(self.at(&path))?;
        marks.write_aborted(self, |aborted, at| aborted.push(at, entry))
    }

    /// Hands over the aborted transactions in the order of their markers, until one is not wanted.
    /// The file is read with no lock held: an append, which needs it, does not wait for the disk.
    pub(crate) fn visit_aborted(&self, is_wanted: impl FnMut(AbortedEntry) -> bool) -> Result<()> {
        let entries = self.marks.lock().aborted.file.glance();
        let path = || self.path(files::TXN_INDEX);
        if let Some(stored) = aborted::visit(&entries, self.at(&path), is_wanted)? {
            self.marks.lock().aborted.file.note_stored(stored);
        }
        Ok(())
    }

    /// `next`: where the segment after it begins.
    pub(crate) fn aborted_is_sound(&self, next: Option<i64>) -> Result<bool> {
        let mut marks = self.marks.lock();
        let markers = self.base..next.unwrap_or(i64::MAX);
        marks
            .aborted
            .is_sound(self.at(&|| self.path(files::TXN_INDEX)), &markers)
    }

    pub(crate) fn is_index_full(&self, index_bytes_max: u32) -> Result<bool> {
        let mut marks = self.marks.lock();
        Ok(marks
            .offsets
            .is_full(self.at(&|| self.path(files::OFFSET_INDEX)), index_bytes_max)?
            || marks
                .times
                .is_full(self.at(&|| self.path(files::TIME_INDEX)), index_bytes_max)?)
    }

    /// Bytes of the offset index and of the time index.
    pub(crate) fn index_bytes(&self) -> Result<(u64, u64)> {
        let mut marks = self.marks.lock();
        let offsets = marks
            .offsets
            .file
            .len(self.at(&|| self.path(files::OFFSET_INDEX)))?;
        let times = marks
            .times
            .file
            .len(self.at(&|| self.path(files::TIME_INDEX)))?;
        Ok((
            u64::from(offsets) * crate::index::offset::ENTRY as u64,
            u64::from(times) * crate::index::time::ENTRY as u64,
        ))
    }

    /// Bytes of the index of aborted transactions, with what waits to be written.
    pub(crate) fn txn_index_bytes(&self) -> Result<u64> {
        let mut marks = self.marks.lock();
        let entries = marks
            .aborted
            .file
            .len(self.at(&|| self.path(files::TXN_INDEX)))?;
        Ok(u64::from(entries) * aborted::ENTRY as u64)
    }

    /// Nothing will be appended: notes the last timestamp and writes the indexes out.
    pub fn seal(&self) -> Result<()> {
        let mut marks = self.marks.lock();
        marks.push_last_time(self)?;
        marks.write_out(self)?;
        marks.recent = VecDeque::new();
        Ok(())
    }

    /// Frees what only a busy log needs.
    pub(crate) fn rest(&self) -> Result<()> {
        let mut marks = self.marks.lock();
        marks.write_out(self)?;
        marks.recent = VecDeque::new();
        Ok(())
    }

    /// Hands what waits in memory to the kernel.
    pub(crate) fn write_out(&self) -> Result<()> {
        self.marks.lock().write_out(self)
    }

    /// The files that need a sync; with the indexes where `whole`.
    pub(crate) fn files_to_sync(&self, whole: bool) -> Result<Vec<Arc<dyn DiskFile>>> {
        let mut wanted = vec![self.log_file()?];
        if whole {
            let mut marks = self.marks.lock();
            let marks = &mut *marks;
            wanted.extend(
                marks
                    .offsets
                    .file
                    .for_sync(self.at(&|| self.path(files::OFFSET_INDEX)))?,
            );
            wanted.extend(
                marks
                    .times
                    .file
                    .for_sync(self.at(&|| self.path(files::TIME_INDEX)))?,
            );
            wanted.extend(marks.write_aborted(self, |aborted, at| aborted.file.for_sync(at))?);
        }
        Ok(wanted)
    }

    /// What it takes to cut the batches that reach `offset` or beyond.
    pub(crate) fn plan_cut(&self, offset: i64) -> Result<Cut> {
        let held = self.hold_files()?;
        let size = self.size();
        let found = self.find(offset, size)?;
        let keep = found.map_or(size, |found| found.position);
        Ok(Cut {
            offset,
            keep,
            largest: self.largest_below(offset, keep)?,
            size,
            _held: held,
        })
    }

    /// Cuts batches, and what the indexes say of them.
    pub(crate) fn cut(&self, cut: &Cut) -> Result<()> {
        self.truncate_bytes(cut.keep)?;
        let mut marks = self.marks.lock();
        marks.truncate_indexes(self, cut.offset)?;
        marks.largest = Some(cut.largest);
        Ok(())
    }

    /// Opens all its files. While they are held none has to be opened anew.
    fn hold_files(&self) -> Result<Vec<Arc<dyn DiskFile>>> {
        let mut held = vec![self.log_file()?];
        let mut marks = self.marks.lock();
        let offset_path = || self.path(files::OFFSET_INDEX);
        let time_path = || self.path(files::TIME_INDEX);
        let aborted_path = || self.path(files::TXN_INDEX);
        held.extend(marks.offsets.file.hold(self.at(&offset_path))?);
        held.extend(marks.times.file.hold(self.at(&time_path))?);
        held.extend(marks.aborted.file.hold(self.at(&aborted_path))?);
        Ok(held)
    }

    /// Cuts what lies behind its batches.
    pub(crate) fn cut_at_size(&self) -> Result<()> {
        self.truncate_bytes(self.size())
    }

    fn truncate_bytes(&self, keep: u64) -> Result<()> {
        let path = self.path(files::LOG);
        let file = self.log_file()?;
        file.truncate(keep)
            .map_err(|e| Error::io("truncate", &path, e))?;
        self.size.store(keep, Ordering::Release);
        self.unseen.lock().cut(keep);
        Ok(())
    }

    /// Before a scan: forgets the indexes from a batch on (all of them for the segment's base).
    pub(crate) fn cut_indexes(&self, offset: i64) -> Result<()> {
        let mut marks = self.marks.lock();
        if offset > self.base {
            return marks.truncate_indexes(self, offset);
        }
        marks.truncate_rebuilt(self, offset)?;
        marks
            .aborted
            .begin_anew(self.at(&|| self.path(files::TXN_INDEX)));
        Ok(())
    }

    /// After a scan. Indexes without an entry are made as well: where one is missing, every start scans.
    pub(crate) fn end_scan(&self) -> Result<()> {
        let mut marks = self.marks.lock();
        marks.write_aborted(self, |aborted, at| aborted.end_anew(at))?;
        self.create_indexes(&mut marks)?;
        drop(marks);
        self.seal()
    }

    /// Notes one batch found by a scan. Kafka: `LogSegment.recover` indexes by batch.
    pub(crate) fn note_scanned(&self, head: &Head, index_interval_bytes: u32) -> Result<()> {
        let appending = Appending {
            last_offset: head.last_offset,
            max_timestamp: head.max_timestamp,
            offset_of_max: head.last_offset,
        };
        let len = head.size as u64;
        let mut marks = self.marks.lock();
        marks.note_appended(self, appending, head.position, len, index_interval_bytes)
    }

    /// Cuts the file where a scan could not go on.
    pub(crate) fn cut_tail(&self, keep: u64) -> Result<()> {
        self.marks.lock().recent.clear();
        self.truncate_bytes(keep)
    }

    /// Renames all its files. Missing ones are passed over.
    pub(crate) fn rename_files(&self, ending: Ending) -> Result<()> {
        let disk = &self.place.handles.disk;
        let _until_all_are = self.renames.under_way.lock();
        for kind in KINDS {
            let from = self.path(kind);
            let name = files::segment_file(self.base, kind) + ending.text();
            let to = self.place.join(&name);
            match disk.rename(&from, &to) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io("rename", &from, e)),
            }
        }
        self.ending.store(ending as u8, Ordering::Release);
        let is_doomed = ending == Ending::Deleted;
        self.renames.is_doomed.store(is_doomed, Ordering::Release);
        Ok(())
    }

    /// Removes its files; those who hold them open can finish.
    pub(crate) fn remove_files(&self) -> Result<()> {
        let disk = &self.place.handles.disk;
        self.renames.is_doomed.store(true, Ordering::Release);
        self.close();
        for kind in KINDS {
            let path = self.path(kind);
            match disk.remove_file(&path) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io("remove", &path, e)),
            }
        }
        Ok(())
    }

    pub(crate) fn close(&self) {
        self.log.close();
        let mut marks = self.marks.lock();
        marks.offsets.file.close();
        marks.times.file.close();
        marks.aborted.file.close();
    }
}
