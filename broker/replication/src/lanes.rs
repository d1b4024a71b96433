//! Where disk work runs: on the caller's own thread while the disk answers, on threads of its
//! directory once it does not.
//!
//! Storage calls on a worker need a permit, one fewer than there are workers, so that one worker
//! always stays free whatever the disks do. A directory whose oldest call is older than
//! [`SLOW_MS`] is slow: no permit is given for it until that call has come back, and its work
//! waits in the directory's own lanes meanwhile. What always sleeps (sync, reads that are not in
//! the page cache, conversions) goes to the lanes directly.
//!
//! A lane whose reads somebody has waited for in vain is *silent* until one of them comes back:
//! meanwhile no fetch asks it for more, as that would only wait behind them, and nobody else does who
//! would wait for no longer than it has been silent. What needs no disk, as most of what is fetched, has
//! nothing to do with it. What never comes back is [`crate::hangs`]' affair.
//!
//! Hot path: a permit costs one clock reading and one scan over a handful of atomics.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use base::clock::Clock;
use base::io_pool::{Full, IoPool};
use base::tasks;
use dashmap::DashMap;
use parking_lot::{Condvar, Mutex};
use protocol::ids::Offset;
use storage::log::{Log, flush_together};

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::gathering::Gathering;
use crate::waiting::{Stay, Wakes};

/// A call that is out for this long may have put its worker to sleep.
const SLEEPING_MS: i64 = 10;
/// A call that takes longer than this makes its directory slow.
pub const SLOW_MS: i64 = 50;
/// Appends of a slow directory keep their order: one thread.
const APPEND_THREADS: usize = 1;
/// One syncs for all who wait; while it does, the next round gathers.
const FLUSH_THREADS: usize = 1;
const READ_THREADS: usize = 4;
const QUEUED_MAX: usize = 4096;
/// A call no older than this may well be between two instructions of a worker.
const FRESH_MS: i64 = 1;
/// The mark of a permit that nobody holds.
const FREE: i64 = -1;

/// What has a log that is to be on the disk.
pub(crate) trait Flushes: Send + Sync + std::fmt::Debug {
    /// Its log; records that come later may need another flush.
    fn begin_flush(&self) -> Arc<Log>;
    /// How far its log is on the disk; whom that concerns.
    fn end_flush(&self, flushed: storage::error::Result<Offset>) -> Wakes;
}

/// One log directory's own threads, made when first needed.
#[derive(Debug)]
pub struct Lane {
    path: PathBuf,
    number: u32,
    appends: OnceLock<IoPool>,
    flushes: OnceLock<IoPool>,
    next_round: Mutex<Round>,
    /// As many have asked for the next round as are expected.
    complete: Condvar,
    reads: OnceLock<IoPool>,
    /// Reads that were handed in, and those that came back.
    asked: AtomicU64,
    answered: AtomicU64,
    /// The answer that somebody gave up waiting for: the first, the second… 0 is none.
    missed: AtomicU64,
    /// Since when that is waited for.
    missing_since_ms: AtomicI64,
    at_work: Mutex<AtWork>,
    clock: Clock,
    runtime: Arc<OnceLock<Handle>>,
}

/// Appends and reads that a lane's threads are at just now.
#[derive(Debug, Default)]
struct AtWork {
    begun: u64,
    jobs: BTreeSet<u64>,
}

/// One call to a disk that has not come back; no other is called the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CallOut {
    Worker { place: usize, began_ms: i64 },
    Lane { lane: u32, job: u64 },
}

/// The round of syncs that gathers.
#[derive(Debug, Default)]
struct Round {
    unflushed: Vec<Arc<dyn Flushes>>,
    /// How many appends wait for it; several may be one log's.
    asked: usize,
    gathering: Gathering,
}

/// All lanes and permits of this broker.
#[derive(Debug)]
pub struct LaneTable {
    clock: Clock,
    lanes: DashMap<PathBuf, Arc<Lane>>,
    next_number: AtomicU32,
    calls: Box<[Call]>,
    /// Whether somebody sleeps until the next call begins.
    awaited: AtomicBool,
    begun: Notify,
    /// Where those run who wait for flushes.
    runtime: Arc<OnceLock<Handle>>,
}

/// One storage call that may be under way on a worker.
#[derive(Debug)]
struct Call {
    /// Monotonic milliseconds at which it began, or [`FREE`].
    began_ms: AtomicI64,
    lane: AtomicU32,
}

/// Leave for one storage call on this thread; dropped when the call is back.
#[derive(Debug)]
#[must_use = "held for as long as the call takes"]
pub struct Permit<'a>(&'a Call);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.began_ms.store(FREE, Ordering::Release);
    }
}

impl LaneTable {
    /// For a runtime with `workers` threads.
    pub fn new(clock: Clock, workers: usize) -> Self {
        let call = || Call {
            began_ms: AtomicI64::new(FREE),
            lane: AtomicU32::new(0),
        };
        let permits = workers.saturating_sub(1).max(1);
        LaneTable {
            clock,
            lanes: DashMap::new(),
            next_number: AtomicU32::new(0),
            calls: (0..permits).map(|_| call()).collect(),
            awaited: AtomicBool::new(false),
            begun: Notify::new(),
            runtime: Arc::default(),
        }
    }

    /// From now on those who wait for flushes are woken on this runtime.
    pub(crate) fn wake_on(&self, runtime: Handle) {
        self.runtime.get_or_init(|| runtime);
    }

    /// The lane of a directory.
    pub fn lane(&self, directory: &Path) -> Arc<Lane> {
        if let Some(lane) = self.lanes.get(directory) {
            return Arc::clone(&lane);
        }
        let fresh = || {
            Arc::new(Lane {
                path: directory.to_path_buf(),
                number: self.next_number.fetch_add(1, Ordering::Relaxed),
                appends: OnceLock::new(),
                flushes: OnceLock::new(),
                next_round: Mutex::default(),
                complete: Condvar::new(),
                reads: OnceLock::new(),
                asked: AtomicU64::new(0),
                answered: AtomicU64::new(0),
                missed: AtomicU64::new(0),
                missing_since_ms: AtomicI64::new(0),
                at_work: Mutex::default(),
                clock: self.clock.clone(),
                runtime: Arc::clone(&self.runtime),
            })
        };
        Arc::clone(
            &self
                .lanes
                .entry(directory.to_path_buf())
                .or_insert_with(fresh),
        )
    }

    /// Leave to call storage on this thread, unless the directory is slow or all permits are out.
    ///
    /// Whoever holds one for less than a millisecond is rather without a core than without his
    /// disk, and gets this one's: a way over a thread of the lane costs more.
    pub fn try_permit(&self, lane: &Lane) -> Option<Permit<'_>> {
        let now_ms = self.clock.monotonic_ms();
        if let Some(permit) = self.permit_at(lane, now_ms) {
            return Some(permit);
        }
        let began = self
            .calls
            .iter()
            .map(|call| call.began_ms.load(Ordering::Acquire));
        let mut held = began.filter(|began_ms| *began_ms != FREE);
        if !held.all(|began_ms| now_ms - began_ms <= FRESH_MS) {
            return None;
        }
        std::thread::yield_now();
        self.permit_at(lane, now_ms)
    }

    fn permit_at(&self, lane: &Lane, now_ms: i64) -> Option<Permit<'_>> {
        let mut free = None;
        for call in &self.calls {
            let began_ms = call.began_ms.load(Ordering::Acquire);
            if began_ms == FREE {
                free = free.or(Some(call));
            } else if now_ms - began_ms > SLOW_MS
                && call.lane.load(Ordering::Relaxed) == lane.number
            {
                return None;
            }
        }
        // A race for the last free one leaves the loser without: it waits in the lane, which is
        // right when all workers are at their disks.
        let call = free?;
        call.began_ms
            .compare_exchange(FREE, now_ms, Ordering::SeqCst, Ordering::Relaxed)
            .ok()?;
        call.lane.store(lane.number, Ordering::Relaxed);
        if self.awaited.load(Ordering::SeqCst) && self.awaited.swap(false, Ordering::SeqCst) {
            self.begun.notify_one();
        }
        Some(Permit(call))
    }

    /// Returns once a storage call is out: a broker at rest need not look after sleeping workers.
    ///
    /// Invariant: either the call sees that it is awaited, or its mark is seen here; all four steps
    /// are of one total order.
    pub async fn await_call(&self) {
        self.awaited.store(true, Ordering::SeqCst);
        let mut calls = self.calls.iter();
        if calls.all(|call| call.began_ms.load(Ordering::SeqCst) == FREE) {
            self.begun.notified().await;
        }
        self.awaited.store(false, Ordering::SeqCst);
    }

    /// Whether a worker may be asleep in a storage call, whichever disk it is.
    pub fn holds_a_worker(&self) -> bool {
        let now_ms = self.clock.monotonic_ms();
        self.calls.iter().any(|call| {
            let began_ms = call.began_ms.load(Ordering::Acquire);
            began_ms != FREE && now_ms - began_ms >= SLEEPING_MS
        })
    }

    /// Every call that is out just now, with its directory.
    pub(crate) fn calls_out(&self) -> Vec<(CallOut, PathBuf)> {
        let mut out = Vec::new();
        for lane in &self.lanes {
            let number = lane.number;
            let mut add = |call| out.push((call, lane.path.clone()));
            for (place, call) in self.calls.iter().enumerate() {
                let began_ms = call.began_ms.load(Ordering::Acquire);
                if began_ms != FREE && call.lane.load(Ordering::Relaxed) == number {
                    add(CallOut::Worker { place, began_ms });
                }
            }
            let at_work = lane.at_work.lock();
            let jobs = at_work.jobs.iter().copied();
            jobs.for_each(|job| add(CallOut::Lane { lane: number, job }));
        }
        out
    }

    /// Whether a call to this directory is out for longer than it should be.
    pub fn is_slow(&self, lane: &Lane) -> bool {
        let now_ms = self.clock.monotonic_ms();
        self.calls.iter().any(|call| {
            let began_ms = call.began_ms.load(Ordering::Acquire);
            began_ms != FREE
                && now_ms - began_ms > SLOW_MS
                && call.lane.load(Ordering::Relaxed) == lane.number
        })
    }
}

impl Lane {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Runs appends one after the other, in the order they were handed in. Together they take one
    /// place in the queue, so that no request is too large for it.
    pub(crate) fn submit_appends<J>(self: &Arc<Self>, jobs: Vec<J>) -> Result<(), Full>
    where
        J: FnOnce() + Send + 'static,
    {
        let place = pool(&self.appends, "append", APPEND_THREADS)?.try_place()?;
        let lane = Arc::clone(self);
        place.submit(move || {
            for job in jobs {
                Errand::append(&lane).run(job);
            }
        });
        Ok(())
    }

    /// For an append: has its log flushed in the next round, together with all who ask until that
    /// begins; `None` where the round has the log already. A round that is under way may have passed
    /// it by.
    pub(crate) fn flush(self: &Arc<Self>, one: Option<Arc<dyn Flushes>>) {
        let mut round = self.next_round.lock();
        round.asked += 1;
        let is_first = one.is_some() && round.unflushed.is_empty();
        round.unflushed.extend(one);
        if round.gathering.is_complete(round.asked) {
            self.complete.notify_one();
        }
        drop(round);
        if !is_first {
            return;
        }
        let lane = Arc::clone(self);
        let submitted = pool(&self.flushes, "flush", FLUSH_THREADS)
            .and_then(|pool| pool.submit(move || lane.flush_round()));
        if submitted.is_err() {
            // Without a thread of its own it costs the caller's time, and is not forgotten.
            self.flush_round();
        }
    }

    /// Whoever comes from now on begins the next round.
    fn flush_round(&self) {
        let (round, asked) = self.gathered();
        let began_us = self.clock.monotonic_us();
        let logs: Vec<_> = round.iter().map(|one| one.begin_flush()).collect();
        let mut wakes = Wakes::none();
        for (one, flushed) in round.iter().zip(flush_together(&logs)) {
            wakes.add(one.end_flush(flushed));
        }
        let took_us = self.clock.monotonic_us() - began_us;
        let mut next = self.next_round.lock();
        let waiting = next.asked;
        next.gathering.over(asked, waiting, took_us);
        drop(next);
        match self.runtime.get() {
            // Woken one by one from outside, each would take the core from whoever wakes the next.
            Some(runtime) => drop(tasks::spawn_on(runtime, "flushed", async { wakes.fire() })),
            None => wakes.fire(),
        }
    }

    /// Who is to be flushed now, and for how many appends.
    fn gathered(&self) -> (Vec<Arc<dyn Flushes>>, usize) {
        let mut round = self.next_round.lock();
        let before = round.asked;
        let patience = round.gathering.patience(before);
        if !patience.is_zero() {
            let is_lacking = |round: &mut Round| !round.gathering.is_complete(round.asked);
            self.complete
                .wait_while_for(&mut round, is_lacking, patience);
            let after = round.asked;
            round.gathering.waited(before, after);
        }
        let asked = std::mem::take(&mut round.asked);
        (std::mem::take(&mut round.unflushed), asked)
    }

    /// Runs a read that may sleep, once the queue has a place for it; waits without holding the worker.
    pub async fn run_read<T: Send + 'static>(
        self: &Arc<Self>,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Full> {
        let place = self.read_pool()?.place().await?;
        let errand = Errand::read(self);
        let (tell, heard) = oneshot::channel();
        place.submit(move || {
            let _unheard = tell.send(errand.run(job));
        });
        heard.await.map_err(|_panicked| Full)
    }

    fn read_pool(&self) -> Result<&IoPool, Full> {
        pool(&self.reads, "read", READ_THREADS)
    }

    /// Whether somebody waited in vain, and nothing has come back since.
    pub fn is_silent(&self) -> bool {
        let answered = self.answered.load(Ordering::Acquire);
        // What is not out any more cannot end the silence, so it does not make one either.
        self.missed.load(Ordering::Relaxed) == answered + 1
            && self.asked.load(Ordering::Relaxed) > answered
    }

    /// Whether nothing has come back for so long at least, although somebody waited.
    fn is_silent_for(&self, ms: i64) -> bool {
        let since_ms = self.missing_since_ms.load(Ordering::Relaxed);
        self.is_silent() && self.clock.monotonic_ms() - since_ms >= ms
    }

    /// Somebody waited for so long, in vain.
    fn note_missed(&self, waited_ms: i64) {
        if !self.is_silent() {
            let since_ms = self.clock.monotonic_ms() - waited_ms;
            self.missing_since_ms.store(since_ms, Ordering::Relaxed);
        }
        let next = self.answered.load(Ordering::Acquire) + 1;
        self.missed.store(next, Ordering::Relaxed);
    }
}

/// What is for each lane, in order.
pub fn by_lane<T>(all: impl IntoIterator<Item = (Arc<Lane>, T)>) -> Vec<(Arc<Lane>, Vec<T>)> {
    let mut found: Vec<(Arc<Lane>, Vec<T>)> = Vec::new();
    for (lane, one) in all {
        match found
            .iter_mut()
            .find(|(known, _)| Arc::ptr_eq(known, &lane))
        {
            Some((_, list)) => list.push(one),
            None => found.push((lane, vec![one])),
        }
    }
    found
}

/// An append or a read; it is back when this is dropped, even by a panic.
struct Errand {
    lane: Arc<Lane>,
    /// Reads are counted from when they are handed in.
    is_read: bool,
    /// Once a thread is at it.
    job: Option<u64>,
}

impl Errand {
    fn append(lane: &Arc<Lane>) -> Self {
        Errand {
            lane: Arc::clone(lane),
            is_read: false,
            job: None,
        }
    }

    fn read(lane: &Arc<Lane>) -> Self {
        lane.asked.fetch_add(1, Ordering::Relaxed);
        Errand {
            lane: Arc::clone(lane),
            is_read: true,
            job: None,
        }
    }

    fn run<T>(mut self, work: impl FnOnce() -> T) -> T {
        let mut at_work = self.lane.at_work.lock();
        at_work.begun += 1;
        let job = at_work.begun;
        at_work.jobs.insert(job);
        drop(at_work);
        self.job = Some(job);
        work()
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        if let Some(job) = &self.job {
            self.lane.at_work.lock().jobs.remove(job);
        }
        if self.is_read {
            self.lane.answered.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Reads that several lanes are at, beside one another, for somebody who does not wait for ever.
#[derive(Debug)]
pub struct Gathered<T> {
    tell: Option<mpsc::Sender<(usize, T)>>,
    heard: mpsc::Receiver<(usize, T)>,
    patience_ms: i64,
    /// Who was asked, and how many of the answers are missing.
    open: Vec<(Arc<Lane>, usize)>,
}

impl<T: Send + 'static> Gathered<T> {
    /// For at most so many answers. No lane is asked that is silent.
    pub fn new(answers_max: usize) -> Self {
        Gathered::patient(answers_max, 0)
    }

    /// As [`Gathered::new`], for somebody who waits for so long: only a lane that has been silent for as
    /// long is not asked.
    pub(crate) fn patient(answers_max: usize, patience_ms: i64) -> Self {
        let (tell, heard) = mpsc::channel(answers_max.max(1));
        Gathered {
            tell: Some(tell),
            heard,
            patience_ms,
            open: Vec::new(),
        }
    }

    /// Asks a lane, which answers one after the other, unless it is silent or its queue is full. What
    /// is asked is done, waited for or not.
    pub fn ask<J>(&mut self, lane: &Arc<Lane>, jobs: impl IntoIterator<Item = J>)
    where
        J: FnOnce() -> T + Send + 'static,
    {
        let Some(tell) = self.tell.clone() else {
            return;
        };
        if lane.is_silent_for(self.patience_ms) {
            return;
        }
        let Ok(place) = lane.read_pool().and_then(IoPool::try_place) else {
            return;
        };
        let jobs = jobs.into_iter().map(|job| (Errand::read(lane), job));
        let jobs: Vec<_> = jobs.collect();
        let number = self.open.len();
        self.open.push((Arc::clone(lane), jobs.len()));
        place.submit(move || {
            for (errand, job) in jobs {
                let _unheard = tell.try_send((number, errand.run(job)));
            }
        });
    }

    /// The next answer; `None` once there is none to come, or the stay is over. Then those that
    /// are missing are silent.
    pub async fn next(&mut self, stay: &Stay) -> Option<T> {
        self.tell = None;
        loop {
            tokio::select! { biased;
                answer = self.heard.recv() => {
                    let (number, answer) = answer?;
                    if let Some((_, missing)) = self.open.get_mut(number) {
                        *missing = missing.saturating_sub(1);
                    }
                    return Some(answer);
                }
                () = stay.parked().wait() => if stay.parked().is_expired() {
                    let missing = self.open.drain(..).filter(|(_, missing)| *missing > 0);
                    missing.for_each(|(lane, _)| lane.note_missed(self.patience_ms));
                    return None;
                },
            }
        }
    }
}

fn pool<'a>(cell: &'a OnceLock<IoPool>, name: &str, threads: usize) -> Result<&'a IoPool, Full> {
    if let Some(pool) = cell.get() {
        return Ok(pool);
    }
    // Without threads to be had, the work is refused as it is with a full queue. Whoever comes next
    // tries again.
    let made = IoPool::new(name, threads, QUEUED_MAX).map_err(|_no_threads| Full)?;
    Ok(cell.get_or_init(|| made))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_always_stays_free() {
        let lanes = LaneTable::new(Clock::by_hand(0), 3);
        let lane = lanes.lane(Path::new("/a"));
        let first = lanes.try_permit(&lane);
        let second = lanes.try_permit(&lane);
        assert!(first.is_some() && second.is_some() && lanes.try_permit(&lane).is_none());
        drop(second);
        assert!(lanes.try_permit(&lane).is_some());
    }

    #[tokio::test]
    async fn a_read_waits_for_a_place_in_a_full_queue_and_so_ends_nobodys_answer() {
        let lane = LaneTable::new(Clock::by_hand(0), 2).lane(Path::new("/a"));
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let hang = || {
            let held = Arc::clone(&held);
            move || held.lock().recv().unwrap_or(())
        };
        let mut full = Gathered::new(QUEUED_MAX + READ_THREADS);
        while lane.at_work.lock().jobs.len() < READ_THREADS {
            // A thread gives the place up a moment before it begins.
            full.ask(&lane, [hang()]);
            tokio::task::yield_now().await;
        }
        for _ in 0..QUEUED_MAX {
            full.ask(&lane, [hang()]);
        }
        assert!(lane.read_pool().unwrap().try_place().is_err());
        let mut read = std::pin::pin!(lane.run_read(|| 42));
        tokio::select! { biased;
            early = &mut read => panic!("{early:?}"),
            () = tokio::task::yield_now() => {}
        }
        drop(hold);
        assert_eq!(read.await, Ok(42));
    }

    #[test]
    fn a_directory_is_slow_until_its_call_comes_back_and_others_are_not() {
        let clock = Clock::by_hand(0);
        let lanes = LaneTable::new(clock.clone(), 8);
        let (stuck, healthy) = (lanes.lane(Path::new("/a")), lanes.lane(Path::new("/b")));
        let call = lanes.try_permit(&stuck).unwrap();
        clock.advance(SLOW_MS + 1);
        assert!(lanes.try_permit(&stuck).is_none() && lanes.is_slow(&stuck));
        assert!(lanes.holds_a_worker());
        assert!(lanes.try_permit(&healthy).is_some() && !lanes.is_slow(&healthy));
        drop(call);
        assert!(lanes.try_permit(&stuck).is_some() && !lanes.is_slow(&stuck));
        assert!(!lanes.holds_a_worker());
    }
}
