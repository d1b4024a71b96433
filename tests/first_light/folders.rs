//! A log directory of ours is one that Apache Kafka opens, a replica set aside in it as well.

use std::process::Command;
use std::time::Duration;

use harness::peers;
use harness::ports::free_port;
use harness::process::{Process, Single};
use harness::tool;

use crate::programs::kcat;
use crate::run;

/// How long either broker may take to stop, or to learn what it leads.
const STOP_LIMIT: Duration = Duration::from_secs(120);

#[test]
fn apache_kafka_starts_on_our_log_directory_and_serves_its_records() {
    let (Some(kafka), Some(zookeeper)) = (
        peers::installed("kafka-3.9"),
        peers::installed("zookeeper-3.9"),
    ) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let zookeeper_port = free_port();
    let zoo = dir.path().join("zoo.cfg");
    let text = format!(
        "tickTime=2000\nadmin.enableServer=false\ndataDir={}\nclientPort={zookeeper_port}\nclientPortAddress=127.0.0.1\n",
        dir.path().join("zookeeper").display()
    );
    std::fs::write(&zoo, text).unwrap();
    let mut command = Command::new(zookeeper.join("bin/zkServer.sh"));
    command.arg(&zoo);
    let mut zookeeper = Process::start(command, &dir.path().join("zookeeper.log"));
    zookeeper.wait_for_port(zookeeper_port);

    // Ours first, on the real ZooKeeper, so that the cluster id stays the same.
    let at = format!("zookeeper.connect=127.0.0.1:{zookeeper_port}");
    let mut single = Single::start(dir.path(), &[&at, "broker.id=0", "num.partitions=2"]);
    // Its port answers before it serves.
    single
        .process
        .announce(&["ZooKeeper not reached; trying on"]);
    let lines: String = (0..300).map(|n| format!("record {n}\n")).collect();
    let Some(producer) = kcat(
        &single.bootstrap(),
        &["-P", "-t", "moved", "-p", "0", "-z", "lz4"],
    ) else {
        return;
    };
    run(producer, &lines);
    assert_eq!(single.process.terminate(STOP_LIMIT).code(), Some(0));

    // As a damaged replica is set aside: Apache parses the name and leaves it alone.
    let aside = format!("data/moved-1.{}-stray", "0123456789abcdef".repeat(2));
    let aside = dir.path().join(aside);
    std::fs::create_dir(&aside).unwrap();

    let properties = dir.path().join("apache.properties");
    let text = format!(
        "broker.id=0\nlisteners=PLAINTEXT://127.0.0.1:{}\nzookeeper.connect=127.0.0.1:{zookeeper_port}\nlog.dirs={}\noffsets.topic.replication.factor=1\n",
        single.port,
        dir.path().join("data").display()
    );
    std::fs::write(&properties, text).unwrap();
    let mut command = Command::new(kafka.join("bin/kafka-server-start.sh"));
    command.env("KAFKA_HEAP_OPTS", "-Xmx384m").arg(&properties);
    let mut apache = Process::start(command, &dir.path().join("apache.log"));
    apache.wait_for_log("started (kafka.server.KafkaServer)");
    let words = [
        "-C",
        "-t",
        "moved",
        "-p",
        "0",
        "-o",
        "beginning",
        "-e",
        "-q",
    ];
    // Apache serves before its controller has told it about the topic.
    harness::wait::until("Apache to know the topic", STOP_LIMIT, || {
        let mut list = kcat(&single.bootstrap(), &["-L", "-t", "moved"])?;
        let listed = tool::run(&mut list, "").stdout;
        String::from_utf8_lossy(&listed)
            .contains("partition 0, leader 0,")
            .then_some(())
    });
    assert_eq!(run(kcat(&single.bootstrap(), &words).unwrap(), ""), lines);
    assert!(apache.terminate(STOP_LIMIT).code().is_some());
    assert!(aside.is_dir(), "Apache has taken what was set aside");

    // And back again.
    single.restart();
    assert_eq!(run(kcat(&single.bootstrap(), &words).unwrap(), ""), lines);
    assert!(aside.is_dir());
}
