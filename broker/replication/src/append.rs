//! The produce path: append here, then wait for as many acks as were asked for.
//!
//! An append runs on the calling thread where it may (see `lanes`) and in its directory's lane
//! where it may not, or where looking at its records takes long: a small batch may unpack to a
//! large one, and many that take a moment each take long together. One that was sent to the lane is
//! followed there by all later ones of its partition until the lane is empty, so that a producer's
//! order holds. What one turn sends to a lane goes there together, as it ends: a request may name
//! more partitions than the lane's queue has places.
//!
//! Hot path: with acks from the leader, or from all where there is nobody else, the answer is
//! there when [`append`] returns; nothing is spawned, parked or allocated.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use protocol::ids::{Offset, ProducerEpoch, ProducerId};
use storage::log::{Appended, Log, Origin};
use tokio::sync::oneshot;
use tracing::warn;

use crate::error::Refusal;
use crate::lanes::{Flushes, Lane, by_lane};
use crate::partition::{AppendFailure, By, Done, Partition, Patience};
use crate::waiting::{Stay, Until, Wakes};

/// For how long one thread appends in a row: others wait for it.
const TURN_US_MAX: i64 = 5_000;

/// How many must have a record before its producer hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    None,
    Leader,
    All,
}

/// What is said of one partition in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendAnswer {
    /// −1 where nothing was written.
    pub first_offset: Offset,
    pub last_offset: Offset,
    pub log_append_time_ms: i64,
    pub log_start: Offset,
    pub refusal: Option<Refusal>,
}

/// An append, answered or not.
#[derive(Debug)]
pub enum Append {
    Answered(AppendAnswer),
    Waits(Wait),
}

/// Appends that one thread does in a row, as those of one request.
#[derive(Debug, Default)]
#[must_use = "whoever its appends concern is woken as it ends"]
pub struct Turn {
    began_us: Option<i64>,
    wakes: Wakes,
    /// What the directories' lanes are to do.
    queued: Vec<(Arc<Lane>, Queued)>,
}

/// An append that is counted among those that wait in its partition's lane. Dropped before it was
/// done it is refused.
#[derive(Debug)]
struct Queued {
    partition: Arc<Partition>,
    records: Bytes,
    by: By,
    acks: Acks,
    tell: Option<oneshot::Sender<Result<Done, AppendFailure>>>,
}

/// An append that waits for a disk or for other replicas.
#[derive(Debug)]
pub struct Wait {
    partition: Arc<Partition>,
    acks: Acks,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Not done yet: it stands in the lane of a slow directory.
    Lane(oneshot::Receiver<Result<Done, AppendFailure>>),
    Written {
        appended: Appended,
        flush_to: Option<Offset>,
    },
}

impl Turn {
    pub fn begin() -> Self {
        Turn::default()
    }

    /// Wakes whom the appends concern, and sends off what lanes are to do. Never called under a
    /// partition's lock.
    pub fn end(self) {
        self.wakes.fire();
        for (lane, queued) in by_lane(self.queued) {
            let jobs = queued.into_iter().map(|one| {
                let lane = Arc::clone(&lane);
                move || one.run(&lane)
            });
            // What finds no place is refused as it is dropped.
            let _sent = lane.submit_appends(jobs.collect());
        }
    }

    fn is_over(&mut self, now_us: i64) -> bool {
        now_us - *self.began_us.get_or_insert(now_us) > TURN_US_MAX
    }
}

impl Acks {
    /// As a Produce request says it; other numbers are not allowed.
    pub fn from_wire(acks: i16) -> Option<Self> {
        match acks {
            0 => Some(Acks::None),
            1 => Some(Acks::Leader),
            -1 => Some(Acks::All),
            _ => None,
        }
    }
}

impl AppendAnswer {
    pub fn refused(refusal: Refusal, log_start: Offset) -> Self {
        AppendAnswer {
            first_offset: Offset::NONE,
            last_offset: Offset::NONE,
            log_append_time_ms: -1,
            log_start,
            refusal: Some(refusal),
        }
    }

    fn written(appended: &Appended, refusal: Option<Refusal>) -> Self {
        AppendAnswer {
            first_offset: appended.first_offset,
            last_offset: appended.last_offset,
            log_append_time_ms: appended.log_append_time_ms,
            log_start: appended.log_start,
            refusal,
        }
    }
}

/// Appends to one partition this broker leads. Whom the append concerns is woken as the turn ends,
/// once all partitions of a request are done.
pub fn append(
    partition: &Arc<Partition>,
    records: Bytes,
    by: impl Into<By>,
    acks: Acks,
    turn: &mut Turn,
) -> Append {
    let by = by.into();
    let lane = partition.lane();
    if partition.queued.load(Ordering::Acquire) == 0
        && !turn.is_over(partition.shared().clock.monotonic_us())
        && let Some(permit) = partition.shared().lanes.try_permit(&lane)
    {
        let done = append_here(partition, &records, by, acks, Patience::Short);
        drop(permit);
        match done {
            Some(Ok(done)) => return written(partition, done, acks, &mut turn.wakes),
            Some(Err(failure)) => return Append::Answered(failure.into()),
            None => {}
        }
    }
    let (tell, heard) = oneshot::channel();
    let lane = partition.lane_to_queue();
    let queued = Queued {
        partition: Arc::clone(partition),
        records,
        by,
        acks,
        tell: Some(tell),
    };
    turn.queued.push((lane, queued));
    Append::Waits(Wait {
        partition: Arc::clone(partition),
        acks,
        stage: Stage::Lane(heard),
    })
}

impl Queued {
    /// On a thread of the lane.
    fn run(mut self, lane: &Arc<Lane>) {
        if !Arc::ptr_eq(lane, &self.partition.lane()) {
            // A move has failed that it had come after; whoever comes now might overtake it.
            return;
        }
        let tell = self.tell.take();
        let (records, acks) = (&self.records, self.acks);
        let done = append_here(&self.partition, records, self.by, acks, Patience::Any);
        let partition = Arc::clone(&self.partition);
        // Whoever hears of it may append where he is again.
        drop(self);
        let Some(mut done) = done else { return };
        if let Ok(done) = &mut done {
            std::mem::take(&mut done.wakes).fire();
            if done.flush_due {
                // Here and not by whoever waits: he may go away.
                queue_flush(&partition);
            }
        }
        let _unheard = tell.map(|tell| tell.send(done));
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.partition.queued.fetch_sub(1, Ordering::AcqRel);
        if let Some(tell) = self.tell.take() {
            let _unheard = tell.send(Err(AppendFailure {
                refusal: Refusal::Overloaded,
                log_start: Offset::NONE,
            }));
        }
    }
}

/// Appends and waits; for this broker's own records and markers.
pub async fn append_and_wait(
    partition: &Arc<Partition>,
    records: Bytes,
    origin: Origin,
    acks: Acks,
    timeout_ms: i64,
) -> AppendAnswer {
    let mut turn = Turn::begin();
    let append = append(partition, records, origin, acks, &mut turn);
    turn.end();
    match append {
        Append::Answered(answer) => answer,
        Append::Waits(wait) => {
            let stay = partition.shared().deadlines.park(timeout_ms);
            wait.finish(&stay).await
        }
    }
}

fn append_here(
    partition: &Partition,
    records: &Bytes,
    by: By,
    acks: Acks,
    patience: Patience,
) -> Option<Result<Done, AppendFailure>> {
    // The first write of a transaction here counts as verified: the coordinators of transactions
    // that could be asked (KIP-890) live on other brokers until this one has its own.
    let guard = transactional_producer(records).and_then(|(producer, epoch, sequence)| {
        partition
            .log()
            .start_verification(producer, epoch, sequence)
    });
    partition.append(records, by, acks == Acks::All, guard.as_ref(), patience)
}

/// What follows an append that was written here.
fn written(partition: &Arc<Partition>, mut done: Done, acks: Acks, wakes: &mut Wakes) -> Append {
    wakes.add(std::mem::take(&mut done.wakes));
    if done.flush_due {
        queue_flush(partition);
    }
    let Done {
        appended, flush_to, ..
    } = done;
    let stage = Stage::Written { appended, flush_to };
    let wait = Wait {
        partition: Arc::clone(partition),
        acks,
        stage,
    };
    match wait.check() {
        Some(answer) => Append::Answered(answer),
        None => Append::Waits(wait),
    }
}

/// Asks for a flush in the directory's lane, which sees these records too where one was asked for
/// already and has not begun.
fn queue_flush(partition: &Arc<Partition>) {
    let is_queued = partition.flush_queued.swap(true, Ordering::AcqRel);
    let flushed = || Arc::clone(partition) as Arc<dyn Flushes>;
    partition.lane().flush((!is_queued).then(flushed));
}

impl Flushes for Partition {
    fn begin_flush(&self) -> Arc<Log> {
        self.flush_queued.store(false, Ordering::Release);
        self.log()
    }

    fn end_flush(&self, flushed: storage::error::Result<Offset>) -> Wakes {
        if let Err(failed) = flushed
            && !failed.is_told()
        {
            // The store takes the directory offline and whoever waits hears it from there.
            warn!(partition = %self.id(), error = %failed, "flush failed");
        }
        self.advance()
    }
}

impl Wait {
    /// Waits until enough have the records, or until the stay is over.
    pub async fn finish(mut self, stay: &Stay) -> AppendAnswer {
        if let Stage::Lane(heard) = &mut self.stage {
            // Woken by nothing but its end, and that of the partition here.
            let until = Until::EndPasses(Offset(i64::MAX));
            let _seat = self.partition.queue().sit(until, stay.parked());
            let done = loop {
                if let Some(why) = self.partition.gone() {
                    return AppendAnswer::refused(why.clone(), Offset::NONE);
                }
                tokio::select! {
                    biased;
                    done = &mut *heard => break done,
                    () = stay.parked().wait() => if stay.parked().is_expired() {
                        return AppendAnswer::refused(Refusal::TimedOut, Offset::NONE);
                    },
                }
            };
            match done {
                Ok(Ok(done)) => {
                    let Done {
                        appended, flush_to, ..
                    } = done;
                    self.stage = Stage::Written { appended, flush_to };
                }
                Ok(Err(failure)) => return failure.into(),
                Err(_lost) => return AppendAnswer::refused(Refusal::Damaged, Offset::NONE),
            }
        }
        let _seats = self.sit(stay);
        loop {
            if let Some(answer) = self.check() {
                return answer;
            }
            if stay.parked().is_expired() {
                return self.answer(Some(Refusal::TimedOut));
            }
            stay.parked().wait().await;
        }
    }

    /// The answer, once nothing is left to wait for.
    fn check(&self) -> Option<AppendAnswer> {
        let Stage::Written { appended, flush_to } = &self.stage else {
            return None;
        };
        if self.acks == Acks::None {
            return Some(self.answer(None));
        }
        if let Some(to) = flush_to
            && let Err(refusal) = self.partition.check_flushed(*to)?
        {
            return Some(self.answer(Some(refusal)));
        }
        match self.acks {
            Acks::None | Acks::Leader => Some(self.answer(None)),
            Acks::All => {
                let outcome = self.partition.check_acks(appended.last_offset + 1)?;
                Some(self.answer(outcome.err()))
            }
        }
    }

    fn sit(&self, stay: &Stay) -> Vec<Option<crate::waiting::Seat>> {
        let Stage::Written { appended, flush_to } = &self.stage else {
            return Vec::new();
        };
        let queue = self.partition.queue();
        let flush = flush_to.map(|to| queue.sit(Until::FlushReaches(to), stay.parked()));
        let acks = (self.acks == Acks::All).then(|| {
            queue.sit(
                Until::WatermarkReaches(appended.last_offset + 1),
                stay.parked(),
            )
        });
        vec![flush, acks]
    }

    fn answer(&self, refusal: Option<Refusal>) -> AppendAnswer {
        match &self.stage {
            Stage::Written { appended, .. } => AppendAnswer::written(appended, refusal),
            Stage::Lane(_) => {
                AppendAnswer::refused(refusal.unwrap_or(Refusal::TimedOut), Offset::NONE)
            }
        }
    }
}

impl From<AppendFailure> for AppendAnswer {
    fn from(failure: AppendFailure) -> Self {
        // Kafka: what is no failure of this broker leaves the log start untold
        // (ReplicaManager.appendToLocalLog, 3.9).
        use storage::error::AppendRefusal;
        let untold = matches!(
            failure.refusal,
            Refusal::UnknownPartition
                | Refusal::NotLeader
                | Refusal::DirectoryOffline
                | Refusal::Append(
                    AppendRefusal::TooLarge { .. }
                        | AppendRefusal::SetTooLarge { .. }
                        | AppendRefusal::Corrupt(_)
                )
        );
        let log_start = if untold {
            Offset::NONE
        } else {
            failure.log_start
        };
        AppendAnswer::refused(failure.refusal, log_start)
    }
}

/// The producer of a transactional data batch, from its fixed header (log format, section 5).
fn transactional_producer(records: &[u8]) -> Option<(ProducerId, ProducerEpoch, i32)> {
    const TRANSACTIONAL: i16 = 1 << 4;
    const CONTROL: i16 = 1 << 5;
    let attributes = i16::from_be_bytes(records.get(21..23)?.try_into().ok()?);
    if records.get(16) != Some(&2) || attributes & (TRANSACTIONAL | CONTROL) != TRANSACTIONAL {
        return None;
    }
    let producer = i64::from_be_bytes(records.get(43..51)?.try_into().ok()?);
    let epoch = i16::from_be_bytes(records.get(51..53)?.try_into().ok()?);
    let sequence = i32::from_be_bytes(records.get(53..57)?.try_into().ok()?);
    Some((ProducerId(producer), ProducerEpoch(epoch), sequence))
}
