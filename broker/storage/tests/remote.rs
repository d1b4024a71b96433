//! Files that a program or another machine keeps: a sync of the whole file system does not reach them.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::clock::Clock;
use base::faulty_disk::{FaultyDisk, Restart};
use protocol::batch::{BatchBuilder, Codec};
use protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicPartition};
use storage::config::{LogConfig, StoreConfig};
use storage::log::{Origin, flush_together};
use storage::store::Store;

const NOW_MS: i64 = 1_700_000_000_000;
/// More than are flushed one by one elsewhere.
const LOGS: i32 = 20;

fn open(disk: &FaultyDisk, clock: &Clock) -> Store {
    let config = StoreConfig {
        dirs: vec!["/a".into()],
        ..StoreConfig::default()
    };
    Store::open(disk.shared(), config, clock.clone(), &|_| Arc::default()).unwrap()
}

/// Every log has three records, which `make_safe` makes safe; the power goes; where the logs end now.
fn ends_after(make_safe: impl Fn(&Store, &Clock)) -> Vec<Offset> {
    let (disk, clock) = (FaultyDisk::new(1), Clock::by_hand(NOW_MS));
    disk.be_remote();
    let store = open(&disk, &clock);
    let mut batch = BatchBuilder::new(Codec::None).producer(ProducerId(7), ProducerEpoch(0), 0);
    for _ in 0..3 {
        batch.push(NOW_MS, None, Some(b"value"), &[]).unwrap();
    }
    let batch = batch.build().unwrap();
    for number in 0..LOGS {
        let partition = TopicPartition::new("t", number);
        let log = store
            .create(
                &partition,
                None,
                Arc::<LogConfig>::default(),
                Some(Path::new("/a")),
            )
            .unwrap();
        log.append_as_leader(&batch, LeaderEpoch(0), Origin::Client, None)
            .unwrap();
    }
    make_safe(&store, &clock);
    drop(store);
    disk.restart(Restart::PowerLosingAll);
    let store = open(&disk, &clock);
    for log in store.all() {
        let again = log.append_as_leader(&batch, LeaderEpoch(0), Origin::Client, None);
        assert!(again.unwrap().duplicate, "the producer is known");
    }
    store.all().iter().map(|log| log.offsets().end).collect()
}

fn all_of_them() -> Vec<Offset> {
    vec![Offset(3); LOGS as usize]
}

fn checkpoint(store: &Store, clock: &Clock) {
    clock.advance(Duration::from_mins(2).as_millis() as i64);
    store.housekeep();
}

#[test]
fn a_flush_of_many_together_reaches_each() {
    let flush = |store: &Store, _: &Clock| {
        for flushed in flush_together(&store.all()) {
            assert_eq!(flushed.unwrap(), Offset(3));
        }
    };
    assert_eq!(ends_after(flush), all_of_them());
}

#[test]
fn what_is_below_the_recovery_points_is_there() {
    assert_eq!(ends_after(checkpoint), all_of_them());
}

#[test]
fn a_clean_stop_leaves_everything() {
    assert_eq!(ends_after(|store, _| store.close().unwrap()), all_of_them());
}

#[test]
fn a_clean_stop_leaves_producers_of_logs_that_were_flushed_before() {
    let stop = |store: &Store, clock: &Clock| {
        checkpoint(store, clock);
        store.close().unwrap();
    };
    assert_eq!(ends_after(stop), all_of_them());
}
