//! Lanes from the caller's side to the wire's: records fill a batch, a full one is closed and waits
//! with its sequence number; what waited too long expires, and a new identity numbers all anew.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use protocol::batch::{BatchBuilder, BatchView, DECOMPRESSED_BYTES_MAX};
use protocol::ids::Offset;

use crate::failure::Failure;
use crate::kafka::offsets::Place;
use crate::kafka::producer::{Batch, Delivered, Message, Open, Producer, Undelivered};

/// The bytes of a record in a batch of its own, as Java reckons them before it sends: the batch's header,
/// the longest a record's own fields may be, and what varies.
fn size_as_java(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[(&[u8], Option<&[u8]>)],
) -> usize {
    const BATCH: usize = 61;
    const RECORD: usize = 21;
    let counted = |len: usize| {
        let bits = (usize::BITS - (len << 1).leading_zeros()) as usize;
        bits.div_ceil(7).max(1)
    };
    let sized = |bytes: Option<&[u8]>| bytes.map_or(1, |bytes| counted(bytes.len()) + bytes.len());
    let headers_size: usize = headers
        .iter()
        .map(|(key, value)| sized(Some(key)) + sized(*value))
        .sum();
    BATCH + RECORD + sized(key) + sized(value) + counted(headers.len()) + headers_size
}

impl Producer {
    /// Takes a record; waits only for its topic's first metadata and for room.
    pub(crate) async fn send(&mut self, message: &Message, tag: u64) -> Result<(), Failure> {
        while self.buffered > self.config.buffer_bytes_max {
            let woke = self.wait().await;
            self.step(woke).await?;
        }
        let headers: Vec<(&[u8], Option<&[u8]>)> = message
            .headers
            .iter()
            .map(|(key, value)| (key.as_slice(), value.as_deref()))
            .collect();
        let (key, value) = (message.key.as_deref(), message.value.as_deref());
        let size = BatchBuilder::record_size_max(key, value, &headers);
        if let Some(why) = self.too_large(size_as_java(key, value, &headers)) {
            self.refuse(message, tag, why);
            return Ok(());
        }
        let (partition, moved) = self.choose(message, size).await?;
        let place = (message.topic.clone(), partition);
        let now = self.admin.clock.monotonic_ms();
        let full = self
            .lanes
            .get(&place)
            .is_some_and(|lane| lane.open.is_some())
            && !self.has_room(&place, size);
        if full {
            self.close(&place)?;
        }
        let lane = self.lanes.entry(place).or_default();
        let fresh = lane.open.is_none();
        let open = lane.open.get_or_insert_with(|| Open {
            builder: BatchBuilder::new(self.config.codec),
            tags: Vec::new(),
            since_ms: now,
            held: 0,
        });
        let timestamp = message
            .timestamp_ms
            .unwrap_or_else(|| self.admin.clock.wall_ms());
        open.builder
            .push(timestamp, key, value, &headers)
            .map_err(|error| Failure::said(error.to_string()))?;
        open.tags.push(tag);
        open.held += size;
        self.buffered += size;
        if message.key.is_none() && message.partition.is_none() {
            let batch_bytes = self.config.batch_bytes;
            let topic = self.topics.get_mut(&message.topic);
            if topic.is_some_and(|topic| topic.sticky.count(size, fresh, batch_bytes)) {
                self.move_on(&message.topic);
            }
        }
        if full || moved {
            self.drain().await?;
            if let Ok(woke) = tokio::time::timeout(Duration::ZERO, self.wait()).await {
                self.step(woke).await?;
            }
        }
        Ok(())
    }

    fn too_large(&self, size: usize) -> Option<Undelivered> {
        let config = &self.config;
        if size > config.request_bytes_max {
            let limit = config.request_bytes_max;
            return Some(Undelivered::LargerThanRequest { size, limit });
        }
        (size > config.buffer_bytes_max).then_some(Undelivered::LargerThanBuffer { size })
    }

    /// Kafka: a record that cannot be sent at all is told like one that was not taken.
    fn refuse(&mut self, message: &Message, tag: u64, why: Undelivered) {
        if let Some(transaction) = &mut self.transaction {
            transaction.fail(why.to_string());
        }
        self.figures.errors += 1;
        self.delivered.push(Delivered {
            place: (message.topic.clone(), message.partition.unwrap_or(-1)),
            tags: vec![tag],
            outcome: Err(why),
        });
    }

    /// Whether a lane's open batch takes so much more.
    pub(super) fn has_room(&self, place: &Place, size: usize) -> bool {
        let open = self.lanes.get(place).and_then(|lane| lane.open.as_ref());
        open.is_some_and(|open| open.builder.size_max() + size <= self.config.batch_bytes)
    }

    /// Ends a lane's open batch and gives it its sequence.
    pub(super) fn close(&mut self, place: &Place) -> Result<(), Failure> {
        let Some(lane) = self.lanes.get_mut(place) else {
            return Ok(());
        };
        let Some(open) = lane.open.take() else {
            return Ok(());
        };
        let count = i32::try_from(open.tags.len()).unwrap_or(i32::MAX);
        let sequence = lane.sequence;
        let mut builder = open.builder;
        if self.config.idempotent {
            builder = builder
                .producer(self.identity.0, self.identity.1, sequence)
                .transactional(self.transaction.is_some());
        }
        // Also where the broker is not told: batches find their places in the lane by it.
        lane.sequence = protocol::batch::next_sequence(sequence, count);
        let bytes = builder
            .build()
            .map_err(|error| Failure::said(error.to_string()))?;
        lane.ready.push_back(Batch {
            bytes,
            held: open.held,
            sequence,
            tags: open.tags,
            since_ms: open.since_ms,
            tries: 0,
        });
        Ok(())
    }

    /// Puts a batch back where it was in its lane, until the leaders were asked for again.
    pub(super) fn wait_on(&mut self, place: &Place, batch: Batch) {
        self.stale = true;
        self.put_back(place, [batch]);
    }

    /// Puts batches that belong together, in their order, back to where they were in their lane.
    fn put_back<const N: usize>(&mut self, place: &Place, batches: [Batch; N]) {
        let now = self.admin.clock.monotonic_ms();
        let Some(lane) = self.lanes.get_mut(place) else {
            return;
        };
        lane.again_at_ms = now + self.config.retry_backoff_ms;
        let Some((since_ms, sequence)) = batches.first().map(|one| (one.since_ms, one.sequence))
        else {
            return;
        };
        let later = |other: &Batch| other.since_ms > since_ms || other.sequence > sequence;
        let at = lane.ready.iter().position(later);
        let at = at.unwrap_or(lane.ready.len());
        for batch in batches.into_iter().rev() {
            lane.ready.insert(at, batch);
        }
    }

    /// Gives up what has waited for `delivery.timeout.ms`, whether it was ready to go or not.
    pub(super) fn expire(&mut self) -> Result<(), Failure> {
        let now = self.admin.clock.monotonic_ms();
        let limit_ms = self.config.delivery_timeout_ms;
        let old = |open: &Open| now - open.since_ms > limit_ms;
        let open: Vec<Place> = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.open.as_ref().is_some_and(old))
            .map(|(place, _)| place.clone())
            .collect();
        for place in open {
            self.close(&place)?;
        }
        let late = |batch: &Batch| now - batch.since_ms > limit_ms;
        let mut gone = Vec::new();
        for (place, lane) in &mut self.lanes {
            while lane.ready.front().is_some_and(late) {
                if let Some(batch) = lane.ready.pop_front() {
                    gone.push((place.clone(), batch));
                }
            }
        }
        for (place, batch) in gone {
            self.renew |= self.config.idempotent;
            let outcome = Undelivered::Expired {
                topic: place.0.clone(),
                partition: place.1,
                records: batch.tags.len(),
                after_ms: now - batch.since_ms,
            };
            self.tell(place, batch, Err(outcome));
        }
        Ok(())
    }

    /// Puts the halves of a batch in its place: together its records are more than the broker takes.
    /// They keep their sequence numbers, for none of them was taken.
    pub(super) fn halve(&mut self, place: &Place, mut batch: Batch) -> Result<(), Failure> {
        let first = batch.tags.len() / 2;
        let skipped = i32::try_from(first).unwrap_or(i32::MAX);
        let sequence = protocol::batch::next_sequence(batch.sequence, skipped);
        let builder = |sequence| match self.config.idempotent {
            true => BatchBuilder::new(self.config.codec)
                .producer(self.identity.0, self.identity.1, sequence)
                .transactional(self.transaction.is_some()),
            false => BatchBuilder::new(self.config.codec),
        };
        let count = batch.tags.len();
        let front = rebuilt(&batch.bytes, 0..first, builder(batch.sequence))?;
        let back = rebuilt(&batch.bytes, first..count, builder(sequence))?;
        let held = batch.held / 2;
        let rest = Batch {
            bytes: back,
            held: batch.held - held,
            sequence,
            tags: batch.tags.split_off(first),
            since_ms: batch.since_ms,
            tries: 0,
        };
        batch = Batch {
            bytes: front,
            held,
            tries: 0,
            ..batch
        };
        self.put_back(place, [batch, rest]);
        Ok(())
    }

    /// Gives what waits the new identity and sequence numbers from zero.
    pub(super) fn renumber(&mut self) -> Result<(), Failure> {
        for lane in self.lanes.values_mut() {
            lane.sequence = 0;
            for batch in &mut lane.ready {
                let builder = BatchBuilder::new(self.config.codec).producer(
                    self.identity.0,
                    self.identity.1,
                    lane.sequence,
                );
                batch.bytes = rebuilt(&batch.bytes, 0..batch.tags.len(), builder)?;
                batch.sequence = lane.sequence;
                let count = i32::try_from(batch.tags.len()).unwrap_or(i32::MAX);
                lane.sequence = protocol::batch::next_sequence(lane.sequence, count);
            }
        }
        Ok(())
    }
}

/// Some of a batch's records as a batch of their own.
fn rebuilt(
    bytes: &Bytes,
    which: Range<usize>,
    mut builder: BatchBuilder,
) -> Result<Bytes, Failure> {
    let broken = |error: &dyn std::fmt::Display| Failure::said(format!("rebuild batch: {error}"));
    let view = BatchView::open(bytes).map_err(|error| broken(&error))?;
    let view = view.ok_or_else(|| broken(&"it is cut short"))?;
    let records = view
        .records(DECOMPRESSED_BYTES_MAX)
        .map_err(|error| broken(&error))?;
    let skipped = i64::try_from(which.start).unwrap_or(i64::MAX);
    for record in records.skip(which.start).take(which.len()) {
        let record = record.map_err(|error| broken(&error))?;
        builder
            .push_record(Offset(record.offset.0 - skipped), &record)
            .map_err(|error| broken(&error))?;
    }
    builder.build().map_err(|error| broken(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_as_long_as_java_reckons() {
        assert_eq!(size_as_java(None, Some(&[0; 1_100_000]), &[]), 1_100_088);
        assert_eq!(size_as_java(Some(b"k"), None, &[(b"h", Some(b"v"))]), 90);
    }
}
