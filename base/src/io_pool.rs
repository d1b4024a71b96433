//! A few threads for work that may sleep on a disk, with a bounded queue before them.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;

use parking_lot::Mutex;
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Threads that run blocking jobs in the order they came. Dropping the last clone lets the
/// threads finish what is queued and end.
#[derive(Clone, Debug)]
pub struct IoPool {
    queue: SyncSender<Job>,
}

/// The queue is full: whoever asked should slow down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the disk's queue is full")]
pub struct Full;

impl IoPool {
    /// `threads` threads named `name`, and room for `queued_max` waiting jobs.
    pub fn new(name: &str, threads: usize, queued_max: usize) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel::<Job>(queued_max);
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..threads.max(1) {
            let jobs = Arc::clone(&jobs);
            thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || {
                    loop {
                        let next = jobs.lock().recv();
                        match next {
                            // A panic in one job must not take the thread from the others.
                            Ok(job) => {
                                let caught =
                                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
                                if caught.is_err() {
                                    tracing::error!(
                                        "a disk job panicked; this is a defect, please report it"
                                    );
                                }
                            }
                            Err(_closed) => break,
                        }
                    }
                })?;
        }
        Ok(IoPool { queue })
    }

    /// Queues a job nobody waits for.
    pub fn submit(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Full> {
        self.queue
            .try_send(Box::new(job))
            .map_err(|refused| match refused {
                TrySendError::Full(_) | TrySendError::Disconnected(_) => Full,
            })
    }

    /// Runs a job and waits for its result without holding the calling worker. Once queued the
    /// job runs to its end even if the future is dropped. `Err` where the queue is full or the
    /// job panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Full> {
        let (answer, wait) = oneshot::channel();
        self.submit(move || {
            let _unheard = answer.send(job());
        })?;
        wait.await.map_err(|_panicked| Full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn jobs_answer_and_survive_a_panicking_neighbour() {
        let pool = IoPool::new("test", 1, 8).unwrap();
        assert!(pool.run(|| panic!("on purpose")).await.is_err());
        assert_eq!(pool.run(|| 6 * 7).await, Ok(42));
    }

    #[test]
    fn a_full_queue_refuses() {
        let pool = IoPool::new("test", 1, 1).unwrap();
        let (hold, held) = std::sync::mpsc::channel::<()>();
        pool.submit(move || held.recv().unwrap_or(())).unwrap();
        let refused = (0..1_000).any(|_| pool.submit(|| {}).is_err());
        assert!(refused);
        drop(hold);
    }
}
