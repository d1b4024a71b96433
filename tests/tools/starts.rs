//! How long each tool takes from its start to its answer, ours and Apache's beside each other.
//!
//! A table, not a limit: a machine that does other things too must not fail a test. The goal is an
//! answer in under 30 ms, twenty times sooner than Apache's.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use harness::cluster::Cluster;
use harness::peers;
use harness::process::program;

use crate::run::Place;
use crate::scenario::Scenario;

/// One command of each tool that answers by itself. `2.8`: that release's script.
const COMMANDS: &[(&str, &str)] = &[
    (
        "3.9",
        "kafka-topics --bootstrap-server BROKER --describe --topic a",
    ),
    ("2.8", "kafka-topics --zookeeper ZOOKEEPER --list"),
    (
        "3.9",
        "kafka-console-producer --bootstrap-server BROKER --topic a",
    ),
    (
        "3.9",
        "kafka-console-consumer --bootstrap-server BROKER --topic a --partition 0 --offset 0 --max-messages 1",
    ),
    (
        "3.9",
        "kafka-consumer-groups --bootstrap-server BROKER --list",
    ),
    (
        "3.9",
        "kafka-configs --bootstrap-server BROKER --describe --topic a",
    ),
    (
        "2.8",
        "kafka-configs --zookeeper ZOOKEEPER --describe --entity-type topics --entity-name a",
    ),
    (
        "3.9",
        "kafka-get-offsets --bootstrap-server BROKER --topic a",
    ),
    (
        "3.9",
        "kafka-delete-records --bootstrap-server BROKER --offset-json-file DIR/none.json",
    ),
    ("3.9", "kafka-log-dirs --bootstrap-server BROKER --describe"),
    (
        "3.9",
        "kafka-dump-log --files LOGS/a-0/00000000000000000000.log",
    ),
    (
        "3.9",
        "kafka-leader-election --bootstrap-server BROKER --election-type preferred --topic a --partition 0",
    ),
    (
        "2.8",
        "kafka-preferred-replica-election --zookeeper ZOOKEEPER",
    ),
    ("3.9", "kafka-broker-api-versions --bootstrap-server BROKER"),
    ("3.9", "kafka-cluster cluster-id --bootstrap-server BROKER"),
    ("3.9", "kafka-features --bootstrap-server BROKER describe"),
    (
        "3.9",
        "kafka-producer-perf-test --producer-props bootstrap.servers=BROKER --topic a --num-records 1 --record-size 10 --throughput -1",
    ),
    (
        "3.9",
        "kafka-verifiable-producer --bootstrap-server BROKER --topic a --max-messages 1",
    ),
    ("3.9", "kafka-storage random-uuid"),
    (
        "3.9",
        "kafka-run-class kafka.tools.DumpLogSegments --files LOGS/a-0/00000000000000000000.log",
    ),
    ("3.9", "zookeeper-shell ZOOKEEPER ls /"),
];

/// A try's milliseconds.
fn timed(mut command: Command) -> f64 {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let start = Instant::now();
    command.status().unwrap();
    start.elapsed().as_secs_f64() * 1000.0
}

fn median(mut tries: Vec<f64>) -> f64 {
    tries.sort_by(f64::total_cmp);
    tries[tries.len() / 2]
}

#[test]
#[ignore = "a table of times, beside Apache's tools"]
fn every_tool_answers_at_once() {
    let (Some(new), Some(old)) = (peers::installed("kafka-3.9"), peers::installed("kafka-2.8"))
    else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 1, &["offsets.topic.replication.factor=1"]);
    let address = cluster.members[0].address.to_string();
    let logs = dir.path().join("broker-1");
    let place = Place::new(dir.path(), &[address], &cluster.zookeeper(), &logs);
    place.files(&Scenario::read(
        "@file none.json {\"partitions\":[]}\n$ x\n",
    ));
    let prepare = [
        "topics --bootstrap-server BROKER --create --topic a",
        "producer-perf-test --producer-props bootstrap.servers=BROKER --topic a --num-records 5 --record-size 10 --throughput -1",
    ];
    let ours = |line: &str| {
        let mut command = Command::new(program("kafka"));
        command.args(line.split(' ').map(|word| place.filled(word)));
        command
    };
    for line in prepare {
        timed(ours(line));
    }
    let mut table = format!(
        "{:<42} {:>9} {:>9} {:>7}\n",
        "tool", "ours ms", "Apache ms", "times"
    );
    for (release, line) in COMMANDS {
        let fast = median((0..9).map(|_| timed(ours(line))).collect());
        let home = if *release == "2.8" { &old } else { &new };
        let slow = timed(theirs(home, line, &place));
        let (tool, rest) = line.split_once(' ').unwrap();
        let name = match rest.starts_with("--zookeeper") {
            true => format!("{tool} --zookeeper"),
            false => tool.to_owned(),
        };
        table.push_str(&format!(
            "{name:<42} {fast:>9.1} {slow:>9.0} {:>7.0}\n",
            slow / fast
        ));
    }
    // Past the test framework's capture, which keeps what a passing test prints to itself.
    let _lost_with_stderr = write!(std::io::stderr(), "{table}");
    cluster.stop();
}

fn theirs(home: &Path, line: &str, place: &Place) -> Command {
    let mut words = line.split(' ');
    let script = home
        .join("bin")
        .join(format!("{}.sh", words.next().unwrap()));
    let mut command = Command::new(script);
    command
        .args(words.map(|word| place.filled(word)))
        .env("KAFKA_HEAP_OPTS", "-Xmx256m")
        .env("LOG_DIR", &place.dir);
    command
}
