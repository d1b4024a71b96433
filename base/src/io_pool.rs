//! A few threads for work that may sleep on a disk, with a bounded queue before them.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

type Job = Box<dyn FnOnce() + Send>;

/// Threads that run blocking jobs in the order they came. Dropping the last clone lets the
/// threads finish what is queued and end.
#[derive(Clone, Debug)]
pub struct IoPool {
    queue: Sender<(OwnedSemaphorePermit, Job)>,
    /// What bounds the queue: a job gives its place up as a thread takes it.
    places: Arc<Semaphore>,
}

/// The queue is full: whoever asked should slow down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the disk's queue is full")]
pub struct Full;

/// A place in the queue, for one job.
#[derive(Debug)]
#[must_use = "a place that nobody uses is given back"]
pub struct Place<'a> {
    pool: &'a IoPool,
    permit: OwnedSemaphorePermit,
}

impl IoPool {
    /// `threads` threads named `name`, and room for `queued_max` waiting jobs.
    pub fn new(name: &str, threads: usize, queued_max: usize) -> std::io::Result<Self> {
        let (queue, jobs) = channel::<(OwnedSemaphorePermit, Job)>();
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
                            Ok((place, job)) => {
                                drop(place);
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
        Ok(IoPool {
            queue,
            places: Arc::new(Semaphore::new(queued_max)),
        })
    }

    /// A place in the queue, if there is one.
    pub fn try_place(&self) -> Result<Place<'_>, Full> {
        let permit = Arc::clone(&self.places).try_acquire_owned();
        let permit = permit.map_err(|_none_left| Full)?;
        Ok(Place { pool: self, permit })
    }

    /// A place in the queue, as soon as there is one; whoever came first has it first.
    pub async fn place(&self) -> Result<Place<'_>, Full> {
        let permit = Arc::clone(&self.places).acquire_owned().await;
        // The places are never closed.
        let permit = permit.map_err(|_closed| Full)?;
        Ok(Place { pool: self, permit })
    }

    /// Queues a job nobody waits for.
    pub fn submit(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Full> {
        self.try_place()?.submit(job);
        Ok(())
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

impl Place<'_> {
    pub fn submit(self, job: impl FnOnce() + Send + 'static) {
        // The threads end no sooner than the pool, which is borrowed here.
        let _sent = self.pool.queue.send((self.permit, Box::new(job)));
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

    #[tokio::test]
    async fn who_waits_for_a_place_has_it_once_a_job_is_taken_up() {
        let pool = IoPool::new("test", 1, 1).unwrap();
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        pool.submit(move || {
            let _told = begun.send(());
            held.recv().unwrap_or(());
        })
        .unwrap();
        has_begun.await.unwrap();
        pool.submit(|| {}).unwrap();
        let mut waiting = Box::pin(pool.place());
        tokio::select! { biased;
            _ = &mut waiting => panic!("the queue is full"),
            () = tokio::task::yield_now() => {}
        }
        drop(hold);
        let (tell, told) = oneshot::channel();
        let place = waiting.await.unwrap();
        place.submit(move || tell.send(42).unwrap_or(()));
        assert_eq!(told.await, Ok(42));
    }
}
