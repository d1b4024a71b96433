//! From a command line, the environment and a file to one checked configuration.
//!
//! Later ones win: file < environment < `--override` < `--zookeeper`, `--data-dir`. What they
//! leave open is then settled for the kind of node this is: one with a coordinator of its own
//! (nobody named a ZooKeeper) or a member of a cluster. Settings in the shape of KRaft start the
//! former, and say so. In a container its volume and its address imply more: [`container`].

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use settings::environment::Environment;
use settings::keys;
use settings::layers::{Layers, Texts};
use settings::read::{self, Format, Warning};
use settings::row::State;
use settings::value::{Fault, Kind};

use crate::config::{Config, container, fixes, folders};

/// What the operator gave.
#[derive(Clone, Debug, Default)]
pub struct LoadArgs {
    pub file: Option<PathBuf>,
    pub environment: Environment,
    /// `key=value`, in the order given.
    pub overrides: Vec<String>,
    /// `host:port[,…][/chroot]`; without an embedded coordinator then.
    pub zookeeper: Option<String>,
    pub data_dir: Option<PathBuf>,
    /// Where a container keeps everything: [`container`].
    pub volume: Option<PathBuf>,
}

/// A [`Config`], with what is told of it at the start.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Warning>,
    /// Advice to whoever starts a container; nothing is wrong.
    pub notices: Vec<String>,
}

/// Why there is no [`Config`], with what would have been warned of beside.
#[derive(Clone, Debug)]
pub struct Refused {
    pub faults: Vec<Fault>,
    pub warnings: Vec<Warning>,
}

/// A file of settings is text that somebody wrote; anything larger is a mistake.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Reads files, flags and defaults; every fault of all of them at once.
pub fn load(args: &LoadArgs) -> Result<Loaded, Refused> {
    let mut faults = args.environment.faults.clone();
    let host_name = host_name();
    let Gathered { mut texts, notices } = gather(args, &host_name, &mut faults);
    let mut warnings = args.environment.warnings.clone();
    warnings.extend(read::unknown_keys(&texts));
    kraft_shape(&mut texts, &mut warnings, &mut faults);
    warnings.extend(idle_keys(&texts));
    settle(args, &mut texts, &mut faults);
    warnings.extend(too_many_copies(&texts));
    faults.extend(folders::shared(&texts));
    let given = texts.clone();
    let refused = |mut faults: Vec<Fault>, warnings| {
        let fixes = fixes::of(&given, &faults, &host_name);
        faults.iter_mut().for_each(|fault| quote(fault, &given));
        faults.extend(fixes);
        Err(Refused { faults, warnings })
    };
    let layers = Layers {
        file: texts,
        ..Layers::default()
    };
    match Config::from_layers(layers, &host_name) {
        Ok(config) => {
            faults.extend(one_port(&config));
            if faults.is_empty() {
                return Ok(Loaded {
                    config,
                    warnings,
                    notices,
                });
            }
            refused(faults, warnings)
        }
        Err(more) => {
            faults.extend(more);
            refused(faults, warnings)
        }
    }
}

/// Kafka's words alone may leave open what was read, and where.
fn quote(fault: &mut Fault, texts: &Texts) {
    let Some(text) = texts.get(&fault.key).filter(|_| fault.value.is_none()) else {
        return;
    };
    let secret = keys::broker_or_listener(&fault.key).is_some_and(|row| row.kind == Kind::Password);
    let told = fault.reason.contains(&fault.key) && fault.reason.contains(text.as_str());
    if !secret && !told {
        fault.reason = format!("{} ({}={text})", fault.reason, fault.key);
    }
}

/// Both servers of this program on one port: the second would take the first for a stranger.
fn one_port(config: &Config) -> Option<Fault> {
    let port = config.coordinator.as_ref()?.port;
    let shared = config
        .listeners
        .bound
        .iter()
        .find(|it| it.port == port && port != 0)?;
    let words = format!(
        "the embedded coordinator (coordinator.port) and the listener {shared} have the same port: \
         give one of them another"
    );
    Some(Fault::between("coordinator.port", words))
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

/// What everybody said, the last word on each key, and advice.
struct Gathered {
    texts: Texts,
    notices: Vec<String>,
}

fn gather(args: &LoadArgs, host_name: &str, faults: &mut Vec<Fault>) -> Gathered {
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
                Ok(found) if found.contains_key("-") => faults.push(Fault::between(
                    "",
                    format!(
                        "{} looks like YAML, and is read as properties because of its name: call it \
                         .yaml or .yml",
                        path.display()
                    ),
                )),
                Ok(found) => texts = found,
                Err(more) => faults.extend(more.into_iter().map(|fault| in_file(path, fault))),
            },
        }
    }
    let mut last = Texts::new();
    for text in &args.overrides {
        match read::override_pair(text) {
            Ok((key, value)) => {
                last.insert(key, value);
            }
            Err(fault) => faults.push(fault),
        }
    }
    if let Some(connect) = &args.zookeeper {
        last.insert("zookeeper.connect".to_owned(), connect.clone());
    }
    let mut notices = Vec::new();
    let variables = match &args.volume {
        None => {
            notices.extend(from_variables(&args.environment.texts));
            args.environment.texts.clone()
        }
        Some(volume) => {
            let mut told = texts.clone();
            told.extend(last.clone());
            let settled = container::settle(volume, args, &told, host_name);
            notices = settled.notices;
            settled.texts
        }
    };
    texts.extend(variables);
    texts.extend(last);
    if args.zookeeper.is_some() {
        // Instead of a coordinator of our own, whatever was said of that before.
        texts.remove("coordinator.enable");
    }
    Gathered { texts, notices }
}

/// A shell's variables are out of sight, and count over what a file says.
fn from_variables(texts: &Texts) -> Option<String> {
    let keys: Vec<&str> = texts
        .keys()
        .map(String::as_str)
        .filter(|key| keys::broker_or_listener(key).is_some())
        .collect();
    (!keys.is_empty()).then(|| format!("set by environment variables: {}", keys.join(", ")))
}

/// What a parser says of a text does not name the file it came from.
fn in_file(path: &Path, fault: Fault) -> Fault {
    Fault {
        reason: format!("{}: {}", path.display(), fault.reason),
        ..fault
    }
}

fn is_number(text: &str) -> bool {
    text.trim().parse::<i32>().is_ok()
}

fn implied(texts: &mut Texts, key: &str, text: impl Into<String>) {
    texts.entry(key.to_owned()).or_insert_with(|| text.into());
}

/// What the controllers' listener is called wherever somebody writes one.
const CONTROLLER: &str = "CONTROLLER";

/// Settings of KRaft: what of them has a counterpart here is taken over, the rest is named once.
fn kraft_shape(texts: &mut Texts, warnings: &mut Vec<Warning>, faults: &mut Vec<Fault>) {
    // Kafka: `KafkaConfig.populateSynonyms`: either id stands for the other.
    match (
        texts.get("broker.id").cloned(),
        texts.get("node.id").cloned(),
    ) {
        // What is no number is one mistake, not two.
        (Some(id), None) if is_number(&id) => implied(texts, "node.id", id),
        (None, Some(id)) if is_number(&id) => implied(texts, "broker.id", id),
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
                "process.roles and zookeeper.connect (or ZOOKEEPER_HOSTS) are both set: this broker \
                 works with that ZooKeeper, and process.roles is not used. Leave one of them out."
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
    let voters: Vec<&str> = voters
        .split(',')
        .map(str::trim)
        .filter(|voter| !voter.is_empty())
        .collect();
    let own = texts.get("node.id").map_or("", |id| id.trim());
    let is_another = |voter: &&str| voter.split_once('@').is_some_and(|(id, _)| id != own);
    if !broker || !controller || voters.len() > 1 || voters.iter().any(is_another) {
        faults.push(Fault::between(
            "process.roles",
            "These settings describe a KRaft cluster of several nodes. Here the cluster's metadata \
             is kept in ZooKeeper: start one coordinator (or a ZooKeeper), give every broker \
             zookeeper.connect=HOST:PORT, and take process.roles and controller.quorum.voters out.",
        ));
        return;
    }
    // Kafka: with KRaft no id is generated, and so none is reserved.
    implied(texts, "broker.id.generation.enable", "false");
    let named_so = |item: &str| {
        item.split_once("://")
            .is_some_and(|(name, _)| name.trim() == CONTROLLER)
    };
    if texts
        .get("listeners")
        .is_some_and(|listeners| listeners.split(',').any(named_so))
    {
        implied(texts, "controller.listener.names", CONTROLLER);
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
    // Kafka's own default is every address of the machine: for whoever wrote a file, or a container.
    let tried_out = args.file.is_none() && args.volume.is_none();
    if tried_out && !texts.contains_key("advertised.listeners") {
        implied(texts, "listeners", "PLAINTEXT://localhost:9092");
    }
    data_dirs(args, embedded, texts, faults);
    one_copy(texts);
    if !embedded {
        return;
    }
    implied(texts, "coordinator.enable", "true");
    let port = texts.get("coordinator.port").map(|text| text.trim());
    // A port that is none is told of as itself.
    let port = port.filter(|text| text.parse::<u16>().is_ok());
    let connect = format!("127.0.0.1:{}", port.unwrap_or("2181"));
    implied(texts, "zookeeper.connect", connect);
    if !texts.contains_key("node.id") {
        implied(texts, "broker.id", "1");
        let id = texts["broker.id"].clone();
        if is_number(&id) {
            implied(texts, "node.id", id);
        }
    }
}

/// A cluster of one has no more, and until followers copy records no cluster has: Kafka's 3 would
/// leave every group and every transaction waiting.
const COPIES: [&str; 3] = [
    "offsets.topic.replication.factor",
    "transaction.state.log.replication.factor",
    "transaction.state.log.min.isr",
];

fn one_copy(texts: &mut Texts) {
    for key in COPIES {
        implied(texts, key, "1");
    }
}

/// Whoever asks for more all the same learns it now, not when the first group waits for ever.
fn too_many_copies(texts: &Texts) -> Option<Warning> {
    let asked: Vec<String> = COPIES
        .iter()
        .chain(&["default.replication.factor"])
        .filter_map(|key| Some((key, texts.get(*key)?)))
        .filter(|(_, text)| text.trim().parse::<i16>().is_ok_and(|copies| copies > 1))
        .map(|(key, text)| format!("{key}={text}"))
        .collect();
    (!asked.is_empty()).then(|| {
        Warning(format!(
            "{}: brokers do not copy each other's records yet, and a topic that asks for more than \
             one copy is refused; groups and transactions would wait for theirs for ever. Leave it \
             out, or set 1.",
            asked.join(", ")
        ))
    })
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
            texts.insert("coordinator.data.dir".to_owned(), dir);
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
    fn a_variable_of_the_users_shell_opens_no_port_to_the_network() {
        let started = |variables: &[(&str, &str)]| {
            let variables = variables
                .iter()
                .map(|(name, text)| (name.into(), text.into()));
            load(&LoadArgs {
                environment: settings::environment::read(variables),
                ..LoadArgs::default()
            })
            .unwrap()
        };
        let loaded = started(&[("KAFKA_TOPIC", "x"), ("KAFKA_NUM_PARTITIONS", "3")]);
        let bound = &loaded.config.listeners.bound[0];
        assert_eq!(bound.to_string(), "PLAINTEXT://localhost:9092");
        assert_eq!(
            loaded.notices,
            ["set by environment variables: num.partitions"]
        );
        let loaded = started(&[("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT://box:9092")]);
        assert_eq!(loaded.config.listeners.bound[0].host, "");
    }

    #[test]
    fn more_copies_than_there_can_be_are_told_at_the_start() {
        let (_, warnings) = load_with(
            &[COPIES[0], "default.replication.factor"]
                .map(|key| format!("{key}=3"))
                .each_ref()
                .map(String::as_str),
        );
        let told = "offsets.topic.replication.factor=3, default.replication.factor=3:";
        assert!(warnings[0].starts_with(told), "{warnings:?}");
        assert_eq!(
            load_with(&["offsets.topic.replication.factor=1"]).1,
            [""; 0]
        );
    }

    #[test]
    fn a_named_zookeeper_takes_the_coordinators_place() {
        let (config, _) = load_with(&["zookeeper.connect=zk:2181/kafka"]);
        assert_eq!(config.coordinator, None);
        assert_eq!(config.groups.topic_replication_factor, 1);
        assert_eq!(config.identity.broker_id, None);
        assert!(!faults_with(&["zookeeper.connect=zk:2181", "coordinator.enable=true"]).is_empty());
    }

    #[test]
    fn one_mistake_is_told_once() {
        for (wrong, key) in [
            ("broker.id=abc", "broker.id"),
            ("coordinator.port=80000", "coordinator.port"),
        ] {
            let faults = faults_with(&[wrong]);
            assert!(faults.len() == 1 && faults[0].contains(key), "{faults:?}");
        }
    }

    #[test]
    fn the_command_line_wins_over_what_a_file_says_of_the_same() {
        let args = LoadArgs {
            data_dir: Some("/d".into()),
            overrides: vec!["coordinator.data.dir=/elsewhere".to_owned()],
            ..LoadArgs::default()
        };
        let (config, _) = Config::load(&args).unwrap();
        let coordinator = config.coordinator.unwrap();
        assert_eq!(coordinator.data_dir, Path::new("/d/coordinator"));
        let args = LoadArgs {
            zookeeper: Some("zk:2181".into()),
            overrides: vec!["coordinator.enable=true".to_owned()],
            ..LoadArgs::default()
        };
        assert_eq!(Config::load(&args).unwrap().0.coordinator, None);
    }

    #[test]
    fn a_coordinator_among_the_logs_is_refused() {
        let faults = faults_with(&["log.dirs=/d", "coordinator.data.dir=/d"]);
        assert!(faults[0].contains("beside it"), "{faults:?}");
    }

    #[test]
    fn faults_between_keys_are_told_beside_all_others_with_key_and_value() {
        let faults = faults_with(&[
            "log.dirs=x,x",
            "num.partitions=abc",
            "zookeeper.connect=localhost:notaport",
            "log.roll.ms=0",
        ]);
        for told in [
            "named twice (log.dirs=x,x)",
            "abc for configuration num.partitions",
            "(zookeeper.connect=localhost:notaport)",
            "(log.roll.ms=0)",
        ] {
            assert!(
                faults.iter().any(|fault| fault.contains(told)),
                "{told} in {faults:?}"
            );
        }
    }

    #[test]
    fn the_coordinator_has_a_port_of_its_own() {
        let faults = faults_with(&[
            "listeners=PLAINTEXT://localhost:9092",
            "coordinator.port=9092",
        ]);
        assert!(faults[0].contains("have the same port"), "{faults:?}");
    }

    #[test]
    fn yaml_by_another_name_is_told_to_be_yaml() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("b.conf");
        std::fs::write(&file, "- broker.id: 1\n").unwrap();
        let args = LoadArgs {
            file: Some(file),
            ..LoadArgs::default()
        };
        let faults = load(&args).unwrap_err().faults;
        assert!(
            faults[0].to_string().contains("looks like YAML"),
            "{faults:?}"
        );
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
    fn an_id_of_krafts_may_be_large_and_its_controllers_listener_need_not_be_named_twice() {
        let shape = ["process.roles=broker,controller", "node.id=3000"];
        let listeners = "listeners=PLAINTEXT://:9092,CONTROLLER://:9093";
        let map = "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT";
        let voter = "controller.quorum.voters=3000@localhost:9093";
        let (config, _) = load_with(&[shape[0], shape[1], listeners, map, voter]);
        assert_eq!(
            config.identity.broker_id,
            Some(protocol::ids::BrokerId(3000))
        );
        assert_eq!(config.listeners.bound.len(), 1);
        assert_eq!(config.listeners.advertised.len(), 1);
        let faults = faults_with(&[shape[0], shape[1], "controller.quorum.voters=2@a:9093"]);
        assert!(faults[0].contains("several nodes"), "{faults:?}");
    }

    #[test]
    fn on_a_volume_beside_zookeeper_hosts_one_copy_is_enough_and_nothing_is_warned_of() {
        let volume = tempfile::tempdir().unwrap();
        let hosts = [("ZOOKEEPER_HOSTS".into(), "zk:2181".into())];
        let args = LoadArgs {
            environment: settings::environment::read(hosts.into_iter()),
            volume: Some(volume.path().to_owned()),
            ..LoadArgs::default()
        };
        let loaded = load(&args).unwrap();
        assert_eq!(loaded.warnings, []);
        assert_eq!(loaded.notices.len(), 1);
        assert_eq!(loaded.config.groups.topic_replication_factor, 1);
        assert_eq!(loaded.config.transactions.topic_min_isr, 1);
        assert_eq!(loaded.config.logs.dirs, [volume.path()]);
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
