//! Requests that wait: parked, and woken when an offset moves or their time is up.
//!
//! A parked request sits in the queue of every partition it looks at. Whoever moves an offset asks
//! the queue who is due, lets go of its locks, and only then wakes them; a woken request looks at
//! the partitions again by itself and may sit on. Nothing here knows what is waited for.
//!
//! Deadlines are rounded up, the longer a wait the more, so that many end at the same moment: five
//! hundred long polls of half a second cost forty wake-ups a second in all rather than a timer each.
//!
//! Hot path: a move with nobody waiting costs one fence and one load.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

use base::clock::Clock;
use base::stop::Stop;
use parking_lot::Mutex;
use protocol::ids::Offset;
use slab::Slab;
use smallvec::SmallVec;
use tokio::sync::Notify;

/// How coarse deadlines are at least.
pub const TICK_MS: i64 = 10;
/// And at most.
const TICK_MS_MAX: i64 = 50;
/// So many places an empty queue keeps; more would be a crowd's memory for an empty room.
const SEATS_KEPT: usize = 4;
/// A wait is made longer by no more than this share of it, or by the least tick.
const TICKS_PER_WAIT: i64 = 20;

/// One request that waits. Shared between its own future, queues and deadlines.
#[derive(Debug, Default)]
pub struct Parked {
    woken: Notify,
    expired: AtomicBool,
}

impl Parked {
    /// Wakes the request; if it is awake now, its next wait returns at once.
    pub fn wake(&self) {
        self.woken.notify_one();
    }

    /// Waits for the next wake, which its end is too; once that has come nobody waits any more, as
    /// a stay may be shared by many waits, one after the other. Dropping the future early is safe.
    pub async fn wait(&self) {
        if !self.is_expired() {
            self.woken.notified().await;
        }
    }

    /// Its deadline has passed.
    pub fn is_expired(&self) -> bool {
        self.expired.load(Ordering::Acquire)
    }

    fn expire(&self) {
        self.expired.store(true, Ordering::Release);
        self.wake();
    }
}

/// What a seat in a partition's queue waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The log grows past this offset: a follower's fetch.
    EndPasses(Offset),
    /// The watermark passes this offset: a consumer's fetch.
    WatermarkPasses(Offset),
    /// The watermark reaches this offset: a produce with acks from all.
    WatermarkReaches(Offset),
    /// The low watermark reaches this offset: a deletion of records.
    LowWatermarkReaches(Offset),
    /// The disk holds everything beneath this offset: a produce in the durable mode.
    FlushReaches(Offset),
}

/// Where a partition stands after a move.
#[derive(Clone, Copy, Debug)]
pub struct Moved {
    pub end: Offset,
    /// Everything beneath is on this broker's disk.
    pub flushed: Offset,
    pub watermark: Offset,
    pub low_watermark: Option<Offset>,
}

impl Until {
    fn is_due(self, moved: &Moved) -> bool {
        match self {
            Until::EndPasses(offset) => moved.end > offset,
            Until::WatermarkPasses(offset) => moved.watermark > offset,
            Until::WatermarkReaches(offset) => moved.watermark >= offset,
            Until::FlushReaches(offset) => moved.flushed >= offset,
            Until::LowWatermarkReaches(offset) => {
                moved.low_watermark.is_some_and(|low| low >= offset)
            }
        }
    }
}

/// Those who wait on one partition.
#[derive(Debug, Default)]
pub struct Queue {
    /// How many sit; read without the lock by whoever moves an offset.
    seated: AtomicUsize,
    seats: Mutex<Slab<(Until, Arc<Parked>)>>,
}

/// A place in a queue; leaving it is dropping it.
#[derive(Debug)]
pub struct Seat {
    queue: Arc<Queue>,
    key: usize,
}

/// Whom to wake, once every lock is let go of.
#[derive(Debug, Default)]
#[must_use = "whoever is due must be woken"]
pub struct Wakes(SmallVec<[Arc<Parked>; 4]>);

impl Queue {
    /// Sits down. The caller looks at the partition once more afterwards, so that a move between
    /// its first look and this call is not missed.
    pub fn sit(self: &Arc<Self>, until: Until, parked: &Arc<Parked>) -> Seat {
        let key = {
            let mut seats = self.seats.lock();
            let key = seats.insert((until, Arc::clone(parked)));
            self.seated.store(seats.len(), Ordering::Relaxed);
            key
        };
        // Pairs with `is_empty_after_fence`: either we see the move or the mover sees us.
        fence(Ordering::SeqCst);
        Seat {
            queue: Arc::clone(self),
            key,
        }
    }

    /// Whether nobody can miss the move just made. Whoever sits down later sees it by itself.
    pub fn is_empty_after_fence(&self) -> bool {
        fence(Ordering::SeqCst);
        self.seated.load(Ordering::Relaxed) == 0
    }

    /// Adds those whom this move concerns.
    pub fn due(&self, moved: &Moved, wakes: &mut Wakes) {
        let seats = self.seats.lock();
        wakes.0.extend(
            seats
                .iter()
                .filter(|(_, (until, _))| until.is_due(moved))
                .map(|(_, seat)| seat.1.clone()),
        );
    }

    /// Adds everyone: the partition's role changed, or it is gone.
    pub fn all(&self, wakes: &mut Wakes) {
        if self.is_empty_after_fence() {
            return;
        }
        wakes
            .0
            .extend(self.seats.lock().iter().map(|(_, seat)| seat.1.clone()));
    }

    /// How many sit here.
    pub fn len(&self) -> usize {
        self.seated.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.queue.seats.lock();
        seats.try_remove(self.key);
        if seats.is_empty() && seats.capacity() > SEATS_KEPT {
            *seats = Slab::new();
        }
        self.queue.seated.store(seats.len(), Ordering::Relaxed);
    }
}

impl Wakes {
    pub fn none() -> Self {
        Wakes::default()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn add(&mut self, more: Wakes) {
        self.0.extend(more.0);
    }

    /// Wakes them. Never called under a partition's lock.
    pub fn fire(self) {
        for parked in self.0 {
            parked.wake();
        }
    }
}

/// All deadlines of parked requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Deadlines(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    due: Mutex<Due>,
    /// Rung when somebody parks for shorter than the task sleeps.
    sooner: Notify,
}

#[derive(Debug)]
struct Due {
    /// By moment; moments are coarse, so that there are few however many wait.
    parked: BTreeMap<i64, Slab<Arc<Parked>>>,
    /// When the task looks next.
    next_look_ms: i64,
}

/// A request with its deadline; dropping it forgets the deadline.
#[derive(Debug)]
pub struct Stay {
    deadlines: Deadlines,
    until_ms: i64,
    place: usize,
    parked: Arc<Parked>,
}

impl Stay {
    pub fn parked(&self) -> &Arc<Parked> {
        &self.parked
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let mut due = self.deadlines.0.due.lock();
        let Some(others) = due.parked.get_mut(&self.until_ms) else {
            return;
        };
        // Of those who had this moment before, all have expired: the place may be another's.
        let is_mine = |held: &Arc<Parked>| Arc::ptr_eq(held, &self.parked);
        if others.get(self.place).is_some_and(is_mine) {
            others.remove(self.place);
        }
        if others.is_empty() {
            due.parked.remove(&self.until_ms);
        }
    }
}

impl Deadlines {
    pub fn new(clock: Clock) -> Self {
        Deadlines(Arc::new(Inner {
            clock,
            due: Mutex::new(Due {
                parked: BTreeMap::new(),
                next_look_ms: i64::MAX,
            }),
            sooner: Notify::new(),
        }))
    }

    /// Parks a request for `ms` milliseconds, rounded up.
    pub fn park(&self, ms: i64) -> Stay {
        let parked = Arc::new(Parked::default());
        let tick = (ms / TICKS_PER_WAIT).clamp(TICK_MS, TICK_MS_MAX);
        let until = self.0.clock.monotonic_ms().saturating_add(ms.max(0));
        let until = until.saturating_add(tick - 1).div_euclid(tick) * tick;
        let (place, is_sooner) = {
            let mut due = self.0.due.lock();
            let place = due
                .parked
                .entry(until)
                .or_default()
                .insert(Arc::clone(&parked));
            let is_sooner = until < due.next_look_ms;
            due.next_look_ms = due.next_look_ms.min(until);
            (place, is_sooner)
        };
        if is_sooner {
            self.0.sooner.notify_one();
        }
        Stay {
            deadlines: self.clone(),
            until_ms: until,
            place,
            parked,
        }
    }

    /// How many requests are parked.
    pub fn len(&self) -> usize {
        self.0.due.lock().parked.values().map(Slab::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Expires what is due; run as one task until stop. At stop everyone parked expires, so that
    /// the last answers can leave.
    pub async fn run(self, stop: Stop) {
        loop {
            let sleeping = self.expire_due();
            let slept = async {
                match sleeping {
                    Some(ms) => self.0.clock.sleep_ms(ms).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.stopped() => break,
                () = self.0.sooner.notified() => {}
                () = slept => {}
            }
        }
        let rest = std::mem::take(&mut self.0.due.lock().parked);
        expire(&rest);
    }

    /// Tells for how long nothing more is due; `None` while nobody is parked.
    fn expire_due(&self) -> Option<i64> {
        let now_ms = self.0.clock.monotonic_ms();
        let (expired, next) = {
            let mut due = self.0.due.lock();
            let later = due.parked.split_off(&now_ms.saturating_add(1));
            let expired = std::mem::replace(&mut due.parked, later);
            let next = due.parked.first_key_value().map(|(at, _)| *at);
            due.next_look_ms = next.unwrap_or(i64::MAX);
            (expired, next)
        };
        expire(&expired);
        next.map(|at| at.saturating_sub(now_ms))
    }
}

fn expire(all: &BTreeMap<i64, Slab<Arc<Parked>>>) {
    let each = all.values().flatten();
    each.for_each(|(_, parked)| parked.expire());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What is done takes microseconds.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn moved(watermark: i64) -> Moved {
        Moved {
            end: Offset(10),
            flushed: Offset(0),
            watermark: Offset(watermark),
            low_watermark: None,
        }
    }

    #[tokio::test]
    async fn a_move_wakes_only_those_it_concerns() {
        let queue = Arc::new(Queue::default());
        let deadlines = Deadlines::new(Clock::by_hand(0));
        let (early, late) = (deadlines.park(1_000), deadlines.park(1_000));
        let _early = queue.sit(Until::WatermarkReaches(Offset(5)), early.parked());
        let _late = queue.sit(Until::WatermarkReaches(Offset(6)), late.parked());
        let mut wakes = Wakes::none();
        queue.due(&moved(5), &mut wakes);
        wakes.fire();
        early.parked().wait().await;
        let mut waiting = std::pin::pin!(late.parked().wait());
        tokio::select! { biased;
            () = &mut waiting => panic!("woken by a move that was not its own"),
            () = std::future::ready(()) => {}
        }
    }

    #[tokio::test]
    async fn deadlines_pass_at_the_tick_after_them() {
        let clock = Clock::by_hand(0);
        let deadlines = Deadlines::new(clock.clone());
        let (stopper, stop) = base::stop::pair();
        let task = base::tasks::spawn("deadlines", deadlines.clone().run(stop));
        let stay = deadlines.park(25);
        for _ in 0..3 {
            assert!(!stay.parked().is_expired());
            for _ in 0..5 {
                tokio::task::yield_now().await;
            }
            clock.advance(TICK_MS);
        }
        for _ in 0..2 {
            // The second time there is no wake left to be had.
            let waited = tokio::time::timeout(PATIENCE, stay.parked().wait()).await;
            waited.expect("nobody waits beyond the end");
        }
        assert!(stay.parked().is_expired());
        stopper.stop();
        task.await.unwrap();
    }

    #[test]
    fn who_leaves_late_takes_the_place_of_nobody_who_came_since() {
        let deadlines = Deadlines::new(Clock::by_hand(0));
        let late = deadlines.park(0);
        assert_eq!(deadlines.expire_due(), None);
        assert!(late.parked().is_expired());
        let next = deadlines.park(0);
        drop(late);
        assert_eq!(deadlines.len(), 1);
        deadlines.expire_due();
        assert!(next.parked().is_expired());
    }

    #[test]
    fn leaving_gives_up_seat_and_deadline() {
        let queue = Arc::new(Queue::default());
        let deadlines = Deadlines::new(Clock::by_hand(0));
        let stay = deadlines.park(i64::MAX);
        let seat = queue.sit(Until::EndPasses(Offset(1)), stay.parked());
        assert_eq!((queue.len(), deadlines.len()), (1, 1));
        drop((seat, stay));
        assert_eq!((queue.len(), deadlines.len()), (0, 0));
    }
}
