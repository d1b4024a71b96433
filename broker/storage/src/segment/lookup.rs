//! Finding a batch by offset or by time: the newest places first, then the index, then the log itself.

use std::sync::atomic::Ordering;

use crate::error::{Damage, Error, Result};
use crate::files;
use crate::index::offset::{self, OffsetEntry};
use crate::index::{Floor, IndexFile, time};
use crate::scan::Heads;
use crate::segment::Segment;
use crate::segment::marks::Marks;
use crate::vetting::{self, Bounds, Fault};

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

impl Segment {
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

    /// Where the last batch ends that lies wholly below `offset`; the base where there is none.
    pub(crate) fn end_below(&self, offset: i64) -> Result<i64> {
        let size = self.size();
        let bound = self
            .find(offset, size)?
            .map_or(size, |found| found.position);
        let start = self.floor_entry(offset - 1)?;
        let end = match self.end_of_batches(start, bound)? {
            None if start.position > 0 => self.end_of_batches(self.beginning(), bound)?,
            end => end,
        };
        end.ok_or_else(|| self.broken_at(bound))
    }

    /// Where the last batch from `start` to `bound` ends; `None` where no batches lead there.
    fn end_of_batches(&self, start: OffsetEntry, bound: u64) -> Result<Option<i64>> {
        let file = self.log_file()?;
        let mut heads = Heads::new(&*file, start.position, bound);
        let mut end = None;
        while let Some(head) = heads
            .next()
            .map_err(|e| Error::io("read", &self.path(files::LOG), e))?
        {
            let is_first = end.is_none() && start.position > 0;
            if is_first && !(self.base..=start.offset).contains(&head.base_offset) {
                return Ok(None);
            }
            end = Some(head.last_offset + 1);
        }
        let is_whole = heads.position() == bound;
        let beginning = (start.position == 0).then_some(self.base);
        Ok(end.or(beginning).filter(|_| is_whole))
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

    fn broken_at(&self, position: u64) -> Error {
        Error::corrupt("read", &self.path(files::LOG), Damage::Batch { position })
    }

    fn find_recent(&self, offset: i64, bound: u64) -> Option<Located> {
        let marks = self.marks.lock();
        if marks
            .recent
            .front()
            .is_none_or(|oldest| oldest.base > offset)
        {
            return None;
        }
        let at = marks.recent.partition_point(|recent| recent.last < offset);
        let recent = marks.recent.get(at)?;
        (recent.position < bound).then_some(Located {
            position: recent.position,
            size: recent.size as usize,
            base_offset: recent.base,
            last_offset: recent.last,
        })
    }

    /// The last entry of the offset index at or below `offset`; the beginning where there is none.
    pub(in crate::segment) fn floor_entry(&self, offset: i64) -> Result<OffsetEntry> {
        let is_before = |entry: &_| offset::decode(self.base, entry).offset <= offset;
        let kind = files::OFFSET_INDEX;
        let found = self.floor_of(|marks| &mut marks.offsets.file, kind, is_before)?;
        Ok(found.map_or_else(
            || self.beginning(),
            |entry| offset::decode(self.base, &entry),
        ))
    }

    /// The last entry of an index that `is_before` holds for. Its file is read with no lock held: an
    /// append, and who reads what memory knows, do not wait for the disk.
    fn floor_of<const N: usize>(
        &self,
        index: impl Fn(&mut Marks) -> &mut IndexFile<N>,
        kind: &str,
        is_before: impl Fn(&[u8; N]) -> bool,
    ) -> Result<Option<[u8; N]>> {
        let floor = index(&mut self.marks.lock()).floor(&is_before);
        let glance = match floor {
            Floor::Known(entry) => return Ok(entry),
            Floor::Stored(glance) => glance,
        };
        let (entry, learned) = glance.floor(self.at(&|| self.path(kind)), is_before)?;
        if let Some(stored) = learned {
            index(&mut self.marks.lock()).note_stored(stored);
        }
        Ok(entry)
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

    /// From where a record of at least `timestamp`, not below `from`, is looked for.
    pub(crate) fn position_for_time(&self, timestamp: i64, from: i64) -> Result<u64> {
        let is_before = |entry: &_| time::decode(self.base, entry).timestamp <= timestamp;
        let kind = files::TIME_INDEX;
        let by_time = self.floor_of(|marks| &mut marks.times.file, kind, is_before)?;
        let by_time = by_time.map_or(self.base, |entry| time::decode(self.base, &entry).offset);
        Ok(self.floor_entry(by_time.max(from))?.position)
    }

    /// Before a scan that begins at a batch found by the index: keeps the index entries that can be
    /// trusted up to `offset`, and gives where to begin. Kafka scans the whole segment; so do we where
    /// the time index is spoilt, as it would make the segment older than it is.
    pub(crate) fn trusted_start(&self, offset: i64) -> Result<OffsetEntry> {
        let mut marks = self.marks.lock();
        let index_path = || self.path(files::OFFSET_INDEX);
        let time_path = || self.path(files::TIME_INDEX);
        let size = self.size();
        marks.offsets.keep_sound(self.at(&index_path), size)?;
        let is_whole = marks.times.keep_sound(self.at(&time_path))?;
        let last = marks.times.last_below(self.at(&time_path), offset)?;
        drop(marks);
        let is_true = match last {
            Some(last) => self.is_borne_out(&last)?,
            None => true,
        };
        if is_whole && is_true {
            self.floor_entry(offset)
        } else {
            Ok(self.beginning())
        }
    }

    /// The last entry of the offset index; the beginning where there is none.
    pub(crate) fn last_entry(&self) -> Result<OffsetEntry> {
        let mut marks = self.marks.lock();
        let last = marks
            .offsets
            .last(self.at(&|| self.path(files::OFFSET_INDEX)))?;
        Ok(last.unwrap_or_else(|| self.beginning()))
    }
}
