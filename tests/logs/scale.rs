//! Many partitions: what they cost to make, to keep, and to open again.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use base::clock::Clock;
use base::disk::SystemDisk;
use bytes::Bytes;
use protocol::batch::{BatchBuilder, Codec};
use protocol::ids::{LeaderEpoch, TopicId, TopicPartition};
use storage::config::{LogConfig, StoreConfig};
use storage::log::{Log, Origin};
use storage::store::Store;

use crate::kills::rounds;

/// What a process gets by default on most machines.
const FILES_MAX: usize = 1024;

fn open(dir: &Path, config: &Arc<LogConfig>) -> Store {
    let all = StoreConfig {
        dirs: vec![dir.to_path_buf()],
        open_files_max: FILES_MAX / 2,
        ..StoreConfig::default()
    };
    Store::open(SystemDisk::shared(), all, Clock::system(), &|_| {
        Arc::clone(config)
    })
    .unwrap()
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes << 10
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn record() -> Bytes {
    let mut batch = BatchBuilder::new(Codec::None);
    batch
        .push(
            Clock::system().wall_ms(),
            Some(b"key"),
            Some(&[7; 100]),
            &[],
        )
        .unwrap();
    batch.build().unwrap()
}

fn append(log: &Log, record: &Bytes) {
    let appended = log.append_as_leader(record, LeaderEpoch(0), Origin::Client, None);
    log.set_high_watermark(appended.unwrap().end);
}

/// Where the opener finds a store; set for that program alone.
const OPEN_AT: &str = "ROTPETER_OPEN_STORE";

/// Not a test of anything by itself: a fresh program, so that its memory tells what a store takes.
#[test]
fn opens_a_store_and_tells_what_it_took_where_it_is_told_to() {
    let Some(dir) = std::env::var_os(OPEN_AT) else {
        return;
    };
    let (config, record) = (Arc::new(LogConfig::default()), record());
    let (before, began) = (resident_bytes(), Instant::now());
    let store = open(Path::new(&dir), &config);
    let opening = began.elapsed();
    let count = store.all().len() as u64;
    let each = |now: u64| now.saturating_sub(before) / count.max(1);
    let opened = each(resident_bytes());
    let began = Instant::now();
    for log in store.all() {
        append(&log, &record);
    }
    println!("first append to each {:?}", began.elapsed());
    println!("partitions {count}");
    println!("opening-ms {}", opening.as_millis());
    println!("bytes-each-opened {opened}");
    println!("bytes-each-used {}", each(resident_bytes()));
    println!("files {}", open_files());
    store.close().unwrap();
}

#[test]
#[ignore = "makes thousands of files: with --all"]
fn many_partitions_cost_little_to_make_to_keep_and_to_open() {
    let dir = tempfile::tempdir().unwrap();
    let config = Arc::new(LogConfig::default());
    let count = i32::try_from(rounds("ROTPETER_PARTITIONS", 2_000)).unwrap();
    let store = open(dir.path(), &config);
    let record = record();
    let began = Instant::now();
    let mut made = Vec::new();
    for partition in 0..count {
        let tp = TopicPartition::new("many", partition);
        let log = store.create(&tp, None, Arc::clone(&config), None).unwrap();
        log.assign_topic_id(TopicId::parse("AAAAAAAAAAAAAAAAAAAAAQ").unwrap())
            .unwrap();
        log.assign_epoch(LeaderEpoch(0), log.offsets().end).unwrap();
        made.push(log);
    }
    store.settle(&made).unwrap();
    let creating = began.elapsed();
    let began = Instant::now();
    for log in &made {
        append(log, &record);
    }
    let appending = began.elapsed();
    drop(made);
    let began = Instant::now();
    store.close().unwrap();
    let closing = began.elapsed();
    drop(store);

    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "scale::opens_a_store_and_tells_what_it_took_where_it_is_told_to",
        ])
        .arg("--nocapture")
        .env(OPEN_AT, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    println!(
        "created in {creating:?}, a record to each in {appending:?}, closed in {closing:?}; then:\n{said}"
    );
    let number = |name: &str| -> u64 {
        let mut lines = said.lines().filter_map(|line| line.strip_prefix(name));
        lines.next_back().unwrap().trim().parse().unwrap()
    };
    assert_eq!(number("partitions"), u64::from(count.unsigned_abs()));
    assert!(number("files") < FILES_MAX as u64);
    assert!(number("bytes-each-opened") < 4096);
    assert!(number("bytes-each-used") < 4096);
}
