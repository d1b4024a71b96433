//! Log levels while the broker runs, under the names that operators of Kafka know.
//!
//! Kafka: `RuntimeLoggerManager`, `Log4jController`. A name stands for the rooms here that do what
//! Kafka's class of that name does; its parents, by dots, stand for all beneath them. Levels are the
//! process's own and are gone with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::logging;
use parking_lot::Mutex;
use settings::layers::Source;

use crate::admin::configs::{Described, Refusal};

const ROOT: &str = "root";

/// Kafka's name and our targets. The root stands for everything.
const LOGGERS: &[(&str, &[&str])] = &[
    (ROOT, &[""]),
    (
        "kafka",
        &[
            "kafka",
            "broker",
            "controller",
            "coordinator",
            "replication",
            "storage",
            "znodes",
        ],
    ),
    ("kafka.cluster.Partition", &["replication::partition"]),
    ("kafka.controller", &["controller"]),
    ("kafka.controller.KafkaController", &["controller::run"]),
    (
        "kafka.controller.RequestSendThread",
        &["broker::peer::orders"],
    ),
    (
        "kafka.controller.TopicDeletionManager",
        &["controller::deletion"],
    ),
    (
        "kafka.controller.ZkPartitionStateMachine",
        &["controller::partitions"],
    ),
    (
        "kafka.controller.ZkReplicaStateMachine",
        &["controller::replicas"],
    ),
    (
        "kafka.coordinator.group.GroupCoordinator",
        &["broker::coordination"],
    ),
    (
        "kafka.coordinator.group.GroupMetadataManager",
        &["broker::coordination::load"],
    ),
    ("kafka.log", &["storage"]),
    ("kafka.log.LogCleaner", &["storage::compaction"]),
    (
        "kafka.log.LogManager",
        &["storage::store", "storage::housekeeping"],
    ),
    ("kafka.log.UnifiedLog", &["storage::log"]),
    ("kafka.network", &["broker::net"]),
    ("kafka.network.Processor", &["broker::net::connection"]),
    ("kafka.network.SocketServer", &["broker::net::listen"]),
    ("kafka.request.logger", &["broker::api::table"]),
    ("kafka.server.KafkaApis", &["broker::api"]),
    ("kafka.server.KafkaServer", &["kafka", "broker::server"]),
    ("kafka.server.ReplicaManager", &["replication"]),
    ("kafka.server.ZkAdminManager", &["broker::admin"]),
    ("kafka.zk.KafkaZkClient", &["znodes"]),
    (
        "kafka.zookeeper.ZooKeeperClient",
        &["znodes::zookeeper", "zookeeper_client"],
    ),
    ("state.change.logger", &["state_change"]),
];

/// Kafka's levels and ours.
const LEVELS: [(&str, &str); 6] = [
    ("DEBUG", "debug"),
    ("ERROR", "error"),
    ("FATAL", "error"),
    ("INFO", "info"),
    ("TRACE", "trace"),
    ("WARN", "warn"),
];

/// What a process starts with where nobody says otherwise: each partition's changes are told by
/// those who change many at once, what the ZooKeeper client meets by the session, once and not at
/// each of its tries.
pub const DEFAULT_FILTER: &str = "info,state_change=warn,zookeeper_client=error";

/// What is to become of one logger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LevelChange {
    Set(String),
    Unset,
    Append,
    Subtract,
    Other(i8),
}

/// The levels of this process. Clones share them.
#[derive(Clone, Debug)]
pub struct Loggers(Arc<Mutex<Levels>>);

#[derive(Debug)]
struct Levels {
    set: BTreeMap<&'static str, &'static str>,
    /// Ever changed while running.
    touched: BTreeSet<&'static str>,
}

impl Default for Loggers {
    fn default() -> Self {
        let set = BTreeMap::from([
            (ROOT, "INFO"),
            ("state.change.logger", "WARN"),
            ("kafka.zookeeper.ZooKeeperClient", "WARN"),
        ]);
        let touched = BTreeSet::new();
        Loggers(Arc::new(Mutex::new(Levels { set, touched })))
    }
}

impl Loggers {
    /// Every logger with its level, its own or the nearest parent's.
    pub fn describe(&self) -> Vec<Described> {
        let levels = self.0.lock();
        let line = |(name, _): &(&'static str, _)| Described {
            name: (*name).to_owned(),
            value: Some(levels.of(name).to_owned()),
            kind: None,
            source: Source::Logger,
            read_only: false,
            sensitive: false,
            synonyms: Vec::new(),
            doc: None,
        };
        LOGGERS.iter().map(line).collect()
    }

    /// All changes or none.
    pub fn change(
        &self,
        changes: &[(String, LevelChange)],
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let mut checked = Vec::with_capacity(changes.len());
        for (name, change) in changes {
            checked.push(check(name, change)?);
        }
        if validate_only {
            return Ok(());
        }
        let mut levels = self.0.lock();
        for (name, level) in checked {
            match level {
                Some(level) => levels.set.insert(name, level),
                None => levels.set.remove(name),
            };
            levels.touched.insert(name);
            tracing::warn!(
                logger = name,
                level = levels.of(name),
                "changed a log level"
            );
        }
        levels.obey();
        Ok(())
    }
}

impl Levels {
    fn of(&self, name: &str) -> &'static str {
        let mut name = name;
        loop {
            if let Some(level) = self.set.get(name) {
                return level;
            }
            match name.rsplit_once('.') {
                Some((parent, _)) => name = parent,
                None => return self.set.get(ROOT).copied().unwrap_or("INFO"),
            }
        }
    }

    fn obey(&self) {
        let mut targets = Vec::new();
        // Parents stand before their children, so the children's own levels count.
        for (name, ours) in LOGGERS
            .iter()
            .filter(|(name, _)| self.touched.contains(name))
        {
            let level = self.of(name);
            let level = LEVELS.iter().find(|(kafkas, _)| *kafkas == level);
            let level = level.map_or("info", |(_, ours)| ours);
            targets.extend(ours.iter().map(|target| (*target, level)));
        }
        // False only in tests, where logging was not started.
        let _done = logging::set_levels(targets.into_iter());
    }
}

type Checked = (&'static str, Option<&'static str>);

fn check(name: &str, change: &LevelChange) -> Result<Checked, Refusal> {
    let not_allowed = |verb: &str| {
        let words = format!("{verb} operation is not allowed for the BROKER_LOGGER resource");
        Err(Refusal::InvalidRequest(words))
    };
    let known = || {
        let found = LOGGERS.iter().find(|(known, _)| *known == name);
        found
            .map(|(known, _)| *known)
            .ok_or_else(|| Refusal::InvalidConfig(format!("Logger {name} does not exist!")))
    };
    match change {
        LevelChange::Set(level) => {
            let name = known()?;
            match LEVELS.iter().find(|(kafkas, _)| kafkas == level) {
                Some((level, _)) => Ok((name, Some(level))),
                None => Err(Refusal::InvalidConfig(format!(
                    "Cannot set the log level of {name} to {level} as it is not a supported log \
                     level. Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN"
                ))),
            }
        }
        LevelChange::Unset => match known()? {
            ROOT => Err(Refusal::InvalidRequest(
                "Removing the log level of the root logger is not allowed".to_owned(),
            )),
            name => Ok((name, None)),
        },
        LevelChange::Append => not_allowed("APPEND"),
        LevelChange::Subtract => not_allowed("SUBTRACT"),
        LevelChange::Other(verb) => Err(Refusal::no_such_verb(*verb)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(loggers: &Loggers, name: &str) -> String {
        let lines = loggers.describe();
        let line = lines.into_iter().find(|line| line.name == name);
        line.unwrap().value.unwrap()
    }

    #[test]
    fn a_logger_has_its_own_level_or_its_parents() {
        let loggers = Loggers::default();
        let set = |name: &str, level: &str| {
            let change = LevelChange::Set(level.to_owned());
            loggers.change(&[(name.to_owned(), change)], false)
        };
        assert_eq!(level(&loggers, "kafka.log.UnifiedLog"), "INFO");
        set("kafka.log", "DEBUG").unwrap();
        set("root", "ERROR").unwrap();
        assert_eq!(level(&loggers, "kafka.log.UnifiedLog"), "DEBUG");
        assert_eq!(level(&loggers, "kafka.server.KafkaApis"), "ERROR");
        assert_eq!(level(&loggers, "state.change.logger"), "WARN");
        let unset = [("kafka.log".to_owned(), LevelChange::Unset)];
        loggers.change(&unset, true).unwrap();
        assert_eq!(level(&loggers, "kafka.log.LogManager"), "DEBUG");
        loggers.change(&unset, false).unwrap();
        assert_eq!(level(&loggers, "kafka.log.LogManager"), "ERROR");
    }

    #[test]
    fn what_kafka_refuses_is_refused_in_its_words() {
        let loggers = Loggers::default();
        for (name, change, words) in [
            (
                "no.Such",
                LevelChange::Unset,
                "Logger no.Such does not exist!",
            ),
            (
                "root",
                LevelChange::Unset,
                "Removing the log level of the root logger is not allowed",
            ),
            (
                "kafka",
                LevelChange::Set("BOGUS".to_owned()),
                "Cannot set the log level of kafka to BOGUS as it is not a supported log level. \
                 Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN",
            ),
            (
                "kafka",
                LevelChange::Append,
                "APPEND operation is not allowed for the BROKER_LOGGER resource",
            ),
            ("kafka", LevelChange::Other(9), "no such verb: 9"),
        ] {
            let refused = loggers.change(&[(name.to_owned(), change)], false);
            assert_eq!(refused.unwrap_err().to_string(), words);
        }
    }
}
