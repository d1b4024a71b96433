//! Apache's own tools on a cluster of ours: those of 2.8 write ZooKeeper, those of 3.9 ask a broker.

use std::process::Command;

use harness::{peers, tool};

use crate::ask;
use crate::stage::{Make, eventually, soon};
use crate::trio::Trio;

/// The tool's output; it must end well.
fn run(mut tool: Command, words: &[&str]) -> String {
    tool::done(tool.args(words), "")
}

fn file(dir: &std::path::Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// A release's tools, and three brokers of ours; `None` where the release is missing, which was said.
fn stage(
    release: &'static str,
    dir: &std::path::Path,
) -> Option<(impl Fn(&str) -> Option<Command>, Trio)> {
    let tool = move |name: &str| peers::apache_tool(release, name);
    tool("kafka-topics")?;
    let trio = Trio::start(Make::Ours, Make::Ours, dir)?;
    Some((tool, trio))
}

/// The topic whose assignment is turned round.
const TURNED: &str =
    r#"{"version":1,"partitions":[{"topic":"turned","partition":0,"replicas":[2,1]}]}"#;

fn await_leader(trio: &Trio, topic: &str, leader: i32) {
    eventually(
        "the leader",
        || ask::partition(trio.port(3), topic, 0),
        |told| told.leader == leader,
    );
}

#[test]
#[ignore = "a dozen starts of Java; tests/run --all"]
fn tools_of_2_8_write_zookeeper_and_are_obeyed() {
    let dir = tempfile::tempdir().unwrap();
    let Some((tool, trio)) = stage("kafka-2.8", dir.path()) else {
        return;
    };
    let zookeeper = format!("127.0.0.1:{}", trio.zookeeper.port);
    let topics = |words: &[&str]| {
        let mut all = vec!["--zookeeper", &zookeeper];
        all.extend(words);
        run(tool("kafka-topics").unwrap(), &all)
    };
    topics(&[
        "--create",
        "--topic",
        "old",
        "--partitions",
        "2",
        "--replication-factor",
        "1",
        "--config",
        "retention.ms=1000",
    ]);
    for port in [trio.port(1), trio.port(2), trio.port(3)] {
        for index in 0..2 {
            eventually(
                "a leader",
                || ask::partition(port, "old", index),
                |told| told.leader > 0,
            );
        }
    }
    // The id such a tool leaves out is given by the controller.
    soon("a topic id", || {
        let node = trio.shell.get("/brokers/topics/old");
        node.is_some_and(|node| node.contains("topic_id"))
    });
    topics(&["--alter", "--topic", "old", "--partitions", "3"]);
    let leader = eventually(
        "the third partition",
        || ask::partition(trio.port(1), "old", 2),
        |told| told.leader > 0,
    )
    .leader;
    trio.append("old", 2, leader, "new partition");
    let told = topics(&["--describe", "--topic", "old"]);
    assert!(
        told.contains("PartitionCount: 3") && told.contains("retention.ms=1000"),
        "{told}"
    );

    let configs = tool("kafka-configs").unwrap();
    run(
        configs,
        &[
            "--zookeeper",
            &zookeeper,
            "--alter",
            "--entity-type",
            "topics",
            "--entity-name",
            "old",
            "--add-config",
            "retention.ms=2000",
        ],
    );
    eventually(
        "the config",
        || ask::config(trio.port(2), 2, "old", "retention.ms"),
        |got| got.as_deref() == Some("2000"),
    );

    // Preferred election: the assignment is turned round, then the first in line is to lead.
    topics(&[
        "--create",
        "--topic",
        "turned",
        "--replica-assignment",
        "1:2",
    ]);
    await_leader(&trio, "turned", 1);
    let plan = file(dir.path(), "plan.json", TURNED);
    run(
        tool("kafka-reassign-partitions").unwrap(),
        &[
            "--zookeeper",
            &zookeeper,
            "--execute",
            "--reassignment-json-file",
            &plan,
        ],
    );
    eventually(
        "the new order",
        || ask::partition(trio.port(3), "turned", 0),
        |told| told.replicas == [2, 1],
    );
    trio.shell.wait_for("/admin/reassign_partitions", false);
    let which = file(
        dir.path(),
        "which.json",
        r#"{"partitions":[{"topic":"turned","partition":0}]}"#,
    );
    run(
        tool("kafka-preferred-replica-election").unwrap(),
        &["--zookeeper", &zookeeper, "--path-to-json-file", &which],
    );
    await_leader(&trio, "turned", 2);
    trio.shell
        .wait_for("/admin/preferred_replica_election", false);

    topics(&["--delete", "--topic", "old"]);
    trio.shell.wait_for("/brokers/topics/old", false);
    trio.shell.wait_for("/config/topics/old", false);
    soon("the folders to go", || {
        trio.brokers
            .iter()
            .all(|broker| (0..3).all(|index| !broker.log_dir("old", index).exists()))
    });
}

#[test]
#[ignore = "a dozen starts of Java; tests/run --all"]
fn tools_of_3_9_ask_a_broker_and_are_obeyed() {
    let dir = tempfile::tempdir().unwrap();
    let Some((tool, trio)) = stage("kafka-3.9", dir.path()) else {
        return;
    };
    // Any broker: the tool finds the controller by itself.
    let at = format!("127.0.0.1:{}", trio.port(3));
    let with = |name: &str, words: &[&str]| {
        let mut all = vec!["--bootstrap-server", &at];
        all.extend(words);
        run(tool(name).unwrap(), &all)
    };
    with(
        "kafka-topics",
        &[
            "--create",
            "--topic",
            "new",
            "--partitions",
            "2",
            "--replication-factor",
            "1",
        ],
    );
    with(
        "kafka-topics",
        &["--alter", "--topic", "new", "--partitions", "3"],
    );
    // Any broker answers, and hears of changes when its turn comes: here and with the next two.
    eventually(
        "three partitions led",
        || Ok(with("kafka-topics", &["--describe", "--topic", "new"])),
        |told| told.contains("PartitionCount: 3") && !told.contains("Leader: none"),
    );
    with(
        "kafka-configs",
        &[
            "--alter",
            "--topic",
            "new",
            "--add-config",
            "retention.ms=3000",
        ],
    );
    eventually(
        "the config",
        || Ok(with("kafka-configs", &["--describe", "--topic", "new"])),
        |told| told.contains("retention.ms=3000"),
    );
    trio.shell.create(
        "/brokers/topics/turned",
        r#"{"version":1,"partitions":{"0":[1,2]}}"#,
    );
    await_leader(&trio, "turned", 1);
    let plan = file(dir.path(), "plan.json", TURNED);
    with(
        "kafka-reassign-partitions",
        &["--execute", "--reassignment-json-file", &plan],
    );
    let verify = ["--verify", "--reassignment-json-file", &plan];
    eventually(
        "the reassignment to be complete",
        || Ok(with("kafka-reassign-partitions", &verify)),
        |told| told.contains("is complete"),
    );
    with(
        "kafka-leader-election",
        &[
            "--election-type",
            "preferred",
            "--topic",
            "turned",
            "--partition",
            "0",
        ],
    );
    await_leader(&trio, "turned", 2);
    with("kafka-topics", &["--delete", "--topic", "new"]);
    trio.shell.wait_for("/brokers/topics/new", false);
}
