//! Settings from environment variables, as the common container images take them.
//!
//! `KAFKA_` and the key in capitals: `_` is a dot, `__` an underscore, `___` a hyphen. Variables
//! of the Java machine and of the images' own scripts are accepted and named once as meaningless.

use crate::keys;
use crate::layers::Texts;
use crate::read::Warning;

/// Variables that begin with `KAFKA_` and are no keys: they steer the Java machine or the images.
const NOT_KEYS: [&str; 16] = [
    "KAFKA_HEAP_OPTS",
    "KAFKA_OPTS",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_JMX_OPTS",
    "KAFKA_JMX_PORT",
    "KAFKA_JMX_HOSTNAME",
    "KAFKA_LOG4J_OPTS",
    "KAFKA_LOG4J_LOGGERS",
    "KAFKA_LOG4J_ROOT_LOGLEVEL",
    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
    "KAFKA_DEBUG",
    "KAFKA_HOME",
    "KAFKA_VERSION",
    "KAFKA_CLUSTERS",
    "KAFKA_CREATE_TOPICS",
];

/// The keys that `variables` set.
pub fn read(variables: impl Iterator<Item = (String, String)>) -> (Texts, Vec<Warning>) {
    let mut texts = Texts::new();
    let mut idle = Vec::new();
    for (name, value) in variables {
        match name.as_str() {
            "CLUSTER_ID" => {
                texts.insert("cluster.id".to_owned(), value);
            }
            "ZOOKEEPER_HOSTS" => {
                texts.entry("zookeeper.connect".to_owned()).or_insert(value);
            }
            "JMX_PORT" | "EXTRA_ARGS" => idle.push(name),
            _ if NOT_KEYS.contains(&name.as_str()) => idle.push(name),
            _ => {
                if let Some(key) = name.strip_prefix("KAFKA_").filter(|rest| !rest.is_empty()) {
                    texts.insert(spelled(key), value);
                }
            }
        }
    }
    idle.sort();
    let warnings = if idle.is_empty() {
        Vec::new()
    } else {
        vec![Warning(format!(
            "These variables steer a Java machine or an image's scripts and mean nothing here: {}.",
            idle.join(", ")
        ))]
    };
    (texts, warnings)
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
    use super::*;

    fn keys_of(variables: &[(&str, &str)]) -> (Vec<String>, Vec<Warning>) {
        let pairs = variables.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        let (texts, warnings) = read(pairs);
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
    fn a_key_with_capitals_inside_is_found_as_one_word_and_as_several() {
        for name in [
            "KAFKA_ZOOKEEPER_CLIENTCNXNSOCKET",
            "KAFKA_ZOOKEEPER_CLIENT_CNXN_SOCKET",
        ] {
            assert_eq!(keys_of(&[(name, "c")]).0, ["zookeeper.clientCnxnSocket"]);
        }
    }
}
