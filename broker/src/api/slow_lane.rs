//! Threads for requests that may take long to read or to answer.
//!
//! Each is a task like any other, so waiting costs no thread; but while it works nobody's
//! connection waits behind it. What large requests grow to when they are decoded is drawn from a
//! memory of its own, as large as the largest request may be: whoever holds a part of it waits for
//! no connection's memory, so it always comes back.

use std::future::Future;
use std::io;
use std::sync::Arc;

use base::tasks;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

/// Long requests that are worked on at the same time.
const THREADS: usize = 2;
const STEP_BYTES: usize = 64 * 1024;
/// What one request may take at least: brokers tell one another about all partitions at once,
/// however small the requests of clients are to be.
const MEMORY_BYTES_MIN: usize = 100 << 20;

/// The threads and their memory. One a broker.
#[derive(Debug)]
pub(crate) struct SlowLane {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    memory: Arc<Semaphore>,
    memory_bytes: usize,
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
        })
    }

    /// Runs to the end whatever becomes of the handle.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<JoinHandle<T>> {
        let runtime = self.runtime.as_ref()?;
        Some(tasks::spawn_on(runtime.handle(), "slow request", work))
    }

    /// Waits until so much memory is there; given back on drop.
    pub(crate) async fn draw(
        &self,
        bytes: usize,
    ) -> Result<Option<OwnedSemaphorePermit>, TooLarge> {
        if bytes > self.memory_bytes {
            return Err(TooLarge {
                bytes,
                max: self.memory_bytes,
            });
        }
        let steps = u32::try_from(bytes.div_ceil(STEP_BYTES)).unwrap_or(u32::MAX);
        // It is never closed.
        Ok(Arc::clone(&self.memory)
            .acquire_many_owned(steps)
            .await
            .ok())
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
        let held = lane.draw(6 * STEP_BYTES).await.unwrap();
        let next = Arc::clone(&lane);
        let second = lane.spawn(async move { next.draw(5 * STEP_BYTES).await.is_ok() });
        let second = second.unwrap();
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(held);
        assert!(second.await.unwrap());
        let refused = lane.draw(10 * STEP_BYTES + 1).await.unwrap_err();
        assert_eq!(refused.max, 10 * STEP_BYTES);
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
