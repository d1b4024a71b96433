//! What is measured, and the goal beside it.

use std::sync::LazyLock;

/// One figure of a row.
#[derive(Clone, Debug)]
pub(crate) struct Metric {
    /// As in the JSON: row, point, figure.
    pub(crate) key: String,
    /// The number of the goal it belongs to.
    pub(crate) goal_row: &'static str,
    pub(crate) title: String,
    pub(crate) unit: &'static str,
    /// Whether less is better.
    pub(crate) cost: bool,
    /// How many times better than Kafka it shall be.
    pub(crate) ratio: Option<f64>,
    /// How near to the floor: ours over the floor's, inverted where more is better.
    pub(crate) floor: Option<f64>,
    /// A bound of its own, in the metric's unit.
    pub(crate) bound: Option<f64>,
}

fn cost(
    key: impl Into<String>,
    goal_row: &'static str,
    title: impl Into<String>,
    unit: &'static str,
) -> Metric {
    Metric {
        key: key.into(),
        goal_row,
        title: title.into(),
        unit,
        cost: true,
        ratio: None,
        floor: None,
        bound: None,
    }
}

fn rate(
    key: impl Into<String>,
    goal_row: &'static str,
    title: impl Into<String>,
    unit: &'static str,
) -> Metric {
    Metric {
        cost: false,
        ..cost(key, goal_row, title, unit)
    }
}

impl Metric {
    fn times(self, ratio: f64) -> Self {
        Metric {
            ratio: Some(ratio),
            ..self
        }
    }

    fn floor(self, floor: f64) -> Self {
        Metric {
            floor: Some(floor),
            ..self
        }
    }

    fn bound(self, bound: f64) -> Self {
        Metric {
            bound: Some(bound),
            ..self
        }
    }

    /// The goal in words.
    pub(crate) fn goal(&self) -> String {
        let mut parts = Vec::new();
        if let Some(ratio) = self.ratio {
            parts.push(format!("R ≥ {ratio}"));
        }
        if let Some(floor) = self.floor {
            parts.push(format!("F ≤ {floor}"));
        }
        if let Some(bound) = self.bound {
            let sign = if self.cost { '≤' } else { '≥' };
            parts.push(format!("{sign} {bound} {}", self.unit));
        }
        parts.join(", ")
    }
}

/// In the order of the table.
pub(crate) fn metrics() -> &'static [Metric] {
    static ALL: LazyLock<Vec<Metric>> = LazyLock::new(|| {
        let mut all = throughput();
        all.extend(waiting());
        all.extend(tail("latency", "7a", "2,000/s ack"));
        all.extend(tail("end_to_end", "7a", "2,000/s produced to consumed"));
        all.extend(tail("latency_half", "7b", "half of Kafka's maximum, ack"));
        all.extend(durable());
        all.extend(coordinator());
        all.extend(lifecycle());
        all.extend(codecs());
        for metric in &mut all {
            // Only of the first is there a floor to compare with.
            if metric.key == "latency.p99" {
                metric.floor = Some(1.3);
            }
        }
        all
    });
    &ALL
}

fn throughput() -> Vec<Metric> {
    vec![
        cost("produce_bulk.cpu", "1", "bulk produce, CPU", "s/GB")
            .times(3.0)
            .floor(1.4),
        rate("produce_bulk.rate", "1", "bulk produce", "MB/s"),
        cost("produce_small.cpu", "2", "1 KiB requests, CPU", "µs")
            .times(6.0)
            .bound(14.0),
        rate(
            "produce_small.rate",
            "2",
            "1 KiB requests, one core",
            "req/s",
        ),
        cost(
            "stock_librdkafka.cpu",
            "3",
            "librdkafka 100 B, CPU",
            "µs/1000",
        )
        .times(5.0),
        rate(
            "stock_librdkafka.rate",
            "3",
            "librdkafka 100 B (floor: its mock broker)",
            "rec/s",
        )
        .floor(1.03),
        cost("stock_java.cpu", "3", "Java producer 100 B, CPU", "µs/1000").times(5.0),
        rate("stock_java.rate", "3", "Java producer 100 B", "rec/s"),
        cost(
            "fetch.cpu_1",
            "5",
            "catch-up fetch, 1 consumer, CPU",
            "s/GB",
        )
        .times(1.8)
        .floor(1.2),
        cost(
            "fetch.cpu_4",
            "5",
            "catch-up fetch, 4 consumers, CPU",
            "s/GB",
        )
        .times(1.8)
        .floor(1.2),
        rate("fetch.rate_1", "5", "catch-up fetch, 1 consumer", "MB/s"),
    ]
}

fn waiting() -> Vec<Metric> {
    vec![
        cost("idle.cpu", "6", "500 waiting consumers, CPU", "% of a core")
            .times(20.0)
            .bound(2.2),
        cost(
            "idle.cpu_tail",
            "6",
            "the same with 1,000 msg/s, CPU",
            "% of a core",
        )
        .times(20.0),
        cost("memory.cpu", "6", "nobody connected, CPU", "% of a core").bound(0.3),
    ]
}

/// The quantiles of a latency row, with the goals of row 7.
fn tail(row: &str, goal_row: &'static str, title: &str) -> Vec<Metric> {
    let of = |figure: &str, name: &str, times: f64| {
        let (key, title) = (format!("{row}.{figure}"), format!("{title} {name}"));
        cost(key, goal_row, title, "µs").times(times)
    };
    vec![
        of("p50", "p50", 1.5),
        of("p99", "p99", 4.0),
        of("p999", "p99.9", 10.0),
        of("max", "max", 10.0),
    ]
}

fn durable() -> Vec<Metric> {
    vec![
        rate("durable.rate_64", "8", "synced, 64 producers", "rec/s").times(8.0),
        cost("durable.p99_64", "8", "synced, 64 producers p99", "µs"),
        cost("durable.p50_1", "8", "synced, 1 producer p50", "µs")
            .times(1.4)
            .floor(1.25),
    ]
}

/// Operations of the coordinator's rows.
pub(crate) const KEEPER_OPERATIONS: [&str; 3] = ["get", "set", "create"];
/// Connections, and requests in flight on each.
pub(crate) const KEEPER_POINTS: [(&str, &str); 4] =
    [("8", "100"), ("256", "1"), ("16", "1"), ("1", "1")];

fn coordinator() -> Vec<Metric> {
    let mut all = Vec::new();
    for operation in KEEPER_OPERATIONS {
        for (connections, in_flight) in KEEPER_POINTS {
            let point = format!("{operation} {connections}x{in_flight}");
            let key = format!("coordinator.{operation}_{connections}x{in_flight}");
            let alone = (connections, in_flight) == ("1", "1");
            let together = in_flight != "1";
            let found = rate(&key, "9", &point, "op/s");
            all.push(match operation {
                "get" if together => found.times(8.0).floor(1.7).bound(450_000.0),
                "set" if together => found.times(5.0).floor(1.7),
                "create" if together => found.times(6.0).floor(1.7),
                // Ahead of ZooKeeper in every row.
                _ => found.times(1.0),
            });
            if alone {
                let half = cost(format!("{key}_p50"), "9", format!("{point} p50"), "µs");
                all.push(match operation {
                    "set" => half.times(1.4).floor(1.7),
                    _ => half.times(1.0),
                });
            }
            let slow = cost(format!("{key}_p99"), "9", format!("{point} p99"), "µs");
            // What is written comes no later than ZooKeeper's.
            all.push(match operation {
                "get" => slow,
                _ => slow.times(1.0),
            });
        }
    }
    let start = "coordinator, exec to first reply";
    all.push(cost("coordinator.start", "9", start, "ms").bound(20.0));
    let memory = "coordinator, 10,000 nodes";
    all.push(cost("coordinator.memory", "9", memory, "MiB").bound(10.0));
    all
}

fn lifecycle() -> Vec<Metric> {
    vec![
        cost("start.first_ack", "10", "exec to first ack, empty", "ms")
            .times(50.0)
            .bound(100.0),
        cost(
            "start_10k.first_ack",
            "10",
            "exec to first ack, 10,000 partitions led",
            "ms",
        )
        .times(50.0)
        .bound(1000.0),
        cost(
            "start_10k.stop",
            "10",
            "clean stop, 10,000 partitions",
            "ms",
        ),
        cost("memory.idle", "11", "memory, idle", "MiB")
            .times(15.0)
            .bound(25.0),
        cost("memory.loaded", "11", "memory after the rows", "MiB").times(10.0),
        cost(
            "topic_1k.memory",
            "11",
            "memory, 1,000 partitions more",
            "MiB",
        )
        .times(10.0)
        .bound(60.0),
        cost("topic_10k.memory", "11", "memory, 10,000 partitions", "MiB").times(10.0),
        cost("topic_10k.each", "11", "memory of an idle partition", "KiB").bound(8.0),
        cost(
            "recovery.first_ack",
            "12",
            "kill -9, last exec to first ack",
            "ms",
        )
        .times(10.0)
        .floor(1.3),
        cost(
            "recovery.cpu",
            "12",
            "the same, CPU of what is read",
            "s/GB",
        )
        .floor(1.3),
        cost(
            "recovery.outage",
            "12",
            "kill -9 to first ack, restarts repeated",
            "ms",
        ),
        cost(
            "recovery_cold.first_ack",
            "12",
            "the same with nothing in memory",
            "ms",
        )
        .times(10.0),
        cost("topic_10k.created", "13", "10,000-partition topic", "ms").times(20.0),
        cost(
            "rebalance.storm",
            "14",
            "100 members join, 1,000 partitions",
            "ms",
        )
        .times(5.0),
        cost(
            "rebalance.rolling",
            "14",
            "one of 100 restarts, last sync p50",
            "ms",
        )
        .times(5.0),
    ]
}

fn codecs() -> Vec<Metric> {
    [("lz4", 2.0), ("zstd", 2.0), ("gzip", 1.3), ("snappy", 2.0)]
        .map(|(codec, times)| {
            let (key, title) = (format!("codec.{codec}"), format!("produce {codec}, CPU"));
            cost(key, "15", title, "s/GB").times(times)
        })
        .into()
}

#[cfg(test)]
pub(crate) fn metric(key: &str) -> Option<&'static Metric> {
    metrics().iter().find(|metric| metric.key == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_figures_share_a_key() {
        let mut keys: Vec<_> = metrics().iter().map(|metric| &metric.key).collect();
        keys.sort();
        let all = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }
}
