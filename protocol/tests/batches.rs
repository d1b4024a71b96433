//! Batches that an Apache Kafka 3.9 (and a 2.8, for the old formats) wrote, read here; what is
//! written here, read back; and hostile bytes, survived.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

use bytes::{Bytes, BytesMut};
use protocol::batch::check::{
    Checked, Origin, Refusal, Rules, check_for_follower, check_for_leader,
};
use protocol::batch::legacy::{down_convert, first_offset};
use protocol::batch::{
    BatchBuilder, BatchView, Codec, Compression, HEADER_BYTES, Record, TimestampType, split,
};
use protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicPartition};

const BOUND: u64 = 16 << 20;
const FILES: [&str; 9] = [
    "codecs",
    "append-time",
    "transactions",
    "compacted",
    "v0",
    "v1",
    "v1append",
    "mixed",
    "v0-compacted",
];

fn file(name: &str) -> Bytes {
    let path = format!(
        "{}/tests/golden/batches/{name}.log",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read(path).unwrap().into()
}

fn records_of(set: &Bytes) -> Vec<Record> {
    split(set)
        .flat_map(|batch| batch.unwrap().records(BOUND).unwrap().collect::<Vec<_>>())
        .map(Result::unwrap)
        .collect()
}

fn text(bytes: Option<&Bytes>) -> String {
    bytes.map_or("-".into(), |bytes| {
        String::from_utf8(bytes.to_vec()).unwrap()
    })
}

/// Seeded and small: the same numbers on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

#[test]
fn files_of_apache_brokers_are_whole_and_every_crc_is_right() {
    for name in FILES {
        let set = file(name);
        let found = check_for_follower(&set).unwrap();
        assert_eq!(found.size, set.len(), "{name}");
        assert!(found.in_order, "{name}");
        assert!(!records_of(&set).is_empty(), "{name}");
    }
}

#[test]
fn the_corpus_for_apaches_tools_is_sound() {
    for (name, log) in protocol::batch::corpus::logs(7) {
        let found = check_for_follower(&log).unwrap();
        assert_eq!(found.size, log.len(), "{name}");
        assert!(found.in_order, "{name}");
        let records = records_of(&log);
        assert!(records.is_sorted_by(|a, b| a.offset < b.offset), "{name}");
        if let Ok(dir) = std::env::var("CORPUS_OUT") {
            let dir = format!("{dir}/{name}-0");
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(format!("{dir}/00000000000000000000.log"), &log).unwrap();
        }
    }
}

#[test]
fn records_read_as_the_producer_meant_them_with_every_codec() {
    let set = file("codecs");
    let codecs: Vec<Codec> = split(&set)
        .map(|batch| batch.unwrap().codec().unwrap())
        .collect();
    for codec in Codec::ALL {
        assert!(codecs.contains(&codec), "{codec:?}");
    }
    let records = records_of(&set);
    for (index, record) in records.iter().enumerate() {
        assert_eq!(record.offset.0, index as i64);
    }
    assert_eq!(
        text(records[0].value.as_ref()),
        "none-0-0-abcabcabcabcabcabcabcabcabcabc"
    );
    assert_eq!(records[0].timestamp_ms, 1_700_000_000_000);
    assert_eq!(records[3].key, None);
    assert_eq!(records[4].value, None);
    let with_headers = records
        .iter()
        .find(|record| !record.headers.is_empty())
        .unwrap();
    let keys: Vec<String> = with_headers
        .headers
        .iter()
        .map(|(key, _)| text(Some(&key)))
        .collect();
    assert_eq!(keys, ["a", "empty", "null", "a", "ü"]);
    let null = with_headers.headers.iter().nth(2).unwrap().1;
    assert_eq!(null, None);
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let wanted = format!("{codec}-0-0-");
        assert!(
            records
                .iter()
                .any(|r| text(r.value.as_ref()).starts_with(&wanted)),
            "{codec}"
        );
    }
}

#[test]
fn append_time_overrules_what_the_records_say() {
    for batch in split(&file("append-time")) {
        let batch = batch.unwrap();
        assert_eq!(batch.timestamp_type(), TimestampType::LogAppend);
        for record in batch.records(BOUND).unwrap() {
            assert_eq!(record.unwrap().timestamp_ms, batch.max_timestamp_ms);
        }
    }
}

#[test]
fn old_formats_give_the_same_records_as_the_new_one() {
    let new = records_of(&file("codecs"));
    for name in ["v0", "v1"] {
        let set = file(name);
        let old = records_of(&set);
        for record in &old {
            let mark = record.message.unwrap();
            assert_eq!(mark.crc, mark.crc_computed);
        }
        let offsets: Vec<i64> = old.iter().map(|record| record.offset.0).collect();
        assert!(
            offsets.windows(2).all(|pair| pair[0] + 1 == pair[1]),
            "{name}: {offsets:?}"
        );
        for codec in ["none", "gzip", "snappy", "lz4"] {
            let of = |records: &[Record]| -> Vec<String> {
                let values = records.iter().map(|record| text(record.value.as_ref()));
                values.filter(|value| value.starts_with(codec)).collect()
            };
            assert_eq!(of(&old), of(&new), "{name} {codec}");
        }
    }
    let mixed = file("mixed");
    let magics: Vec<u8> = split(&mixed).map(|batch| batch.unwrap().magic).collect();
    assert!([0, 1, 2].iter().all(|magic| magics.contains(magic)));
    let wrapped = split(&mixed)
        .map(Result::unwrap)
        .find(|b| b.magic == 1 && b.is_compressed());
    let wrapped = wrapped.unwrap();
    assert!(first_offset(&wrapped, BOUND).unwrap() < wrapped.last_offset());
}

fn rules(partition: &TopicPartition) -> Rules<'_> {
    Rules {
        partition,
        origin: Origin::Client,
        message_bytes_max: 1 << 20,
        compacted: false,
        timestamp_type: TimestampType::Create,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        compression: None,
        decompressed_bytes_max: BOUND,
        now_ms: 1_700_000_000_000,
    }
}

fn partition() -> TopicPartition {
    TopicPartition::new("orders", 3)
}

fn sample(codec: Codec, count: usize) -> Bytes {
    let mut batch = BatchBuilder::new(codec).producer(ProducerId(9), ProducerEpoch(1), 40);
    for index in 0..count {
        let value = format!("value {index} ").repeat(20);
        let headers: [(&[u8], Option<&[u8]>); 2] = [(b"h", Some(b"1")), (b"h", None)];
        let key = format!("key {}", index % 7);
        batch
            .push(
                1_600_000_000_000 + index as i64,
                Some(key.as_bytes()),
                Some(value.as_bytes()),
                &headers,
            )
            .unwrap();
    }
    batch.build().unwrap()
}

fn check(set: &Bytes, rules: &Rules<'_>) -> Result<Checked, Refusal> {
    check_for_leader(set, rules).map(Option::unwrap)
}

#[test]
fn a_good_batch_passes_untouched_and_is_placed() {
    let partition = partition();
    for codec in Codec::ALL {
        let sent = sample(codec, 50);
        let mut checked = check(&sent, &rules(&partition)).unwrap();
        assert_eq!(checked.offsets(), 50);
        assert_eq!(checked.max_timestamp_ms(), 1_600_000_000_049);
        checked.place(Offset(1000), LeaderEpoch(7));
        assert_eq!(checked.parts().concat().len(), checked.size());
        let stored = checked.into_bytes();
        let view = BatchView::open(&stored).unwrap().unwrap();
        view.check_crc().unwrap();
        assert_eq!(
            (view.base_offset, view.leader_epoch),
            (Offset(1000), LeaderEpoch(7))
        );
        assert_eq!(stored[21..], sent[21..], "{codec:?}");
        let read = records_of(&stored);
        assert_eq!(read[49].offset, Offset(1049));
        assert_eq!(read[49].sequence, 89);
        assert_eq!(read[49].headers.len(), 2);
    }
}

#[test]
fn append_time_is_stamped_into_the_header_alone() {
    let partition = partition();
    let rules = Rules {
        timestamp_type: TimestampType::LogAppend,
        now_ms: 123_456,
        ..rules(&partition)
    };
    for codec in Codec::ALL {
        let sent = sample(codec, 5);
        let checked = check(&sent, &rules).unwrap();
        assert_eq!(checked.append_time_ms(), Some(123_456));
        let stored = checked.into_bytes();
        let view = BatchView::open(&stored).unwrap().unwrap();
        view.check_crc().unwrap();
        assert!(
            records_of(&stored)
                .iter()
                .all(|record| record.timestamp_ms == 123_456)
        );
        assert_eq!(stored[HEADER_BYTES..], sent[HEADER_BYTES..]);
    }
}

#[test]
fn a_wrong_largest_timestamp_is_put_right() {
    let partition = partition();
    let mut sent = BytesMut::from(&sample(Codec::Lz4, 3)[..]);
    sent[35..43].copy_from_slice(&5i64.to_be_bytes());
    let crc = crc32c::crc32c(&sent[21..]);
    sent[17..21].copy_from_slice(&crc.to_be_bytes());
    let checked = check(&sent.freeze(), &rules(&partition)).unwrap();
    assert_eq!(checked.max_timestamp_ms(), 1_600_000_000_002);
    BatchView::open(&checked.into_bytes())
        .unwrap()
        .unwrap()
        .check_crc()
        .unwrap();
}

#[test]
fn the_topics_codec_is_applied_and_nothing_else_changes() {
    let partition = partition();
    for (from, to) in [
        (Codec::None, Codec::Zstd),
        (Codec::Gzip, Codec::None),
        (Codec::Lz4, Codec::Snappy),
    ] {
        let target = Compression {
            codec: to,
            level: None,
        };
        let sent = sample(from, 20);
        let checked = check(
            &sent,
            &Rules {
                compression: Some(target),
                ..rules(&partition)
            },
        )
        .unwrap();
        let stored = checked.into_bytes();
        let view = BatchView::open(&stored).unwrap().unwrap();
        assert_eq!(view.codec().unwrap(), to);
        assert_eq!((view.producer_id, view.base_sequence), (ProducerId(9), 40));
        assert_eq!(records_of(&stored), records_of(&sent));
    }
}

#[test]
fn old_message_sets_become_one_new_batch() {
    let partition = partition();
    let now = Rules {
        timestamp_after_max_ms: i64::MAX,
        ..rules(&partition)
    };
    for name in ["v0", "v1"] {
        for batch in split(&file(name)).map(Result::unwrap) {
            let old = batch
                .records(BOUND)
                .unwrap()
                .map(Result::unwrap)
                .collect::<Vec<_>>();
            let codec = batch.codec().unwrap();
            let stored = check(batch.bytes(), &now).unwrap().into_bytes();
            let view = BatchView::open(&stored).unwrap().unwrap();
            assert_eq!((view.magic, view.codec().unwrap()), (2, codec));
            let new = records_of(&stored);
            assert_eq!(new.len(), old.len());
            for (new, old) in new.iter().zip(&old) {
                assert_eq!((&new.key, &new.value), (&old.key, &old.value));
                assert_eq!(new.timestamp_ms, old.timestamp_ms);
            }
        }
    }
}

#[test]
fn new_batches_are_shown_to_old_consumers_with_their_offsets() {
    let new = file("codecs");
    for magic in [0, 1] {
        for batch in split(&new).map(Result::unwrap) {
            let converted = down_convert(batch.bytes(), magic, Offset(0), BOUND);
            if batch.codec().unwrap() == Codec::Zstd {
                assert!(converted.is_err());
                continue;
            }
            let converted = converted.unwrap();
            let old = records_of(&converted);
            let read = batch
                .records(BOUND)
                .unwrap()
                .map(Result::unwrap)
                .collect::<Vec<_>>();
            assert_eq!(old.len(), read.len());
            for (old, new) in old.iter().zip(&read) {
                assert_eq!(
                    (old.offset, &old.key, &old.value),
                    (new.offset, &new.key, &new.value)
                );
                assert_eq!(
                    old.timestamp_ms,
                    if magic == 0 { -1 } else { new.timestamp_ms }
                );
                let mark = old.message.unwrap();
                assert_eq!((mark.magic, mark.crc), (magic, mark.crc_computed));
            }
        }
    }
    let transactions = file("transactions");
    let converted = down_convert(&transactions, 1, Offset(0), BOUND).unwrap();
    let controls = split(&transactions)
        .filter(|b| b.as_ref().unwrap().is_control())
        .count();
    assert!(controls > 0);
    let (shown, all) = (records_of(&converted), records_of(&transactions));
    assert!(shown.iter().all(|old| old.message.is_some()));
    assert!(shown.len() <= all.len() - controls);
    // In the old format they are longer; what does not fit is asked for again.
    let last = shown.last().unwrap();
    assert!(converted.len() <= transactions.len());
    assert!(last.offset < all.last().unwrap().offset);
    let later = down_convert(&sample_at(100), 1, Offset(103), BOUND).unwrap();
    assert_eq!(records_of(&later)[0].offset, Offset(103));
}

#[test]
fn what_grows_for_old_consumers_is_cut_where_the_set_ended() {
    let batch = |base| {
        let mut batch = BatchBuilder::new(Codec::None).base_offset(Offset(base));
        for _ in 0..1_000 {
            batch.push(1, None, Some(b"v"), &[]).unwrap();
        }
        batch.build().unwrap()
    };
    let one = batch(0);
    let first = down_convert(&one, 1, Offset(0), BOUND).unwrap();
    assert!(first.len() > 3 * one.len(), "a first batch is given whole");
    let set: Bytes = (0..100).flat_map(|at| batch(at * 1_000)).collect();
    let converted = down_convert(&set, 1, Offset(0), BOUND).unwrap();
    assert_eq!(converted.len(), set.len());
    let whole: Bytes = split(&set)
        .flat_map(|one| down_convert(one.unwrap().bytes(), 1, Offset(0), BOUND).unwrap())
        .collect();
    assert_eq!(converted, whole[..set.len()]);
    let bound = first.len() as u64 - 1;
    assert!(down_convert(&one, 1, Offset(0), bound).is_err());
}

fn sample_at(base: i64) -> Bytes {
    let mut batch = BatchBuilder::new(Codec::None).base_offset(Offset(base));
    for _ in 0..5 {
        batch.push(1, None, Some(b"v"), &[]).unwrap();
    }
    batch.build().unwrap()
}

/// Changes a batch and sums it up again, so that the CRC does not give the change away.
fn forged(sent: &Bytes, change: impl FnOnce(&mut [u8])) -> Bytes {
    let mut bytes = BytesMut::from(&sent[..]);
    change(&mut bytes);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.freeze()
}

#[test]
fn each_fault_has_the_error_kafka_gives_it() {
    let partition = partition();
    let rules = rules(&partition);
    let good = sample(Codec::None, 4);
    let code = |set: &Bytes, rules: &Rules<'_>| check(set, rules).unwrap_err().error_code();
    let mut flipped = BytesMut::from(&good[..]);
    flipped[70] ^= 1;
    assert_eq!(code(&flipped.freeze(), &rules), 2);
    assert_eq!(code(&forged(&good, |b| b[16] = 3), &rules), 2);
    assert_eq!(code(&forged(&good, |b| b[8..12].fill(0)), &rules), 2);
    assert_eq!(
        code(
            &good,
            &Rules {
                message_bytes_max: 100,
                ..rules
            }
        ),
        10
    );
    assert_eq!(code(&forged(&good, |b| b[7] = 1), &rules), 87);
    assert_eq!(code(&forged(&good, |b| b[60] = 5), &rules), 87);
    assert_eq!(code(&forged(&good, |b| b[57..61].fill(0xff)), &rules), 87);
    assert_eq!(code(&forged(&good, |b| b[22] |= 0x20), &rules), 87);
    assert_eq!(code(&forged(&good, |b| b[53] = 0x80), &rules), 87);
    assert_eq!(code(&forged(&good, |b| b[22] |= 7), &rules), -1);
    assert_eq!(code(&forged(&good, |b| b[22] |= 1), &rules), -1);
    assert_eq!(
        code(
            &forged(&good, |b| b[22] |= 8),
            &Rules {
                timestamp_type: TimestampType::LogAppend,
                ..rules
            }
        ),
        32
    );
    assert_eq!(code(&forged(&good, |b| b[61] ^= 2), &rules), 87);
    let two = [&good[..], &good[..]].concat();
    assert_eq!(code(&two.into(), &rules), 87);
    assert!(
        check_for_leader(&good.slice(..good.len() - 1), &rules)
            .unwrap()
            .is_none()
    );
}

#[test]
fn records_without_keys_and_out_of_their_time_are_named_one_by_one() {
    let partition = partition();
    let mut batch = BatchBuilder::new(Codec::Zstd);
    for (index, key) in [Some(&b"k"[..]), None, Some(b"k"), None]
        .into_iter()
        .enumerate()
    {
        batch
            .push(1_700_000_000_000 + index as i64, key, Some(b"v"), &[])
            .unwrap();
    }
    let set = batch.build().unwrap();
    let refusal = check(
        &set,
        &Rules {
            compacted: true,
            ..rules(&partition)
        },
    )
    .unwrap_err();
    assert_eq!(refusal.error_code(), 87);
    let told: Vec<i32> = refusal
        .record_errors()
        .iter()
        .map(|e| e.batch_index)
        .collect();
    assert_eq!(told, [1, 3]);
    assert_eq!(
        refusal.record_errors()[0].message,
        "Compacted topic cannot accept message without key in topic partition orders-3"
    );
    let strict = Rules {
        timestamp_after_max_ms: 2,
        now_ms: 1_700_000_000_000,
        ..rules(&partition)
    };
    let refusal = check(&set, &strict).unwrap_err();
    assert_eq!(refusal.error_code(), 32);
    assert_eq!(
        refusal.to_string(),
        "One or more records have been rejected due to invalid timestamp"
    );
    assert_eq!(refusal.record_errors().len(), 1);
}

#[test]
fn a_bomb_is_refused_at_the_bound() {
    let partition = partition();
    for codec in [Codec::Gzip, Codec::Lz4, Codec::Snappy, Codec::Zstd] {
        let mut batch = BatchBuilder::new(codec);
        batch.push(0, None, Some(&vec![0; 40 << 20]), &[]).unwrap();
        let set = batch.build().unwrap();
        let rules = Rules {
            message_bytes_max: 64 << 20,
            ..rules(&partition)
        };
        let refusal = check(&set, &rules).unwrap_err();
        assert!(
            refusal.to_string().contains("exceed"),
            "{codec:?}: {refusal}"
        );
        let read = BatchView::open(&set)
            .unwrap()
            .unwrap()
            .records(BOUND)
            .unwrap()
            .next();
        assert!(read.unwrap().is_err());
    }
}

#[test]
fn a_bomb_of_tiny_old_messages_is_refused_at_the_bound() {
    const COUNT: usize = 30_000;
    let mut batch = BatchBuilder::new(Codec::Gzip);
    for _ in 0..COUNT {
        batch.push(0, None, None, &[]).unwrap();
    }
    let new = batch.build().unwrap();
    for magic in [0, 1] {
        let set = down_convert(&new, magic, Offset(0), BOUND).unwrap();
        let batch = BatchView::open(&set).unwrap().unwrap();
        // Unpacked it is below a megabyte.
        assert!(batch.records(1 << 20).is_err());
        assert_eq!(batch.records(BOUND).unwrap().count(), COUNT);
    }
}

/// All that can be asked of a set, asked.
fn exercise(set: &Bytes, rules: &Rules<'_>) -> usize {
    let mut read = 0;
    for batch in split(set) {
        let Ok(batch) = batch else { break };
        let _ = batch.check_crc();
        let _ = (
            batch.last_sequence(),
            batch.next_offset(),
            batch.delete_horizon_ms(),
        );
        if let Ok(records) = batch.records(1 << 20) {
            for record in records {
                let Ok(record) = record else { break };
                read += 1 + record.headers.iter().count();
            }
        }
        let _ = first_offset(&batch, 1 << 20);
    }
    let _ = check_for_leader(set, rules);
    let _ = check_for_follower(set);
    for magic in [0, 1] {
        let _ = down_convert(set, magic, Offset(3), 1 << 20);
    }
    read
}

/// Sums every whole batch up again, so that the mutant gets past the checksum.
fn summed(mut set: BytesMut) -> Bytes {
    let mut at = 0;
    while at + 26 < set.len() {
        let size = 12 + u32::from_be_bytes(set[at + 8..at + 12].try_into().unwrap()) as usize;
        let end = at.saturating_add(size);
        if end > set.len() || size < 26 {
            break;
        }
        if set[at + 16] == 2 {
            let crc = crc32c::crc32c(&set[at + 21..end]);
            set[at + 17..at + 21].copy_from_slice(&crc.to_be_bytes());
        } else {
            let crc = crc32fast::hash(&set[at + 16..end]);
            set[at + 12..at + 16].copy_from_slice(&crc.to_be_bytes());
        }
        at = end;
    }
    set.freeze()
}

#[test]
fn mutants_of_real_batches_never_panic_and_never_allocate_what_they_claim() {
    let partition = partition();
    let mut dice = Dice(0x5eed_0bad_cafe);
    let mut survived = 0;
    for name in FILES {
        let original = file(name);
        for round in 0..400 {
            let mut mutant = BytesMut::from(&original[..]);
            for _ in 0..=dice.roll(4) {
                let at = dice.roll(mutant.len());
                match dice.roll(4) {
                    0 => mutant[at] ^= 1 << dice.roll(8),
                    1 => mutant[at] = 0xff,
                    2 => mutant[at] = dice.roll(256) as u8,
                    _ => {
                        let end = (at + 4).min(mutant.len());
                        mutant[at..end].fill(if dice.roll(2) == 0 { 0x7f } else { 0 });
                    }
                }
            }
            if dice.roll(8) == 0 {
                mutant.truncate(dice.roll(original.len()));
            }
            let compacted = round % 2 == 0;
            let compression = (round % 3 == 0).then(|| Codec::Lz4.into());
            let rules = Rules {
                compacted,
                compression,
                origin: Origin::Coordinator,
                ..rules(&partition)
            };
            survived += exercise(&summed(mutant), &rules);
        }
    }
    assert!(
        survived > 10_000,
        "mutants were all dead on arrival: {survived}"
    );
}

#[test]
fn any_records_come_back_through_any_codec() {
    let mut dice = Dice(42);
    for _ in 0..200 {
        let codec = Codec::ALL[dice.roll(5)];
        let base = dice.roll(1_000_000) as i64;
        let mut batch = BatchBuilder::new(codec).base_offset(Offset(base));
        let mut wanted = Vec::new();
        let mut offset = base;
        for _ in 0..dice.roll(40) {
            let bytes = |dice: &mut Dice| -> Option<Vec<u8>> {
                let len = match dice.roll(4) {
                    0 => return None,
                    1 => 0,
                    2 => dice.roll(30),
                    _ => dice.roll(5000),
                };
                Some((0..len).map(|_| dice.roll(256) as u8).collect())
            };
            let (key, value, header) = (bytes(&mut dice), bytes(&mut dice), bytes(&mut dice));
            let timestamp = dice.roll(1 << 45) as i64 - (1 << 44);
            let headers = vec![(&b"name"[..], header.as_deref()); dice.roll(3)];
            batch
                .push_at(
                    Offset(offset),
                    timestamp,
                    key.as_deref(),
                    value.as_deref(),
                    &headers,
                )
                .unwrap();
            wanted.push((offset, timestamp, key.clone(), value.clone(), headers.len()));
            offset += 1 + dice.roll(5) as i64;
        }
        let set = batch.build().unwrap();
        BatchView::open(&set).unwrap().unwrap().check_crc().unwrap();
        let found: Vec<_> = records_of(&set)
            .into_iter()
            .map(|r| {
                let (key, value) = (r.key.map(|b| b.to_vec()), r.value.map(|b| b.to_vec()));
                (r.offset.0, r.timestamp_ms, key, value, r.headers.len())
            })
            .collect();
        assert!(found == wanted);
    }
}
