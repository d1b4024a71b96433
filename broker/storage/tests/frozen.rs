//! A log directory whose disk hangs: whatever is due there waits, and nothing waits elsewhere.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base::chance::Chance;
use base::clock::Clock;
use base::disk::Disk;
use base::faulty_disk::FaultyDisk;
use protocol::batch::{BatchBuilder, Codec, Marker, end_marker};
use protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicPartition};
use storage::compaction::{CompactionConfig, Compactor, Halt};
use storage::config::{LogConfig, StoreConfig};
use storage::log::{Log, Moment, Origin, ReadRequest, Upto};
use storage::store::Store;

const FROZEN: &str = "/a";
const WORKS: &str = "/b";
/// What does not hang takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    disk: FaultyDisk,
    clock: Clock,
    store: Arc<Store>,
    /// One in each directory.
    logs: [Arc<Log>; 2],
}

fn world(config: LogConfig) -> World {
    let (disk, clock) = (FaultyDisk::new(1), Clock::by_hand(1_700_000_000_000));
    let all = StoreConfig {
        dirs: vec![FROZEN.into(), WORKS.into()],
        delete_delay_ms: 0,
        retention_check_ms: 0,
        recovery_checkpoint_ms: 0,
        ..StoreConfig::default()
    };
    let config = Arc::new(config);
    let store = Store::open(disk.shared(), all, clock.clone(), &|_| Arc::clone(&config)).unwrap();
    let make = |(partition, dir): (i32, &str)| {
        let (tp, config) = (TopicPartition::new("t", partition), Arc::clone(&config));
        store
            .create(&tp, None, config, Some(Path::new(dir)))
            .unwrap()
    };
    let logs = [(0, FROZEN), (1, WORKS)].map(make);
    World {
        disk,
        clock,
        store: Arc::new(store),
        logs,
    }
}

fn append(log: &Log, count: usize) {
    for _ in 0..count {
        let mut builder = BatchBuilder::new(Codec::None);
        builder
            .push(1_700_000_000_000, Some(b"k"), Some(&[7; 90]), &[])
            .unwrap();
        let records = builder.build().unwrap();
        log.append_as_leader(&records, LeaderEpoch(0), Origin::Client, None)
            .unwrap();
    }
}

/// On a thread that is left behind should it hang.
fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (tell, told) = channel();
    std::thread::spawn(move || tell.send(work()));
    told
}

#[test]
fn upkeep_goes_on_in_the_directories_that_answer() {
    let World {
        disk,
        clock,
        store,
        logs,
    } = world(LogConfig {
        segment_bytes: 400,
        retention_ms: 10_000,
        file_delete_delay_ms: 0,
        ..LogConfig::default()
    });
    for log in &logs {
        append(log, 9);
        log.set_high_watermark(Offset(9));
    }
    disk.freeze(FROZEN);
    let keep = |dir: &'static str| {
        let store = Arc::clone(&store);
        beside(move || store.housekeep_in(Path::new(dir)))
    };
    let stuck = keep(FROZEN);
    disk.await_hanging(1);
    keep(WORKS).recv_timeout(PATIENCE).expect("its disk works");
    assert_eq!(logs[1].offsets().recovery, Offset(9), "flushed");
    clock.advance(20_000);
    for _ in 0..2 {
        keep(WORKS).recv_timeout(PATIENCE).expect("its disk works");
    }
    assert_eq!(logs[1].offsets().start, Offset(9), "what is old went");
    let left = disk.files().into_iter().filter(|(path, _)| {
        path.starts_with(WORKS) && path.extension().is_some_and(|end| end == "deleted")
    });
    assert_eq!(left.count(), 0, "and its files");
    assert!(stuck.try_recv().is_err());
    let store_closed = Arc::clone(&store);
    let writes = beside(move || store_closed.write_watermarks_in(Path::new(WORKS)));
    writes
        .recv_timeout(PATIENCE)
        .expect("its disk works")
        .unwrap();
    disk.thaw();
    stuck.recv_timeout(PATIENCE).expect("it answers again");
    assert!(store.directories().iter().all(|directory| directory.online));
}

#[test]
fn compaction_goes_on_in_the_directories_that_answer() {
    let World {
        disk,
        clock,
        store,
        logs,
    } = world(LogConfig {
        segment_bytes: 400,
        compact: true,
        delete: false,
        min_cleanable_dirty_ratio: 0.0,
        ..LogConfig::default()
    });
    for log in &logs {
        append(log, 9);
        log.set_high_watermark(Offset(9));
        log.flush().unwrap();
    }
    let how = CompactionConfig {
        threads_per_directory: 1,
        ..CompactionConfig::default()
    };
    let chance = Arc::new(Chance::seeded(1));
    let compactor = Arc::new(Compactor::new(disk.shared(), clock, chance, how));
    let before = logs[1].size();
    disk.freeze(FROZEN);
    let clean = || {
        let (store, compactor) = (Arc::clone(&store), Arc::clone(&compactor));
        beside(move || store.compact(&compactor, &Halt::default()))
    };
    let stuck = clean();
    disk.await_hanging(1);
    let cleaned = clean().recv_timeout(PATIENCE).expect("its disk works");
    assert!(cleaned && logs[1].size() < before);
    assert!(stuck.try_recv().is_err());
    let asked = Arc::clone(&compactor);
    let works = Arc::clone(&logs[1]);
    let dirty = beside(move || asked.dirty_bytes(&*works));
    assert_eq!(
        dirty.recv_timeout(PATIENCE).expect("it is told").unwrap(),
        0
    );
    disk.thaw();
    stuck.recv_timeout(PATIENCE).expect("it answers again");
    assert!(logs[0].size() < before);
    assert!(
        disk.exists(Path::new("/a/cleaner-offset-checkpoint"))
            .unwrap()
    );
}

#[test]
fn partitions_are_made_and_deleted_while_another_directory_hangs() {
    let World {
        disk,
        store,
        logs: _logs,
        ..
    } = world(LogConfig::default());
    disk.freeze(FROZEN);
    let delete = |partition: i32| {
        let store = Arc::clone(&store);
        beside(move || {
            store
                .delete(&[TopicPartition::new("t", partition)])
                .pop()
                .unwrap()
        })
    };
    let stuck = delete(0);
    disk.await_hanging(1);
    let deleted = delete(1).recv_timeout(PATIENCE);
    deleted.expect("its disk works").unwrap();
    let makes = Arc::clone(&store);
    let made = beside(move || {
        let tp = TopicPartition::new("t", 1);
        let made = makes.create(&tp, None, Arc::default(), Some(Path::new(WORKS)));
        made.map(drop)
    });
    made.recv_timeout(PATIENCE)
        .expect("its disk works")
        .unwrap();
    assert!(stuck.try_recv().is_err());
    disk.thaw();
    let answered = stuck.recv_timeout(PATIENCE);
    answered.expect("it answers again").unwrap();
}

#[test]
fn nobody_waits_to_append_while_aborted_transactions_are_read() {
    let World { disk, logs, .. } = world(LogConfig::default());
    let [_, log] = &logs;
    let mut builder = BatchBuilder::new(Codec::None)
        .producer(ProducerId(5), ProducerEpoch(0), 0)
        .transactional(true);
    builder
        .push(1_700_000_000_000, Some(b"k"), Some(b"v"), &[])
        .unwrap();
    let now_ms = 1_700_000_000_000;
    let marker = end_marker(Marker::Abort, ProducerId(5), ProducerEpoch(0), 0, now_ms);
    let written = [
        (builder.build().unwrap(), Origin::Client),
        (marker, Origin::Coordinator),
    ];
    for (records, origin) in written {
        log.append_as_leader(&records, LeaderEpoch(0), origin, None)
            .unwrap();
    }
    log.set_high_watermark(Offset(2));
    disk.freeze(".txnindex");
    let reads = Arc::clone(log);
    let stuck = beside(move || {
        let request = ReadRequest {
            from: Offset(0),
            bytes_max: 1 << 20,
            min_one: true,
            upto: Upto::Stable,
        };
        reads.read(request).map(|plan| plan.aborted.len())
    });
    disk.await_hanging(1);
    let appends = Arc::clone(log);
    let appended = beside(move || append(&appends, 1)).recv_timeout(PATIENCE);
    appended.expect("an append needs nothing of that file");
    assert!(stuck.try_recv().is_err());
    disk.thaw();
    let aborted = stuck.recv_timeout(PATIENCE);
    assert_eq!(aborted.expect("it answers again").unwrap(), 1);
}

#[test]
fn nobody_waits_to_append_or_to_read_the_end_while_an_index_is_read() {
    let World { disk, logs, .. } = world(LogConfig {
        index_interval_bytes: 0,
        ..LogConfig::default()
    });
    let [_, log] = &logs;
    // More entries than wait in memory.
    append(log, 200);
    log.set_high_watermark(Offset(200));
    let read = |from: i64| {
        let reads = Arc::clone(log);
        beside(move || {
            let request = ReadRequest {
                from: Offset(from),
                bytes_max: 1,
                min_one: true,
                upto: Upto::End,
            };
            reads.read(request).map(|plan| plan.first_offset)
        })
    };
    disk.freeze(".index");
    let stuck = read(5);
    disk.await_hanging(1);
    let newest = read(199).recv_timeout(PATIENCE);
    let newest = newest.expect("where the newest are is known");
    assert_eq!(newest.unwrap(), Offset(199));
    let appends = Arc::clone(log);
    let appended = beside(move || append(&appends, 1)).recv_timeout(PATIENCE);
    appended.expect("an append needs nothing of that file");
    assert!(stuck.try_recv().is_err());
    disk.thaw();
    let found = stuck.recv_timeout(PATIENCE);
    assert_eq!(found.expect("it answers again").unwrap(), Offset(5));
}

#[test]
fn nobody_waits_to_read_or_to_append_while_the_times_of_an_old_segment_are_looked_up() {
    let config = LogConfig {
        segment_bytes: 400,
        index_interval_bytes: 0,
        ..LogConfig::default()
    };
    let before = world(config.clone());
    append(&before.logs[1], 9);
    before.store.close().unwrap();
    let World { disk, clock, .. } = before;
    let all = StoreConfig {
        dirs: vec![FROZEN.into(), WORKS.into()],
        ..StoreConfig::default()
    };
    let config = Arc::new(config);
    let store = Store::open(disk.shared(), all, clock, &|_| Arc::clone(&config)).unwrap();
    let log = store.log(&TopicPartition::new("t", 1)).unwrap();
    disk.freeze("/00000000000000000000.timeindex");
    let looks = Arc::clone(&log);
    let stuck = beside(move || looks.offset_for(Moment::MaxTimestamp, Upto::End));
    disk.await_hanging(1);
    let reads = Arc::clone(&log);
    let read = beside(move || {
        let request = ReadRequest {
            from: Offset(0),
            bytes_max: 1,
            min_one: true,
            upto: Upto::End,
        };
        reads.read(request).map(|plan| plan.first_offset)
    });
    let read = read.recv_timeout(PATIENCE);
    assert_eq!(read.expect("it needs no times").unwrap(), Offset(0));
    let appends = Arc::clone(&log);
    let appended = beside(move || append(&appends, 1)).recv_timeout(PATIENCE);
    appended.expect("another segment");
    assert!(stuck.try_recv().is_err());
    disk.thaw();
    let found = stuck.recv_timeout(PATIENCE).expect("it answers again");
    assert_eq!(found.unwrap().unwrap().offset, Offset(0));
}

#[test]
fn who_measures_waits_for_no_disk() {
    let World { disk, logs, .. } = world(LogConfig::default());
    let [stuck, works] = &logs;
    disk.freeze(FROZEN);
    let appends = Arc::clone(stuck);
    let appended = beside(move || append(&appends, 1));
    disk.await_hanging(1);
    let wait = Duration::from_millis(1);
    let measured = [stuck, works].map(|log| {
        let log = Arc::clone(log);
        let measures = beside(move || log.measures(wait)).recv_timeout(PATIENCE);
        measures.expect("it is told").is_some()
    });
    assert_eq!(measured, [false, true]);
    disk.thaw();
    appended.recv_timeout(PATIENCE).expect("it answers again");
    assert_eq!(stuck.measures(PATIENCE).unwrap().offsets.end, Offset(1));
}

#[test]
fn the_directories_that_answer_end_cleanly() {
    let World {
        disk,
        store,
        logs: _logs,
        ..
    } = world(LogConfig::default());
    disk.freeze(FROZEN);
    let keeps = Arc::clone(&store);
    let upkeep = beside(move || keeps.housekeep_in(Path::new(FROZEN)));
    disk.await_hanging(1);
    let closes = Arc::clone(&store);
    let closed = beside(move || closes.close());
    let is_clean = |dir: &str| disk.exists(&Path::new(dir).join(".kafka_cleanshutdown"));
    let (reached, ended) = channel();
    let marker = disk.clone();
    std::thread::spawn(move || {
        while !marker.exists(Path::new("/b/.kafka_cleanshutdown")).unwrap() {
            std::thread::yield_now();
        }
        reached.send(())
    });
    ended.recv_timeout(PATIENCE).expect("its disk works");
    assert!(closed.try_recv().is_err() && upkeep.try_recv().is_err());
    disk.thaw();
    closed
        .recv_timeout(PATIENCE)
        .expect("it answers again")
        .unwrap();
    assert!(is_clean(FROZEN).unwrap());
    upkeep.recv_timeout(PATIENCE).expect("it answers again");
}
