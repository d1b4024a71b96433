//! What runs by itself: deadlines, watermark files, the ISR's shrinking, the store's upkeep, moves
//! between directories.

use std::sync::Arc;

use base::io_pool::IoPool;
use base::stop::Stop;
use base::tasks;
use tokio::task::JoinHandle;
use tracing::warn;

use crate::replicas::Replicas;

/// How often the store looks whether something is due.
const UPKEEP_MS: i64 = 1_000;

impl Replicas {
    /// Starts all of it on the current runtime. Disk work runs on `pool`. The tasks end at stop;
    /// the caller joins them before it closes the store.
    pub fn start(self: &Arc<Self>, pool: &IoPool, stop: &Stop) -> Vec<JoinHandle<()>> {
        self.watch_directories();
        let every = |name, ms: i64, work: fn(&Replicas), on: IoPool| {
            let (replicas, stop) = (Arc::clone(self), stop.clone());
            tasks::spawn(
                name,
                async move { replicas.repeat(ms, work, on, stop).await },
            )
        };
        let lag_ms = (self.shared().config.lag_ms_max / 2).max(1);
        let movers = (0..self.shared().config.moves.threads.max(1)).map(|_| {
            let (replicas, stop) = (Arc::clone(self), stop.clone());
            tasks::spawn("moves", async move { replicas.keep_moving(stop).await })
        });
        let mut running: Vec<_> = movers.collect();
        running.extend([
            tasks::spawn(
                "deadlines",
                self.shared().deadlines.clone().run(stop.clone()),
            ),
            every("isr", lag_ms, Replicas::check_isrs, pool.clone()),
            every(
                "watermarks",
                self.shared().config.checkpoint_ms.max(1),
                Replicas::write_watermarks,
                pool.clone(),
            ),
            every(
                "upkeep",
                UPKEEP_MS,
                |replicas| replicas.store().housekeep(),
                pool.clone(),
            ),
        ]);
        running
    }

    async fn repeat(self: Arc<Self>, ms: i64, work: fn(&Replicas), on: IoPool, stop: Stop) {
        loop {
            tokio::select! {
                () = stop.stopped() => return,
                () = self.shared().clock.sleep_ms(ms) => {}
            }
            let replicas = Arc::clone(&self);
            // A full queue means that the disks are busy: the next turn comes soon.
            let _skipped = on.run(move || work(&replicas)).await;
        }
    }

    /// Looks for followers that have lagged for too long.
    pub fn check_isrs(&self) {
        for partition in self.all() {
            partition.check_isr().fire();
        }
    }

    /// Writes every watermark to its directory's checkpoint; also the last thing before the store
    /// is closed.
    pub fn write_watermarks(&self) {
        if let Err(failed) = self.store().write_watermarks() {
            warn!(error = %failed, "watermarks not written");
        }
    }
}
