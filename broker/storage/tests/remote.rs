//! Files that a program or another machine keeps: a sync of the whole file system does not reach them.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::clock::Clock;
use base::disk::Disk;
use base::faulty_disk::{FaultyDisk, Restart};
use bytes::Bytes;
use protocol::batch::{BatchBuilder, Codec};
use protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicPartition};
use storage::config::{LogConfig, StoreConfig};
use storage::log::{Log, Origin, flush_together};
use storage::store::Store;

const NOW_MS: i64 = 1_700_000_000_000;
const DIR: &str = "/a";
/// More than any number from which on others are synced together.
const LOGS: i32 = 70;

struct World {
    disk: FaultyDisk,
    clock: Clock,
    config: Arc<LogConfig>,
}

impl World {
    fn remote(config: LogConfig) -> World {
        let world = World::here(config);
        world.disk.be_remote_at(DIR);
        world
    }

    fn here(config: LogConfig) -> World {
        World {
            disk: FaultyDisk::new(1),
            clock: Clock::by_hand(NOW_MS),
            config: Arc::new(config),
        }
    }

    fn open(&self) -> Store {
        let config = StoreConfig {
            dirs: vec![DIR.into()],
            ..StoreConfig::default()
        };
        let config_of = |_: &str| Arc::clone(&self.config);
        Store::open(self.disk.shared(), config, self.clock.clone(), &config_of).unwrap()
    }

    fn create(&self, store: &Store, number: i32) -> Arc<Log> {
        let partition = TopicPartition::new("t", number);
        let dir = Some(Path::new(DIR));
        let config = Arc::clone(&self.config);
        store.create(&partition, None, config, dir).unwrap()
    }

    fn checkpoint(&self, store: &Store) {
        let two_minutes = Duration::from_mins(2).as_millis();
        self.clock.advance(two_minutes as i64);
        store.housekeep();
    }

    /// Every log has three records, which `make_safe` makes safe; the power goes; each is there.
    fn keeps_what_is_made_safe(&self, make_safe: impl Fn(&World, &Store)) {
        let store = self.open();
        for number in 0..LOGS {
            let partition = TopicPartition::new("t", number);
            let log = store.log(&partition);
            append(&log.unwrap_or_else(|| self.create(&store, number)), 0);
        }
        make_safe(self, &store);
        let store = self.lose_power(store);
        let logs = store.all();
        assert_eq!(logs.len(), LOGS as usize);
        for log in logs {
            assert_eq!(log.offsets().end, Offset(3));
            let again = log.append_as_leader(&batch(0), LeaderEpoch(0), Origin::Client, None);
            assert!(again.unwrap().duplicate, "the producer is known");
        }
    }

    fn indexes(&self) -> Vec<(PathBuf, u64)> {
        let mut files = self.disk.files();
        files.retain(|(path, _)| path.to_string_lossy().ends_with("index"));
        files
    }

    fn lose_power(&self, store: Store) -> Store {
        drop(store);
        self.disk.restart(Restart::PowerLosingAll);
        self.open()
    }
}

/// Three records.
fn batch(sequence: i32) -> Bytes {
    let (producer, epoch) = (ProducerId(7), ProducerEpoch(0));
    let mut batch = BatchBuilder::new(Codec::None).producer(producer, epoch, sequence);
    for _ in 0..3 {
        batch.push(NOW_MS, None, Some(b"value"), &[]).unwrap();
    }
    batch.build().unwrap()
}

fn append(log: &Log, sequence: i32) {
    let batch = batch(sequence);
    log.append_as_leader(&batch, LeaderEpoch(0), Origin::Client, None)
        .unwrap();
}

/// Every batch has a segment of its own.
fn of_short_segments() -> LogConfig {
    LogConfig {
        segment_bytes: 150,
        ..LogConfig::default()
    }
}

#[test]
fn a_flush_of_many_together_reaches_each() {
    let world = World::remote(LogConfig::default());
    world.keeps_what_is_made_safe(|_, store| {
        for flushed in flush_together(&store.all()) {
            assert_eq!(flushed.unwrap(), Offset(3));
        }
    });
}

#[test]
fn what_is_below_the_recovery_points_is_there() {
    let world = World::remote(LogConfig::default());
    world.keeps_what_is_made_safe(World::checkpoint);
}

#[test]
fn a_clean_stop_leaves_everything() {
    let world = World::remote(LogConfig::default());
    world.keeps_what_is_made_safe(|_, store| store.close().unwrap());
}

#[test]
fn a_clean_stop_leaves_producers_of_logs_that_were_flushed_before() {
    let world = World::remote(LogConfig::default());
    world.keeps_what_is_made_safe(|world, store| {
        world.checkpoint(store);
        store.close().unwrap();
    });
}

#[test]
fn of_one_folder_that_is_a_link_to_elsewhere_the_same_holds() {
    let world = World::here(LogConfig::default());
    let store = world.open();
    for number in 0..LOGS {
        world.create(&store, number);
    }
    store.close().unwrap();
    drop(store);
    world.disk.be_remote_at("/a/t-3");
    world.keeps_what_is_made_safe(|_, store| store.close().unwrap());
}

#[test]
fn a_torn_tail_that_a_start_cut_does_not_come_back_behind_a_clean_stop() {
    let world = World::remote(LogConfig::default());
    let store = world.open();
    let log = world.create(&store, 0);
    append(&log, 0);
    world.checkpoint(&store);
    append(&log, 3);
    drop((log, store));
    world.disk.restart(Restart::Process);
    let file = Path::new("/a/t-0/00000000000000000000.log");
    let tear = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1);
    world.disk.corrupt(file, tear).unwrap();
    let store = world.open();
    store.close().unwrap();
    let store = world.lose_power(store);
    let log = store.log(&TopicPartition::new("t", 0)).unwrap();
    append(&log, 3);
    assert_eq!(log.offsets().end, Offset(6));
}

#[test]
fn segments_that_were_cut_off_do_not_come_back_behind_a_clean_stop() {
    let world = World::remote(of_short_segments());
    let store = world.open();
    let log = world.create(&store, 0);
    for sequence in [0, 3, 6] {
        append(&log, sequence);
    }
    world.checkpoint(&store);
    assert!(log.truncate_to(Offset(3)).unwrap());
    store.close().unwrap();
    drop(log);
    let store = world.lose_power(store);
    let log = store.log(&TopicPartition::new("t", 0)).unwrap();
    assert_eq!(log.offsets().end, Offset(3));
    append(&log, 3);
    assert_eq!(log.offsets().end, Offset(6));
}

#[test]
fn a_producer_whose_records_retention_took_is_known_after_a_clean_stop() {
    let world = World::remote(LogConfig {
        retention_ms: 1000,
        ..LogConfig::default()
    });
    let store = world.open();
    let log = world.create(&store, 0);
    append(&log, 0);
    log.set_high_watermark(Offset(3));
    world.checkpoint(&store);
    assert_eq!(log.offsets().start, Offset(3));
    store.close().unwrap();
    drop(log);
    let store = world.lose_power(store);
    let log = store.log(&TopicPartition::new("t", 0)).unwrap();
    let again = log.append_as_leader(&batch(0), LeaderEpoch(0), Origin::Client, None);
    assert!(again.unwrap().duplicate);
}

#[test]
fn indexes_that_a_start_made_anew_are_there_after_a_clean_stop() {
    let world = World::remote(LogConfig {
        segment_bytes: 350,
        index_interval_bytes: 1,
        ..LogConfig::default()
    });
    let store = world.open();
    let log = world.create(&store, 0);
    for number in 0..8 {
        append(&log, number * 3);
    }
    store.close().unwrap();
    drop((log, store));
    let before = world.indexes();
    let first = Path::new("/a/t-0/00000000000000000000.index");
    assert!(before.iter().any(|(path, len)| path == first && *len > 0));
    world.disk.remove_file(first).unwrap();
    world.disk.sync_dir(Path::new("/a/t-0")).unwrap();
    let store = world.open();
    store.close().unwrap();
    world.lose_power(store);
    assert_eq!(world.indexes(), before);
}

#[test]
fn a_clean_stop_of_logs_that_nobody_touched_syncs_none_of_them() {
    let world = World::remote(LogConfig::default());
    let store = world.open();
    for number in 0..LOGS {
        append(&world.create(&store, number), 0);
    }
    store.close().unwrap();
    drop(store);
    let store = world.open();
    let before = world.disk.operations();
    store.close().unwrap();
    assert!(world.disk.operations() - before < LOGS as u64);
}
