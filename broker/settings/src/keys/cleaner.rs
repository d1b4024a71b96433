//! Compaction.

use crate::row::Bounds::{AtLeast, BetweenReal, Free};
use crate::row::Importance::Medium;
use crate::row::Scope::{ClusterWide, ReadOnly};
use crate::row::State::{Later, Works};
use crate::row::{Row, row};
use crate::value::Kind::{Boolean, Double, Int, Long};

#[rustfmt::skip]
pub(super) const KEYS: &[Row] = &[
    row("log.cleaner.backoff.ms", Long, Some("15000"), AtLeast(0), Medium, ClusterWide,
        Works("cleaner.backoff_ms"),
        "How long compaction sleeps when there is nothing to compact."),
    row("log.cleaner.dedupe.buffer.size", Long, Some("134217728"), Free, Medium, ClusterWide,
        Works("cleaner.dedupe_buffer_bytes"),
        "How much memory compaction may use to remember keys."),
    row("log.cleaner.delete.retention.ms", Long, Some("86400000"), AtLeast(0), Medium, ClusterWide,
        Works("topic.log.delete_retention_ms"),
        "How long the record that deletes a key stays readable in a compacted topic."),
    row("log.cleaner.enable", Boolean, Some("true"), Free, Medium, ReadOnly,
        Works("cleaner.enable"),
        "Whether compacted topics are compacted at all."),
    row("log.cleaner.io.buffer.load.factor", Double, Some("0.9"), Free, Medium, ClusterWide,
        Works("cleaner.load_factor"),
        "How full compaction's memory of keys may get."),
    row("log.cleaner.io.buffer.size", Int, Some("524288"), AtLeast(0), Medium, ClusterWide,
        Later,
        "How much memory compaction reads and writes through."),
    row("log.cleaner.io.max.bytes.per.second", Double, Some("1.7976931348623157E308"), Free, Medium, ClusterWide,
        Works("cleaner.io_bytes_per_second_max"),
        "How fast compaction may read and write in all."),
    row("log.cleaner.max.compaction.lag.ms", Long, Some("9223372036854775807"), AtLeast(1), Medium, ClusterWide,
        Works("topic.log.max_compaction_lag_ms"),
        "After how long a record must have been looked at by compaction."),
    row("log.cleaner.min.cleanable.ratio", Double, Some("0.5"), BetweenReal(0.0, 1.0), Medium, ClusterWide,
        Works("topic.log.min_cleanable_dirty_ratio"),
        "How large a share of a log must be new before it is compacted."),
    row("log.cleaner.min.compaction.lag.ms", Long, Some("0"), AtLeast(0), Medium, ClusterWide,
        Works("topic.log.min_compaction_lag_ms"),
        "For how long a record is safe from compaction."),
    row("log.cleaner.threads", Int, Some("1"), AtLeast(0), Medium, ClusterWide,
        Works("cleaner.threads"),
        "How many logs are compacted at the same time."),
];
