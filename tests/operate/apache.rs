//! The same changes by Apache's own `kafka-configs.sh`, on a live Apache Kafka 3.9 and on ours: what
//! the tool says must be the same.

use std::process::Command;

use harness::peers;
use harness::ports::free_port;
use harness::process::Process;
use harness::tool;

use crate::running::Running;

/// One run of the tool each; the ports in them are not listened on by anybody.
const ATTEMPTS: &[&str] = &[
    "--alter --entity-type brokers --entity-default --add-config log.cleaner.threads=2",
    "--alter --entity-type brokers --entity-default --add-config log.cleaner.threads=9",
    "--alter --entity-type brokers --entity-name 1 --add-config num.io.threads=100",
    "--alter --entity-type brokers --entity-name 1 --add-config num.io.threads=9",
    "--alter --entity-type brokers --entity-name 1 --add-config zookeeper.connect=x:1",
    "--alter --entity-type brokers --entity-default --add-config advertised.listeners=PLAINTEXT://h:1",
    "--alter --entity-type brokers --entity-name 1 --add-config advertised.listeners=NOBODY://h:1",
    "--alter --entity-type brokers --entity-name 1 --add-config advertised.listeners=SECOND://h:1",
    "--alter --entity-type brokers --entity-name 1 --add-config max.connections.per.ip=0",
    "--alter --entity-type brokers --entity-name 1 --add-config max.connections=0",
    "--alter --entity-type brokers --entity-default --add-config max.connection.creation.rate=0",
    "--alter --entity-type brokers --entity-name 1 --add-config listener.name.plaintext.max.connections=0",
    "--alter --entity-type brokers --entity-name 1 --add-config listener.name.plaintext.max.connections=-1",
    "--alter --entity-type brokers --entity-name 1 --add-config listener.name.plaintext.max.connections=900",
    "--alter --entity-type brokers --entity-name 1 --add-config log.segment.bytes=1",
    "--alter --entity-type brokers --entity-name 1 --delete-config no.such.key",
    "--alter --entity-type broker-loggers --entity-name 1 --add-config no.such.Logger=INFO",
    "--alter --entity-type broker-loggers --entity-name 1 --add-config root=LOUD",
    "--alter --entity-type broker-loggers --entity-name 1 --delete-config root",
    "--alter --entity-type broker-loggers --entity-name 1 --add-config kafka.server.KafkaApis=DEBUG",
    "--describe --entity-type brokers --entity-name 1",
    "--describe --entity-type brokers --entity-default",
];

fn say(bootstrap: &str, attempt: &str) -> Option<String> {
    let mut command = peers::apache_tool("kafka-3.9", "kafka-configs")?;
    command
        .args(["--bootstrap-server", bootstrap])
        .args(attempt.split(' '));
    let output = tool::run(&mut command, "");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    // Stacks name the tool's own lines, and times are not compared.
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("at ") && !line.contains(" more"));
    Some(lines.collect::<Vec<_>>().join("\n"))
}

#[test]
#[ignore = "four dozen starts of a Java machine"]
fn apaches_tool_hears_the_same_from_both_brokers() {
    let Some(kafka) = peers::installed("kafka-3.9") else {
        return;
    };
    let mut ours = Running::start(&[]);
    ours.single.process.announce(&["changed a log level"]);
    // Apache's broker lives in a corner of our coordinator.
    let port = free_port();
    let folder = ours.dir.path().join("apache");
    std::fs::create_dir(&folder).unwrap();
    let properties = folder.join("server.properties");
    let text = format!(
        "broker.id=1\nlisteners=PLAINTEXT://127.0.0.1:{port}\nzookeeper.connect=127.0.0.1:{}/apache\nlog.dirs={}\noffsets.topic.replication.factor=1\n",
        ours.single.coordinator_port,
        folder.join("data").display()
    );
    std::fs::write(&properties, text).unwrap();
    let mut command = Command::new(kafka.join("bin/kafka-server-start.sh"));
    command.env("KAFKA_HEAP_OPTS", "-Xmx384m").arg(&properties);
    let mut apache = Process::start(command, &folder.join("log"));
    apache.wait_for_log("started (kafka.server.KafkaServer)");
    let mut differ = Vec::new();
    for attempt in ATTEMPTS {
        // The tool names the address it was given.
        let hears = |at: &str| say(at, attempt).unwrap().replace(at, "ADDRESS");
        let theirs = hears(&format!("127.0.0.1:{port}"));
        let ours = hears(&ours.single.bootstrap());
        if theirs != ours {
            differ.push(format!("{attempt}\n  Apache: {theirs}\n  ours:   {ours}"));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
