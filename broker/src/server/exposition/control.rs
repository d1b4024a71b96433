//! The broker in its cluster: controller, ZooKeeper's session, the process itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::metrics::Shape::{Counter, Gauge};
use base::metrics::Text;
use base::stop::Stop;
use controller::measures::{Counts, Work};
use tokio::sync::watch;
use znodes::store::{State, Store};

use crate::server::exposition::{CONTROLLER_PATIENCE, Exposition, Stages, histogram};

const MS_PER_US: f64 = 1e-3;

/// How often the session was lost and found.
#[derive(Debug, Default)]
pub(crate) struct SessionCounts {
    connects: AtomicU64,
    disconnects: AtomicU64,
    expires: AtomicU64,
}

impl SessionCounts {
    /// The counts, and what keeps them until stop is said.
    pub(super) fn follow(
        mut state: watch::Receiver<State>,
        stop: Stop,
    ) -> (Arc<Self>, impl Future<Output = ()> + use<>) {
        let counts = Arc::new(SessionCounts::default());
        counts.connects.store(1, Ordering::Relaxed);
        let kept = Arc::clone(&counts);
        let following = async move {
            let mut last = *state.borrow_and_update();
            loop {
                tokio::select! {
                    changed = state.changed() => if changed.is_err() { return },
                    () = stop.stopped() => return,
                }
                let now = *state.borrow_and_update();
                kept.note(last, now);
                last = now;
            }
        };
        (counts, following)
    }

    /// A watch may pass over states that did not last; what they must have been is counted too.
    fn note(&self, last: State, now: State) {
        let add = |count: &AtomicU64| {
            count.fetch_add(1, Ordering::Relaxed);
        };
        let was_over = matches!(last, State::Expired { .. });
        if last.is_alive() && now != State::Closed {
            add(&self.disconnects);
        }
        if !was_over && (now.term() > last.term() || matches!(now, State::Expired { .. })) {
            add(&self.expires);
        }
        if now.is_alive() {
            add(&self.connects);
        }
    }
}

pub(super) fn write(all: &Exposition, text: &mut Text<'_>) {
    controller(all, text);
    orders(all, text);
    zookeeper(all, text);
    process(all, text);
}

fn controller(all: &Exposition, text: &mut Text<'_>) {
    let handle = &all.services.controller;
    let status = handle.status();
    // Before the controller is asked to count: answering, it does nothing else.
    let state = handle.measures().state();
    let counts = all.control.block_on(async {
        let asked = tokio::time::timeout(CONTROLLER_PATIENCE, handle.counts());
        asked.await.ok().flatten()
    });
    // Kafka: whoever is not controller counts nothing. One that is too busy to answer says nothing.
    let counts = match (status.active, counts) {
        (false, _) => Some(Counts::default()),
        (true, counts) => counts,
    };
    let name = |tail: &str| format!("kafka_controller_kafkacontroller_{tail}");
    text.one(
        &name("activecontrollercount"),
        Gauge,
        u8::from(status.active),
    );
    text.one(&name("controllerstate"), Gauge, state);
    if let Some(counts) = counts {
        for (tail, value) in [
            ("activebrokercount", counts.brokers),
            ("fencedbrokercount", 0),
            ("globaltopiccount", counts.topics),
            ("globalpartitioncount", counts.partitions),
            ("offlinepartitionscount", counts.offline_partitions),
            (
                "preferredreplicaimbalancecount",
                counts.imbalanced_partitions,
            ),
            ("topicstodeletecount", counts.topics_to_delete),
            ("replicastodeletecount", counts.replicas_to_delete),
            ("topicsineligibletodeletecount", counts.topics_ineligible),
            (
                "replicasineligibletodeletecount",
                counts.replicas_ineligible,
            ),
        ] {
            text.one(&name(tail), Gauge, value);
        }
    }
    let now_ms = all.clock.monotonic_ms();
    let measures = handle.measures();
    for work in Work::ALL.into_iter().filter(|work| work.is_timed()) {
        let tail = format!("{work:?}").to_ascii_lowercase();
        let name = format!("kafka_controller_controllerstats_{tail}rateandtimems");
        histogram(
            text,
            &name,
            &[(&[], measures.work(work))],
            MS_PER_US,
            now_ms,
        );
    }
    text.one(
        "kafka_controller_controllerstats_uncleanleaderelections_total",
        Counter,
        measures.unclean_elections.get(),
    );
    let controller = status.controller.unwrap_or(-1);
    text.one(
        "kafka_server_metadataloader_currentcontrollerid",
        Gauge,
        controller,
    );
}

fn orders(all: &Exposition, text: &mut Text<'_>) {
    let waiting = all.sender.waiting();
    let name = "kafka_controller_controllerchannelmanager_queuesize";
    text.family(name, Gauge);
    for (broker, count) in &waiting {
        // Kafka: this MBean's key is `broker-id`, which the exporter writes with an underscore.
        text.sample(name, &[("broker_id", &broker.to_string())], count);
    }
    let sum: usize = waiting.iter().map(|(_, count)| count).sum();
    text.one(
        "kafka_controller_controllerchannelmanager_totalqueuesize",
        Gauge,
        sum,
    );
}

fn zookeeper(all: &Exposition, text: &mut Text<'_>) {
    let counts = &all.sessions;
    for (name, count) in [
        ("zookeepersyncconnects", &counts.connects),
        ("zookeeperdisconnects", &counts.disconnects),
        ("zookeeperexpires", &counts.expires),
    ] {
        let name = format!("kafka_server_sessionexpirelistener_{name}_total");
        text.one(&name, Counter, count.load(Ordering::Relaxed));
    }
    histogram(
        text,
        "kafka_server_zookeeperclientmetrics_zookeeperrequestlatencyms",
        &[(&[], all.zookeeper.latency())],
        MS_PER_US,
        all.clock.monotonic_ms(),
    );
    // The rules give Kafka's own `SessionState` no name: it is a word, not a number.
    let state = *all.zookeeper.state().borrow();
    let name = "rotpeter_zookeeper_session";
    text.family(name, Gauge);
    for (word, holds) in [
        ("alive", state.is_alive()),
        ("suspended", matches!(state, State::Suspended { .. })),
        ("expired", matches!(state, State::Expired { .. })),
    ] {
        text.sample(name, &[("state", word)], u8::from(holds));
    }
}

pub(super) fn write_stage(stages: &Stages, text: &mut Text<'_>) {
    let name = "kafka_server_kafkaserver_brokerstate";
    text.one(name, Gauge, stages.number());
}

fn process(all: &Exposition, text: &mut Text<'_>) {
    write_stage(&all.stages, text);
    // Linux only, as in Kafka; elsewhere both are left out.
    let io = std::fs::read_to_string("/proc/self/io");
    for (key, name) in [
        (
            "read_bytes: ",
            "kafka_server_kafkaserver_linux_disk_read_bytes",
        ),
        (
            "write_bytes: ",
            "kafka_server_kafkaserver_linux_disk_write_bytes",
        ),
    ] {
        let lines = io.iter().flat_map(|text| text.lines());
        let mut value = lines.filter_map(|line| line.strip_prefix(key)?.parse::<u64>().ok());
        if let Some(value) = value.next() {
            text.one(name, Gauge, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_was_lost_while_nobody_looked_is_counted_all_the_same() {
        let counts = SessionCounts::default();
        let alive = |term| State::Alive {
            session: 1,
            term,
            joined: term,
        };
        counts.note(
            alive(1),
            State::Suspended {
                session: 1,
                term: 1,
            },
        );
        counts.note(
            State::Suspended {
                session: 1,
                term: 1,
            },
            alive(1),
        );
        counts.note(alive(1), alive(2));
        let seen = [&counts.connects, &counts.disconnects, &counts.expires];
        assert_eq!(seen.map(|count| count.load(Ordering::Relaxed)), [2, 2, 1]);
    }
}
