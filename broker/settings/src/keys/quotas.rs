//! Quotas and policies.

use crate::row::Bounds::{AtLeast, Free};
use crate::row::Importance::{Low, Medium};
use crate::row::Scope::{ClusterWide, ReadOnly};
use crate::row::State::{Later, NoMeaning, Works};
use crate::row::{Row, row};
use crate::value::Kind::{Class, Int, Long};

#[rustfmt::skip]
pub(super) const KEYS: &[Row] = &[
    row("alter.config.policy.class.name", Class, None, Free, Low, ReadOnly,
        NoMeaning("there is no Java machine here that could load a class"),
        "The class that may refuse changes of settings."),
    row("alter.log.dirs.replication.quota.window.num", Int, Some("11"), AtLeast(1), Low, ReadOnly,
        Works("quotas.moves.samples"),
        "How many samples the rate of moving replicas between directories is averaged over."),
    row("alter.log.dirs.replication.quota.window.size.seconds", Int, Some("1"), AtLeast(1), Low, ReadOnly,
        Works("quotas.moves.sample_ms"),
        "How long each of those samples is."),
    row("client.quota.callback.class", Class, None, Free, Low, ReadOnly,
        NoMeaning("there is no Java machine here that could load a class"),
        "The class that decides which limit a client has."),
    row("controller.quota.window.num", Int, Some("11"), AtLeast(1), Low, ReadOnly,
        Works("quotas.mutations"),
        "How many samples the rate of created and deleted partitions is measured over."),
    row("controller.quota.window.size.seconds", Int, Some("1"), AtLeast(1), Low, ReadOnly,
        Works("quotas.mutations"),
        "How long each of those samples is."),
    row("create.topic.policy.class.name", Class, None, Free, Low, ReadOnly,
        NoMeaning("there is no Java machine here that could load a class"),
        "The class that may refuse new topics."),
    row("quota.window.num", Int, Some("11"), AtLeast(1), Low, ReadOnly,
        Works("quotas.clients"),
        "How many samples clients' rates are averaged over."),
    row("quota.window.size.seconds", Int, Some("1"), AtLeast(1), Low, ReadOnly,
        Works("quotas.clients"),
        "How long each of those samples is."),
    row("replication.quota.window.num", Int, Some("11"), AtLeast(1), Low, ReadOnly,
        Works("quotas.replication"),
        "How many samples the rate of throttled replication is averaged over."),
    row("replication.quota.window.size.seconds", Int, Some("1"), AtLeast(1), Low, ReadOnly,
        Works("quotas.replication"),
        "How long each sample of throttled replication is."),
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
        Works("config.move_bytes_per_second_max"),
        "Bytes a second that moving replicas between this broker's directories may write."),
];
