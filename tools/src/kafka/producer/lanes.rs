//! Lanes from the caller's side to the wire's: records fill a batch, a full one is closed and waits
//! with its sequence number; what waited too long expires, and a new identity numbers all anew.

use std::time::Duration;

use bytes::Bytes;
use protocol::batch::{BatchBuilder, BatchView, DECOMPRESSED_BYTES_MAX};

use crate::failure::Failure;
use crate::kafka::offsets::Place;
use crate::kafka::producer::{Batch, Message, Open, Producer, Undelivered};

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
        if size + 61 > self.config.request_bytes_max {
            return Err(Failure::said(format!(
                "The message is {} bytes when serialized which is larger than {}, which is the value of the max.request.size configuration.",
                size + 61,
                self.config.request_bytes_max
            )));
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
            lane.sequence = protocol::batch::next_sequence(sequence, count);
        }
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
        let now = self.admin.clock.monotonic_ms();
        let Some(lane) = self.lanes.get_mut(place) else {
            return;
        };
        lane.again_at_ms = now + self.config.retry_backoff_ms;
        self.stale = true;
        let at = lane
            .ready
            .iter()
            .position(|other| other.since_ms > batch.since_ms || other.sequence > batch.sequence);
        lane.ready.insert(at.unwrap_or(lane.ready.len()), batch);
    }

    pub(super) fn expire(&mut self) {
        let now = self.admin.clock.monotonic_ms();
        let late = |batch: &Batch, limit: i64| now - batch.since_ms > limit;
        let mut gone = Vec::new();
        for (place, lane) in &mut self.lanes {
            while lane
                .ready
                .front()
                .is_some_and(|batch| late(batch, self.config.delivery_timeout_ms))
            {
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
                batch.bytes = rebuilt(&batch.bytes, builder)?;
                batch.sequence = lane.sequence;
                let count = i32::try_from(batch.tags.len()).unwrap_or(i32::MAX);
                lane.sequence = protocol::batch::next_sequence(lane.sequence, count);
            }
        }
        Ok(())
    }
}

fn rebuilt(bytes: &Bytes, mut builder: BatchBuilder) -> Result<Bytes, Failure> {
    let broken = |error: &dyn std::fmt::Display| Failure::said(format!("rebuild batch: {error}"));
    let view = BatchView::open(bytes).map_err(|error| broken(&error))?;
    let view = view.ok_or_else(|| broken(&"it is cut short"))?;
    for record in view
        .records(DECOMPRESSED_BYTES_MAX)
        .map_err(|error| broken(&error))?
    {
        let record = record.map_err(|error| broken(&error))?;
        builder
            .push_record(record.offset, &record)
            .map_err(|error| broken(&error))?;
    }
    builder.build().map_err(|error| broken(&error))
}
