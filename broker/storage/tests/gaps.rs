//! Offsets that no batch has: what compaction and a leader leave out stays out, and what a power cut
//! took is not passed over.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod reading;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base::chance::Chance;
use base::clock::Clock;
use base::disk::{Disk, Open};
use base::faulty_disk::{FaultyDisk, Restart};
use bytes::Bytes;
use protocol::batch::{BatchBuilder, Codec, patch_offset_epoch, split};
use protocol::ids::{LeaderEpoch, Offset, TopicPartition};
use storage::compaction::{CompactionConfig, Compactor, Halt};
use storage::config::{LogConfig, StoreConfig};
use storage::error::{AppendError, Result};
use storage::log::{Log, Origin};
use storage::store::Store;

const NOW_MS: i64 = 1_700_000_000_000;

fn tp() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn config(compact: bool) -> Arc<LogConfig> {
    Arc::new(LogConfig {
        segment_bytes: 250,
        index_interval_bytes: 100,
        file_delete_delay_ms: 0,
        compact,
        delete: !compact,
        min_cleanable_dirty_ratio: 0.0,
        ..LogConfig::default()
    })
}

fn open(disk: &FaultyDisk, config: &Arc<LogConfig>) -> Result<Store> {
    let all = StoreConfig {
        dirs: vec!["/d".into()],
        ..StoreConfig::default()
    };
    Store::open(disk.shared(), all, Clock::by_hand(NOW_MS), &|_| {
        Arc::clone(config)
    })
}

fn create(disk: &FaultyDisk, config: &Arc<LogConfig>) -> (Store, Arc<Log>) {
    let store = open(disk, config).unwrap();
    let log = store.create(&tp(), None, Arc::clone(config), None).unwrap();
    (store, log)
}

/// Three records whose values are their offsets.
fn batch(first: i64, key: &str) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    for offset in first..first + 3 {
        let value = offset.to_be_bytes();
        let key = Some(key.as_bytes());
        builder.push(NOW_MS, key, Some(&value), &[]).unwrap();
    }
    let mut bytes = builder.build().unwrap().to_vec();
    patch_offset_epoch(&mut bytes, Offset(first), LeaderEpoch(0));
    bytes.into()
}

/// Every record that is there: offset and key.
fn records(log: &Log) -> Vec<(i64, Bytes)> {
    let mut found = Vec::new();
    for bytes in reading::answers(log, 1 << 20) {
        for view in split(&bytes) {
            for record in view.unwrap().records(1 << 20).unwrap() {
                let record = record.unwrap();
                let value = i64::from_be_bytes(record.value.unwrap()[..].try_into().unwrap());
                assert_eq!(value, record.offset.0);
                found.push((record.offset.0, record.key.unwrap()));
            }
        }
    }
    found
}

fn offsets(log: &Log) -> Vec<i64> {
    records(log).into_iter().map(|(offset, _)| offset).collect()
}

/// A file of somebody else's.
fn put(disk: &FaultyDisk, name: &str, bytes: &[u8]) {
    let path = Path::new("/d").join(name);
    let file = disk.open(&path, Open::Create).unwrap();
    file.write_at(bytes, 0).unwrap();
}

fn reopened(disk: &FaultyDisk, config: &Arc<LogConfig>) -> (Store, Arc<Log>) {
    let store = open(disk, config).unwrap();
    assert!(store.set_aside().is_empty(), "{:?}", store.set_aside());
    let log = store.log(&tp()).unwrap();
    (store, log)
}

/// First offsets of the batches a leader whose log is compacted may send.
const SENT: [i64; 8] = [0, 3, 20, 23, 40, 60, 63, 80];

fn sent() -> Vec<i64> {
    SENT.iter().flat_map(|first| *first..first + 3).collect()
}

fn follow(log: &Log) {
    for first in SENT {
        log.append_as_follower(&batch(first, "k")).unwrap();
    }
}

#[test]
fn gaps_that_a_leader_sent_stay_when_the_process_dies() {
    let (disk, config) = (FaultyDisk::new(1), config(true));
    let (store, log) = create(&disk, &config);
    follow(&log);
    assert!(
        log.segments().unwrap().len() > 3,
        "gaps lie between segments too"
    );
    drop((log, store));
    disk.restart(Restart::Process);
    let (_store, log) = reopened(&disk, &config);
    assert_eq!(offsets(&log), sent());
}

#[test]
fn a_segment_that_lost_its_end_ends_a_compacted_log_too() {
    for compact in [false, true] {
        let (disk, config) = (FaultyDisk::new(1), config(compact));
        let (store, log) = create(&disk, &config);
        for first in (0..30).step_by(3) {
            log.append_as_follower(&batch(first, "k")).unwrap();
        }
        let second = log.segments().unwrap()[1].base_offset;
        drop((log, store));
        disk.restart(Restart::Process);
        // The file system had not yet brought the last batch of the first segment to the disk.
        let first = Path::new("/d/t-0/00000000000000000000.log");
        let kept = batch(0, "k").len();
        disk.corrupt(first, |bytes| bytes.truncate(kept)).unwrap();
        assert!(second > Offset(3));
        let (_store, log) = reopened(&disk, &config);
        assert_eq!(offsets(&log), [0, 1, 2], "compacted: {compact}");
    }
}

#[test]
fn a_gap_below_the_recovery_point_stays_where_nothing_is_compacted_any_more() {
    let (disk, compacted) = (FaultyDisk::new(1), config(true));
    let (store, log) = create(&disk, &compacted);
    follow(&log);
    log.flush().unwrap();
    store.close().unwrap();
    drop((log, store));
    // Looked at batch by batch, as without its index a segment is.
    let index = Path::new("/d/t-0/00000000000000000000.index");
    for crashed in [false, true] {
        disk.remove_file(index).unwrap();
        if crashed {
            disk.remove_file(Path::new("/d/.kafka_cleanshutdown"))
                .unwrap();
        }
        let (store, log) = reopened(&disk, &config(false));
        assert_eq!(offsets(&log), sent(), "crashed: {crashed}");
        store.close().unwrap();
    }
}

#[test]
fn an_offset_that_was_spoilt_above_the_recovery_point_is_no_gap() {
    let (disk, config) = (FaultyDisk::new(1), config(false));
    let (store, log) = create(&disk, &config);
    for first in [0, 3] {
        log.append_as_follower(&batch(first, "k")).unwrap();
    }
    drop((log, store));
    disk.restart(Restart::Process);
    let second = batch(0, "k").len();
    let path = Path::new("/d/t-0/00000000000000000000.log");
    disk.corrupt(path, |bytes| bytes[second + 6] = 1).unwrap();
    let (_store, log) = reopened(&disk, &config);
    assert_eq!(log.offsets().end, Offset(3));
}

#[test]
fn the_files_that_a_cleaned_segment_replaced_show_that_its_gap_is_its_own() {
    let written = |compact: bool, replaced_at_ms: Option<i64>| {
        let (disk, config) = (FaultyDisk::new(1), config(compact));
        disk.create_dir_all(Path::new("/d/t-0")).unwrap();
        let put = |name: &str, bytes: &[u8]| put(&disk, name, bytes);
        // As Apache's cleaner leaves it, which notes no recovery point first, where ours was before.
        put(".rotpeter_boot_id", b"another boot");
        disk.set_now_ms(5);
        put("t-0/00000000000000000000.log", &batch(0, "k"));
        put("t-0/00000000000000000009.log", &batch(9, "k"));
        if let Some(at_ms) = replaced_at_ms {
            // Several were made one, which is as old as the last of them.
            disk.set_now_ms(1);
            put("t-0/00000000000000000000.log.deleted", &batch(0, "k"));
            disk.set_now_ms(at_ms);
            put("t-0/00000000000000000003.log.deleted", &batch(3, "k"));
        }
        let (_store, log) = reopened(&disk, &config);
        offsets(&log)
    };
    assert_eq!(written(true, Some(5)), [0, 1, 2, 9, 10, 11]);
    assert_eq!(written(true, None), [0, 1, 2]);
    // Nothing cleans here: the log was cut, and began anew under the same name.
    assert_eq!(written(false, Some(5)), [0, 1, 2]);
    // So it did here: what goes on was written after the others were put away.
    assert_eq!(written(true, Some(4)), [0, 1, 2]);
}

#[test]
fn gaps_between_the_segments_of_an_apache_follower_stay() {
    let found = |compact: bool| {
        let (disk, config) = (FaultyDisk::new(1), config(compact));
        disk.create_dir_all(Path::new("/d/t-0")).unwrap();
        // Sent with what lay between compacted away: it names a segment after what it begins with.
        for first in [0, 9, 30] {
            let name = format!("t-0/{first:020}.log");
            put(&disk, &name, &batch(first, "k"));
        }
        let (store, log) = reopened(&disk, &config);
        let found = offsets(&log);
        // What is ours from now on is as whole, whenever it dies.
        drop((log, store));
        disk.restart(Restart::Process);
        let (_store, log) = reopened(&disk, &config);
        assert_eq!(offsets(&log), found);
        found
    };
    assert_eq!(found(true), [0, 1, 2, 9, 10, 11, 30, 31, 32]);
    assert_eq!(found(false), [0, 1, 2]);
}

#[test]
fn a_cut_inside_a_gap_leaves_a_log_that_opens_where_it_ends() {
    for clean in [true, false] {
        let (disk, config) = (FaultyDisk::new(1), config(true));
        let (store, log) = create(&disk, &config);
        follow(&log);
        log.flush().unwrap();
        log.truncate_to(Offset(50)).unwrap();
        assert_eq!(log.offsets().end, Offset(43), "the last batch that is left");
        log.flush().unwrap();
        if clean {
            store.close().unwrap();
        }
        drop((log, store));
        disk.restart(Restart::PowerLosingAll);
        let (_store, log) = reopened(&disk, &config);
        assert_eq!(log.offsets().end, Offset(43), "clean: {clean}");
        log.append_as_follower(&batch(45, "k")).unwrap();
        assert_eq!(offsets(&log).last(), Some(&47));
    }
}

/// Records of three keys, compacted once; gives how many were acknowledged and how many flushed.
fn compacted_life(disk: &FaultyDisk, config: &Arc<LogConfig>, told: &mut (i64, i64)) -> Result<()> {
    let store = open(disk, config)?;
    let log = store.create(&tp(), None, Arc::clone(config), None)?;
    let append = |first: i64| {
        let mut records = batch(first, key(first)).to_vec();
        patch_offset_epoch(&mut records, Offset(0), LeaderEpoch(0));
        let (records, origin) = (Bytes::from(records), Origin::Client);
        match log.append_as_leader(&records, LeaderEpoch(0), origin, None) {
            Ok(_) => Ok(()),
            Err(AppendError::Failed(e)) => Err(e),
            Err(refused) => panic!("{refused}"),
        }
    };
    for first in (0..60).step_by(3) {
        append(first)?;
        told.0 = first + 3;
        if first == 12 {
            log.flush()?;
            told.1 = 15;
        }
    }
    log.set_high_watermark(log.offsets().end);
    let chance = Arc::new(Chance::seeded(1));
    let (clock, how) = (Clock::by_hand(NOW_MS), CompactionConfig::default());
    let compactor = Compactor::new(disk.shared(), clock, chance, how);
    while store.compact(&compactor, &Halt::default()) {}
    // What was replaced goes at once.
    store.housekeep();
    for first in (60..72).step_by(3) {
        append(first)?;
        told.0 = first + 3;
    }
    Ok(())
}

fn key(first: i64) -> &'static str {
    ["a", "b", "c"][usize::try_from(first / 3 % 3).unwrap()]
}

#[test]
fn what_compaction_took_out_is_not_taken_for_lost_wherever_the_world_stops() {
    let config = config(true);
    let mut stop = 0;
    loop {
        stop += 1;
        let disk = FaultyDisk::new(stop);
        disk.stop_at(stop);
        let mut told = (0, 0);
        let is_done = compacted_life(&disk, &config, &mut told).is_ok() && !disk.is_off();
        let ways = [Restart::Process, Restart::Power, Restart::PowerLosingAll];
        for (number, how) in ways.into_iter().enumerate() {
            let world = disk.copy(stop * 3 + number as u64);
            world.restart(how);
            let context = format!("stopped at {stop}, {how:?}");
            let store = open(&world, &config).unwrap();
            assert!(store.set_aside().is_empty(), "{context}");
            let Some(log) = store.log(&tp()) else {
                assert_eq!(told.1, 0, "{context}");
                continue;
            };
            let promised = if how == Restart::Process {
                told.0
            } else {
                told.1
            };
            let end = log.offsets().end.0;
            assert!(end >= promised, "{context}: {end} of {promised}");
            let found: BTreeMap<Bytes, i64> = records(&log)
                .into_iter()
                .map(|(at, key)| (key, at))
                .collect();
            let expected: BTreeMap<Bytes, i64> = (0..end)
                .map(|at| (Bytes::from_static(key(at).as_bytes()), at))
                .collect();
            assert_eq!(found, expected, "{context}");
        }
        if is_done {
            break;
        }
    }
    assert!(stop > 100, "{stop}");
}
