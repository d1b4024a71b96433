//! The threads that compact: as many as `log.cleaner.threads`, none where cleaning is off.

use std::sync::Arc;
use std::thread::JoinHandle;

use base::chance::Chance;
use base::clock::Clock;
use base::disk::Disk;
use storage::compaction::{Compactor, Halt};
use storage::store::Store as Logs;
use tracing::error;

use crate::config::parts;

/// Running threads; they end soon after [`Cleaners::stop`], at a point where dying would be safe
/// too.
#[derive(Debug)]
pub(crate) struct Cleaners {
    halt: Arc<Halt>,
    threads: Vec<JoinHandle<()>>,
}

impl Cleaners {
    pub(crate) fn start(
        wanted: &parts::Cleaner,
        logs: &Arc<Logs>,
        disk: Arc<dyn Disk>,
        clock: &Clock,
    ) -> std::io::Result<Self> {
        let halt = Arc::new(Halt::default());
        let mut threads = Vec::new();
        if wanted.enable {
            let chance = Arc::new(Chance::from_kernel());
            let compactor = Arc::new(Compactor::new(
                disk,
                clock.clone(),
                chance,
                wanted.compaction(),
            ));
            for number in 0..wanted.threads {
                let (logs, halt, compactor) =
                    (Arc::clone(logs), Arc::clone(&halt), Arc::clone(&compactor));
                let backoff_ms = wanted.backoff_ms;
                let clean = move || {
                    while !halt.is_stopped() {
                        if !logs.compact(&compactor, &halt) {
                            halt.wait_ms(backoff_ms);
                        }
                    }
                };
                threads.push(
                    std::thread::Builder::new()
                        .name(format!("cleaner-{number}"))
                        .spawn(clean)?,
                );
            }
        }
        Ok(Cleaners { halt, threads })
    }

    /// Blocks until the last thread has ended.
    pub(crate) fn stop(self) {
        self.halt.stop();
        for thread in self.threads {
            if thread.join().is_err() {
                error!("a cleaner thread panicked; this is a defect, please report it");
            }
        }
    }
}
