//! A consumer with a rack, between our leader and Apache's follower that stands in it: the leader sends it
//! there, it reads there, and a client's library does all that by itself (KIP-392).

use std::process::Command;

use harness::asker::Asker;
use harness::{peers, tool};
use protocol::StrBytes;
use protocol::kafka::apis::Api;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::fetch_response::PartitionData;
use protocol::messages::{FetchRequest, ResponseKind, TopicName};

use crate::ask;
use crate::shell::Shell;
use crate::stage::{Broker, Make, ZooKeeper, eventually};

const TOPIC: &str = "racked";
const SELECTOR: &str =
    "replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector";

fn settings(rack: &str) -> [String; 4] {
    [
        format!("broker.rack={rack}"),
        SELECTOR.to_owned(),
        "zookeeper.session.timeout.ms=15000".to_owned(),
        "replica.fetch.wait.max.ms=200".to_owned(),
    ]
}

fn text(word: &str) -> StrBytes {
    StrBytes::from_string(word.to_owned())
}

/// What a broker answers to a consumer that stands in this rack.
fn fetch(port: u16, rack: &str) -> PartitionData {
    let at = FetchPartition::default()
        .with_current_leader_epoch(-1)
        .with_last_fetched_epoch(-1)
        .with_log_start_offset(-1)
        .with_partition_max_bytes(1 << 20);
    let of = FetchTopic::default()
        .with_topic(TopicName(text(TOPIC)))
        .with_partitions(vec![at]);
    let request = FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_rack_id(text(rack))
        .with_topics(vec![of]);
    let mut asker = Asker::connect(&format!("127.0.0.1:{port}"), "racks");
    let ResponseKind::Fetch(answer) = asker.ask_as(Api::Fetch, 11, request) else {
        panic!("another answer than was asked for");
    };
    let data = answer.responses[0].partitions[0].clone();
    assert_eq!(data.error_code, 0, "{data:?}");
    data
}

fn is_empty(data: &PartitionData) -> bool {
    data.records
        .as_ref()
        .is_none_or(|records| records.is_empty())
}

#[test]
fn a_consumer_with_a_rack_is_sent_to_apaches_follower_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let Some(zookeeper) = ZooKeeper::start(Make::Ours, dir.path()) else {
        return;
    };
    let start = |make, id, rack| {
        let settings = settings(rack);
        let settings = settings.each_ref().map(String::as_str);
        Broker::start(make, dir.path(), id, zookeeper.port, &settings)
    };
    let (Some(ours), Some(apaches)) = (start(Make::Ours, 1, "near"), start(Make::Apache, 2, "far"))
    else {
        return;
    };
    let shell = Shell::open(zookeeper.port);
    shell.create(
        &format!("/config/topics/{TOPIC}"),
        r#"{"version":1,"config":{}}"#,
    );
    shell.create(
        &format!("/brokers/topics/{TOPIC}"),
        r#"{"version":1,"partitions":{"0":[1,2]}}"#,
    );
    for port in [ours.port, apaches.port] {
        eventually(
            "our leader with Apache in sync",
            || ask::partition(port, TOPIC, 0),
            |told| told.leader == 1 && told.isr == [1, 2],
        );
    }
    let values = ["one", "two", "three"];
    for value in values {
        eventually(
            &format!("{value} appended"),
            || ask::produce(ours.port, TOPIC, 0, value, -1),
            |_| true,
        );
    }
    // Once the follower has told its leader that it has them all, and was told the watermark.
    let follower = eventually(
        "records for a rack at its own broker",
        || Ok(fetch(apaches.port, "far")),
        |data| data.high_watermark == 3 && !is_empty(data),
    );
    let sent = eventually(
        "a consumer sent to its rack",
        || Ok(fetch(ours.port, "far")),
        |data| data.preferred_read_replica.0 == 2,
    );
    assert!(is_empty(&sent), "{sent:?}");
    for rack in ["near", "nowhere", ""] {
        let data = fetch(ours.port, rack);
        assert_eq!(data.preferred_read_replica.0, -1, "{rack:?}");
        assert_eq!(data.records, follower.records, "{rack:?}");
    }

    let Some(kcat) = peers::program("kcat") else {
        return;
    };
    let mut command = Command::new(kcat);
    command
        .current_dir(dir.path())
        .args(["-C", "-b", &format!("127.0.0.1:{}", ours.port)])
        .args(["-t", TOPIC, "-o", "beginning", "-e"])
        .args(["-X", "client.rack=far", "-X", "debug=topic"]);
    let output = tool::run(&mut command, "");
    let read = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(read.lines().collect::<Vec<_>>(), values, "{said}");
    let sent = format!("delegate to broker 127.0.0.1:{}/2", apaches.port);
    assert!(said.contains(&sent), "nobody sent it anywhere:\n{said}");
}
