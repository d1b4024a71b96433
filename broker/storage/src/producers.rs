//! Producers as one log knows them: sequences, duplicates, open transactions.
//!
//! Kafka: `ProducerStateManager`, `ProducerAppendInfo`. The last five batches of a producer are kept
//! to recognise a repeated one; the snapshot file keeps only the last.
//!
//! Words: a transaction is *open* until its marker is written, and *undecided for readers* until the
//! marker is below the watermark.

use std::collections::{BTreeMap, HashMap};

use protocol::ids::{ProducerEpoch, ProducerId};
use smallvec::SmallVec;

use crate::error::AppendRefusal;
use crate::scan::Head;

/// Kafka: `ProducerStateEntry.NUM_BATCHES_TO_RETAIN`.
const BATCHES_KEPT: usize = 5;

/// One batch remembered to recognise its repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) last_sequence: i32,
    pub(crate) last_offset: i64,
    /// Last minus first, of offsets and sequences alike.
    pub(crate) delta: i32,
    pub(crate) timestamp: i64,
}

impl Seen {
    pub(crate) fn first_sequence(&self) -> i32 {
        let first = i64::from(self.last_sequence) - i64::from(self.delta);
        i32::try_from(first.rem_euclid(1 << 31)).unwrap_or(-1)
    }

    pub(crate) fn first_offset(&self) -> i64 {
        self.last_offset - i64::from(self.delta)
    }
}

/// What the log knows of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) epoch: i16,
    pub(crate) coordinator_epoch: i32,
    pub(crate) last_timestamp: i64,
    pub(crate) transaction_first: Option<i64>,
    pub(crate) batches: SmallVec<[Seen; 1]>,
}

impl Default for Producer {
    fn default() -> Self {
        Producer {
            epoch: -1,
            coordinator_epoch: -1,
            last_timestamp: -1,
            transaction_first: None,
            batches: SmallVec::new(),
        }
    }
}

impl Producer {
    pub(crate) fn last_sequence(&self) -> i32 {
        self.batches.last().map_or(-1, |seen| seen.last_sequence)
    }

    fn raise_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.batches.clear();
            self.epoch = epoch;
        }
    }
}

/// A transaction whose marker has just been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Completed {
    pub(crate) producer: i64,
    pub(crate) first_offset: i64,
    /// Of the marker.
    pub(crate) last_offset: i64,
    pub(crate) is_aborted: bool,
}

/// What a control batch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) is_abort: bool,
    pub(crate) coordinator_epoch: i32,
    pub(crate) timestamp: i64,
}

/// A producer that asked to begin a transaction and whose coordinator is being asked about it.
#[derive(Clone, Copy, Debug)]
struct Verification {
    guard: u64,
    epoch: i16,
    lowest_sequence: i32,
    since_ms: i64,
}

/// All producers of one log.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    known: HashMap<i64, Producer>,
    /// First offset → producer.
    open: BTreeMap<i64, i64>,
    /// Of transactions whose markers are not below the watermark: first offset → marker's offset.
    unreplicated: BTreeMap<i64, i64>,
    verifications: HashMap<i64, Verification>,
    next_guard: u64,
    /// Everything below is reflected here.
    pub(crate) end: i64,
    /// The newest snapshot file is of this offset.
    pub(crate) snapshot: i64,
}

impl Producers {
    /// A state that begins with nothing known at `offset`.
    pub(crate) fn starting_at(offset: i64) -> Producers {
        Producers {
            end: offset,
            snapshot: offset,
            ..Producers::default()
        }
    }

    /// What a snapshot of `offset` says; producers silent for too long are left out.
    pub(crate) fn from_snapshot(
        offset: i64,
        entries: Vec<(i64, Producer)>,
        now_ms: i64,
        expiration_ms: i64,
    ) -> Producers {
        let mut producers = Producers::starting_at(offset);
        for (id, producer) in entries {
            if is_expired(&producer, now_ms, expiration_ms) {
                continue;
            }
            if let Some(first) = producer.transaction_first {
                producers.open.insert(first, id);
            }
            producers.known.insert(id, producer);
        }
        producers
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (i64, &Producer)> {
        self.known.iter().map(|(id, producer)| (*id, producer))
    }

    /// Where the first transaction begins that is open or whose marker is not yet replicated.
    pub(crate) fn first_unstable(&self) -> Option<i64> {
        let open = self.open.first_key_value().map(|(first, _)| *first);
        let unreplicated = self.unreplicated.first_key_value().map(|(first, _)| *first);
        match (open, unreplicated) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    pub(crate) fn note_watermark(&mut self, watermark: i64) {
        if !self.unreplicated.is_empty() {
            self.unreplicated.retain(|_, marker| *marker >= watermark);
        }
    }

    /// A batch the producer sent before, if this is one. Kafka: `ProducerStateEntry.findDuplicateBatch`.
    pub(crate) fn find_duplicate(&self, head: &Head) -> Option<Seen> {
        let producer = self.known.get(&head.producer)?;
        if producer.epoch != head.producer_epoch || head.base_sequence < 0 {
            return None;
        }
        producer
            .batches
            .iter()
            .find(|seen| {
                seen.first_sequence() == head.base_sequence
                    && seen.last_sequence == head.last_sequence()
            })
            .copied()
    }

    /// Whether a data batch may be appended by a leader. `sequenced`: it comes from a client.
    pub(crate) fn check_batch(&self, head: &Head, sequenced: bool) -> Result<(), AppendRefusal> {
        let unknown = Producer::default();
        let producer = self.known.get(&head.producer).unwrap_or(&unknown);
        self.check_epoch(producer, head)?;
        if sequenced {
            self.check_sequence(producer, head)?;
        }
        if producer.transaction_first.is_some() && !head.is_transactional() {
            return Err(AppendRefusal::InvalidTxnState {
                producer: ProducerId(head.producer),
            });
        }
        Ok(())
    }

    fn check_epoch(&self, producer: &Producer, head: &Head) -> Result<(), AppendRefusal> {
        if head.producer_epoch < producer.epoch {
            return Err(AppendRefusal::InvalidProducerEpoch {
                producer: ProducerId(head.producer),
                found: ProducerEpoch(head.producer_epoch),
                known: ProducerEpoch(producer.epoch),
            });
        }
        Ok(())
    }

    fn check_sequence(&self, producer: &Producer, head: &Head) -> Result<(), AppendRefusal> {
        let found = head.base_sequence;
        let refuse = |last| {
            let producer = ProducerId(head.producer);
            Err(AppendRefusal::OutOfOrderSequence {
                producer,
                found,
                last,
            })
        };
        // Kafka: of several first batches asked about at once, the lowest must come first.
        if let Some(asked) = self.verifications.get(&head.producer)
            && found > asked.lowest_sequence
        {
            return refuse(asked.lowest_sequence);
        }
        if producer.epoch < 0 {
            // Kafka: of a producer nothing is known of (any more) every sequence is taken.
            return Ok(());
        }
        if producer.epoch != head.producer_epoch {
            return if found == 0 { Ok(()) } else { refuse(-1) };
        }
        let last = producer.last_sequence();
        let follows = i64::from(found) == i64::from(last) + 1 || (found == 0 && last == i32::MAX);
        if follows { Ok(()) } else { refuse(last) }
    }

    /// Whether a marker may be appended by a leader.
    pub(crate) fn check_marker(&self, head: &Head, marker: &Marker) -> Result<(), AppendRefusal> {
        let unknown = Producer::default();
        let producer = self.known.get(&head.producer).unwrap_or(&unknown);
        self.check_epoch(producer, head)?;
        if marker.coordinator_epoch < producer.coordinator_epoch {
            return Err(AppendRefusal::CoordinatorFenced {
                found: marker.coordinator_epoch,
                known: producer.coordinator_epoch,
            });
        }
        Ok(())
    }

    /// Notes a data batch that has been written, or is read back.
    pub(crate) fn note_batch(&mut self, head: &Head) {
        let producer = self.known.entry(head.producer).or_default();
        producer.raise_epoch(head.producer_epoch);
        if producer.batches.len() >= BATCHES_KEPT {
            producer.batches.remove(0);
        }
        producer.batches.push(Seen {
            last_sequence: head.last_sequence(),
            last_offset: head.last_offset,
            delta: i32::try_from(head.last_offset - head.base_offset).unwrap_or(i32::MAX),
            timestamp: head.max_timestamp,
        });
        producer.last_timestamp = head.max_timestamp;
        if head.is_transactional() && producer.transaction_first.is_none() {
            producer.transaction_first = Some(head.base_offset);
            self.open.insert(head.base_offset, head.producer);
        }
        if head.is_transactional() {
            self.verifications.remove(&head.producer);
        }
    }

    /// Notes a marker; gives the transaction it ended, where one was open.
    pub(crate) fn note_marker(&mut self, head: &Head, marker: &Marker) -> Option<Completed> {
        let producer = self.known.entry(head.producer).or_default();
        producer.raise_epoch(head.producer_epoch);
        producer.coordinator_epoch = marker.coordinator_epoch;
        producer.last_timestamp = marker.timestamp;
        let first_offset = producer.transaction_first.take()?;
        Some(Completed {
            producer: head.producer,
            first_offset,
            last_offset: head.base_offset,
            is_aborted: marker.is_abort,
        })
    }

    /// The last stable offset as the aborted-transaction index records it.
    pub(crate) fn stable_after(&self, done: &Completed) -> i64 {
        self.open
            .iter()
            .find(|(_, producer)| **producer != done.producer)
            .map_or(done.last_offset + 1, |(first, _)| *first)
    }

    /// The transaction is over; it stays undecided for readers until its marker is replicated.
    pub(crate) fn complete(&mut self, done: &Completed) {
        self.open.remove(&done.first_offset);
        self.unreplicated
            .insert(done.first_offset, done.last_offset);
    }

    pub(crate) fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.known
            .retain(|_, producer| !is_expired(producer, now_ms, expiration_ms));
        self.verifications
            .retain(|_, asked| now_ms - asked.since_ms < expiration_ms);
    }

    /// Kafka: `maybeStartTransactionVerification`. `None`: the transaction is open already.
    pub(crate) fn start_verification(
        &mut self,
        id: i64,
        epoch: i16,
        sequence: i32,
        now_ms: i64,
    ) -> Option<u64> {
        if self.has_open_transaction(id, epoch) {
            return None;
        }
        let next = self.next_guard + 1;
        let asked = self.verifications.entry(id).or_insert(Verification {
            guard: next,
            epoch,
            lowest_sequence: sequence,
            since_ms: now_ms,
        });
        // Kafka: `VerificationStateEntry.maybeUpdateLowestSequenceAndEpoch`.
        if epoch == asked.epoch && sequence < asked.lowest_sequence {
            asked.lowest_sequence = sequence;
        }
        if epoch > asked.epoch {
            asked.epoch = epoch;
            asked.lowest_sequence = sequence;
        }
        self.next_guard = next;
        Some(asked.guard)
    }

    pub(crate) fn has_open_transaction(&self, id: i64, epoch: i16) -> bool {
        self.known
            .get(&id)
            .is_some_and(|producer| producer.epoch == epoch && producer.transaction_first.is_some())
    }

    /// Whether `guard` was handed out for this producer and is still good.
    pub(crate) fn is_verified(&self, id: i64, guard: Option<u64>) -> bool {
        guard.is_some() && self.verifications.get(&id).map(|asked| asked.guard) == guard
    }
}

fn is_expired(producer: &Producer, now_ms: i64, expiration_ms: i64) -> bool {
    producer.transaction_first.is_none()
        && now_ms.saturating_sub(producer.last_timestamp) >= expiration_ms
}

/// Reads the one record of an (uncompressed) control batch; `None` where it holds none we know.
pub(crate) fn read_marker(batch: &[u8], head: &Head) -> Option<Marker> {
    if head.count != 1 || head.is_compressed() {
        return None;
    }
    let mut rest = batch.get(crate::scan::HEAD_V2..head.size)?;
    let _length = varint(&mut rest)?;
    take(&mut rest, 1)?;
    let delta = varint(&mut rest)?;
    let _offset = varint(&mut rest)?;
    let key_len = usize::try_from(varint(&mut rest)?).ok()?;
    let key = take(&mut rest, key_len)?;
    let value_len = usize::try_from(varint(&mut rest)?).ok()?;
    let value = take(&mut rest, value_len)?;
    let kind = i16::from_be_bytes(key.get(2..4)?.try_into().ok()?);
    let is_abort = match kind {
        0 => true,
        1 => false,
        _ => return None,
    };
    Some(Marker {
        is_abort,
        coordinator_epoch: i32::from_be_bytes(value.get(2..6)?.try_into().ok()?),
        timestamp: head.base_timestamp.wrapping_add(delta),
    })
}

fn take<'b>(rest: &mut &'b [u8], len: usize) -> Option<&'b [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *take(rest, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(producer: i64, epoch: i16, sequence: i32, offset: i64, count: i32) -> Head {
        Head {
            position: 0,
            size: 100,
            magic: 2,
            base_offset: offset,
            last_offset: offset + i64::from(count) - 1,
            leader_epoch: 0,
            attributes: 0,
            max_timestamp: 1_000,
            base_timestamp: 1_000,
            producer,
            producer_epoch: epoch,
            base_sequence: sequence,
            count,
            crc: 0,
        }
    }

    fn transactional(mut head: Head) -> Head {
        head.attributes |= 0x10;
        head
    }

    const ABORT: Marker = Marker {
        is_abort: true,
        coordinator_epoch: 3,
        timestamp: 2_000,
    };

    #[test]
    fn sequences_must_follow_each_other_and_begin_anew_with_an_epoch() {
        let mut producers = Producers::starting_at(0);
        let first = head(1, 0, 5, 0, 3);
        assert_eq!(
            producers.check_batch(&first, true),
            Ok(()),
            "unknown producers begin anywhere"
        );
        producers.note_batch(&first);
        assert_eq!(producers.check_batch(&head(1, 0, 8, 3, 1), true), Ok(()));
        assert!(producers.check_batch(&head(1, 0, 9, 3, 1), true).is_err());
        assert!(producers.check_batch(&head(1, 0, 9, 3, 1), false).is_ok());
        assert!(producers.check_batch(&head(1, 1, 8, 3, 1), true).is_err());
        assert_eq!(producers.check_batch(&head(1, 1, 0, 3, 1), true), Ok(()));
        producers.note_batch(&head(1, 1, 0, 3, 1));
        let old = producers.check_batch(&head(1, 0, 8, 4, 1), true);
        assert!(matches!(
            old,
            Err(AppendRefusal::InvalidProducerEpoch { .. })
        ));
    }

    #[test]
    fn one_of_the_last_five_batches_is_recognised() {
        let mut producers = Producers::starting_at(0);
        for number in 0..6 {
            producers.note_batch(&head(1, 0, number * 2, i64::from(number) * 2, 2));
        }
        assert_eq!(producers.find_duplicate(&head(1, 0, 0, 12, 2)), None);
        let seen = producers.find_duplicate(&head(1, 0, 2, 12, 2)).unwrap();
        assert_eq!((seen.first_offset(), seen.last_offset), (2, 3));
        assert_eq!(producers.find_duplicate(&head(1, 0, 2, 12, 1)), None);
    }

    #[test]
    fn a_transaction_holds_the_stable_offset_until_its_marker_is_replicated() {
        let mut producers = Producers::starting_at(0);
        producers.note_batch(&transactional(head(1, 0, 0, 10, 2)));
        producers.note_batch(&transactional(head(2, 0, 0, 12, 2)));
        assert_eq!(producers.first_unstable(), Some(10));
        let done = producers
            .note_marker(&head(1, 0, -1, 14, 1), &ABORT)
            .unwrap();
        assert_eq!(
            (done.first_offset, done.last_offset, done.is_aborted),
            (10, 14, true)
        );
        assert_eq!(producers.stable_after(&done), 12);
        producers.complete(&done);
        assert_eq!(producers.first_unstable(), Some(10));
        producers.note_watermark(14);
        assert_eq!(producers.first_unstable(), Some(10));
        producers.note_watermark(15);
        assert_eq!(producers.first_unstable(), Some(12));
        assert_eq!(producers.note_marker(&head(1, 0, -1, 15, 1), &ABORT), None);
    }

    #[test]
    fn a_marker_of_an_older_coordinator_is_fenced() {
        let mut producers = Producers::starting_at(0);
        producers.note_marker(&head(1, 0, -1, 0, 1), &ABORT);
        let older = Marker {
            coordinator_epoch: 2,
            ..ABORT
        };
        let refused = producers.check_marker(&head(1, 0, -1, 1, 1), &older);
        assert_eq!(
            refused,
            Err(AppendRefusal::CoordinatorFenced { found: 2, known: 3 })
        );
    }

    #[test]
    fn silent_producers_are_forgotten_unless_a_transaction_is_open() {
        let mut producers = Producers::starting_at(0);
        producers.note_batch(&head(1, 0, 0, 0, 1));
        producers.note_batch(&transactional(head(2, 0, 0, 1, 1)));
        producers.expire(1_000 + 500, 500);
        assert_eq!(producers.iter().map(|(id, _)| id).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_first_transactional_write_needs_its_guard() {
        let mut producers = Producers::starting_at(0);
        let guard = producers.start_verification(1, 0, 5, 0);
        assert!(guard.is_some());
        assert_eq!(producers.start_verification(1, 0, 3, 0), guard);
        assert!(!producers.is_verified(1, None) && producers.is_verified(1, guard));
        let late = transactional(head(1, 0, 5, 0, 1));
        assert!(
            producers.check_batch(&late, true).is_err(),
            "sequence 3 must come first"
        );
        producers.note_batch(&transactional(head(1, 0, 3, 0, 1)));
        assert_eq!(
            producers.start_verification(1, 0, 4, 0),
            None,
            "it is open now"
        );
        assert!(!producers.is_verified(1, guard));
    }
}
