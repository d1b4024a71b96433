//! The transaction log is written: everything that waits goes out in one write and one sync.
//!
//! A thread of its own does it, so that requests are read and prepared meanwhile. A little, on a
//! quick disk, is written at once by whoever submits it: two wakes of a thread cost more than that.
//!
//! Invariant: `synced` rises; every transaction up to it is on the disk. After the first failure
//! nothing is written and `synced` stays. Whoever writes holds `file`; one who submits takes it
//! only while nothing is queued and the thread rests, so the order of zxids holds.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::JoinHandle;

use base::clock::Clock;
use base::disk::{Disk, DiskFile, Open};
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;
use tracing::{debug, error, info, warn};

use crate::error::Error;
use crate::stats::Latency;
use crate::store::{LOG_PREFIX, txn_log};

/// Where and how the log is written.
#[derive(Clone, Debug)]
pub(crate) struct LogPlace {
    pub(crate) dir: PathBuf,
    /// What is to be synced with the first transaction.
    pub(crate) unsynced: Vec<Unsynced>,
    /// Zeros are written so far ahead at most, so that a sync need neither change the file's length
    /// nor find blocks for it; 0 writes none.
    pub(crate) preallocate: u64,
    /// Whether to sync at all.
    pub(crate) force_sync: bool,
    /// Syncs slower than this are warned of.
    pub(crate) slow_ms: i64,
}

/// Something a power cut may still take.
#[derive(Clone, Debug)]
pub(crate) enum Unsynced {
    /// A directory's newest entries.
    Names(PathBuf),
    /// The same of a directory that others may own: one that cannot be synced is none of ours.
    Above(PathBuf),
    /// What a file holds.
    Contents(PathBuf, Arc<dyn DiskFile>),
}

impl Unsynced {
    fn sync(&self, disk: &dyn Disk) -> Result<(), (PathBuf, io::Error)> {
        let (path, synced) = match self {
            Unsynced::Names(path) => (path, disk.sync_dir(path)),
            Unsynced::Above(path) => {
                if let Err(cause) = disk.sync_dir(path) {
                    debug!(path = %path.display(), %cause, "a directory above is not synced");
                }
                return Ok(());
            }
            Unsynced::Contents(path, file) => (path, file.sync()),
        };
        synced.map_err(|cause| (path.clone(), cause))
    }
}

/// Syncs side by side: a file system writes its journal once for all, where one after the other
/// each would wait for the disk anew.
fn sync_together(disk: &dyn Disk, all: &[Unsynced]) -> Result<(), (PathBuf, io::Error)> {
    let Some((own, others)) = all.split_first() else {
        return Ok(());
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = others
            .iter()
            .map(|one| {
                let thread = std::thread::Builder::new().stack_size(64 << 10);
                thread
                    .spawn_scoped(scope, move || one.sync(disk))
                    .map_err(|_| one)
            })
            .collect();
        let mut outcome = own.sync(disk);
        for thread in threads {
            let synced = match thread {
                Ok(thread) => thread.join().unwrap_or_else(|_| {
                    Err((
                        PathBuf::new(),
                        io::Error::other("the syncing thread panicked"),
                    ))
                }),
                // No thread to be had: then one after the other.
                Err(one) => one.sync(disk),
            };
            outcome = outcome.and(synced);
        }
        outcome
    })
}

/// How far ahead of the end zeros are written at once: thousands of small transactions need not
/// wait for the file system's journal, and nobody waits long for the zeros.
const AHEAD: u64 = 512 << 10;
/// The same in a new file: its first transaction is somebody's first reply.
const AHEAD_FIRST: u64 = 64 << 10;
/// What is written ahead, a piece at a time.
static ZEROS: [u8; 16 << 10] = [0; 16 << 10];
/// More bytes than this are left to the thread.
const AT_ONCE_BYTES: usize = 32 << 10;
/// A disk that took longer for its last sync is left to the thread.
const QUICK_US: i64 = 2_000;

enum Item {
    Entries {
        first: i64,
        last: i64,
        bytes: Vec<u8>,
    },
    Roll,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    stop: bool,
    /// The thread has taken something and is not done with it.
    busy: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    file: Mutex<LogFile>,
    /// How long the last sync took.
    last_sync_us: AtomicI64,
    wake: Condvar,
    synced: AtomicI64,
    syncs: Mutex<Latency>,
    failure: Mutex<Option<String>>,
    progress: Arc<Notify>,
}

/// The handle the pipeline holds.
pub(crate) struct LogWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl LogWriter {
    /// `progress` is notified after every sync of the thread, and on its failure.
    pub(crate) fn start(
        disk: Arc<dyn Disk>,
        place: LogPlace,
        clock: Clock,
        last_zxid: i64,
        progress: Arc<Notify>,
    ) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::default()),
            file: Mutex::new(LogFile {
                disk,
                place,
                clock,
                tail: None,
            }),
            last_sync_us: AtomicI64::new(0),
            wake: Condvar::new(),
            synced: AtomicI64::new(last_zxid),
            syncs: Mutex::new(Latency::default()),
            failure: Mutex::new(None),
            progress,
        });
        let work = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("zk-log".to_owned())
            .stack_size(256 << 10)
            .spawn(move || work.run())
            .map_err(|cause| Error::Thread {
                name: "zk-log",
                cause,
            })?;
        Ok(LogWriter {
            shared,
            thread: Some(thread),
        })
    }

    /// Writes encoded entries of the transactions `first` to `last`: soon, or before this returns;
    /// so `synced` and `failure` are to be looked at afterwards.
    pub(crate) fn submit(&self, first: i64, last: i64, bytes: Vec<u8>) {
        let mut queue = self.shared.queue.lock();
        let rests = queue.items.is_empty() && !queue.busy && !queue.stop;
        let quick = self.shared.last_sync_us.load(Ordering::Relaxed) <= QUICK_US;
        if rests && quick && bytes.len() <= AT_ONCE_BYTES {
            drop(queue);
            let entries = Item::Entries { first, last, bytes };
            // Whether it went well is seen in `synced` and `failure`.
            let _goes_on = self.shared.write([entries].into());
            return;
        }
        queue.bytes += bytes.len();
        if let Some(Item::Entries {
            last: end,
            bytes: waiting,
            ..
        }) = queue.items.back_mut()
        {
            *end = last;
            waiting.extend_from_slice(&bytes);
        } else {
            queue.items.push_back(Item::Entries { first, last, bytes });
        }
        drop(queue);
        self.shared.wake.notify_one();
    }

    /// What is queued from now on goes into a new file.
    pub(crate) fn roll(&self) {
        self.shared.queue.lock().items.push_back(Item::Roll);
    }

    /// Bytes that wait.
    pub(crate) fn backlog(&self) -> usize {
        self.shared.queue.lock().bytes
    }

    pub(crate) fn synced(&self) -> i64 {
        self.shared.synced.load(Ordering::Acquire)
    }

    /// How many syncs there have been, and how long they took.
    pub(crate) fn syncs(&self) -> Latency {
        *self.shared.syncs.lock()
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.shared.failure.lock().clone()
    }

    /// Writes what is queued and ends the thread.
    pub(crate) fn stop(&mut self) {
        self.shared.queue.lock().stop = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the log thread panicked; this is a defect, please report it");
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The open file: what is written, and how long it is.
struct LogTail {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    position: u64,
    len: u64,
    /// A power cut would still take the file's name.
    new: bool,
}

/// The file entries go to; none before the first.
struct LogFile {
    disk: Arc<dyn Disk>,
    place: LogPlace,
    clock: Clock,
    tail: Option<LogTail>,
}

impl Shared {
    /// The thread.
    fn run(&self) {
        loop {
            let (items, stop) = {
                let mut queue = self.queue.lock();
                queue.busy = false;
                while queue.items.is_empty() && !queue.stop {
                    self.wake.wait(&mut queue);
                }
                queue.bytes = 0;
                queue.busy = true;
                (std::mem::take(&mut queue.items), queue.stop)
            };
            let goes_on = self.write(items);
            self.progress.notify_one();
            if !goes_on {
                return;
            }
            if stop {
                self.file.lock().cut_padding();
                return;
            }
        }
    }

    /// Writes and syncs; false, and never again, where the disk has failed.
    fn write(&self, items: VecDeque<Item>) -> bool {
        if self.failure.lock().is_some() {
            return false;
        }
        let written = self.file.lock().write(items);
        match written {
            Ok(written) => {
                if let Some(took_us) = written.sync_us {
                    self.last_sync_us.store(took_us, Ordering::Relaxed);
                    self.syncs.lock().add(took_us / 1_000);
                }
                if let Some(last) = written.last {
                    self.synced.store(last, Ordering::Release);
                }
                true
            }
            Err((path, cause)) => {
                error!(path = %path.display(), %cause,
                    "the transaction log cannot be written; no write is acknowledged from here on");
                *self.failure.lock() = Some(format!("write {}: {cause}", path.display()));
                false
            }
        }
    }
}

/// What one turn of writing came to.
#[derive(Default)]
struct Written {
    last: Option<i64>,
    sync_us: Option<i64>,
}

impl LogFile {
    fn write(&mut self, items: VecDeque<Item>) -> Result<Written, (PathBuf, io::Error)> {
        let mut written = Written::default();
        for item in items {
            match item {
                Item::Roll => {
                    self.sync()?;
                    self.cut_padding();
                    self.tail = None;
                }
                Item::Entries { first, last, bytes } => {
                    self.append(first, &bytes)?;
                    written.last = Some(last);
                }
            }
        }
        written.sync_us = self.sync()?;
        Ok(written)
    }

    fn append(&mut self, first: i64, bytes: &[u8]) -> Result<(), (PathBuf, io::Error)> {
        if self.tail.is_none() {
            self.tail = Some(self.create(first)?);
        }
        let Some(tail) = &mut self.tail else {
            return Ok(());
        };
        let end = tail.position + bytes.len() as u64;
        let ahead = if tail.new { AHEAD_FIRST } else { AHEAD };
        let step = self.place.preallocate.min(ahead);
        let mut put = || {
            tail.file.write_at(bytes, tail.position)?;
            if step > 0 && end >= tail.len {
                let len = (end + 1).div_ceil(step) * step;
                let mut at = end;
                while at < len {
                    let piece =
                        usize::try_from(len - at).map_or(ZEROS.len(), |rest| rest.min(ZEROS.len()));
                    tail.file.write_at(&ZEROS[..piece], at)?;
                    at += piece as u64;
                }
                tail.len = len;
            }
            Ok(())
        };
        put().map_err(|cause| (tail.path.clone(), cause))?;
        tail.position = end;
        Ok(())
    }

    fn create(&self, first: i64) -> Result<LogTail, (PathBuf, io::Error)> {
        let path = self.place.dir.join(format!("{LOG_PREFIX}.{first:x}"));
        let make = || {
            // A file of this name can only be one whose entries were all cut off as torn.
            let file = self.disk.open(&path, Open::Create)?;
            file.truncate(0)?;
            let header = txn_log::file_header();
            file.write_at(&header, 0)?;
            Ok((file, header.len() as u64))
        };
        let (file, position) = make().map_err(|cause| (path.clone(), cause))?;
        info!(path = %path.display(), "new transaction log");
        Ok(LogTail {
            path,
            file,
            position,
            len: position,
            new: true,
        })
    }

    /// Syncs what was written; how many microseconds it took.
    fn sync(&mut self) -> Result<Option<i64>, (PathBuf, io::Error)> {
        let Some(tail) = &mut self.tail else {
            return Ok(None);
        };
        if !self.place.force_sync {
            return Ok(None);
        }
        let begun_us = self.clock.monotonic_us();
        if tail.new {
            let mut all = vec![Unsynced::Contents(
                tail.path.clone(),
                Arc::clone(&tail.file),
            )];
            all.push(Unsynced::Names(self.place.dir.clone()));
            all.append(&mut self.place.unsynced);
            sync_together(&*self.disk, &all)?;
            tail.new = false;
        } else {
            tail.file.sync().map_err(|e| (tail.path.clone(), e))?;
        }
        let took_us = self.clock.monotonic_us() - begun_us;
        let took_ms = took_us / 1_000;
        if took_ms > self.place.slow_ms {
            warn!(took_ms, path = %tail.path.display(), "slow sync of the transaction log");
        }
        Ok(Some(took_us))
    }

    /// A finished file needs no padding; keeping it would only cost time at the next start.
    fn cut_padding(&self) {
        if let Some(tail) = &self.tail
            && let Err(cause) = tail.file.truncate(tail.position)
        {
            warn!(path = %tail.path.display(), %cause, "the padding of a log cannot be cut off");
        }
    }
}
