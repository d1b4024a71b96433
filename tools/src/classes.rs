//! `kafka-run-class`: a tool by the Java class it is in Kafka, with the script's own flags before it.

use crate::failure::Failure;

/// The classes people call by name.
const CLASSES: &[(&str, &str)] = &[
    ("kafka.tools.GetOffsetShell", "get-offsets"),
    ("org.apache.kafka.tools.GetOffsetShell", "get-offsets"),
    ("kafka.tools.DumpLogSegments", "dump-log"),
    ("kafka.admin.TopicCommand", "topics"),
    ("org.apache.kafka.tools.TopicCommand", "topics"),
    ("kafka.admin.ConfigCommand", "configs"),
    ("kafka.admin.ConsumerGroupCommand", "consumer-groups"),
    (
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        "consumer-groups",
    ),
    (
        "kafka.admin.BrokerApiVersionsCommand",
        "broker-api-versions",
    ),
    ("kafka.admin.LeaderElectionCommand", "leader-election"),
    (
        "org.apache.kafka.tools.LeaderElectionCommand",
        "leader-election",
    ),
    ("kafka.admin.LogDirsCommand", "log-dirs"),
    ("org.apache.kafka.tools.LogDirsCommand", "log-dirs"),
    ("kafka.admin.DeleteRecordsCommand", "delete-records"),
    (
        "org.apache.kafka.tools.DeleteRecordsCommand",
        "delete-records",
    ),
    (
        "kafka.admin.PreferredReplicaLeaderElectionCommand",
        "preferred-replica-election",
    ),
    ("kafka.tools.ConsoleProducer", "console-producer"),
    ("kafka.tools.ConsoleConsumer", "console-consumer"),
    (
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
        "console-consumer",
    ),
    ("kafka.tools.ClusterTool", "cluster"),
    ("org.apache.kafka.tools.ClusterTool", "cluster"),
    ("kafka.tools.StorageTool", "storage"),
    ("org.apache.kafka.tools.FeatureCommand", "features"),
    (
        "org.apache.kafka.tools.ProducerPerformance",
        "producer-perf-test",
    ),
    ("kafka.tools.ConsumerPerformance", "consumer-perf-test"),
    (
        "org.apache.kafka.tools.ConsumerPerformance",
        "consumer-perf-test",
    ),
    (
        "org.apache.kafka.tools.VerifiableProducer",
        "verifiable-producer",
    ),
    (
        "org.apache.kafka.tools.VerifiableConsumer",
        "verifiable-consumer",
    ),
    ("kafka.Kafka", "server-start"),
    (
        "org.apache.zookeeper.server.quorum.QuorumPeerMain",
        "zookeeper-server-start",
    ),
    ("org.apache.zookeeper.ZooKeeperMain", "zkCli"),
    (
        "org.apache.zookeeper.ZooKeeperMainWithTlsSupportForKafka",
        "zkCli",
    ),
];

/// A tool that is asked for by its class.
pub(crate) struct Asked<'a> {
    pub(crate) tool: &'static str,
    pub(crate) line: &'a [String],
    /// With `-daemon`: the name its output is kept under.
    pub(crate) in_background: Option<String>,
}

/// What stands before the class.
#[derive(Debug, Default, PartialEq)]
struct Flags {
    daemon: bool,
    name: Option<String>,
}

fn usage() -> Failure {
    Failure::said(
        "USAGE: kafka-run-class.sh [-daemon] [-name servicename] [-loggc] classname [opts]",
    )
}

/// The script's flags, and what follows them.
fn read(mut line: &[String]) -> Result<(Flags, &[String]), Failure> {
    let mut flags = Flags::default();
    loop {
        line = match line {
            [flag, rest @ ..] if flag == "-daemon" => {
                flags.daemon = true;
                rest
            }
            [flag, name, rest @ ..] if flag == "-name" => {
                flags.name = Some(name.clone());
                rest
            }
            // Every start script of Kafka's gives it; there is no garbage collector to keep a log of.
            [flag, rest @ ..] if flag == "-loggc" => rest,
            [flag, ..] if flag.starts_with('-') && flag != "-name" => {
                return Err(Failure::Absent(format!("Java's option {flag}")));
            }
            [class, ..] if class != "-name" => return Ok((flags, line)),
            _ => return Err(usage()),
        };
    }
}

/// The tool a line of the script names, and what it is told.
pub(crate) fn asked(line: &[String]) -> Result<Asked<'_>, Failure> {
    let (flags, line) = read(line)?;
    let class = &line[0];
    let known = CLASSES.iter().find(|(known, _)| known == class);
    let Some((_, tool)) = known else {
        return Err(Failure::Absent(format!("the class {class}")));
    };
    let in_background = match (flags.daemon, flags.name) {
        (false, _) => None,
        // Kafka: the name is that of the file its output goes to.
        (true, Some(name)) => Some(name),
        (true, None) => {
            return Err(Failure::said(
                "-daemon needs -name NAME: its output goes to NAME.out in LOG_DIR",
            ));
        }
    };
    Ok(Asked {
        tool,
        line: &line[1..],
        in_background,
    })
}

#[cfg(test)]
mod tests {
    use super::{Flags, read};

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_scripts_flags_come_before_the_class() {
        let line = words("-name a -daemon -loggc kafka.Kafka -name b");
        let (flags, rest) = read(&line).unwrap();
        let wanted = Flags {
            daemon: true,
            name: Some("a".to_owned()),
        };
        assert_eq!(flags, wanted);
        assert_eq!(rest, words("kafka.Kafka -name b"));
        for wrong in ["-name", "-name a", "-daemon", "-Xmx1g kafka.Kafka"] {
            assert!(read(&words(wrong)).is_err(), "{wrong}");
        }
    }
}
