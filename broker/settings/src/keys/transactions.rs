//! Transactions and idempotent producers.

use crate::row::Bounds::{AtLeast, Free};
use crate::row::Importance::{High, Low};
use crate::row::Scope::{ClusterWide, ReadOnly};
use crate::row::State::Later;
use crate::row::{Row, row};
use crate::value::Kind::{Boolean, Int, Short};

#[rustfmt::skip]
pub(super) const KEYS: &[Row] = &[
    row("producer.id.expiration.check.interval.ms", Int, Some("600000"), AtLeast(1), Low, ReadOnly,
        Later,
        "").internal(),
    row("producer.id.expiration.ms", Int, Some("86400000"), AtLeast(1), Low, ClusterWide,
        Later,
        ""),
    row("transaction.abort.timed.out.transaction.cleanup.interval.ms", Int, Some("10000"), AtLeast(1), Low, ReadOnly,
        Later,
        ""),
    row("transaction.max.timeout.ms", Int, Some("900000"), AtLeast(1), High, ReadOnly,
        Later,
        ""),
    row("transaction.partition.verification.enable", Boolean, Some("true"), Free, Low, ClusterWide,
        Later,
        ""),
    row("transaction.remove.expired.transaction.cleanup.interval.ms", Int, Some("3600000"), AtLeast(1), Low, ReadOnly,
        Later,
        ""),
    row("transaction.state.log.load.buffer.size", Int, Some("5242880"), AtLeast(1), High, ReadOnly,
        Later,
        ""),
    row("transaction.state.log.min.isr", Int, Some("2"), AtLeast(1), High, ReadOnly,
        Later,
        ""),
    row("transaction.state.log.num.partitions", Int, Some("50"), AtLeast(1), High, ReadOnly,
        Later,
        ""),
    row("transaction.state.log.replication.factor", Short, Some("3"), AtLeast(1), High, ReadOnly,
        Later,
        ""),
    row("transaction.state.log.segment.bytes", Int, Some("104857600"), AtLeast(1), High, ReadOnly,
        Later,
        ""),
    row("transactional.id.expiration.ms", Int, Some("604800000"), AtLeast(1), High, ReadOnly,
        Later,
        ""),
];
