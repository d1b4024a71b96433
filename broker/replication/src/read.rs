//! The fetch path: a round over all partitions of a request, and waiting until a round is worth
//! answering.
//!
//! A round plans ranges and moves no byte. At most `bytes_max` are planned, except that the first
//! partition with anything to give may give one whole batch, so that no batch is too large to be
//! fetched. A round is ready when it holds `bytes_min`, or anything that a fetcher must hear now.
//!
//! Hot path: an empty round allocates one vector and takes, a partition, the locks of one read.

use std::sync::Arc;

use protocol::ids::{LeaderEpoch, Offset};

use crate::error::Refusal;
use crate::partition::{Found, Partition, PartitionRead, Reader};
use crate::waiting::{Seat, Stay, Until, Wakes};

/// One partition of a fetch.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where the caller keeps what it was asked; not looked at here.
    pub index: usize,
    pub partition: Arc<Partition>,
    pub from: Offset,
    pub bytes_max: usize,
    pub current_leader_epoch: Option<LeaderEpoch>,
    pub last_fetched_epoch: Option<LeaderEpoch>,
    pub reader: Reader,
}

/// What holds for a fetch as a whole.
#[derive(Clone, Copy, Debug)]
pub struct FetchRules {
    pub bytes_min: usize,
    pub bytes_max: usize,
    /// The first batch is given even where it is too large (Fetch since version 3).
    pub min_one: bool,
}

/// One look at all partitions, in the order they were wanted.
#[derive(Debug)]
pub struct Round {
    pub found: Vec<Result<Found, Refusal>>,
    pub bytes: usize,
    /// Worth answering at once.
    pub is_ready: bool,
}

/// A fetch on the thread of its caller: a round where every directory is healthy, `None` where
/// one is slow and [`read_elsewhere`] must be used.
pub fn read_here(wanted: &[Wanted], rules: FetchRules, counts: bool) -> Option<(Round, Wakes)> {
    let mut reading = Reading::new(wanted.len(), rules);
    for one in wanted {
        let lanes = &one.partition.shared().lanes;
        let _permit = lanes.try_permit(&one.partition.lane())?;
        reading.read(one, counts);
    }
    Some(reading.finish())
}

/// The same on a thread of the slow directory. Counting a follower twice does no harm: its
/// progress is a place, not a sum.
pub async fn read_elsewhere(wanted: Vec<Wanted>, rules: FetchRules, counts: bool) -> Round {
    let slow = wanted
        .iter()
        .map(|one| (one.partition.shared(), one.partition.lane()));
    let lane = slow
        .clone()
        .find(|(shared, lane)| shared.lanes.is_slow(lane))
        .or_else(|| slow.clone().next())
        .map(|(_, lane)| lane);
    let count = wanted.len();
    let job = move || {
        let mut reading = Reading::new(wanted.len(), rules);
        wanted.iter().for_each(|one| reading.read(one, counts));
        reading.finish()
    };
    let read = match lane {
        Some(lane) => lane.run_read(job).await.ok(),
        None => Some(job()),
    };
    match read {
        Some((round, wakes)) => {
            wakes.fire();
            round
        }
        None => Round {
            found: (0..count).map(|_| Err(Refusal::Overloaded)).collect(),
            bytes: 0,
            is_ready: true,
        },
    }
}

/// Waits until a round is ready or the stay is over, whichever comes first.
pub async fn wait_round(
    wanted: &[Wanted],
    rules: FetchRules,
    mut round: Round,
    stay: &Stay,
) -> Round {
    loop {
        if round.is_ready || stay.parked().is_expired() {
            return round;
        }
        let seats = sit(wanted, &round, stay);
        // Whatever moved before we sat down is seen by looking once more.
        if !has_moved(wanted, &round) {
            stay.parked().wait().await;
        }
        drop(seats);
        if !has_moved(wanted, &round) {
            // The stay is over, or someone woke us for nothing: what was seen still holds, and no
            // disk is asked again for it.
            continue;
        }
        round = match read_here(wanted, rules, false) {
            Some((next, wakes)) => {
                wakes.fire();
                next
            }
            None => read_elsewhere(wanted.to_vec(), rules, false).await,
        };
    }
}

fn sit(wanted: &[Wanted], round: &Round, stay: &Stay) -> Vec<Seat> {
    let seen = wanted.iter().zip(&round.found);
    seen.filter_map(|(one, found)| {
        let offsets = found.as_ref().ok()?.offsets;
        let until = match one.reader {
            Reader::Consumer { .. } => Until::WatermarkPasses(offsets.watermark),
            Reader::Follower { .. } | Reader::Local => Until::EndPasses(offsets.end),
        };
        Some(one.partition.queue().sit(until, stay.parked()))
    })
    .collect()
}

fn has_moved(wanted: &[Wanted], round: &Round) -> bool {
    wanted.iter().zip(&round.found).any(|(one, found)| {
        found
            .as_ref()
            .is_ok_and(|found| one.partition.has_moved(found.moves))
    })
}

/// A round in the making.
struct Reading {
    rules: FetchRules,
    left: usize,
    min_one: bool,
    round: Round,
    wakes: Wakes,
}

impl Reading {
    fn new(partitions: usize, rules: FetchRules) -> Self {
        Reading {
            rules,
            left: rules.bytes_max,
            min_one: rules.min_one,
            round: Round {
                found: Vec::with_capacity(partitions),
                bytes: 0,
                is_ready: false,
            },
            wakes: Wakes::none(),
        }
    }

    fn read(&mut self, one: &Wanted, counts: bool) {
        let found = one.partition.read(&PartitionRead {
            from: one.from,
            bytes_max: one.bytes_max.min(self.left),
            min_one: self.min_one,
            current_leader_epoch: one.current_leader_epoch,
            last_fetched_epoch: one.last_fetched_epoch,
            reader: one.reader,
            counts,
        });
        let found = found.map(|(mut found, wakes)| {
            self.wakes.add(wakes);
            // Kafka: who may be given more than he asked for is never given part of a batch.
            if self.rules.min_one {
                found.plan = found.plan.filter(|plan| plan.len() >= plan.first_bytes);
            }
            let bytes = found.plan.as_ref().map_or(0, storage::log::ReadPlan::len);
            self.min_one &= bytes == 0;
            self.left = self.left.saturating_sub(bytes);
            self.round.bytes += bytes;
            self.round.is_ready |= found.diverging.is_some();
            found
        });
        self.round.is_ready |= found.is_err();
        self.round.found.push(found);
    }

    fn finish(mut self) -> (Round, Wakes) {
        self.round.is_ready |= self.round.bytes >= self.rules.bytes_min;
        (self.round, self.wakes)
    }
}
