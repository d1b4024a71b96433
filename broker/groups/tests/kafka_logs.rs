//! What a real Kafka 3.9 left in `__consumer_offsets`, brought to life.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may panic, its helpers as well"
)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use groups::load::{Loader, ReplayedBatch};
use groups::{Config, Now};
use protocol::batch::{DECOMPRESSED_BYTES_MAX, Marker, split};

/// The groups and offsets of one segment, as text.
fn loaded(name: &str) -> String {
    let golden = "../../protocol/tests/golden/internal";
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(golden)
        .join(name);
    let segment = Bytes::from(fs::read(path).unwrap());
    let now = Now {
        monotonic_ms: 0,
        wall_ms: 0,
    };
    let mut loader = Loader::new(Arc::new(Config::default()), now);
    for batch in split(&segment) {
        let batch = batch.unwrap();
        let header = *batch.header();
        let replayed = ReplayedBatch {
            base_offset: header.base_offset.0,
            transaction: header.is_transactional().then_some(header.producer_id.0),
        };
        for record in batch.records(DECOMPRESSED_BYTES_MAX).unwrap() {
            let record = record.unwrap();
            let key = record.key.unwrap();
            if header.is_control() {
                let commit = Marker::from_key(&key) == Some(Marker::Commit);
                loader.replay_marker(header.producer_id.0, commit);
            } else {
                loader.replay(replayed, &key, record.value.as_deref());
            }
        }
    }
    let (machine, outcome) = loader.finish();
    assert_eq!(outcome.notes, [], "every record is understood");
    machine.check();
    let mut lines: Vec<String> = Vec::new();
    for group in machine.list() {
        lines.push(format!(
            "{} {} {:?}",
            group.group, group.state, group.protocol_type
        ));
        for (tp, found) in machine.offsets(&group.group, true) {
            let offset = found.map(|found| found.map(|found| found.offset));
            lines.push(format!("{} {tp} {offset:?}", group.group));
        }
    }
    lines.sort();
    lines.join("\n")
}

#[test]
fn a_real_brokers_groups_come_to_life() {
    let told: Vec<String> = (0..3)
        .map(|number| loaded(&format!("offsets-{number}.log")))
        .collect();
    let told = told.join("\n--\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka_logs.expected");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &told).unwrap();
    }
    assert_eq!(told, fs::read_to_string(path).unwrap());
}
