//! Which transactional batches compaction may drop, and which markers.
//!
//! A marker stays while anything of its transaction does, so that a reader that is behind still
//! learns how it ended; an aborted transaction's batches go at once.
//! Kafka: `CleanedTransactionMetadata`.

use std::collections::{HashMap, HashSet};

use protocol::batch::{BatchView, Fault, Marker};

use crate::inspect::AbortedEntry;

/// The transactions met on the way through a log, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    committed: HashSet<i64>,
    aborted: HashMap<i64, Ongoing>,
    // By first offset, latest first: the next to begin is at the end.
    to_come: Vec<AbortedEntry>,
    kept: Vec<AbortedEntry>,
}

#[derive(Debug)]
struct Ongoing {
    entry: AbortedEntry,
    any_batch_seen: bool,
}

impl Transactions {
    pub(crate) fn of(mut entries: Vec<AbortedEntry>) -> Self {
        entries.sort_by_key(|entry| std::cmp::Reverse((entry.first_offset, entry.last_offset)));
        entries.dedup();
        Transactions {
            to_come: entries,
            ..Transactions::default()
        }
    }

    /// Notes a batch; true where nothing of it needs to stay: it was aborted, or it is the
    /// marker of a transaction of which no batch is left.
    pub(crate) fn pass(&mut self, batch: &BatchView) -> Result<bool, Fault> {
        self.begin_up_to(batch.last_offset().0);
        if batch.is_control() {
            return self.pass_marker(batch);
        }
        if !batch.is_transactional() {
            return Ok(false);
        }
        if let Some(ongoing) = self.aborted.get_mut(&batch.producer_id.0) {
            ongoing.any_batch_seen = true;
            return Ok(true);
        }
        self.committed.insert(batch.producer_id.0);
        Ok(false)
    }

    /// Entries of aborted transactions whose markers stay: the new index. Taken once a segment.
    pub(crate) fn take_kept(&mut self) -> Vec<AbortedEntry> {
        std::mem::take(&mut self.kept)
    }

    fn begin_up_to(&mut self, offset: i64) {
        while let Some(entry) = self.to_come.pop_if(|entry| entry.first_offset <= offset) {
            let ongoing = Ongoing {
                entry,
                any_batch_seen: false,
            };
            self.aborted.entry(entry.producer_id).or_insert(ongoing);
        }
    }

    fn pass_marker(&mut self, batch: &BatchView) -> Result<bool, Fault> {
        let Some(record) = batch.records(MARKER_BYTES_MAX)?.next() else {
            // Emptied by an earlier pass.
            return Ok(true);
        };
        let key = record?.key.unwrap_or_default();
        Ok(match Marker::from_key(&key) {
            Some(Marker::Abort) => match self.aborted.remove(&batch.producer_id.0) {
                Some(ongoing) if ongoing.any_batch_seen => {
                    self.kept.push(ongoing.entry);
                    false
                }
                _ => true,
            },
            Some(Marker::Commit) => !self.committed.remove(&batch.producer_id.0),
            None => false,
        })
    }
}

/// A marker has ten bytes of content; whatever is larger is not one.
const MARKER_BYTES_MAX: u64 = 1 << 16;
