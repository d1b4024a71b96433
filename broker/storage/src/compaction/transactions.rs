//! Which transactional batches compaction may drop, and which markers.
//!
//! A marker stays while anything of its transaction does, so that a reader that is behind still
//! learns how it ended; an aborted transaction's batches go at once.
//! Kafka: `CleanedTransactionMetadata`.

use std::collections::HashMap;

use protocol::batch::{BatchView, Fault, Marker};

use crate::compaction::aborted::{Aborted, Said, read_marker};
use crate::inspect::AbortedEntry;

/// The transactions met on the way through a log, oldest first.
#[derive(Debug)]
pub(crate) struct Transactions<'a> {
    aborted: &'a Aborted,
    /// Producer → the first offset that was met since its last marker.
    open: HashMap<i64, i64>,
    kept: Vec<AbortedEntry>,
}

impl<'a> Transactions<'a> {
    pub(crate) fn of(aborted: &'a Aborted) -> Self {
        Transactions {
            aborted,
            open: HashMap::new(),
            kept: Vec::new(),
        }
    }

    /// Notes a batch; true where nothing of it needs to stay: it was aborted, or it is the
    /// marker of a transaction of which no batch is left.
    pub(crate) fn pass(&mut self, batch: &BatchView) -> Result<bool, Fault> {
        if batch.is_control() {
            return self.pass_marker(batch);
        }
        if batch.is_transactional() {
            let producer = batch.producer_id.0;
            self.open.entry(producer).or_insert(batch.base_offset.0);
        }
        Ok(self.aborted.holds(batch))
    }

    /// Entries of aborted transactions whose markers stay: the new index. Taken once a segment.
    pub(crate) fn take_kept(&mut self) -> Vec<AbortedEntry> {
        std::mem::take(&mut self.kept)
    }

    fn pass_marker(&mut self, batch: &BatchView) -> Result<bool, Fault> {
        let marker = match read_marker(batch)? {
            Said::Ended(marker) => marker,
            Said::Nothing => return Ok(true),
            Said::Unknown => return Ok(false),
        };
        let Some(first_offset) = self.open.remove(&batch.producer_id.0) else {
            return Ok(true);
        };
        if marker == Marker::Abort {
            let last_offset = batch.base_offset.0;
            // Of transactions that end later no batch that is left lies below.
            let stable = self.open.values().min().copied();
            self.kept.push(AbortedEntry {
                version: 0,
                producer_id: batch.producer_id.0,
                first_offset,
                last_offset,
                last_stable_offset: stable.unwrap_or(last_offset.saturating_add(1)),
            });
        }
        Ok(false)
    }
}
