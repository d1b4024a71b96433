//! Settings from environment variables, as the common container images take them.
//!
//! `KAFKA_` and the key in capitals: `_` is a dot, `__` a hyphen, `___` an underscore. Variables
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

/// The key that a variable's name means. Names of the table that carry capitals come back so.
fn spelled(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let key = lower
        .replace("___", "\u{1}")
        .replace("__", "-")
        .replace('_', ".")
        .replace('\u{1}', "_");
    keys::broker_rows()
        .map(|row| row.name)
        .find(|known| known.eq_ignore_ascii_case(&key))
        .map_or(key, str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn underscores_are_dots_hyphens_and_underscores() {
        let variables = [
            ("KAFKA_NUM_PARTITIONS", "3"),
            (
                "KAFKA_LISTENER_NAME_SASL___SSL_SCRAM__SHA__256_SASL_JAAS_CONFIG",
                "x",
            ),
            ("KAFKA_ZOOKEEPER_CLIENTCNXNSOCKET", "c"),
            ("KAFKA_HEAP_OPTS", "-Xmx1g"),
            ("CLUSTER_ID", "abc"),
            ("PATH", "/bin"),
        ];
        let (texts, warnings) = read(variables.iter().map(|(k, v)| ((*k).into(), (*v).into())));
        let got: Vec<_> = texts.keys().map(String::as_str).collect();
        assert_eq!(
            got,
            [
                "cluster.id",
                "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config",
                "num.partitions",
                "zookeeper.clientCnxnSocket",
            ]
        );
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].0.contains("KAFKA_HEAP_OPTS"));
    }
}
