//! Clients that were not made for us produce, consume and join groups.

use std::process::Command;

use harness::peers;
use harness::process::Single;

use crate::programs::kcat;
use crate::{run, script};

#[test]
fn kcat_produces_and_consumes_with_every_codec() {
    let dir = tempfile::tempdir().unwrap();
    let single = Single::start(dir.path(), &[]);
    let at = single.bootstrap();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let lines: String = (0..500)
            .map(|n| format!("key-{n}:value {n} in {codec}\n"))
            .collect();
        let topic = format!("codec-{codec}");
        let Some(producer) = kcat(&at, &["-P", "-t", &topic, "-K:", "-z", codec]) else {
            return;
        };
        run(producer, &lines);
        let consumer = kcat(
            &at,
            &["-C", "-t", &topic, "-o", "beginning", "-e", "-q", "-K:"],
        )
        .unwrap();
        assert_eq!(run(consumer, ""), lines, "{codec}");
    }
}

#[test]
fn kcat_consumes_as_a_group_and_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let single = Single::start(dir.path(), &["group.initial.rebalance.delay.ms=0"]);
    let at = single.bootstrap();
    let consume = [
        "-G",
        "readers",
        "-e",
        "-q",
        "-X",
        "auto.offset.reset=earliest",
        "letters",
    ];
    for letters in ["a\nb\nc\n", "d\ne\n"] {
        let Some(producer) = kcat(&at, &["-P", "-t", "letters"]) else {
            return;
        };
        run(producer, letters);
        assert_eq!(run(kcat(&at, &consume).unwrap(), ""), letters);
    }
}

#[test]
fn python_clients_new_and_old_produce_consume_and_commit() {
    for release in ["python", "python-old"] {
        let Some(home) = peers::installed(release) else {
            continue;
        };
        let dir = tempfile::tempdir().unwrap();
        // Its records are years old.
        let settings = ["group.initial.rebalance.delay.ms=0", "log.retention.ms=-1"];
        let single = Single::start(dir.path(), &settings);
        let mut command = Command::new(home.join("bin/python"));
        command.arg(script("round_trip.py")).arg(single.bootstrap());
        assert!(run(command, "").ends_with("round trip done\n"), "{release}");
    }
}

#[test]
fn apaches_console_tools_produce_and_consume_in_a_group() {
    let dir = tempfile::tempdir().unwrap();
    let single = Single::start(dir.path(), &["group.initial.rebalance.delay.ms=0"]);
    let at = single.bootstrap();
    let tool = |name: &str, words: &[&str]| {
        let mut command = peers::apache_tool("kafka-3.9", name)?;
        command.args(["--bootstrap-server", &at]).args(words);
        Some(command)
    };
    let Some(create) = tool(
        "kafka-topics",
        &["--create", "--topic", "greetings", "--partitions", "3"],
    ) else {
        return;
    };
    assert_eq!(run(create, ""), "Created topic greetings.\n");
    let describe = run(
        tool("kafka-topics", &["--describe", "--topic", "greetings"]).unwrap(),
        "",
    );
    assert!(
        describe.contains("PartitionCount: 3") && describe.contains("Leader: 1"),
        "{describe}"
    );
    run(
        tool("kafka-console-producer", &["--topic", "greetings"]).unwrap(),
        "hello\nworld\n",
    );
    let words = [
        "--topic",
        "greetings",
        "--from-beginning",
        "--group",
        "g",
        "--max-messages",
        "2",
    ];
    let mut got: Vec<String> = run(tool("kafka-console-consumer", &words).unwrap(), "")
        .lines()
        .map(str::to_owned)
        .collect();
    got.sort();
    assert_eq!(got, ["hello", "world"]);
    let groups = run(
        tool("kafka-consumer-groups", &["--describe", "--group", "g"]).unwrap(),
        "",
    );
    assert!(groups.contains("greetings"), "{groups}");
}
