//! The list of tools: name, one line of help, function.

use std::future::Future;
use std::pin::Pin;

use crate::args::Flag;
use crate::failure::Failure;
use crate::print::Out;
use crate::{
    classes, cluster, configs, console_consumer, console_producer, consumer_groups, delete_records,
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
        dump_log::run,
        &dump_log::FLAGS
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
        "start, stop, restart, status of a coordinator",
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

/// Names of Kafka's that no tool here has, and what is told to those who call them.
pub(crate) static NOT_HERE: &[(&str, &str)] = &[
    ("connect-distributed", CONNECT),
    ("connect-mirror-maker", CONNECT),
    ("connect-plugin-path", CONNECT),
    ("connect-standalone", CONNECT),
    ("kafka-acls", "this broker has no authorizer yet"),
    (
        "kafka-client-metrics",
        "subscriptions of client metrics belong to clusters without ZooKeeper",
    ),
    ("kafka-delegation-tokens", "this broker has no SASL yet"),
    ("kafka-e2e-latency", APACHES),
    (
        "kafka-jmx",
        "there is no Java machine to ask; metrics.port of a broker shows the same measurements",
    ),
    ("kafka-metadata-quorum", QUORUM),
    ("kafka-metadata-shell", QUORUM),
    ("kafka-mirror-maker", APACHES),
    ("kafka-reassign-partitions", APACHES),
    ("kafka-replica-verification", APACHES),
    ("kafka-streams-application-reset", APACHES),
    (
        "kafka-transactions",
        "this broker has no transactions across partitions yet",
    ),
    ("trogdor", "it tests Kafka's own source tree"),
    (
        "zookeeper-security-migration",
        "this broker has no authorizer yet",
    ),
];

const APACHES: &str = "Apache Kafka's own tool of this name works with this broker";
const CONNECT: &str = "Kafka Connect is a program beside Kafka; Apache's works with this broker";
const QUORUM: &str =
    "a cluster in ZooKeeper mode has no quorum of its own; zookeeper-shell shows its metadata";

/// Why there is no tool of a name that Kafka has.
pub(crate) fn not_here(name: &str) -> Option<&'static str> {
    let name = name.strip_suffix(".sh").unwrap_or(name);
    let known = |own: &str| own == name || own.strip_prefix("kafka-") == Some(name);
    let found = NOT_HERE.iter().find(|(own, _)| known(own));
    found.map(|(_, why)| *why)
}

/// Command lines to begin with, shown below a tool's `--help`.
pub(crate) fn examples(name: &str) -> &'static [&'static str] {
    match name {
        "topics" => &[
            "kafka-topics --bootstrap-server localhost:9092 --create --topic orders --partitions 3",
            "kafka-topics --bootstrap-server localhost:9092 --describe --topic orders",
            "kafka-topics --zookeeper localhost:2181 --list",
        ],
        "console-producer" => &[
            "kafka-console-producer --bootstrap-server localhost:9092 --topic orders < lines.txt",
            "kafka-console-producer --bootstrap-server localhost:9092 --topic orders --property parse.key=true --property key.separator=:",
        ],
        "console-consumer" => &[
            "kafka-console-consumer --bootstrap-server localhost:9092 --topic orders --from-beginning",
            "kafka-console-consumer --bootstrap-server localhost:9092 --topic orders --group billing --property print.key=true",
        ],
        "configs" => &[
            "kafka-configs --bootstrap-server localhost:9092 --describe --topic orders",
            "kafka-configs --bootstrap-server localhost:9092 --alter --topic orders --add-config retention.ms=86400000",
            "kafka-configs --bootstrap-server localhost:9092 --alter --user ann --add-config 'SCRAM-SHA-256=[password=secret]'",
        ],
        "consumer-groups" => &[
            "kafka-consumer-groups --bootstrap-server localhost:9092 --list",
            "kafka-consumer-groups --bootstrap-server localhost:9092 --describe --group billing",
            "kafka-consumer-groups --bootstrap-server localhost:9092 --reset-offsets --group billing --topic orders --to-earliest --execute",
        ],
        "get-offsets" => &[
            "kafka-get-offsets --bootstrap-server localhost:9092 --topic orders",
            "kafka-get-offsets --bootstrap-server localhost:9092 --topic-partitions orders:0-3 --time earliest",
        ],
        "delete-records" => {
            &["kafka-delete-records --bootstrap-server localhost:9092 --offset-json-file upto.json"]
        }
        "leader-election" => &[
            "kafka-leader-election --bootstrap-server localhost:9092 --election-type preferred --all-topic-partitions",
        ],
        "log-dirs" => {
            &["kafka-log-dirs --bootstrap-server localhost:9092 --describe --topic-list orders"]
        }
        "dump-log" => &[
            "kafka-dump-log --print-data-log --files /var/lib/kafka/orders-0/00000000000000000000.log",
        ],
        "producer-perf-test" => &[
            "kafka-producer-perf-test --topic orders --num-records 1000000 --record-size 100 --throughput -1 --producer-props bootstrap.servers=localhost:9092",
        ],
        "consumer-perf-test" => &[
            "kafka-consumer-perf-test --bootstrap-server localhost:9092 --topic orders --messages 1000000",
        ],
        _ => &[],
    }
}

/// How a tool that reads its line itself is called.
pub(crate) fn usage(name: &str) -> Option<&'static str> {
    Some(match name {
        "server-start" => {
            "kafka-server-start [-daemon] server.properties [--override property=value]*"
        }
        "server-stop" => "kafka-server-stop [--node-id=ID] [--process-role=broker]",
        "zookeeper-server-start" => "zookeeper-server-start [-daemon] zookeeper.properties",
        "zookeeper-server-stop" => "zookeeper-server-stop",
        "zkServer" => {
            "zkServer [--config DIR] start|start-foreground|stop|restart|status|version|print-cmd [zoo.cfg]"
        }
        "zookeeper-shell" => "zookeeper-shell host:port[/chroot] [command [arguments]]",
        "zkCli" => "zkCli [-server host:port[/chroot]] [command [arguments]]",
        "storage" => "kafka-storage random-uuid",
        "run-class" => {
            "kafka-run-class [-daemon] [-name NAME] [-loggc] CLASS [arguments of the tool]"
        }
        "cub" => {
            "cub zk-ready CONNECT TIMEOUT_SECONDS\n       cub kafka-ready MIN_BROKERS TIMEOUT_SECONDS (-b SERVERS | -z CONNECT) [-c FILE]"
        }
        _ => return None,
    })
}

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

fn run_class<'a>(line: &'a [String], out: &'a mut Out) -> Running<'a> {
    Box::pin(async move {
        let asked = classes::asked(line)?;
        let tool = find(asked.tool).ok_or_else(|| Failure::Absent(asked.tool.to_owned()))?;
        match asked.in_background {
            Some(name) => servers::tool_in_background(tool.name, asked.line, &name),
            None => (tool.run)(asked.line, out).await,
        }
    })
}
