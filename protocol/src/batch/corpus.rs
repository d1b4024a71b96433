//! Whole log files made by the builders of this crate, for tests that show them to Apache's tools.
//!
//! Seeded: the same seed gives the same bytes. Every codec, every format, headers, null keys and
//! values, gaps, transactions of both ends, broker time, delete horizons, emptied batches.

use bytes::Bytes;

use crate::batch::legacy::write_set;
use crate::batch::{
    BatchBuilder, BatchView, Codec, Marker, Record, RecordHeaders, emptied, end_marker,
    patch_offset_epoch,
};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

const START_MS: i64 = 1_700_000_000_000;

/// Named files, each of batches whose offsets rise from 0.
pub fn logs(seed: u64) -> Vec<(&'static str, Bytes)> {
    vec![
        ("codecs", codecs(Numbers(seed | 1))),
        ("transactions", transactions(Numbers(seed | 1))),
        ("compacted", compacted(Numbers(seed | 1))),
        ("v0", old(Numbers(seed | 1), 0)),
        ("v1", old(Numbers(seed | 1), 1)),
    ]
}

struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }

    fn text(&mut self, len_max: usize) -> Option<Vec<u8>> {
        let len = match self.below(6) {
            0 => return None,
            1 => 0,
            _ => self.below(len_max),
        };
        Some((0..len).map(|_| b'a' + self.below(26) as u8).collect())
    }
}

fn fill(batch: &mut BatchBuilder, numbers: &mut Numbers, count: usize) {
    for at in 0..count {
        let (key, value) = (numbers.text(20), numbers.text(300));
        let header = numbers.text(10);
        let headers = vec![(&b"header"[..], header.as_deref()); numbers.below(3)];
        let timestamp_ms = START_MS + at as i64 - numbers.below(5) as i64;
        let pushed = batch.push(timestamp_ms, key.as_deref(), value.as_deref(), &headers);
        pushed.expect("offsets rise by one");
    }
}

fn built(batch: BatchBuilder) -> Bytes {
    batch.build().expect("a batch of a few kilobytes")
}

fn codecs(mut numbers: Numbers) -> Bytes {
    let mut log = Vec::new();
    let mut next = 0;
    for round in 0..25 {
        let codec = Codec::ALL[round % 5];
        let count = 1 + numbers.below(60);
        let mut batch = BatchBuilder::new(codec)
            .base_offset(Offset(next))
            .leader_epoch(LeaderEpoch(round as i32 / 10));
        if round % 3 == 1 {
            batch = batch.log_append_time(START_MS + 1000 + round as i64);
        }
        if round % 4 == 2 {
            batch = batch.producer(ProducerId(77), ProducerEpoch(2), i32::MAX - 3);
        }
        fill(&mut batch, &mut numbers, count);
        next += count as i64;
        log.extend_from_slice(&built(batch));
    }
    log.into()
}

fn transactions(mut numbers: Numbers) -> Bytes {
    let mut log = Vec::new();
    let mut next = 0;
    for round in 0..12 {
        let (producer, epoch) = (
            ProducerId(1000 + round % 3),
            ProducerEpoch(round as i16 / 3),
        );
        let count = 1 + numbers.below(9);
        let mut batch = BatchBuilder::new(Codec::ALL[numbers.below(5)])
            .base_offset(Offset(next))
            .leader_epoch(LeaderEpoch(4))
            .producer(producer, epoch, 0)
            .transactional(true);
        fill(&mut batch, &mut numbers, count);
        next += count as i64;
        log.extend_from_slice(&built(batch));
        let how = if numbers.below(2) == 0 {
            Marker::Abort
        } else {
            Marker::Commit
        };
        let mut marker = end_marker(how, producer, epoch, 3, START_MS + 5000).to_vec();
        patch_offset_epoch(&mut marker, Offset(next), LeaderEpoch(4));
        next += 1;
        log.extend_from_slice(&marker);
    }
    log.into()
}

fn compacted(mut numbers: Numbers) -> Bytes {
    let mut log = Vec::new();
    let mut next = 0;
    for round in 0..12 {
        let span = 10 + numbers.below(20) as i64;
        let mut batch = BatchBuilder::new(Codec::ALL[round % 5])
            .base_offset(Offset(next))
            .last_offset(Offset(next + span))
            .leader_epoch(LeaderEpoch(1))
            .producer(ProducerId(5), ProducerEpoch(0), 100);
        if round % 2 == 0 {
            batch = batch.delete_horizon(START_MS + 86_400_000);
        }
        for offset in [next + 2, next + 5, next + span - 1] {
            let value = numbers.text(100);
            let pushed = batch.push_at(
                Offset(offset),
                START_MS + offset,
                Some(b"key"),
                value.as_deref(),
                &[],
            );
            pushed.expect("offsets rise");
        }
        next += span + 1 + numbers.below(50) as i64;
        let batch = built(batch);
        let view = BatchView::open(&batch).ok().flatten();
        match view.filter(|_| round % 5 == 4) {
            Some(view) => log.extend_from_slice(&emptied(&view)),
            None => log.extend_from_slice(&batch),
        }
    }
    log.into()
}

fn old(mut numbers: Numbers, magic: u8) -> Bytes {
    let mut log = Vec::new();
    let mut next = 0;
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4]
        .into_iter()
        .cycle()
        .take(12)
    {
        let count = 1 + numbers.below(20) as i64;
        let records: Vec<Record> = (next..next + count)
            .map(|offset| Record {
                offset: Offset(offset),
                timestamp_ms: if magic == 0 { -1 } else { START_MS + offset },
                sequence: -1,
                key: numbers.text(20).map(Bytes::from),
                value: numbers.text(300).map(Bytes::from),
                headers: RecordHeaders::default(),
                size: 0,
                message: None,
            })
            .collect();
        let append_time = (magic == 1 && numbers.below(3) == 0).then_some(START_MS + 9000);
        write_set(&records, magic, codec, append_time, &mut log).expect("a set of a few kilobytes");
        next += count;
    }
    log.into()
}
