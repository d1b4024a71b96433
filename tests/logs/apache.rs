//! Apache's broker and its dump tool, and a coordinator both brokers may use in turn.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::loud;
use harness::peers;
use harness::ports::free_port;
use harness::process::{self, Process};
use harness::{tool, wait};

/// Small, and quick to start.
const JVM: &str = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC";
const START_LIMIT: Duration = Duration::from_secs(120);
/// Long enough for a JVM that waits for a processor, short enough to wait for after a kill.
pub(crate) const SESSION_MS: u32 = 6_000;

/// Our coordinator, for either broker.
pub(crate) struct Coordinator {
    _process: Process,
    pub(crate) port: u16,
}

impl Coordinator {
    pub(crate) fn start(dir: &Path) -> Coordinator {
        let port = free_port();
        let cfg = dir.join("zoo.cfg");
        let text = format!(
            "tickTime=1000\nclientPortAddress=127.0.0.1\nclientPort={port}\ndataDir={}\n",
            dir.join("coordinator").display()
        );
        std::fs::write(&cfg, text).unwrap();
        let mut command = Command::new(process::program("coordinator"));
        command.arg(&cfg);
        let mut process = Process::start(command, &dir.join("coordinator.log"));
        process.wait_for_port(port);
        Coordinator {
            _process: process,
            port,
        }
    }
}

/// What either broker is told, whichever opens the directory.
pub(crate) fn settings(coordinator: &Coordinator, logs: &Path, more: &[&str]) -> Vec<String> {
    let mut all = vec![
        "broker.id=0".to_owned(),
        format!("zookeeper.connect=127.0.0.1:{}", coordinator.port),
        format!("zookeeper.session.timeout.ms={SESSION_MS}"),
        format!("log.dirs={}", logs.display()),
        "offsets.topic.replication.factor=1".to_owned(),
        "transaction.partition.verification.enable=false".to_owned(),
        "log.flush.start.offset.checkpoint.interval.ms=200".to_owned(),
        "log.cleaner.backoff.ms=100".to_owned(),
        "log.cleaner.dedupe.buffer.size=4194304".to_owned(),
        "log.cleaner.io.buffer.size=65536".to_owned(),
    ];
    all.extend(more.iter().map(|&line| line.to_owned()));
    all
}

/// Starts Apache's broker and waits until it serves. After a kill the dead one's session may still
/// hold its name; it is started again then.
pub(crate) fn start_apache(dir: &Path, port: u16, settings: &[String]) -> Option<Process> {
    let home = peers::installed("kafka-3.9")?;
    let properties = dir.join("apache.properties");
    let text = format!(
        "listeners=PLAINTEXT://127.0.0.1:{port}\n{}\n",
        settings.join("\n")
    );
    std::fs::write(&properties, text).unwrap();
    for attempt in 0..40 {
        let mut command = Command::new(home.join("bin/kafka-server-start.sh"));
        command
            .env("KAFKA_HEAP_OPTS", "-Xmx256m")
            .env("KAFKA_JVM_PERFORMANCE_OPTS", JVM)
            .env("LOG_DIR", dir.join("apache-logs"))
            .arg(&properties);
        let log = dir.join(format!("apache-{port}-{attempt}.log"));
        // Each start tells its own story: a text of the one before must not pass for its.
        let log = unused(&log);
        let mut apache = Process::start(command, &log);
        let started = wait::until("Apache's broker to start or end", START_LIMIT, || {
            if apache.log().contains("started (kafka.server.KafkaServer)") {
                return Some(true);
            }
            apache.has_ended().then_some(false)
        });
        if started {
            return Some(apache);
        }
        let said = apache.log();
        assert!(said.contains("NodeExists"), "Apache did not start:\n{said}");
    }
    panic!("the dead broker's session does not end");
}

fn unused(path: &Path) -> PathBuf {
    let named = |number: u32| path.with_extension(format!("{number}.log"));
    let number = (0..).find(|number| !named(*number).exists()).unwrap();
    named(number)
}

/// Our broker on the same directory and coordinator.
pub(crate) fn start_ours(dir: &Path, port: u16, settings: &[String]) -> Process {
    let mut command = Command::new(process::program("broker"));
    command.current_dir(dir);
    let listener = format!("listeners=PLAINTEXT://127.0.0.1:{port}");
    for set in settings.iter().chain([&listener]) {
        command.args(["--override", set]);
    }
    let mut ours = Process::start(command, &unused(&dir.join(format!("ours-{port}.log"))));
    ours.announce(&["Set, and not obeyed yet"]);
    // The other broker was on this directory before, or this one until it was killed.
    ours.announce(&loud::OF_NEIGHBOURS);
    ours.announce(&loud::AFTER_A_KILL);
    ours.wait_for_port(port);
    ours
}

/// Runs Apache's dump tool over files; gives what it prints, and what it complains of.
pub(crate) fn dump(files: &[PathBuf], flags: &[&str]) -> Option<(String, String)> {
    let mut command = peers::apache_tool("kafka-3.9", "kafka-dump-log")?;
    command.arg("--files").arg(listed(files)).args(flags);
    Some(printed(command))
}

/// The same of our tool.
pub(crate) fn our_dump(files: &[PathBuf], flags: &[&str]) -> (String, String) {
    let mut command = Command::new(process::program("kafka"));
    command.arg("dump-log");
    command.arg("--files").arg(listed(files)).args(flags);
    printed(command)
}

fn listed(files: &[PathBuf]) -> String {
    let names: Vec<_> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    names.join(",")
}

fn printed(mut command: Command) -> (String, String) {
    let output = tool::run(&mut command, "");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "a dump tool ended with {}\n{errors}",
        output.status
    );
    (text, errors)
}

/// Every file of these kinds under a log directory, in order.
pub(crate) fn files_of(logs: &Path, kinds: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in std::fs::read_dir(logs).unwrap() {
        let folder = folder.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(&folder).unwrap() {
            let file = file.unwrap().path();
            let is_wanted = |kind: &&str| file.extension().is_some_and(|ending| ending == *kind);
            if kinds.iter().any(is_wanted) {
                found.push(file);
            }
        }
    }
    found.sort();
    found
}

/// A copy of a directory, whole.
pub(crate) fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status()
        .unwrap();
    assert!(
        status.success(),
        "copy {} to {}",
        from.display(),
        to.display()
    );
}
