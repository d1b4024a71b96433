//! The process runs out of descriptors in the middle of what is done to a log: it is as it was, or as
//! it was to become, in memory and on the disk.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod reading;

use std::path::Path;
use std::sync::Arc;

use base::chance::Chance;
use base::clock::Clock;
use base::disk::Disk;
use base::faulty_disk::{Fault, FaultyDisk, Operation, Restart};
use bytes::Bytes;
use protocol::batch::{BatchBuilder, Codec, Marker, end_marker};
use protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicPartition};
use storage::compaction::{CompactionConfig, Compactor, Halt};
use storage::config::{LogConfig, StoreConfig};
use storage::error::Result;
use storage::log::{ActiveProducer, Log, Origin};
use storage::store::Store;

const NOW_MS: i64 = 1_700_000_000_000;
const DIR: &str = "/d";
/// More than anything below opens.
const OPENS_MAX: u64 = 30;
const BATCHES: i64 = 20;

fn config() -> Arc<LogConfig> {
    Arc::new(LogConfig {
        segment_bytes: 500,
        index_interval_bytes: 100,
        ..LogConfig::default()
    })
}

fn open(disk: &FaultyDisk) -> (Store, Arc<Log>) {
    open_as(disk, StoreConfig::default())
}

fn open_as(disk: &FaultyDisk, all: StoreConfig) -> (Store, Arc<Log>) {
    let all = StoreConfig {
        dirs: vec![DIR.into()],
        ..all
    };
    let clock = Clock::by_hand(NOW_MS);
    let store = Store::open(disk.shared(), all, clock, &|_| config()).unwrap();
    let log = match store.log(&tp()) {
        Some(log) => log,
        None => store.create(&tp(), None, config(), None).unwrap(),
    };
    (store, log)
}

fn tp() -> TopicPartition {
    TopicPartition::new("t", 0)
}

/// Two records of a producer of its own.
fn batch(number: i64) -> Bytes {
    let producer = ProducerId(number);
    let mut batch = BatchBuilder::new(Codec::None).producer(producer, ProducerEpoch(0), 0);
    for value in [b"one", b"two"] {
        batch.push(NOW_MS, Some(b"key"), Some(value), &[]).unwrap();
    }
    batch.build().unwrap()
}

fn append(log: &Log, number: i64) -> bool {
    let epoch = LeaderEpoch(i32::try_from(number / 5).unwrap());
    log.append_as_leader(&batch(number), epoch, Origin::Client, None)
        .is_ok()
}

/// A log of several segments that was closed cleanly, so that none of its files is open.
fn filled() -> FaultyDisk {
    let disk = FaultyDisk::new(1);
    let (store, log) = open(&disk);
    assert!((0..BATCHES).all(|number| append(&log, number)));
    log.set_high_watermark(log.offsets().end);
    store.close().unwrap();
    disk
}

/// What can be seen of a log.
#[derive(Debug, PartialEq)]
struct Seen {
    start: i64,
    end: i64,
    records: Vec<i64>,
    producers: Vec<ActiveProducer>,
    epochs: Vec<(LeaderEpoch, Offset)>,
}

fn look(log: &Log) -> Seen {
    let offsets = log.offsets();
    offsets.check();
    let mut records = Vec::new();
    for bytes in reading::answers(log, 1 << 20) {
        for view in protocol::batch::split(&bytes) {
            let view = view.unwrap();
            view.check_crc().unwrap();
            let found = view.records(1 << 20).unwrap();
            records.extend(found.map(|record| record.unwrap().offset.0));
        }
    }
    let mut producers = log.active_producers();
    producers.sort_by_key(|producer| producer.producer.0);
    Seen {
        start: offsets.start.0,
        end: offsets.end.0,
        records,
        producers,
        epochs: log.epochs(),
    }
}

/// Does this with fewer and fewer descriptors missing.
fn never_by_halves(act: impl Fn(&Log) -> Result<()>) {
    let fresh = filled();
    let (before, after) = {
        let world = fresh.copy(1);
        let (_store, log) = open(&world);
        let before = look(&log);
        act(&log).unwrap();
        (before, look(&log))
    };
    assert_ne!(before, after);
    let mut failed = 0;
    for left in 0..OPENS_MAX {
        let world = fresh.copy(left);
        let (store, log) = open(&world);
        world.plan(Operation::Create, DIR, Fault::TooManyFiles, left, false);
        let ended = act(&log);
        world.forget_plans();
        assert!(store.directories()[0].online, "{left}: {ended:?}");
        let seen = look(&log);
        match &ended {
            Ok(()) => assert_eq!(seen, after, "{left}"),
            Err(_) => {
                failed += 1;
                assert!(seen == before || seen == after, "{left}: {seen:?}");
            }
        }
        // What could not be written is, as soon as it can.
        store.housekeep();
        drop((store, log));
        world.restart(Restart::Process);
        let (_store, log) = open(&world);
        assert_eq!(look(&log), seen, "{left}: {ended:?}");
        assert!(append(&log, BATCHES));
        assert_eq!(look(&log).end, seen.end + 2);
    }
    assert!((1..OPENS_MAX).contains(&failed), "{failed}");
}

#[test]
fn a_log_is_cut_in_its_last_segment_or_not_at_all() {
    never_by_halves(|log| log.truncate_to(Offset(2 * BATCHES - 2)).map(drop));
}

#[test]
fn a_log_is_cut_in_an_earlier_segment_or_not_at_all() {
    never_by_halves(|log| log.truncate_to(Offset(9)).map(drop));
}

#[test]
fn a_log_goes_on_empty_where_a_segment_begins_or_stays() {
    never_by_halves(|log| log.truncate_fully_and_start_at(Offset(0), None));
}

#[test]
fn a_log_goes_on_empty_behind_its_end_or_stays() {
    never_by_halves(|log| log.truncate_fully_and_start_at(Offset(100), None));
}

/// A transaction of one record, and the marker that ends it.
fn append_aborted(log: &Log, producer: i64) {
    let write =
        |records: &Bytes, origin| log.append_as_leader(records, LeaderEpoch(0), origin, None);
    let (producer, epoch) = (ProducerId(producer), ProducerEpoch(0));
    let mut batch = BatchBuilder::new(Codec::None).producer(producer, epoch, 0);
    batch = batch.transactional(true);
    batch.push(NOW_MS, None, Some(b"one"), &[]).unwrap();
    let records = batch.build().unwrap();
    write(&records, Origin::Client).unwrap();
    let marker = end_marker(Marker::Abort, producer, epoch, 0, NOW_MS);
    write(&marker, Origin::Coordinator).unwrap_or_else(|e| panic!("{producer}: {e}"));
}

#[test]
fn an_index_that_is_made_long_after_its_first_entry_outlives_a_power_cut() {
    let all = StoreConfig {
        recovery_checkpoint_ms: 0,
        ..StoreConfig::default()
    };
    let disk = FaultyDisk::new(1);
    let (store, log) = open_as(&disk, all);
    log.set_config(Arc::new(LogConfig {
        index_interval_bytes: 1,
        ..LogConfig::default()
    }));
    let missing = Fault::TooManyFiles;
    disk.plan(Operation::Create, ".txnindex", missing, 0, false);
    append_aborted(&log, 0);
    assert!((1..4).all(|number| append(&log, number)));
    // The folder is synced without it.
    assert_eq!(log.flush().unwrap(), Offset(8));
    disk.forget_plans();
    // From here on a start trusts what it finds of the first records.
    store.housekeep();
    drop((store, log));
    disk.restart(Restart::PowerLosingAll);
    let (_store, log) = open(&disk);
    let aborted = log.aborted_transactions(Offset(0), Offset(2)).unwrap();
    assert_eq!(aborted.len(), 1);
}

#[test]
fn a_marker_that_is_written_counts_however_many_wait_for_their_index() {
    const ABORTED: i64 = 200;
    let disk = FaultyDisk::new(1);
    let (store, log) = open(&disk);
    log.set_config(Arc::new(LogConfig::default()));
    disk.plan(
        Operation::Create,
        ".txnindex",
        Fault::TooManyFiles,
        0,
        false,
    );
    for number in 0..ABORTED {
        append_aborted(&log, number);
    }
    log.set_high_watermark(log.offsets().end);
    disk.forget_plans();
    let (seen, end) = (look(&log), Offset(2 * ABORTED));
    assert_eq!(seen.records, (0..end.0).collect::<Vec<_>>());
    let aborted = |log: &Log| log.aborted_transactions(Offset(0), end).unwrap();
    assert_eq!(aborted(&log).len(), 200);
    log.flush().unwrap();
    drop((store, log));
    disk.restart(Restart::Process);
    let (_store, log) = open(&disk);
    log.set_high_watermark(log.offsets().end);
    assert_eq!((look(&log), aborted(&log).len()), (seen, 200));
}

#[test]
fn records_are_deleted_without_a_descriptor() {
    let disk = filled();
    let (_store, log) = open(&disk);
    log.set_high_watermark(log.offsets().end);
    disk.plan(Operation::Create, DIR, Fault::TooManyFiles, 0, false);
    assert_eq!(log.delete_records_before(Offset(13)).unwrap(), Offset(13));
    disk.forget_plans();
    assert_eq!(log.offsets().start, Offset(13));
    assert_eq!(log.epochs().first().unwrap().1, Offset(13));
    // What the file of the epochs lacks it has with the next flush.
    assert!(append(&log, BATCHES));
    log.flush().unwrap();
    let file = disk.read_small(Path::new("/d/t-0/leader-epoch-checkpoint"), 4096);
    let text = String::from_utf8(file.unwrap()).unwrap();
    assert_eq!(text.lines().nth(2), Some("1 13"), "{text}");
}

#[test]
fn an_exchange_of_segments_that_fails_leaves_nothing_that_a_start_would_carry_through() {
    let mut failed = 0;
    for left in 0..8 {
        let disk = filled();
        let (store, log) = open(&disk);
        log.set_config(Arc::new(LogConfig {
            compact: true,
            delete: false,
            min_cleanable_dirty_ratio: 0.0,
            ..(*config()).clone()
        }));
        log.set_high_watermark(log.offsets().end);
        let (clock, chance) = (Clock::by_hand(NOW_MS), Arc::new(Chance::seeded(1)));
        let how = CompactionConfig::default();
        let compactor = Compactor::new(disk.shared(), clock, chance, how);
        disk.plan(Operation::SyncDir, "/t-0", Fault::TooManyFiles, left, false);
        let cleaned = store.compact(&compactor, &Halt::default());
        disk.forget_plans();
        assert!(store.directories()[0].online);
        let swaps = disk.files().into_iter();
        let mut swaps = swaps.filter(|(path, _)| path.to_string_lossy().ends_with(".swap"));
        assert_eq!(swaps.next(), None, "{left}");
        failed += usize::from(!cleaned);
        let seen = look(&log);
        drop((store, log));
        disk.restart(Restart::Process);
        let (_store, log) = open(&disk);
        assert_eq!(look(&log), seen, "{left}");
    }
    assert!(failed > 0);
}

/// Whether recovery points can be written once the kernel has failed to write something out, of which a
/// sync of the files says nothing.
fn recovery_points_follow_a_loss(open_files_max: usize) -> bool {
    let disk = FaultyDisk::new(1);
    let config = StoreConfig {
        open_files_max,
        ..StoreConfig::default()
    };
    let (store, log) = open_as(&disk, config);
    assert!((0..BATCHES).all(|number| append(&log, number)));
    disk.lose_in_writeback();
    log.flush().unwrap();
    store.write_recovery_points().is_ok()
}

#[test]
fn for_files_that_were_closed_to_make_room_their_file_system_answers() {
    assert!(!recovery_points_follow_a_loss(8));
}

#[test]
fn where_no_file_was_closed_the_file_system_is_not_asked() {
    assert!(recovery_points_follow_a_loss(1000));
}
