//! Which offset belongs to a moment.

use std::path::Path;
use std::sync::Arc;

use base::disk::DiskFile;
use bytes::BytesMut;
use protocol::batch::{BatchView, DECOMPRESSED_BYTES_MAX};
use protocol::ids::{LeaderEpoch, Offset};

use crate::error::{Damage, Error, Result};
use crate::files;
use crate::index::time::TimeEntry;
use crate::log::{Log, Upto};
use crate::scan::{Head, Heads};
use crate::segment::Segment;

/// Which moment a reader looks for (ListOffsets).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// −2: the start of the log.
    Earliest,
    /// −4: the start of what lies on this disk.
    EarliestLocal,
    /// −1: bounded by the caller's `upto`.
    Latest,
    /// −3: the record with the highest timestamp.
    MaxTimestamp,
    /// −5: the end of what lies in tiered storage; we have none.
    LatestTiered,
    At(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    /// −1 for the special moments.
    pub timestamp_ms: i64,
    pub offset: Offset,
    pub leader_epoch: Option<LeaderEpoch>,
}

impl Log {
    /// The offset of a moment; `None` where no record a reader may see is that young.
    pub fn offset_for(&self, moment: Moment, upto: Upto) -> Result<Option<FoundOffset>> {
        let cuts = self.cuts();
        match self.find_moment(moment, upto) {
            Err(e) if self.is_outdated(&e, cuts) => self.offset_for(moment, upto),
            found => self.conclude(found),
        }
    }

    /// Kafka: `legacyFetchOffsetsBefore` (ListOffsets v0). Where each segment begins and when its
    /// file was changed, the oldest first; at last the end and now, where the last one holds bytes.
    pub fn segment_starts(&self) -> Result<Vec<(Offset, i64)>> {
        let (segments, start, end) = {
            let state = self.lock_open()?;
            (state.segments.clone(), state.start, state.end)
        };
        let pairs = segments.iter().map(|segment| {
            Ok((
                Offset(segment.base_offset().max(start)),
                segment.modified_ms()?,
            ))
        });
        let mut starts = self.conclude(pairs.collect::<Result<Vec<_>>>())?;
        if segments.last().is_some_and(|last| last.size() > 0) {
            starts.push((Offset(end), self.clock.wall_ms()));
        }
        Ok(starts)
    }

    fn find_moment(&self, moment: Moment, upto: Upto) -> Result<Option<FoundOffset>> {
        let (segments, offsets, start_epoch, latest_epoch) = {
            let mut state = self.lock_open()?;
            self.check_tail(&mut state)?;
            let first = state.epochs.entries().first().copied();
            let start_epoch = first
                .filter(|(_, s)| *s <= state.start)
                .map(|(epoch, _)| epoch);
            let latest = state.epochs.latest().map(|(epoch, _)| epoch);
            (state.segments.clone(), state.offsets(), start_epoch, latest)
        };
        let limit = upto.bound(&offsets);
        let special = |offset, epoch: Option<i32>| FoundOffset {
            timestamp_ms: -1,
            offset,
            leader_epoch: epoch.map(LeaderEpoch),
        };
        let found = match moment {
            Moment::Earliest | Moment::EarliestLocal => Some(special(offsets.start, start_epoch)),
            Moment::Latest => Some(special(limit, latest_epoch)),
            Moment::LatestTiered => Some(special(Offset::NONE, Some(-1))),
            Moment::MaxTimestamp => find_youngest(&segments)?,
            Moment::At(timestamp) => find_at(&segments, timestamp, offsets.start.0)?,
        };
        let is_special = !matches!(moment, Moment::MaxTimestamp | Moment::At(_));
        Ok(found.filter(|found| is_special || found.offset < limit))
    }
}

/// The first record at or after `start` that is at least as young as `timestamp`, in the first
/// segment that says it reaches so far.
///
/// Kafka: `UnifiedLog.searchOffsetInLocalLog`: in that segment only. Where compaction has left of its
/// youngest batch no record but the head, or its youngest records lie before the start, nothing is
/// found, although a later segment may have one; and a segment without times has its file's.
fn find_at(segments: &[Arc<Segment>], timestamp: i64, start: i64) -> Result<Option<FoundOffset>> {
    for segment in segments {
        if segment.largest_timestamp_or_modified()? >= timestamp {
            let from = segment.position_for_time(timestamp, start)?;
            return search(
                segment,
                from,
                |head| head.max_timestamp >= timestamp,
                |record| record.timestamp_ms >= timestamp && record.offset.0 >= start,
                GoOn::ToTheEnd,
            );
        }
    }
    Ok(None)
}

/// The first record that has the highest timestamp of all.
///
/// Kafka: only the first batch that has it is looked into; a v0 message has no time.
fn find_youngest(segments: &[Arc<Segment>]) -> Result<Option<FoundOffset>> {
    let mut youngest: Option<(TimeEntry, &Arc<Segment>)> = None;
    for segment in segments {
        let largest = segment.largest_timestamp()?;
        if youngest.is_none_or(|(most, _)| largest.timestamp > most.timestamp) {
            youngest = Some((largest, segment));
        }
    }
    let Some((TimeEntry { timestamp, offset }, segment)) = youngest else {
        return Ok(None);
    };
    let found = segment.find(offset, segment.size())?;
    search(
        segment,
        found.map_or(0, |found| found.position),
        |head| head.max_timestamp == timestamp && head.magic > 0,
        |record| record.timestamp_ms == timestamp,
        GoOn::NoFurther,
    )
}

/// After a batch that may hold the record and does not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum GoOn {
    ToTheEnd,
    NoFurther,
}

fn search(
    segment: &Segment,
    from: u64,
    may_hold: impl Fn(&Head) -> bool,
    suits: impl Fn(&protocol::batch::Record) -> bool,
    go_on: GoOn,
) -> Result<Option<FoundOffset>> {
    let path = segment.path(files::LOG);
    let file = segment.log_file()?;
    let mut heads = Heads::new(&*file, from, segment.size());
    while let Some(head) = heads.next().map_err(|e| Error::io("read", &path, e))? {
        if !may_hold(&head) {
            continue;
        }
        let found = search_batch(&*file, &path, &head, &suits)?;
        if found.is_some() || go_on == GoOn::NoFurther {
            return Ok(found);
        }
    }
    Ok(None)
}

fn search_batch(
    file: &dyn DiskFile,
    path: &Path,
    head: &Head,
    suits: &impl Fn(&protocol::batch::Record) -> bool,
) -> Result<Option<FoundOffset>> {
    let damage = || {
        let position = head.position;
        Error::corrupt("read records of", path, Damage::Batch { position })
    };
    let mut bytes = BytesMut::zeroed(head.size);
    let got = file
        .read_at(&mut bytes, head.position)
        .map_err(|e| Error::io("read", path, e))?;
    if got < head.size || !head.crc_holds(&bytes) {
        return Err(damage());
    }
    let batch = BatchView::open(&bytes.freeze())
        .ok()
        .flatten()
        .ok_or_else(damage)?;
    let records = batch.records(DECOMPRESSED_BYTES_MAX);
    for record in records.map_err(|_| damage())? {
        let record = record.map_err(|_| damage())?;
        if suits(&record) {
            return Ok(Some(FoundOffset {
                timestamp_ms: record.timestamp_ms,
                offset: record.offset,
                leader_epoch: Some(head.leader_epoch).filter(|e| *e >= 0).map(LeaderEpoch),
            }));
        }
    }
    Ok(None)
}
