//! Apache's dump tool reads every file we write, and ours prints the same of it.

use std::path::Path;
use std::sync::Arc;

use base::chance::Chance;
use base::clock::Clock;
use base::disk::SystemDisk;
use bytes::Bytes;
use protocol::batch::{Codec, Compression, Marker, end_marker};
use protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicPartition};
use storage::compaction::{CompactionConfig, Compactor, Halt};
use storage::config::{LogConfig, StoreConfig};
use storage::log::{Log, Origin};
use storage::store::Store;

use crate::apache;
use crate::written::{Sender, Writer};

const NOW_MS: i64 = 1_700_000_900_000;

/// Small segments, so that there are many of them with indexes worth looking at.
fn config_of(topic: &str) -> Arc<LogConfig> {
    let compact = topic.starts_with("cleaned");
    Arc::new(LogConfig {
        segment_bytes: 16 << 10,
        segment_ms: i64::MAX,
        index_interval_bytes: 600,
        compact,
        delete: !compact,
        min_cleanable_dirty_ratio: 0.01,
        log_append_time: topic.starts_with("stamped"),
        compression: topic
            .strip_prefix("into-")
            .and_then(Codec::from_name)
            .map(|codec| Compression { codec, level: None }),
        ..LogConfig::default()
    })
}

fn open(dir: &Path, clock: &Clock) -> Store {
    let config = StoreConfig {
        dirs: vec![dir.to_path_buf()],
        ..StoreConfig::default()
    };
    Store::open(SystemDisk::shared(), config, clock.clone(), &config_of).unwrap()
}

fn create(store: &Store, topic: &str) -> Arc<Log> {
    let tp = TopicPartition::new(topic, 0);
    store.create(&tp, None, config_of(topic), None).unwrap()
}

/// The corpus as a follower gets it: every batch as it is.
fn replicate_corpus(store: &Store) {
    for seed in 1..4 {
        for (name, set) in protocol::batch::corpus::logs(seed) {
            let log = create(store, &format!("{name}-{seed}"));
            for batch in protocol::batch::split(&set) {
                log.append_as_follower(batch.unwrap().bytes()).unwrap();
            }
        }
    }
}

/// As a leader gets it from producers: kept, stamped, converted.
fn produce(store: &Store, writer: &mut Writer) {
    for topic in [
        "kept",
        "stamped",
        "into-gzip",
        "into-snappy",
        "into-lz4",
        "into-zstd",
        "into-uncompressed",
    ] {
        let log = create(store, topic);
        let mut sequence = 0;
        for round in 0..60 {
            let sender = Sender {
                producer: 40,
                epoch: 1,
                sequence,
                transactional: false,
            };
            let count = 1 + round % 25;
            let sender = if round % 3 == 0 {
                Sender::NOBODY
            } else {
                sender
            };
            if round % 3 > 0 {
                sequence += i32::try_from(count).unwrap();
            }
            lead(
                &log,
                &writer.any(count, sender),
                i32::try_from(round / 20).unwrap(),
            );
        }
    }
    let old = protocol::batch::corpus::logs(9);
    for (name, set) in old.iter().filter(|(name, _)| name.starts_with('v')) {
        let log = create(store, &format!("converted-{name}"));
        // Kafka: a compressed message comes alone.
        for message in protocol::batch::split(set) {
            lead(&log, message.unwrap().bytes(), 0);
        }
    }
}

fn lead(log: &Log, set: &Bytes, epoch: i32) {
    log.append_as_leader(set, LeaderEpoch(epoch), Origin::Client, None)
        .unwrap();
    let end = log.offsets().end;
    log.set_high_watermark(end);
}

/// Transactions of several producers, committed and aborted, and one left open; on a log that is
/// compacted and on one that is not.
fn transact(store: &Store, writer: &mut Writer, chance: &mut Chance) {
    for topic in ["transactions", "cleaned-transactions"] {
        let log = create(store, topic);
        let mut sequences = [0; 3];
        for round in 0..150 {
            let at = usize::try_from(chance.below(3)).unwrap();
            let producer = 70 + i64::try_from(at).unwrap();
            let count = 1 + usize::try_from(chance.below(6)).unwrap();
            let sender = Sender {
                producer,
                epoch: 5,
                sequence: sequences[at],
                transactional: true,
            };
            sequences[at] += i32::try_from(count).unwrap();
            lead(&log, &writer.keyed(count, 15, sender), 0);
            if round < 149 && chance.below(2) == 0 {
                let marker = if chance.below(3) == 0 {
                    Marker::Abort
                } else {
                    Marker::Commit
                };
                let marker = end_marker(marker, ProducerId(producer), ProducerEpoch(5), 2, NOW_MS);
                log.append_as_leader(&marker, LeaderEpoch(0), Origin::Coordinator, None)
                    .unwrap();
                log.set_high_watermark(log.offsets().end);
            }
        }
    }
}

/// Plain compaction, twice: what the first pass left is cleaned again.
fn compact(store: &Store, writer: &mut Writer, clock: &Clock) {
    let log = create(store, "cleaned-plain");
    let compactor = Compactor::new(
        SystemDisk::shared(),
        clock.clone(),
        Chance::seeded(5).into(),
        CompactionConfig::default(),
    );
    let mut appended = 0;
    for _ in 0..2 {
        for _ in 0..120 {
            let batch = writer.keyed(8, 30, Sender::NOBODY);
            appended += batch.len() as u64;
            lead(&log, &batch, 0);
        }
        while store.compact(&compactor, &Halt::default()) {}
    }
    assert!(compactor.uncleanable().is_empty());
    assert!(log.size() < appended / 2, "{} of {appended}", log.size());
}

#[test]
fn apaches_dump_tool_reads_every_file_we_write_and_ours_prints_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    let clock = Clock::by_hand(NOW_MS);
    let store = open(&logs, &clock);
    let mut writer = Writer::new(11, NOW_MS - 100_000);
    replicate_corpus(&store);
    produce(&store, &mut writer);
    transact(&store, &mut writer, &mut Chance::seeded(3));
    compact(&store, &mut writer, &clock);
    let trimmed = store.log(&TopicPartition::new("kept", 0)).unwrap();
    trimmed.delete_records_before(Offset(200)).unwrap();
    trimmed.truncate_to(Offset(600)).unwrap();
    store.close().unwrap();

    let files = apache::files_of(
        &logs,
        &["log", "index", "timeindex", "txnindex", "snapshot"],
    );
    for kind in ["log", "index", "timeindex", "txnindex", "snapshot"] {
        assert!(
            files.iter().any(|file| file.extension().unwrap() == kind),
            "no {kind} was written"
        );
    }
    let indexes = apache::files_of(&logs, &["index", "timeindex"]);
    let runs: [(&[_], &[&str]); 3] = [
        (&files, &["--deep-iteration", "--print-data-log"]),
        (&indexes, &["--index-sanity-check"]),
        (&indexes, &["--verify-index-only"]),
    ];
    for (files, flags) in runs {
        let Some((said, complaints)) = apache::dump(files, flags) else {
            return;
        };
        assert!(!said.contains("isvalid: false"), "{flags:?}");
        only_gaps_of_compaction(&complaints);
        let (ours, our_complaints) = apache::our_dump(files, flags);
        same_text(&said, &ours, flags);
        let sorted = |text: &str| {
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&complaints), sorted(&our_complaints), "{flags:?}");
    }
}

/// Of a compacted log Apache's tool always names the gaps; it may complain of nothing else.
fn only_gaps_of_compaction(complaints: &str) {
    for line in complaints.lines() {
        let is_gap = line.contains(" is followed by ");
        let is_compacted = line.starts_with("Non-consecutive offsets in ")
            && (line.contains("/compacted-") || line.contains("/cleaned-"));
        assert!(is_gap || is_compacted, "Apache's tool says: {line}");
    }
}

/// A snapshot's producers come in the order of a hash map; everything else in one order only.
fn same_text(apache: &str, ours: &str, flags: &[&str]) {
    let sorted = |text: &str| {
        let mut blocks: Vec<Vec<String>> = Vec::new();
        for line in text.lines() {
            if line.starts_with("Dumping ") || blocks.is_empty() {
                blocks.push(Vec::new());
            }
            blocks.last_mut().unwrap().push(line.to_owned());
        }
        for block in &mut blocks {
            if block[0].contains(".snapshot") {
                block.sort();
            }
        }
        blocks.concat()
    };
    let (apache, ours) = (sorted(apache), sorted(ours));
    for (at, (theirs, mine)) in apache.iter().zip(&ours).enumerate() {
        assert_eq!(theirs, mine, "line {at} with {flags:?}");
    }
    assert_eq!(apache.len(), ours.len(), "{flags:?}");
}
