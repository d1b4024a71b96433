//! `--print-metrics`: what our clients measure, under the names Java's clients have for it.
//!
//! Absent: what only a Java client has, such as its selector, its buffer pool and reauthentication.

use std::collections::BTreeMap;

use crate::kafka::consumer::Consumer;
use crate::kafka::producer::Producer;
use crate::print::Out;
use crate::say;

pub(super) type Metrics = BTreeMap<String, f64>;

struct Table {
    client_id: String,
    rows: Metrics,
}

impl Table {
    fn new(client_id: &str) -> Table {
        Table {
            client_id: client_id.to_owned(),
            rows: Metrics::new(),
        }
    }

    fn set(&mut self, group: &str, name: &str, value: f64) {
        let name = format!("{group}:{name}:{{client-id={}}}", self.client_id);
        self.rows.insert(name, value);
    }

    /// A total, and what it is in a second.
    fn counted(&mut self, group: &str, name: &str, total: u64, seconds: f64) {
        self.set(group, &format!("{name}-total"), total as f64);
        self.set(group, &format!("{name}-rate"), total as f64 / seconds);
    }

    fn done(mut self) -> Metrics {
        let count = self.rows.len() + 1;
        self.set("kafka-metrics-count", "count", count as f64);
        self.rows
    }
}

/// Kafka: an average of nothing is not a number.
fn average(sum: u64, count: u64) -> f64 {
    sum as f64 / count as f64
}

pub(super) fn of_producer(producer: &Producer, client_id: &str) -> Metrics {
    let group = "producer-metrics";
    let figures = producer.figures();
    let seconds = figures.seconds;
    let mut table = Table::new(client_id);
    table.set(
        group,
        "batch-size-avg",
        average(figures.batch_bytes, figures.batches),
    );
    table.set(group, "batch-size-max", figures.batch_bytes_max as f64);
    table.set(group, "buffer-available-bytes", figures.buffer_free as f64);
    table.set(group, "buffer-total-bytes", figures.buffer_whole as f64);
    table.counted(group, "record-send", figures.records, seconds);
    table.counted(group, "record-error", figures.errors, seconds);
    table.counted(group, "record-retry", figures.retries, seconds);
    table.counted(group, "request", figures.requests, seconds);
    table.set(
        group,
        "records-per-request-avg",
        average(figures.records, figures.requests),
    );
    table.set(
        group,
        "request-latency-avg",
        average(figures.latency_ms, figures.requests),
    );
    table.set(group, "request-latency-max", figures.latency_ms_max as f64);
    table.set(group, "requests-in-flight", figures.in_flight as f64);
    table.done()
}

/// `whole` is what the test counted: milliseconds, records, bytes.
pub(super) fn of_consumer(consumer: &Consumer, client_id: &str, whole: (i64, i64, u64)) -> Metrics {
    let (fetching, coordinating) = (
        "consumer-fetch-manager-metrics",
        "consumer-coordinator-metrics",
    );
    let figures = consumer.figures();
    let seconds = whole.0.max(1) as f64 / 1000.0;
    let records = whole.1.unsigned_abs();
    let mut table = Table::new(client_id);
    table.set(
        coordinating,
        "assigned-partitions",
        figures.partitions as f64,
    );
    table.counted(coordinating, "commit", figures.commits, seconds);
    table.counted(coordinating, "heartbeat", figures.heartbeats, seconds);
    table.counted(coordinating, "join", figures.joins, seconds);
    table.set(coordinating, "rebalance-total", consumer.rebalances as f64);
    table.counted(fetching, "bytes-consumed", whole.2, seconds);
    table.counted(fetching, "records-consumed", records, seconds);
    table.counted(fetching, "fetch", figures.fetches, seconds);
    table.set(
        fetching,
        "fetch-latency-avg",
        average(figures.latency_ms, figures.fetches),
    );
    table.set(fetching, "fetch-latency-max", figures.latency_ms_max as f64);
    table.set(
        fetching,
        "fetch-size-avg",
        average(consumer.fetched_bytes, figures.fetches),
    );
    table.set(fetching, "fetch-size-max", figures.fetch_bytes_max as f64);
    table.set(
        fetching,
        "records-per-request-avg",
        average(records, figures.fetches),
    );
    table.done()
}

pub(super) fn print(metrics: &Metrics, out: &mut Out) {
    let width = metrics.keys().map(String::len).max().unwrap_or(0);
    say!(out, "\n{:<width$}   Value", "Metric Name");
    for (name, value) in metrics {
        say!(out, "{name:<width$} : {value:.3}");
    }
}
