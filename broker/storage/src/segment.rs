//! One file of batches with its three indexes.
//!
//! Only the last segment of a log is appended to, under the log's lock; all segments may be read at any
//! time, by anybody who holds the `Arc`. Files are opened when needed; a segment that has been deleted
//! from the log stays readable until its files are removed, and longer for those who hold them open.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use base::disk::{DiskFile, Open};
use parking_lot::{Mutex, RwLock};

use crate::error::{Damage, Error, Result};
use crate::files;
use crate::handles::{Handles, Slot};
use crate::index::aborted::{AbortedEntry, AbortedIndex};
use crate::index::offset::{OffsetEntry, OffsetIndex};
use crate::index::time::{TimeEntry, TimeIndex};
use crate::index::{At, IndexFile};
use crate::scan::{Head, Heads};
use crate::vetting::{self, Bounds, Fault, Unseen};

/// How many of the newest batches are remembered with their places, so that readers at the end of a
/// log need not look for them.
const RECENT_MAX: usize = 32;

/// The folder of one replica and how files in it are opened; shared by its segments.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) handles: Arc<Handles>,
    path: RwLock<PathBuf>,
}

impl Place {
    pub(crate) fn new(handles: Arc<Handles>, path: PathBuf) -> Arc<Place> {
        Arc::new(Place {
            handles,
            path: RwLock::new(path),
        })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.path.read().clone()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.read().join(name)
    }

    /// The folder has been renamed.
    pub(crate) fn move_to(&self, path: PathBuf) {
        *self.path.write() = path;
    }
}

/// What the files of a segment are called at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Part of the log.
    Plain = 0,
    /// Out of the log, to be removed.
    Deleted = 1,
    /// Being written by the cleaner.
    Cleaned = 2,
    /// Written by the cleaner, to take the place of others.
    Swap = 3,
}

impl Ending {
    fn text(self) -> &'static str {
        match self {
            Ending::Plain => "",
            Ending::Deleted => files::DELETED,
            Ending::Cleaned => files::CLEANED,
            Ending::Swap => files::SWAP,
        }
    }

    fn from_number(number: u8) -> Ending {
        match number {
            0 => Ending::Plain,
            1 => Ending::Deleted,
            2 => Ending::Cleaned,
            _ => Ending::Swap,
        }
    }
}

/// Four kinds of file that carry the base offset of the segment.
pub(crate) const KINDS: [&str; 4] = [
    files::LOG,
    files::OFFSET_INDEX,
    files::TIME_INDEX,
    files::TXN_INDEX,
];

/// One segment of a log.
#[derive(Debug)]
pub struct Segment {
    base: i64,
    place: Arc<Place>,
    ending: AtomicU8,
    log: Arc<Slot>,
    size: AtomicU64,
    unseen: Mutex<Unseen>,
    /// Nothing is unseen any more.
    is_seen: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    offsets: OffsetIndex,
    times: TimeIndex,
    aborted: AbortedIndex,
    bytes_since_entry: u64,
    /// The largest timestamp and the last offset of the batch that has it; `None`: not looked up yet.
    largest: Option<TimeEntry>,
    /// Of the first batch; `None`: not looked up yet.
    first_timestamp: Option<i64>,
    created_ms: i64,
    recent: VecDeque<Recent>,
}

#[derive(Clone, Copy, Debug)]
struct Recent {
    base: i64,
    last: i64,
    position: u64,
    size: u32,
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
        segment.log_file_as(Open::Create)?;
        {
            let mut inner = segment.inner.lock();
            let inner = &mut *inner;
            inner
                .offsets
                .file
                .create(segment.at(&|| segment.path(files::OFFSET_INDEX)))?;
            inner
                .times
                .file
                .create(segment.at(&|| segment.path(files::TIME_INDEX)))?;
        }
        Ok(segment)
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
        let inner = if new {
            Inner {
                offsets: OffsetIndex::new(base, IndexFile::empty(handles)),
                times: TimeIndex::new(base, IndexFile::empty(handles)),
                aborted: AbortedIndex::new(IndexFile::empty(handles)),
                bytes_since_entry: 0,
                largest: Some(unknown),
                first_timestamp: None,
                created_ms: now_ms,
                recent: VecDeque::new(),
            }
        } else {
            Inner {
                offsets: OffsetIndex::new(base, IndexFile::unseen(handles)),
                times: TimeIndex::new(base, IndexFile::unseen(handles)),
                aborted: AbortedIndex::new(IndexFile::unseen(handles)),
                bytes_since_entry: 0,
                largest: None,
                first_timestamp: None,
                created_ms: now_ms,
                recent: VecDeque::new(),
            }
        };
        Segment {
            base,
            place: Arc::clone(place),
            ending: AtomicU8::new(ending as u8),
            log: handles.slot(),
            size: AtomicU64::new(size),
            unseen: Mutex::new(Unseen::whole(size)),
            is_seen: AtomicBool::new(size == 0),
            inner: Mutex::new(inner),
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
        }
    }

    /// The open log file.
    pub fn log_file(&self) -> Result<Arc<dyn DiskFile>> {
        self.log_file_as(Open::Write)
    }

    fn log_file_as(&self, how: Open) -> Result<Arc<dyn DiskFile>> {
        let path = || self.path(files::LOG);
        let opened = match self.place.handles.get(&self.log, how, path) {
            // It may have been renamed between the making of its name and the opening.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                self.place.handles.get(&self.log, how, path)
            }
            other => other,
        };
        opened.map_err(|e| match self.ending() {
            // Its time to be removed has come: for a late reader it is simply gone.
            Ending::Deleted if e.kind() == std::io::ErrorKind::NotFound => Error::Closed,
            _ => Error::io("open segment", &path(), e),
        })
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
        if let Err(e) = file.write_vectored_at(parts, position) {
            return Err(Error::io("append to", &self.path(files::LOG), e));
        }
        self.size.store(position + len, Ordering::Release);
        let mut inner = self.inner.lock();
        match inner.note_appended(self, appending, position, len, index_interval_bytes) {
            // The batch is written: an index that cannot be opened just now only lacks an entry.
            Ok(()) | Err(Error::TooManyFiles { .. }) => {}
            Err(e) => return Err(e),
        }
        if inner.first_timestamp.is_none() && position == 0 {
            inner.first_timestamp = heads.first().map(|head| head.max_timestamp);
        }
        for head in heads.iter().rev().take(RECENT_MAX).rev() {
            if inner.recent.len() >= RECENT_MAX {
                inner.recent.pop_front();
            }
            inner.recent.push_back(Recent {
                base: head.base_offset,
                last: head.last_offset,
                position: head.position,
                size: u32::try_from(head.size).unwrap_or(u32::MAX),
            });
        }
        Ok(())
    }

    /// The first batch, within the first `bound` bytes, whose last offset is at or above `offset`.
    pub(crate) fn find(&self, offset: i64, bound: u64) -> Result<Option<Located>> {
        if let Some(found) = self.find_recent(offset, bound) {
            return Ok(Some(found));
        }
        let start = self.floor_entry(offset)?;
        match self.find_from(offset, start, bound)? {
            Found::At(place) => Ok(Some(place)),
            Found::End => Ok(None),
            // The index does not fit the log: what it says is worth nothing, the log is.
            Found::Unsound(_) if start.position > 0 => {
                match self.find_from(offset, self.beginning(), bound)? {
                    Found::At(place) => Ok(Some(place)),
                    Found::End => Ok(None),
                    Found::Unsound(position) => Err(self.broken_at(position)),
                }
            }
            Found::Unsound(position) => Err(self.broken_at(position)),
        }
    }

    /// Before [from, to) is served: looks at the batches in it that nobody has looked at since the
    /// start. `from` is where `first` begins.
    ///
    /// Hot path: one load where all has been seen.
    pub(crate) fn vet(&self, first: &Located, to: u64, bounds: Bounds) -> Result<()> {
        if self.is_seen.load(Ordering::Acquire) {
            return Ok(());
        }
        let from = first.position;
        loop {
            let Some((low, high)) = self.unseen.lock().first_in(from, to) else {
                return Ok(());
            };
            let begin = low.max(from);
            // One step back where the index knows one: so that the first batch has one before it.
            let step = self
                .floor_entry(first.base_offset.saturating_sub(1))?
                .position;
            let begin_with = if begin == from && (low..from).contains(&step) {
                step
            } else {
                begin
            };
            let stop = high.min(to);
            let file = self.log_file()?;
            let reached = match vetting::vet(&*file, begin_with, stop, bounds) {
                Ok(reached) => reached,
                Err(Fault::Disk(e)) => return Err(Error::io("read", &self.path(files::LOG), e)),
                Err(Fault::Damage(damage)) => {
                    return Err(Error::corrupt("read", &self.path(files::LOG), damage));
                }
            };
            self.note_seen(begin_with, reached);
            if reached < stop || stop == to {
                return Ok(());
            }
        }
    }

    /// The bytes of [from, to) are those that were written.
    pub(crate) fn note_seen(&self, from: u64, to: u64) {
        let mut unseen = self.unseen.lock();
        unseen.note_seen(from, to);
        if unseen.is_empty() {
            self.is_seen.store(true, Ordering::Release);
        }
    }

    fn broken_at(&self, position: u64) -> Error {
        Error::corrupt("read", &self.path(files::LOG), Damage::Batch { position })
    }

    fn find_recent(&self, offset: i64, bound: u64) -> Option<Located> {
        let inner = self.inner.lock();
        if inner
            .recent
            .front()
            .is_none_or(|oldest| oldest.base > offset)
        {
            return None;
        }
        let at = inner.recent.partition_point(|recent| recent.last < offset);
        let recent = inner.recent.get(at)?;
        (recent.position < bound).then_some(Located {
            position: recent.position,
            size: recent.size as usize,
            base_offset: recent.base,
            last_offset: recent.last,
        })
    }

    fn floor_entry(&self, offset: i64) -> Result<OffsetEntry> {
        let mut inner = self.inner.lock();
        inner
            .offsets
            .floor(self.at(&|| self.path(files::OFFSET_INDEX)), offset)
    }

    fn beginning(&self) -> OffsetEntry {
        OffsetEntry {
            offset: self.base,
            position: 0,
        }
    }

    fn find_from(&self, offset: i64, start: OffsetEntry, bound: u64) -> Result<Found> {
        let file = self.log_file()?;
        let mut heads = Heads::new(&*file, start.position, bound);
        let mut first = true;
        loop {
            let head = heads
                .next()
                .map_err(|e| Error::io("read", &self.path(files::LOG), e))?;
            let Some(head) = head else {
                let position = heads.position();
                return Ok(if position >= bound {
                    Found::End
                } else {
                    Found::Unsound(position)
                });
            };
            // The batch an entry speaks of begins at or below the entry's offset.
            let may_begin = self.base..=start.offset;
            if first && start.position > 0 && !may_begin.contains(&head.base_offset) {
                return Ok(Found::Unsound(head.position));
            }
            first = false;
            if head.last_offset >= offset {
                return Ok(Found::At(Located {
                    position: head.position,
                    size: head.size,
                    base_offset: head.base_offset,
                    last_offset: head.last_offset,
                }));
            }
        }
    }

    /// The largest timestamp in it and the last offset of its batch; (−1, base) where unknown.
    pub fn largest_timestamp(&self) -> Result<TimeEntry> {
        self.inner.lock().largest(self)
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
        let path = self.path(files::LOG);
        let facts = self.place.handles.disk.facts(&path);
        facts
            .map(|facts| facts.modified_ms)
            .map_err(|e| Error::io("look at", &path, e))
    }

    /// The first batch's timestamp, where there is a batch that has one.
    pub fn first_timestamp(&self) -> Result<Option<i64>> {
        if let Some(known) = self.inner.lock().first_timestamp {
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
        self.inner.lock().first_timestamp = Some(timestamp);
        Ok(Some(timestamp).filter(|timestamp| *timestamp >= 0))
    }

    pub(crate) fn created_ms(&self) -> i64 {
        self.inner.lock().created_ms
    }

    /// From where a record of at least `timestamp`, not below `from`, is looked for.
    pub(crate) fn position_for_time(&self, timestamp: i64, from: i64) -> Result<u64> {
        let mut inner = self.inner.lock();
        let by_time = inner
            .times
            .floor(self.at(&|| self.path(files::TIME_INDEX)), timestamp)?;
        let offset = by_time.offset.max(from);
        let entry = inner
            .offsets
            .floor(self.at(&|| self.path(files::OFFSET_INDEX)), offset)?;
        Ok(entry.position)
    }

    pub(crate) fn note_aborted(&self, entry: &AbortedEntry) -> Result<()> {
        let mut inner = self.inner.lock();
        inner
            .aborted
            .push(self.at(&|| self.path(files::TXN_INDEX)), entry)
    }

    pub fn aborted(&self) -> Result<Vec<AbortedEntry>> {
        let mut inner = self.inner.lock();
        inner.aborted.all(self.at(&|| self.path(files::TXN_INDEX)))
    }

    pub(crate) fn aborted_is_sound(&self) -> Result<bool> {
        let mut inner = self.inner.lock();
        inner
            .aborted
            .is_sound(self.at(&|| self.path(files::TXN_INDEX)))
    }

    pub(crate) fn is_index_full(&self, index_bytes_max: u32) -> Result<bool> {
        let mut inner = self.inner.lock();
        Ok(inner
            .offsets
            .is_full(self.at(&|| self.path(files::OFFSET_INDEX)), index_bytes_max)?
            || inner
                .times
                .is_full(self.at(&|| self.path(files::TIME_INDEX)), index_bytes_max)?)
    }

    /// Bytes of the offset index and of the time index.
    pub(crate) fn index_bytes(&self) -> Result<(u64, u64)> {
        let mut inner = self.inner.lock();
        let offsets = inner
            .offsets
            .file
            .len(self.at(&|| self.path(files::OFFSET_INDEX)))?;
        let times = inner
            .times
            .file
            .len(self.at(&|| self.path(files::TIME_INDEX)))?;
        Ok((
            u64::from(offsets) * crate::index::offset::ENTRY as u64,
            u64::from(times) * crate::index::time::ENTRY as u64,
        ))
    }

    /// Nothing will be appended: notes the last timestamp and writes the indexes out.
    pub fn seal(&self) -> Result<()> {
        let mut inner = self.inner.lock();
        inner.push_last_time(self)?;
        inner.write_out(self)?;
        inner.recent = VecDeque::new();
        Ok(())
    }

    /// Frees what only a busy log needs.
    pub(crate) fn rest(&self) -> Result<()> {
        let mut inner = self.inner.lock();
        inner.write_out(self)?;
        inner.recent = VecDeque::new();
        Ok(())
    }

    /// Hands what waits in memory to the kernel.
    pub(crate) fn write_out(&self) -> Result<()> {
        self.inner.lock().write_out(self)
    }

    /// The files that need a sync; with the indexes where `whole`.
    pub(crate) fn files_to_sync(&self, whole: bool) -> Result<Vec<Arc<dyn DiskFile>>> {
        let mut wanted = vec![self.log_file()?];
        if whole {
            let mut inner = self.inner.lock();
            let inner = &mut *inner;
            wanted.extend(
                inner
                    .offsets
                    .file
                    .for_sync(self.at(&|| self.path(files::OFFSET_INDEX)))?,
            );
            wanted.extend(
                inner
                    .times
                    .file
                    .for_sync(self.at(&|| self.path(files::TIME_INDEX)))?,
            );
            wanted.extend(
                inner
                    .aborted
                    .file
                    .for_sync(self.at(&|| self.path(files::TXN_INDEX)))?,
            );
        }
        Ok(wanted)
    }

    /// Cuts batches that reach `offset` or beyond, and what the indexes say of them. Gives how many
    /// bytes went.
    pub(crate) fn truncate_to(&self, offset: i64) -> Result<u64> {
        let size = self.size();
        let keep = self
            .find(offset, size)?
            .map_or(size, |found| found.position);
        self.truncate_bytes(keep)?;
        self.inner.lock().truncate_indexes(self, offset)?;
        Ok(size - keep)
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

    /// Before a scan that begins at a batch found by the index: keeps the index entries that can be
    /// trusted up to `offset`, and gives where to begin. Kafka scans the whole segment.
    pub(crate) fn trusted_start(&self, offset: i64) -> Result<OffsetEntry> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let size = self.size();
        let index_path = || self.path(files::OFFSET_INDEX);
        let time_path = || self.path(files::TIME_INDEX);
        inner.offsets.keep_sound(self.at(&index_path), size)?;
        inner.times.keep_sound(self.at(&time_path))?;
        let entry = inner.offsets.floor(self.at(&index_path), offset)?;
        Ok(entry)
    }

    /// The last entry of the offset index; the beginning where there is none.
    pub(crate) fn last_entry(&self) -> Result<OffsetEntry> {
        let mut inner = self.inner.lock();
        let last = inner
            .offsets
            .last(self.at(&|| self.path(files::OFFSET_INDEX)))?;
        Ok(last.unwrap_or_else(|| self.beginning()))
    }

    /// Forgets the indexes from a batch on (all of them for the segment's base).
    pub(crate) fn cut_indexes(&self, offset: i64) -> Result<()> {
        self.inner.lock().truncate_indexes(self, offset)
    }

    /// Notes one batch found by a scan. Kafka: `LogSegment.recover` indexes by batch.
    pub(crate) fn note_scanned(&self, head: &Head, index_interval_bytes: u32) -> Result<()> {
        let appending = Appending {
            last_offset: head.last_offset,
            max_timestamp: head.max_timestamp,
            offset_of_max: head.last_offset,
        };
        let len = head.size as u64;
        let mut inner = self.inner.lock();
        inner.note_appended(self, appending, head.position, len, index_interval_bytes)
    }

    /// Cuts the file where a scan could not go on.
    pub(crate) fn cut_tail(&self, keep: u64) -> Result<()> {
        self.inner.lock().recent.clear();
        self.truncate_bytes(keep)
    }

    /// Renames all its files. Missing ones are passed over.
    pub(crate) fn rename_files(&self, ending: Ending) -> Result<()> {
        let disk = &self.place.handles.disk;
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
        Ok(())
    }

    /// Removes its files; those who hold them open can finish.
    pub(crate) fn remove_files(&self) -> Result<()> {
        let disk = &self.place.handles.disk;
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
        let inner = self.inner.lock();
        inner.offsets.file.close();
        inner.times.file.close();
        inner.aborted.file.close();
    }
}

/// Where a batch lies and which offsets it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) position: u64,
    pub(crate) size: usize,
    pub(crate) base_offset: i64,
    pub(crate) last_offset: i64,
}

enum Found {
    At(Located),
    End,
    /// No batch can be at this position.
    Unsound(u64),
}

impl Inner {
    fn largest(&mut self, segment: &Segment) -> Result<TimeEntry> {
        if let Some(largest) = self.largest {
            return Ok(largest);
        }
        let last = self
            .times
            .last(segment.at(&|| segment.path(files::TIME_INDEX)))?;
        let largest = last.unwrap_or(TimeEntry {
            timestamp: -1,
            offset: segment.base,
        });
        self.largest = Some(largest);
        Ok(largest)
    }

    fn note_timestamp(&mut self, segment: &Segment, appending: Appending) -> Result<()> {
        if appending.max_timestamp > self.largest(segment)?.timestamp {
            self.largest = Some(TimeEntry {
                timestamp: appending.max_timestamp,
                offset: appending.offset_of_max,
            });
        }
        Ok(())
    }

    /// Kafka: `LogSegment.append`. The first set of a segment is never indexed.
    fn note_appended(
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

    fn push_entries(&mut self, segment: &Segment, offset: i64, position: u64) -> Result<()> {
        self.offsets.push(
            segment.at(&|| segment.path(files::OFFSET_INDEX)),
            offset,
            position,
        )?;
        self.push_last_time(segment)
    }

    /// Where a timestamp is known. Kafka: `maybeAppend(…, skipFullCheck)` on roll, close, recovery.
    fn push_last_time(&mut self, segment: &Segment) -> Result<()> {
        let largest = self.largest(segment)?;
        if largest.timestamp < 0 {
            return Ok(());
        }
        let path = || segment.path(files::TIME_INDEX);
        self.times
            .push(segment.at(&path), largest.timestamp, largest.offset)
    }

    fn write_out(&mut self, segment: &Segment) -> Result<()> {
        self.offsets
            .file
            .write_out(segment.at(&|| segment.path(files::OFFSET_INDEX)))?;
        self.times
            .file
            .write_out(segment.at(&|| segment.path(files::TIME_INDEX)))?;
        self.aborted
            .file
            .write_out(segment.at(&|| segment.path(files::TXN_INDEX)))
    }

    fn truncate_indexes(&mut self, segment: &Segment, offset: i64) -> Result<()> {
        self.offsets
            .truncate_to(segment.at(&|| segment.path(files::OFFSET_INDEX)), offset)?;
        self.times
            .truncate_to(segment.at(&|| segment.path(files::TIME_INDEX)), offset)?;
        self.aborted
            .truncate_to(segment.at(&|| segment.path(files::TXN_INDEX)), offset)?;
        self.recent.clear();
        self.bytes_since_entry = 0;
        self.largest = None;
        if offset <= segment.base {
            self.first_timestamp = None;
        }
        Ok(())
    }
}
