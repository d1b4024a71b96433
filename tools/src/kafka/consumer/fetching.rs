//! What goes to leaders and what comes back: fetches, their batches, and the records of transactions
//! that were aborted left out.
//!
//! A leader owes one answer at a time. Fetches are sessionless and by name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use client::ClientError;
use protocol::batch::{DECOMPRESSED_BYTES_MAX, Marker, split};
use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::fetch_response::PartitionData;
use protocol::messages::{BrokerId, FetchRequest, FetchResponse};

use crate::failure::Failure;
use crate::kafka::admin::topic_name;
use crate::kafka::consumer::{AGAIN_MS, Consumer, Taken};
use crate::kafka::offsets::Place;

/// A fetch on its way: of which leader, since when, and from which offsets.
pub(super) struct Asked {
    leader: i32,
    pub(super) since_ms: i64,
    offsets: HashMap<Place, i64>,
}

impl Asked {
    pub(super) fn has(&self, place: &Place) -> bool {
        self.offsets.contains_key(place)
    }
}

impl Consumer {
    /// Sends a fetch to every leader that owes none.
    pub(super) async fn fetch(&mut self) -> Result<(), Failure> {
        let now = self.admin.clock.monotonic_ms();
        let busy: HashSet<i32> = self.asked.values().map(|asked| asked.leader).collect();
        let mut wanted: BTreeMap<i32, BTreeMap<String, Vec<FetchPartition>>> = BTreeMap::new();
        for (place, position) in &self.positions {
            let ready = position.seek.is_none() && !position.flying && now >= position.again_at_ms;
            let known = self.admin.nodes.contains_key(&position.leader);
            if !ready || !known || busy.contains(&position.leader) {
                continue;
            }
            let partition = FetchPartition::default()
                .with_partition(place.1)
                .with_fetch_offset(position.next)
                .with_partition_max_bytes(self.partition_bytes);
            let topics = wanted.entry(position.leader).or_default();
            topics.entry(place.0.clone()).or_default().push(partition);
        }
        for (leader, topics) in wanted {
            let address = self.admin.address(leader)?;
            let mut asked = Asked {
                leader,
                since_ms: now,
                offsets: HashMap::new(),
            };
            for (name, partitions) in &topics {
                for one in partitions {
                    let place = (name.clone(), one.partition);
                    asked.offsets.insert(place, one.fetch_offset);
                }
            }
            match self.send(&address, topics).await {
                Ok(()) => {
                    for place in asked.offsets.keys() {
                        if let Some(position) = self.positions.get_mut(place) {
                            position.flying = true;
                        }
                    }
                    asked.since_ms = self.admin.clock.monotonic_ms();
                    self.asked.insert(address, asked);
                }
                Err(cause) => self.lost(&address, cause)?,
            }
        }
        Ok(())
    }

    async fn send(
        &mut self,
        address: &str,
        topics: BTreeMap<String, Vec<FetchPartition>>,
    ) -> Result<(), ClientError> {
        let topics = topics.into_iter().map(|(name, partitions)| {
            FetchTopic::default()
                .with_topic(topic_name(&name))
                .with_partitions(partitions)
        });
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(self.max_wait_ms)
            .with_min_bytes(self.min_bytes)
            .with_max_bytes(self.max_bytes)
            .with_isolation_level(i8::from(self.read_committed))
            .with_session_id(0)
            .with_session_epoch(-1)
            .with_topics(topics.collect());
        let connection = self.fetchers.connection(address).await?;
        // By name: version 13 and later name topics by id only.
        match connection.versions().pick_within(Api::Fetch, 4, 12) {
            Some(version) => {
                connection
                    .send_as(Api::Fetch, version, request.into())
                    .await
            }
            None => connection.send(Api::Fetch, request.into()).await,
        }
        .map(|_| ())
    }

    pub(super) fn answered(&mut self, address: &str, answer: FetchResponse) -> Result<(), Failure> {
        self.admin.heard(address);
        let Some(asked) = self.asked.remove(address) else {
            return Ok(());
        };
        for place in asked.offsets.keys() {
            if let Some(position) = self.positions.get_mut(place) {
                position.flying = false;
            }
        }
        let latency = (self.admin.clock.monotonic_ms() - asked.since_ms).unsigned_abs();
        let before = self.fetched_bytes;
        let taken = self.take(&asked, answer);
        let figures = &mut self.figures;
        figures.fetches += 1;
        figures.latency_ms += latency;
        figures.latency_ms_max = figures.latency_ms_max.max(latency);
        let bytes = self.fetched_bytes - before;
        figures.fetch_bytes_max = figures.fetch_bytes_max.max(bytes);
        taken
    }

    fn take(&mut self, asked: &Asked, answer: FetchResponse) -> Result<(), Failure> {
        let now = self.admin.clock.monotonic_ms();
        for topic in answer.responses {
            for partition in topic.partitions {
                let place = (topic.topic.0.to_string(), partition.partition_index);
                let Some(position) = self.positions.get_mut(&place) else {
                    continue;
                };
                // What was asked before the partition was given away and came back is of no use.
                if position.seek.is_some() || asked.offsets.get(&place) != Some(&position.next) {
                    continue;
                }
                match ErrorCode::of(partition.error_code) {
                    ErrorCode::None => self.unpack(&place, partition)?,
                    ErrorCode::OffsetOutOfRange => {
                        if self.reset_to.is_none() {
                            return Err(Failure::said(format!(
                                "Fetch position of {}-{} is out of range, and no reset policy is configured",
                                place.0, place.1
                            )));
                        }
                        position.seek = self.reset_to;
                    }
                    error if is_passing(error) => {
                        position.again_at_ms = now + AGAIN_MS;
                        self.look_at_ms = self.look_at_ms.min(now);
                    }
                    error => {
                        return Err(Failure::Refused {
                            code: error,
                            message: None,
                        });
                    }
                }
            }
        }
        Ok(())
    }

    fn unpack(&mut self, place: &Place, partition: PartitionData) -> Result<(), Failure> {
        let Some(bytes) = partition.records else {
            return Ok(());
        };
        let Some(position) = self.positions.get_mut(place) else {
            return Ok(());
        };
        self.fetched_bytes += bytes.len() as u64;
        let mut aborts: Vec<(i64, i64)> = partition
            .aborted_transactions
            .iter()
            .flatten()
            .map(|one| (one.first_offset, one.producer_id.0))
            .collect();
        aborts.sort_unstable_by(|one, other| other.cmp(one));
        let mut aborted: HashSet<i64> = HashSet::new();
        let broken = |error: &dyn std::fmt::Display| {
            Failure::said(format!(
                "Record batch for partition {}-{} is invalid, cause: {error}",
                place.0, place.1
            ))
        };
        let topic: Arc<str> = place.0.as_str().into();
        for batch in split(&bytes) {
            let batch = batch.map_err(|error| broken(&error))?;
            let header = *batch.header();
            while aborts
                .last()
                .is_some_and(|(first, _)| *first <= header.last_offset().0)
            {
                if let Some((_, producer)) = aborts.pop() {
                    aborted.insert(producer);
                }
            }
            let mut skip = header.is_control();
            if self.read_committed && header.is_transactional() {
                skip |= aborted.contains(&header.producer_id.0);
            }
            batch.check_crc().map_err(|error| broken(&error))?;
            for record in batch
                .records(DECOMPRESSED_BYTES_MAX)
                .map_err(|error| broken(&error))?
            {
                let record = record.map_err(|error| broken(&error))?;
                if header.is_control() {
                    let key = record.key.as_deref().unwrap_or_default();
                    if Marker::from_key(key) == Some(Marker::Abort) {
                        aborted.remove(&header.producer_id.0);
                    }
                    continue;
                }
                if skip || record.offset.0 < position.next {
                    continue;
                }
                self.taken.push_back(Taken {
                    epoch: header.leader_epoch.0,
                    topic: topic.clone(),
                    partition: place.1,
                    offset: record.offset.0,
                    timestamp_ms: record.timestamp_ms,
                    timestamp_type: header.timestamp_type(),
                    key: record.key,
                    value: record.value,
                    headers: record.headers,
                });
            }
            if header.next_offset().0 > position.next {
                position.next = header.next_offset().0;
                position.epoch = header.leader_epoch.0;
            }
        }
        Ok(())
    }
}

/// Kafka: an unknown error of a leader's is borne too.
fn is_passing(error: ErrorCode) -> bool {
    error.is_retriable()
        || matches!(
            error,
            ErrorCode::FencedLeaderEpoch | ErrorCode::UnknownServerError
        )
}
