//! What lies above the recovery point, batch by batch with its checksum; a torn tail is cut and told.

use std::sync::Arc;

use crate::error::{Damage, Error, Result};
use crate::files;
use crate::log::append::note_producer;
use crate::log::recover::gaps::{Gaps, Side};
use crate::log::room::is_room;
use crate::log::split::fits;
use crate::log::{Log, State};
use crate::producers::read_marker;
use crate::scan::{Batches, Head, Heads};
use crate::segment::Segment;

/// How far a scan has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log::recover) enum Scanned {
    Whole,
    /// To a torn tail, which is gone.
    Cut,
    /// To offsets that do not fit the segment of this base: it must be split first.
    Overflows(i64),
}

impl Log {
    pub(in crate::log::recover) fn scan_all(
        &self,
        state: &mut State,
        rest: &[(&i64, &u64)],
        gaps: &Gaps,
    ) -> Result<Scanned> {
        let recovery = gaps.recovery;
        for (number, (base, size)) in rest.iter().enumerate() {
            let (base, size) = (**base, **size);
            let before = number.checked_sub(1).and_then(|before| rest.get(before));
            let is_cut_before = before.is_some_and(|(before, _)| {
                // What a segment cannot have held, it has not lost.
                let is_gap = base > state.end && fits(**before, base - 1);
                base < state.end || (is_gap && gaps.is_torn(state.end, **before, Side::Behind))
            });
            if is_cut_before {
                // The end of the segment before is missing although this one was begun after it.
                self.cut_off(state, &rest[number..], recovery)?;
                return Ok(Scanned::Cut);
            }
            let segment = Segment::existing(&self.place, base, size, self.clock.wall_ms());
            let segment = Arc::new(segment);
            state.segments.push(Arc::clone(&segment));
            let next = rest.get(number + 1).map(|(next, _)| **next);
            let begin = match number {
                0 => self.begin_first(state, &segment, next, recovery)?,
                _ => self.begin_next(state, &segment)?,
            };
            let scanned = self.scan_segment(state, &segment, (begin, next), gaps)?;
            if let Scanned::Overflows(base) = scanned {
                return Ok(Scanned::Overflows(base));
            }
            segment.end_scan()?;
            if gaps.clean || next.is_some_and(|next| next <= recovery) {
                // Its indexes were made anew, and no flush comes by so far below the recovery point.
                self.directory
                    .sync(segment.files_to_sync(true)?, &self.place.path())?;
            }
            if scanned == Scanned::Cut && number + 1 < rest.len() {
                self.cut_off(state, &rest[number + 1..], recovery)?;
                return Ok(Scanned::Cut);
            }
        }
        Ok(Scanned::Whole)
    }

    /// Where the scan of the first segment begins, with the producers as they were there; `next` is
    /// where the segment after it does.
    fn begin_first(
        &self,
        state: &mut State,
        segment: &Segment,
        next: Option<i64>,
        recovery: i64,
    ) -> Result<u64> {
        let begin = trusted_head(segment, next, recovery)?;
        let beginning = (segment.base_offset(), 0);
        let (offset, position) = begin.map_or(beginning, |head| (head.base_offset, head.position));
        segment.cut_indexes(offset)?;
        state.end = offset;
        self.remove_snapshots(state, |at| at > offset)?;
        self.rebuild_producers(state, offset)?;
        Ok(position)
    }

    /// Each that follows is scanned from its beginning: all its indexes are made anew. The producers
    /// are as the scan of the one before has left them.
    fn begin_next(&self, state: &mut State, segment: &Segment) -> Result<u64> {
        let base = segment.base_offset();
        segment.cut_indexes(base)?;
        state.end = base;
        state.producers.end = base;
        self.write_snapshot(state)?;
        Ok(0)
    }

    /// Scans to the end of the segment; `next` is where the one after it begins.
    fn scan_segment(
        &self,
        state: &mut State,
        segment: &Segment,
        (begin, next): (u64, Option<i64>),
        gaps: &Gaps,
    ) -> Result<Scanned> {
        let recovery = gaps.recovery;
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
            // Of formats v0 and v1 the first offset is not known here.
            let is_gap = head.magic >= 2 && head.base_offset > state.end;
            if is_gap && gaps.is_torn(state.end, segment.base_offset(), Side::Inside) {
                break;
            }
            segment.note_scanned(&head, interval)?;
            // Kafka takes only epochs above the latest in the file; one without data that a start had cut
            // would then hide those of a batch that came to lie in its place.
            state.epochs_unwritten |=
                state
                    .epochs
                    .learn(head.leader_epoch, head.base_offset, head.last_offset);
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
            if self.config().is_durable() {
                tracing::debug!(path = %path.display(), bytes = size - keep, "gave the room back");
            } else {
                // Room is made beforehand in the durable mode alone, and by Apache where it preallocates.
                tracing::warn!(
                    topic = %self.partition.topic,
                    partition = self.partition.partition,
                    segment = segment.base_offset(),
                    bytes = size - keep,
                    offset = state.end,
                    "cut a tail of zeros: room that was made beforehand, or, if the machine lost its \
                     power, records that were not yet on the disk"
                );
            }
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
        self.doom(segments.collect())
    }
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
fn trusted_head(segment: &Segment, next: Option<i64>, recovery: i64) -> Result<Option<Head>> {
    if !segment.aborted_is_sound(next)? {
        // Of the markers below the recovery point nothing else is told.
        return Ok(None);
    }
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
