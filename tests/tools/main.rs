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
mod counts;
mod differs;
mod ends;
mod endures;
mod masks;
mod partitions;
mod run;
mod scenario;
mod servers;
mod starts;

use std::path::{Path, PathBuf};

use harness::cluster::Cluster;

use crate::apache::Apache;
use crate::counts::Count;
use crate::differs::Differs;
use crate::masks::Masks;
use crate::run::Place;
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

fn differs(name: &str, judged: bool) -> Differs {
    Differs::new(golden("differs.txt"), name, judged)
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
    let faults = run::faults(&scenario, &place, &masks(), &mut differs(name, true));
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
    topics, topics_changed, topics_zookeeper, topics_changed_zookeeper, configs, configs_changed, configs_zookeeper,
    configs_changed_zookeeper, console, records_written, internal_topics, consumer_groups, offsets, offsets_changed, logs,
    elections, cluster, perf, verifiable, shell, shell_changed, classes, given_twice, before_brokers, deserializers, servers,
    offsets_refused, overrides,
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
        // Recorded within a chroot, where the two shells do not agree on the path of a quota.
        if record.is_empty() && name == "shell_changed" {
            continue;
        }
        let mut scenario = scenario(name);
        let dir = tempfile::tempdir().unwrap();
        let place = apache.brokers(&scenario, dir.path());
        if record.is_empty() {
            let found = run::faults(&scenario, &place, &masks(), &mut differs(name, false));
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

/// Tools without eight recorded lines, and where they are shown instead.
const NOT_RECORDED: &[(&str, &str)] = &[
    (
        "kafka-server-stop",
        "servers.rs: Apache's stops every Kafka of the machine",
    ),
    ("zookeeper-server-start", "servers.rs: it becomes a server"),
    (
        "zookeeper-server-stop",
        "servers.rs: Apache's stops every ZooKeeper of the machine",
    ),
    ("zkServer", "servers.rs: it starts and stops servers"),
    ("cub", "servers.rs: no tool of Apache's"),
];

#[test]
fn every_tool_has_lines_and_half_change_what_is_looked_at_afterwards() {
    let mut counted = std::collections::BTreeMap::new();
    for &name in SCENARIOS {
        let differs = differs(name, true);
        counts::count(
            &scenario(name),
            |line| differs.of(line).is_some(),
            &mut counted,
        );
    }
    let mut all = Count::default();
    let mut table = String::from("                                     lines changing compared\n");
    for (tool, count) in &counted {
        all.lines += count.lines;
        all.changing += count.changing;
        all.compared += count.compared;
        table += &format!(
            "{tool:<34}{:>8}{:>9}{:>9}\n",
            count.lines, count.changing, count.compared
        );
    }
    table += &format!(
        "{:<34}{:>8}{:>9}{:>9}\n",
        "all", all.lines, all.changing, all.compared
    );
    // Shown with --nocapture.
    println!("{table}");
    for tool in starts::tools() {
        let lines = counted.get(tool).map_or(0, |count| count.lines);
        let elsewhere = NOT_RECORDED.iter().any(|(name, _)| *name == tool);
        assert_eq!(lines >= 8, !elsewhere, "{tool} has {lines}\n{table}");
    }
    assert!(all.compared * 2 >= all.lines, "{table}");
}

#[test]
fn a_change_counts_that_is_looked_at_before_the_next() {
    let counted = |text: &str| {
        let mut counted = std::collections::BTreeMap::new();
        counts::count(
            &Scenario::read(text),
            |line| line.contains("known"),
            &mut counted,
        );
        let sum = |of: fn(&Count) -> usize| counted.values().map(of).sum::<usize>();
        [
            sum(|one| one.lines),
            sum(|one| one.changing),
            sum(|one| one.compared),
        ]
    };
    let set = "$ kafka-configs --alter --topic a --add-config x=1\n= 0\n";
    let other = "$ kafka-configs --alter --topic a --add-config y=1,z=[p,q]\n= 0\n";
    let look = "$ kafka-configs --describe --topic a\n= 0\n";
    let failed = look.replace("= 0", "= 1");
    let delete = "$ kafka-topics --delete --topic a\n= 0\n";
    assert_eq!(counted(&[set, look].concat()), [2, 1, 1]);
    assert_eq!(counted(&[set, other, look].concat()), [3, 2, 2]);
    assert_eq!(counted(&[set, set, look].concat()), [3, 2, 1]);
    assert_eq!(counted(&[set, delete, look].concat()), [3, 2, 0]);
    assert_eq!(counted(&[set, &failed].concat()), [2, 1, 0]);
    assert_eq!(
        counted(&[&set.replace("= 0", "= 1"), look].concat()),
        [2, 0, 0]
    );
    assert_eq!(
        counted(&[&set.replace("x=1", "known=1"), look].concat()),
        [2, 0, 0]
    );
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
        "port | a … b | [0-9]+ => P | why\ngone | a | ^y$ | why\norder | c | any order | why\n\
         words | e$ | any order of words | why\n",
    );
    assert_eq!(masks.over("a --b", "1\ny\n"), "P\n");
    assert_eq!(masks.over("c", "2\n1\n"), "1\n2\n");
    assert_eq!(
        masks.over("e", "z: b=1,2, a=3\nc {d}\n"),
        "2 a=3 b=1 z:\nc d\n"
    );
    assert_eq!(masks.over("d", "1\ny\n"), "1\ny\n");
}
