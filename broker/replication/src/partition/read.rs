//! Reading one partition: who may read how far, and whether his log and ours have parted.
//!
//! Hot path: one shared lock and the log's own; no allocation of ours.

use std::sync::atomic::Ordering;

use protocol::ids::{BrokerId, LeaderEpoch, Offset};
use storage::log::{ReadPlan, ReadRequest, Upto};
use storage::offsets::Offsets;

use crate::error::Refusal;
use crate::partition::{Partition, State};
use crate::traffic::Passed;
use crate::waiting::Wakes;

/// Who reads, which decides how far and from whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Bounded by the watermark or the stable offset. `leader_only` for clients that do not know
    /// of reading from followers (Fetch before version 11).
    Consumer {
        committed_only: bool,
        leader_only: bool,
    },
    /// Another replica: reads to the end, and its offset is its progress.
    Follower { id: BrokerId, log_start: Offset },
    /// Whoever looks at one replica, to its end, wherever it is (ListOffsets of replica −2).
    Local,
}

impl Reader {
    pub(in crate::partition) fn upto(self) -> Upto {
        match self {
            Reader::Consumer {
                committed_only: true,
                ..
            } => Upto::Stable,
            Reader::Consumer { .. } => Upto::HighWatermark,
            Reader::Follower { .. } | Reader::Local => Upto::End,
        }
    }

    /// Whether nobody but the leader answers.
    pub(in crate::partition) fn asks_leader(self) -> bool {
        match self {
            Reader::Consumer { leader_only, .. } => leader_only,
            Reader::Follower { .. } => true,
            Reader::Local => false,
        }
    }
}

/// A read of one partition.
#[derive(Clone, Copy, Debug)]
pub struct PartitionRead {
    pub from: Offset,
    pub bytes_max: usize,
    pub min_one: bool,
    pub current_leader_epoch: Option<LeaderEpoch>,
    pub last_fetched_epoch: Option<LeaderEpoch>,
    pub reader: Reader,
    /// A follower's progress is counted once a request, not each time a parked one looks again.
    pub counts: bool,
}

/// What a read found.
#[derive(Debug)]
pub struct Found {
    /// As they were before the read.
    pub offsets: Offsets,
    /// The count of moves before the read; see [`Partition::has_moved`].
    pub moves: u64,
    /// Where two logs part: the follower should truncate there, nothing was read.
    pub diverging: Option<(LeaderEpoch, Offset)>,
    pub plan: Option<ReadPlan>,
}

impl Partition {
    /// Plans a read, checks epochs first, and counts a follower's progress.
    pub fn read(&self, read: &PartitionRead) -> Result<(Found, Wakes), Refusal> {
        let found = self.read_counted(read);
        if read.counts {
            self.traffic.add(Passed::FetchRequests, 1);
            if found.as_ref().is_err_and(|refusal| !refusal.is_expected()) {
                self.traffic.add(Passed::FailedFetches, 1);
            }
        }
        found
    }

    /// What a consumer is told who has had everything he may have. Never waits, neither for a disk
    /// nor for a lock: `None` where it would have to, and where there is anything else to tell.
    pub(crate) fn nothing_new(&self, read: &PartitionRead) -> Option<Found> {
        let Reader::Consumer { leader_only, .. } = read.reader else {
            return None;
        };
        if read.last_fetched_epoch.is_some() {
            return None;
        }
        let state = self.state.try_read()?;
        self.check_epoch(&state, read.current_leader_epoch, leader_only)
            .ok()?;
        let moves = self.marks.moves.load(Ordering::Acquire);
        let offsets = state.log.glimpse()?;
        if read.from != read.reader.upto().bound(&offsets) {
            return None;
        }
        if read.counts {
            self.traffic.add(Passed::FetchRequests, 1);
        }
        Some(Found {
            offsets,
            moves,
            diverging: None,
            plan: None,
        })
    }

    fn read_counted(&self, read: &PartitionRead) -> Result<(Found, Wakes), Refusal> {
        let state = self.state.read();
        self.check_epoch(&state, read.current_leader_epoch, read.reader.asks_leader())?;
        if let Reader::Follower { id, .. } = read.reader {
            let led = self.leadership(&state)?;
            if led.progress.lock().followers.get(id).is_none() {
                return Err(match read.current_leader_epoch {
                    Some(_) => Refusal::UnknownLeaderEpoch,
                    None => Refusal::NotLeader,
                });
            }
        }
        let moves = self.marks.moves.load(Ordering::Acquire);
        // The end before the read: what is appended meanwhile must not keep a follower out of sync.
        let offsets = state.log.offsets();
        let diverging = match read.last_fetched_epoch {
            Some(epoch) => state.diverging(epoch, read.from, &offsets)?,
            None => None,
        };
        if diverging.is_some() {
            return Ok((
                Found {
                    offsets,
                    moves,
                    diverging,
                    plan: None,
                },
                Wakes::none(),
            ));
        }
        let plan = state.log.read(ReadRequest {
            from: read.from,
            bytes_max: read.bytes_max,
            min_one: read.min_one,
            upto: read.reader.upto(),
        })?;
        drop(state);
        let wakes = match read.reader {
            Reader::Follower { id, log_start } if read.counts => {
                self.note_follower_fetch(id, read.from, log_start, offsets.end)
            }
            _ => Wakes::none(),
        };
        Ok((
            Found {
                offsets,
                moves,
                diverging: None,
                plan: Some(plan),
            },
            wakes,
        ))
    }
}

impl State {
    /// Whether a reader whose last record is of `epoch` has parted from this log before `from`.
    pub(in crate::partition) fn diverging(
        &self,
        epoch: LeaderEpoch,
        from: Offset,
        offsets: &Offsets,
    ) -> Result<Option<(LeaderEpoch, Offset)>, Refusal> {
        let (ours, end) = self
            .log
            .end_offset_for_epoch(epoch)
            .ok_or(Refusal::OffsetOutOfRange)?;
        if from < offsets.start {
            return Err(Refusal::OffsetOutOfRange);
        }
        Ok((ours < epoch || end < from).then_some((ours, end)))
    }
}
