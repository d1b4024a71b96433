//! Directories written by Apache Kafka 3.9 and 2.8, healthy and broken: opened, they must show what
//! Apache shows.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::chance::Chance;
use base::clock::Clock;
use base::disk::{Disk, Open};
use base::faulty_disk::FaultyDisk;
use bytes::Bytes;
use protocol::ids::{LeaderEpoch, Offset, TopicPartition};
use storage::compaction::{CompactionConfig, Compactor, Halt};
use storage::config::{LogConfig, StoreConfig};
use storage::log::{AbortedTransaction, Log, Moment, ReadRequest, Upto};
use storage::store::Store;

/// Shortly after the captures' records, so that no producer is too old.
const NOW_MS: i64 = 1_700_000_100_000;
const CLEAN_MARKER: &str = ".kafka_cleanshutdown";

/// Puts a packed directory of Apache's on a disk in memory.
fn unpack(name: &str) -> FaultyDisk {
    unpack_some(name, |_| true)
}

/// As [`unpack`], only what is wanted of it.
fn unpack_some(name: &str, is_wanted: impl Fn(&Path) -> bool) -> FaultyDisk {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let packed = std::fs::read(golden.join(format!("{name}.tar.gz"))).unwrap();
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(&packed[..])
        .read_to_end(&mut tar)
        .unwrap();
    let disk = FaultyDisk::new(1);
    disk.create_dir_all(Path::new("/d")).unwrap();
    let mut rest = &tar[..];
    while rest.len() >= 512 && rest[0] != 0 {
        let text = |from: usize, len: usize| {
            let field = &rest[from..from + len];
            let end = field.iter().position(|b| *b == 0).unwrap_or(len);
            String::from_utf8(field[..end].to_vec()).unwrap()
        };
        let size = usize::from_str_radix(text(124, 11).trim(), 8).unwrap();
        let path = PathBuf::from("/d").join(text(0, 100));
        match rest[156] {
            _ if !is_wanted(&path) => {}
            b'5' => disk.create_dir_all(&path).unwrap(),
            b'0' => {
                let file = disk.open(&path, Open::Create).unwrap();
                file.write_at(&rest[512..512 + size], 0).unwrap();
                file.set_modified_ms(NOW_MS).unwrap();
            }
            other => panic!("entry of kind {other}"),
        }
        rest = &rest[512 + size.div_ceil(512) * 512..];
    }
    disk.file_system(Path::new("/d")).unwrap().sync().unwrap();
    disk
}

fn config_of(topic: &str) -> Arc<LogConfig> {
    let compact = topic.starts_with("comp") || topic.starts_with("__") || topic == "v0compact";
    Arc::new(LogConfig {
        compact,
        delete: !compact,
        ..LogConfig::default()
    })
}

fn open(disk: &FaultyDisk) -> Store {
    let config = StoreConfig {
        dirs: vec!["/d".into()],
        ..StoreConfig::default()
    };
    Store::open(disk.shared(), config, Clock::by_hand(NOW_MS), &config_of).unwrap()
}

/// Everything a log tells.
#[derive(Debug, PartialEq)]
struct Told {
    start: i64,
    end: i64,
    epochs: Vec<(LeaderEpoch, Offset)>,
    aborted: Vec<AbortedTransaction>,
    /// Id, epoch, last sequence, last data offset, first offset of an open transaction.
    producers: Vec<(i64, i16, i32, i64, i64)>,
    records: Bytes,
}

fn read_all(log: &Log) -> Bytes {
    let mut all = Vec::new();
    let offsets = log.offsets();
    let mut from = offsets.start;
    while from < offsets.end {
        let request = ReadRequest {
            from,
            bytes_max: 3000,
            min_one: true,
            upto: Upto::End,
        };
        let bytes = log.read(request).unwrap().read().unwrap();
        let mut next = from;
        for batch in protocol::batch::split(&bytes) {
            let batch = batch.unwrap();
            batch.check_crc().unwrap();
            assert!(batch.last_offset() >= next);
            next = batch.next_offset();
            all.extend_from_slice(batch.bytes());
        }
        if next == from {
            // What compaction left at the end may not reach it.
            break;
        }
        from = next;
    }
    all.into()
}

fn told(store: &Store) -> BTreeMap<String, Told> {
    let logs = store.all().into_iter().map(|log| {
        let offsets = log.offsets();
        let mut producers: Vec<_> = log
            .active_producers()
            .iter()
            .map(|p| {
                let start = p.transaction_start.0;
                (
                    p.producer.0,
                    p.epoch.0,
                    p.last_sequence,
                    p.last_data_offset.0,
                    start,
                )
            })
            .collect();
        producers.sort_unstable();
        let told = Told {
            start: offsets.start.0,
            end: offsets.end.0,
            epochs: log.epochs(),
            aborted: log
                .aborted_transactions(offsets.start, offsets.end)
                .unwrap(),
            producers,
            records: read_all(&log),
        };
        (log.partition().to_string(), told)
    });
    logs.collect()
}

/// Marks a directory as cleanly closed: the captures were taken without the marker.
fn mark_clean(disk: &FaultyDisk) {
    disk.open(&Path::new("/d").join(CLEAN_MARKER), Open::Create)
        .unwrap();
}

fn log(store: &Store, topic: &str, partition: i32) -> Arc<Log> {
    store.log(&TopicPartition::new(topic, partition)).unwrap()
}

#[test]
fn a_clean_directory_opens_with_the_offsets_apache_noted() {
    let disk = unpack("clean");
    mark_clean(&disk);
    let store = open(&disk);
    assert_eq!(store.set_aside().len(), 0);
    let points = storage::checkpoint::read_partition_offsets(
        &disk,
        Path::new("/d/recovery-point-offset-checkpoint"),
    )
    .unwrap();
    for log in store.all() {
        assert_eq!(
            log.offsets().end,
            points[log.partition()],
            "{}",
            log.partition()
        );
    }
    assert!(told(&store).values().any(|told| !told.aborted.is_empty()));
    assert_eq!(log(&store, "delrec", 0).offsets().start, Offset(17));
}

#[test]
fn a_scan_of_a_clean_directory_finds_the_same_as_trusting_it() {
    let trusting = unpack("clean");
    mark_clean(&trusting);
    let scanning = unpack("clean");
    // Without its checkpoint everything is scanned.
    scanning
        .remove_file(Path::new("/d/recovery-point-offset-checkpoint"))
        .unwrap();
    let (trusting, scanning) = (told(&open(&trusting)), told(&open(&scanning)));
    assert_eq!(
        trusting.keys().collect::<Vec<_>>(),
        scanning.keys().collect::<Vec<_>>()
    );
    for (name, trusted) in &trusting {
        // Compaction took batches of producers away that the snapshot still knows.
        if !name.starts_with("comp") {
            assert_eq!(*trusted, scanning[name], "{name}");
        }
    }
}

#[test]
fn recovery_gives_what_apache_gives() {
    for (broken, mended) in [
        ("kill9", "kill9-recovered"),
        ("kill9-torn", "kill9-torn-recovered"),
    ] {
        let ours = open(&unpack(broken));
        assert!(ours.set_aside().is_empty(), "{:?}", ours.set_aside());
        let expected = unpack(mended);
        mark_clean(&expected);
        let expected = told(&open(&expected));
        let ours = told(&ours);
        assert_eq!(
            ours.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>(),
            "{broken}"
        );
        for (name, expected) in &expected {
            assert_eq!(&ours[name].end, &expected.end, "end of {name} in {broken}");
            assert_eq!(&ours[name], expected, "{name} in {broken}");
        }
    }
}

#[test]
fn old_formats_open_and_are_read_as_they_are() {
    let disk = unpack("formats-2.8");
    mark_clean(&disk);
    let store = open(&disk);
    let told = told(&store);
    for topic in ["v0-0", "v1-0", "v2-0", "mixed-0", "v1append-0"] {
        assert!(
            told[topic].end > 0 && !told[topic].records.is_empty(),
            "{topic}"
        );
    }
    let found = log(&store, "v1", 0)
        .offset_for(Moment::At(0), Upto::End)
        .unwrap()
        .unwrap();
    assert_eq!(found.offset, Offset(0));
    assert!(found.timestamp_ms > 0);
}

#[test]
fn epochs_of_many_leaders_are_read() {
    let disk = unpack("epochs-broker1");
    mark_clean(&disk);
    let store = open(&disk);
    let epochs = log(&store, "ep", 0).epochs();
    assert!(epochs.len() > 1, "{epochs:?}");
    assert!(epochs.is_sorted());
}

#[test]
fn timestamps_are_found_in_every_codec_and_across_segments() {
    let disk = unpack("clean");
    mark_clean(&disk);
    let store = open(&disk);
    for (topic, partition) in [("codecs", 0), ("segs", 0)] {
        let log = log(&store, topic, partition);
        let youngest = log
            .offset_for(Moment::MaxTimestamp, Upto::End)
            .unwrap()
            .unwrap();
        let again = log
            .offset_for(Moment::At(youngest.timestamp_ms), Upto::End)
            .unwrap()
            .unwrap();
        assert_eq!(again, youngest, "{topic}");
        let after = log
            .offset_for(Moment::At(youngest.timestamp_ms + 1), Upto::End)
            .unwrap();
        assert_eq!(after, None);
        let first = log.offset_for(Moment::At(0), Upto::End).unwrap().unwrap();
        assert_eq!(first.offset, log.offsets().start);
    }
}

#[test]
fn what_we_close_opens_again_as_it_was() {
    let disk = unpack("kill9");
    let store = open(&disk);
    let before = told(&store);
    store.close().unwrap();
    drop(store);
    assert!(disk.exists(Path::new("/d/.kafka_cleanshutdown")).unwrap());
    let store = open(&disk);
    assert!(store.directories()[0].was_clean);
    assert_eq!(told(&store), before);
}

/// Each batch of a log by where it begins.
type Batches = BTreeMap<(String, i64), Vec<u8>>;

/// Reads all that a log gives, in steps of `step` bytes, until it gives no more.
fn served(log: &Log, step: usize) -> Batches {
    let mut batches = Batches::new();
    let mut from = log.offsets().start;
    loop {
        let request = ReadRequest {
            from,
            bytes_max: step,
            min_one: true,
            upto: Upto::End,
        };
        let Ok(plan) = log.read(request) else { break };
        let Ok(bytes) = plan.read() else { break };
        let before = from;
        let mut rest = &bytes[..];
        // By hand: what is served must be right to the last bit, so nothing else may judge it.
        while rest.len() >= 61 {
            let base = i64::from_be_bytes(rest[..8].try_into().unwrap());
            let size = 12 + u32::from_be_bytes(rest[8..12].try_into().unwrap()) as usize;
            let Some(batch) = rest.get(..size) else { break };
            let last = i64::from(i32::from_be_bytes(batch[23..27].try_into().unwrap()));
            let last = base + if batch[16] == 2 { last } else { 0 };
            batches.insert((log.partition().to_string(), base), batch.to_vec());
            from = from.max(Offset(last + 1));
            rest = &rest[size..];
        }
        if from == before {
            break;
        }
    }
    batches
}

fn served_by(store: &Store, step: usize) -> Batches {
    let logs = store.all();
    logs.iter().flat_map(|log| served(log, step)).collect()
}

/// Of a batch, only the offset and the epoch are covered by no checksum; where the order leaves them
/// room (compaction took the neighbours) nobody could tell.
fn is_beyond_telling(found: &[u8], batches: &Batches) -> bool {
    let same =
        |batch: &&Vec<u8>| batch.get(16..) == found.get(16..) && batch[8..12] == found[8..12];
    batches.values().any(|batch| same(&batch))
}

/// What is lived by after a flip: all that the policies of the captures' topics allow, and limits at
/// which a healthy directory just loses nothing.
fn hard_life(topic: &str) -> Arc<LogConfig> {
    let calm = config_of(topic);
    Arc::new(LogConfig {
        compact: calm.compact || topic == "txseg",
        delete: true,
        retention_ms: NOW_MS - 1_700_000_000_000,
        retention_bytes: 66_000,
        min_cleanable_dirty_ratio: 0.0,
        ..LogConfig::clone(&calm)
    })
}

/// A record and where it belongs; of a replica that was set aside, where it belonged.
type Place = (String, i64);
type Records = BTreeSet<(Place, Option<Bytes>, Option<Bytes>)>;

fn records_in(log: &str, bytes: &Bytes) -> Records {
    let mut records = Records::new();
    for batch in protocol::batch::split(bytes) {
        let Ok(batch) = batch else { break };
        if batch.check_crc().is_err() || batch.is_control() {
            continue;
        }
        for record in batch.records(1 << 20).unwrap() {
            let record = record.unwrap();
            records.insert(((log.to_owned(), record.offset.0), record.key, record.value));
        }
    }
    records
}

/// All records that lie in the logs on a disk and can be read.
fn records_on(disk: &FaultyDisk) -> Records {
    let mut records = Records::new();
    for (path, len) in disk.files() {
        if path.extension().is_some_and(|kind| kind == "log") {
            let folder = path.parent().unwrap().file_name().unwrap();
            let log = folder.to_str().unwrap().split('.').next().unwrap();
            let bytes = disk.read_small(&path, len).unwrap();
            records.append(&mut records_in(log, &bytes.into()));
        }
    }
    records
}

/// What a flip may cost: the records of the batch it hit. `None`: it hit the part of a head that no
/// checksum covers; then where and what the batch is nobody can tell.
fn hit_by(disk: &FaultyDisk, path: &Path, byte: usize) -> Option<Records> {
    if path.extension().is_none_or(|kind| kind != "log") {
        return Some(Records::new());
    }
    let folder = path.parent()?.file_name()?.to_str()?;
    let bytes = Bytes::from(disk.read_small(path, 1 << 20).unwrap());
    let mut begin = 0;
    for batch in protocol::batch::split(&bytes) {
        let batch = batch.unwrap();
        if byte < begin + batch.size {
            let is_summed = byte >= begin + 21;
            return is_summed.then(|| records_in(folder, batch.bytes()));
        }
        begin += batch.size;
    }
    Some(Records::new())
}

/// Opens the directory and has it live on for real: retention, compaction, a clean stop. Gives whether
/// it could be opened.
fn live_hard(disk: &FaultyDisk, reads_first: bool, context: &str) -> bool {
    let config = StoreConfig {
        dirs: vec!["/d".into()],
        retention_check_ms: 0,
        ..StoreConfig::default()
    };
    let clock = Clock::by_hand(NOW_MS);
    let Ok(store) = Store::open(disk.shared(), config, clock.clone(), &hard_life) else {
        return false;
    };
    for log in store.all() {
        if reads_first {
            let _ = served(&log, 1 << 20);
        }
        log.set_high_watermark(log.offsets().end);
    }
    let before = log_bytes(disk);
    store.housekeep();
    for log in store.all() {
        let _ = log.apply_retention();
    }
    assert_eq!(log_bytes(disk), before, "deleted by age or size: {context}");
    let chance = Arc::new(Chance::seeded(1));
    let how = CompactionConfig {
        map_bytes: 1 << 20,
        ..CompactionConfig::default()
    };
    let compactor = Compactor::new(disk.shared(), clock, chance, how);
    let mut rounds = 0;
    while store.compact(&compactor, &Halt::default()) {
        rounds += 1;
        assert!(rounds < 100, "compacts for ever: {context}");
    }
    store.housekeep();
    let _ = store.close();
    true
}

/// What must outlive a hard life in any directory that a healthy one outlives it in.
fn survivors(whole: &FaultyDisk) -> Records {
    let healthy = whole.copy(0);
    mark_clean(&healthy);
    let before = log_bytes(&healthy);
    assert!(live_hard(&healthy, false, "healthy"));
    let store = open(&healthy);
    assert!(store.directories()[0].was_clean && store.set_aside().is_empty());
    assert!(log_bytes(&healthy) <= before);
    records_on(&healthy)
}

/// One flip, and a hard life after it.
fn flip_and_live(
    whole: &FaultyDisk,
    flip: (&Path, usize, u8),
    seed: u64,
    (all, expected): (&Records, &Records),
) {
    let (path, byte, mask) = flip;
    let context = format!("seed {seed}: {} byte {byte} bit {mask}", path.display());
    let disk = whole.copy(seed);
    if seed.is_multiple_of(2) {
        mark_clean(&disk);
    }
    let lost = hit_by(&disk, path, byte);
    disk.corrupt(path, |bytes| bytes[byte] ^= mask).unwrap();
    live_hard(&disk, seed.is_multiple_of(3), &context);
    let Some(lost) = lost else { return };
    let left = records_on(&disk);
    let gone: Vec<_> = expected
        .iter()
        .filter(|record| !left.contains(record) && !lost.contains(record))
        .collect();
    assert!(gone.is_empty(), "{context}: lost {gone:?}");
    // And the next start serves what was written, no other.
    let config = StoreConfig {
        dirs: vec!["/d".into()],
        ..StoreConfig::default()
    };
    let clock = Clock::by_hand(NOW_MS);
    if let Ok(store) = Store::open(disk.shared(), config, clock, &hard_life) {
        for ((log, _), batch) in served_by(&store, 1 << 20) {
            let records = records_in(&log, &batch.into());
            assert!(records.is_subset(all), "{context}: {records:?}");
        }
    }
}

#[test]
fn no_flipped_byte_makes_us_panic_delete_or_serve_it() {
    let is_long = std::env::var("ROTPETER_ALL").is_ok_and(|value| !value.is_empty());
    let rounds = if is_long { 10_000 } else { 600 };
    let chance = Chance::seeded(7);
    let mut unnoticed = 0;
    for name in ["clean", "formats-2.8"] {
        let whole = unpack(name);
        let healthy = whole.copy(0);
        mark_clean(&healthy);
        // Records deleted from the start are right bytes too: their checkpoint has no checksum.
        let starts = Path::new("/d/log-start-offset-checkpoint");
        if healthy.exists(starts).unwrap() {
            healthy.remove_file(starts).unwrap();
        }
        let right = served_by(&open(&healthy), 1 << 20);
        assert!(right.len() > 10);
        let (all, expected) = (records_on(&whole), survivors(&whole));
        let files: Vec<_> = whole
            .files()
            .into_iter()
            .filter(|(_, len)| *len > 0)
            .collect();
        for round in 0..rounds {
            let disk = whole.copy(round);
            let is_clean = chance.below(2) == 0;
            if is_clean {
                mark_clean(&disk);
            }
            let at = usize::try_from(chance.below(files.len() as u64)).unwrap();
            let (path, len) = &files[at];
            let byte = usize::try_from(chance.below(*len)).unwrap();
            let mask = 1u8 << chance.below(8);
            disk.corrupt(path, |bytes| bytes[byte] ^= mask).unwrap();
            let context = format!(
                "{name}, round {round}: {} byte {byte} bit {mask}",
                path.display()
            );
            unnoticed += live_on(&disk, &right, &context, 300 << chance.below(12));
            // Every batch that was there is still there: in its log, or in a folder kept aside.
            assert_eq!(log_bytes(&disk), log_bytes(&whole), "{context}");
            if is_long || round % 4 == 0 {
                flip_and_live(&whole, (path, byte, mask), round / 4, (&all, &expected));
            }
        }
    }
    assert!(
        unnoticed * 100 < rounds,
        "{unnoticed} flips were not noticed"
    );
}

fn log_bytes(disk: &FaultyDisk) -> u64 {
    let logs = disk.files().into_iter();
    logs.filter(|(path, _)| path.extension().is_some_and(|e| e == "log"))
        .map(|f| f.1)
        .sum()
}

/// Opens what was spoilt and asks everything of it. Gives how many batches came out with an offset
/// or epoch nobody could know to be wrong.
fn live_on(disk: &FaultyDisk, right: &Batches, context: &str, step: usize) -> u64 {
    let config = StoreConfig {
        dirs: vec!["/d".into()],
        ..StoreConfig::default()
    };
    let clock = Clock::by_hand(NOW_MS);
    let Ok(store) = Store::open(disk.shared(), config, clock, &config_of) else {
        return 0;
    };
    let mut unnoticed = 0;
    for log in store.all() {
        let offsets = log.offsets();
        offsets.check();
        for (place, batch) in served(&log, step) {
            if right.get(&place) != Some(&batch) {
                assert!(
                    is_beyond_telling(&batch, right),
                    "{context}: {place:?} {offsets:?}"
                );
                unnoticed += 1;
            }
        }
        let _ = log.offset_for(Moment::MaxTimestamp, Upto::End);
        let _ = log.offset_for(Moment::At(NOW_MS - 100_000), Upto::End);
        let _ = log.aborted_transactions(offsets.start, offsets.end);
    }
    unnoticed
}

/// Files beside the segments have no checksum, but for producer snapshots: every byte of every one.
#[test]
fn no_file_without_a_checksum_steers_a_deletion() {
    let is_long = std::env::var("ROTPETER_ALL").is_ok_and(|value| !value.is_empty());
    let logs = ["txseg-0", "segs-0", "delrec-0"];
    let whole = unpack_some("clean", |path| {
        let place = path.strip_prefix("/d").unwrap();
        let log = place.iter().next().and_then(|name| name.to_str()).unwrap();
        log.ends_with("checkpoint") || log == "meta.properties" || logs.contains(&log)
    });
    let expected = survivors(&whole);
    let all = records_on(&whole);
    let of = |log: &str, key: &str| {
        let is_it = |record: &&(Place, Option<Bytes>, Option<Bytes>)| {
            let key_is = record
                .1
                .as_ref()
                .is_some_and(|k| k.starts_with(key.as_bytes()));
            record.0.0 == log && key_is
        };
        (
            all.iter().filter(is_it).count(),
            expected.iter().filter(is_it).count(),
        )
    };
    // Compaction is at work there: what was aborted goes.
    let (there, left) = of("txseg-0", "a");
    assert!(there > left, "{there} {left}");
    let (there, left) = of("txseg-0", "c");
    assert!(there > left && left > 3, "{there} {left}");
    let mut seed = 0;
    for (path, len) in whole.files() {
        let kind = path.extension().and_then(|kind| kind.to_str());
        if matches!(kind, Some("log" | "snapshot" | "properties")) {
            continue;
        }
        for byte in 0..usize::try_from(len).unwrap() {
            let some = [0, byte % 7 + 1];
            // A digit is another one by any of its lower bits.
            let is_all = is_long || path.ends_with("log-start-offset-checkpoint");
            for bit in (0..8).filter(|bit| is_all || some.contains(bit)) {
                let flip = (path.as_path(), byte, 1 << bit);
                // After a clean stop and after a crash.
                for seed in [seed, seed + 1] {
                    flip_and_live(&whole, flip, seed, (&all, &expected));
                }
                seed += 3;
            }
        }
    }
    assert!(seed > 6_000, "{seed} flips");
}
