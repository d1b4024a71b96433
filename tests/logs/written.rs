//! Batches as producers send them: every codec, headers, null keys and values; seeded.

use base::chance::Chance;
use bytes::Bytes;
use protocol::batch::{BatchBuilder, Codec};
use protocol::ids::{ProducerEpoch, ProducerId};

/// Who sends a batch; −1 for nobody in particular.
#[derive(Clone, Copy)]
pub(crate) struct Sender {
    pub(crate) producer: i64,
    pub(crate) epoch: i16,
    pub(crate) sequence: i32,
    pub(crate) transactional: bool,
}

impl Sender {
    pub(crate) const NOBODY: Sender = Sender {
        producer: -1,
        epoch: -1,
        sequence: -1,
        transactional: false,
    };
}

/// A seeded writer of batches.
pub(crate) struct Writer {
    chance: Chance,
    /// The timestamp of the next record; rises, with small steps back.
    now_ms: i64,
}

impl Writer {
    pub(crate) fn new(seed: u64, now_ms: i64) -> Writer {
        Writer {
            chance: Chance::seeded(seed),
            now_ms,
        }
    }

    fn below(&mut self, bound: u64) -> usize {
        usize::try_from(self.chance.below(bound)).unwrap()
    }

    fn text(&mut self, len_max: u64) -> Option<Vec<u8>> {
        let len = match self.below(6) {
            0 => return None,
            1 => 0,
            _ => self.below(len_max),
        };
        Some((0..len).map(|_| b'a' + self.below(26) as u8).collect())
    }

    fn builder(&mut self, sender: Sender) -> BatchBuilder {
        let codec = Codec::ALL[self.below(5)];
        let builder = BatchBuilder::new(codec).transactional(sender.transactional);
        if sender.producer < 0 {
            return builder;
        }
        let epoch = ProducerEpoch(sender.epoch);
        builder.producer(ProducerId(sender.producer), epoch, sender.sequence)
    }

    /// A batch of `count` records of any shape.
    pub(crate) fn any(&mut self, count: usize, sender: Sender) -> Bytes {
        let mut batch = self.builder(sender);
        for _ in 0..count {
            let (key, value, header) = (self.text(20), self.text(300), self.text(10));
            let headers = vec![(&b"header"[..], header.as_deref()); self.below(3)];
            self.now_ms += 7 - self.below(10) as i64;
            let pushed = batch.push(self.now_ms, key.as_deref(), value.as_deref(), &headers);
            pushed.unwrap();
        }
        batch.build().unwrap()
    }

    /// A batch for a compacted topic: one of `keys` keys each, every seventh value a tombstone.
    pub(crate) fn keyed(&mut self, count: usize, keys: u64, sender: Sender) -> Bytes {
        let mut batch = self.builder(sender);
        for _ in 0..count {
            let key = format!("key-{}", self.below(keys));
            let value = (self.below(7) > 0).then(|| vec![b'v'; 20 + self.below(120)]);
            self.now_ms += 1;
            batch
                .push(self.now_ms, Some(key.as_bytes()), value.as_deref(), &[])
                .unwrap();
        }
        batch.build().unwrap()
    }
}
