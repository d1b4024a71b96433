//! What a log obeys: plain values, already checked by whoever read them.

use std::path::PathBuf;

use protocol::batch::Compression;

/// Everything a topic may set about its logs, with Apache's defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    pub segment_bytes: u32,
    pub segment_ms: i64,
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`: bounds the indexes of a segment.
    pub segment_index_bytes: u32,
    pub index_interval_bytes: u32,
    /// `flush.messages`; 1 is the durable mode: see [`crate::log::Log::flush`].
    pub flush_messages: i64,
    pub flush_ms: i64,
    /// −1: no limit.
    pub retention_ms: i64,
    /// −1: no limit.
    pub retention_bytes: i64,
    pub max_message_bytes: usize,
    /// `cleanup.policy` holds `delete`.
    pub delete: bool,
    /// `cleanup.policy` holds `compact`.
    pub compact: bool,
    pub min_cleanable_dirty_ratio: f64,
    pub min_compaction_lag_ms: i64,
    pub max_compaction_lag_ms: i64,
    pub delete_retention_ms: i64,
    pub file_delete_delay_ms: i64,
    /// `compression.type`; `None` is `producer`: what the producer chose is kept.
    pub compression: Option<Compression>,
    /// `message.timestamp.type` is `LogAppendTime`.
    pub log_append_time: bool,
    pub timestamp_before_max_ms: i64,
    pub timestamp_after_max_ms: i64,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            retention_ms: 7 * 24 * 3_600_000,
            retention_bytes: -1,
            max_message_bytes: (1 << 20) + 12,
            delete: true,
            compact: false,
            min_cleanable_dirty_ratio: 0.5,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            delete_retention_ms: 24 * 3_600_000,
            file_delete_delay_ms: 60_000,
            compression: None,
            log_append_time: false,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: i64::MAX,
        }
    }
}

impl LogConfig {
    /// Every append must be on the disk before it is acknowledged.
    pub fn is_durable(&self) -> bool {
        self.flush_messages <= 1
    }

    /// Kafka: a compacted topic rolls early enough for `max.compaction.lag.ms` (`maxSegmentMs`).
    pub(crate) fn segment_ms_max(&self) -> i64 {
        if self.compact {
            self.segment_ms.min(self.max_compaction_lag_ms.max(0))
        } else {
            self.segment_ms
        }
    }
}

/// What the whole store obeys.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub dirs: Vec<PathBuf>,
    /// `num.recovery.threads.per.data.dir`.
    pub recovery_threads_per_dir: usize,
    /// The same after a clean stop, when nothing is scanned and they only wait for the disk.
    pub opening_threads_per_dir: usize,
    /// How many segment and index files are kept open at most, over all directories.
    pub open_files_max: usize,
    /// `log.segment.delete.delay.ms`: how long a deleted partition's directory stays.
    pub delete_delay_ms: i64,
    pub producer_id_expiration_ms: i64,
    /// `log.flush.offset.checkpoint.interval.ms`: also how often what nobody asked to flush is
    /// flushed behind the writers' backs, so that a crash leaves little to scan.
    pub recovery_checkpoint_ms: i64,
    /// A log with so many unflushed bytes does not wait for that.
    pub unflushed_bytes_max: u64,
    /// `log.flush.start.offset.checkpoint.interval.ms`.
    pub start_checkpoint_ms: i64,
    /// `log.retention.check.interval.ms`.
    pub retention_check_ms: i64,
    /// `producer.id.expiration.check.interval.ms`.
    pub producer_check_ms: i64,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            dirs: Vec::new(),
            recovery_threads_per_dir: 1,
            opening_threads_per_dir: 1,
            open_files_max: 4096,
            delete_delay_ms: 60_000,
            producer_id_expiration_ms: 24 * 3_600_000,
            recovery_checkpoint_ms: 60_000,
            unflushed_bytes_max: 64 << 20,
            start_checkpoint_ms: 60_000,
            retention_check_ms: 300_000,
            producer_check_ms: 600_000,
        }
    }
}
