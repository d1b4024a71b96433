//! Named tasks: a panic is reported and counted, never swallowed.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::error;

static PANICS: AtomicU64 = AtomicU64::new(0);

/// How many tasks have ended in a panic since the process began; health reports look here.
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// Reports and counts a panic, for whoever learns of it by joining a task of his own.
pub fn panicked(name: &'static str) {
    PANICS.fetch_add(1, Ordering::Relaxed);
    error!(
        task = name,
        "task panicked; this is a defect, please report it"
    );
}

/// Starts `work` on the current runtime under a name that log lines carry.
pub fn spawn<F>(name: &'static str, work: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    spawn_on(&Handle::current(), name, work)
}

/// Starts `work` on the runtime behind `handle`.
pub fn spawn_on<F>(handle: &Handle, name: &'static str, work: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    handle.spawn(async move {
        let watch = Watch { name, done: false };
        let out = work.await;
        let mut watch = watch;
        watch.done = true;
        out
    })
}

/// Reports on drop, unless the work ended by itself or was cancelled.
struct Watch {
    name: &'static str,
    done: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.done && std::thread::panicking() {
            panicked(self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panicking_task_is_counted() {
        let before = panics();
        assert!(
            spawn("breaks", async { panic!("on purpose") })
                .await
                .is_err()
        );
        assert_eq!(panics(), before + 1);
    }
}
