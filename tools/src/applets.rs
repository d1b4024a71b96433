//! The list of tools: name, one line of help, function.

use std::future::Future;
use std::pin::Pin;

use crate::args::Flag;
use crate::failure::Failure;
use crate::print::Out;
use crate::{
    cluster, configs, console_consumer, console_producer, consumer_groups, delete_records,
    dump_log, features, get_offsets, leader_election, perf, servers, topics, verifiable, zk_shell,
};

type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + 'a>>;

/// One tool.
pub(crate) struct Applet {
    /// The name without `kafka-`.
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    /// What it takes, for the shells' completions; empty where it reads its line itself.
    pub(crate) flags: &'static [Flag],
    pub(crate) run: for<'a> fn(&'a [String], &'a mut Out) -> Running<'a>,
}

impl Applet {
    /// The name its links have, without `.sh`.
    pub(crate) fn link(&self) -> String {
        match self.name {
            own if own.starts_with("zk") || own.starts_with("zookeeper") || own == "cub" => {
                own.to_owned()
            }
            other => format!("kafka-{other}"),
        }
    }
}

macro_rules! applet {
    ($name:literal, $help:literal, $run:path) => {
        applet!($name, $help, $run, &[])
    };
    ($name:literal, $help:literal, $run:path, $flags:expr) => {
        Applet {
            name: $name,
            help: $help,
            flags: $flags,
            run: |line, out| Box::pin($run(line, out)),
        }
    };
}

pub(crate) static APPLETS: &[Applet] = &[
    applet!(
        "topics",
        "list, create, describe, alter and delete topics",
        topics::run,
        topics::USAGE.flags
    ),
    applet!(
        "console-producer",
        "standard input to a topic",
        console_producer::run,
        console_producer::USAGE.flags
    ),
    applet!(
        "console-consumer",
        "topics to standard output",
        console_consumer::run,
        console_consumer::USAGE.flags
    ),
    applet!(
        "configs",
        "describe and alter settings",
        configs::run,
        configs::USAGE.flags
    ),
    applet!(
        "consumer-groups",
        "list, describe, reset and delete groups",
        consumer_groups::run,
        consumer_groups::USAGE.flags
    ),
    applet!(
        "get-offsets",
        "first, last and other offsets of partitions",
        get_offsets::run,
        get_offsets::USAGE.flags
    ),
    applet!(
        "delete-records",
        "delete records up to an offset",
        delete_records::run,
        delete_records::USAGE.flags
    ),
    applet!(
        "leader-election",
        "elect preferred or unclean leaders",
        leader_election::run,
        leader_election::USAGE.flags
    ),
    applet!(
        "log-dirs",
        "log directories and what lies in them",
        cluster::log_dirs,
        cluster::LOG_DIRS.flags
    ),
    applet!(
        "broker-api-versions",
        "which versions each broker speaks",
        cluster::api_versions,
        cluster::API_VERSIONS.flags
    ),
    applet!(
        "cluster",
        "the cluster's id",
        cluster::cluster,
        cluster::CLUSTER.flags
    ),
    applet!(
        "dump-log",
        "what the files of a log directory hold",
        dump_log::run
    ),
    applet!(
        "preferred-replica-election",
        "leaders back to preferred replicas",
        leader_election::preferred,
        leader_election::PREFERRED.flags
    ),
    applet!(
        "producer-perf-test",
        "how fast records go in",
        perf::producer::run,
        perf::producer::USAGE.flags
    ),
    applet!(
        "consumer-perf-test",
        "how fast records come out",
        perf::consumer::run,
        perf::consumer::USAGE.flags
    ),
    applet!(
        "verifiable-producer",
        "a producer that tells every event",
        verifiable::producer,
        verifiable::PRODUCER.flags
    ),
    applet!(
        "verifiable-consumer",
        "a consumer that tells every event",
        verifiable::consumer,
        verifiable::CONSUMER.flags
    ),
    applet!("server-start", "start a broker", servers::server_start),
    applet!("server-stop", "stop brokers", servers::server_stop),
    applet!("storage", "random-uuid", servers::storage),
    applet!("run-class", "a tool by its Java class", run_class),
    applet!("zookeeper-shell", "a shell on ZooKeeper", zk_shell::shell),
    applet!("zkCli", "the same, with -server", zk_shell::cli),
    applet!(
        "zookeeper-server-start",
        "start a coordinator",
        servers::zookeeper_start
    ),
    applet!(
        "zookeeper-server-stop",
        "stop coordinators",
        servers::zookeeper_stop
    ),
    applet!(
        "zkServer",
        "start, stop, status of a coordinator",
        servers::zk_server
    ),
    applet!(
        "cub",
        "wait until Kafka or ZooKeeper is ready",
        servers::cub
    ),
    applet!(
        "features",
        "feature levels of the cluster",
        features::run,
        features::USAGE.flags
    ),
];

/// The tool of a name, with or without `kafka-` before and `.sh` behind.
pub(crate) fn find(name: &str) -> Option<&'static Applet> {
    let name = name.strip_suffix(".sh").unwrap_or(name);
    let bare = match name.strip_prefix("kafka-").unwrap_or(name) {
        "zk" => "zkCli",
        bare => bare,
    };
    APPLETS
        .iter()
        .find(|applet| applet.name == bare || applet.name == name)
}

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

fn run_class<'a>(line: &'a [String], out: &'a mut Out) -> Running<'a> {
    Box::pin(async move {
        // The script's own flags come before the class.
        let Some(at) = line.iter().position(|word| !word.starts_with('-')) else {
            return Err(Failure::said(
                "USAGE: kafka-run-class.sh [-daemon] [-name servicename] [-loggc] classname [opts]",
            ));
        };
        let class = &line[at];
        let name = CLASSES
            .iter()
            .find(|(known, _)| known == class)
            .map(|(_, name)| *name);
        match name.and_then(find) {
            Some(applet) => (applet.run)(&line[at + 1..], out).await,
            None => Err(Failure::Absent(format!("the class {class}"))),
        }
    })
}
