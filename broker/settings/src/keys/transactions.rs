//! Transactions and idempotent producers.

use crate::row::Bounds::{AtLeast, Free};
use crate::row::Importance::{High, Low};
use crate::row::Scope::{ClusterWide, ReadOnly};
use crate::row::State::{Later, Works};
use crate::row::{Row, row};
use crate::value::Kind::{Boolean, Int, Short};

#[rustfmt::skip]
pub(super) const KEYS: &[Row] = &[
    row("producer.id.expiration.check.interval.ms", Int, Some("600000"), AtLeast(1), Low, ReadOnly,
        Works("logs.producer_id_check_ms"),
        "How often silent producers are looked for.").internal(),
    row("producer.id.expiration.ms", Int, Some("86400000"), AtLeast(1), Low, ClusterWide,
        Works("logs.producer_id_expiration_ms"),
        "After how long a silent producer is forgotten."),
    row("transaction.abort.timed.out.transaction.cleanup.interval.ms", Int, Some("10000"), AtLeast(1), Low, ReadOnly,
        Later,
        "How often transactions that took too long are looked for and aborted."),
    row("transaction.max.timeout.ms", Int, Some("900000"), AtLeast(1), High, ReadOnly,
        Later,
        "The longest time a producer may ask for its transactions."),
    row("transaction.partition.verification.enable", Boolean, Some("true"), Free, Low, ClusterWide,
        Later,
        "Whether a leader asks if a partition belongs to a transaction before it takes its records."),
    row("transaction.remove.expired.transaction.cleanup.interval.ms", Int, Some("3600000"), AtLeast(1), Low, ReadOnly,
        Later,
        "How often transactional ids that nobody uses are looked for."),
    row("transaction.state.log.load.buffer.size", Int, Some("5242880"), AtLeast(1), High, ReadOnly,
        Later,
        "How much is read at once while transactions are loaded."),
    row("transaction.state.log.min.isr", Int, Some("2"), AtLeast(1), High, ReadOnly,
        Later,
        "How many replicas of the transactions topic must have a record; 1 unless set, while no broker follows another."),
    row("transaction.state.log.num.partitions", Int, Some("50"), AtLeast(1), High, ReadOnly,
        Later,
        "How many partitions the transactions topic is created with."),
    row("transaction.state.log.replication.factor", Short, Some("3"), AtLeast(1), High, ReadOnly,
        Later,
        "How many replicas the transactions topic is created with; 1 unless set, while no broker follows another."),
    row("transaction.state.log.segment.bytes", Int, Some("104857600"), AtLeast(1), High, ReadOnly,
        Later,
        "How large segments of the transactions topic get."),
    row("transactional.id.expiration.ms", Int, Some("604800000"), AtLeast(1), High, ReadOnly,
        Later,
        "After how long an unused transactional id is forgotten."),
];
