//! Replicas move between directories while they serve: ordered, called off, interrupted, refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::sync::Arc;

use base::clock::Clock;
use base::disk::SystemDisk;
use bytes::Bytes;
use protocol::batch::{BatchBuilder, Codec};
use protocol::ids::{
    BrokerEpoch, BrokerId, ControllerEpoch, LeaderEpoch, Offset, TopicId, TopicPartition,
};
use replication::append::{Acks, Append, Turn, append};
use replication::config::{
    MovesConfig, ReplicationConfig, SessionsConfig, TopicConfig, TopicRules,
};
use replication::endpoint::{IsrKeeper, Proposal};
use replication::error::Refusal;
use replication::move_dir::Next;
use replication::partition::{Assignment, Partition, PartitionOrder};
use replication::replicas::Replicas;
use replication::role::{Authority, StopOrder};
use storage::config::{LogConfig, StoreConfig};
use storage::log::{Origin, ReadRequest, Upto};
use storage::store::Store;

const ME: BrokerId = BrokerId(1);

#[derive(Debug)]
struct Alone;

impl IsrKeeper for Alone {
    fn propose(&self, _proposal: Proposal) {}

    fn is_alive(&self, _broker: BrokerId) -> bool {
        true
    }
}

struct World {
    dir: tempfile::TempDir,
    clock: Clock,
    replicas: Arc<Replicas>,
}

fn open(dir: &std::path::Path, clock: &Clock) -> Arc<Replicas> {
    let config = StoreConfig {
        dirs: vec![dir.join("a"), dir.join("b"), dir.join("c")],
        delete_delay_ms: 0,
        ..StoreConfig::default()
    };
    let of_topic = |topic: &str| {
        let log = LogConfig {
            flush_messages: if topic == "durable" { 1 } else { i64::MAX },
            segment_bytes: 4_096,
            ..LogConfig::default()
        };
        TopicConfig {
            log: Arc::new(log),
            rules: TopicRules::default(),
        }
    };
    let log_of = |topic: &str| of_topic(topic).log;
    let store = Store::open(SystemDisk::shared(), config, clock.clone(), &log_of).unwrap();
    let config = ReplicationConfig {
        me: ME,
        lag_ms_max: 1_000,
        checkpoint_ms: 5_000,
        sessions: SessionsConfig::default(),
        moves: MovesConfig {
            copy_bytes: 1_000,
            ..MovesConfig::default()
        },
        workers: 4,
    };
    let of_topic = Arc::new(of_topic);
    let store = Arc::new(store);
    Replicas::new(config, store, clock.clone(), Arc::new(Alone), of_topic).unwrap()
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::by_hand(1_700_000_000_000);
        let replicas = open(dir.path(), &clock);
        World {
            dir,
            clock,
            replicas,
        }
    }

    /// As after kill -9: nothing was closed.
    fn die(self) -> World {
        let World {
            dir,
            clock,
            replicas,
        } = self;
        drop(replicas);
        let replicas = open(dir.path(), &clock);
        World {
            dir,
            clock,
            replicas,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn lead_in(&self, topic: &str, epoch: i32) -> Arc<Partition> {
        let order = PartitionOrder {
            partition: TopicPartition::new(topic, 0),
            topic_id: TopicId::ZERO,
            controller_epoch: ControllerEpoch(1),
            leader: ME,
            leader_epoch: LeaderEpoch(epoch),
            isr: vec![ME],
            partition_epoch: epoch,
            assignment: Assignment {
                replicas: vec![ME],
                ..Assignment::default()
            },
            is_new: true,
        };
        let applied = self.replicas.apply_leader_and_isr(authority(), &[order]);
        applied.unwrap().results.remove(0).2.unwrap();
        self.replicas.partition(topic, 0).online().unwrap()
    }

    fn lead(&self, topic: &str) -> Arc<Partition> {
        self.lead_in(topic, 0)
    }

    /// Wherever it is not; gives where that is.
    fn elsewhere(&self, partition: &Partition) -> PathBuf {
        let here = partition.log().directory();
        let mut all = ["b", "c", "a"].into_iter().map(|name| self.at(name));
        all.find(|path| *path != here).unwrap()
    }

    fn order_to(&self, partition: &Partition, to: &std::path::Path) -> Result<(), Refusal> {
        self.replicas.alter_directory(partition.id(), to)
    }

    fn move_on(&self) {
        while self.replicas.is_moving() {
            assert_eq!(self.replicas.move_some(), Next::Again);
        }
    }
}

fn authority() -> Authority {
    Authority {
        controller_epoch: ControllerEpoch(1),
        broker_epoch: BrokerEpoch(7),
        own_broker_epoch: BrokerEpoch(7),
    }
}

fn records(count: usize) -> Bytes {
    let mut batch = BatchBuilder::new(Codec::None);
    for _ in 0..count {
        batch
            .push(1_700_000_000_000, Some(b"key"), Some(&[b'v'; 100]), &[])
            .unwrap();
    }
    batch.build().unwrap()
}

fn produce(partition: &Arc<Partition>, batches: usize) {
    for _ in 0..batches {
        let mut turn = Turn::begin();
        match append(
            partition,
            records(2),
            Origin::Client,
            Acks::Leader,
            &mut turn,
        ) {
            Append::Answered(answer) => assert_eq!(answer.refusal, None),
            Append::Waits(_) => {}
        }
        turn.end();
    }
}

/// All bytes of the replica that serves.
fn bytes_of(partition: &Partition) -> Vec<u8> {
    let log = partition.log();
    let mut all = Vec::new();
    let offsets = log.offsets();
    let mut from = offsets.start;
    while from < offsets.end {
        let request = ReadRequest {
            from,
            bytes_max: 1 << 20,
            min_one: true,
            upto: Upto::End,
        };
        let bytes = log.read(request).unwrap().read().unwrap();
        for batch in protocol::batch::split(&bytes) {
            from = batch.unwrap().last_offset() + 1;
        }
        all.extend_from_slice(&bytes);
    }
    all
}

fn folders_in(dir: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("t-"))
        .collect();
    names.sort();
    names
}

#[test]
fn a_replica_moves_under_appends_and_nothing_is_lost_or_changed() {
    let world = World::new();
    let partition = world.lead("t");
    produce(&partition, 40);
    let (from, to) = (partition.log().directory(), world.elsewhere(&partition));
    world.order_to(&partition, &to).unwrap();
    assert!(partition.future().unwrap().is_future());
    for _ in 0..10 {
        assert_eq!(world.replicas.move_some(), Next::Again);
        produce(&partition, 1);
    }
    let before = bytes_of(&partition);
    world.move_on();
    assert_eq!(partition.log().directory(), to);
    assert_eq!(partition.lane().path(), to);
    assert_eq!(partition.future().map(|log| log.path()), None);
    assert_eq!(bytes_of(&partition), before);
    produce(&partition, 3);
    assert_eq!(partition.view().offsets.watermark, Offset(106));
    assert_eq!(folders_in(&to), ["t-0"]);
    let left = folders_in(&from);
    assert!(left.len() == 1 && left[0].ends_with("-delete"), "{left:?}");
    world.replicas.store().housekeep();
    assert!(folders_in(&from).is_empty());
}

#[test]
fn a_move_goes_on_after_the_process_died() {
    let world = World::new();
    let partition = world.lead("t");
    produce(&partition, 40);
    let to = world.elsewhere(&partition);
    world.order_to(&partition, &to).unwrap();
    for _ in 0..5 {
        world.replicas.move_some();
    }
    let copied = partition.future().unwrap().offsets().end;
    assert!(copied > Offset(0));
    let before = bytes_of(&partition);
    drop(partition);
    let world = world.die();
    let partition = world.lead_in("t", 1);
    assert_eq!(partition.future().unwrap().offsets().end, copied);
    world.move_on();
    assert_eq!(partition.log().directory(), to);
    assert_eq!(bytes_of(&partition), before);
}

#[test]
fn a_copy_that_has_parted_from_the_log_is_cut_before_it_goes_on() {
    let world = World::new();
    let partition = world.lead("t");
    produce(&partition, 20);
    let to = world.elsewhere(&partition);
    world.order_to(&partition, &to).unwrap();
    for _ in 0..4 {
        world.replicas.move_some();
    }
    let copied = partition.future().unwrap().offsets().end;
    partition.log().truncate_to(Offset(copied.0 - 4)).unwrap();
    drop(partition);
    let world = world.die();
    let partition = world.lead_in("t", 5);
    produce(&partition, 10);
    let before = bytes_of(&partition);
    world.move_on();
    assert_eq!(partition.log().directory(), to);
    assert_eq!(bytes_of(&partition), before);
    assert_eq!(partition.log().latest_epoch(), Some(LeaderEpoch(5)));
}

#[test]
fn records_deleted_meanwhile_are_deleted_in_the_copy_and_waited_for() {
    let world = World::new();
    let partition = world.lead("t");
    produce(&partition, 40);
    let to = world.elsewhere(&partition);
    world.order_to(&partition, &to).unwrap();
    let (_, low, wakes) = partition.delete_records(Some(Offset(50))).unwrap();
    wakes.fire();
    assert_eq!(low, Some(Offset(0)), "the copy still begins at 0");
    world.move_on();
    assert_eq!(partition.low_watermark().unwrap(), Some(Offset(50)));
    assert_eq!(partition.log().offsets().start, Offset(50));
    assert_eq!(partition.log().directory(), to);
}

#[test]
fn a_replica_ordered_back_stays_and_its_copy_goes() {
    let world = World::new();
    let partition = world.lead("t");
    produce(&partition, 20);
    let (from, to) = (partition.log().directory(), world.elsewhere(&partition));
    world.order_to(&partition, &to).unwrap();
    world.replicas.move_some();
    world.order_to(&partition, &to).unwrap();
    assert!(
        partition.future().is_some(),
        "the same order changes nothing"
    );
    world.order_to(&partition, &from).unwrap();
    assert!(partition.future().is_none() && !world.replicas.is_moving());
    assert_eq!(partition.log().directory(), from);
    assert!(folders_in(&to)[0].ends_with("-delete"));
    // And another one in its place.
    world.order_to(&partition, &to).unwrap();
    let third = ["a", "b", "c"].map(|name| world.at(name));
    let third = third.into_iter().find(|dir| *dir != from && *dir != to);
    let third = third.unwrap();
    world.order_to(&partition, &third).unwrap();
    assert_eq!(partition.future().unwrap().directory(), third);
    world.move_on();
    assert_eq!(partition.log().directory(), third);
}

#[test]
fn a_partition_that_is_not_here_yet_is_made_where_it_was_wished() {
    let world = World::new();
    let id = TopicPartition::new("t", 0);
    let wished = world.at("c");
    let answer = world.replicas.alter_directory(&id, &wished);
    assert_eq!(answer, Err(Refusal::UnknownPartition));
    assert_eq!(world.lead("t").log().directory(), wished);
    let nowhere = world.at("d");
    let answer = world.replicas.alter_directory(&id, &nowhere);
    assert_eq!(answer, Err(Refusal::DirectoryNotFound));
}

#[test]
fn a_deleted_replica_takes_its_copy_along() {
    let world = World::new();
    let partition = world.lead("t");
    produce(&partition, 20);
    let to = world.elsewhere(&partition);
    world.order_to(&partition, &to).unwrap();
    world.replicas.move_some();
    let order = StopOrder {
        partition: partition.id().clone(),
        leader_epoch: LeaderEpoch(-2),
        delete: true,
    };
    let stopped = world.replicas.apply_stop_replica(authority(), &[order]);
    assert_eq!(stopped.unwrap().results[0].1, Ok(()));
    drop(partition);
    assert_eq!(world.replicas.move_some(), Next::Nothing);
    assert!(folders_in(&to)[0].ends_with("-delete"));
    let world = world.die();
    let store = world.replicas.store();
    assert!(store.all().is_empty() && store.all_futures().is_empty());
}

#[test]
fn a_limit_slows_the_copy_and_a_higher_one_lets_it_go() {
    let world = World::new();
    let partition = world.lead("t");
    produce(&partition, 40);
    let to = world.elsewhere(&partition);
    world.replicas.set_move_limit(100);
    world.order_to(&partition, &to).unwrap();
    assert_eq!(world.replicas.move_some(), Next::Again);
    assert_eq!(world.replicas.move_some(), Next::Pause(1_000));
    // Some 900 bytes were copied: nine seconds at this pace.
    world.clock.advance(8_000);
    assert_eq!(world.replicas.move_some(), Next::Pause(1_000));
    world.clock.advance(2_000);
    assert_eq!(world.replicas.move_some(), Next::Again);
    world.replicas.set_move_limit(u64::MAX);
    world.move_on();
    assert_eq!(partition.log().directory(), to);
}

#[test]
fn a_durable_topic_is_as_safe_after_the_move_as_before() {
    let world = World::new();
    let partition = world.lead("durable");
    produce(&partition, 20);
    partition.log().flush().unwrap();
    let to = world.elsewhere(&partition);
    world.order_to(&partition, &to).unwrap();
    world.move_on();
    let offsets = partition.log().offsets();
    assert_eq!(partition.log().directory(), to);
    assert_eq!(offsets.recovery, offsets.end);
}

#[test]
fn settings_that_change_during_a_move_hold_after_it() {
    let world = World::new();
    let partition = world.lead("changed");
    produce(&partition, 20);
    let to = world.elsewhere(&partition);
    world.order_to(&partition, &to).unwrap();
    let retention_ms = 123_456;
    let config = TopicConfig {
        log: Arc::new(LogConfig {
            retention_ms,
            ..LogConfig::default()
        }),
        rules: TopicRules::default(),
    };
    world.replicas.set_topic_config("changed", &config);
    world.move_on();
    assert_eq!(partition.log().directory(), to);
    assert_eq!(partition.log().config().retention_ms, retention_ms);
}
