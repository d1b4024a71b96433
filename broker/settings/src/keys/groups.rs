//! Consumer groups and their offsets.

use crate::row::Bounds::{AtLeast, Free};
use crate::row::Importance::{High, Medium};
use crate::row::Scope::ReadOnly;
use crate::row::State::Later;
use crate::row::{Row, row};
use crate::value::Kind::{Int, Long, Short};

#[rustfmt::skip]
pub(super) const KEYS: &[Row] = &[
    row("group.initial.rebalance.delay.ms", Int, Some("3000"), Free, Medium, ReadOnly,
        Later,
        ""),
    row("group.max.session.timeout.ms", Int, Some("1800000"), Free, Medium, ReadOnly,
        Later,
        ""),
    row("group.max.size", Int, Some("2147483647"), AtLeast(1), Medium, ReadOnly,
        Later,
        ""),
    row("group.min.session.timeout.ms", Int, Some("6000"), Free, Medium, ReadOnly,
        Later,
        ""),
    row("offset.metadata.max.bytes", Int, Some("4096"), Free, High, ReadOnly,
        Later,
        ""),
    row("offsets.commit.required.acks", Short, Some("-1"), Free, High, ReadOnly,
        Later,
        ""),
    row("offsets.commit.timeout.ms", Int, Some("5000"), AtLeast(1), High, ReadOnly,
        Later,
        ""),
    row("offsets.load.buffer.size", Int, Some("5242880"), AtLeast(1), High, ReadOnly,
        Later,
        ""),
    row("offsets.retention.check.interval.ms", Long, Some("600000"), AtLeast(1), High, ReadOnly,
        Later,
        ""),
    row("offsets.retention.minutes", Int, Some("10080"), AtLeast(1), High, ReadOnly,
        Later,
        ""),
    row("offsets.topic.compression.codec", Int, Some("0"), Free, High, ReadOnly,
        Later,
        ""),
    row("offsets.topic.num.partitions", Int, Some("50"), AtLeast(1), High, ReadOnly,
        Later,
        ""),
    row("offsets.topic.replication.factor", Short, Some("3"), AtLeast(1), High, ReadOnly,
        Later,
        ""),
    row("offsets.topic.segment.bytes", Int, Some("104857600"), AtLeast(1), High, ReadOnly,
        Later,
        ""),
];
