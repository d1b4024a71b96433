//! Our tools beside Apache's: recorded commands replayed on our broker, stdout and exit code equal.
//!
//! `tests/golden/tools/apache-3.9.txt` holds what Apache's tools printed; `masks.txt` beside it names
//! every difference that is allowed, with its reason.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test program"
)]

use std::path::Path;
use std::process::{Command, Stdio};

use harness::process::{Single, program};

/// One recorded command.
#[derive(Debug, PartialEq)]
struct Recorded {
    line: String,
    stdout: String,
    code: i32,
}

/// One allowed difference.
struct Mask {
    command: String,
    text: String,
}

fn golden(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden/tools")
        .join(name);
    std::fs::read_to_string(path).unwrap()
}

fn recorded(text: &str) -> Vec<Recorded> {
    let mut made: Vec<Recorded> = Vec::new();
    let mut open = false;
    for line in text.lines().filter(|line| !line.starts_with("# ")) {
        if let Some(line) = line.strip_prefix("$ ") {
            made.push(Recorded {
                line: line.to_owned(),
                stdout: String::new(),
                code: -1,
            });
            open = true;
            continue;
        }
        let last = made.last_mut().unwrap();
        assert!(open, "text between the commands: {line}");
        if let Some(code) = line.strip_prefix("= ") {
            last.code = code.parse().unwrap();
            open = false;
        } else {
            last.stdout.push_str(line);
            last.stdout.push('\n');
        }
    }
    made
}

fn masks(text: &str) -> Vec<Mask> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mask = |line: &str| {
        let fields: Vec<&str> = line.split(" | ").map(str::trim).collect();
        let [name, command, text, reason] = fields[..] else {
            panic!("a mask needs name, command, text and reason: {line}");
        };
        assert!(!name.is_empty() && !reason.is_empty(), "{line}");
        Mask {
            command: command.to_owned(),
            text: text.to_owned(),
        }
    };
    lines.map(mask).collect()
}

/// The output with every allowed difference taken out.
fn masked(line: &str, stdout: &str, masks: &[Mask]) -> String {
    let mut text = stdout.to_owned();
    for mask in masks {
        if mask.command != "*" && !line.contains(&mask.command) {
            continue;
        }
        text = match mask.text.split_once(" => ") {
            Some((from, to)) => text.replace(from, to),
            None => {
                let kept = text.lines().filter(|line| *line != mask.text);
                kept.map(|line| format!("{line}\n")).collect()
            }
        };
    }
    text
}

/// Runs a recorded line with our program.
fn ours(line: &str, bootstrap: &str) -> (String, i32) {
    let mut words = line.split_whitespace();
    let output = Command::new(program("kafka"))
        .arg(words.next().unwrap())
        .args(words.map(|word| word.replace("BROKER", bootstrap)))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    (
        stdout.replace(bootstrap, "BROKER"),
        output.status.code().unwrap_or(-1),
    )
}

#[test]
fn recorded_commands_print_and_end_as_apaches() {
    let masks = masks(&golden("masks.txt"));
    let dir = tempfile::tempdir().unwrap();
    let broker = Single::start(dir.path(), &[]);
    let mut faults = Vec::new();
    for one in recorded(&golden("apache-3.9.txt")) {
        let (stdout, code) = ours(&one.line, &broker.bootstrap());
        // The recording marks an output without a last line's end; so it is compared by lines.
        let expected = masked(&one.line, &one.stdout.replace("%\n", "\n"), &masks);
        let made = masked(&one.line, &stdout, &masks);
        if expected.trim_end() != made.trim_end() || code != one.code {
            faults.push(format!(
                "$ {}\n--- Apache's, exit {}\n{expected}--- ours, exit {code}\n{made}",
                one.line, one.code
            ));
        }
    }
    assert!(
        faults.is_empty(),
        "{} differ\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[test]
fn topics_made_and_removed_through_zookeeper_are_the_brokers_topics() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Single::start(dir.path(), &[]);
    // It listens before it is registered in ZooKeeper, and the tool assigns what is registered.
    broker
        .process
        .wait_for_log("started (kafka.server.KafkaServer)");
    let zookeeper = format!("localhost:{}", broker.coordinator_port);
    let run = |line: &str| {
        let line = line.replace("ZOOKEEPER", &zookeeper);
        ours(&line, &broker.bootstrap())
    };
    let create = "kafka-topics --zookeeper ZOOKEEPER --create --topic greetings --partitions 2 --replication-factor 1";
    assert_eq!(run(create), ("Created topic greetings.\n".to_owned(), 0));
    assert_eq!(run(create).1, 1);
    assert_eq!(
        run(&format!("{create} --if-not-exists")),
        (String::new(), 0)
    );
    let described = harness::wait::until(
        "leaders of both partitions",
        std::time::Duration::from_secs(20),
        || {
            let (text, code) =
                run("kafka-topics --zookeeper ZOOKEEPER --describe --topic greetings");
            assert_eq!(code, 0);
            (text.matches("Leader: 1").count() == 2).then_some(text)
        },
    );
    assert!(
        described.contains("\tPartitionCount: 2\tReplicationFactor: 1\tConfigs: \n"),
        "{described}"
    );
    let state = run("zk -server ZOOKEEPER get /brokers/topics/greetings/partitions/0/state");
    assert!(state.0.contains("\"leader\":1"), "{state:?}");
    assert_eq!(
        run("kafka-topics --zookeeper ZOOKEEPER --delete --topic greetings").1,
        0
    );
    harness::wait::until(
        "the topic to go",
        std::time::Duration::from_secs(20),
        || {
            run("kafka-topics --zookeeper ZOOKEEPER --list")
                .0
                .is_empty()
                .then_some(())
        },
    );
}

#[test]
fn a_recording_reads_as_it_was_written() {
    let read = recorded("# how\n$ a --b\nx\n\ny\n= 1\n$ c\n= 0\n");
    assert_eq!(read.len(), 2);
    assert_eq!((read[0].stdout.as_str(), read[0].code), ("x\n\ny\n", 1));
    let masks = masks("port | a | 1 => P | why\ngone | a | y | why\n");
    assert_eq!(masked("a --b", "1\ny\n", &masks), "P\n");
    assert_eq!(masked("c", "1\ny\n", &masks), "1\ny\n");
}
