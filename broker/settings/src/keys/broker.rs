//! The broker itself, and its measurements.

use crate::row::Bounds::{AtLeast, Free};
use crate::row::Importance::{High, Low, Medium};
use crate::row::Scope::{ClusterWide, ReadOnly};
use crate::row::State::Later;
use crate::row::{Row, row};
use crate::value::Kind::{Boolean, Int, List, Long, String};

#[rustfmt::skip]
pub(super) const KEYS: &[Row] = &[
    row("auto.include.jmx.reporter", Boolean, Some("true"), Free, Low, ReadOnly,
        Later,
        ""),
    row("broker.id", Int, Some("-1"), Free, High, ReadOnly,
        Later,
        ""),
    row("broker.id.generation.enable", Boolean, Some("true"), Free, Medium, ReadOnly,
        Later,
        ""),
    row("broker.rack", String, None, Free, Medium, ReadOnly,
        Later,
        ""),
    row("kafka.metrics.polling.interval.secs", Int, Some("10"), AtLeast(1), Low, ReadOnly,
        Later,
        ""),
    row("kafka.metrics.reporters", List, Some(""), Free, Low, ReadOnly,
        Later,
        ""),
    row("metric.reporters", List, Some(""), Free, Low, ClusterWide,
        Later,
        ""),
    row("metrics.num.samples", Int, Some("2"), AtLeast(1), Low, ReadOnly,
        Later,
        ""),
    row("metrics.recording.level", String, Some("INFO"), Free, Low, ReadOnly,
        Later,
        ""),
    row("metrics.sample.window.ms", Long, Some("30000"), AtLeast(1), Low, ReadOnly,
        Later,
        ""),
    row("reserved.broker.max.id", Int, Some("1000"), AtLeast(0), Medium, ReadOnly,
        Later,
        ""),
    row("telemetry.max.bytes", Int, Some("1048576"), AtLeast(1), Low, ReadOnly,
        Later,
        ""),
];
