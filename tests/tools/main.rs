//! Our tools beside Apache's: recorded commands replayed on our broker, stdout and exit code equal.
//!
//! `tests/golden/tools/NAME.txt` holds a scenario: commands, and what Apache's tools printed on Apache's
//! broker. `masks.txt` beside them names every difference that is allowed, with its reason. `tests/tools/record`
//! writes the answers again, from a live Apache cluster.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test program"
)]

mod apache;
mod ends;
mod masks;
mod partitions;
mod run;
mod scenario;
mod servers;
mod starts;

use std::path::{Path, PathBuf};

use harness::cluster::Cluster;

use crate::apache::Apache;
use crate::masks::Masks;
use crate::run::{Known, Place};
use crate::scenario::{Repeat, Scenario};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden/tools")
        .join(name)
}

fn masks() -> Masks {
    Masks::read(&std::fs::read_to_string(golden("masks.txt")).unwrap())
}

fn scenario(name: &str) -> Scenario {
    let file = golden(&format!("{name}.txt"));
    Scenario::read(&std::fs::read_to_string(file).unwrap())
}

/// The commands of a scenario that are known to differ, each with its reason, from `differs.txt`.
fn known(name: &str) -> Vec<Known> {
    let text = std::fs::read_to_string(golden("differs.txt")).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut known = Vec::new();
    for line in lines {
        let fields: Vec<&str> = line.split(" | ").map(str::trim).collect();
        let [scenario, command, reason] = fields[..] else {
            panic!("a difference needs scenario, command and reason: {line}");
        };
        assert!(!reason.is_empty(), "{line}");
        if scenario == name {
            known.push(Known {
                command: command.to_owned(),
                not_run: reason.starts_with("not run"),
            });
        }
    }
    known
}

fn expect_none(faults: &[String]) {
    let count = faults.len();
    assert!(faults.is_empty(), "{count} differ\n{}", faults.join("\n"));
}

/// Our tools on our brokers.
fn replay(name: &str) {
    let scenario = scenario(name);
    let dir = tempfile::tempdir().unwrap();
    let mut overrides = vec![
        "offsets.topic.replication.factor=1",
        "transaction.state.log.replication.factor=1",
        "transaction.state.log.min.isr=1",
    ];
    overrides.extend(scenario.overrides.iter().map(String::as_str));
    let cluster = Cluster::start(dir.path(), scenario.brokers, &overrides);
    let addresses: Vec<String> = cluster
        .members
        .iter()
        .map(|one| one.address.to_string())
        .collect();
    let logs = dir.path().join("broker-1");
    let place = Place::new(dir.path(), &addresses, &cluster.zookeeper(), &logs);
    let faults = run::faults(&scenario, &place, &masks(), &known(name));
    cluster.stop();
    expect_none(&faults);
}

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        const SCENARIOS: &[&str] = &[$(stringify!($name)),*];
        mod ours_print_and_end_as_apaches {
            $(#[test] fn $name() { crate::replay(stringify!($name)); })*
        }
    };
}

scenarios! {
    topics, topics_zookeeper, configs, configs_zookeeper, console, internal_topics, consumer_groups, offsets, logs, elections, cluster, perf, verifiable, shell, classes,
}

/// Our tools on Apache's brokers. With `ROTPETER_RECORD` (`all`, or scenarios' names) Apache's tools
/// on them instead, and the goldens written: `tests/tools/record`.
#[test]
#[ignore = "wants Apache's brokers"]
fn on_apaches_brokers_too() {
    let Some(mut apache) = Apache::start() else {
        return;
    };
    let record = std::env::var("ROTPETER_RECORD").unwrap_or_default();
    let mut faults = Vec::new();
    for &name in SCENARIOS {
        if !record.is_empty() && record != "all" && !record.split(' ').any(|one| one == name) {
            continue;
        }
        let mut scenario = scenario(name);
        let dir = tempfile::tempdir().unwrap();
        let place = apache.brokers(&scenario, dir.path());
        if record.is_empty() {
            // Apache's brokers have what ours lack.
            let mut known = known(name);
            known.retain(|one| !one.not_run);
            let found = run::faults(&scenario, &place, &masks(), &known);
            faults.extend(found.into_iter().map(|text| format!("[{name}] {text}")));
        } else {
            place.files(&scenario);
            for step in &mut scenario.steps {
                let answer = run::asked(step, run::LIMIT, || apache.answer(step, &place));
                assert!(
                    step.satisfied_by(&answer),
                    "[{name}] {}: {answer:?}",
                    step.line
                );
                step.answer = answer;
            }
            std::fs::write(golden(&format!("{name}.txt")), scenario.text()).unwrap();
        }
        apache.stop_brokers();
    }
    expect_none(&faults);
}

#[test]
fn a_recording_reads_as_it_was_written() {
    let text = "# how\n@brokers 2\n@file f a b\\n\n\n$ a 'b  c' d\n< in\n> x\n>\n> y\n\\\n! no\n= 1\n# then\n@gone z\n$2.8 c\n= 0\n";
    let read = Scenario::read(text);
    assert_eq!(read.brokers, 2);
    assert_eq!(read.files, [("f".to_owned(), "a b\n".to_owned())]);
    assert_eq!(read.steps[0].words(), ["a", "b  c", "d"]);
    assert_eq!(read.steps[0].stdin, "in\n");
    assert_eq!(read.steps[0].answer.stdout, "x\n\ny");
    assert_eq!(read.steps[1].repeat, Repeat::Gone("z".to_owned()));
    assert_eq!(read.steps[1].release, "2.8");
    assert_eq!(read.text(), text);
}

#[test]
fn masks_replace_leave_out_and_sort() {
    let masks = Masks::read(
        "port | a … b | [0-9]+ => P | why\ngone | a | ^y$ | why\norder | c | any order | why\n",
    );
    assert_eq!(masks.over("a --b", "1\ny\n"), "P\n");
    assert_eq!(masks.over("c", "2\n1\n"), "1\n2\n");
    assert_eq!(masks.over("d", "1\ny\n"), "1\ny\n");
}
