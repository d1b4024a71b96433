//! A replica moves between directories, the process stopped at every change on the way: at every
//! start one replica serves, with everything that was promised.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::path::Path;
use std::sync::Arc;

use base::chance::Chance;
use base::clock::Clock;
use base::disk::Disk;
use base::faulty_disk::{Fault, FaultyDisk, Operation, Restart};
use bytes::Bytes;
use protocol::batch::{BatchBuilder, Codec, patch_offset_epoch};
use protocol::ids::{LeaderEpoch, Offset, TopicId, TopicPartition};
use storage::compaction::{CompactionConfig, Compactor, Halt};
use storage::config::{LogConfig, StoreConfig};
use storage::error::{AppendError, Result};
use storage::log::{Log, Origin, ReadRequest, Upto};
use storage::store::Store;

const NOW_MS: i64 = 1_700_000_000_000;
const A: &str = "/a";
const B: &str = "/b";

fn config(compact: bool) -> Arc<LogConfig> {
    Arc::new(LogConfig {
        segment_bytes: 400,
        index_interval_bytes: 150,
        file_delete_delay_ms: 0,
        retention_ms: -1,
        compact,
        min_cleanable_dirty_ratio: 0.1,
        ..LogConfig::default()
    })
}

fn open_with(disk: &FaultyDisk, compact: bool) -> Result<Store> {
    let all = StoreConfig {
        dirs: vec![A.into(), B.into()],
        recovery_checkpoint_ms: 0,
        delete_delay_ms: 0,
        ..StoreConfig::default()
    };
    Store::open(disk.shared(), all, Clock::by_hand(NOW_MS), &|_| {
        config(compact)
    })
}

fn open(disk: &FaultyDisk) -> Result<Store> {
    open_with(disk, false)
}

fn tp() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn create(store: &Store) -> Arc<Log> {
    let at = Some(Path::new(A));
    store.create(&tp(), None, config(false), at).unwrap()
}

/// A copy of it that is to take its place.
fn begin(store: &Store) -> Arc<Log> {
    let (config, to) = (config(false), Path::new(B));
    store.create_future(&tp(), None, config, to).unwrap()
}

/// One record, whose value is its offset.
fn batch(offset: i64) -> Bytes {
    let mut batch = BatchBuilder::new(Codec::None);
    let key = [u8::try_from(offset % 3).unwrap()];
    batch
        .push(NOW_MS, Some(&key), Some(&offset.to_be_bytes()), &[])
        .unwrap();
    batch.build().unwrap()
}

fn append(log: &Log, count: i64) -> Result<()> {
    for _ in 0..count {
        let bytes = batch(log.offsets().end.0);
        match log.append_as_leader(&bytes, LeaderEpoch(0), Origin::Client, None) {
            Ok(_) => {}
            Err(AppendError::Failed(e)) => return Err(e),
            Err(refused) => panic!("{refused}"),
        }
    }
    Ok(())
}

fn read(log: &Log, from: Offset) -> Result<Bytes> {
    let request = ReadRequest {
        from,
        bytes_max: 500,
        min_one: true,
        upto: Upto::End,
    };
    match log.read(request) {
        Ok(plan) => plan.read(),
        Err(storage::error::ReadError::Failed(e)) => Err(e),
        Err(refused) => panic!("{refused}"),
    }
}

/// Offsets of all records; each must hold its own offset.
fn offsets_in(log: &Log) -> Vec<i64> {
    let offsets = log.offsets();
    let (mut from, mut found) = (offsets.start, Vec::new());
    while from < offsets.end {
        let bytes = read(log, from).unwrap();
        assert!(!bytes.is_empty(), "nothing at {from} of {offsets:?}");
        for view in protocol::batch::split(&bytes) {
            let view = view.unwrap();
            view.check_crc().unwrap();
            from = view.last_offset() + 1;
            for record in view.records(1 << 20).unwrap() {
                let record = record.unwrap();
                let value = record.value.unwrap()[..].try_into().unwrap();
                assert_eq!(record.offset.0, i64::from_be_bytes(value));
                found.push(record.offset.0);
            }
        }
    }
    found
}

fn copy(log: &Log, future: &Log) -> Result<()> {
    while future.offsets().end < log.offsets().end {
        let bytes = read(log, future.offsets().end)?;
        match future.append_as_follower(&bytes) {
            Ok(_) => {}
            Err(AppendError::Failed(e)) => return Err(e),
            Err(refused) => panic!("{refused}"),
        }
    }
    Ok(())
}

fn swap(store: &Store, log: &Arc<Log>, future: &Arc<Log>) -> Result<()> {
    future.flush()?;
    store.announce_move(log, future)?;
    store.take_over(log, future)
}

/// What was acknowledged, and what was said to be on the disk.
#[derive(Debug, Default)]
struct Promised {
    written: i64,
    flushed: i64,
}

/// There and back again.
fn script(disk: &FaultyDisk, promised: &mut Promised) -> Result<()> {
    let store = open(disk)?;
    let mut log = store.create(
        &tp(),
        Some(TopicId::random()),
        config(false),
        Some(Path::new(A)),
    )?;
    append(&log, 12)?;
    promised.written = 12;
    promised.flushed = log.flush()?.0;
    store.write_recovery_points()?;
    for dir in [B, A, B] {
        let future = store.create_future(&tp(), log.topic_id(), config(false), Path::new(dir))?;
        copy(&log, &future)?;
        append(&log, 2)?;
        promised.written += 2;
        copy(&log, &future)?;
        store.write_recovery_points()?;
        swap(&store, &log, &future)?;
        append(&future, 1)?;
        promised.written += 1;
        promised.flushed = future.flush()?.0;
        append(&future, 1)?;
        promised.written += 1;
        store.finish_move(&log, &future)?;
        append(&future, 1)?;
        promised.written += 1;
        log = future;
    }
    store.housekeep();
    store.close()?;
    promised.flushed = promised.written;
    Ok(())
}

fn check(disk: &FaultyDisk, promised: &Promised, how: Restart, stop: u64) {
    let context = format!("stopped at {stop}, {how:?}, {promised:?}");
    let store = open(disk).unwrap_or_else(|e| panic!("{context}: {e:?}"));
    let aside = store.set_aside();
    assert!(aside.is_empty(), "{context}: {aside:?}");
    let Some(log) = store.log(&tp()) else {
        assert_eq!(promised.flushed, 0, "{context}: the log is gone");
        return;
    };
    let found = offsets_in(&log);
    let expected: Vec<i64> = (0..i64::try_from(found.len()).unwrap()).collect();
    assert_eq!(found, expected, "{context}");
    let must_hold = match how {
        Restart::Process => promised.written,
        _ => promised.flushed,
    };
    assert!(found.len() as i64 >= must_hold, "{context}: {found:?}");
    // The move goes on, or begins anew; either way it ends.
    let to = if log.directory() == Path::new(A) {
        B
    } else {
        A
    };
    let future = match store.future_log(&tp()) {
        Some(future) => future,
        None => store
            .create_future(&tp(), log.topic_id(), config(false), Path::new(to))
            .unwrap(),
    };
    if future.offsets().end > log.offsets().end {
        future.truncate_to(log.offsets().end).unwrap();
    }
    copy(&log, &future).unwrap();
    swap(&store, &log, &future).unwrap();
    store.finish_move(&log, &future).unwrap();
    append(&future, 1).unwrap();
    assert_eq!(offsets_in(&future).len(), found.len() + 1, "{context}");
    store.close().unwrap();
    let names: Vec<_> = disk.files().into_iter().map(|(path, _)| path).collect();
    let note = names
        .iter()
        .find(|path| path.ends_with(".rotpeter_took_over"));
    assert_eq!(note, None, "{context}");
}

#[test]
fn one_whole_replica_serves_wherever_a_move_is_stopped() {
    let mut stop = 0;
    loop {
        stop += 1;
        let disk = FaultyDisk::new(stop);
        disk.stop_at(stop);
        let mut promised = Promised::default();
        let ended = script(&disk, &mut promised);
        let ways = [
            Restart::Process,
            Restart::Power,
            Restart::Power,
            Restart::PowerLosingAll,
        ];
        for (number, how) in ways.into_iter().enumerate() {
            let world = disk.copy(stop * 7 + number as u64);
            world.restart(how);
            check(&world, &promised, how, stop);
        }
        if ended.is_ok() {
            break;
        }
    }
    assert!(stop > 100, "the script makes many changes: {stop}");
}

#[test]
fn two_folders_of_one_partition_without_a_note_are_for_a_person_to_judge() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk).unwrap();
    let log = create(&store);
    append(&log, 3).unwrap();
    let future = begin(&store);
    copy(&log, &future).unwrap();
    swap(&store, &log, &future).unwrap();
    drop((log, future, store));
    disk.restart(Restart::Process);
    let taken = disk.copy(1);
    taken
        .remove_file(Path::new("/b/t-0/.rotpeter_took_over"))
        .unwrap();
    assert!(matches!(
        open(&taken),
        Err(storage::error::Error::Twice { .. })
    ));
    let store = open(&disk).unwrap();
    assert_eq!(store.log(&tp()).unwrap().directory(), Path::new(B));
}

#[test]
fn a_partition_made_anew_is_not_measured_by_what_its_predecessor_had() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk).unwrap();
    let log = create(&store);
    append(&log, 20).unwrap();
    log.set_high_watermark(Offset(20));
    log.delete_records_before(Offset(11)).unwrap();
    store.housekeep();
    store.write_starts().unwrap();
    store.write_watermarks().unwrap();
    store.delete(&[tp()]).pop().unwrap().unwrap();
    let log = create(&store);
    append(&log, 2).unwrap();
    drop((log, store));
    disk.restart(Restart::Process);
    let store = open(&disk).unwrap();
    assert!(store.set_aside().is_empty(), "{:?}", store.set_aside());
    assert_eq!(offsets_in(&store.log(&tp()).unwrap()), [0, 1]);
}

#[test]
fn a_move_that_is_called_off_while_it_is_announced_costs_no_directory() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk).unwrap();
    let log = create(&store);
    append(&log, 3).unwrap();
    let future = begin(&store);
    copy(&log, &future).unwrap();
    disk.freeze("-future/.rotpeter_took_over");
    std::thread::scope(|scope| {
        let announcer = scope.spawn(|| store.announce_move(&log, &future));
        disk.await_hanging(1);
        // It waits for nobody's disk.
        store.delete_future(&tp()).unwrap();
        disk.thaw();
        assert!(announcer.join().unwrap().is_err());
    });
    assert!(store.directories().iter().all(|dir| dir.online));
    assert!(store.future_log(&tp()).is_none());
    assert!(store.announce_move(&log, &future).is_err());
    assert!(store.directories().iter().all(|dir| dir.online));
}

#[test]
fn a_copy_that_was_given_up_says_nothing_of_the_next_one() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk).unwrap();
    let log = create(&store);
    append(&log, 12).unwrap();
    let given_up = begin(&store);
    copy(&log, &given_up).unwrap();
    store.announce_move(&log, &given_up).unwrap();
    store.delete_future(&tp()).unwrap();
    let next = begin(&store);
    next.append_as_follower(&read(&log, Offset(0)).unwrap())
        .unwrap();
    assert!(next.offsets().end < Offset(12));
    assert!(store.announce_move(&log, &given_up).is_err());
    drop((log, given_up, next, store));
    disk.restart(Restart::Process);
    let store = open(&disk).unwrap();
    assert!(store.set_aside().is_empty(), "{:?}", store.set_aside());
}

#[test]
fn a_copy_in_a_directory_that_failed_is_in_nobodys_way() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk).unwrap();
    let log = create(&store);
    append(&log, 3).unwrap();
    let future = begin(&store);
    disk.plan(Operation::Write, "/b/", Fault::Eio, 0, true);
    assert!(copy(&log, &future).is_err());
    assert!(!store.directories()[1].online);
    store.delete_future(&tp()).unwrap();
    assert!(store.future_log(&tp()).is_none());
}

#[test]
fn a_copy_of_what_was_compacted_once_keeps_its_gaps_when_the_process_dies() {
    const LEFT: [i64; 5] = [0, 3, 20, 40, 41];
    for finishes in [false, true] {
        let disk = FaultyDisk::new(1);
        let store = open(&disk).unwrap();
        let log = create(&store);
        for first in LEFT {
            let mut bytes = batch(first).to_vec();
            patch_offset_epoch(&mut bytes, Offset(first), LeaderEpoch(0));
            log.append_as_follower(&bytes.into()).unwrap();
        }
        store.housekeep();
        let future = begin(&store);
        copy(&log, &future).unwrap();
        swap(&store, &log, &future).unwrap();
        if finishes {
            store.finish_move(&log, &future).unwrap();
        }
        drop((log, future, store));
        disk.restart(Restart::Process);
        let store = open(&disk).unwrap();
        let log = store.log(&tp()).unwrap();
        assert_eq!(log.directory(), Path::new(B));
        assert_eq!(offsets_in(&log), LEFT, "finished: {finishes}");
    }
}

#[test]
fn what_was_compacted_stays_so_in_another_directory() {
    let disk = FaultyDisk::new(1);
    let store = open_with(&disk, true).unwrap();
    let compactor = Compactor::new(
        disk.shared(),
        Clock::by_hand(NOW_MS),
        Chance::seeded(1).into(),
        CompactionConfig {
            map_bytes: 1 << 20,
            ..CompactionConfig::default()
        },
    );
    let log = store
        .create(&tp(), None, config(true), Some(Path::new(A)))
        .unwrap();
    append(&log, 30).unwrap();
    log.set_high_watermark(Offset(30));
    assert!(store.compact(&compactor, &Halt::default()));
    let kept = offsets_in(&log);
    assert!(kept.len() < 30);
    append(&log, 10).unwrap();
    log.set_high_watermark(Offset(40));
    let future = store
        .create_future(&tp(), None, config(true), Path::new(B))
        .unwrap();
    assert!(
        !store.compact(&compactor, &Halt::default()),
        "a replica that moves is left alone"
    );
    copy(&log, &future).unwrap();
    swap(&store, &log, &future).unwrap();
    store.finish_move(&log, &future).unwrap();
    assert_eq!(offsets_in(&future)[..kept.len()], kept);
    let before = disk
        .read_small(Path::new("/a/cleaner-offset-checkpoint"), 1000)
        .unwrap();
    assert!(store.compact(&compactor, &Halt::default()));
    assert!(String::from_utf8_lossy(&before).contains("t 0 "));
    let checkpoint = |dir: &str| {
        let path = Path::new(dir).join("cleaner-offset-checkpoint");
        String::from_utf8(disk.read_small(&path, 1000).unwrap()).unwrap()
    };
    assert_eq!(checkpoint(A), "0\n0\n");
    assert!(checkpoint(B).contains("t 0 "));
}
