//! What a log promises to those above it: order, bounds, duplicates, rolling, retention, moves.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::clock::Clock;
use base::disk::{Disk, Open, SystemDisk};
use base::faulty_disk::{Fault, FaultyDisk, Operation, Restart};
use bytes::Bytes;
use protocol::batch::{BatchBuilder, Codec, Marker, end_marker};
use protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicId, TopicPartition};
use storage::config::{LogConfig, StoreConfig};
use storage::error::{AppendError, AppendRefusal, ReadError, ReadRefusal};
use storage::log::{Appended, Log, Origin, ReadRequest, Upto, VerificationGuard};
use storage::store::Store;

const NOW_MS: i64 = 1_700_000_000_000;

struct World {
    disk: FaultyDisk,
    clock: Clock,
    store: Store,
    log: Arc<Log>,
}

fn tp() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn open(disk: &FaultyDisk, clock: &Clock, config: &Arc<LogConfig>) -> Store {
    let all = StoreConfig {
        dirs: vec!["/a".into(), "/b".into()],
        delete_delay_ms: 1_000,
        retention_check_ms: 0,
        ..StoreConfig::default()
    };
    let config = Arc::clone(config);
    Store::open(disk.shared(), all, clock.clone(), &|_| Arc::clone(&config)).unwrap()
}

fn world(config: LogConfig) -> World {
    let (disk, clock, config) = (FaultyDisk::new(1), Clock::by_hand(NOW_MS), Arc::new(config));
    let store = open(&disk, &clock, &config);
    let log = store
        .create(&tp(), None, config, Some(Path::new("/a")))
        .unwrap();
    World {
        disk,
        clock,
        store,
        log,
    }
}

fn batch(count: usize, producer: Option<(i64, i16, i32)>, transactional: bool) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None).transactional(transactional);
    if let Some((id, epoch, sequence)) = producer {
        builder = builder.producer(ProducerId(id), ProducerEpoch(epoch), sequence);
    }
    for _ in 0..count {
        builder
            .push(NOW_MS, Some(b"k"), Some(&[7; 50]), &[])
            .unwrap();
    }
    builder.build().unwrap()
}

fn append(log: &Log, records: &Bytes) -> Result<Appended, AppendError> {
    log.append_as_leader(records, LeaderEpoch(0), Origin::Client, None)
}

fn read(log: &Log, from: i64, upto: Upto) -> Bytes {
    let request = ReadRequest {
        from: Offset(from),
        bytes_max: 1 << 20,
        min_one: true,
        upto,
    };
    log.read(request).unwrap().read().unwrap()
}

fn end_of(bytes: &Bytes) -> Option<i64> {
    protocol::batch::split(bytes)
        .last()
        .map(|batch| batch.unwrap().next_offset().0)
}

#[test]
fn a_repeated_batch_is_answered_with_its_first_place_and_not_written_again() {
    let World { log, .. } = world(LogConfig::default());
    append(&log, &batch(3, Some((1, 0, 0)), false)).unwrap();
    let first = append(&log, &batch(2, Some((1, 0, 3)), false)).unwrap();
    let size = log.size();
    let again = append(&log, &batch(2, Some((1, 0, 3)), false)).unwrap();
    assert!(again.duplicate && !first.duplicate);
    assert_eq!(
        (again.first_offset, again.last_offset),
        (Offset(3), Offset(4))
    );
    assert_eq!(log.size(), size);
    let gap = append(&log, &batch(1, Some((1, 0, 9)), false));
    let Err(AppendError::Refused(AppendRefusal::OutOfOrderSequence { last: 4, .. })) = gap else {
        panic!("{gap:?}")
    };
}

#[test]
fn readers_see_no_further_than_they_may() {
    let World { log, .. } = world(LogConfig::default());
    for _ in 0..4 {
        append(&log, &batch(5, None, false)).unwrap();
    }
    log.set_high_watermark(Offset(10));
    assert_eq!(end_of(&read(&log, 0, Upto::HighWatermark)), Some(10));
    assert_eq!(end_of(&read(&log, 0, Upto::End)), Some(20));
    assert_eq!(end_of(&read(&log, 12, Upto::HighWatermark)), None);
    let request = ReadRequest {
        from: Offset(21),
        bytes_max: 9,
        min_one: true,
        upto: Upto::End,
    };
    let Err(ReadError::Refused(ReadRefusal::OutOfRange { end, .. })) = log.read(request) else {
        panic!("past the end")
    };
    assert_eq!(end, Offset(20));
    let small = ReadRequest {
        from: Offset(7),
        bytes_max: 1,
        min_one: true,
        upto: Upto::End,
    };
    let plan = log.read(small).unwrap();
    assert_eq!((plan.first_offset, plan.ranges.len()), (Offset(5), 1));
    assert_eq!(end_of(&plan.read().unwrap()), Some(10));
    assert!(
        log.read(ReadRequest {
            min_one: false,
            bytes_max: 0,
            ..small
        })
        .unwrap()
        .is_empty()
    );
}

#[test]
fn an_open_transaction_holds_back_readers_of_the_committed_and_aborted_ones_are_named() {
    let World { log, .. } = world(LogConfig::default());
    append(&log, &batch(2, None, false)).unwrap();
    append(&log, &batch(2, Some((5, 0, 0)), true)).unwrap();
    append(&log, &batch(2, None, false)).unwrap();
    log.set_high_watermark(Offset(6));
    assert_eq!(log.offsets().stable, Offset(2));
    assert_eq!(end_of(&read(&log, 0, Upto::Stable)), Some(2));
    let marker = end_marker(Marker::Abort, ProducerId(5), ProducerEpoch(0), 0, NOW_MS);
    let refused = append(&log, &marker);
    assert!(matches!(
        refused,
        Err(AppendError::Refused(AppendRefusal::InvalidRecord { .. }))
    ));
    log.append_as_leader(&marker, LeaderEpoch(0), Origin::Coordinator, None)
        .unwrap();
    assert_eq!(
        log.offsets().stable,
        Offset(2),
        "the marker is not replicated yet"
    );
    log.set_high_watermark(Offset(7));
    assert_eq!(log.offsets().stable, Offset(7));
    let request = ReadRequest {
        from: Offset(0),
        bytes_max: 1 << 20,
        min_one: true,
        upto: Upto::Stable,
    };
    let plan = log.read(request).unwrap();
    assert_eq!(plan.aborted.len(), 1);
    assert_eq!(plan.aborted[0].first_offset, Offset(2));
}

#[test]
fn an_unannounced_transaction_is_refused_where_verification_is_asked_for() {
    let World { log, .. } = world(LogConfig::default());
    let records = batch(1, Some((5, 0, 0)), true);
    let with = |guard: &VerificationGuard| {
        log.append_as_leader(&records, LeaderEpoch(0), Origin::Client, Some(guard))
    };
    let refused = with(&VerificationGuard::OPEN);
    assert!(matches!(
        refused,
        Err(AppendError::Refused(AppendRefusal::InvalidTxnState { .. }))
    ));
    let guard = log
        .start_verification(ProducerId(5), ProducerEpoch(0), 0)
        .unwrap();
    with(&guard).unwrap();
    assert_eq!(
        log.start_verification(ProducerId(5), ProducerEpoch(0), 1),
        None
    );
}

#[test]
fn a_follower_takes_offsets_and_epochs_as_they_come() {
    let leader = world(LogConfig::default()).log;
    for epoch in [0, 0, 3] {
        let records = batch(2, None, false);
        leader
            .append_as_leader(&records, LeaderEpoch(epoch), Origin::Client, None)
            .unwrap();
    }
    let follower = world(LogConfig::default()).log;
    let sent = read(&leader, 0, Upto::End);
    // The last batch arrives cut.
    follower
        .append_as_follower(&sent.slice(..sent.len() - 1))
        .unwrap();
    assert_eq!(follower.offsets().end, Offset(4));
    follower
        .append_as_follower(&read(&leader, 4, Upto::End))
        .unwrap();
    assert_eq!(read(&follower, 0, Upto::End), sent);
    assert_eq!(follower.epochs(), leader.epochs());
    let twice = follower.append_as_follower(&sent);
    assert!(matches!(
        twice,
        Err(AppendError::Refused(AppendRefusal::UnexpectedOffset { .. }))
    ));
}

#[test]
fn old_segments_go_by_age_size_and_start_and_open_ranges_stay_readable() {
    let config = LogConfig {
        segment_bytes: 500,
        retention_ms: 10_000,
        ..LogConfig::default()
    };
    let World {
        log, clock, store, ..
    } = world(config);
    for _ in 0..10 {
        append(&log, &batch(3, None, false)).unwrap();
    }
    let request = ReadRequest {
        from: Offset(0),
        bytes_max: 300,
        min_one: true,
        upto: Upto::End,
    };
    let plan = log.read(request).unwrap();
    let before = plan.read().unwrap();
    log.set_high_watermark(Offset(30));
    log.delete_records_before(Offset(8)).unwrap();
    store.housekeep();
    assert_eq!(log.offsets().start, Offset(8));
    assert_eq!(
        end_of(&read(&log, 8, Upto::End)).map(|end| end >= 9),
        Some(true)
    );
    clock.advance(20_000);
    store.housekeep();
    assert_eq!(
        log.offsets().start,
        Offset(30),
        "all are too old; an empty one follows"
    );
    assert_eq!(log.size(), 0);
    clock.advance(100_000);
    store.housekeep();
    assert_eq!(plan.read().unwrap(), before, "who holds a range can finish");
    assert_eq!(
        append(&log, &batch(1, None, false)).unwrap().first_offset,
        Offset(30)
    );
}

#[test]
fn a_spoilt_start_deletes_nothing_and_a_true_one_is_kept() {
    for (noted, start) in [("8", 8i64), ("18", 8), ("98", 8), ("3", 3)] {
        for is_clean in [true, false] {
            let config = LogConfig {
                segment_bytes: 250,
                ..LogConfig::default()
            };
            let World {
                disk, log, store, ..
            } = world(config.clone());
            for _ in 0..10 {
                append(&log, &batch(3, None, false)).unwrap();
            }
            log.set_high_watermark(Offset(30));
            // Each batch is a segment; the upkeep would delete those of 0 and 3.
            log.delete_records_before(Offset(8)).unwrap();
            store.close().unwrap();
            drop((log, store));
            let path = Path::new("/a/log-start-offset-checkpoint");
            let text = format!("0\n1\nt 0 {noted}\n");
            let file = disk.open(path, Open::Write).unwrap();
            file.truncate(0).unwrap();
            file.write_at(text.as_bytes(), 0).unwrap();
            if !is_clean {
                let marker = Path::new("/a/.kafka_cleanshutdown");
                disk.remove_file(marker).unwrap();
            }
            let store = open(&disk, &Clock::by_hand(NOW_MS), &Arc::new(config));
            let log = store.log(&tp()).unwrap();
            log.set_high_watermark(Offset(30));
            let context = format!("{noted}, clean: {is_clean}");
            assert_eq!(log.offsets().start, Offset(start), "{context}");
            assert_eq!(log.offsets().end, Offset(30), "{context}");
            store.housekeep();
            let segments = log.measures(Duration::ZERO).unwrap().segments;
            let gone = usize::try_from(start).unwrap() / 3;
            assert_eq!(segments, 10 - gone, "{context}");
        }
    }
}

#[test]
fn a_spoilt_time_deletes_no_segment_after_a_crash_either() {
    let config = LogConfig {
        retention_ms: 10_000,
        index_interval_bytes: 1,
        ..LogConfig::default()
    };
    let World {
        disk, log, store, ..
    } = world(config.clone());
    for at in [0, 30_000, 10_000, 20_000] {
        let mut builder = BatchBuilder::new(Codec::None);
        builder
            .push(NOW_MS + at, None, Some(&[7; 50]), &[])
            .unwrap();
        append(&log, &builder.build().unwrap()).unwrap();
    }
    store.close().unwrap();
    drop((log, store));
    disk.remove_file(Path::new("/a/.kafka_cleanshutdown"))
        .unwrap();
    let path = Path::new("/a/t-0/00000000000000000000.timeindex");
    // The entry of 30 000 says 0 and something.
    let spoil = |bytes: &mut Vec<u8>| {
        let from = bytes.len() - 12;
        bytes[from..from + 8].copy_from_slice(&(NOW_MS + 1).to_be_bytes());
    };
    disk.corrupt(path, spoil).unwrap();
    let clock = Clock::by_hand(NOW_MS + 40_000);
    let store = open(&disk, &clock, &Arc::new(config));
    let log = store.log(&tp()).unwrap();
    log.set_high_watermark(Offset(4));
    store.housekeep();
    assert_eq!(log.offsets().start, Offset(0));
    clock.advance(1);
    store.housekeep();
    assert_eq!(
        log.offsets().start,
        Offset(4),
        "it is as old as its youngest record"
    );
}

#[test]
fn a_new_segment_starts_when_the_old_is_full_or_old() {
    let config = LogConfig {
        segment_bytes: 1_000_000,
        segment_ms: 5_000,
        ..LogConfig::default()
    };
    let World { log, disk, .. } = world(config);
    append(&log, &batch(1, None, false)).unwrap();
    let mut later = BatchBuilder::new(Codec::None);
    later.push(NOW_MS + 5_001, None, Some(b"v"), &[]).unwrap();
    append(&log, &later.build().unwrap()).unwrap();
    assert!(
        disk.exists(Path::new("/a/t-0/00000000000000000001.log"))
            .unwrap()
    );
    assert!(
        disk.exists(Path::new("/a/t-0/00000000000000000001.snapshot"))
            .unwrap()
    );
    let sealed = disk
        .facts(Path::new("/a/t-0/00000000000000000000.timeindex"))
        .unwrap();
    assert_eq!(
        sealed.len, 12,
        "the last timestamp of a sealed segment is noted"
    );
}

#[test]
fn the_durable_mode_says_so_and_flush_tells_how_far() {
    let World { log, .. } = world(LogConfig {
        flush_messages: 1,
        ..LogConfig::default()
    });
    let done = append(&log, &batch(2, None, false)).unwrap();
    assert!(done.flush_due);
    assert_eq!(log.offsets().recovery, Offset(0));
    assert_eq!(log.flush().unwrap(), done.end);
    assert_eq!(log.offsets().recovery, done.end);
}

#[test]
fn a_deleted_partition_leaves_at_once_and_its_files_later() {
    let World {
        log,
        store,
        clock,
        disk,
    } = world(LogConfig::default());
    append(&log, &batch(2, None, false)).unwrap();
    store.delete(&[tp()]).pop().unwrap().unwrap();
    assert!(store.log(&tp()).is_none());
    assert!(append(&log, &batch(2, None, false)).is_err());
    assert!(!disk.exists(Path::new("/a/t-0")).unwrap());
    assert!(
        disk.files()
            .iter()
            .any(|(path, _)| path.to_string_lossy().contains("-delete/"))
    );
    clock.advance(2_000);
    store.housekeep();
    assert!(
        !disk
            .files()
            .iter()
            .any(|(path, _)| path.to_string_lossy().contains("-delete/"))
    );
    assert!(store.directories().iter().all(|directory| directory.online));
}

/// Six in two directories, names and all on the disk.
fn six(store: &Store, disk: &FaultyDisk) -> Vec<TopicPartition> {
    let many: Vec<TopicPartition> = (1..=6).map(|at| TopicPartition::new("t", at)).collect();
    for (tp, dir) in many.iter().zip(["/a", "/b"].iter().cycle()) {
        let made = store.create(tp, None, Arc::default(), Some(Path::new(dir)));
        drop(made.unwrap());
    }
    disk.shared()
        .file_system(Path::new("/a"))
        .unwrap()
        .sync()
        .unwrap();
    many
}

#[test]
fn many_deleted_together_stay_deleted_at_the_price_of_a_sync_for_each_directory() {
    let World {
        log,
        store,
        clock,
        disk,
    } = world(LogConfig::default());
    drop(log);
    let mut many = six(&store, &disk);
    many.push(TopicPartition::new("nobody", 0));
    let before = disk.operations();
    for result in store.delete(&many) {
        result.unwrap();
    }
    assert_eq!(disk.operations() - before, 6 + 2);
    drop(store);
    disk.restart(Restart::PowerLosingAll);
    let store = open(&disk, &clock, &Arc::default());
    let left: Vec<_> = store
        .all()
        .iter()
        .map(|log| log.partition().clone())
        .collect();
    assert_eq!(left, [tp()]);
}

#[test]
fn a_deletion_whose_name_does_not_reach_the_disk_is_no_deletion() {
    let World { store, disk, .. } = world(LogConfig::default());
    let many = six(&store, &disk);
    disk.plan(Operation::SyncDir, "/a", Fault::Eio, 0, true);
    let results = store.delete(&many);
    let went_well: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(went_well, [false, true, false, true, false, true]);
    let works = store.directories().into_iter().map(|dir| dir.online);
    assert_eq!(works.collect::<Vec<_>>(), [false, true]);
}

#[test]
fn a_replica_moves_to_another_directory() {
    let World {
        log,
        store,
        disk,
        clock,
    } = world(LogConfig::default());
    append(&log, &batch(3, None, false)).unwrap();
    let future = store
        .create_future(&tp(), None, log.config(), Path::new("/b"))
        .unwrap();
    future
        .append_as_follower(&read(&log, 0, Upto::End))
        .unwrap();
    assert!(future.is_future() && store.future_log(&tp()).is_some());
    store.announce_move(&log, &future).unwrap();
    store.take_over(&log, &future).unwrap();
    store.finish_move(&log, &future).unwrap();
    let moved = store.log(&tp()).unwrap();
    assert_eq!(moved.directory(), Path::new("/b"));
    assert!(!moved.is_future() && store.future_log(&tp()).is_none());
    assert_eq!(
        append(&moved, &batch(1, None, false)).unwrap().first_offset,
        Offset(3)
    );
    store.close().unwrap();
    disk.restart(Restart::PowerLosingAll);
    let store = open(&disk, &clock, &Arc::default());
    assert_eq!(store.log(&tp()).unwrap().offsets().end, Offset(4));
}

#[test]
fn a_topic_id_is_on_the_disk_with_the_first_record() {
    let World { log, disk, .. } = world(LogConfig::default());
    let id = TopicId::random();
    log.assign_topic_id(id).unwrap();
    append(&log, &batch(1, None, false)).unwrap();
    let text = disk
        .read_small(Path::new("/a/t-0/partition.metadata"), 100)
        .unwrap();
    assert_eq!(
        String::from_utf8(text).unwrap(),
        format!("version: 0\ntopic_id: {id}")
    );
}

#[test]
fn a_foreign_directory_and_a_partition_in_two_places_stop_the_start() {
    for folder in ["/a/lost+found", "/b/t-0"] {
        let World {
            log,
            store,
            disk,
            clock,
        } = world(LogConfig::default());
        append(&log, &batch(1, None, false)).unwrap();
        store.close().unwrap();
        disk.restart(Restart::Process);
        disk.create_dir_all(Path::new(folder)).unwrap();
        let config = StoreConfig {
            dirs: vec!["/a".into(), "/b".into()],
            ..StoreConfig::default()
        };
        let opened = Store::open(disk.shared(), config, clock, &|_| Arc::default());
        assert!(opened.is_err(), "{folder}");
    }
}

#[test]
fn an_epoch_that_the_batches_contradict_is_forgotten_after_a_crash() {
    let World {
        log,
        store,
        disk,
        clock,
    } = world(LogConfig::default());
    log.append_as_leader(&batch(3, None, false), LeaderEpoch(3), Origin::Client, None)
        .unwrap();
    drop((log, store));
    // A start had cut epoch 5, which lost its data; the file was not written anew before the next crash.
    let path = Path::new("/a/t-0/leader-epoch-checkpoint");
    let file = disk.open(path, Open::Create).unwrap();
    file.truncate(0).unwrap();
    file.write_at(b"0\n1\n5 0\n", 0).unwrap();
    drop(file);
    disk.restart(Restart::Process);
    let store = open(&disk, &clock, &Arc::default());
    let log = store.log(&tp()).unwrap();
    assert_eq!(log.offsets().end, Offset(3));
    assert_eq!(log.latest_epoch(), Some(LeaderEpoch(3)));
}

#[test]
fn damage_below_the_recovery_point_sets_the_replica_aside() {
    let World {
        log,
        store,
        disk,
        clock,
    } = world(LogConfig::default());
    for _ in 0..5 {
        append(&log, &batch(3, None, false)).unwrap();
    }
    clock.advance(60_000);
    store.housekeep();
    disk.restart(Restart::Process);
    let path = Path::new("/a/t-0/00000000000000000000.log");
    disk.corrupt(path, |bytes| bytes[70] ^= 1).unwrap();
    let store = open(&disk, &clock, &Arc::default());
    let aside = store.set_aside();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert!(aside[0].now_at.to_string_lossy().ends_with("-stray"));
    assert!(store.log(&tp()).is_none());
    let kept = disk
        .facts(&aside[0].now_at.join("00000000000000000000.log"))
        .unwrap();
    assert_eq!(kept.len, log_size(&disk, &aside[0].now_at));
}

#[test]
fn small_files_that_have_grown_are_damage_and_no_fault_of_the_disk() {
    let World {
        log, store, disk, ..
    } = world(LogConfig::default());
    append(&log, &batch(3, None, false)).unwrap();
    drop(log);
    store.close().unwrap();
    drop(store);
    let grown = [0; 1 << 16];
    let names = [".rotpeter_boot_id", "t-0/00000000000000000003.snapshot"];
    for name in names.map(|name| Path::new("/a").join(name)) {
        let file = disk.open(&name, Open::Create).unwrap();
        file.write_at(&grown, 0).unwrap();
    }
    let clock = Clock::by_hand(0);
    let store = open(&disk, &clock, &Arc::default());
    assert_eq!(store.log(&tp()).unwrap().offsets().end, Offset(3));
    assert!(store.close().is_ok());
    drop(store);
    let metadata = disk.open(Path::new("/a/t-0/partition.metadata"), Open::Create);
    metadata.unwrap().write_at(&grown, 0).unwrap();
    let store = open(&disk, &clock, &Arc::default());
    assert_eq!(store.set_aside().len(), 1);
    assert!(store.directories()[0].online);
}

fn log_size(disk: &FaultyDisk, folder: &Path) -> u64 {
    disk.files()
        .iter()
        .filter(|(p, _)| p.starts_with(folder) && p.extension().is_some_and(|e| e == "log"))
        .map(|f| f.1)
        .sum()
}

#[test]
fn many_threads_append_and_read_without_gap_or_twin() {
    let World { log, .. } = world(LogConfig {
        segment_bytes: 20_000,
        ..LogConfig::default()
    });
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    append(&log, &batch(2, None, false)).unwrap();
                }
            });
        }
        scope.spawn(|| {
            let mut from = 0;
            while from < 1600 {
                let bytes = read(&log, from, Upto::End);
                for batch in protocol::batch::split(&bytes) {
                    let batch = batch.unwrap();
                    assert_eq!(batch.base_offset.0, from);
                    batch.check_crc().unwrap();
                    from = batch.next_offset().0;
                }
            }
        });
    });
    assert_eq!(log.offsets().end, Offset(1600));
}

#[test]
fn what_nobody_flushed_is_flushed_behind_their_backs_before_the_recovery_points_are_written() {
    for partitions in [2, 40] {
        let w = world(LogConfig::default());
        let mut logs = vec![Arc::clone(&w.log)];
        for partition in 1..partitions {
            let tp = TopicPartition::new("t", partition);
            logs.push(w.store.create(&tp, None, w.log.config(), None).unwrap());
        }
        for log in &logs {
            append(log, &batch(3, None, false)).unwrap();
        }
        w.store.housekeep();
        assert_eq!(w.log.offsets().recovery, Offset(0), "not yet");
        w.clock.advance(60_000);
        w.store.housekeep();
        let lost = w.disk.copy(1);
        lost.restart(Restart::PowerLosingAll);
        let again = open(&lost, &w.clock, &w.log.config());
        assert!(again.set_aside().is_empty());
        for log in again.all() {
            let offsets = log.offsets();
            assert_eq!((offsets.recovery, offsets.end), (Offset(3), Offset(3)));
        }
        assert_eq!(again.all().len(), logs.len());
    }
}

#[test]
fn a_log_with_much_unflushed_does_not_wait_for_the_minute() {
    let w = world(LogConfig::default());
    let mut builder = BatchBuilder::new(Codec::None);
    builder
        .push(NOW_MS, None, Some(&[7; 1_000_000]), &[])
        .unwrap();
    let records = builder.build().unwrap();
    for _ in 0..70 {
        append(&w.log, &records).unwrap();
    }
    w.store.housekeep();
    assert_eq!(w.log.offsets().recovery, Offset(70));
}

#[test]
fn ids_and_epochs_of_many_new_logs_are_written_with_few_syncs_and_survive() {
    let w = world(LogConfig::default());
    let id = TopicId::parse("AAAAAAAAAAAAAAAAAAAAAQ").unwrap();
    let mut logs = Vec::new();
    for partition in 1..100 {
        let tp = TopicPartition::new("t", partition);
        let log = w.store.create(&tp, Some(id), w.log.config(), None).unwrap();
        log.assign_epoch(LeaderEpoch(4), Offset(0)).unwrap();
        logs.push(log);
    }
    let before = w.disk.operations();
    w.store.settle(&logs).unwrap();
    let spent = w.disk.operations() - before;
    assert!(spent < 9 * 99, "{spent} changes of the disk");
    let after = w.disk.operations();
    w.store.settle(&logs).unwrap();
    assert_eq!(w.disk.operations(), after, "nothing waits any more");
    w.disk.restart(Restart::PowerLosingAll);
    drop(logs);
    let again = open(&w.disk, &w.clock, &w.log.config());
    for partition in 1..100 {
        let log = again.log(&TopicPartition::new("t", partition)).unwrap();
        assert_eq!(log.topic_id(), Some(id));
    }
}

#[test]
fn an_epoch_needs_no_file_until_the_recovery_point_has_passed_its_data() {
    let w = world(LogConfig::default());
    let before = w.disk.operations();
    w.log.assign_epoch(LeaderEpoch(7), Offset(0)).unwrap();
    w.store.settle(&[Arc::clone(&w.log)]).unwrap();
    assert_eq!(w.disk.operations(), before, "no data, no write");
    let records = batch(3, None, false);
    w.log
        .append_as_leader(&records, LeaderEpoch(7), Origin::Client, None)
        .unwrap();
    let file = Path::new("/a/t-0/leader-epoch-checkpoint");
    for (restart, in_file) in [(Restart::Process, false), (Restart::PowerLosingAll, true)] {
        w.disk.restart(restart);
        assert_eq!(w.disk.exists(file).unwrap(), in_file);
        let again = open(&w.disk, &w.clock, &w.log.config());
        let log = again.log(&tp()).unwrap();
        assert_eq!(log.epochs(), [(LeaderEpoch(7), Offset(0))]);
        assert_eq!(log.offsets().end, Offset(3));
        log.flush().unwrap();
    }
}

#[test]
fn an_epoch_whose_data_was_lost_is_not_in_the_file_once_older_data_lies_there() {
    let w = world(LogConfig::default());
    let append = |log: &Log, epoch: i32| {
        log.append_as_leader(
            &batch(3, None, false),
            LeaderEpoch(epoch),
            Origin::Client,
            None,
        )
        .unwrap();
    };
    append(&w.log, 4);
    w.log.flush().unwrap();
    append(&w.log, 5);
    w.store.settle(&[Arc::clone(&w.log)]).unwrap();
    w.disk.restart(Restart::PowerLosingAll);
    let again = open(&w.disk, &w.clock, &w.log.config());
    let log = again.log(&tp()).unwrap();
    assert_eq!(log.offsets().end, Offset(3));
    // As a follower may that has the longer log of epoch 4 to follow.
    append(&log, 4);
    log.flush().unwrap();
    w.disk.restart(Restart::Process);
    let again = open(&w.disk, &w.clock, &w.log.config());
    let log = again.log(&tp()).unwrap();
    assert_eq!(log.offsets().end, Offset(6));
    assert_eq!(log.epochs(), [(LeaderEpoch(4), Offset(0))]);
}

#[test]
fn checkpoints_that_two_threads_write_at_a_time_are_both_written() {
    let w = world(LogConfig::default());
    append(&w.log, &batch(3, None, false)).unwrap();
    w.log.set_high_watermark(Offset(3));
    w.log.delete_records_before(Offset(2)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..300 {
                    w.store.write_starts().unwrap();
                    w.store.write_watermarks().unwrap();
                }
            });
        }
    });
    let text = |name: &str| {
        let bytes = w.disk.read_small(&Path::new("/a").join(name), 100);
        String::from_utf8(bytes.unwrap()).unwrap()
    };
    assert_eq!(text("log-start-offset-checkpoint"), "0\n1\nt 0 2\n");
    assert_eq!(text("replication-offset-checkpoint"), "0\n1\nt 0 3\n");
}

#[test]
fn a_reader_who_comes_while_a_segment_is_deleted_takes_no_directory_offline() {
    let w = world(LogConfig {
        segment_bytes: 400,
        retention_bytes: 500,
        file_delete_delay_ms: 0,
        ..LogConfig::default()
    });
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    let from = w.log.offsets().start;
                    let request = ReadRequest {
                        from,
                        bytes_max: 1 << 20,
                        min_one: true,
                        upto: Upto::Stable,
                    };
                    match w.log.read(request) {
                        Ok(_) | Err(ReadError::Refused(ReadRefusal::OutOfRange { .. })) => {}
                        Err(failed) => panic!("{failed:?}"),
                    }
                    let moment = storage::log::Moment::At(NOW_MS);
                    w.log.offset_for(moment, Upto::End).unwrap();
                }
            });
        }
        for _ in 0..400 {
            for _ in 0..6 {
                append(&w.log, &batch(3, None, false)).unwrap();
            }
            w.log.set_high_watermark(w.log.offsets().end);
            w.store.housekeep();
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let directories = w.store.directories();
    assert!(
        directories.iter().all(|directory| directory.online),
        "{directories:?}"
    );
}

/// The figures of the goals: 10,000 partitions open in a second after a clean stop, under 4 KB each.
#[test]
#[ignore = "a measurement: cargo test --release -p storage --test log -- --ignored --nocapture"]
fn ten_thousand_partitions_open_quickly_and_small() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        dirs: vec![dir.path().into()],
        open_files_max: 400,
        recovery_threads_per_dir: 2,
        opening_threads_per_dir: 8,
        ..StoreConfig::default()
    };
    let clock = Clock::system();
    let shared = Arc::new(LogConfig::default());
    let open = || {
        let disk = SystemDisk::shared();
        Store::open(disk, config.clone(), clock.clone(), &|_| {
            Arc::clone(&shared)
        })
        .unwrap()
    };
    let store = open();
    let began = clock.monotonic_ms();
    let mut logs = Vec::new();
    for partition in 0..10_000 {
        let tp = TopicPartition::new("scale", partition);
        let id = TopicId::parse("AAAAAAAAAAAAAAAAAAAAAQ").unwrap();
        let log = store
            .create(&tp, Some(id), Arc::clone(&shared), None)
            .unwrap();
        log.assign_epoch(LeaderEpoch(0), Offset(0)).unwrap();
        logs.push(log);
    }
    println!("created in {} ms", clock.monotonic_ms() - began);
    let began = clock.monotonic_ms();
    store.settle(&logs).unwrap();
    println!(
        "ids and epochs on the disk in {} ms",
        clock.monotonic_ms() - began
    );
    let began = clock.monotonic_ms();
    for log in logs {
        append(&log, &batch(1, None, false)).unwrap();
    }
    println!("appended to in {} ms", clock.monotonic_ms() - began);
    let began = clock.monotonic_ms();
    store.close().unwrap();
    println!("closed in {} ms", clock.monotonic_ms() - began);
    drop(store);
    let resident = || -> u64 {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let before = resident();
    let began = clock.monotonic_ms();
    let store = open();
    println!("opened in {} ms", clock.monotonic_ms() - began);
    println!(
        "resident grew by {} bytes a partition",
        (resident() - before) / 10_000
    );
    assert_eq!(store.all().len(), 10_000);
}

#[test]
fn a_follower_names_no_segment_above_the_first_record_of_an_old_compressed_message() {
    for (name, set) in protocol::batch::corpus::logs(21) {
        if !name.starts_with('v') {
            continue;
        }
        // Every message begins a segment of its own.
        let World { log, .. } = world(LogConfig {
            segment_bytes: 14,
            ..LogConfig::default()
        });
        let mut spans = Vec::new();
        for message in protocol::batch::split(&set) {
            let message = message.unwrap();
            log.append_as_follower(message.bytes()).unwrap();
            let records = message.records(1 << 20).unwrap();
            let first = records.map(|record| record.unwrap().offset).min().unwrap();
            spans.push((first, message.last_offset()));
        }
        let segments = log.segments().unwrap();
        assert!(segments.len() > 1, "{name}");
        for segment in segments {
            let base = segment.base_offset;
            let inside = spans
                .iter()
                .find(|(first, last)| *first < base && base <= *last);
            assert_eq!(inside, None, "{name}: a segment is named {base}");
        }
    }
}

#[test]
fn a_moment_is_looked_for_in_the_first_segment_that_says_it_reaches_so_far() {
    use storage::log::Moment;
    let World { log, .. } = world(LogConfig {
        segment_bytes: 400,
        ..LogConfig::default()
    });
    // Times rise by ten; three records a batch, a batch a segment.
    for number in 0..6 {
        let mut set = BatchBuilder::new(Codec::None);
        for record in 0..3 {
            let time_ms = NOW_MS + (number * 3 + record) * 10;
            set.push(time_ms, Some(b"k"), Some(&[7; 50]), &[]).unwrap();
        }
        append(&log, &set.build().unwrap()).unwrap();
    }
    assert_eq!(log.segments().unwrap().len(), 6);
    let at = |time_ms: i64| {
        let found = log.offset_for(Moment::At(NOW_MS + time_ms), Upto::End);
        found.unwrap().map(|found| found.offset.0)
    };
    assert_eq!(
        (at(-5), at(0), at(1), at(25)),
        (Some(0), Some(0), Some(1), Some(3))
    );
    log.set_high_watermark(Offset(18));
    log.delete_records_before(Offset(4)).unwrap();
    assert_eq!((at(0), at(30), at(45)), (None, Some(4), Some(5)));
    let youngest = log.offset_for(Moment::MaxTimestamp, Upto::End).unwrap();
    assert_eq!(youngest.unwrap().offset, Offset(17));
    assert_eq!(at(171), None);
}

/// A hundred batches in one segment, each ten milliseconds younger than the one before, and few entries
/// in its indexes.
fn world_of_moments() -> World {
    let world = world(LogConfig {
        retention_ms: 10_000,
        ..LogConfig::default()
    });
    for number in 0..100 {
        let mut set = BatchBuilder::new(Codec::None);
        set.push(NOW_MS + number * 10, None, Some(&[7; 5]), &[])
            .unwrap();
        append(&world.log, &set.build().unwrap()).unwrap();
    }
    world
}

#[test]
fn a_cut_log_knows_how_young_what_is_left_is() {
    use storage::log::Moment;
    for cut in [90, 60, 2] {
        let World {
            disk,
            clock,
            log,
            store,
        } = world_of_moments();
        log.truncate_to(Offset(cut)).unwrap();
        let youngest = (cut - 1) * 10;
        let look = |log: &Log| {
            let found = |moment| log.offset_for(moment, Upto::End).unwrap();
            let last = found(Moment::At(NOW_MS + youngest)).unwrap();
            assert_eq!(last.offset, Offset(cut - 1));
            assert_eq!(found(Moment::At(NOW_MS + youngest + 1)), None);
            let max = found(Moment::MaxTimestamp).unwrap();
            assert_eq!(max.offset, Offset(cut - 1));
        };
        look(&log);
        log.set_high_watermark(Offset(cut));
        clock.advance(10_000 + youngest);
        assert_eq!(log.apply_retention().unwrap(), 0, "cut at {cut}");
        store.close().unwrap();
        drop((log, store));
        let store = open(&disk, &clock, &Arc::new(LogConfig::default()));
        look(&store.log(&tp()).unwrap());
    }
}

#[test]
fn a_missing_index_is_made_again_even_where_it_has_nothing_to_say() {
    let World {
        disk,
        clock,
        log,
        store,
    } = world(LogConfig::default());
    append(&log, &batch(1, None, false)).unwrap();
    store.close().unwrap();
    drop((log, store));
    let index = Path::new("/a/t-0/00000000000000000000.index");
    disk.remove_file(index).unwrap();
    let store = open(&disk, &clock, &Arc::new(LogConfig::default()));
    store.close().unwrap();
    assert!(disk.exists(index).unwrap());
}
