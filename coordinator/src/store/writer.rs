//! The thread that writes the transaction log: everything that waits goes out in one write and
//! one sync.
//!
//! Invariant: `synced` rises; every transaction up to it is on the disk. After the first failure
//! nothing is written and `synced` stays.

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
use tracing::{error, info, warn};

use crate::error::Error;
use crate::stats::Latency;
use crate::store::{LOG_PREFIX, txn_log};

/// Where and how the log is written.
#[derive(Clone, Debug)]
pub(crate) struct LogPlace {
    pub(crate) dir: PathBuf,
    /// Files grow by so many bytes at once, so that a sync need not change their length.
    pub(crate) preallocate: u64,
    /// Whether to sync at all.
    pub(crate) force_sync: bool,
    /// Syncs slower than this are warned of.
    pub(crate) slow_ms: i64,
}

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
}

struct Shared {
    queue: Mutex<Queue>,
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
    /// `progress` is notified after every sync and on failure.
    pub(crate) fn start(
        disk: Arc<dyn Disk>,
        place: LogPlace,
        clock: Clock,
        last_zxid: i64,
        progress: Arc<Notify>,
    ) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::default()),
            wake: Condvar::new(),
            synced: AtomicI64::new(last_zxid),
            syncs: Mutex::new(Latency::default()),
            failure: Mutex::new(None),
            progress,
        });
        let mut work = Work {
            disk,
            place,
            clock,
            shared: Arc::clone(&shared),
            file: None,
        };
        let thread = std::thread::Builder::new()
            .name("zk-log".to_owned())
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

    /// Queues encoded entries of the transactions `first` to `last`.
    pub(crate) fn submit(&self, first: i64, last: i64, bytes: Vec<u8>) {
        let mut queue = self.shared.queue.lock();
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
}

struct Work {
    disk: Arc<dyn Disk>,
    place: LogPlace,
    clock: Clock,
    shared: Arc<Shared>,
    file: Option<LogTail>,
}

impl Work {
    fn run(&mut self) {
        loop {
            let (items, stop) = {
                let mut queue = self.shared.queue.lock();
                while queue.items.is_empty() && !queue.stop {
                    self.shared.wake.wait(&mut queue);
                }
                queue.bytes = 0;
                (std::mem::take(&mut queue.items), queue.stop)
            };
            if let Err((path, cause)) = self.write(items) {
                error!(path = %path.display(), %cause,
                    "the transaction log cannot be written; no write is acknowledged from here on");
                *self.shared.failure.lock() = Some(format!("write {}: {cause}", path.display()));
                self.shared.progress.notify_one();
                return;
            }
            if stop {
                self.cut_padding();
                return;
            }
        }
    }

    fn write(&mut self, items: VecDeque<Item>) -> Result<(), (PathBuf, io::Error)> {
        let mut done = None;
        for item in items {
            match item {
                Item::Roll => {
                    self.sync()?;
                    self.cut_padding();
                    self.file = None;
                }
                Item::Entries { first, last, bytes } => {
                    self.append(first, &bytes)?;
                    done = Some(last);
                }
            }
        }
        self.sync()?;
        if let Some(last) = done {
            self.shared.synced.store(last, Ordering::Release);
            self.shared.progress.notify_one();
        }
        Ok(())
    }

    fn append(&mut self, first: i64, bytes: &[u8]) -> Result<(), (PathBuf, io::Error)> {
        if self.file.is_none() {
            self.file = Some(self.create(first)?);
        }
        let Some(tail) = &mut self.file else {
            return Ok(());
        };
        let end = tail.position + bytes.len() as u64;
        let step = self.place.preallocate;
        if step > 0 && end + 4_096 >= tail.len {
            let len = (end + 4_096).div_ceil(step) * step;
            tail.file
                .truncate(len)
                .map_err(|e| (tail.path.clone(), e))?;
            tail.len = len;
        }
        tail.file
            .write_at(bytes, tail.position)
            .map_err(|e| (tail.path.clone(), e))?;
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
            self.disk.sync_dir(&self.place.dir)?;
            Ok((file, header.len() as u64))
        };
        let (file, position) = make().map_err(|cause| (path.clone(), cause))?;
        info!(path = %path.display(), "new transaction log");
        Ok(LogTail {
            path,
            file,
            position,
            len: position,
        })
    }

    fn sync(&mut self) -> Result<(), (PathBuf, io::Error)> {
        let Some(tail) = &self.file else {
            return Ok(());
        };
        if !self.place.force_sync {
            return Ok(());
        }
        let begun = self.clock.monotonic_ms();
        tail.file.sync().map_err(|e| (tail.path.clone(), e))?;
        let took_ms = self.clock.monotonic_ms() - begun;
        self.shared.syncs.lock().add(took_ms);
        if took_ms > self.place.slow_ms {
            warn!(took_ms, path = %tail.path.display(), "slow sync of the transaction log");
        }
        Ok(())
    }

    /// A finished file needs no padding; keeping it would only cost time at the next start.
    fn cut_padding(&self) {
        if let Some(tail) = &self.file
            && let Err(cause) = tail.file.truncate(tail.position)
        {
            warn!(path = %tail.path.display(), %cause, "the padding of a log cannot be cut off");
        }
    }
}
