//! The memory all unfinished and unanswered requests may hold together.
//!
//! Beyond a little of its own, a connection draws 64 KiB steps as bytes arrive, never by the length
//! a frame claims. When all is drawn, one connection at a time, the one that waited longest, draws
//! from a reserve of one largest request: so somebody always finishes and gives back, and nobody
//! waits for ever. Not drawn for: the room that a connection keeps between two frames; all of them
//! together may keep an eighth of the budget more, so that nobody waits for those who ask nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

const STEP_BYTES: usize = 64 * 1024;
/// This part of the budget may be kept beside it.
const KEPT_PART: usize = 8;

/// Shared by all connections. Clones draw from the same memory.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    steps_all: usize,
    steps: Arc<Semaphore>,
    reserve: Arc<Mutex<()>>,
    /// Bytes of room kept between two frames, by all.
    kept: Arc<AtomicUsize>,
}

/// What one connection holds; given back on drop.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    held: Option<OwnedSemaphorePermit>,
    held_steps: usize,
    reserve: Option<OwnedMutexGuard<()>>,
    kept: usize,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let steps = (bytes / STEP_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        Budget {
            steps_all: steps,
            steps: Arc::new(Semaphore::new(steps)),
            reserve: Arc::default(),
            kept: Arc::default(),
        }
    }

    /// How many bytes are drawn now, and how many are left.
    pub(crate) fn used_and_left(&self) -> (usize, usize) {
        let left = self.steps.available_permits();
        let used = self.steps_all.saturating_sub(left);
        (used * STEP_BYTES, left * STEP_BYTES)
    }

    pub(crate) fn share(&self) -> Share {
        Share {
            budget: self.clone(),
            held: None,
            held_steps: 0,
            reserve: None,
            kept: 0,
        }
    }

    fn kept_max(&self) -> usize {
        self.steps_all * STEP_BYTES / KEPT_PART
    }
}

impl Share {
    /// Whether `bytes` are covered already, or can be without waiting.
    pub(crate) fn try_cover(&mut self, bytes: usize) -> bool {
        let wanted = bytes.div_ceil(STEP_BYTES);
        if wanted <= self.held_steps || self.reserve.is_some() {
            return true;
        }
        let more = u32::try_from(wanted - self.held_steps).unwrap_or(u32::MAX);
        match Arc::clone(&self.budget.steps).try_acquire_many_owned(more) {
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
        let wanted = bytes.div_ceil(STEP_BYTES);
        let more = u32::try_from(wanted - self.held_steps).unwrap_or(u32::MAX);
        tokio::select! {
            permit = Arc::clone(&self.budget.steps).acquire_many_owned(more) => {
                if let Ok(permit) = permit {
                    self.keep(permit, wanted);
                }
            }
            guard = Arc::clone(&self.budget.reserve).lock_owned() => self.reserve = Some(guard),
        }
    }

    /// Gives everything back: the requests drawn for are answered.
    pub(crate) fn release(&mut self) {
        self.held = None;
        self.held_steps = 0;
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

    fn keep(&mut self, permit: OwnedSemaphorePermit, steps: usize) {
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        self.held_steps = steps;
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
        assert!(!c.try_cover(1));
        a.cover(10 * STEP_BYTES).await;
        assert!(
            a.try_cover(100 * STEP_BYTES),
            "the reserve covers one largest request"
        );
        tokio::select! {
            biased;
            () = c.cover(1) => panic!("nothing is left for a third"),
            () = std::future::ready(()) => {}
        }
        a.release();
        c.cover(1).await;
        b.release();
        assert!(b.try_cover(STEP_BYTES));
    }
}
