//! Threads for requests that may take long to read or to answer.
//!
//! Each is a task like any other, so waiting costs no thread; but while it works nobody's
//! connection waits behind it. What large requests grow to when they are decoded is drawn from a
//! memory of its own, as large as the largest request may be: whoever holds a part of it waits for
//! no connection's memory, so it always comes back. And soon: a request that has been obeyed and only
//! waits for the cluster to follow, as long as its client likes, gives it back before.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base::tasks;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

/// Long requests that are worked on at the same time.
const THREADS: usize = 2;
const STEP_BYTES: usize = 64 * 1024;
/// What one request may take at least: brokers tell one another about all partitions at once,
/// however small the requests of clients are to be.
const MEMORY_BYTES_MIN: usize = 100 << 20;

/// What an answer may take that grows far beyond its request: millions of partitions.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// The threads and their memory. One a broker.
#[derive(Debug)]
pub(crate) struct SlowLane {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    memory: Arc<Semaphore>,
    memory_bytes: usize,
    /// Requests that were handed in and are not answered yet.
    under_way: Arc<AtomicUsize>,
}

/// Memory that a request holds while it is worked on; none for those that need none. Clones hold the
/// same, and it is given back with the last.
#[derive(Clone, Debug, Default)]
pub struct Drawn(Option<Arc<Mutex<Option<OwnedSemaphorePermit>>>>);

impl Drawn {
    fn of(permit: Option<OwnedSemaphorePermit>) -> Self {
        Drawn(Some(Arc::new(Mutex::new(permit))))
    }

    /// What was decoded is not needed any more.
    pub(crate) fn give_back(&self) {
        let permit = self.0.as_ref().and_then(|held| held.lock().take());
        drop(permit);
    }
}

/// One that counts as under way.
struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(count))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request would take more memory than any may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("decoded it takes {bytes} bytes, and one request may take {max}")]
pub struct TooLarge {
    bytes: usize,
    max: usize,
}

impl SlowLane {
    /// For requests of up to so many bytes.
    pub(crate) fn start(request_bytes_max: usize) -> io::Result<SlowLane> {
        SlowLane::with_memory(request_bytes_max.max(MEMORY_BYTES_MIN))
    }

    /// `memory_bytes`: what one request may take, and all of them together.
    fn with_memory(memory_bytes: usize) -> io::Result<SlowLane> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .max_blocking_threads(1)
            .thread_name("slow")
            .enable_all()
            .build()?;
        let steps = memory_bytes.div_ceil(STEP_BYTES);
        Ok(SlowLane {
            runtime: Some(runtime),
            memory: Arc::new(Semaphore::new(steps.clamp(1, Semaphore::MAX_PERMITS))),
            memory_bytes,
            under_way: Arc::default(),
        })
    }

    /// Requests under way, and how much memory is drawn and left.
    pub(crate) fn load(&self) -> (usize, usize, usize) {
        let left = self.memory.available_permits().saturating_mul(STEP_BYTES);
        let all = self.memory_bytes.next_multiple_of(STEP_BYTES);
        let under_way = self.under_way.load(Ordering::Relaxed);
        (under_way, all.saturating_sub(left), left)
    }

    /// Runs to the end whatever becomes of the handle.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<JoinHandle<T>> {
        let runtime = self.runtime.as_ref()?;
        let counted = UnderWay::begin(&self.under_way);
        let work = async move {
            let _counted = counted;
            work.await
        };
        Some(tasks::spawn_on(runtime.handle(), "slow request", work))
    }

    /// Waits until so much memory is there, for a request and for its answer. The largest answers
    /// have all of it to themselves, though they take more.
    pub(crate) async fn draw(&self, bytes: usize, answer_bytes: usize) -> Result<Drawn, TooLarge> {
        for (bytes, max) in [
            (bytes, self.memory_bytes),
            (answer_bytes, self.memory_bytes.max(ANSWER_BYTES_MAX)),
        ] {
            if bytes > max {
                return Err(TooLarge { bytes, max });
            }
        }
        let bytes = bytes.saturating_add(answer_bytes).min(self.memory_bytes);
        let steps = u32::try_from(bytes.div_ceil(STEP_BYTES)).unwrap_or(u32::MAX);
        // It is never closed.
        let permit = Arc::clone(&self.memory).acquire_many_owned(steps).await;
        Ok(Drawn::of(permit.ok()))
    }
}

impl Drop for SlowLane {
    fn drop(&mut self) {
        // The last who holds it may be a task, which must not wait for its own thread.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_needs_more_than_is_left_waits_and_more_than_there_is_is_refused() {
        let lane = Arc::new(SlowLane::with_memory(10 * STEP_BYTES).unwrap());
        let held = lane.draw(6 * STEP_BYTES, 0).await.unwrap();
        let next = Arc::clone(&lane);
        let second = lane.spawn(async move { next.draw(STEP_BYTES, 4 * STEP_BYTES).await.is_ok() });
        let second = second.unwrap();
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        assert_eq!(lane.load(), (1, 6 * STEP_BYTES, 4 * STEP_BYTES));
        // Whoever else knows of it does not keep it.
        let known = held.clone();
        held.give_back();
        assert!(second.await.unwrap());
        assert_eq!(lane.load(), (0, 0, 10 * STEP_BYTES));
        drop(known);
        let refused = lane.draw(10 * STEP_BYTES + 1, 0).await.unwrap_err();
        assert_eq!(refused.max, 10 * STEP_BYTES);
        let all = lane.draw(STEP_BYTES, ANSWER_BYTES_MAX).await.unwrap();
        assert_eq!(lane.load().2, 0);
        drop(all);
        assert!(lane.draw(0, ANSWER_BYTES_MAX + 1).await.is_err());
    }

    #[tokio::test]
    async fn the_last_task_may_take_the_lane_along() {
        let lane = Arc::new(SlowLane::with_memory(1).unwrap());
        let last = Arc::clone(&lane);
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let task = lane.spawn(async move {
            let _told = told.await;
            drop(last);
        });
        drop(lane);
        drop(tell);
        // Its runtime ends under it, so it may end as cancelled; it does not panic.
        let ended = task.unwrap().await;
        assert!(!ended.is_err_and(|error| error.is_panic()));
    }
}
