//! The process stopped at every change of a script, the disk losing what was not synced: reopened,
//! the log must hold every promise made, and nothing that was never written.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod reading;

use std::path::Path;
use std::sync::Arc;

use base::clock::Clock;
use base::disk::Disk;
use base::faulty_disk::{Fault, FaultyDisk, Operation, Restart};
use bytes::Bytes;
use protocol::batch::{BatchBuilder, Codec, Marker, end_marker};
use protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicPartition};
use storage::config::{LogConfig, StoreConfig};
use storage::directory::Lost;
use storage::error::{Error, Result};
use storage::log::{Log, Origin};
use storage::store::Store;

const NOW_MS: i64 = 1_700_000_000_000;
const DIR: &str = "/d";

/// What the script knows it has done, and what it was promised.
#[derive(Clone, Debug, Default)]
struct Model {
    config: Arc<LogConfig>,
    /// How long the key of every record is.
    key_bytes: usize,
    /// The value at each offset; of markers, none.
    values: Vec<Option<u64>>,
    /// Of appends and cuts under way when the world stopped.
    attempted: Vec<Option<u64>>,
    flushed: usize,
    start: usize,
    next: u64,
    /// First offset and marker of each aborted transaction.
    aborted: Vec<(i64, i64)>,
    /// A cut under way: what lies above may be gone or not.
    cut_to: Option<usize>,
}

fn config() -> Arc<LogConfig> {
    Arc::new(LogConfig {
        segment_bytes: 700,
        index_interval_bytes: 150,
        file_delete_delay_ms: 0,
        retention_ms: -1,
        ..LogConfig::default()
    })
}

fn small() -> Model {
    Model {
        config: config(),
        key_bytes: 3,
        ..Model::default()
    }
}

/// Of a topic in which gaps may lie: here there are none, and a crash must leave none.
fn compacted() -> Model {
    let config = LogConfig {
        compact: true,
        delete: false,
        ..(*config()).clone()
    };
    Model {
        config: Arc::new(config),
        ..small()
    }
}

/// Every append is flushed; enough comes for zeros to be written ahead.
fn busy() -> Model {
    let config = LogConfig {
        segment_bytes: 300_000,
        flush_messages: 1,
        ..(*config()).clone()
    };
    Model {
        config: Arc::new(config),
        key_bytes: 8000,
        ..Model::default()
    }
}

fn open(disk: &FaultyDisk, model: &Model) -> Result<Store> {
    let config_all = StoreConfig {
        dirs: vec![DIR.into()],
        recovery_checkpoint_ms: 0,
        ..StoreConfig::default()
    };
    Store::open(disk.shared(), config_all, Clock::by_hand(NOW_MS), &|_| {
        Arc::clone(&model.config)
    })
}

fn tp() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn batch(values: &[u64], producer: Option<(i64, i32)>, key_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    if let Some((id, sequence)) = producer {
        builder = builder
            .producer(ProducerId(id), ProducerEpoch(0), sequence)
            .transactional(true);
    }
    let key = vec![b'k'; key_bytes];
    for value in values {
        builder
            .push(NOW_MS, Some(&key), Some(&value.to_be_bytes()), &[])
            .unwrap();
    }
    builder.build().unwrap()
}

impl Model {
    fn append(&mut self, log: &Log, count: usize, producer: Option<(i64, i32)>) -> Result<()> {
        let values: Vec<u64> = (0..count as u64).map(|more| self.next + more).collect();
        self.next += count as u64;
        self.attempted.clone_from(&self.values);
        self.attempted
            .extend(values.iter().map(|value| Some(*value)));
        let epoch = LeaderEpoch(i32::try_from(self.next / 40).unwrap());
        let origin = Origin::Client;
        let batch = batch(&values, producer, self.key_bytes);
        match log.append_as_leader(&batch, epoch, origin, None) {
            Ok(_) => self.values.clone_from(&self.attempted),
            Err(storage::error::AppendError::Failed(e)) => return Err(e),
            Err(refused) => panic!("{refused}"),
        }
        Ok(())
    }

    fn abort(&mut self, log: &Log, id: i64, first: i64) -> Result<()> {
        self.attempted.clone_from(&self.values);
        self.attempted.push(None);
        let marker = end_marker(Marker::Abort, ProducerId(id), ProducerEpoch(0), 1, NOW_MS);
        let at = i64::try_from(self.values.len()).unwrap();
        self.aborted.push((first, at));
        let epoch = log.latest_epoch().unwrap_or(LeaderEpoch(0));
        match log.append_as_leader(&marker, epoch, Origin::Coordinator, None) {
            Ok(_) => self.values.clone_from(&self.attempted),
            Err(storage::error::AppendError::Failed(e)) => return Err(e),
            Err(refused) => panic!("{refused}"),
        }
        Ok(())
    }

    fn flush(&mut self, log: &Log) -> Result<()> {
        let flushed = log.flush()?;
        assert_eq!(flushed, log.offsets().end);
        self.flushed = usize::try_from(flushed.0).unwrap();
        Ok(())
    }

    fn truncate(&mut self, log: &Log, to: usize) -> Result<()> {
        // The batch that holds `to` goes as a whole; none has more than five records.
        self.flushed = self.flushed.min(to - 4);
        self.cut_to = Some(to - 4);
        self.attempted.clone_from(&self.values);
        log.truncate_to(Offset(to as i64))?;
        self.cut_to = None;
        let to = usize::try_from(log.offsets().end.0).unwrap();
        self.values.truncate(to);
        self.attempted.truncate(to);
        self.aborted.retain(|(_, marker)| *marker < to as i64);
        Ok(())
    }

    fn start_over(&mut self, log: &Log, at: usize) -> Result<()> {
        (self.flushed, self.cut_to) = (0, Some(0));
        self.attempted.clone_from(&self.values);
        self.attempted.resize(at.max(self.values.len()), None);
        log.truncate_fully_and_start_at(Offset(at as i64), None)?;
        self.cut_to = None;
        self.values.resize(at, None);
        self.attempted.clone_from(&self.values);
        self.start = at;
        Ok(())
    }
}

/// A follower that lost touch: it begins anew below its end, and later behind it.
fn lost_script(disk: &FaultyDisk, model: &mut Model) -> Result<()> {
    let store = open(disk, model)?;
    let log = store.create(&tp(), None, Arc::clone(&model.config), None)?;
    for round in 0..9 {
        model.append(&log, 1 + round % 3, None)?;
    }
    model.flush(&log)?;
    store.housekeep();
    model.start_over(&log, 10)?;
    model.append(&log, 2, None)?;
    model.append(&log, 3, None)?;
    model.flush(&log)?;
    model.append(&log, 4, None)?;
    store.housekeep();
    model.start_over(&log, model.values.len() + 7)?;
    model.append(&log, 3, None)?;
    model.flush(&log)?;
    model.append(&log, 1, None)
}

/// A life of a partition: appends, transactions, flushes, cuts, deletion, a clean stop, another life.
fn script(disk: &FaultyDisk, model: &mut Model) -> Result<()> {
    let store = open(disk, model)?;
    let log = store.create(&tp(), None, Arc::clone(&model.config), None)?;
    for round in 0..12 {
        model.append(&log, 1 + round % 3, None)?;
        if round == 4 {
            model.flush(&log)?;
            store.housekeep();
        }
    }
    let first = model.values.len() as i64;
    model.append(&log, 2, Some((7, 0)))?;
    model.append(&log, 3, None)?;
    model.append(&log, 2, Some((7, 2)))?;
    model.abort(&log, 7, first)?;
    model.flush(&log)?;
    model.append(&log, 4, None)?;
    model.truncate(&log, model.values.len() - 3)?;
    model.append(&log, 2, None)?;
    // Below what was flushed, and noted as such.
    store.housekeep();
    model.truncate(&log, 20)?;
    model.append(&log, 5, None)?;
    model.append(&log, 2, Some((9, 0)))?;
    model.flush(&log)?;
    log.set_high_watermark(log.offsets().end);
    log.delete_records_before(Offset(9))?;
    model.start = 9;
    store.write_starts()?;
    store.housekeep();
    model.append(&log, 3, None)?;
    store.close()?;
    model.flushed = model.values.len();
    drop((log, store));
    let store = open(disk, model)?;
    let log = store.log(&tp()).expect("closed cleanly a moment ago");
    model.append(&log, 3, None)?;
    model.append(&log, 2, Some((9, 2)))?;
    model.flush(&log)?;
    model.append(&log, 1, None)
}

fn read_all(log: &Log) -> (usize, Vec<Option<u64>>) {
    let offsets = log.offsets();
    offsets.check();
    let mut values = Vec::new();
    let mut from = offsets.start;
    for bytes in reading::answers(log, 1 << 20) {
        for view in protocol::batch::split(&bytes) {
            let view = view.unwrap();
            view.check_crc().unwrap();
            for record in view.records(1 << 20).unwrap() {
                let record = record.unwrap();
                if record.offset < from {
                    continue;
                }
                assert_eq!(record.offset, from, "no gap, no twin");
                let value = record.value.unwrap();
                values.push(value[..].try_into().ok().map(u64::from_be_bytes));
                from += 1;
            }
        }
    }
    assert_eq!(from, offsets.end);
    (usize::try_from(offsets.start.0).unwrap(), values)
}

/// What must hold after a restart of this kind.
fn check(disk: &FaultyDisk, model: &Model, how: Restart, stop: u64) {
    let context = format!("stopped at {stop}, {how:?}");
    let store = open(disk, model).unwrap_or_else(|e| panic!("{context}: {e:?}"));
    assert!(
        store.set_aside().is_empty(),
        "{context}: {:?}",
        store.set_aside()
    );
    let Some(log) = store.log(&tp()) else {
        assert!(model.flushed == 0, "{context}: the log is gone");
        return;
    };
    let (start, found) = read_all(&log);
    let end = start + found.len();
    let acknowledged = model.values.len().min(model.cut_to.unwrap_or(usize::MAX));
    let must_hold = if how == Restart::Process {
        acknowledged
    } else {
        model.flushed
    };
    assert!(
        end >= must_hold,
        "{context}: ends at {end}, {must_hold} were promised"
    );
    let longest = if model.attempted.len() > model.values.len() {
        &model.attempted
    } else {
        &model.values
    };
    assert_eq!(found, longest[start.min(longest.len())..end], "{context}");
    let aborted = log
        .aborted_transactions(Offset(0), log.offsets().end)
        .unwrap();
    let expected: Vec<i64> = model
        .aborted
        .iter()
        .filter(|(_, marker)| *marker < end as i64)
        .map(|(first, _)| *first)
        .collect();
    let aborted: Vec<i64> = aborted.iter().map(|entry| entry.first_offset.0).collect();
    assert_eq!(aborted, expected, "{context}");
    let producers = producers_of(&log);
    // The same from nothing but the batches.
    drop((log, store));
    let bare = disk.copy(stop);
    bare.restart(Restart::Process);
    for (path, _) in bare.files() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with("index") || name.ends_with("snapshot") || name.starts_with("recovery") {
            bare.remove_file(&path).unwrap();
        }
    }
    let store = open(&bare, model).unwrap();
    let log = store.log(&tp()).unwrap();
    assert_eq!(producers_of(&log), producers, "{context}");
    // And it goes on.
    log.append_as_leader(&batch(&[1], None, 3), LeaderEpoch(99), Origin::Client, None)
        .unwrap();
}

fn producers_of(log: &Log) -> Vec<(i64, i32, i64, i64)> {
    let mut producers: Vec<_> = log
        .active_producers()
        .iter()
        .map(|p| {
            (
                p.producer.0,
                p.last_sequence,
                p.last_data_offset.0,
                p.transaction_start.0,
            )
        })
        .collect();
    producers.sort_unstable();
    producers
}

/// A busy log in the durable mode: room is made, used, given back by a roll, a cut, a pause and a
/// clean stop.
fn durable_script(disk: &FaultyDisk, model: &mut Model) -> Result<()> {
    let store = open(disk, model)?;
    let log = store.create(&tp(), None, Arc::clone(&model.config), None)?;
    let busy = |model: &mut Model, log: &Log, rounds: usize| {
        (0..rounds).try_for_each(|_| {
            model.append(log, 2, None)?;
            model.flush(log)
        })
    };
    busy(model, &log, 12)?;
    assert!(is_ahead(disk, &log), "room was made for a busy log");
    model.truncate(&log, model.values.len() - 3)?;
    busy(model, &log, 12)?;
    // The recovery point is written down right behind an aborted transaction.
    let first = model.values.len() as i64;
    model.append(&log, 2, Some((7, 0)))?;
    model.abort(&log, 7, first)?;
    model.flush(&log)?;
    store.housekeep();
    busy(model, &log, 2)?;
    store.housekeep();
    busy(model, &log, 2)?;
    // Nothing comes between two passes.
    store.housekeep();
    store.housekeep();
    let works = store.directories()[0].online;
    assert!(!(works && is_ahead(disk, &log)), "the log is idle");
    busy(model, &log, 9)?;
    store.close()?;
    let works = store.directories()[0].online;
    assert!(!(works && is_ahead(disk, &log)), "the log is closed");
    drop((log, store));
    let store = open(disk, model)?;
    let log = store.log(&tp()).expect("closed cleanly a moment ago");
    busy(model, &log, 9)?;
    model.append(&log, 2, None)
}

/// Whether the files of the log are longer than its batches, while nothing fails.
fn is_ahead(disk: &FaultyDisk, log: &Log) -> bool {
    let files = disk.files().into_iter();
    let logs = files.filter(|(path, _)| path.extension().is_some_and(|kind| kind == "log"));
    logs.map(|(_, bytes)| bytes).sum::<u64>() > log.size()
}

#[test]
fn every_promise_holds_wherever_the_world_stops() {
    let stops = stop_everywhere(&small(), script);
    assert!(stops > 150, "the script makes many changes: {stops}");
}

#[test]
fn a_compacted_topic_has_no_gap_that_nobody_compacted_wherever_the_world_stops() {
    let stops = stop_everywhere(&compacted(), script);
    assert!(stops > 150, "the script makes many changes: {stops}");
}

#[test]
fn a_log_that_begins_anew_keeps_what_it_is_given_then_wherever_the_world_stops() {
    assert!(stop_everywhere(&small(), lost_script) > 40);
}

#[test]
fn every_promise_of_a_busy_durable_log_holds_wherever_the_world_stops() {
    let stops = stop_everywhere(&busy(), durable_script);
    assert!(stops > 100, "the script makes many changes: {stops}");
}

/// Gives how many changes the script made.
fn stop_everywhere(fresh: &Model, script: fn(&FaultyDisk, &mut Model) -> Result<()>) -> u64 {
    let mut stop = 0;
    loop {
        stop += 1;
        let disk = FaultyDisk::new(stop);
        disk.stop_at(stop);
        let mut model = fresh.clone();
        let ended = script(&disk, &mut model);
        for (number, how) in [
            Restart::Process,
            Restart::Power,
            Restart::Power,
            Restart::PowerLosingAll,
        ]
        .into_iter()
        .enumerate()
        {
            let world = disk.copy(stop * 7 + number as u64);
            world.restart(how);
            check(&world, &model, how, stop);
        }
        if ended.is_ok() {
            return stop;
        }
    }
}

#[test]
fn a_sealed_segment_of_a_durable_log_keeps_its_indexes_when_the_power_goes() {
    let (disk, mut model) = (FaultyDisk::new(1), busy());
    let store = open(&disk, &model).unwrap();
    let log = store
        .create(&tp(), None, Arc::clone(&model.config), None)
        .unwrap();
    while log.segments().unwrap().len() < 4 {
        model.append(&log, 2, None).unwrap();
        model.flush(&log).unwrap();
    }
    let sealed = |log: &Log| {
        let mut all = log.segments().unwrap();
        all.pop();
        let sizes = all.iter().map(|segment| {
            let indexes = [segment.offset_index_bytes, segment.time_index_bytes];
            (segment.base_offset, indexes)
        });
        sizes.collect::<Vec<_>>()
    };
    let before = sealed(&log);
    assert!(
        before
            .iter()
            .all(|(_, bytes)| bytes.iter().all(|len| *len > 0))
    );
    drop((log, store));
    disk.restart(Restart::PowerLosingAll);
    // Nothing was written down yet that could be trusted; the files are what is looked at.
    let kept = |kind: &str| {
        let files = disk.files().into_iter();
        let mut kept: Vec<_> = files
            .filter(|(path, _)| path.extension().is_some_and(|ending| ending == kind))
            .map(|(_, len)| len)
            .collect();
        kept.truncate(before.len());
        kept
    };
    let expected = |which: usize| {
        before
            .iter()
            .map(|(_, bytes)| bytes[which])
            .collect::<Vec<_>>()
    };
    assert_eq!(kept("index"), expected(0));
    assert_eq!(kept("timeindex"), expected(1));
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_and_the_directory_is_offline() {
    let disk = FaultyDisk::new(1);
    let mut model = small();
    let store = open(&disk, &model).unwrap();
    let log = store.create(&tp(), None, config(), None).unwrap();
    model.append(&log, 3, None).unwrap();
    disk.plan(Operation::Sync, ".log", Fault::Eio, 0, true);
    let failed = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = Arc::clone(&failed);
    store.on_loss(Box::new(move |lost| {
        assert_eq!(lost, Lost::Directory(Path::new(DIR)));
        seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }));
    // Another file of the same name would sync well now: the directory is believed no more.
    disk.plan(Operation::Sync, "t-0", Fault::Eio, 0, false);
    assert!(matches!(log.flush(), Err(Error::Disk { .. })));
    assert!(matches!(log.flush(), Err(Error::Offline { .. })));
    assert!(model.append(&log, 1, None).is_err());
    assert_eq!(log.offsets().recovery, Offset(0));
    assert!(!store.directories()[0].online);
    assert_eq!(failed.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert!(store.close().is_ok());
    assert!(!disk.exists(Path::new("/d/.kafka_cleanshutdown")).unwrap());
}

#[test]
fn a_full_disk_takes_its_own_directory_offline_and_loses_nothing_acknowledged() {
    let disk = FaultyDisk::new(1);
    let mut model = small();
    let store = open(&disk, &model).unwrap();
    let log = store.create(&tp(), None, config(), None).unwrap();
    disk.limit_space(Some(2000));
    while model.append(&log, 2, None).is_ok() {}
    assert!(!store.directories()[0].online);
    drop((log, store));
    disk.restart(Restart::Process);
    disk.limit_space(None);
    let store = open(&disk, &model).unwrap();
    let (_, found) = read_all(&store.log(&tp()).unwrap());
    assert_eq!(found, model.values);
}

#[test]
fn a_segment_that_could_not_be_begun_leaves_nothing_behind() {
    let disk = FaultyDisk::new(1);
    let mut model = small();
    let store = open(&disk, &model).unwrap();
    let log = store.create(&tp(), None, config(), None).unwrap();
    disk.plan(
        Operation::Create,
        ".timeindex",
        Fault::TooManyFiles,
        0,
        false,
    );
    while model.append(&log, 2, None).is_ok() {}
    let next = format!("{DIR}/t-0/{:020}.log", log.offsets().end.0);
    assert!(!disk.exists(Path::new(&next)).unwrap());
    disk.forget_plans();
    model.append(&log, 2, None).unwrap();
    assert!(disk.exists(Path::new(&next)).unwrap());
}

#[test]
fn too_many_open_files_is_not_the_disks_fault() {
    let disk = FaultyDisk::new(1);
    let mut model = small();
    let store = open(&disk, &model).unwrap();
    let log = store.create(&tp(), None, config(), None).unwrap();
    model.append(&log, 2, None).unwrap();
    disk.plan(Operation::Create, "t-1", Fault::TooManyFiles, 0, false);
    let other = store.create(&TopicPartition::new("t", 1), None, config(), None);
    assert!(
        matches!(other, Err(Error::TooManyFiles { .. })),
        "{other:?}"
    );
    assert!(store.directories()[0].online);
    model.append(&log, 2, None).unwrap();
    disk.forget_plans();
    store
        .create(&TopicPartition::new("t", 1), None, config(), None)
        .unwrap();
}
