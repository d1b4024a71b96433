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
use smallvec::SmallVec;
use storage::log::ReadPlan;

use crate::error::Refusal;
use crate::lanes::{Gathered, by_lane};
use crate::partition::{Found, Partition, PartitionRead, Reader};
use crate::waiting::{Seat, Stay, Until, Wakes};

/// One partition of a fetch.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where the caller keeps what it was asked; not looked at here.
    pub index: usize,
    pub partition: Arc<Partition>,
    pub from: Offset,
    /// `None`: nothing is planned, not even a first batch.
    pub bytes_max: Option<usize>,
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

/// One look at all partitions, in the order they were wanted. Those whose disk has not answered are
/// told as [`Refusal::Silent`].
#[derive(Debug)]
pub struct Round {
    pub found: Vec<Result<Found, Refusal>>,
    pub bytes: usize,
    /// Worth answering at once. A disk that does not answer is no reason: whoever were told so at
    /// once would ask again at once.
    pub is_ready: bool,
    /// Who was not looked at, as that may take long: places in `found`.
    rest: Vec<usize>,
}

/// A fetch on the thread of its caller, of all partitions whose directories are healthy. What is
/// left of it is for [`read_rest`].
pub fn read_here(wanted: &[Wanted], rules: FetchRules, counts: bool) -> (Round, Wakes) {
    let mut reading = Reading::new(wanted.len(), rules);
    for (place, one) in wanted.iter().enumerate() {
        // Most polls find nothing, and what needs no disk needs no permit either.
        if let Some(found) = one.partition.nothing_new(&reading.ask(one, counts)) {
            reading.add(Ok((found, Wakes::none())));
            continue;
        }
        let lanes = &one.partition.shared().lanes;
        match lanes.try_permit(&one.partition.lane()) {
            Some(_permit) => reading.read(one, counts),
            None => reading.leave(place),
        }
    }
    reading.finish()
}

/// The rest of a round, on threads of the directories, until the stay is over. Whoever has not
/// answered by then is left out: nobody's records wait for the disk of others for ever. Counting
/// a follower twice does no harm: its progress is a place, not a sum.
pub async fn read_rest(
    wanted: &[Wanted],
    rules: FetchRules,
    counts: bool,
    round: Round,
    stay: &Stay,
) -> Round {
    match round.is_whole() {
        true => round,
        // Boxed: thousands of fetches wait, and few of them for a lane.
        false => Box::pin(ask_lanes(wanted, rules, counts, round, stay)).await,
    }
}

async fn ask_lanes(
    wanted: &[Wanted],
    rules: FetchRules,
    counts: bool,
    mut round: Round,
    stay: &Stay,
) -> Round {
    let rest = std::mem::take(&mut round.rest).into_iter();
    let lane_of = |place: usize| Some((wanted.get(place)?.partition.lane(), place));
    let by_lane = by_lane(rest.filter_map(lane_of));
    let room = Room::beside(&round, rules);
    let mut asked = Gathered::new(by_lane.len());
    for (lane, places) in by_lane {
        let asks: Vec<_> = places
            .iter()
            .filter_map(|place| wanted.get(*place).cloned())
            .collect();
        let job = move || {
            let mut reading = Reading::with(asks.len(), room);
            asks.iter().for_each(|one| reading.read(one, counts));
            let (part, wakes) = reading.finish();
            wakes.fire();
            (places, part)
        };
        asked.ask(&lane, [job]);
    }
    while let Some((places, part)) = asked.next(stay).await {
        round.add(places, part, rules);
    }
    round
}

impl Round {
    /// Whether everybody was looked at who can be.
    pub fn is_whole(&self) -> bool {
        self.rest.is_empty()
    }

    /// Adds what one directory had to say. Each was granted all the room that was left: what came
    /// first keeps it.
    fn add(&mut self, places: Vec<usize>, part: Round, rules: FetchRules) {
        for (place, mut found) in places.into_iter().zip(part.found) {
            let mut room = Room::beside(self, rules);
            if let Ok(found) = &mut found {
                room.fit(&mut found.plan);
            }
            self.note(&found, rules);
            if let Some(told) = self.found.get_mut(place) {
                *told = found;
            }
        }
    }

    fn note(&mut self, found: &Result<Found, Refusal>, rules: FetchRules) {
        match found {
            Ok(found) => {
                self.bytes += found.plan.as_ref().map_or(0, ReadPlan::len);
                self.is_ready |= found.diverging.is_some() || self.bytes >= rules.bytes_min;
            }
            Err(_) => self.is_ready = true,
        }
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
        let (next, wakes) = read_here(wanted, rules, false);
        wakes.fire();
        round = read_rest(wanted, rules, false, next, stay).await;
    }
}

fn sit(wanted: &[Wanted], round: &Round, stay: &Stay) -> SmallVec<[Seat; 2]> {
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

/// How much a round may still plan.
#[derive(Clone, Copy)]
struct Room {
    rules: FetchRules,
    left: usize,
    min_one: bool,
}

impl Room {
    fn beside(round: &Round, rules: FetchRules) -> Self {
        Room {
            rules,
            left: rules.bytes_max.saturating_sub(round.bytes),
            min_one: rules.min_one && round.bytes == 0,
        }
    }

    /// Cuts a plan to what there is room for.
    fn fit(&mut self, plan: &mut Option<ReadPlan>) {
        if let Some(plan) = plan {
            plan.cut(self.left);
        }
        let (left, min_one) = (self.left, self.min_one);
        // Kafka: who may be given more than he asked for is never given part of a batch.
        plan.take_if(|plan| match self.rules.min_one {
            true => plan.len() < plan.first_bytes || (plan.len() > left && !min_one),
            false => plan.len() > left,
        });
    }
}

/// A round in the making.
struct Reading {
    room: Room,
    round: Round,
    wakes: Wakes,
}

impl Reading {
    fn new(partitions: usize, rules: FetchRules) -> Self {
        let room = Room {
            rules,
            left: rules.bytes_max,
            min_one: rules.min_one,
        };
        Reading::with(partitions, room)
    }

    fn with(partitions: usize, room: Room) -> Self {
        Reading {
            room,
            round: Round {
                found: Vec::with_capacity(partitions),
                bytes: 0,
                is_ready: false,
                rest: Vec::new(),
            },
            wakes: Wakes::none(),
        }
    }

    fn ask(&self, one: &Wanted, counts: bool) -> PartitionRead {
        PartitionRead {
            from: one.from,
            bytes_max: one.bytes_max.unwrap_or(0).min(self.room.left),
            min_one: self.room.min_one && one.bytes_max.is_some(),
            current_leader_epoch: one.current_leader_epoch,
            last_fetched_epoch: one.last_fetched_epoch,
            reader: one.reader,
            counts,
        }
    }

    fn read(&mut self, one: &Wanted, counts: bool) {
        self.add(one.partition.read(&self.ask(one, counts)));
    }

    fn add(&mut self, found: Result<(Found, Wakes), Refusal>) {
        let found = found.map(|(mut found, wakes)| {
            self.wakes.add(wakes);
            self.room.fit(&mut found.plan);
            let bytes = found.plan.as_ref().map_or(0, ReadPlan::len);
            self.room.min_one &= bytes == 0;
            self.room.left = self.room.left.saturating_sub(bytes);
            found
        });
        self.round.note(&found, self.room.rules);
        self.round.found.push(found);
    }

    /// For those who are asked where it may take long.
    fn leave(&mut self, place: usize) {
        self.round.rest.push(place);
        self.round.found.push(Err(Refusal::Silent));
    }

    fn finish(mut self) -> (Round, Wakes) {
        self.round.is_ready |= self.round.bytes >= self.room.rules.bytes_min;
        (self.round, self.wakes)
    }
}
