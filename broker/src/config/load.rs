//! From a command line, the environment and a file to one checked configuration.
//!
//! Later ones win: file < environment < `--override` < `--zookeeper`, `--data-dir`. What they
//! leave open is then settled for the kind of node this is: one with a coordinator of its own
//! (nobody named a ZooKeeper) or a member of a cluster. Settings in the shape of KRaft start the
//! former, and say so.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use settings::keys;
use settings::layers::{Layers, Texts};
use settings::read::{self, Format, Warning};
use settings::row::State;
use settings::value::Fault;

use crate::config::{Config, fixes};

/// What the operator gave.
#[derive(Clone, Debug, Default)]
pub struct LoadArgs {
    pub file: Option<PathBuf>,
    /// Keys from environment variables: `settings::environment::read`.
    pub environment: Texts,
    /// `key=value`, in the order given.
    pub overrides: Vec<String>,
    /// `host:port[,…][/chroot]`; without an embedded coordinator then.
    pub zookeeper: Option<String>,
    pub data_dir: Option<PathBuf>,
}

/// Why there is no [`Config`], with what would have been warned of beside.
#[derive(Clone, Debug)]
pub struct Refused {
    pub faults: Vec<Fault>,
    pub warnings: Vec<Warning>,
}

/// A file of settings is text that somebody wrote; anything larger is a mistake.
const FILE_BYTES_MAX: u64 = 4 << 20;

pub(super) fn load(args: &LoadArgs) -> Result<(Config, Vec<Warning>), Refused> {
    let mut faults = Vec::new();
    let mut texts = gather(args, &mut faults);
    let mut warnings = read::unknown_keys(&texts);
    kraft_shape(&mut texts, &mut warnings, &mut faults);
    warnings.extend(idle_keys(&texts));
    settle(args, &mut texts, &mut faults);
    let given = texts.clone();
    let refused = |mut faults: Vec<Fault>, warnings| {
        faults.extend(fixes::of(&given, &faults));
        Err(Refused { faults, warnings })
    };
    let layers = Layers {
        file: texts,
        ..Layers::default()
    };
    match Config::from_layers(layers, &host_name()) {
        Ok(config) if faults.is_empty() => Ok((config, warnings)),
        Ok(_) => refused(faults, warnings),
        Err(more) => {
            faults.extend(more);
            refused(faults, warnings)
        }
    }
}

/// All of it, to its end: a pipe, as the shell's `<(…)` makes one, tells no length.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = File::open(path)?.take(FILE_BYTES_MAX + 1);
    file.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let words = "it is larger than any file of settings";
        return Err(io::Error::new(io::ErrorKind::InvalidData, words));
    }
    Ok(bytes)
}

fn gather(args: &LoadArgs, faults: &mut Vec<Fault>) -> Texts {
    let mut texts = Texts::new();
    if let Some(path) = &args.file {
        match read_file(path) {
            Err(error) => {
                faults.push(Fault::between(
                    "",
                    format!(
                        "cannot read {}: {error}. It is meant to be a server.properties, or the \
                         same as YAML; without a file everything has its default",
                        path.display()
                    ),
                ));
            }
            Ok(bytes) => match read::parse(&bytes, Format::of(&path.to_string_lossy())) {
                Ok(found) => texts = found,
                Err(more) => faults.extend(more.into_iter().map(|fault| in_file(path, fault))),
            },
        }
    }
    texts.extend(args.environment.clone());
    for text in &args.overrides {
        match read::override_pair(text) {
            Ok((key, value)) => {
                texts.insert(key, value);
            }
            Err(fault) => faults.push(fault),
        }
    }
    if let Some(connect) = &args.zookeeper {
        texts.insert("zookeeper.connect".to_owned(), connect.clone());
    }
    texts
}

/// What a parser says of a text does not name the file it came from.
fn in_file(path: &Path, fault: Fault) -> Fault {
    Fault {
        reason: format!("{}: {}", path.display(), fault.reason),
        ..fault
    }
}

fn implied(texts: &mut Texts, key: &str, text: impl Into<String>) {
    texts.entry(key.to_owned()).or_insert_with(|| text.into());
}

/// Settings of KRaft: what of them has a counterpart here is taken over, the rest is named once.
fn kraft_shape(texts: &mut Texts, warnings: &mut Vec<Warning>, faults: &mut Vec<Fault>) {
    // Kafka: `KafkaConfig.populateSynonyms`: either id stands for the other.
    match (
        texts.get("broker.id").cloned(),
        texts.get("node.id").cloned(),
    ) {
        (Some(id), None) => implied(texts, "node.id", id),
        (None, Some(id)) => implied(texts, "broker.id", id),
        _ => {}
    }
    let Some(roles) = texts
        .get("process.roles")
        .filter(|roles| !roles.trim().is_empty())
    else {
        return;
    };
    let is = |role: &str| roles.split(',').any(|item| item.trim() == role);
    let (broker, controller) = (is("broker"), is("controller"));
    if texts.contains_key("zookeeper.connect") {
        if broker {
            warnings.push(Warning(
                "process.roles and zookeeper.connect are both set: this broker works with \
                 ZooKeeper, and process.roles is not used."
                    .to_owned(),
            ));
            return;
        }
        faults.push(Fault::between(
            "process.roles",
            "process.roles has no `broker` in it, and a ZooKeeper cluster has no nodes that are \
             controllers only: start one broker less, or take process.roles out.",
        ));
        return;
    }
    let voters = texts
        .get("controller.quorum.voters")
        .map_or("", String::as_str);
    let voters = voters
        .split(',')
        .filter(|voter| !voter.trim().is_empty())
        .count();
    if !broker || !controller || voters > 1 {
        faults.push(Fault::between(
            "process.roles",
            "These settings describe a KRaft cluster of several nodes. Here the cluster's metadata \
             is kept in ZooKeeper: start one coordinator (or a ZooKeeper), give every broker \
             zookeeper.connect=HOST:PORT, and take process.roles and controller.quorum.voters out.",
        ));
        return;
    }
    warnings.push(Warning(
        "process.roles asks for KRaft: this broker starts with an embedded coordinator instead, \
         which keeps the same metadata in ZooKeeper's form; node.id is its broker.id, and the \
         controller listener is accepted and never advertised."
            .to_owned(),
    ));
}

/// Fills in what the kind of node implies. Explicit settings always stay.
fn settle(args: &LoadArgs, texts: &mut Texts, faults: &mut Vec<Fault>) {
    let named = texts.contains_key("zookeeper.connect");
    let asked = texts
        .get("coordinator.enable")
        .map(|text| text.trim().eq_ignore_ascii_case("true"));
    let embedded = asked.unwrap_or(!named);
    if embedded && named {
        faults.push(Fault::between(
            "zookeeper.connect",
            "coordinator.enable=true and zookeeper.connect contradict each other: leave out \
             zookeeper.connect to use the embedded coordinator, or coordinator.enable to use that \
             ZooKeeper.",
        ));
        return;
    }
    if args.file.is_none() && args.environment.is_empty() {
        implied(texts, "listeners", "PLAINTEXT://localhost:9092");
    }
    data_dirs(args, embedded, texts, faults);
    if !embedded {
        return;
    }
    implied(texts, "coordinator.enable", "true");
    let port = texts.get("coordinator.port").map_or("2181", String::as_str);
    let connect = format!("127.0.0.1:{}", port.trim());
    implied(texts, "zookeeper.connect", connect);
    implied(texts, "broker.id", "1");
    let id = texts["broker.id"].clone();
    implied(texts, "node.id", id);
    // A cluster of one: Kafka's 3 would leave every group and every transaction waiting.
    for key in [
        "offsets.topic.replication.factor",
        "transaction.state.log.replication.factor",
        "transaction.state.log.min.isr",
    ] {
        implied(texts, key, "1");
    }
}

/// With a coordinator of its own a node keeps both in one place, side by side; without, the data
/// directory itself holds the logs, as in the common images.
fn data_dirs(args: &LoadArgs, embedded: bool, texts: &mut Texts, faults: &mut Vec<Fault>) {
    let given = ["log.dirs", "log.dir"]
        .iter()
        .find_map(|key| texts.get(*key))
        .cloned();
    if let Some(dir) = &args.data_dir {
        faults.extend(unfit_data_dir(dir, embedded));
        let logs = if embedded {
            dir.join("broker")
        } else {
            dir.clone()
        };
        texts.insert("log.dirs".to_owned(), logs.to_string_lossy().into_owned());
        if embedded {
            let dir = dir.join("coordinator").to_string_lossy().into_owned();
            implied(texts, "coordinator.data.dir", dir);
        }
        return;
    }
    let home = Path::new("data");
    implied_if(given.is_none(), texts, "log.dirs", &home.join("broker"));
    if embedded {
        let dir = match given.as_deref().and_then(|dirs| dirs.split(',').next()) {
            // Never inside a log directory: Apache refuses one with a foreign folder in it.
            Some(first) => PathBuf::from(format!(
                "{}-coordinator",
                first.trim().trim_end_matches('/')
            )),
            None => home.join("coordinator"),
        };
        implied_if(true, texts, "coordinator.data.dir", &dir);
    }
}

/// A directory that could only be mistaken for another one.
fn unfit_data_dir(dir: &Path, embedded: bool) -> Option<Fault> {
    let named = dir.to_str().filter(|name| !name.contains(','));
    if named.is_none() {
        let words = format!(
            "--data-dir {} has a comma in it, or is no UTF-8: choose a name without",
            dir.display()
        );
        return Some(Fault::between("log.dirs", words));
    }
    if !embedded && dir.join("broker").is_dir() && dir.join("coordinator").is_dir() {
        let words = format!(
            "{} holds the data of a broker with an embedded coordinator. Beside a ZooKeeper, the \
             data directory is the log directory itself: --data-dir {} for the same logs",
            dir.display(),
            dir.join("broker").display()
        );
        return Some(Fault::between("log.dirs", words));
    }
    None
}

fn implied_if(when: bool, texts: &mut Texts, key: &str, path: &Path) {
    if when {
        implied(texts, key, path.to_string_lossy());
    }
}

/// Keys that are set away from their default and that nothing here obeys, each kind in one line.
fn idle_keys(texts: &Texts) -> Vec<Warning> {
    let (mut later, mut meaningless) = (Vec::new(), Vec::new());
    for (key, text) in texts {
        let Some(row) = keys::broker_or_listener(key) else {
            continue;
        };
        let default = row.default_value();
        let moved = row.read(text).is_ok_and(|value| value != default);
        match row.state {
            State::Later if moved => later.push(key.as_str()),
            State::NoMeaning(_) if moved => meaningless.push(key.as_str()),
            _ => {}
        }
    }
    // Told by a line of their own.
    later.retain(|key| !matches!(*key, "node.id" | "process.roles"));
    meaningless.retain(|key| !matches!(*key, "node.id" | "process.roles"));
    let mut warnings = Vec::new();
    if !later.is_empty() {
        warnings.push(Warning(format!(
            "Set, and not obeyed yet: {}.",
            later.join(", ")
        )));
    }
    if !meaningless.is_empty() {
        warnings.push(Warning(format!(
            "Set, and without meaning for this broker: {}.",
            meaningless.join(", ")
        )));
    }
    warnings
}

/// The name this machine knows itself by.
fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_with(overrides: &[&str]) -> (Config, Vec<String>) {
        let overrides = overrides.iter().map(|text| (*text).to_owned()).collect();
        let (config, warnings) = Config::load(&LoadArgs {
            overrides,
            ..LoadArgs::default()
        })
        .unwrap();
        (
            config,
            warnings.into_iter().map(|warning| warning.0).collect(),
        )
    }

    fn faults_with(overrides: &[&str]) -> Vec<String> {
        let overrides = overrides.iter().map(|text| (*text).to_owned()).collect();
        let refused = Config::load(&LoadArgs {
            overrides,
            ..LoadArgs::default()
        })
        .unwrap_err();
        refused.faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn with_nothing_said_a_node_is_a_cluster_of_one() {
        let (config, warnings) = load_with(&[]);
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(
            config.listeners.advertised[0].to_string(),
            "PLAINTEXT://localhost:9092"
        );
        let coordinator = config.coordinator.unwrap();
        assert_eq!(
            (coordinator.address.as_str(), coordinator.port),
            ("127.0.0.1", 2181)
        );
        assert_eq!(coordinator.data_dir, Path::new("data/coordinator"));
        assert_eq!(config.logs.dirs, [PathBuf::from("data/broker")]);
        assert_eq!(config.groups.topic_replication_factor, 1);
        assert_eq!(config.transactions.topic_replication_factor, 1);
        assert_eq!(config.transactions.topic_min_isr, 1);
        assert_eq!(config.zookeeper.connect, "127.0.0.1:2181");
    }

    #[test]
    fn a_named_zookeeper_takes_the_coordinators_place_and_kafkas_defaults_back() {
        let (config, _) = load_with(&["zookeeper.connect=zk:2181/kafka"]);
        assert_eq!(config.coordinator, None);
        assert_eq!(config.groups.topic_replication_factor, 3);
        assert_eq!(config.identity.broker_id, None);
        assert!(!faults_with(&["zookeeper.connect=zk:2181", "coordinator.enable=true"]).is_empty());
    }

    #[test]
    fn a_data_directory_holds_both_or_the_logs_alone() {
        let args = LoadArgs {
            data_dir: Some("/d".into()),
            ..LoadArgs::default()
        };
        let (config, _) = Config::load(&args).unwrap();
        assert_eq!(config.logs.dirs, [PathBuf::from("/d/broker")]);
        assert_eq!(
            config.coordinator.unwrap().data_dir,
            Path::new("/d/coordinator")
        );
        let args = LoadArgs {
            zookeeper: Some("zk:2181".into()),
            ..args
        };
        assert_eq!(
            Config::load(&args).unwrap().0.logs.dirs,
            [PathBuf::from("/d")]
        );
        let (config, _) = load_with(&["log.dirs=/tmp/kafka-logs,/x"]);
        assert_eq!(
            config.coordinator.unwrap().data_dir,
            Path::new("/tmp/kafka-logs-coordinator")
        );
    }

    #[test]
    fn settings_in_the_shape_of_kraft_start_a_broker_with_its_own_coordinator() {
        let (config, warnings) = load_with(&[
            "process.roles=broker,controller",
            "node.id=7",
            "cluster.id=MkU3OEVBNTcwNTJENDM2Qk",
            "controller.quorum.voters=7@localhost:9093",
            "controller.listener.names=CONTROLLER",
            "listeners=PLAINTEXT://:9092,CONTROLLER://:9093",
            "advertised.listeners=PLAINTEXT://localhost:9092",
        ]);
        assert_eq!(config.identity.broker_id, Some(protocol::ids::BrokerId(7)));
        assert_eq!(
            config.identity.cluster_id.as_deref(),
            Some("MkU3OEVBNTcwNTJENDM2Qk")
        );
        assert_eq!(config.listeners.bound.len(), 1);
        assert_eq!(config.listeners.advertised.len(), 1);
        assert!(config.coordinator.is_some());
        assert!(warnings[0].contains("embedded coordinator"), "{warnings:?}");
        let faults = faults_with(&["process.roles=broker", "node.id=1"]);
        assert!(
            faults[0].contains("zookeeper.connect=HOST:PORT"),
            "{faults:?}"
        );
    }

    #[test]
    fn unknown_keys_warn_and_bad_overrides_are_faults() {
        let (_, warnings) = load_with(&["num.partition=3"]);
        assert!(
            warnings[0].contains("did you mean `num.partitions`?"),
            "{warnings:?}"
        );
        assert_eq!(faults_with(&["num.partitions"]).len(), 1);
    }
}
