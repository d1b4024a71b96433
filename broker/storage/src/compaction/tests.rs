//! Compaction of logs made by hand, on a disk that can be stopped at every write.

use std::collections::BTreeMap;

use base::disk::{DiskFile, Open};
use base::faulty_disk::{FaultyDisk, Restart};
use bytes::Bytes;
use protocol::batch::{
    BatchBuilder, BatchView, Codec, Marker, end_marker, patch_offset_epoch, split,
};
use protocol::ids::LeaderEpoch;

use super::*;
use crate::files;
use crate::inspect::{AbortedEntry, Walk, aborted_entries, offset_entries, time_entries};

const DIR: &str = "/logs";
const PATH: &str = "/logs/t-0";
/// What a listing made a moment ago still says of a file that is gone.
const VANISHED: base::disk::Facts = base::disk::Facts {
    len: 1,
    is_dir: false,
    modified_ms: 0,
};
const SUFFIXES: [&str; 4] = [
    files::LOG,
    files::OFFSET_INDEX,
    files::TIME_INDEX,
    files::TXN_INDEX,
];

/// A log that is nothing but its files.
struct Shelf {
    disk: Arc<dyn Disk>,
    config: Arc<LogConfig>,
    bases: Mutex<Vec<i64>>,
    producers: Vec<(ProducerId, LastOfProducer)>,
    end: i64,
    cuts: Mutex<u64>,
    // A cut that comes in the middle of the next pass; what it leaves of the segment at 5.
    cut_soon: Option<u64>,
}

impl Shelf {
    fn name(base: i64, suffix: &str) -> PathBuf {
        Path::new(PATH).join(files::segment_file(base, suffix))
    }

    /// Writes segments; the last is the active one.
    fn new(disk: Arc<dyn Disk>, config: LogConfig, segments: &[(i64, Vec<Bytes>)]) -> Shelf {
        disk.create_dir_all(Path::new(PATH)).unwrap();
        let mut end = 0;
        for (base, batches) in segments {
            let bytes: Vec<u8> = batches.concat();
            for (suffix, bytes) in [
                (SUFFIXES[0], &bytes[..]),
                (SUFFIXES[1], b""),
                (SUFFIXES[2], b""),
            ] {
                let file = disk
                    .open(&Shelf::name(*base, suffix), Open::CreateNew)
                    .unwrap();
                file.write_at(bytes, 0).unwrap();
                file.sync().unwrap();
            }
            for batch in split(&bytes.into()) {
                end = batch.unwrap().next_offset().0;
            }
        }
        disk.sync_dir(Path::new(PATH)).unwrap();
        disk.sync_dir(Path::new(DIR)).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let bases = Mutex::new(segments.iter().map(|(base, _)| *base).collect());
        Shelf {
            disk,
            config: Arc::new(config),
            bases,
            producers: Vec::new(),
            end,
            cuts: Mutex::new(0),
            cut_soon: None,
        }
    }

    /// Opens what a crash left, by the rules of every start.
    fn recover(disk: Arc<dyn Disk>, config: LogConfig, end: i64) -> Shelf {
        let dir = Path::new(PATH);
        let names = || -> Vec<String> {
            disk.list(dir)
                .unwrap()
                .into_iter()
                .map(|entry| entry.name)
                .collect()
        };
        let base = |name: &str| name[..20].parse::<i64>().unwrap();
        let cleaned: Vec<String> = names()
            .into_iter()
            .filter(|n| n.ends_with(".cleaned"))
            .collect();
        let lowest = cleaned
            .iter()
            .map(|name| base(name))
            .min()
            .unwrap_or(i64::MAX);
        for name in names() {
            let dead = name.ends_with(".deleted")
                || name.ends_with(".cleaned")
                || (name.ends_with(".swap") && base(&name) >= lowest);
            if dead {
                disk.remove_file(&dir.join(name)).unwrap();
            }
        }
        for name in names().iter().filter(|name| name.ends_with(".log.swap")) {
            let file = disk.open(&dir.join(name), Open::Read).unwrap();
            let next = walk(file)
                .last()
                .map_or(base(name) + 1, |batch| batch.next_offset().0);
            for plain in names() {
                let in_range = (base(name)..next).contains(&base(&plain));
                if in_range && !plain.ends_with(".swap") && !plain.ends_with(".snapshot") {
                    disk.remove_file(&dir.join(plain)).unwrap();
                }
            }
        }
        for name in names() {
            if let Some(plain) = name.strip_suffix(".swap") {
                disk.rename(&dir.join(&name), &dir.join(plain)).unwrap();
            }
        }
        let mut bases: Vec<i64> = names()
            .iter()
            .filter(|name| name.ends_with(".log"))
            .map(|name| base(name))
            .collect();
        bases.sort_unstable();
        Shelf {
            disk,
            config: Arc::new(config),
            bases: Mutex::new(bases),
            producers: Vec::new(),
            end,
            cuts: Mutex::new(0),
            cut_soon: None,
        }
    }

    fn batches(&self) -> Vec<BatchView> {
        let bases = self.bases.lock().clone();
        let read = |base| {
            self.disk
                .open(&Shelf::name(base, files::LOG), Open::Read)
                .unwrap()
        };
        bases
            .into_iter()
            .flat_map(|base| walk(read(base)))
            .collect()
    }

    /// Offset, key and value of every record, markers left out.
    fn records(&self) -> Vec<(i64, String, Option<String>)> {
        let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let batches = self.batches();
        let data = batches.iter().filter(|batch| !batch.is_control());
        data.flat_map(|batch| batch.records(1 << 20).unwrap())
            .map(|record| {
                let record = record.unwrap();
                (
                    record.offset.0,
                    text(record.key.unwrap()),
                    record.value.map(text),
                )
            })
            .collect()
    }

    fn latest(&self) -> BTreeMap<String, String> {
        let mut latest = BTreeMap::new();
        for (_, key, value) in self.records() {
            match value {
                Some(value) => latest.insert(key, value),
                None => latest.remove(&key),
            };
        }
        latest
    }
}

fn walk(file: Arc<dyn DiskFile>) -> Vec<BatchView> {
    let mut walk = Walk::over(file, 0, u64::MAX).unwrap();
    let mut batches = Vec::new();
    while let Some((_, batch)) = walk.step().unwrap() {
        batch.check_crc().unwrap();
        batches.push(batch);
    }
    assert_eq!(walk.trailing_bytes(), 0);
    batches
}

impl Subject for Shelf {
    fn partition(&self) -> TopicPartition {
        TopicPartition::new("t", 0)
    }
    fn directory(&self) -> PathBuf {
        DIR.into()
    }
    fn path(&self) -> PathBuf {
        PATH.into()
    }
    fn config(&self) -> Arc<LogConfig> {
        self.config.clone()
    }
    fn offsets(&self) -> Offsets {
        let end = Offset(self.end);
        Offsets {
            start: Offset(0),
            recovery: end,
            stable: end,
            watermark: end,
            end,
        }
    }
    fn segments(&self) -> Vec<SegmentFacts> {
        let facts = |base: &i64| {
            let len = |suffix| {
                self.disk
                    .facts(&Shelf::name(*base, suffix))
                    .unwrap_or(VANISHED)
            };
            let log = len(files::LOG);
            let txn_index = self.disk.facts(&Shelf::name(*base, files::TXN_INDEX));
            SegmentFacts {
                base: *base,
                size: log.len,
                index_bytes: len(files::OFFSET_INDEX).len,
                time_index_bytes: len(files::TIME_INDEX).len,
                // Most segments have none.
                txn_index_bytes: txn_index.map_or(0, |facts| facts.len),
                largest_timestamp_ms: log.modified_ms,
                first_timestamp_ms: log.modified_ms,
                modified_ms: log.modified_ms,
            }
        };
        self.bases.lock().iter().map(facts).collect()
    }
    fn last_of_producers(&self) -> Vec<(ProducerId, LastOfProducer)> {
        if let Some(len) = self.cut_soon {
            *self.cuts.lock() += 1;
            let cut = self.disk.open(&Shelf::name(5, files::LOG), Open::Write);
            cut.unwrap().truncate(len).unwrap();
        }
        self.producers.clone()
    }
    fn settle(&self, error: Error) -> Error {
        error
    }
    fn note_safe(&self, _to: Offset) -> Result<()> {
        Ok(())
    }
    fn cuts(&self) -> u64 {
        *self.cuts.lock()
    }
    fn take_lowest_cut(&self) -> Option<Offset> {
        None
    }
    fn replace_segments(&self, new_base: Offset, old: &[Offset], cuts: u64) -> Result<bool> {
        if cuts != *self.cuts.lock() {
            return Ok(false);
        }
        let with = |path: &Path, suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
        let rename = |from: &Path, to: &Path| match self.disk.rename(from, to) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("rename", from, e)),
            _ => Ok(()),
        };
        for suffix in SUFFIXES {
            let plain = Shelf::name(new_base.0, suffix);
            rename(&with(&plain, files::CLEANED), &with(&plain, files::SWAP))?;
        }
        for base in old {
            for suffix in SUFFIXES {
                let plain = Shelf::name(base.0, suffix);
                rename(&plain, &with(&plain, files::DELETED))?;
            }
        }
        for suffix in SUFFIXES {
            let plain = Shelf::name(new_base.0, suffix);
            rename(&with(&plain, files::SWAP), &plain)?;
        }
        let synced = self.disk.sync_dir(Path::new(PATH));
        synced.map_err(|e| Error::io("sync", Path::new(PATH), e))?;
        let mut bases = self.bases.lock();
        bases.retain(|base| *base == new_base.0 || !old.contains(&Offset(*base)));
        Ok(true)
    }
}

/// A batch of records `key=value`, or `key` for a tombstone.
fn batch(base: i64, codec: Codec, records: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(codec)
        .base_offset(Offset(base))
        .leader_epoch(LeaderEpoch(3));
    push(&mut builder, base, records);
    builder.build().unwrap()
}

fn push(builder: &mut BatchBuilder, base: i64, records: &[&str]) {
    for (index, record) in records.iter().enumerate() {
        let (key, value) = record
            .split_once('=')
            .map_or((*record, None), |(k, v)| (k, Some(v)));
        let value = value.map(str::as_bytes);
        builder
            .push(1000 + base + index as i64, Some(key.as_bytes()), value, &[])
            .unwrap();
    }
}

fn transaction(base: i64, producer: i64, records: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None)
        .base_offset(Offset(base))
        .producer(ProducerId(producer), ProducerEpoch(1), 5)
        .transactional(true);
    push(&mut builder, base, records);
    builder.build().unwrap()
}

fn marker(base: i64, producer: i64, how: Marker) -> Bytes {
    let bytes = end_marker(how, ProducerId(producer), ProducerEpoch(1), 0, 1000);
    let mut bytes = Vec::from(&bytes[..]);
    patch_offset_epoch(&mut bytes, Offset(base), LeaderEpoch(3));
    bytes.into()
}

fn compacting() -> LogConfig {
    let config = LogConfig::default();
    LogConfig {
        compact: true,
        delete: false,
        min_cleanable_dirty_ratio: 0.0,
        ..config
    }
}

struct Room {
    disk: FaultyDisk,
    clock: Clock,
    compactor: Compactor,
}

fn room(config: CompactionConfig) -> Room {
    let disk = FaultyDisk::new(11);
    let clock = Clock::by_hand(1_000_000);
    disk.set_now_ms(1_000_000);
    let chance = Arc::new(Chance::seeded(5));
    let compactor = Compactor::new(disk.shared(), clock.clone(), chance, config);
    Room {
        disk,
        clock,
        compactor,
    }
}

fn compact(room: &Room, log: &Arc<Shelf>) -> Option<Compacted> {
    room.compactor
        .pass(std::slice::from_ref(log), &Halt::default())
        .unwrap()
}

fn some_segments() -> Vec<(i64, Vec<Bytes>)> {
    vec![
        (
            0,
            vec![
                batch(0, Codec::None, &["a=1", "b=1"]),
                batch(2, Codec::Lz4, &["a=2", "c=1", "b"]),
            ],
        ),
        (
            5,
            vec![
                batch(5, Codec::Zstd, &["c=2", "d=1"]),
                batch(7, Codec::None, &["a=3"]),
            ],
        ),
        (8, vec![batch(8, Codec::None, &["d=2"])]),
    ]
}

#[test]
fn the_last_of_each_key_stays_at_its_offset() {
    let room = room(CompactionConfig::default());
    let log = Arc::new(Shelf::new(
        room.disk.shared(),
        compacting(),
        &some_segments(),
    ));
    let latest = log.latest();
    let done = compact(&room, &log).unwrap();
    assert_eq!(
        (done.clean_to, done.finished, done.stats.keys),
        (Offset(8), true, 4)
    );
    let found: Vec<(i64, String)> = log.records().into_iter().map(|(o, k, _)| (o, k)).collect();
    let wanted = [(4, "b"), (5, "c"), (6, "d"), (7, "a"), (8, "d")];
    assert_eq!(found, wanted.map(|(offset, key)| (offset, key.to_owned())));
    assert_eq!(log.latest(), latest);
    assert_eq!(*log.bases.lock(), [0, 8], "small segments become one");
    let bytes = room
        .disk
        .read_small(Path::new("/logs/cleaner-offset-checkpoint"), 100)
        .unwrap();
    assert_eq!(bytes, b"0\n1\nt 0 8\n");
    assert_eq!(compact(&room, &log), None, "nothing is dirty any more");
}

#[test]
fn tombstones_stay_until_their_horizon_and_batches_keep_their_range() {
    let room = room(CompactionConfig::default());
    let config = LogConfig {
        delete_retention_ms: 500,
        ..compacting()
    };
    let log = Arc::new(Shelf::new(room.disk.shared(), config, &some_segments()));
    compact(&room, &log).unwrap();
    let tombstone = log
        .batches()
        .into_iter()
        .find(|b| b.delete_horizon_ms().is_some())
        .unwrap();
    assert_eq!(tombstone.delete_horizon_ms(), Some(1_000_500));
    assert_eq!(
        (tombstone.base_offset, tombstone.last_offset()),
        (Offset(2), Offset(4))
    );
    assert_eq!(
        tombstone
            .records(1000)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .timestamp_ms,
        1004
    );
    let again = |room: &Room| {
        room.compactor
            .note_truncated(Path::new(DIR), &log.partition(), Offset(0))
            .unwrap();
        compact(room, &log).unwrap();
        log.records().iter().any(|(offset, _, _)| *offset == 4)
    };
    room.clock.advance(499);
    assert!(again(&room));
    room.clock.advance(1);
    assert!(!again(&room));
}

#[test]
fn aborted_records_go_and_markers_outlive_their_transactions() {
    let room = room(CompactionConfig::default());
    let segments = vec![
        (
            0,
            vec![
                transaction(0, 1, &["a=committed"]),
                transaction(1, 2, &["a=aborted", "b=aborted"]),
                marker(3, 2, Marker::Abort),
                marker(4, 1, Marker::Commit),
                batch(5, Codec::None, &["z=1"]),
            ],
        ),
        (6, vec![batch(6, Codec::None, &["z=2"])]),
    ];
    let mut shelf = Shelf::new(room.disk.shared(), compacting(), &segments);
    let last = LastOfProducer {
        last_data_offset: Some(Offset(2)),
        epoch: ProducerEpoch(1),
    };
    shelf.producers.push((ProducerId(2), last));
    let entry = AbortedEntry {
        version: 0,
        producer_id: 2,
        first_offset: 1,
        last_offset: 3,
        last_stable_offset: 0,
    };
    let mut bytes = Vec::new();
    entry.write(&mut bytes);
    let index = room
        .disk
        .open(&Shelf::name(0, files::TXN_INDEX), Open::CreateNew)
        .unwrap();
    index.write_at(&bytes, 0).unwrap();
    let log = Arc::new(shelf);
    compact(&room, &log).unwrap();
    let kept: Vec<(i64, String)> = log.records().into_iter().map(|(o, k, _)| (o, k)).collect();
    assert_eq!(kept, [(0, "a".into()), (5, "z".into()), (6, "z".into())]);
    let shape: Vec<(i64, bool, i32)> = log
        .batches()
        .iter()
        .map(|b| (b.base_offset.0, b.is_control(), b.count))
        .collect();
    // The aborted batch stays, empty, because its producer lives; its marker stays with it.
    assert_eq!(
        shape,
        [
            (0, false, 1),
            (1, false, 0),
            (3, true, 1),
            (4, true, 1),
            (5, false, 1),
            (6, false, 1)
        ]
    );
    assert!(
        log.batches()
            .iter()
            .all(|b| b.delete_horizon_ms().is_none())
    );
    let index = room
        .disk
        .read_small(&Shelf::name(0, files::TXN_INDEX), 1000)
        .unwrap();
    assert_eq!(aborted_entries(&index).collect::<Vec<_>>(), [entry]);
}

#[test]
fn a_marker_left_alone_gets_a_horizon_and_then_goes() {
    let room = room(CompactionConfig::default());
    let config = LogConfig {
        delete_retention_ms: 500,
        ..compacting()
    };
    let segments = vec![
        (
            0,
            vec![
                transaction(0, 1, &["a=1"]),
                marker(1, 1, Marker::Commit),
                batch(2, Codec::None, &["a=2"]),
            ],
        ),
        (3, vec![batch(3, Codec::None, &["z=2"])]),
    ];
    let log = Arc::new(Shelf::new(room.disk.shared(), config, &segments));
    let again = |log: &Arc<Shelf>| {
        room.compactor
            .note_truncated(Path::new(DIR), &log.partition(), Offset(0))
            .unwrap();
        compact(&room, log).unwrap();
        let batches = log.batches();
        let marker = batches.into_iter().find(|batch| batch.is_control());
        marker.map(|marker| marker.delete_horizon_ms())
    };
    assert_eq!(
        again(&log),
        Some(None),
        "its batch was there when the pass began"
    );
    assert_eq!(again(&log), Some(Some(1_000_500)));
    room.clock.advance(400);
    assert_eq!(
        again(&log),
        Some(Some(1_000_500)),
        "a horizon does not move"
    );
    room.clock.advance(100);
    assert_eq!(again(&log), None);
}

/// Compacts until nothing is due, in fewer passes than `bound`; gives how far each came.
fn passes(room: &Room, log: &Arc<Shelf>, bound: usize) -> Vec<i64> {
    let latest = log.latest();
    let mut reached = Vec::new();
    while let Some(done) = compact(room, log) {
        assert_eq!(log.latest(), latest);
        reached.push(done.clean_to.0);
        assert!(reached.len() < bound, "no progress: {reached:?}");
    }
    reached
}

#[test]
fn a_map_too_small_compacts_in_several_passes() {
    let room = room(CompactionConfig {
        map_bytes: 24 * 30,
        ..CompactionConfig::default()
    });
    let segment = |base: i64| {
        let batches = (base..base + 50).map(|offset| {
            batch(
                offset,
                Codec::None,
                &[&*format!("k{}={offset}", offset % 40)],
            )
        });
        (base, batches.collect())
    };
    let segments = [segment(0), segment(50), segment(100)];
    let log = Arc::new(Shelf::new(room.disk.shared(), compacting(), &segments));
    let reached = passes(&room, &log, 10);
    assert!(reached.len() > 2 && reached.is_sorted(), "{reached:?}");
    assert_eq!(reached.last(), Some(&100));
}

#[test]
fn a_batch_with_more_keys_than_the_map_holds_is_compacted_in_several_passes() {
    let room = room(CompactionConfig {
        map_bytes: 24 * 30,
        ..CompactionConfig::default()
    });
    let many = |base: i64| {
        let records: Vec<String> = (0..100).map(|key| format!("k{key}={base}")).collect();
        let records: Vec<&str> = records.iter().map(String::as_str).collect();
        (base, vec![batch(base, Codec::Lz4, &records)])
    };
    let segments = [many(0), many(100), many(200)];
    let log = Arc::new(Shelf::new(room.disk.shared(), compacting(), &segments));
    let reached = passes(&room, &log, 20);
    assert!(reached.is_sorted_by(|one, next| one < next), "{reached:?}");
    assert_eq!(reached.last(), Some(&200));
}

#[test]
fn indexes_of_what_was_written_point_at_batches() {
    let room = room(CompactionConfig::default());
    let config = LogConfig {
        index_interval_bytes: 100,
        ..compacting()
    };
    let batches = (0..200)
        .map(|offset| batch(offset, Codec::None, &[&*format!("k{offset}=v")]))
        .collect();
    let segments = [(0, batches), (200, vec![batch(200, Codec::None, &["z=1"])])];
    let log = Arc::new(Shelf::new(room.disk.shared(), config, &segments));
    compact(&room, &log).unwrap();
    let index = room
        .disk
        .read_small(&Shelf::name(0, files::OFFSET_INDEX), 1 << 20)
        .unwrap();
    let log_file = room
        .disk
        .open(&Shelf::name(0, files::LOG), Open::Read)
        .unwrap();
    let entries: Vec<_> = offset_entries(&index, 0).collect();
    assert!(entries.len() > 50);
    for entry in entries {
        let position = u64::try_from(entry.position).unwrap();
        let (_, found) = Walk::over(log_file.clone(), position, u64::MAX)
            .unwrap()
            .step()
            .unwrap()
            .unwrap();
        assert_eq!(found.last_offset().0, entry.offset);
    }
    let times = room
        .disk
        .read_small(&Shelf::name(0, files::TIME_INDEX), 1 << 20)
        .unwrap();
    let last = time_entries(&times, 0).next_back().unwrap();
    assert_eq!((last.timestamp_ms, last.offset), (1199, 199));
}

#[test]
fn damage_gives_the_partition_up_and_changes_nothing() {
    let room = room(CompactionConfig::default());
    let log = Arc::new(Shelf::new(
        room.disk.shared(),
        compacting(),
        &some_segments(),
    ));
    room.disk
        .corrupt(&Shelf::name(5, files::LOG), |bytes| bytes[40] ^= 1)
        .unwrap();
    assert_eq!(compact(&room, &log), None);
    let given_up = room.compactor.uncleanable();
    assert_eq!(given_up[0].0, log.partition());
    assert_eq!(compact(&room, &log), None);
    assert_eq!(*log.bases.lock(), [0, 5, 8]);
}

#[test]
fn a_rotten_key_takes_no_other_keys_record_along() {
    let room = room(CompactionConfig::default());
    let config = LogConfig {
        segment_bytes: 100,
        ..compacting()
    };
    let segments: Vec<(i64, Vec<Bytes>)> = ["key3=v", "key1=w", "last=z"]
        .iter()
        .enumerate()
        .map(|(at, record)| (at as i64, vec![batch(at as i64, Codec::None, &[*record])]))
        .collect();
    let log = Arc::new(Shelf::new(room.disk.shared(), config, &segments));
    let spoil = |bytes: &mut Vec<u8>| {
        let at = bytes.windows(4).position(|four| four == b"key1").unwrap();
        bytes[at + 3] = b'3';
    };
    room.disk
        .corrupt(&Shelf::name(1, files::LOG), spoil)
        .unwrap();
    assert_eq!(compact(&room, &log), None);
    let kept = room
        .disk
        .read_small(&Shelf::name(0, files::LOG), 1 << 20)
        .unwrap();
    assert_eq!(kept[..], segments[0].1[0][..]);
}

#[test]
fn a_segment_that_vanishes_meanwhile_ends_the_pass_and_no_more() {
    let room = room(CompactionConfig::default());
    let log = Arc::new(Shelf::new(
        room.disk.shared(),
        compacting(),
        &some_segments(),
    ));
    let gone = Shelf::name(5, files::LOG);
    room.disk
        .rename(&gone, &gone.with_extension("log.deleted"))
        .unwrap();
    assert!(!compact(&room, &log).unwrap().finished);
    let left = room
        .disk
        .files()
        .into_iter()
        .filter(|(path, _)| path.to_string_lossy().contains("cleaned"));
    assert_eq!(left.count(), 0);
    assert!(room.compactor.uncleanable().is_empty());
}

#[test]
fn a_log_cut_during_a_pass_is_not_exchanged() {
    let room = room(CompactionConfig::default());
    let mut shelf = Shelf::new(room.disk.shared(), compacting(), &some_segments());
    shelf.cut_soon = Some(0);
    let log = Arc::new(shelf);
    assert!(!compact(&room, &log).unwrap().finished);
    assert_eq!(*log.bases.lock(), [0, 5, 8]);
}

#[test]
fn a_batch_cut_while_it_is_read_is_no_damage() {
    let room = room(CompactionConfig::default());
    let mut shelf = Shelf::new(room.disk.shared(), compacting(), &some_segments());
    shelf.cut_soon = Some(70);
    let log = Arc::new(shelf);
    assert!(!compact(&room, &log).unwrap().finished);
    assert!(room.compactor.uncleanable().is_empty());
}

#[test]
fn a_stop_leaves_the_log_as_it_was() {
    let room = room(CompactionConfig::default());
    let log = Arc::new(Shelf::new(
        room.disk.shared(),
        compacting(),
        &some_segments(),
    ));
    let halt = Halt::default();
    halt.stop();
    let stopped = room
        .compactor
        .pass(std::slice::from_ref(&log), &halt)
        .unwrap()
        .unwrap();
    assert!(!stopped.finished);
    assert!(
        room.disk
            .files()
            .iter()
            .all(|(path, _)| !path.display().to_string().contains("cleaned"))
    );
    assert!(compact(&room, &log).unwrap().finished);
}

#[test]
fn dying_at_any_operation_loses_no_key_and_no_offset() {
    let mut stopped_at = 0;
    for n in 0.. {
        let room = room(CompactionConfig::default());
        let config = LogConfig {
            segment_bytes: 200,
            ..compacting()
        };
        let log = Arc::new(Shelf::new(
            room.disk.shared(),
            config.clone(),
            &some_segments(),
        ));
        let (latest, end) = (log.latest(), log.end);
        room.disk.stop_at(room.disk.operations() + n);
        let ran = room
            .compactor
            .pass(std::slice::from_ref(&log), &Halt::default());
        if !room.disk.is_off() {
            assert!(ran.unwrap().unwrap().finished);
            break;
        }
        stopped_at += 1;
        for how in [Restart::Process, Restart::Power, Restart::PowerLosingAll] {
            let disk = room.disk.copy(n);
            disk.restart(how);
            let log = Arc::new(Shelf::recover(disk.shared(), config.clone(), end));
            assert_eq!(log.latest(), latest, "stopped at operation {n}, {how:?}");
            let offsets: Vec<i64> = log.records().iter().map(|(offset, _, _)| *offset).collect();
            assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
            let chance = Arc::new(Chance::seeded(5));
            let again = Compactor::new(
                disk.shared(),
                room.clock.clone(),
                chance,
                CompactionConfig::default(),
            );
            again
                .pass(std::slice::from_ref(&log), &Halt::default())
                .unwrap();
            assert_eq!(log.latest(), latest, "compacted again after {n}, {how:?}");
        }
    }
    assert!(stopped_at > 20, "only {stopped_at} operations were tried");
}

#[test]
fn a_spoilt_index_of_aborted_transactions_decides_nothing() {
    let entry = AbortedEntry {
        version: 0,
        producer_id: 2,
        first_offset: 3,
        last_offset: 4,
        last_stable_offset: 0,
    };
    let spoilt = [
        // It names another producer: what that one committed passes for aborted, and the other way round.
        AbortedEntry {
            producer_id: 1,
            ..entry
        },
        // It begins too early, with what the producer had committed before; or too late.
        AbortedEntry {
            first_offset: 1,
            ..entry
        },
        AbortedEntry {
            first_offset: 4,
            ..entry
        },
        AbortedEntry {
            last_offset: 5,
            ..entry
        },
        AbortedEntry {
            version: 1,
            ..entry
        },
    ];
    let told = [Some(entry), None].into_iter();
    for told in told.chain(spoilt.map(Some)) {
        let room = room(CompactionConfig::default());
        let first = vec![
            transaction(0, 1, &["a=committed"]),
            transaction(1, 2, &["b=committed"]),
            marker(2, 2, Marker::Commit),
            transaction(3, 2, &["a=aborted"]),
            marker(4, 2, Marker::Abort),
            marker(5, 1, Marker::Commit),
        ];
        let segments = vec![(0, first), (6, vec![batch(6, Codec::None, &["z=1"])])];
        let log = Arc::new(Shelf::new(room.disk.shared(), compacting(), &segments));
        let path = Shelf::name(0, files::TXN_INDEX);
        let mut bytes = Vec::new();
        told.iter().for_each(|entry| entry.write(&mut bytes));
        let index = room.disk.open(&path, Open::CreateNew).unwrap();
        index.write_at(&bytes, 0).unwrap();
        compact(&room, &log).unwrap();
        let kept: Vec<i64> = log.records().iter().map(|(at, _, _)| *at).collect();
        assert_eq!(kept, [0, 1, 6], "{told:?}");
        let index = room.disk.read_small(&path, 1000).unwrap();
        assert_eq!(aborted_entries(&index).collect::<Vec<_>>(), [entry]);
    }
}

#[test]
fn a_marker_behind_the_dirty_part_is_asked_though_no_index_tells_of_it() {
    for (how, kept) in [(Marker::Abort, vec![0, 4]), (Marker::Commit, vec![2, 4])] {
        let room = room(CompactionConfig::default());
        let first = vec![
            transaction(0, 1, &["a=committed"]),
            marker(1, 1, Marker::Commit),
            transaction(2, 2, &["a=2"]),
        ];
        let last = vec![marker(3, 2, how), batch(4, Codec::None, &["z=1"])];
        let sizes = [first.concat().len(), last[0].len()];
        let segments = vec![(0, first), (3, last)];
        let log = Arc::new(Shelf::new(room.disk.shared(), compacting(), &segments));
        let stats = compact(&room, &log).unwrap().stats;
        let found: Vec<i64> = log.records().iter().map(|(at, _, _)| *at).collect();
        assert_eq!(found, kept, "{how:?}");
        let [mapped, marker] = sizes.map(|bytes| bytes as u64);
        // What an abort is found in is read twice, and all else once.
        let again = if how == Marker::Abort { mapped } else { 0 };
        assert_eq!(stats.bytes_mapped, mapped, "{how:?}");
        assert_eq!(stats.bytes_gathered, marker + again, "{how:?}");
    }
}

#[test]
fn a_log_without_transactions_is_mapped_in_one_walk() {
    let room = room(CompactionConfig::default());
    let segments = some_segments();
    let log = Arc::new(Shelf::new(room.disk.shared(), compacting(), &segments));
    let dirty = segments[..2].iter().flat_map(|(_, batches)| batches);
    let bytes: usize = dirty.map(Bytes::len).sum();
    let stats = compact(&room, &log).unwrap().stats;
    assert_eq!(
        (stats.bytes_mapped, stats.bytes_gathered),
        (bytes as u64, 0)
    );
}

#[test]
fn an_offset_that_is_out_of_order_gives_the_partition_up_and_changes_nothing() {
    for (what, number, offset) in [("below", 3, 1), ("in the next segment", 5, 1 << 40)] {
        let room = room(CompactionConfig::default());
        let first = (0..6).map(|at| {
            let told = if at == number { offset } else { at };
            batch(told, Codec::None, &["a=1"])
        });
        let last = (6, vec![batch(6, Codec::None, &["z=1"])]);
        let segments = [(0, first.collect()), last];
        let log = Arc::new(Shelf::new(room.disk.shared(), compacting(), &segments));
        let before = log.records();
        assert_eq!(compact(&room, &log), None, "{what}");
        assert_eq!(room.compactor.uncleanable().len(), 1, "{what}");
        assert_eq!(log.records(), before, "{what}");
    }
}
