//! The index of aborted transactions, which no checksum covers: where it is spoilt it is made anew, whole;
//! and where it is lost no committed record goes with it.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod reading;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::chance::Chance;
use base::clock::Clock;
use base::disk::Disk;
use base::faulty_disk::{FaultyDisk, Restart};
use bytes::Bytes;
use protocol::batch::{BatchBuilder, Codec, Marker, end_marker};
use protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicPartition};
use storage::compaction::{CompactionConfig, Compactor, Halt};
use storage::config::{LogConfig, StoreConfig};
use storage::log::{AbortedTransaction, Log, Origin};
use storage::store::Store;

const NOW_MS: i64 = 1_700_000_000_000;
const EPOCH: ProducerEpoch = ProducerEpoch(0);
const ENTRY: usize = 34;

fn config() -> Arc<LogConfig> {
    Arc::new(LogConfig {
        segment_bytes: 150_000,
        index_interval_bytes: 1_000,
        compact: true,
        delete: false,
        min_cleanable_dirty_ratio: 0.0,
        ..LogConfig::default()
    })
}

fn open(disk: &FaultyDisk) -> (Store, Arc<Log>) {
    let all = StoreConfig {
        dirs: vec!["/d".into()],
        ..StoreConfig::default()
    };
    let clock = Clock::by_hand(NOW_MS);
    let store = Store::open(disk.shared(), all, clock, &|_| config()).unwrap();
    let tp = TopicPartition::new("t", 0);
    let log = match store.log(&tp) {
        Some(log) => log,
        None => store.create(&tp, None, config(), None).unwrap(),
    };
    (store, log)
}

fn append(log: &Log, records: &Bytes, origin: Origin) {
    log.append_as_leader(records, LeaderEpoch(0), origin, None)
        .unwrap();
}

fn begin(log: &Log, producer: i64) {
    write(log, producer, 0);
}

/// The first record of a transaction, with the producer as its value.
fn write(log: &Log, producer: i64, key: i64) {
    let builder = BatchBuilder::new(Codec::None).producer(ProducerId(producer), EPOCH, 0);
    let mut builder = builder.transactional(true);
    let mut value = [7; 1_000];
    value[..8].copy_from_slice(&producer.to_be_bytes());
    builder
        .push(NOW_MS, Some(&key.to_be_bytes()), Some(&value), &[])
        .unwrap();
    append(log, &builder.build().unwrap(), Origin::Client);
}

fn end(log: &Log, producer: i64, how: Marker) {
    let marker = end_marker(how, ProducerId(producer), EPOCH, 0, NOW_MS);
    append(log, &marker, Origin::Coordinator);
}

/// A log of several segments, each with many entries. Each transaction begins before the one before it
/// ends, so that some go from one segment into the next.
fn written() -> (FaultyDisk, Vec<AbortedTransaction>) {
    let disk = FaultyDisk::new(1);
    let (store, log) = open(&disk);
    begin(&log, 0);
    for producer in 1..400 {
        begin(&log, producer);
        let is_committed = producer % 3 == 0;
        let how = if is_committed {
            Marker::Commit
        } else {
            Marker::Abort
        };
        end(&log, producer - 1, how);
    }
    let right = aborted(&log);
    store.close().unwrap();
    assert_eq!(indexes(&disk).len(), 4);
    assert_eq!(right.len(), 266);
    (disk, right)
}

fn aborted(log: &Log) -> Vec<AbortedTransaction> {
    log.aborted_transactions(Offset(0), log.offsets().end)
        .unwrap()
}

fn indexes(disk: &FaultyDisk) -> Vec<PathBuf> {
    let paths = disk.files().into_iter().map(|(path, _)| path);
    paths
        .filter(|path| path.extension().is_some_and(|kind| kind == "txnindex"))
        .collect()
}

/// Puts `bytes` at a place in an entry.
fn spoil(disk: &FaultyDisk, path: &Path, (entry, at): (usize, usize), bytes: &[u8]) {
    let from = entry * ENTRY + at;
    let spoil = |file: &mut Vec<u8>| file[from..from + bytes.len()].copy_from_slice(bytes);
    disk.corrupt(path, spoil).unwrap();
}

#[test]
fn a_spoilt_index_of_a_large_segment_is_made_anew_from_its_beginning() {
    let (whole, right) = written();
    let paths = indexes(&whole);
    let read = |disk: &FaultyDisk| {
        let each = paths.iter().map(|path| disk.read_small(path, 1 << 20));
        each.map(Result::unwrap).collect::<Vec<_>>()
    };
    // Which are spoilt, in which entry, what of it, and how.
    let cases: [(&[usize], usize, usize, &[u8]); 7] = [
        (&[0], 0, 1, &[1]),
        (&[2], 0, 1, &[1]),
        (&[3], 0, 1, &[1]),
        (&[1, 2], 0, 1, &[1]),
        (&[0, 2], 40, 1, &[1]),
        // Of a producer that never was; of a marker in a segment before.
        (&[1], 0, 2, &[0xff]),
        (&[1, 3], 0, 10, &[0; 16]),
    ];
    for (which, entry, at, bytes) in cases {
        for is_clean in [true, false] {
            let context = format!("{which:?}, entry {entry} at {at}, clean: {is_clean}");
            let disk = whole.copy(1);
            for index in which {
                spoil(&disk, &paths[*index], (entry, at), bytes);
            }
            if !is_clean {
                let marker = Path::new("/d/.kafka_cleanshutdown");
                disk.remove_file(marker).unwrap();
            }
            let (store, log) = open(&disk);
            assert_eq!(aborted(&log), right, "{context}");
            store.close().unwrap();
            assert_eq!(read(&disk), read(&whole), "{context}");
        }
    }
}

#[test]
fn who_dies_while_an_index_is_made_anew_leaves_it_sound_or_to_be_made() {
    let (whole, right) = written();
    spoil(&whole, &indexes(&whole)[1], (0, 1), &[1]);
    let operations = {
        let disk = whole.copy(1);
        open(&disk);
        disk.operations()
    };
    let mut stopped = 0;
    for stop in (1..operations).step_by(5) {
        for how in [Restart::Process, Restart::Power] {
            let disk = whole.copy(stop);
            disk.stop_at(stop);
            let all = StoreConfig {
                dirs: vec!["/d".into()],
                ..StoreConfig::default()
            };
            let clock = Clock::by_hand(NOW_MS);
            let died = Store::open(disk.shared(), all, clock, &|_| config());
            drop(died);
            stopped += usize::from(disk.is_off());
            disk.restart(how);
            let (_store, log) = open(&disk);
            assert_eq!(aborted(&log), right, "{how:?} at {stop} of {operations}");
        }
    }
    assert!(stopped > 50, "only {stopped} of {operations}");
}

#[test]
fn an_entry_that_is_spoilt_while_the_log_is_cut_takes_no_other_along() {
    let (disk, right) = written();
    let (store, log) = open(&disk);
    let path = indexes(&disk).pop().unwrap();
    spoil(&disk, &path, (0, 1), &[1]);
    // Between a transaction and its marker.
    let to = Offset(log.offsets().end.0 - 5);
    assert!(log.truncate_to(to).unwrap());
    store.close().unwrap();
    drop((store, log));
    let (_store, log) = open(&disk);
    let found = aborted(&log);
    assert!(found.len() < right.len() && found.len() + 5 > right.len());
    assert_eq!(found, right[..found.len()]);
}

/// The last record's value of each key, whoever wrote it.
fn latest(log: &Log) -> BTreeMap<i64, i64> {
    let number = |bytes: &[u8]| i64::from_be_bytes(bytes[..8].try_into().unwrap());
    let mut latest = BTreeMap::new();
    for bytes in reading::answers(log, 1 << 20) {
        for view in protocol::batch::split(&bytes) {
            let view = view.unwrap();
            let records = view.records(1 << 20).unwrap();
            for record in records.filter(|_| !view.is_control()) {
                let record = record.unwrap();
                let (key, value) = (record.key.unwrap(), record.value.unwrap());
                latest.insert(number(&key), number(&value));
            }
        }
    }
    latest
}

#[test]
fn compaction_loses_nothing_committed_where_the_index_is_lost() {
    const KEYS: i64 = 100;
    let disk = FaultyDisk::new(1);
    let (mut store, mut log) = open(&disk);
    // What is committed is compacted before the rest is written, and once together with it.
    for is_compacted_before in [true, false] {
        let first = log.offsets().end.0;
        let producers = first..first + KEYS;
        for producer in producers.clone() {
            write(&log, producer, producer - first);
            end(&log, producer, Marker::Commit);
        }
        let committed = latest(&log);
        assert!(committed.values().copied().eq(producers.clone()));
        log.set_high_watermark(log.offsets().end);
        log.roll().unwrap();
        if is_compacted_before {
            compact(&disk, &store);
        }
        for producer in producers {
            write(&log, producer + KEYS, producer - first);
            end(&log, producer + KEYS, Marker::Abort);
        }
        assert_ne!(latest(&log), committed);
        log.set_high_watermark(log.offsets().end);
        log.roll().unwrap();
        store.close().unwrap();
        drop((store, log));
        let indexes = indexes(&disk);
        assert!(!indexes.is_empty());
        for path in indexes {
            disk.corrupt(&path, Vec::clear).unwrap();
        }
        (store, log) = open(&disk);
        assert_eq!(aborted(&log), []);
        log.set_high_watermark(log.offsets().end);
        compact(&disk, &store);
        assert_eq!(latest(&log), committed, "before: {is_compacted_before}");
    }
}

fn compact(disk: &FaultyDisk, store: &Store) {
    let (clock, chance) = (Clock::by_hand(NOW_MS), Arc::new(Chance::seeded(1)));
    let compactor = Compactor::new(disk.shared(), clock, chance, CompactionConfig::default());
    assert!(store.compact(&compactor, &Halt::default()));
}
