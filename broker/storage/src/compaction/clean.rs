//! One pass over one log: map the dirty part, knowing how its transactions ended, and rewrite everything
//! before its end.
//!
//! ```text
//! <base>.log.cleaned (+ indexes)   written, synced
//! <base>.log.swap                  renamed by the log: from here on a restart finishes the work
//! old files .deleted, .swap → plain
//! ```
//!
//! Safe to die at any line: while a `.cleaned` file is there, everything new is thrown away at
//! the next start; afterwards everything old is.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::clock::Clock;
use base::disk::{Disk, DiskFile, Open};
use bytes::Bytes;
use protocol::batch::{BatchView, NO_TIMESTAMP};
use protocol::ids::{Offset, ProducerId};

use crate::compaction::aborted::{Aborted, Gathering};
use crate::compaction::choose::{Assessment, GroupBounds, group};
use crate::compaction::filter::{DECOMPRESSED_BYTES_MAX, Filter, FilterError};
use crate::compaction::map::{Full, OffsetMap};
use crate::compaction::throttle::Throttle;
use crate::compaction::transactions::Transactions;
use crate::compaction::{LastOfProducer, SegmentFacts, Stats, Subject};
use crate::error::{Damage, Error, Result};
use crate::files;
use crate::inspect::{AbortedEntry, Walk, WalkError};

/// What is gathered before it is written.
const WRITE_BYTES: usize = 1 << 20;

/// What one pass over one log needs.
pub(crate) struct Pass<'a, S: Subject + ?Sized> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) clock: &'a Clock,
    pub(crate) log: &'a S,
    /// Where its segments begin.
    pub(crate) bases: Vec<i64>,
    pub(crate) map: OffsetMap,
    pub(crate) throttle: Throttle<'a>,
    pub(crate) stats: Stats,
}

/// What a group is judged by.
struct Rules {
    // How often the log had been cut when the pass began.
    cuts: u64,
    producers: HashMap<ProducerId, LastOfProducer>,
    now_ms: i64,
    delete_retention_ms: i64,
    legacy_horizon_ms: i64,
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Everything below is compacted.
    At(i64),
    /// It was asked to stop, or the log changed beneath it; nothing half done is left.
    Early,
}

impl<S: Subject + ?Sized> Pass<'_, S> {
    pub(crate) fn run(&mut self, found: &Assessment) -> Result<Ended> {
        // Before the segments are listed: what is cut from now on is noticed.
        let cuts = self.log.cuts();
        match self.run_uncut(found, cuts) {
            // A cut takes bytes from under the eyes of who reads them: what was met there says nothing
            // of the bytes there now. The next pass will.
            Err(Error::Corrupt { .. }) if self.log.cuts() != cuts => Ok(Ended::Early),
            ended => ended,
        }
    }

    fn run_uncut(&mut self, found: &Assessment, cuts: u64) -> Result<Ended> {
        let dir = self.log.path();
        let segments = self.log.segments();
        self.bases = segments.iter().map(|segment| segment.base).collect();
        let now_ms = self.clock.wall_ms();
        let config = self.log.config();
        // Kafka: for formats v0 and v1, tombstones go when they are older than what was clean
        // before by `delete.retention.ms`.
        let last_clean = segments
            .iter()
            .rfind(|segment| segment.base < found.first_dirty);
        let legacy_horizon_ms = last_clean.map_or(0, |segment| {
            segment
                .modified_ms
                .saturating_sub(config.delete_retention_ms)
        });
        let Some(aborted) = self.map_dirty(&dir, &segments, found)? else {
            return Ok(Ended::Early);
        };
        self.log.note_safe(Offset(found.upto))?;
        self.stats.keys = self.map.len() as u64;
        let end = (self.map.latest_offset().saturating_add(1)).max(found.first_dirty);
        let source = &segments[..segments.partition_point(|segment| segment.base < end)];
        let bounds = GroupBounds {
            bytes_max: u64::from(config.segment_bytes),
            index_bytes_max: u64::from(config.segment_index_bytes),
            upto: found.upto,
        };
        let mut transactions = Transactions::of(&aborted);
        for members in group(source, &bounds) {
            // Only living producers are asked for, at the last moment: who appears later has
            // batches beyond what is compacted here.
            let producers: HashMap<ProducerId, LastOfProducer> =
                self.log.last_of_producers().into_iter().collect();
            let rules = Rules {
                cuts,
                producers,
                now_ms,
                delete_retention_ms: config.delete_retention_ms,
                legacy_horizon_ms,
            };
            if !self.clean_group(&dir, &members, &mut transactions, &rules)? {
                return Ok(Ended::Early);
            }
        }
        Ok(Ended::At(end))
    }

    /// Maps the dirty part without what was aborted, and tells what was. `None` where it is to stop.
    ///
    /// Where no index tells of an abort there is none, most likely, and one walk is enough. But an index
    /// may have been spoilt or lost: so that walk passes the markers, too, and is repeated where they
    /// know better.
    fn map_dirty(
        &mut self,
        dir: &Path,
        segments: &[SegmentFacts],
        found: &Assessment,
    ) -> Result<Option<Aborted>> {
        let first = segments.partition_point(|segment| segment.base <= found.first_dirty);
        let dirty = &segments[first.saturating_sub(1)..];
        let mut gathering = Gathering::below(found.upto);
        let is_untold = dirty.iter().all(|segment| segment.txn_index_bytes == 0);
        if is_untold {
            let none = Aborted::default();
            if !self.fill_map(dir, dirty, found, &none, Some(&mut gathering))? {
                return Ok(None);
            }
            if gathering.is_blank() {
                return Ok(Some(none));
            }
        }
        if !self.gather(dir, dirty, &mut gathering)? {
            return Ok(None);
        }
        let aborted = gathering.end();
        if is_untold {
            if aborted.is_empty() {
                return Ok(Some(aborted));
            }
            tracing::warn!(
                path = %dir.display(),
                "the log holds an aborted transaction that no index tells of; its markers are believed"
            );
            self.map.clear();
            self.stats.bytes_gathered += std::mem::take(&mut self.stats.bytes_mapped);
        }
        let is_filled = self.fill_map(dir, dirty, found, &aborted, None)?;
        Ok(is_filled.then_some(aborted))
    }

    /// Goes on, from where it has come to, until it is known how the transactions ended of which there
    /// is something in the dirty part: what was compacted before lost the aborted ones' records then.
    /// Before anything is dropped, and with all checksums: so nothing is dropped by what is spoilt.
    /// False where it is to stop.
    fn gather(
        &mut self,
        dir: &Path,
        dirty: &[SegmentFacts],
        gathering: &mut Gathering,
    ) -> Result<bool> {
        let first = dirty.partition_point(|segment| segment.base <= gathering.reached());
        for segment in &dirty[first.saturating_sub(1)..] {
            if gathering.is_over(segment.base) {
                break;
            }
            let path = dir.join(files::segment_file(segment.base, files::LOG));
            let mut walk = self.walk(&path, segment)?;
            while let Some((position, batch)) = walk.step()? {
                if !self.throttle.pass(batch.size) {
                    return Ok(false);
                }
                self.stats.bytes_gathered += batch.size as u64;
                let broken = |_| damaged(&path, position);
                gathering.pass(&batch).map_err(broken)?;
                if gathering.is_over(batch.next_offset().0) {
                    return Ok(true);
                }
            }
        }
        Ok(true)
    }

    /// Notes the last offset of every key in the dirty part. False where it is to stop.
    fn fill_map(
        &mut self,
        dir: &Path,
        dirty: &[SegmentFacts],
        found: &Assessment,
        aborted: &Aborted,
        mut gathering: Option<&mut Gathering>,
    ) -> Result<bool> {
        let dirty = &dirty[..dirty.partition_point(|segment| segment.base < found.upto)];
        for (index, segment) in dirty.iter().enumerate() {
            let end = dirty.get(index + 1).map_or(found.upto, |next| next.base);
            let passed = gathering.as_deref_mut();
            match self.map_segment(dir, segment, found.first_dirty, aborted, passed)? {
                Mapped::All => self.map.note_latest_offset(end.saturating_sub(1)),
                Mapped::Full => return Ok(true),
                Mapped::Stopped => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The batches are handed to the gathering on the way.
    fn map_segment(
        &mut self,
        dir: &Path,
        segment: &SegmentFacts,
        from: i64,
        aborted: &Aborted,
        mut gathering: Option<&mut Gathering>,
    ) -> Result<Mapped> {
        let path = dir.join(files::segment_file(segment.base, files::LOG));
        let mut walk = self.walk(&path, segment)?;
        while let Some((position, batch)) = walk.step()? {
            if !self.throttle.pass(batch.size) {
                return Ok(Mapped::Stopped);
            }
            self.stats.bytes_mapped += batch.size as u64;
            let broken = |_| damaged(&path, position);
            if let Some(gathering) = gathering.as_deref_mut() {
                gathering.pass(&batch).map_err(broken)?;
            }
            if batch.last_offset().0 < from {
                continue;
            }
            if !batch.is_control() && !aborted.holds(&batch) {
                for record in batch.records(DECOMPRESSED_BYTES_MAX).map_err(broken)? {
                    let record = record.map_err(broken)?;
                    let Some(key) = record.key.filter(|_| record.offset.0 >= from) else {
                        continue;
                    };
                    if self.map.put(&key, record.offset.0) == Err(Full) {
                        return Ok(Mapped::Full);
                    }
                    // A batch may have more keys than the map has room for: the next pass goes on in it.
                    self.map.note_latest_offset(record.offset.0);
                }
            }
            self.map.note_latest_offset(batch.last_offset().0);
        }
        Ok(Mapped::All)
    }

    /// Rewrites neighbours into one segment and hands it to the log. False where it is to stop.
    fn clean_group(
        &mut self,
        dir: &Path,
        members: &[SegmentFacts],
        transactions: &mut Transactions<'_>,
        rules: &Rules,
    ) -> Result<bool> {
        let Some(first) = members.first() else {
            return Ok(true);
        };
        remove_cleaned(self.disk, dir, first.base)?;
        let done = self
            .write_group(dir, members, transactions, rules)
            .and_then(|written| {
                let old: Vec<Offset> = members.iter().map(|segment| Offset(segment.base)).collect();
                Ok(written
                    && self
                        .log
                        .replace_segments(Offset(first.base), &old, rules.cuts)?)
            });
        if !matches!(done, Ok(true)) {
            // What fails here too is removed at the next pass or start.
            let _left = remove_cleaned(self.disk, dir, first.base);
        }
        done
    }

    /// Writes the `.cleaned` files of a group. False where it is to stop.
    fn write_group(
        &mut self,
        dir: &Path,
        members: &[SegmentFacts],
        transactions: &mut Transactions<'_>,
        rules: &Rules,
    ) -> Result<bool> {
        let (Some(first), Some(last)) = (members.first(), members.last()) else {
            return Ok(true);
        };
        let config = self.log.config();
        let mut output = Output::create(self.disk, dir, first.base)?;
        output.index_interval_bytes = u64::from(config.index_interval_bytes);
        output.index_bytes_max = config.segment_index_bytes as usize;
        for segment in members {
            if !self.clean_segment(dir, segment, &mut output, transactions, rules)? {
                return Ok(false);
            }
        }
        self.stats.bytes_written += output.position;
        output.finish(self.disk, &transactions.take_kept(), last.modified_ms)?;
        Ok(true)
    }

    fn clean_segment(
        &mut self,
        dir: &Path,
        segment: &SegmentFacts,
        output: &mut Output,
        transactions: &mut Transactions<'_>,
        rules: &Rules,
    ) -> Result<bool> {
        let path = dir.join(files::segment_file(segment.base, files::LOG));
        let mut walk = self.walk(&path, segment)?;
        while let Some((position, batch)) = walk.step()? {
            if !self.throttle.pass(batch.size) {
                return Ok(false);
            }
            self.stats.bytes_read += batch.size as u64;
            let filter = Filter {
                map: &self.map,
                producers: &rules.producers,
                now_ms: rules.now_ms,
                delete_retention_ms: rules.delete_retention_ms,
                keep_legacy_tombstones: segment.modified_ms > rules.legacy_horizon_ms,
            };
            let kept = filter
                .apply(&batch, transactions)
                .map_err(|e| filter_error(&path, position, e))?;
            let Some(kept) = kept else { continue };
            if !self.throttle.pass(kept.len()) {
                return Ok(false);
            }
            output.append(kept).map_err(|e| output.error("write", e))?;
        }
        Ok(true)
    }

    fn walk(&self, path: &Path, segment: &SegmentFacts) -> Result<CheckedWalk> {
        let file = self
            .disk
            .open(path, Open::Read)
            .map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound => Error::Closed,
                _ => Error::io("open", path, e),
            })?;
        let walk = Walk::over(file, 0, segment.size).map_err(|e| Error::io("read", path, e))?;
        let behind = self.bases.partition_point(|base| *base <= segment.base);
        Ok(CheckedWalk {
            walk,
            path: path.to_path_buf(),
            next: segment.base,
            end: self.bases.get(behind).copied().unwrap_or(i64::MAX),
        })
    }
}

/// The walk over a segment's batches that ends in an error at the first that is not what was written.
/// Checksums: a rotten key would name a record elsewhere that is to go, and what is rotten must not be
/// copied under a new, right one. Offsets, which no checksum covers: they rise, up to the next segment.
struct CheckedWalk {
    walk: Walk,
    path: PathBuf,
    /// No batch begins below, or reaches `end`.
    next: i64,
    end: i64,
}

impl CheckedWalk {
    fn step(&mut self) -> Result<Option<(u64, BatchView)>> {
        let step = self.walk.step();
        let Some((position, batch)) = step.map_err(|e| walk_error(&self.path, e))? else {
            return match self.walk.trailing_bytes() {
                0 => Ok(None),
                _ => Err(damaged(&self.path, self.walk.position())),
            };
        };
        let last = batch.last_offset().0;
        let is_in_order = batch.base_offset.0 >= self.next && last < self.end;
        if !is_in_order || batch.check_crc().is_err() {
            return Err(damaged(&self.path, position));
        }
        self.next = last.saturating_add(1);
        Ok(Some((position, batch)))
    }
}

enum Mapped {
    All,
    Full,
    Stopped,
}

/// The segment being written.
struct Output {
    base: i64,
    dir: PathBuf,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    buffer: Vec<u8>,
    // Of the next batch, counting what is still in `buffer`.
    position: u64,
    index_interval_bytes: u64,
    index_bytes_max: usize,
    bytes_since_entry: u64,
    offset_index: Vec<u8>,
    time_index: Vec<u8>,
    max_timestamp: (i64, i64),
    last_time_entry: (i64, i64),
}

impl Output {
    fn create(disk: &dyn Disk, dir: &Path, base: i64) -> Result<Output> {
        let path = cleaned(dir, base, files::LOG);
        let file = disk
            .open(&path, Open::CreateNew)
            .map_err(|e| Error::io("create", &path, e))?;
        Ok(Output {
            base,
            dir: dir.to_path_buf(),
            path,
            file,
            buffer: Vec::new(),
            position: 0,
            index_interval_bytes: 4096,
            index_bytes_max: usize::MAX,
            bytes_since_entry: 0,
            offset_index: Vec::new(),
            time_index: Vec::new(),
            max_timestamp: (NO_TIMESTAMP, base),
            last_time_entry: (NO_TIMESTAMP, base),
        })
    }

    fn error(&self, act: &'static str, source: std::io::Error) -> Error {
        Error::io(act, &self.path, source)
    }

    /// Appends batches: one, or the messages of an old format.
    fn append(&mut self, bytes: Bytes) -> std::io::Result<()> {
        for batch in protocol::batch::split(&bytes).flatten() {
            self.note(&batch);
            self.buffer.extend_from_slice(batch.bytes());
            self.position += batch.size as u64;
        }
        if self.buffer.len() >= WRITE_BYTES {
            self.write_out()
        } else {
            Ok(())
        }
    }

    /// Keeps the indexes: as an append to any segment does.
    fn note(&mut self, batch: &BatchView) {
        let last = batch.last_offset().0;
        if batch.max_timestamp_ms > self.max_timestamp.0 {
            self.max_timestamp = (batch.max_timestamp_ms, last);
        }
        if self.bytes_since_entry > self.index_interval_bytes
            && self.offset_index.len() + 8 <= self.index_bytes_max
            && let (Ok(delta), Ok(position)) = (
                i32::try_from(last.wrapping_sub(self.base)),
                i32::try_from(self.position),
            )
        {
            self.offset_index.extend_from_slice(&delta.to_be_bytes());
            self.offset_index.extend_from_slice(&position.to_be_bytes());
            // One slot stays free for the entry at the end.
            if self.time_index.len() + 24 <= self.index_bytes_max {
                self.note_time();
            }
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += batch.size as u64;
    }

    fn note_time(&mut self) {
        let (timestamp_ms, offset) = self.max_timestamp;
        if timestamp_ms <= self.last_time_entry.0 || offset < self.last_time_entry.1 {
            return;
        }
        let Ok(delta) = i32::try_from(offset.wrapping_sub(self.base)) else {
            return;
        };
        self.time_index
            .extend_from_slice(&timestamp_ms.to_be_bytes());
        self.time_index.extend_from_slice(&delta.to_be_bytes());
        self.last_time_entry = self.max_timestamp;
    }

    fn write_out(&mut self) -> std::io::Result<()> {
        let at = self.position - self.buffer.len() as u64;
        self.file.write_at(&self.buffer, at)?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the rest and the indexes, and puts all of it on the disk. Time stands still for a
    /// segment that was only rewritten: it is as old as the last it was made of.
    fn finish(mut self, disk: &dyn Disk, aborted: &[AbortedEntry], modified_ms: i64) -> Result<()> {
        self.note_time();
        self.write_out().map_err(|e| self.error("write", e))?;
        self.file.sync().map_err(|e| self.error("sync", e))?;
        let mut transactions = Vec::with_capacity(aborted.len() * AbortedEntry::BYTES);
        aborted
            .iter()
            .for_each(|entry| entry.write(&mut transactions));
        let indexes = [
            (files::OFFSET_INDEX, &self.offset_index),
            (files::TIME_INDEX, &self.time_index),
            (files::TXN_INDEX, &transactions),
        ];
        for (suffix, bytes) in indexes {
            if suffix == files::TXN_INDEX && bytes.is_empty() {
                continue;
            }
            let path = cleaned(&self.dir, self.base, suffix);
            let written = disk.open(&path, Open::CreateNew).and_then(|file| {
                file.write_at(bytes, 0)?;
                file.sync()?;
                file.set_modified_ms(modified_ms)
            });
            written.map_err(|e| Error::io("write", &path, e))?;
        }
        self.file
            .set_modified_ms(modified_ms)
            .map_err(|e| self.error("set the time of", e))?;
        disk.sync_dir(&self.dir)
            .map_err(|e| Error::io("sync", &self.dir, e))
    }
}

fn cleaned(dir: &Path, base: i64, suffix: &str) -> PathBuf {
    dir.join(format!(
        "{}{}",
        files::segment_file(base, suffix),
        files::CLEANED
    ))
}

/// Removes what an earlier pass left unfinished.
fn remove_cleaned(disk: &dyn Disk, dir: &Path, base: i64) -> Result<()> {
    for suffix in [
        files::LOG,
        files::OFFSET_INDEX,
        files::TIME_INDEX,
        files::TXN_INDEX,
    ] {
        let path = cleaned(dir, base, suffix);
        match disk.remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &path, e));
            }
            _ => {}
        }
    }
    Ok(())
}

fn damaged(path: &Path, position: u64) -> Error {
    Error::corrupt("compact", path, Damage::Batch { position })
}

fn walk_error(path: &Path, error: WalkError) -> Error {
    match error {
        WalkError::Read { source, .. } => Error::io("read", path, source),
        WalkError::Fault { position, .. } => damaged(path, position),
    }
}

fn filter_error(path: &Path, position: u64, error: FilterError) -> Error {
    tracing::warn!(path = %path.display(), position, %error, "cannot compact a batch");
    damaged(path, position)
}
