//! The threads that compact: as many as `log.cleaner.threads`, but one for each log directory at least;
//! none where cleaning is off. Their number, pace and memory may change while they run.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::JoinHandle;

use base::chance::Chance;
use base::clock::Clock;
use base::disk::Disk;
use parking_lot::Mutex;
use protocol::ids::TopicPartition;
use storage::compaction::{CompactionMeasures, Compactor, Halt};
use storage::log::Log;
use storage::store::Store as Logs;
use tracing::{error, info};

use crate::config::parts;

/// Running threads; they end soon after [`Cleaners::halt`], at a point where dying would be safe
/// too. Clones are the same threads.
#[derive(Clone, Debug)]
pub(crate) struct Cleaners(Arc<Shared>);

/// The cleaners, for whoever measures.
pub(crate) type CleanerView = Cleaners;

#[derive(Debug)]
struct Shared {
    enable: bool,
    logs: Arc<Logs>,
    compactor: Arc<Compactor>,
    backoff_ms: AtomicI64,
    crew: Mutex<Crew>,
}

#[derive(Debug, Default)]
struct Crew {
    at_work: Vec<Cleaner>,
    /// Told to stop, and not joined yet.
    leaving: Vec<JoinHandle<()>>,
    /// How many there were in all; each has a name of its own.
    numbered: usize,
    is_over: bool,
}

#[derive(Debug)]
struct Cleaner {
    halt: Arc<Halt>,
    thread: JoinHandle<()>,
}

impl Cleaners {
    pub(crate) fn start(
        wanted: &parts::Cleaner,
        logs: &Arc<Logs>,
        disk: Arc<dyn Disk>,
        clock: &Clock,
    ) -> std::io::Result<Self> {
        let chance = Arc::new(Chance::from_kernel());
        let obeyed = wanted.compaction(logs.directories().len());
        let compactor = Compactor::new(disk, clock.clone(), chance, obeyed);
        let cleaners = Cleaners(Arc::new(Shared {
            enable: wanted.enable,
            logs: Arc::clone(logs),
            compactor: Arc::new(compactor),
            backoff_ms: AtomicI64::new(wanted.backoff_ms),
            crew: Mutex::default(),
        }));
        cleaners.obey(wanted)?;
        Ok(cleaners)
    }

    /// Goes on with these settings: threads are started or told to stop.
    pub(crate) fn obey(&self, wanted: &parts::Cleaner) -> std::io::Result<()> {
        let shared = &self.0;
        let directories = shared.logs.directories().len();
        shared.compactor.set_config(wanted.compaction(directories));
        let wanted_threads = wanted.crew(directories);
        shared
            .backoff_ms
            .store(wanted.backoff_ms, Ordering::Relaxed);
        let mut crew = shared.crew.lock();
        if !shared.enable || crew.is_over {
            return Ok(());
        }
        let before = crew.at_work.len();
        while crew.at_work.len() > wanted_threads {
            if let Some(cleaner) = crew.at_work.pop() {
                cleaner.halt.stop();
                crew.leaving.push(cleaner.thread);
            }
        }
        while crew.at_work.len() < wanted_threads {
            let halt = Arc::new(Halt::default());
            let thread = std::thread::Builder::new().name(format!("cleaner-{}", crew.numbered));
            let (work, told) = (Arc::clone(shared), Arc::clone(&halt));
            let thread = thread.spawn(move || work.run(&told))?;
            crew.at_work.push(Cleaner { halt, thread });
            crew.numbered += 1;
        }
        if before != 0 && before != crew.at_work.len() {
            info!(
                before,
                now = crew.at_work.len(),
                "log.cleaner.threads changed"
            );
        }
        Ok(())
    }

    /// Threads that ended without being told to.
    pub(crate) fn dead(&self) -> usize {
        let crew = self.0.crew.lock();
        let dead = crew.at_work.iter().filter(|one| one.thread.is_finished());
        dead.count()
    }

    /// Partitions that cannot be compacted any more, because something in them is wrong.
    pub(crate) fn uncleanable(&self) -> Vec<TopicPartition> {
        let all = self.0.compactor.uncleanable();
        all.into_iter().map(|(id, _)| id).collect()
    }

    pub(crate) fn measures(&self) -> CompactionMeasures {
        self.0.compactor.measures()
    }

    /// How much of a log waits to be compacted; nothing where its directory cannot be read.
    pub(crate) fn dirty_bytes(&self, log: &Log) -> u64 {
        self.0.compactor.dirty_bytes(log).unwrap_or(0)
    }

    /// Tells all threads to end.
    pub(crate) fn halt(&self) {
        let mut crew = self.0.crew.lock();
        crew.is_over = true;
        for cleaner in std::mem::take(&mut crew.at_work) {
            cleaner.halt.stop();
            crew.leaving.push(cleaner.thread);
        }
    }

    /// Blocks until nobody cleans in a directory any more, after [`Cleaners::halt`].
    pub(crate) fn await_left(&self, directory: &Path) {
        self.0.compactor.await_left(directory);
    }

    /// Blocks until the last thread has ended, after [`Cleaners::halt`].
    pub(crate) fn join(self) {
        let leaving = std::mem::take(&mut self.0.crew.lock().leaving);
        for thread in leaving {
            if thread.join().is_err() {
                error!("a cleaner thread panicked; this is a defect, please report it");
            }
        }
    }
}

impl Shared {
    fn run(&self, halt: &Halt) {
        while !halt.is_stopped() {
            if !self.logs.compact(&self.compactor, halt) {
                halt.wait_ms(self.backoff_ms.load(Ordering::Relaxed));
            }
        }
        self.compactor.note_thread_over();
    }
}
