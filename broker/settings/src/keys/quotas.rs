//! Quotas and policies.

use crate::row::Bounds::{AtLeast, Free};
use crate::row::Importance::{Low, Medium};
use crate::row::Scope::{ClusterWide, ReadOnly};
use crate::row::State::Later;
use crate::row::{Row, row};
use crate::value::Kind::{Class, Int, Long};

#[rustfmt::skip]
pub(super) const KEYS: &[Row] = &[
    row("alter.config.policy.class.name", Class, None, Free, Low, ReadOnly,
        Later,
        ""),
    row("alter.log.dirs.replication.quota.window.num", Int, Some("11"), AtLeast(1), Low, ReadOnly,
        Later,
        ""),
    row("alter.log.dirs.replication.quota.window.size.seconds", Int, Some("1"), AtLeast(1), Low, ReadOnly,
        Later,
        ""),
    row("client.quota.callback.class", Class, None, Free, Low, ReadOnly,
        Later,
        ""),
    row("controller.quota.window.num", Int, Some("11"), AtLeast(1), Low, ReadOnly,
        Later,
        ""),
    row("controller.quota.window.size.seconds", Int, Some("1"), AtLeast(1), Low, ReadOnly,
        Later,
        ""),
    row("create.topic.policy.class.name", Class, None, Free, Low, ReadOnly,
        Later,
        ""),
    row("quota.window.num", Int, Some("11"), AtLeast(1), Low, ReadOnly,
        Later,
        ""),
    row("quota.window.size.seconds", Int, Some("1"), AtLeast(1), Low, ReadOnly,
        Later,
        ""),
    row("replication.quota.window.num", Int, Some("11"), AtLeast(1), Low, ReadOnly,
        Later,
        ""),
    row("replication.quota.window.size.seconds", Int, Some("1"), AtLeast(1), Low, ReadOnly,
        Later,
        ""),
];

/// Rates an operator sets while replicas move; Kafka knows them only as dynamic keys.
#[rustfmt::skip]
pub(super) const DYNAMIC_ONLY: &[Row] = &[
    row("follower.replication.throttled.rate", Long, Some("9223372036854775807"), AtLeast(0), Medium, ClusterWide,
        Later,
        "Bytes a second that this broker may fetch for replicas a topic names as throttled."),
    row("leader.replication.throttled.rate", Long, Some("9223372036854775807"), AtLeast(0), Medium, ClusterWide,
        Later,
        "Bytes a second that this broker may hand to followers for replicas a topic names as throttled."),
    row("replica.alter.log.dirs.io.max.bytes.per.second", Long, Some("9223372036854775807"), AtLeast(0), Medium, ClusterWide,
        Later,
        "Bytes a second that moving replicas between this broker's directories may write."),
];
