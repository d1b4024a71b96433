//! One Apache Kafka 3.9 broker and one of ours in one cluster, either as controller, there and
//! back by kill -9. Broker 1 is ours, broker 2 is Apache's.

use crate::ask::{self, Shape};
use crate::shell::Shell;
use crate::stage::{Broker, Make, ZooKeeper, eventually, soon};
use protocol::kafka::errors::ErrorCode;

const LAG: [&str; 5] = [
    // Frozen for longer than the lag allows, a broker must be far from losing its session.
    "zookeeper.session.timeout.ms=15000",
    "replica.lag.time.max.ms=1500",
    "replica.fetch.wait.max.ms=200",
    "controlled.shutdown.max.retries=1",
    "controlled.shutdown.retry.backoff.ms=500",
];

struct Cluster {
    shell: Shell,
    ours: Broker,
    apaches: Broker,
}

impl Cluster {
    fn ports(&self) -> [u16; 2] {
        [self.ours.port, self.apaches.port]
    }

    /// The controller's port, and the other's.
    fn controller(&self) -> (u16, u16) {
        match self.shell.controller() {
            Some(1) => (self.ours.port, self.apaches.port),
            _ => (self.apaches.port, self.ours.port),
        }
    }

    fn port_of(&self, broker: i32) -> u16 {
        if broker == 1 {
            self.ours.port
        } else {
            self.apaches.port
        }
    }

    /// Both brokers tell the same of a partition, and it is led by `leader`.
    fn led(&self, topic: &str, index: usize, leader: i32) {
        for port in self.ports() {
            eventually(
                &format!("{topic}-{index} led by {leader} in the eyes of {port}"),
                || ask::partition(port, topic, index),
                |told| told.leader == leader,
            );
        }
        // One cluster: the ids, the epochs, the members in sync.
        let what = format!("{topic} told alike");
        eventually(
            &what,
            || {
                Ok((
                    ask::metadata(self.ours.port, topic)?.1,
                    ask::metadata(self.apaches.port, topic)?.1,
                ))
            },
            |(ours, apaches)| ours == apaches,
        );
    }

    fn round_trip(&self, topic: &str, index: i32, leader: i32, value: &str, acks: i16) {
        let port = self.port_of(leader);
        eventually(
            &format!("{value} appended to {topic}-{index}"),
            || ask::produce(port, topic, index, value, acks),
            |_| true,
        );
        eventually(
            &format!("{value} read back from {topic}-{index}"),
            || ask::holds(port, topic, index, value),
            |there| *there,
        );
    }
}

/// Every order of the controller that reigns, whoever it is; `word` keeps the names apart.
fn orders(cluster: &Cluster, word: &str) {
    let (controller, other) = cluster.controller();
    // A topic with a partition on each; both brokers serve it.
    let split = format!("split-{word}");
    let made = ask::create_topic(controller, &split, &Shape::Given(&[&[1], &[2]])).unwrap();
    assert_eq!(made.0, ErrorCode::None, "{}", made.1);
    for (index, leader) in [(0, 1), (1, 2)] {
        cluster.led(&split, usize::try_from(index).unwrap(), leader);
        cluster.round_trip(&split, index, leader, &format!("{word}-{index}"), -1);
    }

    // Apache follows our leader, whichever controller made the topic. Written as znodes, for our
    // own CreateTopics refuses two replicas.
    let pair = format!("pair-{word}");
    cluster.shell.create(
        &format!("/config/topics/{pair}"),
        r#"{"version":1,"config":{}}"#,
    );
    cluster.shell.create(
        &format!("/brokers/topics/{pair}"),
        r#"{"version":1,"partitions":{"0":[1,2]}}"#,
    );
    cluster.led(&pair, 0, 1);
    cluster.round_trip(&pair, 0, 1, &format!("{word}-copied"), -1);
    let state = cluster
        .shell
        .wait_for_state(&pair, 0, |state| state.isr == [1, 2]);
    assert_eq!((state.leader, state.leader_epoch), (1, 0), "{}", state.text);

    // Frozen for longer than the lag allows but shorter than its session: Apache leaves the ISR
    // by our AlterPartition, and comes back into it by another.
    cluster.apaches.process.freeze();
    let frozen = std::time::Instant::now();
    ask::produce(cluster.ours.port, &pair, 0, "while frozen", 1).unwrap();
    soon("the lag to be over", || {
        frozen.elapsed().as_millis() > 3_500
    });
    cluster.apaches.process.signal("CONT");
    cluster.round_trip(&pair, 0, 1, &format!("{word}-after"), -1);
    let back = cluster.shell.wait_for_state(&pair, 0, |state| {
        // Creation is version 0; leaving and coming back are one write each.
        state.isr == [1, 2] && state.version >= 2
    });
    assert_eq!(back.leader, 1, "{}", back.text);

    // Ours does not fetch yet: it leaves the ISR of Apache's partition by Apache's AlterPartition.
    let mirror = format!("mirror-{word}");
    cluster.shell.create(
        &format!("/brokers/topics/{mirror}"),
        r#"{"version":1,"partitions":{"0":[2,1]}}"#,
    );
    cluster.led(&mirror, 0, 2);
    cluster.round_trip(&mirror, 0, 2, &format!("{word}-alone"), 1);
    let state = cluster
        .shell
        .wait_for_state(&mirror, 0, |state| state.isr == [2]);
    assert_eq!((state.leader, state.leader_epoch), (2, 0), "{}", state.text);

    // Reassignment: from ours to Apache, who copies it first; our replica's folder goes.
    let moved = ask::reassign(controller, &split, 0, Some(&[2])).unwrap();
    assert_eq!(moved, ErrorCode::None);
    cluster.led(&split, 0, 2);
    soon("our folder of the moved partition to go", || {
        !cluster.ours.log_dir(&split, 0).exists()
    });
    cluster.round_trip(&split, 0, 2, &format!("{word}-moved"), -1);
    eventually(
        "what was copied, at its new leader",
        || ask::holds(cluster.apaches.port, &split, 0, &format!("{word}-0")),
        |there| *there,
    );
    // Towards ours it cannot finish; it is taken back.
    assert_eq!(
        ask::reassign(controller, &split, 1, Some(&[1])).unwrap(),
        ErrorCode::None
    );
    eventually(
        "both replicas while it moves",
        || ask::partition(other, &split, 1),
        |told| told.replicas == [1, 2],
    );
    assert_eq!(
        ask::reassign(controller, &split, 1, None).unwrap(),
        ErrorCode::None
    );
    eventually(
        "one replica again",
        || ask::partition(other, &split, 1),
        |told| told.replicas == [2],
    );

    // Configs, told by one and obeyed by the other.
    for (told, obeyed, value) in [(controller, other, "77000"), (other, controller, "88000")] {
        assert_eq!(
            ask::set_config(told, 2, &pair, "retention.ms", Some(value)).unwrap(),
            ErrorCode::None
        );
        eventually(
            "the config at the other broker",
            || ask::config(obeyed, 2, &pair, "retention.ms"),
            |got| got.as_deref() == Some(value),
        );
    }

    // Preferred election: Apache becomes first in line, and leads once asked to.
    let turned = format!("turned-{word}");
    cluster.shell.create(
        &format!("/brokers/topics/{turned}"),
        r#"{"version":1,"partitions":{"0":[1,2]}}"#,
    );
    cluster.led(&turned, 0, 1);
    cluster.round_trip(&turned, 0, 1, &format!("{word}-turned"), -1);
    let again = ask::elect(controller, false, &turned, 0).unwrap();
    assert_eq!(again, ErrorCode::ElectionNotNeeded);
    let order = ask::reassign(controller, &turned, 0, Some(&[2, 1])).unwrap();
    assert_eq!(order, ErrorCode::None);
    eventually(
        "Apache first in line",
        || ask::partition(other, &turned, 0),
        |told| told.replicas == [2, 1] && told.leader == 1,
    );
    // Refused while Apache is out of the ISR for a moment, which a loaded machine makes it.
    eventually(
        "Apache to be elected",
        || ask::elect(controller, false, &turned, 0),
        |told| matches!(told, ErrorCode::None | ErrorCode::ElectionNotNeeded),
    );
    cluster.led(&turned, 0, 2);
    // Its watermark passes the record once ours, which does not fetch, has left the ISR.
    eventually(
        "the record under the new leader",
        || ask::holds(cluster.apaches.port, &turned, 0, &format!("{word}-turned")),
        |there| *there,
    );

    // Producer ids: blocks of the controller, asked for by both.
    let (mine, theirs) = (producer_id(controller), producer_id(other));
    assert_ne!(
        mine / 1000,
        theirs / 1000,
        "{mine} and {theirs} of one block"
    );

    // Deletion reaches both disks.
    assert_eq!(
        ask::delete_topic(controller, &pair).unwrap(),
        ErrorCode::None
    );
    cluster
        .shell
        .wait_for(&format!("/admin/delete_topics/{pair}"), false);
    cluster
        .shell
        .wait_for(&format!("/brokers/topics/{pair}"), false);
    soon("both folders to go", || {
        !cluster.ours.log_dir(&pair, 0).exists() && !cluster.apaches.log_dir(&pair, 0).exists()
    });
}

fn producer_id(port: u16) -> i64 {
    eventually("a producer id", || ask::producer_id(port), |_| true)
}

/// The names in a broker's registration, and the version it says of itself.
fn registration(shell: &Shell, id: i32) -> (Vec<String>, Option<i64>) {
    let text = shell.get(&format!("/brokers/ids/{id}")).unwrap();
    let body: serde_json::Value = serde_json::from_str(&text).unwrap();
    let names = body.as_object().unwrap().keys().cloned().collect();
    (names, body["version"].as_i64())
}

/// In a cluster on its way from 2.6 leaders write ISRs themselves and tell the controller by
/// notices, brokers take their producer ids themselves, and no topic has an id.
#[test]
fn apaches_broker_and_ours_are_one_cluster_at_an_old_protocol_version() {
    let dir = tempfile::tempdir().unwrap();
    let Some(zookeeper) = ZooKeeper::start(Make::Apache, dir.path()) else {
        return;
    };
    let mut settings = LAG.to_vec();
    settings.push("inter.broker.protocol.version=2.6");
    let start = |make, id| Broker::start(make, dir.path(), id, zookeeper.port, &settings);
    let Some(ours) = start(Make::Ours, 1) else {
        return;
    };
    let shell = Shell::open(zookeeper.port);
    // Taken at the start already.
    shell.wait_for("/latest_producer_id_block", true);
    eventually(
        "our first block of producer ids",
        || Ok(shell.get("/latest_producer_id_block").unwrap()),
        |text| text == r#"{"version":1,"broker":1,"block_start":"0","block_end":"999"}"#,
    );
    let Some(apaches) = start(Make::Apache, 2) else {
        return;
    };
    let mut cluster = Cluster {
        shell,
        ours,
        apaches,
    };
    assert_eq!(cluster.shell.controller(), Some(1));
    let (mine, theirs) = (
        registration(&cluster.shell, 1),
        registration(&cluster.shell, 2),
    );
    assert_eq!((mine.1, mine), (Some(4), theirs));
    orders(&cluster, "first");
    isrs_are_told(&cluster, "first");

    cluster.ours.process.kill_9();
    cluster.shell.wait_for_controller(2);
    cluster.ours.restart();
    orders(&cluster, "second");
    isrs_are_told(&cluster, "second");
}

/// The controller has heard of the ISRs that leaders wrote, told everybody, and swept the notices.
fn isrs_are_told(cluster: &Cluster, word: &str) {
    let turned = format!("turned-{word}");
    let state = cluster
        .shell
        .wait_for_state(&turned, 0, |state| state.isr == [2]);
    assert_eq!(state.leader, 2, "{}", state.text);
    for port in cluster.ports() {
        eventually(
            &format!("the ISR that Apache wrote, told by {port}"),
            || ask::partition(port, &turned, 0),
            |told| told.isr == [2],
        );
    }
    soon("the notices to be swept", || {
        cluster.shell.names("/isr_change_notification").is_empty()
    });
}

#[test]
fn apaches_broker_and_ours_are_one_cluster_under_either_controller() {
    let dir = tempfile::tempdir().unwrap();
    let Some(zookeeper) = ZooKeeper::start(Make::Apache, dir.path()) else {
        return;
    };
    let Some(ours) = Broker::start(Make::Ours, dir.path(), 1, zookeeper.port, &LAG) else {
        return;
    };
    let Some(apaches) = Broker::start(Make::Apache, dir.path(), 2, zookeeper.port, &LAG) else {
        return;
    };
    let mut cluster = Cluster {
        shell: Shell::open(zookeeper.port),
        ours,
        apaches,
    };
    assert_eq!(cluster.shell.controller(), Some(1));
    orders(&cluster, "first");
    let made = ask::create_topic(cluster.ours.port, "lonely", &Shape::Given(&[&[1]])).unwrap();
    assert_eq!(made.0, ErrorCode::None, "{}", made.1);
    cluster.led("lonely", 0, 1);
    cluster.round_trip("lonely", 0, 1, "kept", -1);

    // There: ours is killed, Apache takes over.
    cluster.ours.process.kill_9();
    cluster.shell.wait_for_controller(2);
    let dead = cluster
        .shell
        .wait_for_state("lonely", 0, |state| state.leader == -1);
    assert_eq!(dead.isr, [1], "{}", dead.text);
    cluster.ours.restart();
    cluster.led("lonely", 0, 1);
    eventually(
        "what was kept by the killed",
        || ask::holds(cluster.ours.port, "lonely", 0, "kept"),
        |there| *there,
    );
    orders(&cluster, "second");

    // And back.
    cluster.apaches.process.kill_9();
    cluster.shell.wait_for_controller(1);
    cluster.apaches.restart();
    cluster.led("split-second", 1, 2);
    orders(&cluster, "third");

    // Leaving politely: Apache asks our controller, then ours asks Apache's.
    let limit = std::time::Duration::from_secs(120);
    let turned = cluster
        .shell
        .wait_for_state("turned-third", 0, |state| state.leader == 2);
    cluster.apaches.process.terminate(limit);
    // Ours is not in sync anywhere: the controller says which partitions would lose their leader.
    let said = cluster.apaches.process.log();
    assert!(said.contains("partitions remaining to move"), "{said}");
    let left = cluster.shell.wait_for_state("turned-third", 0, |state| {
        state.leader == -1 || state.leader == 1
    });
    assert!(left.leader_epoch > turned.leader_epoch, "{}", left.text);
    cluster.apaches.restart();
    cluster.shell.wait_for_controller(1);
    let last = "last";
    cluster.shell.create(
        &format!("/brokers/topics/{last}"),
        r#"{"version":1,"partitions":{"0":[1,2]}}"#,
    );
    cluster.led(last, 0, 1);
    cluster.round_trip(last, 0, 1, "kept by the follower", -1);
    // All that were in sync have it; Apache is to be one of them.
    cluster
        .shell
        .wait_for_state(last, 0, |state| state.isr == [1, 2]);
    cluster.ours.process.terminate(limit);
    cluster.shell.wait_for_controller(2);
    let passed = cluster
        .shell
        .wait_for_state(last, 0, |state| state.leader == 2);
    assert_eq!(passed.isr, [2], "{}", passed.text);
    eventually(
        "the record at the follower",
        || ask::holds(cluster.apaches.port, last, 0, "kept by the follower"),
        |there| *there,
    );
}
