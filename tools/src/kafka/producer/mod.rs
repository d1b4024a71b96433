//! A producer: batches by partition, keys spread by murmur2, keyless records stickily, in order and
//! without duplicates through retries.
//!
//! Words: a *lane* is one partition's queue: one open batch that takes records, closed ones that
//! wait, and how many are on the wire. Every record carries the caller's tag; what became of it is
//! told in [`Producer::delivered`].
//!
//! Invariant: a lane's batches go out in the order of their sequence numbers. After a failed try
//! they go one at a time until one succeeds, so that no later one overtakes the failed.

mod config;
mod transactions;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::mem;
use std::time::Duration;

use bytes::Bytes;
use client::ClientError;
use client::connection::Ticket;
use protocol::batch::{BatchBuilder, BatchView, DECOMPRESSED_BYTES_MAX};
use protocol::ids::{ProducerEpoch, ProducerId};
use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{
    InitProducerIdRequest, MetadataRequest, ProduceRequest, ResponseKind, TransactionalId,
};

use crate::body;
use crate::failure::Failure;
use crate::kafka::admin::{Admin, Keys, text, topic_name};
use crate::kafka::murmur2;
use crate::kafka::offsets::Place;
use crate::kafka::producer::config::Config;
use crate::kafka::producer::transactions::Transaction;
use crate::kafka::stickiness::{Sticky, drawn};
use crate::properties::Properties;

/// How long a broker may take to have worked off what it gives no answer to.
const SEE_THROUGH: Duration = Duration::from_secs(5);

/// Records of one topic and partition that stay together. Headers are key and value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) partition: Option<i32>,
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// What became of the records of one batch: where it lies, or why it does not.
pub(crate) struct Delivered {
    pub(crate) place: Place,
    pub(crate) tags: Vec<u64>,
    pub(crate) outcome: Result<i64, Undelivered>,
}

#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Undelivered {
    #[error("{}: {}", .0.exception_class(), .1.as_deref().or(.0.message()).unwrap_or_default())]
    Refused(ErrorCode, Option<String>),
    #[error("{0}")]
    GivenUp(String),
    #[error(
        "org.apache.kafka.common.errors.TimeoutException: Expiring {records} record(s) for {topic}-{partition}:{after_ms} ms has passed since batch creation"
    )]
    Expired {
        topic: String,
        partition: i32,
        records: usize,
        after_ms: i64,
    },
}

struct Open {
    builder: BatchBuilder,
    tags: Vec<u64>,
    since_ms: i64,
    held: usize,
}

struct Batch {
    bytes: Bytes,
    /// What it counts against the buffer's bound.
    held: usize,
    sequence: i32,
    tags: Vec<u64>,
    since_ms: i64,
    tries: i64,
}

#[derive(Default)]
struct Lane {
    open: Option<Open>,
    ready: VecDeque<Batch>,
    flying: usize,
    sequence: i32,
    again_at_ms: i64,
    careful: bool,
}

struct Topic {
    leaders: Vec<i32>,
    sticky: Sticky,
}

/// Why [`Producer::wait`] came back.
pub(crate) enum Woke {
    Answer(String, Box<Result<(Ticket, ResponseKind), ClientError>>),
    Timer,
}

/// A try on the wire: which batches went in which request.
struct Flight {
    correlation_id: i32,
    since_ms: i64,
    batches: Vec<(Place, Batch)>,
}

pub(crate) struct Producer {
    admin: Admin,
    config: Config,
    topics: HashMap<String, Topic>,
    lanes: BTreeMap<Place, Lane>,
    flights: HashMap<String, VecDeque<Flight>>,
    buffered: usize,
    identity: (ProducerId, ProducerEpoch),
    stale: bool,
    /// When the leaders may be asked for again.
    learn_at_ms: i64,
    renew: bool,
    flushing: bool,
    /// Where requests without an answer went since the last flush.
    unanswered: BTreeSet<String>,
    delivered: Vec<Delivered>,
    transaction: Option<Transaction>,
    figures: Figures,
    began_ms: i64,
}

/// What a producer counted, for those who ask how it went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) seconds: f64,
    pub(crate) records: u64,
    pub(crate) errors: u64,
    pub(crate) retries: u64,
    pub(crate) batches: u64,
    pub(crate) batch_bytes: u64,
    pub(crate) batch_bytes_max: u64,
    pub(crate) requests: u64,
    /// From sending to the answer, of all requests.
    pub(crate) latency_ms: u64,
    pub(crate) latency_ms_max: u64,
    pub(crate) in_flight: usize,
    pub(crate) buffer_whole: usize,
    pub(crate) buffer_free: usize,
}

impl Producer {
    pub(crate) async fn connect(
        servers: &str,
        properties: &Properties,
    ) -> Result<Producer, Failure> {
        let config = Config::read(properties)?;
        let admin = Admin::connect(servers, properties).await?;
        let mut producer = Producer {
            admin,
            config,
            topics: HashMap::new(),
            lanes: BTreeMap::new(),
            flights: HashMap::new(),
            buffered: 0,
            identity: (ProducerId::NONE, ProducerEpoch(-1)),
            stale: false,
            learn_at_ms: 0,
            renew: false,
            flushing: false,
            unanswered: BTreeSet::new(),
            delivered: Vec::new(),
            transaction: None,
            figures: Figures::default(),
            began_ms: 0,
        };
        producer.began_ms = producer.admin.clock.monotonic_ms();
        producer.transaction = producer.config.transactional.clone().map(Transaction::new);
        if producer.config.idempotent {
            producer.identify().await?;
        }
        Ok(producer)
    }

    async fn identify(&mut self) -> Result<(), Failure> {
        let until = self.admin.clock.monotonic_ms() + self.config.max_block_ms;
        loop {
            let request = InitProducerIdRequest::default();
            let answer = match &self.config.transactional {
                None => {
                    let request = request
                        .with_transactional_id(None)
                        .with_transaction_timeout_ms(i32::MAX);
                    self.admin.any(Api::InitProducerId, request.into()).await?
                }
                Some(id) => {
                    let request = request
                        .with_transactional_id(Some(TransactionalId(text(id))))
                        .with_transaction_timeout_ms(self.config.transaction_timeout_ms);
                    let codes = |answer: &ResponseKind| match answer {
                        ResponseKind::InitProducerId(body) => vec![body.error_code],
                        _ => Vec::new(),
                    };
                    self.admin
                        .ask_coordinator_of(
                            Keys::Transactions,
                            &id.clone(),
                            Api::InitProducerId,
                            request.into(),
                            codes,
                        )
                        .await?
                }
            };
            let answer = body!(answer, InitProducerId);
            let error = ErrorCode::of(answer.error_code);
            if error.is_retriable() && self.admin.clock.monotonic_ms() < until {
                self.admin.pause().await;
                continue;
            }
            Failure::check(answer.error_code, None)?;
            self.identity = (
                ProducerId(answer.producer_id.0),
                ProducerEpoch(answer.producer_epoch),
            );
            return Ok(());
        }
    }

    /// What has been settled since the last call.
    pub(crate) fn delivered(&mut self) -> Vec<Delivered> {
        mem::take(&mut self.delivered)
    }

    pub(crate) fn figures(&self) -> Figures {
        let taken_ms = (self.admin.clock.monotonic_ms() - self.began_ms).max(1);
        let whole = self.config.buffer_bytes_max;
        Figures {
            seconds: taken_ms as f64 / 1000.0,
            in_flight: self.flights.values().map(VecDeque::len).sum(),
            buffer_whole: whole,
            buffer_free: whole.saturating_sub(self.buffered),
            ..self.figures.clone()
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.lanes
            .values()
            .all(|lane| lane.open.is_none() && lane.ready.is_empty() && lane.flying == 0)
    }

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

    /// Kafka: a key decides; without one a partition is kept for a while. Whether a batch was closed to
    /// go elsewhere comes with it.
    async fn choose(&mut self, message: &Message, size: usize) -> Result<(i32, bool), Failure> {
        if !self.topics.contains_key(&message.topic) {
            self.learn(&message.topic).await?;
        }
        let topic = self
            .topics
            .get_mut(&message.topic)
            .expect("it was learnt above");
        let count = topic.leaders.len() as i32;
        if let Some(partition) = message.partition {
            return match (0..count).contains(&partition) {
                true => Ok((partition, false)),
                false => Err(Failure::said(format!(
                    "Topic {} not present in metadata after {} ms.",
                    message.topic, self.config.max_block_ms
                ))),
            };
        }
        if let Some(key) = &message.key {
            return Ok((murmur2::partition_of(key, count), false));
        }
        let sticky = topic.sticky;
        let place = (message.topic.clone(), sticky.partition);
        if sticky.is_done(self.has_room(&place, size), self.config.batch_bytes) {
            self.close(&place)?;
            return Ok((self.move_on(&message.topic), true));
        }
        Ok((sticky.partition, false))
    }

    /// Whether a lane's open batch takes so much more.
    fn has_room(&self, place: &Place, size: usize) -> bool {
        let open = self.lanes.get(place).and_then(|lane| lane.open.as_ref());
        open.is_some_and(|open| open.builder.size_max() + size <= self.config.batch_bytes)
    }

    /// Draws the partition that keyless records of a topic go to next.
    fn move_on(&mut self, name: &str) -> i32 {
        let random = self.admin.chance.next_u64();
        let Some(topic) = self.topics.get_mut(name) else {
            return 0;
        };
        let waiting = topic.leaders.iter().enumerate().map(|(at, leader)| {
            let lane = self.lanes.get(&(name.to_owned(), at as i32));
            let queue = lane.map_or(0, |lane| {
                lane.ready.len() + usize::from(lane.open.is_some())
            });
            (*leader >= 0).then_some(queue)
        });
        topic.sticky = Sticky::new(drawn(&waiting.collect::<Vec<_>>(), random));
        topic.sticky.partition
    }

    async fn learn(&mut self, name: &str) -> Result<(), Failure> {
        let until = self.admin.clock.monotonic_ms() + self.config.max_block_ms;
        loop {
            let names = [name.to_string()];
            let answer = self.admin.metadata_creating(Some(&names), true).await?;
            for topic in &answer.topics {
                let error = ErrorCode::of(topic.error_code);
                if error.is_none() && !topic.partitions.is_empty() {
                    let mut leaders = vec![-1; topic.partitions.len()];
                    for partition in &topic.partitions {
                        let at = usize::try_from(partition.partition_index).unwrap_or(usize::MAX);
                        if let Some(leader) = leaders.get_mut(at) {
                            *leader = partition.leader_id.0;
                        }
                    }
                    let before = self.topics.get(name);
                    let count = leaders.len() as u64;
                    let sticky = match before {
                        Some(topic) => topic.sticky,
                        None => Sticky::new(self.admin.chance.below(count) as i32),
                    };
                    self.topics
                        .insert(name.to_string(), Topic { leaders, sticky });
                    return Ok(());
                }
                if !error.is_none() && !error.is_retriable() {
                    return Err(Failure::Refused {
                        code: error,
                        message: Some(format!("Invalid topics: [{name}]"))
                            .filter(|_| error == ErrorCode::InvalidTopicException),
                    });
                }
            }
            if self.admin.clock.monotonic_ms() > until {
                return Err(Failure::said(format!(
                    "Topic {name} not present in metadata after {} ms.",
                    self.config.max_block_ms
                )));
            }
            self.admin.pause().await;
        }
    }

    /// Ends a lane's open batch and gives it its sequence.
    fn close(&mut self, place: &Place) -> Result<(), Failure> {
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

    /// Waits for an answer or for the next thing to fall due. May be dropped while waiting.
    pub(crate) async fn wait(&mut self) -> Woke {
        let now = self.admin.clock.monotonic_ms();
        let due = self.lanes.values().filter_map(|lane| {
            let linger = lane
                .open
                .as_ref()
                .map(|open| open.since_ms + self.config.linger_ms);
            let again = (!lane.ready.is_empty() && lane.flying == 0)
                .then_some(lane.again_at_ms.max(now + 1));
            linger.into_iter().chain(again).min()
        });
        let wait_ms = due
            .min()
            .map_or(1000, |at| (at - now).clamp(0, 1000))
            .unsigned_abs();
        match tokio::time::timeout(
            Duration::from_millis(wait_ms),
            self.admin.pool.receive_any(),
        )
        .await
        {
            Ok((address, answer)) => Woke::Answer(address, Box::new(answer)),
            Err(_) => Woke::Timer,
        }
    }

    /// Takes in what [`Producer::wait`] gave, and sends what may go. Not to be dropped half way.
    pub(crate) async fn step(&mut self, woke: Woke) -> Result<(), Failure> {
        if let Woke::Answer(address, answer) = woke {
            match *answer {
                Ok((ticket, ResponseKind::Produce(answer))) => {
                    self.settle(&address, ticket.correlation_id, &answer);
                }
                Ok(_) => {}
                Err(_) => self.lost(&address),
            }
        }
        self.expire();
        if self.transaction.is_some() {
            // What failed fails the transaction; nothing begins anew inside of one.
            self.renew = false;
        }
        if self.renew && self.lanes.values().all(|lane| lane.flying == 0) {
            self.identify().await?;
            self.renumber()?;
            self.renew = false;
        }
        self.drain().await
    }

    /// Sends everything and waits until it is settled.
    pub(crate) async fn flush(&mut self) -> Result<(), Failure> {
        self.flushing = true;
        self.drain().await?;
        while !self.is_idle() {
            let woke = self.wait().await;
            self.step(woke).await?;
        }
        self.flushing = false;
        self.see_through().await;
        Ok(())
    }

    /// With acks 0 nothing tells that a broker has taken what was written to it. A connection's
    /// requests are worked off in order, so an answer to one more question does.
    async fn see_through(&mut self) {
        for address in std::mem::take(&mut self.unanswered) {
            if let Ok(connection) = self.admin.pool.connection(&address).await {
                let question = MetadataRequest::default().with_topics(Some(Vec::new()));
                // A connection that is lost meanwhile has nothing to tell: acks 0 asked for that.
                let _answer = connection
                    .ask(Api::Metadata, question.into(), SEE_THROUGH)
                    .await;
            }
        }
    }

    async fn drain(&mut self) -> Result<(), Failure> {
        if self.renew {
            return Ok(());
        }
        let now = self.admin.clock.monotonic_ms();
        let due: Vec<Place> = self
            .lanes
            .iter()
            .filter(|(_, lane)| {
                lane.open.as_ref().is_some_and(|open| {
                    self.flushing || now - open.since_ms >= self.config.linger_ms
                })
            })
            .map(|(place, _)| place.clone())
            .collect();
        for place in due {
            self.close(&place)?;
        }
        if self.stale && now >= self.learn_at_ms {
            match self.learn_all().await {
                Ok(()) => self.stale = false,
                // Nobody is there to ask: what waits for a leader waits on, until it expires.
                Err(Failure::Client(cause)) if cause.is_retriable() => {
                    self.learn_at_ms = now + self.config.retry_backoff_ms;
                }
                Err(failure) => return Err(failure),
            }
        }
        self.enlist().await?;
        loop {
            let requests = self.gather(now);
            if requests.is_empty() {
                return Ok(());
            }
            for (leader, batches) in requests {
                self.dispatch(leader, batches).await;
            }
        }
    }

    async fn learn_all(&mut self) -> Result<(), Failure> {
        let mut names: Vec<String> = self.topics.keys().cloned().collect();
        names.sort();
        for name in names {
            self.learn(&name).await?;
        }
        Ok(())
    }

    /// One request's worth of batches for each leader that may be asked now.
    fn gather(&mut self, now: i64) -> BTreeMap<i32, Vec<(Place, Batch)>> {
        let mut requests: BTreeMap<i32, (usize, Vec<(Place, Batch)>)> = BTreeMap::new();
        for (place, lane) in &mut self.lanes {
            let waits = lane.careful && lane.flying > 0 || now < lane.again_at_ms;
            if lane.ready.is_empty() || waits {
                continue;
            }
            let leaders = self.topics.get(&place.0).map(|topic| &topic.leaders);
            let leader = leaders
                .and_then(|all| all.get(place.1 as usize))
                .copied()
                .unwrap_or(-1);
            let Some(node) = self.admin.nodes.get(&leader) else {
                lane.again_at_ms = now + self.config.retry_backoff_ms;
                self.stale = true;
                continue;
            };
            let flying = self.flights.get(&node.address()).map_or(0, VecDeque::len);
            if flying >= self.config.in_flight_max {
                continue;
            }
            let (bytes, batches) = requests.entry(leader).or_default();
            let size = lane.ready.front().map_or(0, |batch| batch.bytes.len());
            let fits = batches.is_empty() || *bytes + size <= self.config.request_bytes_max;
            if fits && let Some(batch) = lane.ready.pop_front() {
                lane.flying += 1;
                *bytes += size;
                batches.push((place.clone(), batch));
            }
        }
        requests
            .into_iter()
            .map(|(leader, (_, batches))| (leader, batches))
            .collect()
    }

    async fn dispatch(&mut self, leader: i32, batches: Vec<(Place, Batch)>) {
        let mut topics: BTreeMap<&str, Vec<PartitionProduceData>> = BTreeMap::new();
        for ((topic, partition), batch) in &batches {
            let partition = PartitionProduceData::default()
                .with_index(*partition)
                .with_records(Some(batch.bytes.clone()));
            topics.entry(topic).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            TopicProduceData::default()
                .with_name(topic_name(name))
                .with_partition_data(partitions)
        });
        let transactional = self.config.transactional.as_deref();
        let request = ProduceRequest::default()
            .with_transactional_id(transactional.map(|id| TransactionalId(text(id))))
            .with_acks(self.config.acks)
            .with_timeout_ms(self.config.request_timeout_ms)
            .with_topic_data(topics.collect());
        let address = self.admin.address(leader).unwrap_or_default();
        let sent = match self.admin.pool.connection(&address).await {
            // Kafka: what did not leave is not a try; it waits until it expires.
            Err(_) => {
                for (place, batch) in batches {
                    self.land(&place);
                    self.wait_on(&place, batch);
                }
                return;
            }
            Ok(connection) => match connection.versions().pick(Api::Produce) {
                Some(version) if self.config.acks == 0 => connection
                    .send_unanswered(Api::Produce, version, request.into())
                    .await
                    .map(|()| None),
                _ => connection
                    .send(Api::Produce, request.into())
                    .await
                    .map(Some),
            },
        };
        self.figures.requests += 1;
        match sent {
            Ok(Some(ticket)) => {
                let flights = self.flights.entry(address).or_default();
                flights.push_back(Flight {
                    correlation_id: ticket.correlation_id,
                    since_ms: self.admin.clock.monotonic_ms(),
                    batches,
                });
            }
            Ok(None) => {
                self.unanswered.insert(address);
                for (place, batch) in batches {
                    self.land(&place);
                    self.tell(place, batch, Ok(-1));
                }
            }
            Err(_) => {
                self.lost(&address);
                for (place, batch) in batches {
                    self.land(&place);
                    self.again(place, batch, ErrorCode::NetworkException, None);
                }
            }
        }
    }

    fn land(&mut self, place: &Place) {
        if let Some(lane) = self.lanes.get_mut(place) {
            lane.flying = lane.flying.saturating_sub(1);
        }
    }

    fn settle(
        &mut self,
        address: &str,
        correlation_id: i32,
        answer: &protocol::messages::ProduceResponse,
    ) {
        let Some(flight) = self.flights.get_mut(address).and_then(VecDeque::pop_front) else {
            return;
        };
        debug_assert_eq!(
            flight.correlation_id, correlation_id,
            "answers come in the order of the requests"
        );
        let latency = self.admin.clock.monotonic_ms() - flight.since_ms;
        self.figures.latency_ms += latency.unsigned_abs();
        let worst = &mut self.figures.latency_ms_max;
        *worst = (*worst).max(latency.unsigned_abs());
        let mut told: HashMap<Place, (i16, i64, Option<String>)> = HashMap::new();
        for topic in &answer.responses {
            for partition in &topic.partition_responses {
                let place = (topic.name.0.to_string(), partition.index);
                let message = partition
                    .error_message
                    .as_ref()
                    .map(|text| text.to_string());
                told.insert(
                    place,
                    (partition.error_code, partition.base_offset, message),
                );
            }
        }
        for (place, batch) in flight.batches {
            self.land(&place);
            let unknown = (ErrorCode::UnknownServerError.code(), -1, None);
            let (code, offset, message) = told.remove(&place).unwrap_or(unknown);
            match ErrorCode::of(code) {
                ErrorCode::None | ErrorCode::DuplicateSequenceNumber => {
                    if let Some(lane) = self.lanes.get_mut(&place) {
                        lane.careful = false;
                    }
                    self.tell(place, batch, Ok(offset));
                }
                error => self.again(place, batch, error, message),
            }
        }
    }

    /// Everything on the wire to an address goes back to its lanes.
    fn lost(&mut self, address: &str) {
        self.admin.pool.close(address);
        for flight in self.flights.remove(address).unwrap_or_default() {
            for (place, batch) in flight.batches {
                self.land(&place);
                self.again(place, batch, ErrorCode::NetworkException, None);
            }
        }
    }

    /// Queues a batch for another try, or gives it up.
    fn again(&mut self, place: Place, mut batch: Batch, error: ErrorCode, message: Option<String>) {
        let Some(lane) = self.lanes.get_mut(&place) else {
            return;
        };
        let overtaken = error == ErrorCode::OutOfOrderSequenceNumber && lane.careful;
        let forgotten = self.config.idempotent
            && matches!(
                error,
                ErrorCode::UnknownProducerId | ErrorCode::InvalidProducerEpoch
            );
        self.renew |= forgotten;
        if (error.is_retriable() || overtaken || forgotten) && batch.tries < self.config.retries {
            batch.tries += 1;
            self.figures.retries += batch.tags.len() as u64;
            lane.careful = true;
            self.wait_on(&place, batch);
            return;
        }
        // The broker will miss this batch's sequence numbers: begin anew under another identity.
        self.renew |= self.config.idempotent;
        self.tell(place, batch, Err(Undelivered::Refused(error, message)));
    }

    /// Puts a batch back where it was in its lane, until the leaders were asked for again.
    fn wait_on(&mut self, place: &Place, batch: Batch) {
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

    /// Ends everything that is not settled: nothing more will be tried.
    pub(crate) fn give_up(&mut self, why: &str) {
        let places: Vec<Place> = self.lanes.keys().cloned().collect();
        for place in places {
            // A batch that cannot be built has nobody to tell but the caller, who has a reason already.
            let _told_already = self.close(&place);
        }
        let mut left: Vec<(Place, Batch)> = Vec::new();
        for flight in self.flights.drain().flat_map(|(_, flights)| flights) {
            left.extend(flight.batches);
        }
        for (place, lane) in &mut self.lanes {
            lane.flying = 0;
            left.extend(lane.ready.drain(..).map(|batch| (place.clone(), batch)));
        }
        left.sort_by_key(|(_, batch)| batch.tags.first().copied());
        for (place, batch) in left {
            self.tell(place, batch, Err(Undelivered::GivenUp(why.to_owned())));
        }
    }

    fn expire(&mut self) {
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
    fn renumber(&mut self) -> Result<(), Failure> {
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

    fn tell(&mut self, place: Place, batch: Batch, outcome: Result<i64, Undelivered>) {
        self.buffered = self.buffered.saturating_sub(batch.held);
        if let (Some(transaction), Err(why)) = (&mut self.transaction, &outcome) {
            transaction.fail(why.to_string());
        }
        let figures = &mut self.figures;
        match &outcome {
            Ok(_) => figures.records += batch.tags.len() as u64,
            Err(_) => figures.errors += batch.tags.len() as u64,
        }
        let size = batch.bytes.len() as u64;
        figures.batches += 1;
        figures.batch_bytes += size;
        figures.batch_bytes_max = figures.batch_bytes_max.max(size);
        self.delivered.push(Delivered {
            place,
            tags: batch.tags,
            outcome,
        });
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
