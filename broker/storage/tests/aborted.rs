//! The index of aborted transactions, which no checksum covers: where it is spoilt it is made anew, whole.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::clock::Clock;
use base::disk::Disk;
use base::faulty_disk::FaultyDisk;
use bytes::Bytes;
use protocol::batch::{BatchBuilder, Codec, Marker, end_marker};
use protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicPartition};
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
    let builder = BatchBuilder::new(Codec::None).producer(ProducerId(producer), EPOCH, 0);
    let mut builder = builder.transactional(true);
    builder
        .push(NOW_MS, Some(b"key"), Some(&[7; 1_000]), &[])
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
