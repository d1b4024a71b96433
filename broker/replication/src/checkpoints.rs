//! What runs by itself: deadlines, watermark files, the ISR's shrinking, the store's upkeep, moves
//! between directories, and an eye on disks that do not answer.
//!
//! What writes to a log directory runs on that directory's own thread: where the disk of one hangs, the
//! others' checkpoints, flushes and deletions go on, and so does the ISR's shrinking.

use std::path::Path;
use std::sync::Arc;

use base::io_pool::IoPool;
use base::stop::Stop;
use base::tasks;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::warn;

use crate::hangs::{self, Hangs};
use crate::replicas::Replicas;

/// How often the store looks whether something is due.
const UPKEEP_MS: i64 = 1_000;
/// What waits for a directory's thread at most: one turn of each kind.
const TURNS_MAX: usize = 2;

impl Replicas {
    /// Starts all of it on the current runtime. What needs no disk but blocks runs on `pool`. The tasks
    /// end at stop; the caller joins them before it closes the store.
    pub fn start(self: &Arc<Self>, pool: &IoPool, stop: &Stop) -> Vec<JoinHandle<()>> {
        self.watch_store();
        self.shared().lanes.wake_on(Handle::current());
        let lag_ms = (self.shared().config.lag_ms_max / 2).max(1);
        let movers = (0..self.shared().config.moves.threads.max(1)).map(|_| {
            let (replicas, stop) = (Arc::clone(self), stop.clone());
            tasks::spawn("moves", async move { replicas.keep_moving(stop).await })
        });
        let mut running: Vec<_> = movers.collect();
        let hangs = Mutex::new(Hangs::default());
        running.extend([
            tasks::spawn(
                "deadlines",
                self.shared().deadlines.clone().run(stop.clone()),
            ),
            self.every("isr", lag_ms, pool, stop, Replicas::check_isrs),
            self.every("hangs", hangs::LOOK_EVERY_MS, pool, stop, move |replicas| {
                replicas.give_up_hung(&mut hangs.lock());
            }),
        ]);
        for directory in self.store().directories() {
            running.extend(self.keep_directory(&directory.path, pool, stop));
        }
        running
    }

    /// What is written to one directory now and then.
    fn keep_directory(
        self: &Arc<Self>,
        path: &Path,
        pool: &IoPool,
        stop: &Stop,
    ) -> [JoinHandle<()>; 2] {
        let own = IoPool::new("directory", 1, TURNS_MAX);
        if let Err(failed) = &own {
            warn!(dir = %path.display(), error = %failed, "no thread for a log directory; its upkeep shares others'");
        }
        let own = own.unwrap_or_else(|_| pool.clone());
        let checkpoint_ms = self.shared().config.checkpoint_ms.max(1);
        let (noted, kept) = (path.to_path_buf(), path.to_path_buf());
        let note = move |replicas: &Replicas| replicas.write_watermarks_in(&noted);
        let keep = move |replicas: &Replicas| replicas.store().housekeep_in(&kept);
        [
            self.every("watermarks", checkpoint_ms, &own, stop, note),
            self.every("upkeep", UPKEEP_MS, &own, stop, keep),
        ]
    }

    fn every(
        self: &Arc<Self>,
        name: &'static str,
        ms: i64,
        on: &IoPool,
        stop: &Stop,
        work: impl Fn(&Replicas) + Send + Sync + 'static,
    ) -> JoinHandle<()> {
        let (replicas, on, stop) = (Arc::clone(self), on.clone(), stop.clone());
        tasks::spawn(name, async move {
            replicas.repeat(ms, Arc::new(work), on, stop).await;
        })
    }

    async fn repeat(
        self: Arc<Self>,
        ms: i64,
        work: Arc<impl Fn(&Replicas) + Send + Sync + 'static>,
        on: IoPool,
        stop: Stop,
    ) {
        loop {
            tokio::select! {
                () = stop.stopped() => return,
                () = self.shared().clock.sleep_ms(ms) => {}
            }
            let (replicas, work) = (Arc::clone(&self), Arc::clone(&work));
            // A full queue means that the disk is busy: the next turn comes soon.
            let _skipped = on.run(move || work(&replicas)).await;
        }
    }

    /// Looks for followers that have lagged for too long.
    pub fn check_isrs(&self) {
        for partition in self.all() {
            partition.check_isr().fire();
        }
    }

    /// One look at the calls that are out.
    fn give_up_hung(&self, hangs: &mut Hangs) {
        for directory in hangs.look(self.shared().lanes.calls_out()) {
            self.store().give_up(&directory, hangs::HUNG_SECONDS);
        }
    }

    /// Writes the watermarks to a directory's checkpoint: the last thing before the store is closed.
    pub fn write_watermarks_in(&self, dir: &Path) {
        note_failure(self.store().write_watermarks_in(dir));
    }
}

fn note_failure(written: storage::error::Result<()>) {
    if let Err(failed) = written
        && !failed.is_told()
    {
        warn!(error = %failed, "watermarks not written");
    }
}
