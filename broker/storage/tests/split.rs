//! Segments as compaction of old Kafka could leave them: offsets too far above their base.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod reading;

use std::path::Path;
use std::sync::Arc;

use base::clock::Clock;
use base::disk::{Disk, Open};
use base::faulty_disk::{FaultyDisk, Restart};
use protocol::batch::{BatchBuilder, Codec, split};
use protocol::ids::TopicPartition;
use storage::config::{LogConfig, StoreConfig};
use storage::error::Result;
use storage::log::Log;
use storage::store::Store;

const FAR: i64 = 2_500_000_000;
/// First offsets of the batches, of two records each, in the file that is to be split.
const BATCHES: [i64; 5] = [0, 7, FAR, FAR + 4, 2 * FAR];
/// The segment after it.
const NEXT: i64 = 2 * FAR + 10;

fn batch(first: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Codec::None);
    for number in 0..2i64 {
        let value = (first + number).to_be_bytes();
        builder.push(1, Some(b"key"), Some(&value), &[]).unwrap();
    }
    let mut bytes = builder.build().unwrap().to_vec();
    bytes[..8].copy_from_slice(&first.to_be_bytes());
    bytes
}

fn write(disk: &FaultyDisk, base: i64, batches: &[i64]) {
    let path = format!("/d/t-0/{base:020}.log");
    let file = disk.open(Path::new(&path), Open::Create).unwrap();
    let bytes: Vec<u8> = batches.iter().flat_map(|first| batch(*first)).collect();
    file.write_at(&bytes, 0).unwrap();
    file.sync().unwrap();
}

fn old_log() -> FaultyDisk {
    let disk = FaultyDisk::new(1);
    disk.create_dir_all(Path::new("/d/t-0")).unwrap();
    write(&disk, 0, &BATCHES);
    write(&disk, NEXT, &[NEXT]);
    let cleaner = Path::new("/d/cleaner-offset-checkpoint");
    let file = disk.open(cleaner, Open::Create).unwrap();
    file.write_at(format!("0\n1\nt 0 {NEXT}\n").as_bytes(), 0)
        .unwrap();
    disk.file_system(Path::new("/d")).unwrap().sync().unwrap();
    disk
}

fn open(disk: &FaultyDisk) -> Result<Store> {
    let all = StoreConfig {
        dirs: vec!["/d".into()],
        ..StoreConfig::default()
    };
    let config = Arc::new(LogConfig {
        compact: true,
        delete: false,
        ..LogConfig::default()
    });
    Store::open(disk.shared(), all, Clock::by_hand(1_000), &|_| {
        Arc::clone(&config)
    })
}

fn values(log: &Log) -> Vec<i64> {
    let mut values = Vec::new();
    for bytes in reading::answers(log, 1 << 20) {
        for view in split(&bytes) {
            for record in view.unwrap().records(1 << 20).unwrap() {
                let record = record.unwrap();
                let value = i64::from_be_bytes(record.value.unwrap()[..].try_into().unwrap());
                assert_eq!(value, record.offset.0);
                values.push(value);
            }
        }
    }
    values
}

fn expected() -> Vec<i64> {
    let firsts = BATCHES.into_iter().chain([NEXT]);
    firsts.flat_map(|first| [first, first + 1]).collect()
}

fn bases(disk: &FaultyDisk) -> Vec<i64> {
    let entries = disk.list(Path::new("/d/t-0")).unwrap();
    let names = entries
        .iter()
        .filter_map(|entry| entry.name.strip_suffix(".log"));
    let mut bases: Vec<i64> = names.map(|name| name.parse().unwrap()).collect();
    bases.sort_unstable();
    bases
}

#[test]
fn offsets_that_do_not_fit_their_segment_move_to_segments_of_their_own() {
    let disk = old_log();
    let store = open(&disk).unwrap();
    let log = store.log(&TopicPartition::new("t", 0)).unwrap();
    assert_eq!(values(&log), expected());
    assert_eq!(bases(&disk), [0, FAR, 2 * FAR, NEXT]);
    assert!(store.set_aside().is_empty());
}

#[test]
fn a_start_that_dies_while_it_splits_is_made_good_by_the_next() {
    let mut stop = 0;
    loop {
        stop += 1;
        let disk = old_log();
        disk.stop_at(disk.operations() + stop);
        let is_done = open(&disk).is_ok();
        for how in [Restart::Process, Restart::Power, Restart::PowerLosingAll] {
            let world = disk.copy(stop);
            world.restart(how);
            let store = open(&world).unwrap();
            let log = store.log(&TopicPartition::new("t", 0)).unwrap();
            assert_eq!(values(&log), expected(), "stopped at {stop}, {how:?}");
            assert_eq!(bases(&world), [0, FAR, 2 * FAR, NEXT], "stopped at {stop}");
        }
        if is_done {
            break;
        }
    }
    assert!(stop > 20, "a split makes many changes: {stop}");
}

#[test]
fn an_offset_that_was_spoilt_is_no_overflow() {
    let disk = old_log();
    let path = Path::new("/d/t-0/00000000000000000000.log");
    let file = disk.open(path, Open::Write).unwrap();
    // The second batch claims to lie beyond the next segment.
    let second = batch(0).len() as u64;
    file.write_at(&(NEXT + 1).to_be_bytes(), second).unwrap();
    file.sync().unwrap();
    let store = open(&disk).unwrap();
    let log = store.log(&TopicPartition::new("t", 0)).unwrap();
    assert_eq!(values(&log), [0, 1]);
    assert_eq!(bases(&disk), [0]);
}
