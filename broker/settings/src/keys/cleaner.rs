//! Compaction.

use crate::row::Bounds::{AtLeast, BetweenReal, Free};
use crate::row::Importance::Medium;
use crate::row::Scope::{ClusterWide, ReadOnly};
use crate::row::State::Later;
use crate::row::{Row, row};
use crate::value::Kind::{Boolean, Double, Int, Long};

#[rustfmt::skip]
pub(super) const KEYS: &[Row] = &[
    row("log.cleaner.backoff.ms", Long, Some("15000"), AtLeast(0), Medium, ClusterWide,
        Later,
        ""),
    row("log.cleaner.dedupe.buffer.size", Long, Some("134217728"), Free, Medium, ClusterWide,
        Later,
        ""),
    row("log.cleaner.delete.retention.ms", Long, Some("86400000"), AtLeast(0), Medium, ClusterWide,
        Later,
        ""),
    row("log.cleaner.enable", Boolean, Some("true"), Free, Medium, ReadOnly,
        Later,
        ""),
    row("log.cleaner.io.buffer.load.factor", Double, Some("0.9"), Free, Medium, ClusterWide,
        Later,
        ""),
    row("log.cleaner.io.buffer.size", Int, Some("524288"), AtLeast(0), Medium, ClusterWide,
        Later,
        ""),
    row("log.cleaner.io.max.bytes.per.second", Double, Some("1.7976931348623157E308"), Free, Medium, ClusterWide,
        Later,
        ""),
    row("log.cleaner.max.compaction.lag.ms", Long, Some("9223372036854775807"), AtLeast(1), Medium, ClusterWide,
        Later,
        ""),
    row("log.cleaner.min.cleanable.ratio", Double, Some("0.5"), BetweenReal(0.0, 1.0), Medium, ClusterWide,
        Later,
        ""),
    row("log.cleaner.min.compaction.lag.ms", Long, Some("0"), AtLeast(0), Medium, ClusterWide,
        Later,
        ""),
    row("log.cleaner.threads", Int, Some("1"), AtLeast(0), Medium, ClusterWide,
        Later,
        ""),
];
