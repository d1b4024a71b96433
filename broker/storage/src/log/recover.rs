//! Opening a log after a clean or an unclean stop; rebuilding what can be rebuilt.
//!
//! ```text
//! clean    names and sizes are enough; the tail is looked at before its first use
//! unclean  [ trusted: below the recovery point ][ scanned, with checksums ][ torn: cut, reported ]
//! ```
//!
//! Kafka: `LogLoader`, `LogSegment.recover`; but the scan begins at the recovery point instead of
//! its segment's beginning, and damage below that point is an error: what was on the disk and is
//! not any more must be seen by a person, not cut.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::clock::Clock;
use base::disk::{Disk, DiskFile};
use parking_lot::{Condvar, Mutex, RwLock};
use protocol::ids::{TopicId, TopicPartition};

use crate::checkpoint;
use crate::config::LogConfig;
use crate::directory::Directory;
use crate::epochs::Epochs;
use crate::error::{Damage, Error, Result};
use crate::files;
use crate::log::append::note_producer;
use crate::log::room::{Room, is_room};
use crate::log::split::fits;
use crate::log::{Condition, Log, State};
use crate::producer_snapshot;
use crate::producers::{Producers, read_marker};
use crate::scan::{Batches, Head, Heads};
use crate::segment::{Ending, KINDS, Place, Segment};
use crate::trash::Trash;

/// What is known of a log before its folder is looked at.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) partition: TopicPartition,
    pub(crate) directory: Arc<Directory>,
    pub(crate) folder: PathBuf,
    pub(crate) trash: Arc<Trash>,
    pub(crate) clock: Clock,
    pub(crate) config: Arc<LogConfig>,
    pub(crate) is_future: bool,
    /// The folder was made a moment ago: nothing is in it.
    pub(crate) is_new: bool,
    /// Of the recovery-point checkpoint.
    pub(crate) recovery: Option<i64>,
    /// Of the log-start checkpoint.
    pub(crate) start: Option<i64>,
    pub(crate) producer_expiration_ms: i64,
}

/// How far a scan has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scanned {
    Whole,
    /// To a torn tail, which is gone.
    Cut,
    /// To offsets that do not fit the segment of this base: it must be split first.
    Overflows(i64),
}

/// What lies in a replica's folder.
#[derive(Debug, Default)]
struct Folder {
    /// Base offset → size.
    logs: BTreeMap<i64, u64>,
    offset_indexes: Vec<i64>,
    txn_indexes: Vec<i64>,
    snapshots: Vec<i64>,
    has_epochs: bool,
    has_topic_id: bool,
}

impl Log {
    /// Opens the log in its folder; an empty folder gives an empty log.
    pub(crate) fn open(opening: Opening) -> Result<Arc<Log>> {
        let disk = Arc::clone(&opening.directory.handles.disk);
        let place = Place::new(
            Arc::clone(&opening.directory.handles),
            opening.folder.clone(),
        );
        let folder = match opening.is_new {
            true => Folder::default(),
            false => sort_folder(&*disk, &opening.folder)?,
        };
        let clean = opening.directory.was_clean;
        let now_ms = opening.clock.wall_ms();
        let topic_id = match folder.has_topic_id {
            true => read_topic_id(&*disk, &opening.folder.join(files::PARTITION_METADATA))?,
            false => None,
        };
        let epochs = match folder.has_epochs {
            true => {
                let path = opening.folder.join(files::LEADER_EPOCH_CHECKPOINT);
                Epochs::load(checkpoint::read_epochs(&*disk, &path)?)
            }
            false => Epochs::default(),
        };
        let first = folder.logs.keys().next().copied();
        let start = opening.start.unwrap_or(0).max(first.unwrap_or(0));
        let log = Log {
            partition: opening.partition,
            may_have_lost_bytes: !clean && !opening.directory.same_boot && first.is_some(),
            directory: opening.directory,
            place,
            trash: opening.trash,
            clock: opening.clock,
            is_future: opening.is_future.into(),
            producer_expiration_ms: opening.producer_expiration_ms,
            config: RwLock::new(opening.config),
            state: Mutex::new(State {
                segments: Vec::new(),
                start,
                recovery: start,
                watermark: start,
                end: start,
                topic_id,
                topic_id_unwritten: false,
                epochs_unwritten: false,
                settling: false,
                producers: Producers::starting_at(start),
                snapshots: folder.snapshots.clone(),
                epochs,
                last_flush_ms: now_ms,
                written: 0,
                synced: 0,
                folder_changes: 1,
                folder_synced: 0,
                cuts: 0,
                lowest_cut: None,
                tail_unchecked: false,
                room: Room::default(),
                condition: Condition::Open,
            }),
            settled: Condvar::new(),
        };
        if opening.is_new {
            log.begin_empty()?;
        } else {
            log.load(folder, clean, opening.recovery.unwrap_or(0))?;
        }
        Ok(Arc::new(log))
    }

    /// In a new folder.
    fn begin_empty(&self) -> Result<()> {
        let mut state = self.state.lock();
        let (base, now_ms) = (state.start, self.clock.wall_ms());
        let first = Segment::create_in_new_folder(&self.place, base, now_ms)?;
        state.segments.push(Arc::new(first));
        Ok(())
    }

    fn load(&self, mut folder: Folder, clean: bool, recovery: i64) -> Result<()> {
        let mut state = self.state.lock();
        let state = &mut *state;
        while let Scanned::Overflows(base) = self.load_folder(state, &folder, clean, recovery)? {
            let size = folder.logs.get(&base).copied().unwrap_or(0);
            let next = folder.logs.range(base + 1..).next();
            self.split_overflowed(base, size, next.map_or(i64::MAX, |(next, _)| *next))?;
            folder = sort_folder(&*self.place.handles.disk, &self.place.path())?;
            state.segments.clear();
            state.snapshots.clone_from(&folder.snapshots);
        }
        Ok(())
    }

    fn load_folder(
        &self,
        state: &mut State,
        folder: &Folder,
        clean: bool,
        recovery: i64,
    ) -> Result<Scanned> {
        if folder.logs.is_empty() {
            let (start, now_ms) = (state.start, self.clock.wall_ms());
            let first = Segment::create(&self.place, start, Ending::Plain, now_ms)?;
            state.segments.push(Arc::new(first));
            state.epochs_unwritten |= state.epochs.truncate_from_end(start);
            self.remove_snapshots(state, |_| true)?;
            return Ok(Scanned::Whole);
        }
        let scan_from = self.first_to_scan(folder, clean, recovery)?;
        let now_ms = self.clock.wall_ms();
        let (before, rest): (Vec<_>, Vec<_>) = folder
            .logs
            .iter()
            .partition(|(base, _)| scan_from.is_none_or(|from| **base < from));
        for (base, size) in before {
            state.segments.push(Arc::new(Segment::existing(
                &self.place,
                *base,
                *size,
                now_ms,
            )));
        }
        if rest.is_empty() {
            self.load_clean(state, recovery)?;
        } else if let Scanned::Overflows(base) = self.scan_all(state, &rest, recovery)? {
            return Ok(Scanned::Overflows(base));
        }
        self.remove_stray_snapshots(state)?;
        self.settle(state, clean, recovery)?;
        Ok(Scanned::Whole)
    }

    /// The segment from which on everything is scanned; `None`: nothing is.
    fn first_to_scan(&self, folder: &Folder, clean: bool, recovery: i64) -> Result<Option<i64>> {
        let bases = || folder.logs.keys().copied();
        let mut from = match clean {
            true => None,
            false => bases()
                .rfind(|base| *base <= recovery)
                .or_else(|| bases().next()),
        };
        let mut include = |base: i64| from = Some(from.map_or(base, |other: i64| other.min(base)));
        // Kafka: a segment without its offset index, or with a bad index of transactions, is
        // recovered.
        bases()
            .filter(|base| !folder.offset_indexes.contains(base))
            .for_each(&mut include);
        for base in folder
            .txn_indexes
            .iter()
            .filter(|base| folder.logs.contains_key(base))
        {
            let segment = Segment::existing(&self.place, *base, 0, 0);
            if !segment.aborted_is_sound()? {
                include(*base);
            }
        }
        Ok(from)
    }

    /// After a clean stop two witnesses tell the end, the recovery point and the snapshot; where
    /// they do not agree the heads after the last index entry are walked.
    fn load_clean(&self, state: &mut State, recovery: i64) -> Result<()> {
        let active = Arc::clone(state.active());
        let is_witnessed = recovery >= active.base_offset()
            && match active.size() {
                0 => recovery == active.base_offset(),
                _ => state.snapshots.contains(&recovery),
            };
        if is_witnessed {
            state.end = recovery;
            state.tail_unchecked = active.size() > 0;
        } else {
            let broken = || {
                let damage = Damage::Batch {
                    position: active.size(),
                };
                Error::corrupt("find the end of", &active.path(files::LOG), damage)
            };
            state.end = end_by_walk(&active)?.ok_or_else(broken)?;
        }
        if state.snapshots.is_empty() {
            // Kafka: a clean log without any snapshot is one of an old version: it had no producers.
            state.producers = Producers::starting_at(state.end);
            state.producers.snapshot = state.start.min(state.end);
            return Ok(());
        }
        let end = state.end;
        self.rebuild_producers(state, end)
    }

    fn scan_all(&self, state: &mut State, rest: &[(&i64, &u64)], recovery: i64) -> Result<Scanned> {
        let compacted = self.config().compact;
        for (number, (base, size)) in rest.iter().enumerate() {
            let (base, size) = (**base, **size);
            let is_gap = number > 0 && base != state.end && !compacted;
            if number > 0 && (base < state.end || is_gap) {
                // The end of the segment before is missing although this one was begun after it.
                self.cut_off(state, &rest[number..], recovery)?;
                return Ok(Scanned::Cut);
            }
            let segment = Segment::existing(&self.place, base, size, self.clock.wall_ms());
            let segment = Arc::new(segment);
            state.segments.push(Arc::clone(&segment));
            let begin = self.begin_scan(state, &segment, number == 0, recovery)?;
            let next = rest.get(number + 1).map(|(next, _)| **next);
            let scanned = self.scan_segment(state, &segment, (begin, next), recovery)?;
            if let Scanned::Overflows(base) = scanned {
                return Ok(Scanned::Overflows(base));
            }
            segment.seal()?;
            if scanned == Scanned::Cut && number + 1 < rest.len() {
                self.cut_off(state, &rest[number + 1..], recovery)?;
                return Ok(Scanned::Cut);
            }
        }
        Ok(Scanned::Whole)
    }

    /// Where a segment's scan begins, with the producers as they were there.
    fn begin_scan(
        &self,
        state: &mut State,
        segment: &Segment,
        first: bool,
        recovery: i64,
    ) -> Result<u64> {
        let base = segment.base_offset();
        if !first {
            segment.cut_indexes(base)?;
            state.end = base;
            state.producers.end = base;
            self.write_snapshot(state)?;
            return Ok(0);
        }
        let begin = trusted_head(segment, recovery)?;
        let (offset, position) = begin.map_or((base, 0), |head| (head.base_offset, head.position));
        segment.cut_indexes(offset)?;
        state.end = offset;
        self.remove_snapshots(state, |at| at > offset)?;
        self.rebuild_producers(state, offset)?;
        Ok(position)
    }

    /// Scans to the end of the segment; `next` is where the one after it begins.
    fn scan_segment(
        &self,
        state: &mut State,
        segment: &Segment,
        (begin, next): (u64, Option<i64>),
        recovery: i64,
    ) -> Result<Scanned> {
        let path = segment.path(files::LOG);
        let interval = self.config().index_interval_bytes;
        let size = segment.size();
        let file = segment.log_file()?;
        let mut batches = Batches::new(&*file, begin, size);
        let mut keep = begin;
        let began = state.end;
        let mut is_misplaced = false;
        while let Some((head, batch)) = batches
            .read_next()
            .map_err(|e| Error::io("scan", &path, e))?
        {
            if !follows(&head, state.end, segment.base_offset()) {
                if overflows(&head, state.end, next) {
                    return Ok(Scanned::Overflows(segment.base_offset()));
                }
                is_misplaced = true;
                break;
            }
            segment.note_scanned(&head, interval)?;
            if head.leader_epoch >= 0
                && state
                    .epochs
                    .latest()
                    .is_none_or(|(latest, _)| head.leader_epoch > latest)
            {
                state.epochs_unwritten |= state.epochs.assign(head.leader_epoch, head.base_offset);
            }
            let marker = if head.is_control() {
                read_marker(batch, &head)
            } else {
                None
            };
            note_producer(state, &head, marker.as_ref())?;
            state.end = head.last_offset + 1;
            state.producers.end = state.end;
            keep = head.position + head.size as u64;
        }
        segment.note_seen(begin, keep);
        if keep == size {
            return Ok(Scanned::Whole);
        }
        // A whole batch at the wrong offset is no torn tail: some offset, which no checksum covers, was
        // spoilt, perhaps one below the recovery point.
        if state.end < recovery || (is_misplaced && began < recovery) {
            return Err(Error::corrupt(
                "scan",
                &path,
                Damage::Batch { position: keep },
            ));
        }
        let zeros = is_room(&*file, keep, size).map_err(|e| Error::io("scan", &path, e))?;
        if zeros && !is_misplaced {
            // Nothing was written there; on the disk before anything follows, as it must be of a
            // segment that nobody will scan again.
            segment.cut_tail(keep)?;
            self.directory.sync(vec![file], &path)?;
            tracing::debug!(path = %path.display(), bytes = size - keep, "gave the room back");
            return Ok(Scanned::Whole);
        }
        tracing::warn!(
            topic = %self.partition.topic,
            partition = self.partition.partition,
            segment = segment.base_offset(),
            bytes = size - keep,
            offset = state.end,
            "cut a torn tail: everything from this offset on was not yet on the disk"
        );
        segment.cut_tail(keep)?;
        Ok(Scanned::Cut)
    }

    /// Segments after a cut hold what cannot follow any more.
    fn cut_off(&self, state: &mut State, rest: &[(&i64, &u64)], recovery: i64) -> Result<()> {
        if state.end < recovery {
            let damage = Damage::Shorter {
                end: state.end,
                known: recovery,
            };
            return Err(Error::corrupt("scan", &self.place.path(), damage));
        }
        let bytes: u64 = rest.iter().map(|(_, size)| **size).sum();
        tracing::warn!(
            topic = %self.partition.topic,
            partition = self.partition.partition,
            segments = rest.len(),
            bytes,
            offset = state.end,
            "dropped segments after a torn tail: they were not yet on the disk"
        );
        let segments = rest.iter().map(|(base, size)| {
            Arc::new(Segment::existing(
                &self.place,
                **base,
                **size,
                self.clock.wall_ms(),
            ))
        });
        self.doom(state, segments.collect())
    }

    /// The last words: offsets in order, epochs inside them.
    fn settle(&self, state: &mut State, clean: bool, recovery: i64) -> Result<()> {
        if state.end < recovery && !clean {
            let damage = Damage::Shorter {
                end: state.end,
                known: recovery,
            };
            return Err(Error::corrupt("open", &self.place.path(), damage));
        }
        if state.end < state.start && clean {
            // No clean stop leaves that: the note of the start is spoilt.
            let damage = Damage::Shorter {
                end: state.end,
                known: state.start,
            };
            return Err(Error::corrupt("open", &self.place.path(), damage));
        }
        if state.end < state.start {
            // Kafka: all that is left was deleted by its owner; the log goes on where it may be read.
            let start = state.start;
            return self.start_over(state, start, start);
        }
        state.recovery = if clean {
            state.end
        } else {
            recovery.clamp(0, state.end)
        };
        // What is cut at the end must leave the file before data of an older epoch comes to lie there:
        // no batch of it would say so. What is cut at the start, every start cuts the same.
        state.epochs_unwritten |= state.epochs.truncate_from_end(state.end);
        state.epochs.truncate_from_start(state.start);
        state.set_watermark(state.start);
        Ok(())
    }

    /// Kafka: of the snapshots that belong to no segment only the newest, above the last base, stays.
    fn remove_stray_snapshots(&self, state: &mut State) -> Result<()> {
        let bases: Vec<i64> = state
            .segments
            .iter()
            .map(|segment| segment.base_offset())
            .collect();
        let last = bases.last().copied().unwrap_or(0);
        let newest = state
            .snapshots
            .iter()
            .rfind(|at| !bases.contains(at))
            .copied();
        self.remove_snapshots(state, |at| {
            !bases.contains(&at) && (Some(at) != newest || at < last)
        })
    }

    /// The producers as they were at `upto`: the newest good snapshot, then the heads after it.
    pub(in crate::log) fn rebuild_producers(&self, state: &mut State, upto: i64) -> Result<()> {
        self.remove_snapshots(state, |at| at > upto)?;
        let now_ms = self.clock.wall_ms();
        let mut producers = None;
        while let Some(at) = state.snapshots.last().copied() {
            let path = self.place.join(&files::segment_file(at, files::SNAPSHOT));
            if let Some(entries) = producer_snapshot::read(&*self.place.handles.disk, &path)? {
                let expiration_ms = self.producer_expiration_ms;
                producers = Some(Producers::from_snapshot(at, entries, now_ms, expiration_ms));
                break;
            }
            tracing::warn!(path = %path.display(), "a producer snapshot is damaged; using the one before");
            self.remove_snapshots(state, |other| other == at)?;
        }
        state.producers = producers.unwrap_or_else(|| {
            let first = state
                .segments
                .first()
                .map_or(0, |segment| segment.base_offset());
            Producers::starting_at(first.min(upto))
        });
        self.replay_producers(state, upto)
    }

    fn replay_producers(&self, state: &mut State, upto: i64) -> Result<()> {
        let from = state.producers.end;
        if from < upto {
            let first = state.segment_index(from);
            for segment in state.segments.clone().iter().skip(first) {
                if segment.base_offset() < upto {
                    replay_segment(&mut state.producers, segment, from, upto)?;
                }
            }
        }
        state.producers.end = upto;
        Ok(())
    }
}

/// Replays the heads of one segment that lie in [from, upto).
fn replay_segment(
    producers: &mut Producers,
    segment: &Segment,
    from: i64,
    upto: i64,
) -> Result<()> {
    let path = segment.path(files::LOG);
    let size = segment.size();
    let Some(first) = segment.find(from, size)? else {
        return Ok(());
    };
    let file = segment.log_file()?;
    let mut heads = Heads::new(&*file, first.position, size);
    while let Some(head) = heads.next().map_err(|e| Error::io("read", &path, e))? {
        if head.base_offset >= upto {
            break;
        }
        if head.producer < 0 || head.last_offset < from {
            continue;
        }
        if !head.is_control() {
            producers.note_batch(&head);
            continue;
        }
        let marker = read_batch(&*file, &head).map_err(|e| Error::io("read", &path, e))?;
        if let Some(marker) = read_marker(&marker, &head)
            && let Some(done) = producers.note_marker(&head, &marker)
        {
            producers.complete(&done);
        }
    }
    Ok(())
}

fn read_batch(file: &dyn DiskFile, head: &Head) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; head.size];
    let got = file.read_at(&mut bytes, head.position)?;
    bytes.truncate(got);
    Ok(bytes)
}

/// Whether a batch can stand where the log has come to.
fn follows(head: &Head, end: i64, base: i64) -> bool {
    head.first_known() >= end && fits(base, head.last_offset)
}

/// Whether a batch is in order but beyond what the segment's index can say. An offset is not covered
/// by any checksum; so the segment after must bear it out, or it passes for a spoilt one.
fn overflows(head: &Head, end: i64, next: Option<i64>) -> bool {
    head.first_known() >= end && next.is_some_and(|next| head.last_offset < next)
}

/// The batch at or below the recovery point from which a scan may begin, if the index names one
/// that is really there.
fn trusted_head(segment: &Segment, recovery: i64) -> Result<Option<Head>> {
    let entry = segment.trusted_start(recovery)?;
    if entry.position == 0 {
        return Ok(None);
    }
    let path = segment.path(files::LOG);
    let file = segment.log_file()?;
    let mut batches = Batches::new(&*file, entry.position, segment.size());
    let head = batches
        .read_next()
        .map_err(|e| Error::io("read", &path, e))?
        .map(|(head, _)| head);
    Ok(head.filter(|head| {
        head.magic >= 2
            && head.base_offset <= entry.offset
            && head.base_offset >= segment.base_offset()
    }))
}

/// Walks from the last index entry to the end of the file. `None`: no chain of whole batches
/// leads there.
pub(in crate::log) fn end_by_walk(segment: &Segment) -> Result<Option<i64>> {
    if segment.size() == 0 {
        return Ok(Some(segment.base_offset()));
    }
    let entry = segment.last_entry()?;
    match walk_from(segment, entry.position)? {
        None if entry.position > 0 => walk_from(segment, 0),
        found => Ok(found),
    }
}

fn walk_from(segment: &Segment, position: u64) -> Result<Option<i64>> {
    let path = segment.path(files::LOG);
    let file = segment.log_file()?;
    let mut heads = Heads::new(&*file, position, segment.size());
    let mut end = segment.base_offset();
    while let Some(head) = heads.next().map_err(|e| Error::io("read", &path, e))? {
        if !follows(&head, end, segment.base_offset()) {
            return Ok(None);
        }
        end = head.last_offset + 1;
    }
    Ok((heads.position() == segment.size()).then_some(end))
}

fn read_topic_id(disk: &dyn Disk, path: &Path) -> Result<Option<TopicId>> {
    let bytes = disk
        .read_small(path, 4096)
        .map_err(|e| Error::io("read", path, e))?;
    let text = String::from_utf8_lossy(&bytes);
    let wrong = |line| Error::corrupt("read", path, Damage::Line { line });
    let mut lines = text.lines();
    if lines
        .next()
        .and_then(|line| line.strip_prefix("version:"))
        .map(str::trim)
        != Some("0")
    {
        return Err(wrong(1));
    }
    let id = lines
        .next()
        .and_then(|line| line.strip_prefix("topic_id:"))
        .map(str::trim);
    let id = id
        .and_then(TopicId::parse)
        .filter(|id| !id.is_zero())
        .ok_or_else(|| wrong(2))?;
    Ok(Some(id))
}

/// Lists the folder, ends what a crash left half done, and removes what is nobody's.
fn sort_folder(disk: &dyn Disk, path: &Path) -> Result<Folder> {
    let mut names = list(disk, path)?;
    if names.iter().any(|name| has_ending(name)) {
        end_swaps(disk, path, &names)?;
        names = list(disk, path)?;
    }
    let mut folder = Folder::default();
    for name in &names {
        if let Some(base) = files::parse_base(name, files::LOG) {
            let file = path.join(name);
            let facts = disk
                .facts(&file)
                .map_err(|e| Error::io("look at", &file, e))?;
            folder.logs.insert(base, facts.len);
        } else if let Some(at) = files::parse_base(name, files::SNAPSHOT) {
            folder.snapshots.push(at);
        }
        folder.has_epochs |= name == files::LEADER_EPOCH_CHECKPOINT;
        folder.has_topic_id |= name == files::PARTITION_METADATA;
    }
    folder.snapshots.sort_unstable();
    for name in &names {
        let indexes = [files::OFFSET_INDEX, files::TIME_INDEX, files::TXN_INDEX];
        let Some((kind, base)) = indexes
            .into_iter()
            .find_map(|kind| Some((kind, files::parse_base(name, kind)?)))
        else {
            continue;
        };
        if !folder.logs.contains_key(&base) {
            // Kafka: an index without its log is of no use.
            remove(disk, &path.join(name))?;
        } else if kind == files::OFFSET_INDEX {
            folder.offset_indexes.push(base);
        } else if kind == files::TXN_INDEX {
            folder.txn_indexes.push(base);
        }
    }
    Ok(folder)
}

fn list(disk: &dyn Disk, path: &Path) -> Result<Vec<String>> {
    let entries = disk.list(path).map_err(|e| Error::io("list", path, e))?;
    Ok(entries
        .into_iter()
        .filter(|entry| !entry.is_dir)
        .map(|entry| entry.name)
        .collect())
}

fn has_ending(name: &str) -> bool {
    [
        files::DELETED,
        files::CLEANED,
        files::SWAP,
        files::TEMPORARY,
    ]
    .iter()
    .any(|ending| name.ends_with(ending))
}

fn remove(disk: &dyn Disk, path: &Path) -> Result<()> {
    disk.remove_file(path)
        .map_err(|e| Error::io("remove", path, e))
}

/// Kafka: `LogLoader.removeTempFilesAndCollectSwapFiles`. A swap that was complete (no `.cleaned`
/// at or below it) is carried through, any other is undone.
fn end_swaps(disk: &dyn Disk, path: &Path, names: &[String]) -> Result<()> {
    let base_of = |name: &str, ending: &str| {
        let plain = name.strip_suffix(ending)?;
        KINDS.iter().find_map(|kind| files::parse_base(plain, kind))
    };
    let cleaned_min = names
        .iter()
        .filter_map(|name| base_of(name, files::CLEANED))
        .min();
    let mut swaps = Vec::new();
    // What says that a swap is to be undone goes last: who dies on the way must find it again.
    let (cleaned, others): (Vec<&String>, Vec<&String>) = names
        .iter()
        .partition(|name| name.ends_with(files::CLEANED));
    for name in others.into_iter().chain(cleaned) {
        let undone = match base_of(name, files::SWAP) {
            Some(base) => cleaned_min.is_some_and(|min| base >= min),
            None => {
                name.ends_with(files::CLEANED)
                    || name.ends_with(files::DELETED)
                    || name.ends_with(files::TEMPORARY)
            }
        };
        if undone {
            remove(disk, &path.join(name))?;
        } else if let Some(base) = base_of(name, files::SWAP) {
            swaps.push((base, name.as_str()));
        }
    }
    for (base, name) in &swaps {
        if !name.ends_with(&format!("{}{}", files::LOG, files::SWAP)) {
            continue;
        }
        let end = swap_end(disk, &path.join(name), *base)?;
        for other in names {
            let replaced = KINDS.iter().find_map(|kind| files::parse_base(other, kind));
            if replaced.is_some_and(|other| (*base..end.max(base + 1)).contains(&other)) {
                remove(disk, &path.join(other))?;
            }
        }
    }
    for (_, name) in &swaps {
        let plain = name.strip_suffix(files::SWAP).unwrap_or(name);
        base::durable::rename(disk, &path.join(name), &path.join(plain))
            .map_err(|e| Error::io("rename", &path.join(name), e))?;
    }
    Ok(())
}

/// Where the log in a swap file ends.
fn swap_end(disk: &dyn Disk, path: &Path, base: i64) -> Result<i64> {
    let failed = |e| Error::io("read", path, e);
    let file = disk.open(path, base::disk::Open::Read).map_err(failed)?;
    let mut heads = Heads::new(&*file, 0, file.len().map_err(failed)?);
    let mut end = base;
    while let Some(head) = heads.next().map_err(failed)? {
        end = end.max(head.last_offset + 1);
    }
    Ok(end)
}
