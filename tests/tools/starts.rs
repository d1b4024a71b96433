//! How long each tool takes from its start to its answer, ours and Apache's beside each other, and how
//! each ends.
//!
//! Every day (`--all`) a table, for a machine that does other things too must not fail a test; with
//! `tests/tools/starts`, on a quiet one, the goal is a limit: under 30 ms, twenty times sooner than Apache's.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::cluster::Cluster;
use harness::peers;
use harness::process::program_copied;
use harness::{tool, wait};

use crate::run::Place;
use crate::scenario::Scenario;

const LIMIT_MS: f64 = 30.0;
const TIMES: f64 = 20.0;
const TRIES: usize = 9;

/// Whose tool stands beside ours.
#[derive(Clone, Copy, PartialEq)]
enum Beside {
    New,
    Old,
    /// What Apache's script calls, where the script itself cannot be run here.
    Called(&'static str),
    Nobody(&'static str),
}

/// A command that ends by itself, and its exit code. TRY is another number each time.
struct Asked {
    line: &'static str,
    code: i32,
    beside: Beside,
}

const fn new(line: &'static str) -> Asked {
    Asked {
        line,
        code: 0,
        beside: Beside::New,
    }
}

const fn old(line: &'static str) -> Asked {
    Asked {
        line,
        code: 0,
        beside: Beside::Old,
    }
}

const fn other(line: &'static str, code: i32, beside: Beside) -> Asked {
    Asked { line, code, beside }
}

const NONE_OF_APACHES: Beside = Beside::Nobody("not one of Apache's");
const STOPS_ALL: Beside = Beside::Nobody("Apache's would stop every server of the machine");

/// At least one command of each tool.
const COMMANDS: &[Asked] = &[
    new("kafka-topics --bootstrap-server BROKER --describe --topic a"),
    old("kafka-topics --zookeeper ZOOKEEPER --list"),
    new("kafka-console-producer --bootstrap-server BROKER --topic a"),
    new(
        "kafka-console-consumer --bootstrap-server BROKER --topic a --partition 0 --offset 0 --max-messages 1",
    ),
    new("kafka-consumer-groups --bootstrap-server BROKER --list"),
    new("kafka-configs --bootstrap-server BROKER --describe --topic a"),
    old("kafka-configs --zookeeper ZOOKEEPER --describe --entity-type topics --entity-name a"),
    new("kafka-get-offsets --bootstrap-server BROKER --topic a"),
    new("kafka-delete-records --bootstrap-server BROKER --offset-json-file DIR/none.json"),
    new("kafka-log-dirs --bootstrap-server BROKER --describe"),
    new("kafka-dump-log --files LOGS/a-0/00000000000000000000.log"),
    new(
        "kafka-leader-election --bootstrap-server BROKER --election-type preferred --topic a --partition 0",
    ),
    old("kafka-preferred-replica-election --zookeeper ZOOKEEPER"),
    new("kafka-broker-api-versions --bootstrap-server BROKER"),
    new("kafka-cluster cluster-id --bootstrap-server BROKER"),
    new("kafka-features --bootstrap-server BROKER describe"),
    new(
        "kafka-producer-perf-test --producer-props bootstrap.servers=BROKER --topic a --num-records 1 --record-size 10 --throughput -1",
    ),
    new("kafka-verifiable-producer --bootstrap-server BROKER --topic a --max-messages 1"),
    new("kafka-storage random-uuid"),
    new("kafka-run-class kafka.tools.DumpLogSegments --files LOGS/a-0/00000000000000000000.log"),
    new("zookeeper-shell ZOOKEEPER ls /"),
    new(
        "kafka-consumer-perf-test --bootstrap-server BROKER --topic a --messages 1 --group perf-TRY",
    ),
    new(
        "kafka-verifiable-consumer --bootstrap-server BROKER --topic a --group-id verifiable-TRY --max-messages 1",
    ),
    other(
        "zkCli -server ZOOKEEPER ls /",
        0,
        Beside::Called("org.apache.zookeeper.ZooKeeperMain -server ZOOKEEPER ls /"),
    ),
    other(
        "zkServer --config DIR status",
        0,
        Beside::Called("org.apache.zookeeper.client.FourLetterWordMain ZK_HOST ZK_PORT srvr"),
    ),
    new("kafka-server-start --version"),
    other("kafka-server-stop", 1, STOPS_ALL),
    other(
        "zookeeper-server-start DIR/wrong.properties",
        2,
        Beside::New,
    ),
    other("zookeeper-server-stop", 1, STOPS_ALL),
    other("cub zk-ready ZOOKEEPER 10", 0, NONE_OF_APACHES),
    other("cub kafka-ready 1 10 -b BROKER", 0, NONE_OF_APACHES),
];

/// The tools' names.
pub(crate) fn tools() -> impl Iterator<Item = &'static str> {
    let names = COMMANDS.iter().map(|asked| asked.line);
    names.map(|line| line.split(' ').next().unwrap_or(line))
}

/// A try's milliseconds; it must end as it should.
fn timed(mut command: Command, code: i32) -> f64 {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status().unwrap();
    let taken = start.elapsed().as_secs_f64() * 1000.0;
    assert_eq!(status.code(), Some(code), "{command:?}");
    taken
}

fn median(mut tries: Vec<f64>) -> f64 {
    tries.sort_by(f64::total_cmp);
    tries[tries.len() / 2]
}

/// A cluster of one broker, and an installation of its own: `…-stop` stops all of its own.
struct Stage {
    dir: tempfile::TempDir,
    cluster: Cluster,
    place: Place,
}

impl Stage {
    fn new() -> Stage {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        for name in ["kafka", "broker", "coordinator"] {
            program_copied(name, &bin);
        }
        let settings = [
            "offsets.topic.replication.factor=1",
            "group.initial.rebalance.delay.ms=0",
        ];
        let cluster = Cluster::start(dir.path(), 1, &settings);
        let address = cluster.members[0].address.to_string();
        let logs = dir.path().join("broker-1");
        let place = Place::new(dir.path(), &[address], &cluster.zookeeper(), &logs);
        place.files(&Scenario::read(
            "@file none.json {\"partitions\":[]}\n@file wrong.properties clientPort=nonsense\n$ x\n",
        ));
        let zookeeper = cluster.zookeeper();
        let (host, port) = zookeeper.split_once(':').unwrap();
        let settings = format!("clientPort={port}\nclientPortAddress={host}\ndataDir=zookeeper\n");
        std::fs::write(dir.path().join("zoo.cfg"), settings).unwrap();
        Stage {
            dir,
            cluster,
            place,
        }
    }

    fn filled(&self, word: &str, number: usize) -> String {
        let zookeeper = self.cluster.zookeeper();
        let (host, port) = zookeeper.split_once(':').unwrap();
        let word = word.replace("ZK_HOST", host).replace("ZK_PORT", port);
        self.place.filled(&word).replace("TRY", &number.to_string())
    }

    fn ours(&self, line: &str, number: usize) -> Command {
        let mut command = Command::new(self.dir.path().join("bin/kafka"));
        command
            .args(line.split(' ').map(|word| self.filled(word, number)))
            .current_dir(self.dir.path());
        command
    }

    /// A second one is refused until the controller has done what the first asked for.
    fn await_the_last_election(&self) {
        wait::until("the last election's end", Duration::from_secs(60), || {
            let asked = tool::run(&mut self.ours("zk -server ZOOKEEPER ls /admin", 0), "");
            let nodes = String::from_utf8_lossy(&asked.stdout).into_owned();
            (!nodes.contains("preferred_replica_election")).then_some(())
        });
    }

    fn apaches(&self, home: &Path, line: &str) -> Command {
        let mut words = line.split(' ');
        let script = format!("bin/{}.sh", words.next().unwrap());
        let mut command = Command::new(home.join(script));
        command
            // A group that none of ours has been.
            .args(words.map(|word| self.filled(word, TRIES)))
            .env("KAFKA_HEAP_OPTS", "-Xmx256m")
            .env("LOG_DIR", self.dir.path());
        command
    }
}

#[test]
#[ignore = "a table of times, beside Apache's tools"]
fn every_tool_answers_at_once() {
    let (Some(newer), Some(older)) = (peers::installed("kafka-3.9"), peers::installed("kafka-2.8"))
    else {
        return;
    };
    let stage = Stage::new();
    for line in [
        "topics --bootstrap-server BROKER --create --topic a",
        "producer-perf-test --producer-props bootstrap.servers=BROKER --topic a --num-records 5 --record-size 10 --throughput -1",
    ] {
        timed(stage.ours(line, 0), 0);
    }
    let (mut table, mut late) = (String::new(), Vec::new());
    table += &format!(
        "{:<42} {:>9} {:>9} {:>7}\n",
        "tool", "ours ms", "Apache ms", "times"
    );
    for asked in COMMANDS {
        let tries = (0..TRIES).map(|number| {
            stage.await_the_last_election();
            timed(stage.ours(asked.line, number), asked.code)
        });
        let fast = median(tries.collect());
        let (home, line) = match asked.beside {
            Beside::Old => (&older, asked.line.to_owned()),
            Beside::Called(called) => (&newer, format!("kafka-run-class {called}")),
            _ => (&newer, asked.line.to_owned()),
        };
        let (tool, rest) = asked.line.split_once(' ').unwrap_or((asked.line, ""));
        let name = match rest.starts_with("--zookeeper") {
            true => format!("{tool} --zookeeper"),
            false => tool.to_owned(),
        };
        if let Beside::Nobody(why) = asked.beside {
            table += &format!("{name:<42} {fast:>9.1} {why}\n");
            late.extend((fast > LIMIT_MS).then_some(name));
            continue;
        }
        stage.await_the_last_election();
        let slow = timed(stage.apaches(home, &line), asked.code);
        let times = slow / fast;
        table += &format!("{name:<42} {fast:>9.1} {slow:>9.0} {times:>7.0}\n");
        late.extend((fast > LIMIT_MS || times < TIMES).then_some(name));
    }
    table += &format!(
        "{} of {} under {LIMIT_MS} ms and {TIMES} times sooner\n",
        COMMANDS.len() - late.len(),
        COMMANDS.len()
    );
    // Past the test framework's capture, which keeps what a passing test prints to itself.
    let _lost_with_stderr = write!(std::io::stderr(), "{table}");
    stage.cluster.stop();
    if std::env::var_os("ROTPETER_LIMITS").is_some() {
        assert!(late.is_empty(), "{late:?}");
    }
}
