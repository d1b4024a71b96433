//! The internal topics of a real Kafka 3.9: every record is read, and written again byte for byte.
//!
//! `golden/internal/*.log` are segments of `__consumer_offsets` and `__transaction_state` as a
//! broker left them after groups, simple consumers and transactions had been at work.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may panic, its helpers as well"
)]

use std::fs;
use std::path::Path;

use bytes::Bytes;
use protocol::batch::{DECOMPRESSED_BYTES_MAX, Record, split};
use protocol::internal::groups::{self, GroupValue};
use protocol::internal::markers::{self, ControlKind};
use protocol::internal::offsets::{Key, OffsetValue};
use protocol::internal::txns::{self, TxnValue};

/// Every record of a segment, and whether its batch is a control batch.
fn records(name: &str) -> Vec<(bool, Record)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/internal")
        .join(name);
    let segment = Bytes::from(fs::read(path).unwrap());
    let mut all = Vec::new();
    for batch in split(&segment) {
        let batch = batch.unwrap();
        let control = batch.header().is_control();
        let records = batch.records(DECOMPRESSED_BYTES_MAX).unwrap();
        all.extend(records.map(|record| (control, record.unwrap())));
    }
    all
}

#[test]
fn offsets_and_groups_of_a_real_broker_are_written_again_as_they_were() {
    let (mut offsets, mut members, mut tombstones, mut ends) = (0, 0, 0, 0);
    for (control, record) in (0..3).flat_map(|number| records(&format!("offsets-{number}.log"))) {
        let key = record.key.unwrap();
        if control {
            assert_eq!(ControlKind::read(&key).unwrap().write(), key);
            let value = record.value.unwrap();
            assert_eq!(
                markers::write_value(markers::read_value(&value).unwrap()),
                value
            );
            ends += 1;
            continue;
        }
        match Key::read(&key).unwrap() {
            Key::Offset(read) => {
                assert_eq!(read.write(), key);
                match &record.value {
                    Some(value) => {
                        let version = i16::from_be_bytes([value[0], value[1]]);
                        assert_eq!(OffsetValue::read(value).unwrap().write(version), *value);
                        offsets += 1;
                    }
                    None => tombstones += 1,
                }
            }
            Key::Group(group) => {
                assert_eq!(groups::write_key(group), key);
                match &record.value {
                    Some(value) => {
                        let read = GroupValue::read(value).unwrap();
                        assert_eq!(read.write(groups::VALUE_VERSION), *value);
                        members += read.members.len();
                    }
                    None => tombstones += 1,
                }
            }
            Key::Unknown(version) => panic!("unknown key version {version}"),
        }
    }
    println!("{offsets} offsets, {members} members, {tombstones} tombstones, {ends} markers");
    assert!(offsets > 0 && members > 0 && ends > 0);
}

#[test]
fn transactions_of_a_real_broker_are_written_again_as_they_were() {
    let mut states = std::collections::BTreeSet::new();
    for (_, record) in (0..2).flat_map(|number| records(&format!("transactions-{number}.log"))) {
        let (key, value) = (record.key.unwrap(), record.value.unwrap());
        let id = txns::read_key(&key).unwrap().unwrap();
        assert_eq!(txns::write_key(id), key);
        let read = TxnValue::read(&value).unwrap();
        assert_eq!(read.write(), value);
        states.insert(read.status.code());
    }
    assert!(states.len() >= 4, "{states:?}");
}
