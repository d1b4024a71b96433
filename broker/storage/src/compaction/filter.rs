//! What stays of one batch: pure, bytes to bytes.
//!
//! ```text
//! record stays ⇔ beyond the map, or the last of its key and (has a value, or is a tombstone
//!                whose horizon has not passed)
//! marker stays ⇔ its transaction has batches left, or its horizon has not passed
//! batch of a living producer's last sequence stays, if need be empty
//! ```
//!
//! The first pass that would drop a tombstone or a lone marker writes into its batch when it may
//! go (the *delete horizon*), so that a consumer that reads from the start has that long to see it.
//! Kafka: `MemoryRecords.filterTo` and `Cleaner.cleanInto`.

use std::collections::HashMap;

use bytes::Bytes;
use protocol::batch::legacy::write_set;
use protocol::batch::{BatchBuilder, BatchView, BuildError, Fault, Record, TimestampType, emptied};
use protocol::ids::ProducerId;

use crate::compaction::LastOfProducer;
use crate::compaction::map::OffsetMap;
use crate::compaction::transactions::Transactions;

/// A batch lies in the log already, so it is as large as it is; Java's own bound.
pub(crate) const DECOMPRESSED_BYTES_MAX: u64 = i32::MAX as u64;

/// What one pass judges by.
pub(crate) struct Filter<'a> {
    pub(crate) map: &'a OffsetMap,
    pub(crate) producers: &'a HashMap<ProducerId, LastOfProducer>,
    pub(crate) now_ms: i64,
    pub(crate) delete_retention_ms: i64,
    /// Formats v0 and v1 know no horizons: there the age of the segment decides.
    pub(crate) keep_legacy_tombstones: bool,
}

/// Why a batch could not be judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FilterError {
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error(transparent)]
    Build(#[from] BuildError),
}

impl Filter<'_> {
    /// The batch to write instead, if any.
    pub(crate) fn apply(
        &self,
        batch: &BatchView,
        transactions: &mut Transactions<'_>,
    ) -> Result<Option<Bytes>, FilterError> {
        let can_go = transactions.pass(batch)?;
        let horizon = batch.delete_horizon_ms();
        let drop_records = if batch.is_control() {
            can_go && horizon.is_some_and(|horizon| horizon <= self.now_ms)
        } else {
            can_go
        };
        let keep_empty = batch.has_producer_id() && self.is_last_of_producer(batch);
        if drop_records {
            return Ok(keep_empty.then(|| emptied(batch)));
        }
        let mut kept = Vec::new();
        let mut all = true;
        let mut tombstones = false;
        for record in batch.records(DECOMPRESSED_BYTES_MAX)? {
            let record = record?;
            // A message inside another of another format was a fault of old brokers; it is
            // written anew (KAFKA-4298).
            all &= record.message.is_none_or(|mark| mark.magic == batch.magic);
            if batch.is_control() || self.keeps(batch, &record) {
                tombstones |= record.value.is_none();
                kept.push(record);
            } else {
                all = false;
            }
        }
        if kept.is_empty() {
            return Ok((keep_empty && batch.magic >= 2).then(|| emptied(batch)));
        }
        let lone_marker = can_go && batch.is_control();
        let sets_horizon = batch.magic >= 2 && (tombstones || lone_marker) && horizon.is_none();
        if all && !sets_horizon {
            return Ok(Some(batch.bytes().clone()));
        }
        let horizon = if sets_horizon {
            Some(self.now_ms.saturating_add(self.delete_retention_ms))
        } else {
            horizon
        };
        rewrite(batch, &kept, horizon).map(Some)
    }

    fn keeps(&self, batch: &BatchView, record: &Record) -> bool {
        if record.offset.0 > self.map.latest_offset() {
            return true;
        }
        // Kafka: what has no key cannot be in a compacted topic, and goes.
        let Some(key) = &record.key else { return false };
        let is_last = self.map.get(key).is_none_or(|last| record.offset.0 >= last);
        is_last && (record.value.is_some() || self.keeps_tombstone(batch))
    }

    fn keeps_tombstone(&self, batch: &BatchView) -> bool {
        if batch.magic < 2 {
            return self.keep_legacy_tombstones;
        }
        batch
            .delete_horizon_ms()
            .is_none_or(|horizon| self.now_ms < horizon)
    }

    /// Whether the broker would forget where this producer stands if the batch vanished.
    fn is_last_of_producer(&self, batch: &BatchView) -> bool {
        let Some(last) = self.producers.get(&batch.producer_id) else {
            return false;
        };
        match last.last_data_offset {
            Some(offset) => batch.last_offset() == offset,
            None => batch.is_control() && batch.producer_epoch == last.epoch,
        }
    }
}

fn rewrite(
    batch: &BatchView,
    kept: &[Record],
    horizon_ms: Option<i64>,
) -> Result<Bytes, FilterError> {
    let codec = batch.codec()?;
    let append_time =
        (batch.timestamp_type() == TimestampType::LogAppend).then_some(batch.max_timestamp_ms);
    if batch.magic < 2 {
        let mut out = Vec::new();
        write_set(kept, batch.magic, codec, append_time, &mut out)?;
        return Ok(out.into());
    }
    let mut builder = BatchBuilder::new(codec)
        .base_offset(batch.base_offset)
        .last_offset(batch.last_offset())
        .leader_epoch(batch.leader_epoch)
        .producer(batch.producer_id, batch.producer_epoch, batch.base_sequence)
        .transactional(batch.is_transactional())
        .control(batch.is_control());
    if let Some(now_ms) = append_time {
        builder = builder.log_append_time(now_ms);
    }
    if let Some(horizon_ms) = horizon_ms {
        builder = builder.delete_horizon(horizon_ms);
    }
    for record in kept {
        builder.push_record(record.offset, record)?;
    }
    Ok(builder.build()?)
}
