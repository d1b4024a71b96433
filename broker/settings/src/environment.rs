//! Settings from environment variables, as the common container images take them.
//!
//! `KAFKA_` and the key in capitals: `_` is a dot, `__` an underscore, `___` a hyphen. Variables
//! of the Java machine and of the images' own scripts are accepted and named once as meaningless.
//! What is no UTF-8 is refused where it would be a setting, and passed over where it is not ours.

use std::ffi::{OsStr, OsString};

use crate::keys;
use crate::layers::Texts;
use crate::read::Warning;
use crate::value::Fault;

/// Variables that begin with `KAFKA_` and are no keys: they steer the Java machine or the images.
const NOT_KEYS: [&str; 11] = [
    "KAFKA_HEAP_OPTS",
    "KAFKA_OPTS",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
    "KAFKA_DEBUG",
    "KAFKA_PORT",
    "KAFKA_HOME",
    "KAFKA_VERSION",
    "KAFKA_CLUSTERS",
    "KAFKA_CREATE_TOPICS",
];

/// How others of their kind begin.
const IDLE_BEGINNINGS: [&str; 3] = ["KAFKA_JMX_", "KAFKA_LOG4J_", "KAFKA_JAVA_"];

/// What the variables say.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    pub texts: Texts,
    /// The ZooKeeper was named by `ZOOKEEPER_HOSTS`, the short way to try a broker out.
    pub by_hosts: bool,
    pub warnings: Vec<Warning>,
    pub faults: Vec<Fault>,
}

/// The keys that `variables` set.
pub fn read(variables: impl Iterator<Item = (OsString, OsString)>) -> Environment {
    let mut read = Environment::default();
    let mut idle = Vec::new();
    let mut hosts = None;
    for (name, value) in variables {
        let Some(name) = name.to_str() else {
            if begins_as_ours(&name) {
                read.faults.push(not_utf8(&name.to_string_lossy()));
            }
            continue;
        };
        match (key(name), value.into_string()) {
            (None, _) => {}
            (Some(Key::Idle), _) => idle.push(name.to_owned()),
            (Some(_), Err(_)) => read.faults.push(not_utf8(name)),
            (Some(Key::Of(key)), Ok(value)) => read.take(key, value, name),
            (Some(Key::Hosts), Ok(value)) => {
                hosts = Some(value).filter(|value| !value.trim().is_empty());
            }
        }
    }
    if let Some(hosts) = hosts {
        read.zookeeper(hosts);
    }
    idle.sort();
    if !idle.is_empty() {
        read.warnings.push(Warning(format!(
            "These variables steer a Java machine or an image's scripts and mean nothing here: {}.",
            idle.join(", ")
        )));
    }
    read
}

impl Environment {
    /// Several names may mean one key, and come in no order.
    fn take(&mut self, key: String, value: String, name: &str) {
        if value.is_empty() && self.texts.contains_key(&key) {
            return;
        }
        if let Some(other) = self.texts.insert(key.clone(), value.clone())
            && !other.is_empty()
            && other != value
        {
            let words = format!(
                "{name} and another variable set {key}, one to {value} and one to {other}. Leave one \
                 of them out."
            );
            self.faults.push(Fault::between(&key, words));
        }
    }

    /// `ZOOKEEPER_HOSTS` is `zookeeper.connect` by another name.
    fn zookeeper(&mut self, hosts: String) {
        let key = "zookeeper.connect";
        self.by_hosts = true;
        match self.texts.get(key) {
            Some(named) if !named.is_empty() && *named != hosts => {
                self.faults.push(Fault::between(
                    key,
                    format!(
                        "ZOOKEEPER_HOSTS={hosts} and KAFKA_ZOOKEEPER_CONNECT={named} name different \
                         ZooKeepers. Leave one of them out."
                    ),
                ));
            }
            _ => drop(self.texts.insert(key.to_owned(), hosts)),
        }
    }
}

/// What a variable is about.
enum Key {
    Of(String),
    /// `ZOOKEEPER_HOSTS`.
    Hosts,
    /// Nothing here.
    Idle,
}

/// `None`: the variable is somebody else's.
fn key(name: &str) -> Option<Key> {
    Some(match name {
        "CLUSTER_ID" => Key::Of("cluster.id".to_owned()),
        "ZOOKEEPER_HOSTS" => Key::Hosts,
        "JMX_PORT" | "EXTRA_ARGS" => Key::Idle,
        _ if NOT_KEYS.contains(&name) => Key::Idle,
        _ if IDLE_BEGINNINGS.iter().any(|begin| name.starts_with(begin)) => Key::Idle,
        // Where an orchestrator's service called kafka is.
        _ if name.starts_with("KAFKA_SERVICE_") || name.starts_with("KAFKA_PORT_") => return None,
        _ => Key::Of(spelled(
            name.strip_prefix("KAFKA_")
                .filter(|rest| !rest.is_empty())?,
        )),
    })
}

fn begins_as_ours(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"KAFKA_")
}

fn not_utf8(name: &str) -> Fault {
    let words = format!(
        "The environment variable {name} is not UTF-8: write its name and its value in UTF-8, or \
         unset it."
    );
    Fault::between("", words)
}

/// The key that a variable's name means. Where the table's own name has capitals inside a word, the
/// variable may have it as one word or as several: `zookeeper.clientCnxnSocket`.
///
/// Kafka: `KafkaDockerWrapper.getServerConfigsFromEnv`. The scripts of Confluent's image do the
/// same; its manual, which tells the two long forms the other way round, is wrong.
fn spelled(name: &str) -> String {
    let key = name
        .to_ascii_lowercase()
        .replace("___", "-")
        .replace("__", "\u{1}")
        .replace('_', ".")
        .replace('\u{1}', "_");
    let run_on = |key: &str| key.replace('.', "").to_ascii_lowercase();
    let wanted = run_on(&key);
    keys::broker_rows()
        .map(|row| row.name)
        .filter(|known| known.contains(|letter: char| letter.is_ascii_uppercase()))
        .find(|known| run_on(known) == wanted)
        .map_or(key, str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn keys_of(variables: &[(&str, &str)]) -> (Vec<String>, Vec<Warning>) {
        let pairs = variables.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        let Environment {
            texts, warnings, ..
        } = read(pairs);
        (texts.into_keys().collect(), warnings)
    }

    #[test]
    fn underscores_are_dots_underscores_and_hyphens() {
        let (keys, warnings) = keys_of(&[
            ("KAFKA_NUM_PARTITIONS", "3"),
            (
                "KAFKA_LISTENER_NAME_SASL__SSL_SCRAM___SHA___256_SASL_JAAS_CONFIG",
                "x",
            ),
            ("KAFKA_NO__SUCH___KEY", "x"),
            ("KAFKA_HEAP_OPTS", "-Xmx1g"),
            ("KAFKA_OPTS", "-ea"),
            ("CLUSTER_ID", "abc"),
            ("PATH", "/bin"),
        ]);
        assert_eq!(
            keys,
            [
                "cluster.id",
                "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config",
                "no_such-key",
                "num.partitions",
            ]
        );
        assert_eq!(warnings.len(), 1, "named once, together");
        assert!(warnings[0].0.contains("KAFKA_HEAP_OPTS, KAFKA_OPTS"));
    }

    #[test]
    fn what_orchestrators_and_images_leave_behind_is_no_setting() {
        let (keys, warnings) = keys_of(&[
            ("KAFKA_PORT", "tcp://10.0.0.1:9092"),
            ("KAFKA_PORT_9092_TCP", "tcp://10.0.0.1:9092"),
            ("KAFKA_SERVICE_HOST", "10.0.0.1"),
            ("KAFKA_LOG4J_CONFIG_FILE", "/log4j"),
            ("KAFKA_JAVA_OPTS", "-ea"),
        ]);
        assert_eq!(keys, [""; 0]);
        assert!(
            warnings[0]
                .0
                .ends_with(": KAFKA_JAVA_OPTS, KAFKA_LOG4J_CONFIG_FILE, KAFKA_PORT.")
        );
    }

    #[test]
    fn two_variables_for_one_key_must_agree() {
        let of = |one: &str, other: &str| {
            let pairs = [("CLUSTER_ID", one), ("KAFKA_CLUSTER_ID", other)];
            read(
                pairs
                    .into_iter()
                    .map(|(name, text)| (name.into(), text.into())),
            )
        };
        assert!(
            of("a", "b").faults[0]
                .to_string()
                .contains("Leave one of them out")
        );
        for (one, other) in [("a", "a"), ("a", ""), ("", "a")] {
            let read = of(one, other);
            assert_eq!(read.texts["cluster.id"], "a");
            assert_eq!(read.faults, []);
        }
    }

    #[test]
    fn a_key_with_capitals_inside_is_found_as_one_word_and_as_several() {
        for name in [
            "KAFKA_ZOOKEEPER_CLIENTCNXNSOCKET",
            "KAFKA_ZOOKEEPER_CLIENT_CNXN_SOCKET",
        ] {
            assert_eq!(keys_of(&[(name, "c")]).0, ["zookeeper.clientCnxnSocket"]);
        }
    }

    #[test]
    fn what_is_no_utf8_is_refused_by_name_and_passed_over_where_it_is_not_ours() {
        let broken = || OsString::from_vec(b"caf\xe9".to_vec());
        let read = read(
            [
                ("KAFKA_LOG_DIRS".into(), broken()),
                (OsString::from_vec(b"KAFKA_\xff".to_vec()), "x".into()),
                ("KAFKA_OPTS".into(), broken()),
                ("KAFKA_".into(), "x".into()),
                ("LS_COLORS".into(), broken()),
                (broken(), "x".into()),
                ("KAFKA_BROKER_ID".into(), "3".into()),
            ]
            .into_iter(),
        );
        let faults: Vec<String> = read.faults.iter().map(ToString::to_string).collect();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("variable KAFKA_LOG_DIRS is not UTF-8"));
        assert!(faults[1].contains("variable KAFKA_\u{fffd} is not UTF-8"));
        assert_eq!(read.texts.len(), 1);
        assert_eq!(read.warnings.len(), 1, "KAFKA_OPTS means nothing anyway");
    }

    #[test]
    fn a_zookeeper_has_one_name() {
        let of = |pairs: &[(&str, &str)]| {
            read(
                pairs
                    .iter()
                    .map(|(name, text)| ((*name).into(), (*text).into())),
            )
        };
        let one = of(&[("ZOOKEEPER_HOSTS", "a:1")]);
        assert_eq!(one.texts["zookeeper.connect"], "a:1");
        assert!(one.by_hosts && one.faults.is_empty());
        assert!(!of(&[("ZOOKEEPER_HOSTS", "")]).by_hosts);
        let same = of(&[
            ("KAFKA_ZOOKEEPER_CONNECT", "a:1"),
            ("ZOOKEEPER_HOSTS", "a:1"),
        ]);
        assert!(same.faults.is_empty());
        let two = of(&[
            ("ZOOKEEPER_HOSTS", "a:1"),
            ("KAFKA_ZOOKEEPER_CONNECT", "b:1"),
        ]);
        assert!(two.faults[0].to_string().contains("Leave one of them out"));
    }
}
