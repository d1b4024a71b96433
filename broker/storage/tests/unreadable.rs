//! A sector that cannot be read, where nobody has asked for what lies there.

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

type Failure = Arc<Mutex<Option<Errno>>>;

/// A disk whose `.log` files cannot be read while there is a failure.
#[derive(Debug)]
struct Unreadable {
    disk: FaultyDisk,
    failure: Failure,
}

#[derive(Debug)]
struct UnreadableFile {
    file: Arc<dyn DiskFile>,
    failure: Option<Failure>,
}

impl DiskFile for UnreadableFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.failure.as_ref().and_then(|failure| *failure.lock()) {
            Some(errno) => Err(errno.into()),
            None => self.file.read_at(buf, offset),
        }
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
        let failure = is_log.then(|| Arc::clone(&self.failure));
        Ok(Arc::new(UnreadableFile { file, failure }))
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
    failure: Failure,
    _store: Store,
    log: Arc<Log>,
}

/// Three segments with a record of now each, in files that are five seconds younger; what is older than
/// ten goes.
fn world() -> World {
    let disk = FaultyDisk::new(1);
    disk.set_now_ms(NOW_MS + 5_000);
    let (clock, failure) = (Clock::by_hand(NOW_MS), Failure::default());
    let config = Arc::new(LogConfig {
        segment_bytes: 150,
        retention_ms: 10_000,
        ..LogConfig::default()
    });
    let all = StoreConfig {
        dirs: vec![PathBuf::from("/d")],
        ..StoreConfig::default()
    };
    let unreadable = Arc::new(Unreadable {
        disk,
        failure: Arc::clone(&failure),
    });
    let fallback = Arc::clone(&config);
    let store = Store::open(unreadable, all, clock.clone(), &|_| Arc::clone(&fallback)).unwrap();
    let tp = TopicPartition::new("t", 0);
    let log = store.create(&tp, None, config, None).unwrap();
    (0..3).for_each(|_| append(&log));
    log.set_high_watermark(Offset(3));
    World {
        clock,
        failure,
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
        failure,
        log,
        _store,
    } = world();
    *failure.lock() = Some(Errno::IO);
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
        failure,
        log,
        _store,
    } = world();
    *failure.lock() = Some(Errno::MFILE);
    clock.advance(10_001);
    let Err(Error::TooManyFiles { .. }) = log.apply_retention() else {
        panic!("not now")
    };
    assert_eq!(log.offsets().start, Offset(0));
    *failure.lock() = None;
    assert_eq!(log.apply_retention().unwrap(), 3, "by the records' age");
}
