//! Read: offset → segment → byte ranges, never a copy.
//!
//! Hot path: under the lock a few words are copied; at the end of a log the places of batches are known
//! from memory, so that no call of the kernel is made. Older offsets cost an index lookup and one
//! read of heads; bytes older than this start are looked at when they are first read.

use std::sync::Arc;

use base::disk::DiskFile;
use bytes::{Bytes, BytesMut};
use protocol::ids::{Offset, ProducerId};
use smallvec::SmallVec;

use crate::error::{Damage, Error, ReadError, ReadRefusal, Result};
use crate::files;
use crate::log::{Condition, Log, State};
use crate::offsets::Offsets;
use crate::segment::Segment;
use crate::vetting::Bounds;

/// How many segments one plan reaches over.
const SEGMENTS_MAX: usize = 4;

/// How far a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upto {
    End,
    HighWatermark,
    /// The last stable offset: the plan names the aborted transactions on its way.
    Stable,
}

impl Upto {
    /// The first offset that such a reader does not see.
    pub fn bound(self, offsets: &Offsets) -> Offset {
        match self {
            Upto::End => offsets.end,
            Upto::HighWatermark => offsets.watermark,
            Upto::Stable => offsets.stable,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct ReadRequest {
    pub from: Offset,
    pub bytes_max: usize,
    /// Give the first batch even where it alone exceeds `bytes_max`.
    pub min_one: bool,
    pub upto: Upto,
}

/// Bytes of one file, one after the other. The file stays readable while this is held, deleted or not.
#[derive(Clone, Debug)]
pub struct Range {
    pub file: Arc<dyn DiskFile>,
    pub position: u64,
    pub len: usize,
}

/// Which bytes answer a read; nothing has been copied.
#[derive(Clone, Debug)]
pub struct ReadPlan {
    /// The base offset of the first batch (at most `from`).
    pub first_offset: Offset,
    /// How long the first batch is, which may be more than what is planned of it.
    pub first_bytes: usize,
    pub ranges: SmallVec<[Range; 1]>,
    /// As they were when the plan was made.
    pub offsets: Offsets,
    /// With [`Upto::Stable`]: transactions to leave out.
    pub aborted: Vec<AbortedTransaction>,
}

/// A transaction whose records a reader of committed ones leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer: ProducerId,
    pub first_offset: Offset,
}

impl ReadPlan {
    pub fn len(&self) -> usize {
        self.ranges.iter().map(|range| range.len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Gives up what lies behind the first `bytes_max` bytes, but nothing of the first batch.
    pub fn cut(&mut self, bytes_max: usize) {
        let mut left = bytes_max.max(self.first_bytes);
        self.ranges.retain(|range| {
            range.len = range.len.min(left);
            left -= range.len;
            range.len > 0
        });
    }

    /// Reads the planned bytes.
    pub fn read(&self) -> Result<Bytes> {
        let mut bytes = BytesMut::zeroed(self.len());
        let mut filled = 0;
        for range in &self.ranges {
            let Some(room) = bytes.get_mut(filled..filled + range.len) else {
                break;
            };
            let got = range
                .file
                .read_at(room, range.position)
                .map_err(|e| Error::io("read", std::path::Path::new("a segment"), e))?;
            filled += got;
            if got < range.len {
                break;
            }
        }
        bytes.truncate(filled);
        Ok(bytes.freeze())
    }
}

/// What a plan is made from, taken under the lock.
struct Glance {
    offsets: Offsets,
    limit: i64,
    /// The latest epoch; −1 without any.
    epoch: i32,
    cuts: u64,
    segments: SmallVec<[Piece; 2]>,
}

struct Piece {
    segment: Arc<Segment>,
    size: u64,
    /// Where the next segment begins; the log's end for the last.
    end: i64,
}

impl Log {
    /// Plans which bytes answer a read.
    pub fn read(&self, request: ReadRequest) -> Result<ReadPlan, ReadError> {
        let glance = {
            let mut state = self.lock_open()?;
            let glance = self.glance(&mut state, &request);
            drop(state);
            match glance {
                Err(ReadError::Failed(e)) => return Err(self.conclude_read(e)),
                other => other?,
            }
        };
        match self.plan(&glance, &request) {
            Err(e) if self.is_outdated(&e, glance.cuts) => self.read(request),
            planned => planned.map_err(|e| self.conclude_read(e)),
        }
    }

    /// The offsets, without waiting for anybody: `None` unless the log is open and whole, and nobody
    /// is at its files just now.
    pub fn glimpse(&self) -> Option<Offsets> {
        self.directory.check().ok()?;
        let state = self.state.try_lock()?;
        let is_whole = state.condition == Condition::Open && !state.tail_unchecked;
        is_whole.then(|| state.offsets())
    }

    fn conclude_read(&self, error: Error) -> ReadError {
        if matches!(error, Error::Corrupt { .. }) {
            self.note_damage(&mut self.state.lock(), &error);
        }
        match self.conclude::<()>(Err(error)) {
            Err(e) => ReadError::Failed(e),
            Ok(()) => ReadError::Failed(Error::Closed),
        }
    }

    fn glance(&self, state: &mut State, request: &ReadRequest) -> Result<Glance, ReadError> {
        self.check_tail(state)?;
        let offsets = state.offsets();
        if request.from < offsets.start || request.from > offsets.end {
            let Offsets { start, end, .. } = offsets;
            return Err(ReadRefusal::OutOfRange {
                from: request.from,
                start,
                end,
            }
            .into());
        }
        let limit = request.upto.bound(&offsets);
        let mut segments = SmallVec::new();
        if request.from < limit {
            let first = state.segment_index(request.from.0);
            let ends = state
                .segments
                .iter()
                .skip(first + 1)
                .map(|next| next.base_offset());
            let ends = ends.chain([state.end]);
            let pieces = state
                .segments
                .iter()
                .skip(first)
                .zip(ends)
                // Compaction may leave any number of empty ones in a row: a plan that reached over
                // those alone would hold a reader there for ever.
                .filter(|(segment, _)| segment.size() > 0)
                .take(SEGMENTS_MAX);
            segments.extend(pieces.map(|(segment, end)| Piece {
                segment: Arc::clone(segment),
                size: segment.size(),
                end,
            }));
        }
        Ok(Glance {
            offsets,
            limit: limit.0,
            cuts: state.cuts,
            epoch: state.epochs.latest().map_or(-1, |(epoch, _)| epoch),
            segments,
        })
    }

    fn plan(&self, glance: &Glance, request: &ReadRequest) -> Result<ReadPlan> {
        let mut plan = ReadPlan {
            first_offset: request.from,
            first_bytes: 0,
            ranges: SmallVec::new(),
            offsets: glance.offsets,
            aborted: Vec::new(),
        };
        let mut room = request.bytes_max;
        let mut from = request.from.0;
        let mut reaches = from;
        for piece in &glance.segments {
            from = from.max(piece.segment.base_offset());
            let full = self.plan_piece(piece, glance, request, from, &mut room, &mut plan)?;
            reaches = piece.end.min(glance.limit);
            if full || piece.end >= glance.limit {
                break;
            }
            from = piece.end;
        }
        if request.upto == Upto::Stable && !plan.is_empty() {
            plan.aborted = self.aborted_in(request.from.0, reaches)?;
        }
        Ok(plan)
    }

    /// Adds what one segment has to give. True: nothing of the next one may follow.
    fn plan_piece(
        &self,
        piece: &Piece,
        glance: &Glance,
        request: &ReadRequest,
        from: i64,
        room: &mut usize,
        plan: &mut ReadPlan,
    ) -> Result<bool> {
        let (segment, limit) = (&piece.segment, glance.limit);
        let end = if limit >= piece.end {
            piece.size
        } else {
            segment
                .find(limit, piece.size)?
                .map_or(piece.size, |found| found.position)
        };
        let Some(first) = segment.find(from, end)? else {
            return Ok(false);
        };
        let available = usize::try_from(end - first.position).unwrap_or(usize::MAX);
        let is_first = plan.ranges.is_empty();
        let mut len = available.min(*room);
        if is_first {
            plan.first_offset = Offset(first.base_offset);
            plan.first_bytes = first.size;
            if request.min_one && len < first.size {
                len = first.size.min(available);
            }
        }
        if len == 0 {
            return Ok(true);
        }
        let bounds = Bounds {
            base: segment.base_offset(),
            end: piece.end,
            epoch: glance.epoch,
            size: piece.size,
        };
        segment.vet(&first, first.position + len as u64, bounds)?;
        plan.ranges.push(Range {
            file: segment.log_file()?,
            position: first.position,
            len,
        });
        *room = room.saturating_sub(len);
        Ok(len < available || *room == 0)
    }

    /// Transactions aborted at or after `from` that began below `to`.
    pub fn aborted_transactions(
        &self,
        from: Offset,
        to: Offset,
    ) -> Result<Vec<AbortedTransaction>> {
        let found = self.aborted_in(from.0, to.0);
        self.conclude(found)
    }

    fn aborted_in(&self, from: i64, to: i64) -> Result<Vec<AbortedTransaction>> {
        let segments: SmallVec<[Arc<Segment>; 2]> = {
            let state = self.lock_open()?;
            let first = state.segment_index(from);
            state.segments.iter().skip(first).map(Arc::clone).collect()
        };
        let mut found = Vec::new();
        for segment in segments {
            let mut is_over = false;
            segment.visit_aborted(|entry| {
                if entry.last_offset >= from && entry.first_offset < to {
                    found.push(AbortedTransaction {
                        producer: ProducerId(entry.producer),
                        first_offset: Offset(entry.first_offset),
                    });
                }
                // Kafka: whatever is aborted later began above.
                is_over = entry.last_stable_offset >= to;
                !is_over
            })?;
            if is_over {
                break;
            }
        }
        Ok(found)
    }

    /// After a clean start: that the newest batches end where the checkpoint says, looked at once,
    /// before anything is read or written.
    pub(in crate::log) fn check_tail(&self, state: &mut State) -> Result<()> {
        if !state.tail_unchecked {
            return Ok(());
        }
        let end = super::recover::end_by_walk(state.active())?;
        match end {
            Some(end) if end == state.end => {
                state.tail_unchecked = false;
                Ok(())
            }
            found => {
                let path = state.active().path(files::LOG);
                let damage = match found {
                    Some(end) => Damage::Shorter {
                        end,
                        known: state.end,
                    },
                    None => Damage::Batch {
                        position: state.active().size(),
                    },
                };
                let error = Error::corrupt("check the end of", &path, damage);
                self.note_damage(state, &error);
                Err(error)
            }
        }
    }
}
