//! What is measured, and the goal beside it.

/// One figure of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    /// As in the JSON: row, point, figure.
    pub(crate) key: &'static str,
    /// The number of the goal it belongs to.
    pub(crate) goal_row: &'static str,
    pub(crate) title: &'static str,
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

const fn cost(
    key: &'static str,
    goal_row: &'static str,
    title: &'static str,
    unit: &'static str,
) -> Metric {
    Metric {
        key,
        goal_row,
        title,
        unit,
        cost: true,
        ratio: None,
        floor: None,
        bound: None,
    }
}

const fn rate(
    key: &'static str,
    goal_row: &'static str,
    title: &'static str,
    unit: &'static str,
) -> Metric {
    Metric {
        cost: false,
        ..cost(key, goal_row, title, unit)
    }
}

impl Metric {
    const fn times(self, ratio: f64) -> Self {
        Metric {
            ratio: Some(ratio),
            ..self
        }
    }

    const fn floor(self, floor: f64) -> Self {
        Metric {
            floor: Some(floor),
            ..self
        }
    }

    const fn bound(self, bound: f64) -> Self {
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
pub(crate) const METRICS: &[Metric] = &[
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
    cost("idle.cpu", "6", "500 waiting consumers, CPU", "% of a core")
        .times(20.0)
        .bound(0.3),
    cost(
        "idle.cpu_tail",
        "6",
        "the same with 1,000 msg/s, CPU",
        "% of a core",
    )
    .times(20.0),
    cost("latency.p50", "7a", "2,000/s ack p50", "µs").times(1.5),
    cost("latency.p99", "7a", "2,000/s ack p99", "µs")
        .times(4.0)
        .floor(1.3),
    cost("latency.p999", "7a", "2,000/s ack p99.9", "µs").times(10.0),
    cost("latency.max", "7a", "2,000/s ack max", "µs").times(10.0),
    cost(
        "latency_half.p50",
        "7b",
        "half of Kafka's maximum, ack p50",
        "µs",
    )
    .times(1.5),
    cost(
        "latency_half.p99",
        "7b",
        "half of Kafka's maximum, ack p99",
        "µs",
    )
    .times(4.0),
    cost(
        "latency_half.p999",
        "7b",
        "half of Kafka's maximum, ack p99.9",
        "µs",
    )
    .times(10.0),
    cost(
        "latency_half.max",
        "7b",
        "half of Kafka's maximum, ack max",
        "µs",
    )
    .times(10.0),
    rate("durable.rate_64", "8", "synced, 64 producers", "rec/s").times(8.0),
    cost("durable.p50_1", "8", "synced, 1 producer p50", "µs")
        .times(1.4)
        .floor(1.25),
    rate("coordinator.get_8x100", "9", "get 8x100", "op/s")
        .times(8.0)
        .floor(1.7)
        .bound(450_000.0),
    rate("coordinator.set_8x100", "9", "set 8x100", "op/s")
        .times(5.0)
        .floor(1.7),
    rate("coordinator.create_8x100", "9", "create 8x100", "op/s")
        .times(6.0)
        .floor(1.7),
    cost("coordinator.set_1x1_p50", "9", "set 1x1 p50", "µs")
        .times(1.4)
        .floor(1.7),
    cost("coordinator.get_1x1_p50", "9", "get 1x1 p50", "µs"),
    cost("coordinator.create_1x1_p50", "9", "create 1x1 p50", "µs"),
    rate("coordinator.get_16x1", "9", "get 16x1", "op/s"),
    rate("coordinator.set_16x1", "9", "set 16x1", "op/s"),
    rate("coordinator.create_16x1", "9", "create 16x1", "op/s"),
    rate("coordinator.get_256x1", "9", "get 256x1", "op/s"),
    rate("coordinator.set_256x1", "9", "set 256x1", "op/s"),
    rate("coordinator.create_256x1", "9", "create 256x1", "op/s"),
    cost(
        "coordinator.start",
        "9",
        "coordinator, exec to first reply",
        "ms",
    ),
    cost(
        "coordinator.memory",
        "9",
        "coordinator, 10,000 nodes",
        "MiB",
    ),
    cost("start.first_ack", "10", "exec to first ack, empty", "ms")
        .times(50.0)
        .bound(100.0),
    cost("memory.idle", "11", "memory, idle", "MiB")
        .times(15.0)
        .bound(25.0),
    cost("memory.loaded", "11", "memory after the rows", "MiB").times(10.0),
    cost(
        "recovery.first_ack",
        "12",
        "kill -9, last exec to first ack",
        "ms",
    )
    .times(10.0)
    .floor(1.3),
    cost(
        "recovery.outage",
        "12",
        "kill -9 to first ack, restarts repeated",
        "ms",
    ),
    cost("topic_10k.created", "13", "10,000-partition topic", "ms").times(20.0),
    cost("topic_10k.memory", "11", "memory, 10,000 partitions", "MiB").times(10.0),
    cost("topic_10k.each", "11", "memory of an idle partition", "KiB").bound(8.0),
    cost(
        "rebalance.storm",
        "14",
        "100 members join, 1,000 partitions",
        "ms",
    )
    .times(5.0),
    cost("codec.lz4", "15", "produce lz4, CPU", "s/GB").times(2.0),
    cost("codec.zstd", "15", "produce zstd, CPU", "s/GB").times(2.0),
    cost("codec.gzip", "15", "produce gzip, CPU", "s/GB").times(1.3),
    cost("codec.snappy", "15", "produce snappy, CPU", "s/GB").times(2.0),
];

#[cfg(test)]
pub(crate) fn metric(key: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.key == key)
}
