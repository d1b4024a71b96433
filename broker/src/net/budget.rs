//! The memory all unfinished and unanswered requests may hold together.
//!
//! Beyond a little of its own, a connection draws 64 KiB steps as bytes arrive, never by the length
//! a frame claims. What was drawn for a frame goes with it wherever it waits, in the lane of a slow
//! disk for one, and comes back when nobody looks at its bytes any more. When all is drawn, one connection at a time, the one that waited longest, draws
//! from a reserve of one largest request: so somebody always finishes and gives back, and nobody
//! waits for ever. Not drawn for: the room that a connection keeps between two frames; all of them
//! together may keep an eighth of the budget more, so that nobody waits for those who ask nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

const STEP_BYTES: usize = 64 * 1024;
/// What the budget counts in: a frame takes its own length along, not a whole step.
const UNIT_BYTES: usize = 1024;
const STEP_UNITS: usize = STEP_BYTES / UNIT_BYTES;
/// What a connection has without drawing: thousands that send half a frame and wait must not keep
/// small requests of others out.
pub(crate) const OWN_BYTES: usize = 32 * 1024;
/// Shorter frames are not worth an owner of their own. Lanes take thousands of jobs, not millions.
const HELD_BYTES_MIN: usize = 8 * 1024;
/// This part of the budget may be kept beside it.
const KEPT_PART: usize = 8;

/// Shared by all connections. Clones draw from the same memory.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    units_all: usize,
    units: Arc<Semaphore>,
    reserve: Arc<Mutex<()>>,
    /// Bytes of room kept between two frames, by all.
    kept: Arc<AtomicUsize>,
}

/// What one connection holds; given back on drop.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    held: Option<OwnedSemaphorePermit>,
    held_units: usize,
    reserve: Option<OwnedMutexGuard<()>>,
    kept: usize,
}

/// A frame and what was drawn for it.
struct Held {
    frame: Bytes,
    _units: Option<OwnedSemaphorePermit>,
    _reserve: Option<OwnedMutexGuard<()>>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let units = (bytes / UNIT_BYTES).clamp(STEP_UNITS, Semaphore::MAX_PERMITS);
        Budget {
            units_all: units,
            units: Arc::new(Semaphore::new(units)),
            reserve: Arc::default(),
            kept: Arc::default(),
        }
    }

    /// How many bytes are drawn now, and how many are left.
    pub(crate) fn used_and_left(&self) -> (usize, usize) {
        let left = self.units.available_permits();
        let used = self.units_all.saturating_sub(left);
        (used * UNIT_BYTES, left * UNIT_BYTES)
    }

    pub(crate) fn share(&self) -> Share {
        Share {
            budget: self.clone(),
            held: None,
            held_units: 0,
            reserve: None,
            kept: 0,
        }
    }

    fn kept_max(&self) -> usize {
        self.units_all * UNIT_BYTES / KEPT_PART
    }
}

impl Share {
    /// Whether `bytes` are covered already, or can be without waiting.
    pub(crate) fn try_cover(&mut self, bytes: usize) -> bool {
        let wanted = units_for(bytes);
        if wanted <= self.held_units || self.reserve.is_some() {
            return true;
        }
        let more = u32::try_from(wanted - self.held_units).unwrap_or(u32::MAX);
        match Arc::clone(&self.budget.units).try_acquire_many_owned(more) {
            Ok(permit) => {
                self.keep(permit, wanted);
                true
            }
            Err(_spent) => false,
        }
    }

    /// Waits until `bytes` are covered, by the budget or by the reserve. Dropping the future
    /// early gives up the place in the queue and nothing else.
    pub(crate) async fn cover(&mut self, bytes: usize) {
        if self.try_cover(bytes) {
            return;
        }
        let wanted = units_for(bytes);
        let more = u32::try_from(wanted - self.held_units).unwrap_or(u32::MAX);
        tokio::select! {
            permit = Arc::clone(&self.budget.units).acquire_many_owned(more) => {
                if let Ok(permit) = permit {
                    self.keep(permit, wanted);
                }
            }
            guard = Arc::clone(&self.budget.reserve).lock_owned() => self.reserve = Some(guard),
        }
    }

    /// The same frame; what was drawn for it stays drawn as long as anybody has any of its bytes. A
    /// frame that was read from the reserve takes the reserve along.
    pub(crate) fn hold(&mut self, frame: Bytes) -> Bytes {
        if frame.len() < HELD_BYTES_MIN || (self.held_units == 0 && self.reserve.is_none()) {
            return frame;
        }
        let units = match self.reserve {
            Some(_) => self.held_units,
            None => frame.len().div_ceil(UNIT_BYTES).min(self.held_units),
        };
        self.held_units -= units;
        Bytes::from_owner(Held {
            _units: self.held.as_mut().and_then(|held| held.split(units)),
            _reserve: self.reserve.take(),
            frame,
        })
    }

    /// Gives everything back: nothing is being read.
    pub(crate) fn release(&mut self) {
        self.held = None;
        self.held_units = 0;
        self.reserve = None;
    }

    /// Whether so much room may stay with the connection until its next frame; 0 gives it up.
    pub(crate) fn keep_room(&mut self, bytes: usize) -> bool {
        if bytes == self.kept {
            return true;
        }
        let all = &self.budget.kept;
        all.fetch_sub(self.kept, Ordering::Relaxed);
        let before = all.fetch_add(bytes, Ordering::Relaxed);
        self.kept = bytes;
        if bytes == 0 || before + bytes <= self.budget.kept_max() {
            return true;
        }
        all.fetch_sub(bytes, Ordering::Relaxed);
        self.kept = 0;
        false
    }

    fn keep(&mut self, permit: OwnedSemaphorePermit, units: usize) {
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        self.held_units = units;
    }
}

/// In whole steps, so that a buffer that grows does not ask for every kilobyte.
fn units_for(bytes: usize) -> usize {
    match bytes {
        0..=OWN_BYTES => 0,
        bytes => bytes.div_ceil(STEP_BYTES) * STEP_UNITS,
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.keep_room(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_together_keep_an_eighth_and_who_goes_gives_back() {
        let budget = Budget::new(16 * STEP_BYTES);
        let (mut a, mut b) = (budget.share(), budget.share());
        assert!(a.keep_room(STEP_BYTES) && b.keep_room(STEP_BYTES));
        assert!(!b.keep_room(STEP_BYTES + 1), "and now it keeps none");
        assert!(a.keep_room(2 * STEP_BYTES));
        assert!(!b.keep_room(1) && b.keep_room(0));
        drop(a);
        assert!(b.keep_room(2 * STEP_BYTES));
    }

    #[tokio::test]
    async fn when_all_is_spent_one_at_a_time_goes_on_from_the_reserve() {
        let budget = Budget::new(2 * STEP_BYTES);
        let (mut a, mut b, mut c) = (budget.share(), budget.share(), budget.share());
        assert!(a.try_cover(STEP_BYTES) && b.try_cover(STEP_BYTES));
        assert!(c.try_cover(OWN_BYTES) && !c.try_cover(OWN_BYTES + 1));
        a.cover(10 * STEP_BYTES).await;
        assert!(
            a.try_cover(100 * STEP_BYTES),
            "the reserve covers one largest request"
        );
        tokio::select! {
            biased;
            () = c.cover(STEP_BYTES) => panic!("nothing is left for a third"),
            () = std::future::ready(()) => {}
        }
        a.release();
        c.cover(STEP_BYTES).await;
        b.release();
        assert!(b.try_cover(STEP_BYTES));
    }

    #[test]
    fn a_frame_that_waits_in_a_lane_stays_drawn_for_until_its_bytes_are_gone() {
        let budget = Budget::new(4 * STEP_BYTES);
        let mut share = budget.share();
        let mut lane = Vec::new();
        for _ in 0..4 {
            assert!(share.try_cover(STEP_BYTES));
            let frame = share.hold(Bytes::from(vec![0; STEP_BYTES]));
            lane.push(frame.slice(100..200));
        }
        // The client has been told that it took too long, and has gone.
        share.release();
        drop(share);
        assert_eq!(budget.used_and_left().1, 0);
        assert!(!budget.share().try_cover(STEP_BYTES), "a fifth waits");
        lane.pop();
        assert!(budget.share().try_cover(STEP_BYTES));
        lane.clear();
        assert_eq!(budget.used_and_left().0, 0);
    }

    #[tokio::test]
    async fn the_reserve_goes_with_the_frame_that_was_read_from_it() {
        let budget = Budget::new(STEP_BYTES);
        let (mut other, mut share) = (budget.share(), budget.share());
        assert!(other.try_cover(STEP_BYTES));
        share.cover(3 * STEP_BYTES).await;
        let frame = share.hold(Bytes::from(vec![0; 3 * STEP_BYTES]));
        assert!(!share.try_cover(STEP_BYTES), "the next frame waits");
        drop(frame);
        share.cover(STEP_BYTES).await;
        assert!(share.try_cover(100 * STEP_BYTES));
    }
}
