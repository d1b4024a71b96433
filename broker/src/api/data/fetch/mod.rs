//! Fetch: records out, to consumers and followers; versions 0 to 17.
//!
//! A session says what to read (`ask`), a round of `replication::read` plans it, and the answer
//! (`share`) carries ranges of files that leave by `sendfile`, or the records themselves where
//! they are few bytes. A round that is not worth answering is parked. What would sleep is answered
//! later from a thread of the directory (`slow`): cold ranges, slow directories, conversion for
//! clients of 0.9 and 0.10. A directory that does not answer in time is left out.
//! Kafka: `KafkaApis.handleFetchRequest`, `ReplicaManager.fetchMessages`.
//!
//! Hot path: a few small vectors a request, none a record; one write for all that is ready.

mod ask;
mod share;
mod slow;

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use protocol::ids::TopicId;
use protocol::kafka::apis::Api;
use protocol::kafka::codec::CodecError;
use protocol::kafka::data::{FetchAnswer, FetchTopicAnswer, decode_fetch};
use replication::lanes::Lane;
use replication::read::{FetchRules, Round, Wanted, read_here, read_rest, wait_round};
use replication::replicas::Replicas;
use replication::sessions::{
    Context as SessionContext, SessionAsk, SessionRefusal, Sessions, Told, TopicKey,
};
use replication::traffic::Passed;
use storage::log::Range;

use crate::api::answer::{Answer, Later, Outcome};
use crate::api::data::fetch::ask::{
    Look, fail, has_more, look, may_fail, read_asks, read_forgotten, refuse,
};
use crate::api::data::fetch::share::{Share, encode};
use crate::api::errors;
use crate::api::request::Context;
use crate::api::toll::Toll;
use crate::measures::requests::Timing;
use crate::measures::{Requests, Waits};
use crate::metadata::Metadata;
use crate::quota::Kind;

/// Since this version topics are asked for by id.
const TOPIC_IDS_SINCE: i16 = 13;
/// Since this version the first batch is given even where it is too large.
const MIN_ONE_SINCE: i16 = 3;
/// How long a fetch waits for a disk at least, even one that is to be answered at once.
const PATIENCE_MS: i64 = 100;
/// What an answer takes besides its partitions, and a partition besides its records.
const ANSWER_BYTES: usize = 24;
const PARTITION_BYTES: usize = 42;

/// What all fetches share.
#[derive(Debug)]
pub(crate) struct FetchServices {
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) requests: Arc<Requests>,
    /// `fetch.max.bytes`.
    pub(crate) bytes_max: usize,
    /// `replica.selector.class`: consumers are sent to a replica in their own rack.
    pub(crate) sends_to_racks: bool,
}

/// One fetch on its way to an answer.
struct Fetching {
    context: Context,
    services: Arc<FetchServices>,
    session: SessionContext,
    looks: Vec<Look>,
    wanted: Vec<Wanted>,
    rules: FetchRules,
    is_follower: bool,
    toll: Toll,
    /// The monotonic millisecond at which what is told was seen to be in the page cache.
    probed_ms: Option<i64>,
}

/// Answers now, or later where the fetch must wait.
pub(crate) fn answer(
    context: Context,
    services: &Arc<FetchServices>,
    body: &Bytes,
    timing: &mut Timing,
    toll: Toll,
) -> Result<Outcome, CodecError> {
    let mut request = decode_fetch(context.version, body)?;
    let is_isolation = (0..=1).contains(&request.isolation_level);
    // What is asked is used up before it is known whether it fails.
    let is_odd = !is_isolation || may_fail(&context, &request);
    let failure = is_odd.then(|| fail(&context, &request));
    let image = services.metadata.image();
    let is_follower = request.replica.replica_id >= 0;
    if is_follower {
        timing.of_follower();
    }
    let asks = read_asks(context.version, &image, &mut request);
    let forgotten = read_forgotten(context.version, &request);
    let ask = SessionAsk {
        id: request.session_id,
        epoch: request.session_epoch,
        uses_topic_ids: context.version >= TOPIC_IDS_SINCE,
        is_follower,
    };
    let name_of = |id: TopicId| image.names_by_id.get(&id).cloned();
    let session = match services.sessions.begin(ask, asks, &forgotten, name_of) {
        Ok(session) => session,
        Err(SessionRefusal::Impossible) if let Some(failure) = failure => {
            return Ok(Outcome::Now(failure));
        }
        Err(refusal) => return Ok(Outcome::Now(refuse(&context, refusal, 0))),
    };
    let bytes_max = usize::try_from(request.max_bytes)
        .unwrap_or(0)
        .min(services.bytes_max);
    // Kafka: more would be throttled for certain, and the client never get on.
    let bytes_max = match toll.fetch_bytes_max() {
        Some(most) if !is_follower => bytes_max.min(most),
        _ => bytes_max,
    };
    let rules = FetchRules {
        bytes_max,
        bytes_min: usize::try_from(request.min_bytes)
            .unwrap_or(0)
            .min(bytes_max),
        min_one: context.version >= MIN_ONE_SINCE,
    };
    let (looks, wanted) = look(&context, services, &image, &session, &request);
    // Kafka: an isolation is looked at where there is something to read.
    let is_nothing = |look: &Look| matches!(look, Look::Erroneous(_));
    if let Some(failure) = failure
        && !is_isolation
        && !looks.iter().all(is_nothing)
    {
        return Ok(Outcome::Now(failure));
    }
    let fetching = Fetching {
        context,
        services: Arc::clone(services),
        session,
        looks,
        wanted,
        rules,
        is_follower,
        toll,
        probed_ms: None,
    };
    Ok(fetching.run(i64::from(request.max_wait_ms)))
}

impl Fetching {
    fn run(mut self, max_wait_ms: i64) -> Outcome {
        let (round, wakes) = read_here(&self.wanted, self.rules, true);
        wakes.fire();
        if !round.is_whole() || !self.may_answer(&round, max_wait_ms) {
            return later(async move { self.wait(round, max_wait_ms).await });
        }
        let shares = self.shares(round);
        if self.sleeps(&shares) {
            return later(async move { self.tell_slowly(shares, max_wait_ms).await });
        }
        Outcome::Now(self.tell(shares))
    }

    fn may_answer(&self, round: &Round, max_wait_ms: i64) -> bool {
        let told_at_once = |look: &Look| matches!(look, Look::Failed(_) | Look::Elsewhere(..));
        max_wait_ms <= 0
            || self.wanted.is_empty()
            || round.is_ready
            || self.looks.iter().any(told_at_once)
            || self.fails(round)
    }

    async fn wait(&mut self, mut round: Round, max_wait_ms: i64) -> Answer {
        if !round.is_whole() || !self.may_answer(&round, max_wait_ms) {
            let _parked = self.services.requests.park(Waits::Fetch);
            let wait_ms = match round.is_whole() {
                true => max_wait_ms,
                false => max_wait_ms.max(PATIENCE_MS),
            };
            let stay = self.services.replicas.shared().deadlines.park(wait_ms);
            self.toll.pause();
            round = read_rest(&self.wanted, self.rules, true, round, &stay).await;
            if !self.may_answer(&round, max_wait_ms) {
                round = wait_round(&self.wanted, self.rules, round, &stay).await;
            }
            self.toll.resume();
        }
        let shares = self.shares(round);
        if self.sleeps(&shares) {
            // Boxed: thousands wait, and few of them for a disk in the end.
            Box::pin(self.tell_slowly(shares, max_wait_ms)).await
        } else {
            self.tell(shares)
        }
    }

    /// Whether a negative size fails.
    fn fails(&self, round: &Round) -> bool {
        let mut found = self.wanted.iter().zip(&round.found);
        found.any(|(one, found)| {
            one.bytes_max.is_none() && found.as_ref().is_ok_and(|found| has_more(one, found))
        })
    }

    fn tell(&mut self, mut shares: Vec<Share>) -> Answer {
        self.refuse_by_version(&mut shares);
        // Kafka: replication is never throttled by the quotas of clients.
        if !self.is_follower
            && let Some(delay_ms) = self.throttle(&shares)
        {
            return self.tell_nothing(delay_ms);
        }
        let said = shares.iter().map(|share| (share.ask, share.said()));
        let mut told: Vec<(usize, Told)> = said.collect();
        let session_id = match self.services.sessions.finish(&self.session, &mut told) {
            Ok(id) => id,
            Err((refusal, id)) => return refuse(&self.context, refusal, id),
        };
        if told.len() < shares.len() {
            // Both are in the same order, so one pass keeps what is told.
            let mut keep = told.iter().map(|(ask, _)| *ask).peekable();
            shares.retain(|share| keep.next_if_eq(&share.ask).is_some());
        }
        self.count(&shares);
        let mut node_endpoints = Vec::new();
        let mut ranges: Vec<(Range, Arc<Lane>)> = Vec::new();
        let mut topics: Vec<FetchTopicAnswer> = Vec::new();
        let mut last: Option<&TopicKey> = None;
        for mut share in shares {
            let Some(asked) = self.session.asks.get(share.ask) else {
                continue;
            };
            self.name_leader(asked, &mut share.answer, &mut node_endpoints);
            if let Some(one) = self.wanted_of(share.ask) {
                share.place_records(&one.partition.lane(), &mut ranges);
            }
            if last != Some(&asked.topic) {
                last = Some(&asked.topic);
                topics.push(FetchTopicAnswer {
                    name: asked.name.clone().unwrap_or_default(),
                    topic_id: match &asked.topic {
                        TopicKey::Id(id) => *id,
                        TopicKey::Name(_) => TopicId::ZERO,
                    },
                    partitions: Vec::new(),
                });
            }
            if let Some(topic) = topics.last_mut() {
                topic.partitions.push(share.answer);
            }
        }
        let answer = FetchAnswer {
            throttle_time_ms: 0,
            error_code: 0,
            session_id,
            topics,
            node_endpoints,
        };
        encode(&self.context, &answer, &ranges, self.probed_ms)
    }

    /// Charges the answer; the delay, if it earned one. What is charged is the records and what the
    /// other fields take, to within the length of a topic's name.
    fn throttle(&mut self, shares: &[Share]) -> Option<i64> {
        let records: u64 = shares.iter().map(Share::bytes).sum();
        let fields = ANSWER_BYTES + PARTITION_BYTES * shares.len();
        let bytes = usize::try_from(records).unwrap_or(usize::MAX) + fields;
        let time_ms = self.toll.time();
        let delay_ms = self.toll.bytes(Kind::FetchedBytes, bytes).max(time_ms);
        if delay_ms == 0 {
            return None;
        }
        self.toll.give_back(Kind::FetchedBytes, bytes);
        Some(delay_ms)
    }

    /// A throttled client gets nothing but the delay, and asks again after it.
    fn tell_nothing(&self, delay_ms: i64) -> Answer {
        let (error_code, session_id) = match self.services.sessions.finish_throttled(&self.session)
        {
            Ok(id) => (0, id),
            Err((refusal, id)) => (errors::session_code(refusal).code(), id),
        };
        let answer = FetchAnswer {
            throttle_time_ms: i32::try_from(delay_ms).unwrap_or(i32::MAX),
            error_code,
            session_id,
            ..FetchAnswer::default()
        };
        Answer {
            mute_ms: delay_ms,
            ..encode(&self.context, &answer, &[], None)
        }
    }

    /// What leaves here, for the measurements. Shares and asks are in the same order.
    fn count(&self, shares: &[Share]) {
        let codes = self.services.requests.api(Api::Fetch);
        let mut wanted = self.wanted.iter().peekable();
        for share in shares {
            codes.note_code(share.answer.error_code);
            let bytes = share.bytes();
            if bytes == 0 {
                continue;
            }
            while wanted.next_if(|one| one.index < share.ask).is_some() {}
            let Some(one) = wanted.peek().filter(|one| one.index == share.ask) else {
                continue;
            };
            if self.is_follower {
                one.partition.shared().traffic.replicated_out.add(bytes);
            } else {
                one.partition.traffic().add(Passed::BytesOut, bytes);
            }
        }
    }
}

/// Not answered yet; the next request of the connection waits for it.
fn later(answering: impl Future<Output = Answer> + Send + 'static) -> Outcome {
    Outcome::Later {
        answer: Later::new(answering),
        overlaps: false,
    }
}
