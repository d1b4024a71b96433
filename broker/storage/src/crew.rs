//! Threads that sync the files of a round side by side.
//!
//! They and whoever leads the round take files off one list, and only the last to be done wakes the
//! leader: sixteen files are a wake for each thread and one for the leader, in whatever order the
//! disk is done with them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use base::disk::DiskFile;
use parking_lot::{Condvar, Mutex};

pub(crate) type Files = Vec<Arc<dyn DiskFile>>;

/// Threads of one leader; they end when it is dropped.
#[derive(Debug)]
pub(crate) struct Crew {
    room: Arc<Room>,
    threads: usize,
}

/// Where leader and threads meet.
#[derive(Debug, Default)]
struct Room {
    now: Mutex<Now>,
    begun: Condvar,
    over: Condvar,
}

#[derive(Debug, Default)]
struct Now {
    round: Option<Arc<Round>>,
    closed: bool,
}

#[derive(Debug)]
struct Round {
    files: Files,
    /// How many are taken; grows beyond their number.
    taken: AtomicUsize,
    /// How many are not synced yet.
    left: AtomicUsize,
    failed: Mutex<Option<io::Error>>,
}

/// The outcome of one sync, which counts even where a panic ends it.
struct Outcome<'a> {
    round: &'a Round,
    room: &'a Room,
    result: io::Result<()>,
}

impl Crew {
    /// As many threads as can be had, `wanted` at most; with none the leader syncs alone.
    pub(crate) fn new(wanted: usize) -> Crew {
        let room = Arc::<Room>::default();
        let mut threads = 0;
        while threads < wanted {
            let theirs = Arc::clone(&room);
            let spawned = thread::Builder::new()
                .name(format!("sync-{threads}"))
                .spawn(move || theirs.serve());
            if spawned.is_err() {
                break;
            }
            threads += 1;
        }
        Crew { room, threads }
    }

    /// Returns when all are synced, with one of the errors if there were any. For one leader at a time.
    pub(crate) fn sync(&self, files: Files) -> io::Result<()> {
        let helpers = files.len().saturating_sub(1).min(self.threads);
        let round = Arc::new(Round {
            taken: AtomicUsize::new(0),
            left: AtomicUsize::new(files.len()),
            failed: Mutex::default(),
            files,
        });
        if helpers > 0 {
            self.room.now.lock().round = Some(Arc::clone(&round));
        }
        for _ in 0..helpers {
            self.room.begun.notify_one();
        }
        round.work(&self.room);
        let mut now = self.room.now.lock();
        while round.left.load(Ordering::Acquire) > 0 {
            self.room.over.wait(&mut now);
        }
        now.round = None;
        drop(now);
        let failed = round.failed.lock().take();
        failed.map_or(Ok(()), Err)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.room.now.lock().closed = true;
        self.room.begun.notify_all();
    }
}

impl Room {
    fn serve(&self) {
        while let Some(round) = self.next() {
            round.work(self);
        }
    }

    /// A round with files nobody has taken; `None` once the leader is gone.
    fn next(&self) -> Option<Arc<Round>> {
        let mut now = self.now.lock();
        loop {
            if now.closed {
                return None;
            }
            let untaken =
                |round: &&Arc<Round>| round.taken.load(Ordering::Relaxed) < round.files.len();
            if let Some(round) = now.round.as_ref().filter(untaken) {
                return Some(Arc::clone(round));
            }
            self.begun.wait(&mut now);
        }
    }
}

impl Round {
    /// Syncs what is left to take.
    fn work(&self, room: &Room) {
        while let Some(file) = self.files.get(self.taken.fetch_add(1, Ordering::Relaxed)) {
            let mut outcome = Outcome {
                round: self,
                room,
                result: Err(io::Error::other("a sync did not come back")),
            };
            outcome.result = file.sync();
        }
    }
}

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        if let Err(failed) = std::mem::replace(&mut self.result, Ok(())) {
            self.round.failed.lock().get_or_insert(failed);
        }
        if self.round.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            // The leader has looked already and sleeps, or will look when it has the lock.
            drop(self.room.now.lock());
            self.room.over.notify_one();
        }
    }
}
