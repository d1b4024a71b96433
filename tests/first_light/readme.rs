//! The README's commands, typed as they are printed: only ports are moved, and `cargo` is replaced by
//! the programs it would have built.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::asker::Asker;
use harness::ports::free_port;
use harness::process::{Process, Single, program};
use harness::wait;

use crate::run;

const REGISTERED_LIMIT: Duration = Duration::from_secs(90);

/// The commands of the shell blocks below the heading that begins with `heading`.
fn commands(heading: &str) -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = std::fs::read_to_string(file).unwrap();
    let section = text
        .split("\n## ")
        .find(|section| section.starts_with(heading))
        .unwrap_or_else(|| panic!("README has no section {heading:?}"));
    let blocks = section.split("```sh\n").skip(1);
    blocks
        .flat_map(|block| block.split("```").next().unwrap().lines())
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

/// `text` typed into bash with our programs first on the path.
fn shell(dir: &Path, text: &str) -> String {
    let programs = program("kafka").parent().unwrap().to_path_buf();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command
        .args(["-euo", "pipefail", "-c", text])
        .current_dir(dir)
        .env("PATH", path);
    run(command, "")
}

/// A command that starts a broker, as the process it becomes.
fn start(dir: &Path, line: &str) -> Process {
    let words = line
        .strip_prefix("cargo run --release")
        .unwrap_or_else(|| panic!("{line}: not a start of a broker"));
    let mut command = Command::new(program("broker"));
    command
        .args(words.split_whitespace().skip_while(|word| *word == "--"))
        .current_dir(dir);
    Process::start(command, &dir.join("more.log"))
}

#[test]
fn the_two_commands_are_these() {
    assert_eq!(
        commands("Two commands"),
        ["cargo run --release", "tests/run"]
    );
}

#[test]
fn the_five_minutes_do_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let single = Single::start(dir.path(), &[]);
    let typed: Vec<String> = commands("Five minutes")
        .into_iter()
        .filter(|line| !line.starts_with("cargo build") && !line.starts_with("PATH="))
        .map(|line| {
            line.replace("localhost:9092", &single.bootstrap()).replace(
                "localhost:2181",
                &format!("127.0.0.1:{}", single.coordinator_port),
            )
        })
        .collect();
    let said: Vec<String> = typed.iter().map(|line| shell(dir.path(), line)).collect();
    let [created, _produced, consumed, described, state] = &said[..] else {
        panic!("the tour has {} commands: {typed:?}", typed.len());
    };
    assert_eq!(created, "Created topic greetings.\n");
    let mut lines: Vec<&str> = consumed.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["hello", "world"]);
    assert!(described.contains("PartitionCount: 2"), "{described}");
    assert!(
        state.contains(r#""leader":1"#) && state.contains(r#""isr":[1]"#),
        "{state}"
    );
}

#[test]
fn a_second_and_a_third_broker_join_the_first_one() {
    let dir = tempfile::tempdir().unwrap();
    let first = Single::start(dir.path(), &[]);
    let zookeeper = format!("127.0.0.1:{}", first.coordinator_port);
    let ports = [free_port(), free_port()];
    let mut more: Vec<Process> = commands("More brokers")
        .iter()
        .map(|line| {
            let line = line
                .replace("localhost:2181", &zookeeper)
                .replace("localhost:9093", &format!("127.0.0.1:{}", ports[0]))
                .replace("localhost:9094", &format!("127.0.0.1:{}", ports[1]));
            start(dir.path(), &line)
        })
        .collect();
    assert_eq!(more.len(), 2);
    for (process, port) in more.iter_mut().zip(ports) {
        process.wait_for_port(port);
    }
    wait::until("three registered brokers", REGISTERED_LIMIT, || {
        let ids = shell(
            dir.path(),
            &format!("kafka zk -server {zookeeper} ls /brokers/ids"),
        );
        ids.contains("[1, 2, 3]").then_some(())
    });
    let at = first.bootstrap();
    // The first one is controller: partitions go to the brokers it knows.
    Asker::connect(&at, "readme").await_brokers(3);
    shell(
        dir.path(),
        &format!("kafka topics --bootstrap-server {at} --create --topic spread --partitions 3"),
    );
    // The tool asks any of the three, as Apache's does; those that do not lead hear of it last.
    let describe =
        format!("kafka topics --bootstrap-server {at} --describe --topic spread || true");
    wait::until("a leader on each broker", REGISTERED_LIMIT, || {
        let told = shell(dir.path(), &describe);
        (1..=3)
            .all(|id| told.contains(&format!("Leader: {id}")))
            .then_some(())
    });
    // A group finds its coordinator by any of them.
    let by = format!("127.0.0.1:{}", ports[0]);
    let consumed = shell(
        dir.path(),
        &format!(
            "echo hello | kafka console-producer --bootstrap-server {by} --topic spread\n\
             kafka console-consumer --bootstrap-server {by} --topic spread --group g \
             --from-beginning --max-messages 1"
        ),
    );
    assert_eq!(consumed, "hello\n");
    let refused = shell(
        dir.path(),
        &format!(
            "kafka topics --bootstrap-server {at} --create --topic copies --replication-factor 2 2>&1 || true"
        ),
    );
    assert!(
        refused.to_lowercase().contains("replication factor"),
        "{refused}"
    );
}
