//! Requests, topics' traffic, connections, memory, and how busy the workers are.

use base::clock::Clock;
use base::metrics::Shape::{Counter, Gauge};
use base::metrics::{Text, Timings};
use parking_lot::Mutex;
use replication::traffic::Passed;
use tokio::runtime::Handle;

use crate::measures::requests::ApiMeasures;
use crate::server::exposition::{Exposition, histogram};

/// What a microsecond is in milliseconds, in which Kafka shows times.
const MS_PER_US: f64 = 1e-3;

/// The threads that run requests, and how idle they were between two looks.
#[derive(Debug)]
pub(crate) struct Workers {
    data: Handle,
    last: Mutex<Look>,
}

#[derive(Debug)]
struct Look {
    at_us: i64,
    busy_us: Vec<u128>,
    idle: Vec<f64>,
}

/// Looks that follow one another sooner give the same answer.
const LOOK_US_MIN: i64 = 1_000_000;

impl Workers {
    pub(super) fn new(data: Handle, clock: &Clock) -> Self {
        let workers = data.metrics().num_workers();
        let last = Mutex::new(Look {
            at_us: clock.monotonic_us(),
            busy_us: busy(&data),
            idle: vec![1.0; workers],
        });
        Workers { data, last }
    }

    /// Each worker's share of idle time since the last look, from 0 to 1.
    fn idle(&self, clock: &Clock) -> Vec<f64> {
        let now_us = clock.monotonic_us();
        let mut last = self.last.lock();
        let passed = now_us - last.at_us;
        if passed >= LOOK_US_MIN {
            let busy_us = busy(&self.data);
            let each = busy_us.iter().zip(&last.busy_us);
            let share = |(now, then): (&u128, &u128)| {
                let busy = now.saturating_sub(*then) as f64;
                (1.0 - busy / passed as f64).clamp(0.0, 1.0)
            };
            last.idle = each.map(share).collect();
            last.at_us = now_us;
            last.busy_us = busy_us;
        }
        last.idle.clone()
    }
}

fn busy(data: &Handle) -> Vec<u128> {
    let metrics = data.metrics();
    let worker = |at| metrics.worker_total_busy_duration(at).as_micros();
    (0..metrics.num_workers()).map(worker).collect()
}

pub(super) fn write(all: &Exposition, text: &mut Text<'_>) {
    apis(all, text);
    traffic(all, text);
    waiting(all, text);
    connections(all, text);
    workers(all, text);
}

fn apis(all: &Exposition, text: &mut Text<'_>) {
    let now_ms = all.clock.monotonic_ms();
    let asked: Vec<(&str, &ApiMeasures)> = all.services.requests.asked().collect();
    let labels: Vec<[(&str, &str); 1]> = asked.iter().map(|(n, _)| [("request", *n)]).collect();
    type Pick = fn(&ApiMeasures) -> &Timings;
    let families: [(&str, Pick, f64); 5] = [
        ("totaltimems", |api| &api.total, MS_PER_US),
        ("localtimems", |api| &api.local, MS_PER_US),
        ("remotetimems", |api| &api.remote, MS_PER_US),
        ("throttletimems", |api| &api.throttle, MS_PER_US),
        ("requestbytes", |api| &api.bytes, 1.0),
    ];
    for (name, pick, scale) in families {
        let rows: Vec<_> = labels
            .iter()
            .zip(&asked)
            .map(|(labels, (_, api))| (&labels[..], pick(api)))
            .collect();
        let name = format!("kafka_network_requestmetrics_{name}");
        histogram(text, &name, &rows, scale, now_ms);
    }
    let name = "kafka_network_requestmetrics_requests_total";
    text.family(name, Counter);
    for (request, api) in &asked {
        for (version, count) in api.versions() {
            let version = version.to_string();
            let labels = [("request", *request), ("version", &version)];
            text.sample(name, &labels, count);
        }
    }
    let name = "kafka_network_requestmetrics_errors_total";
    text.family(name, Counter);
    for (request, api) in &asked {
        for (error, count) in api.codes() {
            text.sample(name, &[("error", error), ("request", *request)], count);
        }
    }
}

fn traffic(all: &Exposition, text: &mut Text<'_>) {
    let table = &all.services.replicas.shared().traffic;
    let topics = table.topics();
    for what in Passed::ALL {
        let (name, by_topic) = match what {
            Passed::MessagesIn => ("messagesin", true),
            Passed::BytesIn => ("bytesin", true),
            Passed::BytesOut => ("bytesout", true),
            Passed::BytesRejected => ("bytesrejected", false),
            Passed::ProduceRequests => ("totalproducerequests", true),
            Passed::FetchRequests => ("totalfetchrequests", true),
            Passed::FailedProduces => ("failedproducerequests", false),
            Passed::FailedFetches => ("failedfetchrequests", false),
        };
        let name = format!("kafka_server_brokertopicmetrics_{name}_total");
        text.family(&name, Counter);
        text.sample(&name, &[], table.sum(what));
        for (topic, traffic) in topics.iter().filter(|_| by_topic) {
            // Kafka: a topic appears once something has passed.
            let count = traffic.get(what);
            if count > 0 {
                text.sample(&name, &[("topic", topic)], count);
            }
        }
    }
    text.one(
        "kafka_server_brokertopicmetrics_replicationbytesout_total",
        Counter,
        table.replicated_out.get(),
    );
}

fn waiting(all: &Exposition, text: &mut Text<'_>) {
    let parked = all.services.requests.parked();
    for name in ["numdelayedoperations", "purgatorysize"] {
        let name = format!("kafka_server_delayedoperationpurgatory_{name}");
        text.family(&name, Gauge);
        for (what, count) in parked {
            text.sample(&name, &[("delayedOperation", what)], count);
        }
    }
    let sessions = &all.services.fetches.sessions;
    let cache = "kafka_server_fetchsessioncache";
    text.one(
        &format!("{cache}_numincrementalfetchsessions"),
        Gauge,
        sessions.len(),
    );
    text.one(
        &format!("{cache}_numincrementalfetchpartitionscached"),
        Gauge,
        sessions.partitions(),
    );
    text.one(
        &format!("{cache}_incrementalfetchsessionevictions_total"),
        Counter,
        sessions.evictions(),
    );
}

fn connections(all: &Exposition, text: &mut Text<'_>) {
    let doors = all.doors.views();
    let name = "rotpeter_connections";
    text.family(name, Gauge);
    for (listener, door) in &doors {
        text.sample(name, &[("listener", listener)], door.open);
    }
    let name = "rotpeter_connections_accepted_total";
    text.family(name, Counter);
    for (listener, door) in &doors {
        text.sample(name, &[("listener", listener)], door.accepted);
    }
    let name = "rotpeter_connections_refused_total";
    text.family(name, Counter);
    for (listener, door) in &doors {
        text.sample(name, &[("listener", listener)], door.refused);
    }
    let idle: u64 = doors.iter().map(|(_, door)| door.idle_closed).sum();
    let server = "kafka_network_socketserver";
    text.one(
        &format!("{server}_expiredconnectionskilledcount"),
        Gauge,
        idle,
    );
    let (used, left) = all.budget.used_and_left();
    text.one(&format!("{server}_memorypoolused"), Gauge, used);
    text.one(&format!("{server}_memorypoolavailable"), Gauge, left);
    let (under_way, used, left) = all.services.slow_lane.load();
    for (name, value) in [
        ("requests", under_way),
        ("memory_used_bytes", used),
        ("memory_available_bytes", left),
    ] {
        text.one(&format!("rotpeter_slow_lane_{name}"), Gauge, value);
    }
}

fn workers(all: &Exposition, text: &mut Text<'_>) {
    let idle = all.workers.idle(&all.clock);
    let average = idle.iter().sum::<f64>() / idle.len().max(1) as f64;
    // The same threads read, work and write, so they are both of Kafka's pools.
    let name = "kafka_network_processor_idlepercent";
    text.family(name, Gauge);
    for (number, idle) in idle.iter().enumerate() {
        text.sample(name, &[("networkProcessor", &number.to_string())], idle);
    }
    text.one(
        "kafka_network_socketserver_networkprocessoravgidlepercent",
        Gauge,
        average,
    );
    text.one(
        "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent",
        Gauge,
        average,
    );
    text.one("rotpeter_task_panics_total", Counter, base::tasks::panics());
    let version = env!("CARGO_PKG_VERSION");
    text.family("rotpeter_build_info", Gauge);
    text.sample("rotpeter_build_info", &[("version", version)], 1);
}
