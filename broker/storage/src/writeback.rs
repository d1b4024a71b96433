//! What is written to the disk behind the writers' backs, and when.
//!
//! ```text
//! at once          flush.messages, flush.ms, a sealed segment
//! at 64 MiB        of one log unflushed
//! once a minute    everything unflushed, before the recovery points are written down
//! ```
//!
//! Kafka: with its default settings an active segment is never flushed, so that a crash makes the
//! next start scan all of it, up to a gigabyte a partition. No client can tell the difference, an
//! operator who waits for the start can. The directory's thread of upkeep sees to the syncs, with no
//! lock of a log held; appends go on meanwhile. A few logs are synced one after the other; where many
//! are due one sync of the file system serves them all, if it is one that reaches all of it, and
//! elsewhere some are synced side by side.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::log::{Log, Mark, Unsettled};
use crate::side_by_side::{AT_A_TIME, few_at_a_time};
use crate::store::{Home, Store};

/// From so many logs on, one sync of the file system is cheaper than their own.
const TOGETHER: usize = 16;
/// How many bytes may be flushed before the recovery points say so.
const UNNOTED_MAX: u64 = 256 << 20;
/// Writers to a log wait while its small files are written: for so many at most.
const SETTLED_TOGETHER: usize = 512;

impl Store {
    /// Flushes what is due of a directory's logs: everything where a `checkpoint` is to follow. True:
    /// so much was flushed that the recovery points should be written down.
    pub(crate) fn flush_due(&self, home: &Home, logs: &[Arc<Log>], checkpoint: bool) -> bool {
        let max = if checkpoint {
            0
        } else {
            self.config.unflushed_bytes_max
        };
        let is_due = |log: &&Arc<Log>| {
            log.is_flush_due()
                || (checkpoint && log.is_checkpoint_due())
                || log.unflushed_bytes().is_some_and(|bytes| bytes >= max)
        };
        let due: Vec<_> = logs.iter().filter(is_due).collect();
        let flushed = flush_all(&home.directory, &due);
        let unnoted = &home.next_due.unnoted;
        let sum = unnoted.fetch_add(flushed, Ordering::AcqRel) + flushed;
        if checkpoint || sum >= UNNOTED_MAX {
            unnoted.store(0, Ordering::Release);
            return true;
        }
        false
    }

    /// Writes what these logs have to say of themselves and have not yet: topic ids, and epochs
    /// of new leaders. Many new partitions cost as many syncs as one.
    pub fn settle(&self, logs: &[Arc<Log>]) -> Result<()> {
        self.side_by_side(|home| {
            let directory = &home.directory;
            let here = logs.iter().filter(|log| Arc::ptr_eq(log.home(), directory));
            let written = settle_in(directory, here);
            directory.announce();
            written
        })
    }
}

/// As [`Store::settle`], for logs in one directory.
pub(crate) fn settle_in<'a>(
    directory: &Directory,
    logs: impl Iterator<Item = &'a Arc<Log>>,
) -> Result<()> {
    let together = match directory.is_thorough() {
        true => SETTLED_TOGETHER,
        false => AT_A_TIME,
    };
    let mut waiting = logs.filter_map(Unsettled::of).peekable();
    while waiting.peek().is_some() {
        let mut some: Vec<Unsettled> = waiting.by_ref().take(together).collect();
        let files: Vec<_> = some
            .iter_mut()
            .flat_map(|log| std::mem::take(&mut log.files))
            .collect();
        directory.replace_many(&files)?;
        some.into_iter().for_each(Unsettled::done);
    }
    Ok(())
}

/// Gives how many bytes are on the disk now that were not.
fn flush_all(directory: &Directory, due: &[&Arc<Log>]) -> u64 {
    let unflushed = |log: &Log| log.unflushed_bytes().unwrap_or(0);
    let before: u64 = due.iter().map(|log| unflushed(log)).sum();
    let flush = |log: &&Arc<Log>| told(log, log.flush_whole().map(drop));
    if !directory.is_thorough() {
        few_at_a_time(due, flush);
    } else if due.len() < TOGETHER {
        due.iter().for_each(flush);
    } else if let Err(e) = flush_as_one(directory, due) {
        tracing::warn!(dir = %directory.path.display(), error = %e, "could not flush the logs");
    }
    let after = due.iter().map(|log| unflushed(log)).sum();
    before.saturating_sub(after)
}

fn flush_as_one(directory: &Directory, due: &[&Arc<Log>]) -> Result<()> {
    let mut marks: Vec<(&Log, Mark)> = Vec::with_capacity(due.len());
    for &log in due {
        match log.write_out() {
            Ok(mark) => marks.push((log, mark)),
            Err(e) => told(log, Err(e)),
        }
    }
    directory.sync_all()?;
    for (log, mark) in marks {
        log.flushed(&mark);
    }
    Ok(())
}

fn told(log: &Log, result: Result<()>) {
    match result {
        Ok(()) | Err(Error::Closed | Error::Offline { .. }) => {}
        Err(e) => {
            tracing::warn!(partition = %log.partition(), error = %e, "could not flush a log");
        }
    }
}
