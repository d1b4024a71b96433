//! A producer: batches by partition, keys spread by murmur2, keyless records stickily, in order and
//! without duplicates through retries.
//!
//! Words: a *lane* is one partition's queue: one open batch that takes records, closed ones that
//! wait, and how many are on the wire. Every record carries the caller's tag; what became of it is
//! told in [`Producer::delivered`].
//!
//! Invariant: a lane's batches go out in the order of their sequence numbers. After a failed try
//! they go one at a time until one succeeds, so that no later one overtakes the failed.
//!
//! `topics` chooses a record's partition, `lanes` takes it in, `requests` carries batches to leaders
//! and back, `transactions` brackets them. This page holds what they share, and waits.

mod config;
mod lanes;
mod requests;
mod topics;
mod transactions;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::mem;
use std::time::Duration;

use bytes::Bytes;
use client::ClientError;
use client::connection::Ticket;
use protocol::batch::BatchBuilder;
use protocol::ids::{ProducerEpoch, ProducerId};
use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::{InitProducerIdRequest, MetadataRequest, ResponseKind, TransactionalId};

use crate::body;
use crate::failure::Failure;
use crate::kafka::admin::{Admin, Keys, text};
use crate::kafka::offsets::Place;
use crate::kafka::producer::config::Config;
use crate::kafka::producer::transactions::Transaction;
use crate::kafka::stickiness::Sticky;
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
        "org.apache.kafka.common.errors.RecordTooLargeException: The message is {size} bytes when serialized which is larger than {limit}, which is the value of the max.request.size configuration."
    )]
    LargerThanRequest { size: usize, limit: usize },
    #[error(
        "org.apache.kafka.common.errors.RecordTooLargeException: The message is {size} bytes when serialized which is larger than the total memory buffer you have configured with the buffer.memory configuration."
    )]
    LargerThanBuffer { size: usize },
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
    /// When the leaders are asked for again though nobody missed one: there may be new partitions.
    aged_at_ms: i64,
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
            aged_at_ms: i64::MAX,
            renew: false,
            flushing: false,
            unanswered: BTreeSet::new(),
            delivered: Vec::new(),
            transaction: None,
            figures: Figures::default(),
            began_ms: 0,
        };
        producer.began_ms = producer.admin.clock.monotonic_ms();
        let age_ms = producer.config.metadata_age_ms;
        producer.aged_at_ms = producer.began_ms.saturating_add(age_ms);
        producer.transaction = producer.config.transactional.clone().map(Transaction::new);
        if producer.config.idempotent {
            producer.identify().await?;
        }
        Ok(producer)
    }

    /// Gets an identity; a refusal that passes is borne for `max.block.ms`.
    async fn identify(&mut self) -> Result<(), Failure> {
        let until = self.admin.clock.monotonic_ms() + self.config.max_block_ms;
        loop {
            match self.ask_identity().await {
                Err(Failure::Refused { code, .. })
                    if code.is_retriable() && self.admin.clock.monotonic_ms() < until =>
                {
                    self.admin.pause().await;
                }
                done => return done,
            }
        }
    }

    async fn ask_identity(&mut self) -> Result<(), Failure> {
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
        Failure::check(answer.error_code, None)?;
        self.identity = (
            ProducerId(answer.producer_id.0),
            ProducerEpoch(answer.producer_epoch),
        );
        Ok(())
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

    /// Waits for an answer or for the next thing to fall due. May be dropped while waiting.
    pub(crate) async fn wait(&mut self) -> Woke {
        let now = self.admin.clock.monotonic_ms();
        let due = self.lanes.values().filter_map(|lane| {
            let linger = lane
                .open
                .as_ref()
                .map(|open| open.since_ms + self.config.linger_ms);
            // Nothing goes out before there is another identity.
            let again_at_ms = match self.renew {
                true => self.learn_at_ms,
                false => lane.again_at_ms,
            };
            let again =
                (!lane.ready.is_empty() && lane.flying == 0).then_some(again_at_ms.max(now + 1));
            linger.into_iter().chain(again).min()
        });
        let patience_ms = i64::from(self.config.request_timeout_ms);
        let overdue = self.flights.values().filter_map(VecDeque::front);
        let due = due.chain(overdue.map(|flight| flight.since_ms + patience_ms + 1));
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
                    self.settle(&address, ticket.correlation_id, &answer)?;
                }
                Ok(_) => {}
                Err(cause) => self.lost(&address, cause),
            }
        }
        self.overdue();
        self.expire()?;
        if self.transaction.is_some() {
            // What failed fails the transaction; nothing begins anew inside of one.
            self.renew = false;
        }
        self.begin_anew().await?;
        self.drain().await
    }

    /// Takes another identity once nothing is on the wire under the old one. While nobody is there to
    /// give one, what waits waits on, until it expires.
    async fn begin_anew(&mut self) -> Result<(), Failure> {
        let now = self.admin.clock.monotonic_ms();
        let flying = self.lanes.values().any(|lane| lane.flying > 0);
        if !self.renew || flying || now < self.learn_at_ms {
            return Ok(());
        }
        match self.ask_identity().await {
            Ok(()) => {
                self.renumber()?;
                self.renew = false;
            }
            Err(failure) if failure.is_passing() => {
                self.admin.tell(&failure);
                self.learn_at_ms = now + self.config.retry_backoff_ms;
            }
            Err(failure) => return Err(failure),
        }
        Ok(())
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
        if (self.stale || now >= self.aged_at_ms) && now >= self.learn_at_ms {
            self.learn_all().await?;
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
