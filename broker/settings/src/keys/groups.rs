//! Consumer groups and their offsets.

use crate::row::Bounds::{AtLeast, Free};
use crate::row::Importance::{High, Medium};
use crate::row::Scope::ReadOnly;
use crate::row::State::Works;
use crate::row::{Row, row};
use crate::value::Kind::{Int, Long, Short};

#[rustfmt::skip]
pub(super) const KEYS: &[Row] = &[
    row("group.initial.rebalance.delay.ms", Int, Some("3000"), Free, Medium, ReadOnly,
        Works("groups.initial_delay_ms"),
        "How long a new group waits for more members before it first shares out partitions."),
    row("group.max.session.timeout.ms", Int, Some("1800000"), Free, Medium, ReadOnly,
        Works("groups.session_ms_max"),
        "The longest session a member may ask for."),
    row("group.max.size", Int, Some("2147483647"), AtLeast(1), Medium, ReadOnly,
        Works("groups.size_max"),
        "How many members a group has at most."),
    row("group.min.session.timeout.ms", Int, Some("6000"), Free, Medium, ReadOnly,
        Works("groups.session_ms_min"),
        "The shortest session a member may ask for."),
    row("offset.metadata.max.bytes", Int, Some("4096"), Free, High, ReadOnly,
        Works("groups.metadata_bytes_max"),
        "How long the note that a consumer leaves with an offset may be."),
    row("offsets.commit.required.acks", Short, Some("-1"), Free, High, ReadOnly,
        Works("groups.required_acks"),
        "How many replicas must have a commit before the consumer is answered."),
    row("offsets.commit.timeout.ms", Int, Some("5000"), AtLeast(1), High, ReadOnly,
        Works("groups.commit_timeout_ms"),
        "How long a commit waits for its replicas."),
    row("offsets.load.buffer.size", Int, Some("5242880"), AtLeast(1), High, ReadOnly,
        Works("groups.load_buffer_bytes"),
        "How much is read at once while groups are loaded."),
    row("offsets.retention.check.interval.ms", Long, Some("600000"), AtLeast(1), High, ReadOnly,
        Works("groups.offsets_check_ms"),
        "How often old offsets are looked for."),
    row("offsets.retention.minutes", Int, Some("10080"), AtLeast(1), High, ReadOnly,
        Works("groups.offsets_retention_ms"),
        "How long the offsets of an empty group are kept."),
    row("offsets.topic.compression.codec", Int, Some("0"), Free, High, ReadOnly,
        Works("groups.codec"),
        "How the offsets topic is compressed, by the number of the codec."),
    row("offsets.topic.num.partitions", Int, Some("50"), AtLeast(1), High, ReadOnly,
        Works("groups.topic_partitions"),
        "How many partitions the offsets topic is created with."),
    row("offsets.topic.replication.factor", Short, Some("3"), AtLeast(1), High, ReadOnly,
        Works("groups.topic_replication_factor"),
        "How many replicas the offsets topic is created with; 1 unless set, while no broker follows another."),
    row("offsets.topic.segment.bytes", Int, Some("104857600"), AtLeast(1), High, ReadOnly,
        Works("groups.topic_segment_bytes"),
        "How large segments of the offsets topic get; small ones load faster."),
];
