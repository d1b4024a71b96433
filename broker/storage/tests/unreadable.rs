//! Retention reads what nobody has asked for: sectors that cannot be read, records that come meanwhile.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::clock::Clock;
use base::disk::{Disk, DiskFile, DiskLock, Entry, Facts, FileSystem, Open};
use base::faulty_disk::FaultyDisk;
use parking_lot::Mutex;
use protocol::batch::{BatchBuilder, Codec};
use protocol::ids::{LeaderEpoch, Offset, TopicPartition};
use rustix::io::Errno;
use storage::config::{LogConfig, StoreConfig};
use storage::error::Error;
use storage::log::{Log, Origin};
use storage::store::Store;

const NOW_MS: i64 = 1_700_000_000_000;
/// A segment of one record, and one of all.
const A_RECORD: u32 = 150;
const ALL: u32 = 1 << 20;

/// What becomes of those who read `.log` files.
#[derive(Clone, Default)]
struct Readers {
    failure: Arc<Mutex<Option<Errno>>>,
    /// Done once, before the next of them reads.
    first: Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>,
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.failure.fmt(f)
    }
}

#[derive(Debug)]
struct Unreadable {
    disk: FaultyDisk,
    readers: Readers,
}

#[derive(Debug)]
struct UnreadableFile {
    file: Arc<dyn DiskFile>,
    readers: Option<Readers>,
}

impl DiskFile for UnreadableFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Some(readers) = &self.readers {
            let first = readers.first.lock().take();
            first.into_iter().for_each(|act| act());
            if let Some(errno) = *readers.failure.lock() {
                return Err(errno.into());
            }
        }
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
    fn set_modified_ms(&self, ms: i64) -> io::Result<()> {
        self.file.set_modified_ms(ms)
    }
    fn real(&self) -> Option<&File> {
        self.file.real()
    }
}

impl Disk for Unreadable {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, how)?;
        let is_log = path.extension().is_some_and(|kind| kind == "log");
        let readers = is_log.then(|| self.readers.clone());
        Ok(Arc::new(UnreadableFile { file, readers }))
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }
    fn facts(&self, path: &Path) -> io::Result<Facts> {
        self.disk.facts(path)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir_all(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn file_system(&self, path: &Path) -> io::Result<Arc<dyn FileSystem>> {
        self.disk.file_system(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path)
    }
    fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        self.disk.space(path)
    }
}

struct World {
    clock: Clock,
    readers: Readers,
    _store: Store,
    log: Arc<Log>,
}

/// Three records of now, in files that are five seconds younger; what is older than ten goes.
fn world(segment_bytes: u32) -> World {
    let disk = FaultyDisk::new(1);
    disk.set_now_ms(NOW_MS + 5_000);
    let (clock, readers) = (Clock::by_hand(NOW_MS), Readers::default());
    let config = Arc::new(LogConfig {
        segment_bytes,
        retention_ms: 10_000,
        ..LogConfig::default()
    });
    let all = StoreConfig {
        dirs: vec![PathBuf::from("/d")],
        ..StoreConfig::default()
    };
    let unreadable = Arc::new(Unreadable {
        disk,
        readers: readers.clone(),
    });
    let fallback = Arc::clone(&config);
    let store = Store::open(unreadable, all, clock.clone(), &|_| Arc::clone(&fallback)).unwrap();
    let tp = TopicPartition::new("t", 0);
    let log = store.create(&tp, None, config, None).unwrap();
    (0..3).for_each(|_| append(&log));
    log.set_high_watermark(Offset(3));
    World {
        clock,
        readers,
        _store: store,
        log,
    }
}

fn append(log: &Log) {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(NOW_MS, None, Some(&[7; 50]), &[]).unwrap();
    let records = builder.build().unwrap();
    log.append_as_leader(&records, LeaderEpoch(0), Origin::Client, None)
        .unwrap();
}

#[test]
fn a_segment_that_cannot_be_read_stays_until_its_file_is_old_and_takes_nothing_offline() {
    let World {
        clock,
        readers,
        log,
        _store,
    } = world(A_RECORD);
    *readers.failure.lock() = Some(Errno::IO);
    clock.advance(15_000);
    assert_eq!(log.apply_retention().unwrap(), 0);
    assert_eq!(log.offsets().start, Offset(0));
    append(&log);
    log.set_high_watermark(Offset(4));
    clock.advance(1);
    assert_eq!(log.apply_retention().unwrap(), 4);
    assert_eq!(log.offsets().start, Offset(4));
    append(&log);
}

#[test]
fn a_descriptor_that_is_missing_says_nothing_of_a_segments_age() {
    let World {
        clock,
        readers,
        log,
        _store,
    } = world(A_RECORD);
    *readers.failure.lock() = Some(Errno::MFILE);
    clock.advance(10_001);
    let Err(Error::TooManyFiles { .. }) = log.apply_retention() else {
        panic!("not now")
    };
    assert_eq!(log.offsets().start, Offset(0));
    *readers.failure.lock() = None;
    assert_eq!(log.apply_retention().unwrap(), 3, "by the records' age");
}

#[test]
fn a_record_that_comes_while_retention_looks_is_not_deleted_with_those_it_saw() {
    for (segment_bytes, at_once, later) in [(ALL, 0, 1), (A_RECORD, 2, 2)] {
        let World {
            clock,
            readers,
            log,
            _store,
        } = world(segment_bytes);
        clock.advance(10_001);
        let other = Arc::clone(&log);
        *readers.first.lock() = Some(Box::new(move || append(&other)));
        assert_eq!(log.apply_retention().unwrap(), at_once);
        let offsets = log.offsets();
        let start = Offset(i64::try_from(at_once).unwrap());
        assert_eq!((offsets.start, offsets.end), (start, Offset(4)));
        assert_eq!(offsets.watermark, Offset(3), "no follower has it yet");
        log.set_high_watermark(Offset(4));
        assert_eq!(log.apply_retention().unwrap(), later);
        assert_eq!(log.offsets().start, Offset(4));
    }
}
