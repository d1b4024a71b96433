//! What `/metrics` and `/health` say.
//!
//! Kafka: the names, labels and kinds are those that the Prometheus JMX exporter's sample rules for
//! Kafka give its MBeans (`kafka-2_0_0.yml`), so that dashboards made for Kafka find what they look
//! for; `tests/operate` holds both against each other and lists what is absent here, with reasons.
//! What Kafka has no such name for begins with `rotpeter_`.
//!
//! Runs on a thread of its own; may block, and waits for nobody long.

mod control;
mod partitions;
mod requests;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base::clock::Clock;
use base::metrics::{QUANTILES, Shape, Text, Timings};
use base::stop::Stop;
use tokio::runtime::Handle;
use znodes::store::{State, Store};
use znodes::zookeeper::ZooKeeper;

use crate::api::table::Services;
use crate::measures::Doors;
use crate::net::budget::Budget;
use crate::net::http::{Condition, Health, Reports};
use crate::peer::orders::Orders;
use crate::server::cleaner::CleanerView;
use crate::server::exposition::control::SessionCounts;
use crate::server::exposition::requests::Workers;

/// How long a scrape waits for the controller's numbers; they are left out then.
const CONTROLLER_PATIENCE: Duration = Duration::from_secs(1);

/// Where the broker stands; Kafka's `BrokerState` numbers it the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Starting = 1,
    Recovering = 2,
    Running = 3,
    LeavingCluster = 6,
    Stopping = 7,
}

/// The stage, shared between the server and whoever asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Stages(Arc<AtomicU8>);

impl Stages {
    pub(crate) fn new() -> Self {
        Stages(Arc::new(AtomicU8::new(Stage::Starting as u8)))
    }

    pub(crate) fn set(&self, stage: Stage) {
        self.0.store(stage as u8, Ordering::Release);
    }

    pub(crate) fn number(&self) -> u8 {
        self.0.load(Ordering::Acquire)
    }

    fn is(&self, stage: Stage) -> bool {
        self.number() == stage as u8
    }
}

/// All that is measured in a broker that runs.
pub(crate) struct Exposition {
    pub(crate) services: Arc<Services>,
    pub(crate) sender: Arc<Orders>,
    pub(crate) zookeeper: ZooKeeper,
    pub(crate) sessions: Arc<SessionCounts>,
    pub(crate) doors: Arc<Doors>,
    pub(crate) budget: Budget,
    pub(crate) cleaners: CleanerView,
    pub(crate) workers: Workers,
    pub(crate) stages: Stages,
    pub(crate) clock: Clock,
    /// The runtime the controller's answers are waited for on.
    pub(crate) control: Handle,
}

impl Exposition {
    /// Counts what becomes of the session from now on.
    pub(crate) fn follow_session(
        zookeeper: &ZooKeeper,
        stop: Stop,
    ) -> (Arc<SessionCounts>, impl Future<Output = ()> + use<>) {
        SessionCounts::follow(zookeeper.state(), stop)
    }

    /// The workers of a runtime, for their idle time.
    pub(crate) fn workers(data: &Handle, clock: &Clock) -> Workers {
        Workers::new(data.clone(), clock)
    }
}

/// What is served from the first moment on: little while the broker starts, all once it runs.
pub(crate) struct Operating {
    stages: Stages,
    all: OnceLock<Exposition>,
}

impl Operating {
    pub(crate) fn new(stages: Stages) -> Self {
        let all = OnceLock::new();
        Operating { stages, all }
    }

    /// Everything is there. Only the first counts.
    pub(crate) fn open(&self, all: Exposition) {
        let _second = self.all.set(all);
    }
}

impl Reports for Operating {
    fn write_metrics(&self, text: &mut Text<'_>) {
        match self.all.get() {
            Some(all) => all.write_metrics(text),
            None => control::write_stage(&self.stages, text),
        }
    }

    fn health(&self) -> Health {
        match self.all.get() {
            Some(all) => all.health(),
            None => Health {
                condition: Condition::Unavailable,
                reason: NOT_RUNNING.to_owned(),
            },
        }
    }
}

const NOT_RUNNING: &str = "the broker is starting or stopping";

impl Reports for Exposition {
    fn write_metrics(&self, text: &mut Text<'_>) {
        requests::write(self, text);
        partitions::write(self, text);
        control::write(self, text);
    }

    fn health(&self) -> Health {
        let services = &self.services;
        let failed = services.replicas.failed_directories().borrow().clone();
        judge(&Seen {
            running: self.stages.is(Stage::Running),
            session: *self.zookeeper.state().borrow(),
            registered: services.controller.status().registered,
            directories: services.live.now().logs.dirs.len(),
            failed,
            panics: base::tasks::panics(),
        })
    }
}

/// What a broker's health is judged by.
struct Seen {
    running: bool,
    session: State,
    registered: bool,
    directories: usize,
    failed: Vec<PathBuf>,
    panics: u64,
}

/// A broker whose connection to ZooKeeper is down still serves what it leads; one whose session is
/// over is gone as far as the cluster knows.
fn judge(seen: &Seen) -> Health {
    let health = |condition, reason: String| Health { condition, reason };
    if !seen.running {
        return health(Condition::Unavailable, NOT_RUNNING.to_owned());
    }
    if seen.failed.len() >= seen.directories {
        return health(
            Condition::Unavailable,
            "every log directory has failed; free or replace the disk and restart".to_owned(),
        );
    }
    match seen.session {
        State::Expired { .. } | State::Closed => {
            return health(
                Condition::Unavailable,
                "the ZooKeeper session is over; the broker registers again once ZooKeeper answers"
                    .to_owned(),
            );
        }
        State::Suspended { .. } => {
            return health(
                Condition::Degraded,
                "ZooKeeper does not answer; what this broker leads is still served".to_owned(),
            );
        }
        State::Alive { .. } if !seen.registered => {
            return health(
                Condition::Unavailable,
                "not registered in the cluster: ZooKeeper holds another cluster or none, or another \
                 session holds this broker's id; see the log"
                    .to_owned(),
            );
        }
        State::Alive { .. } => {}
    }
    if !seen.failed.is_empty() {
        let dirs: Vec<String> = seen
            .failed
            .iter()
            .map(|d| d.display().to_string())
            .collect();
        let reason = format!(
            "log directory failed: {}; free or replace the disk and restart",
            dirs.join(", ")
        );
        return health(Condition::Degraded, reason);
    }
    if seen.panics > 0 {
        let reason = format!(
            "{} tasks ended by a defect since the start; see the log and please report it",
            seen.panics
        );
        return health(Condition::Degraded, reason);
    }
    health(Condition::Ok, String::new())
}

/// Timings as the exporter's rules show a histogram: quantiles, then how many. `scale` is what one
/// unit of the timings is in the unit shown.
fn histogram(
    text: &mut Text<'_>,
    name: &str,
    rows: &[(&[(&str, &str)], &Timings)],
    scale: f64,
    now_ms: i64,
) {
    let summaries: Vec<_> = rows.iter().map(|(_, of)| of.summary(now_ms)).collect();
    text.family(name, Shape::Gauge);
    for ((labels, _), summary) in rows.iter().zip(&summaries) {
        for ((_, quantile), value) in QUANTILES.iter().zip(summary.quantiles) {
            let mut all = vec![("quantile", *quantile)];
            all.extend_from_slice(labels);
            text.sample(name, &all, value * scale);
        }
    }
    let count = format!("{name}_count_total");
    text.family(&count, Shape::Counter);
    for ((labels, _), summary) in rows.iter().zip(&summaries) {
        text.sample(&count, labels, summary.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        Seen {
            running: true,
            session: State::Alive {
                session: 1,
                term: 1,
                joined: 1,
            },
            registered: true,
            directories: 2,
            failed: Vec::new(),
            panics: 0,
        }
    }

    #[test]
    fn a_broker_that_serves_is_well_or_degraded_and_one_that_does_not_is_unavailable() {
        assert_eq!(judge(&seen()).condition, Condition::Ok);
        let starting = Seen {
            running: false,
            ..seen()
        };
        assert_eq!(judge(&starting).condition, Condition::Unavailable);
        let away = Seen {
            session: State::Suspended {
                session: 1,
                term: 1,
            },
            ..seen()
        };
        assert_eq!(judge(&away).condition, Condition::Degraded);
        let over = Seen {
            session: State::Expired {
                session: 1,
                term: 1,
            },
            ..seen()
        };
        assert_eq!(judge(&over).condition, Condition::Unavailable);
        let unknown = Seen {
            registered: false,
            ..seen()
        };
        assert_eq!(judge(&unknown).condition, Condition::Unavailable);
        let one_disk = Seen {
            failed: vec!["/a".into()],
            ..seen()
        };
        assert_eq!(judge(&one_disk).condition, Condition::Degraded);
        assert!(judge(&one_disk).reason.contains("/a"));
        let all_disks = Seen {
            failed: vec!["/a".into(), "/b".into()],
            ..seen()
        };
        assert_eq!(judge(&all_disks).condition, Condition::Unavailable);
        let defect = Seen {
            panics: 1,
            ..seen()
        };
        assert_eq!(judge(&defect).condition, Condition::Degraded);
    }
}
