//! Partitions and their logs, directories, the cleaner, and the groups' lag.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base::metrics::Shape::{Counter, Gauge};
use base::metrics::Text;
use protocol::ids::TopicPartition;
use replication::partition::{Measures, Partition};

use crate::measures::Patience;
use crate::server::exposition::{Exposition, histogram};

/// How long a measurement waits for a copy that is written.
const MOVE_WAIT: Duration = Duration::from_millis(20);

/// One partition, its index as text.
struct Row {
    topic: Arc<str>,
    partition: String,
    measures: Measures,
}

impl Row {
    fn leads(&self) -> bool {
        self.measures.in_sync.is_some()
    }

    /// Kafka: replicas beyond those in sync, which only a leader knows.
    fn under_replicated(&self) -> bool {
        self.measures
            .in_sync
            .is_some_and(|isr| isr < self.measures.replicas)
    }

    fn under_min_isr(&self) -> bool {
        self.measures
            .in_sync
            .is_some_and(|isr| isr < self.measures.min_in_sync)
    }

    fn at_min_isr(&self) -> bool {
        self.measures.in_sync == Some(self.measures.min_in_sync)
    }
}

pub(super) fn write(all: &Exposition, text: &mut Text<'_>) {
    let rows = measured(all.services.replicas.all());
    each(&rows, text);
    sums(all, &rows, text);
    directories(all, text);
    cleaner(all, text);
    flushes_and_moves(all, text);
    groups(all, &rows, text);
}

/// Those that can be measured now.
fn measured(partitions: Vec<Arc<Partition>>) -> Vec<Row> {
    let mut patience = Patience::default();
    let row = |partition: Arc<Partition>| {
        let lane = partition.lane();
        let measures = patience.measure(lane.path(), |wait| partition.measures(wait))?;
        Some(Row {
            topic: Arc::clone(&partition.id().topic),
            partition: partition.id().partition.to_string(),
            measures,
        })
    };
    partitions.into_iter().filter_map(row).collect()
}

fn each(rows: &[Row], text: &mut Text<'_>) {
    type Value = fn(&Row) -> i64;
    let families: [(&str, Value); 10] = [
        ("kafka_cluster_partition_underreplicated", |row| {
            i64::from(row.under_replicated())
        }),
        ("kafka_cluster_partition_underminisr", |row| {
            i64::from(row.under_min_isr())
        }),
        ("kafka_cluster_partition_atminisr", |row| {
            i64::from(row.at_min_isr())
        }),
        ("kafka_cluster_partition_insyncreplicascount", |row| {
            whole(row.measures.in_sync.unwrap_or(0))
        }),
        ("kafka_cluster_partition_replicascount", |row| {
            whole(if row.leads() {
                row.measures.replicas
            } else {
                0
            })
        }),
        ("kafka_cluster_partition_laststableoffsetlag", |row| {
            let offsets = row.measures.log.offsets;
            offsets.watermark.0.saturating_sub(offsets.stable.0).max(0)
        }),
        ("kafka_log_log_logstartoffset", |row| {
            row.measures.log.offsets.start.0
        }),
        ("kafka_log_log_logendoffset", |row| {
            row.measures.log.offsets.end.0
        }),
        ("kafka_log_log_numlogsegments", |row| {
            whole(row.measures.log.segments)
        }),
        ("kafka_log_log_size", |row| {
            i64::try_from(row.measures.log.bytes).unwrap_or(i64::MAX)
        }),
    ];
    for (name, value) in families {
        text.family(name, Gauge);
        for row in rows {
            let labels = [("partition", &*row.partition), ("topic", &*row.topic)];
            text.sample(name, &labels, value(row));
        }
    }
}

fn whole(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn sums(all: &Exposition, rows: &[Row], text: &mut Text<'_>) {
    let count = |holds: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| holds(row)).count();
    let replicas = &all.services.replicas;
    let producers: usize = rows.iter().map(|row| row.measures.log.producers).sum();
    let gauges = [
        ("partitioncount", rows.len()),
        ("leadercount", count(&Row::leads)),
        ("underreplicatedpartitions", count(&Row::under_replicated)),
        ("underminisrpartitioncount", count(&Row::under_min_isr)),
        ("atminisrpartitioncount", count(&Row::at_min_isr)),
        (
            "reassigningpartitions",
            count(&|row| row.leads() && row.measures.reassigning),
        ),
        ("offlinereplicacount", replicas.offline_count()),
        ("produceridcount", producers),
    ];
    for (name, value) in gauges {
        text.one(&format!("kafka_server_replicamanager_{name}"), Gauge, value);
    }
    let traffic = &replicas.shared().traffic;
    let counters = [
        ("isrshrinks", &traffic.isr_shrinks),
        ("isrexpands", &traffic.isr_expands),
        ("failedisrupdates", &traffic.isr_failures),
    ];
    for (name, count) in counters {
        let name = format!("kafka_server_replicamanager_{name}_total");
        text.one(&name, Counter, count.get());
    }
}

/// Kafka: the value is an object name's quoted part, quotes included.
fn quoted(path: &std::path::Path) -> String {
    format!("\"{}\"", path.display())
}

fn directories(all: &Exposition, text: &mut Text<'_>) {
    let views = all.services.replicas.store().directories();
    let name = "kafka_log_logmanager_logdirectoryoffline";
    text.family(name, Gauge);
    for view in &views {
        let offline = u8::from(!view.online);
        text.sample(name, &[("logDirectory", &quoted(&view.path))], offline);
    }
    let slow = "rotpeter_log_directory_slow";
    text.family(slow, Gauge);
    let lanes = &all.services.replicas.shared().lanes;
    for view in &views {
        let is_slow = u8::from(lanes.is_slow(&lanes.lane(&view.path)));
        text.sample(slow, &[("logDirectory", &quoted(&view.path))], is_slow);
    }
    let offline = views.iter().filter(|view| !view.online).count();
    text.one(
        "kafka_log_logmanager_offlinelogdirectorycount",
        Gauge,
        offline,
    );
    let uncleanable = all.cleaners.uncleanable();
    let store = all.services.replicas.store();
    let given_up: Vec<_> = uncleanable.iter().filter_map(|id| store.log(id)).collect();
    let manager = "kafka_log_logcleanermanager_uncleanable";
    let counts = format!("{manager}_partitions_count");
    text.family(&counts, Gauge);
    for view in &views {
        let here = given_up.iter().filter(|log| log.directory() == view.path);
        text.sample(
            &counts,
            &[("logDirectory", &quoted(&view.path))],
            here.count(),
        );
    }
    let bytes = format!("{manager}_bytes");
    text.family(&bytes, Gauge);
    for view in &views {
        let here = given_up.iter().filter(|log| log.directory() == view.path);
        let sum: u64 = here.map(|log| all.cleaners.dirty_bytes(log)).sum();
        text.sample(&bytes, &[("logDirectory", &quoted(&view.path))], sum);
    }
}

fn cleaner(all: &Exposition, text: &mut Text<'_>) {
    let dead = all.cleaners.dead();
    text.one("kafka_log_logcleaner_deadthreadcount", Gauge, dead);
    let told = all.cleaners.measures();
    for (name, value) in [
        ("logcleaner_cleaner_recopy_percent", told.recopy_percent),
        (
            "logcleaner_max_buffer_utilization_percent",
            told.buffer_percent,
        ),
        ("logcleaner_max_clean_time_secs", told.clean_seconds_max),
        (
            "logcleaner_max_compaction_delay_secs",
            told.delay_seconds_max,
        ),
        ("logcleanermanager_max_dirty_percent", told.dirty_percent),
        (
            "logcleanermanager_time_since_last_run_ms",
            told.since_look_ms,
        ),
    ] {
        text.one(&format!("kafka_log_{name}"), Gauge, value);
    }
    let moved = "kafka_utils_throttler_cleaner_io_count_total";
    text.one(moved, Counter, told.bytes);
}

fn flushes_and_moves(all: &Exposition, text: &mut Text<'_>) {
    let replicas = &all.services.replicas;
    let name = "kafka_log_logflushstats_logflushrateandtimems";
    let flushes: &[(&[(&str, &str)], _)] = &[(&[], replicas.store().flush_times())];
    histogram(text, name, flushes, 1e-3, all.clock.monotonic_ms());
    let labels = [("clientId", "ReplicaAlterLogDirs")];
    let moves = "kafka_server_replicaalterlogdirsmanager";
    for (name, value) in [
        ("maxlag", replicas.move_lag_max(MOVE_WAIT)),
        ("failedpartitionscount", whole(replicas.failing_moves())),
    ] {
        let name = format!("{moves}_{name}");
        text.family(&name, Gauge);
        text.sample(&name, &labels, value);
    }
}

fn groups(all: &Exposition, rows: &[Row], text: &mut Text<'_>) {
    let groups = &all.services.groups;
    let manager = "kafka_coordinator_group_groupmetadatamanager";
    let states = groups.states();
    let of = |state: &str| states.get(state).copied().unwrap_or(0);
    let counts = [
        ("numgroups", states.values().sum::<usize>()),
        ("numgroupspreparingrebalance", of("PreparingRebalance")),
        ("numgroupscompletingrebalance", of("CompletingRebalance")),
        ("numgroupsstable", of("Stable")),
        ("numgroupsempty", of("Empty")),
    ];
    for (name, count) in counts {
        text.one(&format!("{manager}_{name}"), Gauge, count);
    }
    let mut offsets = Vec::new();
    groups.each_offset(|group, topic, partition, offset| {
        offsets.push((group.to_owned(), Arc::clone(topic), partition, offset));
    });
    text.one(&format!("{manager}_numoffsets"), Gauge, offsets.len());
    let name = "rotpeter_group_committed_offset";
    text.family(name, Gauge);
    for (group, topic, partition, offset) in &offsets {
        let partition = partition.to_string();
        let labels = [
            ("group", &**group),
            ("partition", &partition),
            ("topic", topic),
        ];
        text.sample(name, &labels, offset);
    }
    // Only where the partition's end is known on this very broker.
    let name = "rotpeter_group_lag";
    text.family(name, Gauge);
    let ends = if offsets.is_empty() {
        HashMap::new()
    } else {
        ends(rows)
    };
    for (group, topic, partition, offset) in &offsets {
        let id = TopicPartition {
            topic: Arc::clone(topic),
            partition: *partition,
        };
        let Some(end) = ends.get(&id) else { continue };
        let partition = partition.to_string();
        let labels = [
            ("group", &**group),
            ("partition", &partition),
            ("topic", topic),
        ];
        text.sample(name, &labels, end.saturating_sub(*offset).max(0));
    }
}

fn ends(rows: &[Row]) -> HashMap<TopicPartition, i64> {
    let end = |row: &Row| {
        let id = TopicPartition {
            topic: Arc::clone(&row.topic),
            partition: row.partition.parse().ok()?,
        };
        Some((id, row.measures.log.offsets.watermark.0))
    };
    rows.iter().filter_map(end).collect()
}
