//! The broker itself, and its measurements.

use crate::row::Bounds::{AtLeast, Free};
use crate::row::Importance::{High, Low, Medium};
use crate::row::Scope::{ClusterWide, ReadOnly};
use crate::row::State::{NoMeaning, Works};
use crate::row::{Row, row};
use crate::value::Kind::{Boolean, Int, List, Long, String};

#[rustfmt::skip]
pub(super) const KEYS: &[Row] = &[
    row("auto.include.jmx.reporter", Boolean, Some("true"), Free, Low, ReadOnly,
        NoMeaning("there is no Java machine here that could load a class"),
        "Whether measurements are also shown through Java's JMX."),
    row("broker.id", Int, Some("-1"), Free, High, ReadOnly,
        Works("identity.broker_id"),
        "This broker's number in the cluster; −1 lets the cluster give one."),
    row("broker.id.generation.enable", Boolean, Some("true"), Free, Medium, ReadOnly,
        Works("identity.broker_id"),
        "Whether the cluster may give this broker a number."),
    row("broker.rack", String, None, Free, Medium, ReadOnly,
        Works("identity.rack"),
        "Where this broker stands; replicas of a partition are spread over racks."),
    row("kafka.metrics.polling.interval.secs", Int, Some("10"), AtLeast(1), Low, ReadOnly,
        NoMeaning("there is no Java machine here that could load a class"),
        "How often Java classes that report measurements are asked."),
    row("kafka.metrics.reporters", List, Some(""), Free, Low, ReadOnly,
        NoMeaning("there is no Java machine here that could load a class"),
        "Java classes that report measurements of the older kind."),
    row("metric.reporters", List, Some(""), Free, Low, ClusterWide,
        NoMeaning("there is no Java machine here that could load a class"),
        "Java classes that report measurements; here they are served at /metrics."),
    row("metrics.num.samples", Int, Some("2"), AtLeast(1), Low, ReadOnly,
        NoMeaning("measurements are counters and gauges, served at /metrics"),
        "Over how many samples Java's measurements are kept."),
    row("metrics.recording.level", String, Some("INFO"), Free, Low, ReadOnly,
        NoMeaning("measurements are counters and gauges, served at /metrics"),
        "Which of Java's measurements are taken."),
    row("metrics.sample.window.ms", Long, Some("30000"), AtLeast(1), Low, ReadOnly,
        NoMeaning("measurements are counters and gauges, served at /metrics"),
        "How long each sample of Java's measurements is."),
    row("reserved.broker.max.id", Int, Some("1000"), AtLeast(0), Medium, ReadOnly,
        Works("identity.reserved_max"),
        "The largest number an operator gives; numbers the cluster gives are above it."),
    row("telemetry.max.bytes", Int, Some("1048576"), AtLeast(1), Low, ReadOnly,
        NoMeaning("this broker keeps metadata in ZooKeeper, not in KRaft"),
        "How much a client may push of its own measurements at once."),
];
