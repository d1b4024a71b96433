//! Fetch: records out, to consumers and followers; versions 0 to 17.
//!
//! A session says what to read, a round of `replication::read` plans it, and the answer carries
//! ranges of files that leave by `sendfile`. A round that is not worth answering is parked. What
//! would sleep is answered later from a thread of the directory: cold ranges, slow directories,
//! conversion for clients of 0.9 and 0.10. A directory that does not answer in time is left out.
//! Kafka: `KafkaApis.handleFetchRequest`, `ReplicaManager.fetchMessages`.
//!
//! Hot path: a few small vectors a request, none a record; one write for all that is ready.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use protocol::batch::Codec;
use protocol::ids::{BrokerId, LeaderEpoch, Offset, TopicId};
use protocol::kafka::apis::Api;
use protocol::kafka::codec::{self, CodecError};
use protocol::kafka::data::{
    Aborted, DivergingEpoch, FetchAnswer, FetchPartitionAnswer, FetchRequest, FetchTopicAnswer,
    NodeEndpoint, decode_fetch, encode_fetch_answer,
};
use protocol::kafka::errors::ErrorCode;
use protocol::kafka::reply::{Part as ReplyPart, Reply};
use protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use protocol::messages::{FetchResponse, ResponseKind, TopicName};
use replication::cold;
use replication::error::Refusal;
use replication::lanes::{Gathered, Lane, by_lane};
use replication::partition::{Found, Reader};
use replication::read::{FetchRules, Round, Wanted, read_here, read_rest, wait_round};
use replication::replicas::Replicas;
use replication::sessions::{
    self, Context as SessionContext, PartitionAsk, SessionAsk, SessionRefusal, Sessions, Told,
    TopicKey,
};
use replication::traffic::Passed;
use smallvec::SmallVec;
use storage::log::{Range, ReadPlan};
use storage::offsets::Offsets;
use tracing::debug;

use crate::api::answer::{Answer, Later, Outcome, Part};
use crate::api::data::convert;
use crate::api::data::leader::{current_leader, find};
use crate::api::data::nearby::nearest;
use crate::api::errors;
use crate::api::request::Context;
use crate::api::toll::Toll;
use crate::measures::requests::Timing;
use crate::measures::{Requests, Waits};
use crate::metadata::{Image, Metadata};
use crate::quota::Kind;

/// Since this version there are sessions, and an answer as a whole has a code.
const SESSIONS_SINCE: i16 = 7;
/// Since this version topics are asked for by id.
const TOPIC_IDS_SINCE: i16 = 13;
/// Since this version a consumer may read from a follower.
const READS_FOLLOWERS_SINCE: i16 = 11;
/// Since this version an answer names the leader that should have been asked.
const TELLS_LEADER_SINCE: i16 = 16;
/// Since this version the client knows zstd.
const KNOWS_ZSTD_SINCE: i16 = 10;
/// Since this version the first batch is given even where it is too large.
const MIN_ONE_SINCE: i16 = 3;
/// Up to this version clients do not know of failing disks.
const NO_STORAGE_ERROR_UNTIL: i16 = 5;
/// How long a fetch waits for a disk at least, even one that is to be answered at once.
const PATIENCE_MS: i64 = 100;
/// How long for records to be rewritten: one who gave up sooner would begin anew each time.
const REWRITING_PATIENCE_MS: i64 = 10_000;
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

/// What is known of one ask before any log is read.
enum Look {
    Wanted,
    /// Not read here: the consumer is sent to this broker.
    Elsewhere(BrokerId, Offsets),
    /// Read and refused: told like any other partition.
    Failed(Refusal),
    /// Of a negative size: an error once there is something to read.
    Negative,
    /// Not read at all: told after all others.
    Erroneous(ErrorCode),
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

/// One partition's share of an answer.
struct Share {
    ask: usize,
    answer: FetchPartitionAnswer,
    plan: Option<ReadPlan>,
    /// Rewritten for an old client, in place of the plan.
    converted: Option<Bytes>,
}

/// A plan that takes a disk's time, or much of a processor's.
struct SlowShare {
    /// Its place among the shares.
    share: usize,
    plan: ReadPlan,
    /// How much of it is rewritten.
    bytes_max: usize,
    from: Offset,
}

/// What became of one.
enum Ready {
    Warm(ReadPlan),
    Rewritten(Bytes),
}

impl SlowShare {
    /// Blocks.
    fn make_ready(self, magic: Option<u8>) -> Result<Ready, ErrorCode> {
        match magic {
            Some(magic) => {
                convert::convert(&self.plan, self.bytes_max, magic, self.from).map(Ready::Rewritten)
            }
            None => {
                cold::warm(&self.plan);
                Ok(Ready::Warm(self.plan))
            }
        }
    }
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

fn read_asks(version: i16, image: &Image, request: &mut FetchRequest) -> Vec<PartitionAsk> {
    let mut asks = Vec::with_capacity(request.topics.iter().map(|t| t.partitions.len()).sum());
    for topic in std::mem::take(&mut request.topics) {
        let (key, name) = if version >= TOPIC_IDS_SINCE {
            let name = image.names_by_id.get(&topic.topic_id).cloned();
            (TopicKey::Id(topic.topic_id), name)
        } else {
            let known = image
                .topics
                .get_key_value(&*topic.name)
                .map(|(name, _)| Arc::clone(name));
            let name = known.unwrap_or_else(|| Arc::from(&*topic.name));
            (TopicKey::Name(Arc::clone(&name)), Some(name))
        };
        asks.extend(topic.partitions.iter().map(|partition| PartitionAsk {
            topic: key.clone(),
            name: name.clone(),
            partition: partition.index,
            fetch_offset: Offset(partition.fetch_offset),
            bytes_max: partition.max_bytes,
            current_leader_epoch: epoch(partition.current_leader_epoch),
            last_fetched_epoch: epoch(partition.last_fetched_epoch),
            log_start: Offset(partition.log_start_offset),
        }));
    }
    asks
}

fn epoch(wire: i32) -> Option<LeaderEpoch> {
    (wire >= 0).then_some(LeaderEpoch(wire))
}

fn read_forgotten(version: i16, request: &FetchRequest) -> Vec<(TopicKey, i32)> {
    let mut forgotten = Vec::new();
    for topic in &request.forgotten_topics {
        let key = match version >= TOPIC_IDS_SINCE {
            true => TopicKey::Id(topic.topic_id),
            false => TopicKey::Name(Arc::from(&*topic.name)),
        };
        forgotten.extend(topic.partitions.iter().map(|index| (key.clone(), *index)));
    }
    forgotten
}

/// Finds the partitions of a fetch, in order.
fn look(
    context: &Context,
    services: &FetchServices,
    image: &Image,
    session: &SessionContext,
    request: &FetchRequest,
) -> (Vec<Look>, Vec<Wanted>) {
    let mut wanted = Vec::with_capacity(session.asks.len());
    let mut looks = Vec::with_capacity(session.asks.len());
    let mut is_first = true;
    for (index, ask) in session.asks.iter().enumerate() {
        let Some(name) = &ask.name else {
            looks.push(Look::Erroneous(ErrorCode::UnknownTopicId));
            continue;
        };
        let found = find(&services.replicas, image, name, ask.partition);
        if let Err(Refusal::UnknownPartition) = found {
            looks.push(Look::Erroneous(ErrorCode::UnknownTopicOrPartition));
            continue;
        }
        // Kafka: of less than nothing in all, nothing is left after the first.
        let is_negative = ask.bytes_max < 0 || (request.max_bytes < 0 && is_first);
        is_first = false;
        let partition = match found {
            Ok(partition) => partition,
            Err(refusal) => {
                looks.push(Look::Failed(refusal));
                continue;
            }
        };
        if let TopicKey::Id(id) = &ask.topic
            && !partition.topic_id().is_zero()
            && partition.topic_id() != *id
        {
            looks.push(Look::Failed(Refusal::InconsistentTopicId));
            continue;
        }
        let (rack, epoch) = (&*request.rack_id, ask.current_leader_epoch);
        let lanes = &services.replicas.shared().lanes;
        if services.sends_to_racks
            && request.replica.replica_id < 0
            // While its disk hangs nobody is sent elsewhere: the log's end cannot be told.
            && let Some(_permit) = lanes.try_permit(&partition.lane())
            && let Some(id) = nearest(&partition, image, &context.listener, rack, ask.fetch_offset)
        {
            looks.push(match partition.offsets_for(epoch) {
                Ok(offsets) => Look::Elsewhere(id, offsets),
                Err(refusal) => Look::Failed(refusal),
            });
            continue;
        }
        let reader = match request.replica.replica_id {
            id @ 0.. => Reader::Follower {
                id: BrokerId(id),
                log_start: ask.log_start,
            },
            _ => Reader::Consumer {
                committed_only: request.isolation_level == 1,
                leader_only: context.version < READS_FOLLOWERS_SINCE,
            },
        };
        wanted.push(Wanted {
            index,
            partition,
            from: ask.fetch_offset,
            bytes_max: (!is_negative).then(|| usize::try_from(ask.bytes_max).unwrap_or(0)),
            current_leader_epoch: ask.current_leader_epoch,
            last_fetched_epoch: ask.last_fetched_epoch,
            reader,
        });
        looks.push(match is_negative {
            true => Look::Negative,
            false => Look::Wanted,
        });
    }
    (looks, wanted)
}

/// Whether records follow where somebody wants to read.
fn has_more(one: &Wanted, found: &Found) -> bool {
    let end = match one.reader {
        Reader::Consumer {
            committed_only: true,
            ..
        } => found.offsets.stable,
        Reader::Consumer { .. } => found.offsets.watermark,
        Reader::Follower { .. } | Reader::Local => found.offsets.end,
    };
    found.diverging.is_none() && one.from < end
}

/// Whether a session may fail on it: few requests are so odd.
fn may_fail(context: &Context, request: &FetchRequest) -> bool {
    let is_zero = |id: TopicId| context.version >= TOPIC_IDS_SINCE && id.is_zero();
    let (asked, forgotten) = (&request.topics, &request.forgotten_topics);
    !sessions::ID_RANGE.contains(&request.session_id)
        || asked.iter().any(|topic| is_zero(topic.topic_id))
        || forgotten.iter().any(|topic| is_zero(topic.topic_id))
}

/// Kafka: what nobody thought of fails the request as a whole and, where topics have names, each
/// partition; such partitions have null where records would be.
fn fail(context: &Context, request: &FetchRequest) -> Answer {
    let code = ErrorCode::UnknownServerError.code();
    let version = context.version;
    let mut response = FetchResponse::default();
    if version >= SESSIONS_SINCE {
        response.error_code = code;
        response.session_id = request.session_id;
    }
    if version < TOPIC_IDS_SINCE {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                PartitionData::default()
                    .with_partition_index(asked.index)
                    .with_error_code(code)
                    .with_high_watermark(-1)
                    .with_aborted_transactions(Some(Vec::new()))
                    .with_records(None)
            });
            FetchableTopicResponse::default()
                .with_topic(TopicName(topic.name.clone()))
                .with_partitions(partitions.collect())
        });
        response.responses = topics.collect();
    }
    let response = ResponseKind::Fetch(response);
    match codec::encode_response(Api::Fetch, version, context.correlation_id, &response) {
        Ok(bytes) => Answer::bytes(bytes),
        Err(error) => {
            debug!(%error, "fetch answer cannot be written");
            Answer::closing()
        }
    }
}

fn refuse(context: &Context, refusal: SessionRefusal, session_id: i32) -> Answer {
    let answer = FetchAnswer {
        error_code: errors::session_code(refusal).code(),
        session_id,
        ..FetchAnswer::default()
    };
    encode(context, &answer, &[], None)
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

    /// What each partition says, those that could not be read at all last.
    fn shares(&self, round: Round) -> Vec<Share> {
        let mut found = round.found.into_iter();
        let mut shares = Vec::with_capacity(self.looks.len());
        for (ask, look) in self.looks.iter().enumerate() {
            let Some(asked) = self.session.asks.get(ask) else {
                continue;
            };
            match look {
                Look::Wanted => match found.next() {
                    Some(Ok(found)) => shares.push(self.found(ask, asked, found)),
                    Some(Err(refusal)) => shares.push(self.failed(ask, asked, &refusal)),
                    None => {}
                },
                Look::Negative => match found.next() {
                    // Kafka: a negative size fails in the log, once there is something to read.
                    Some(Ok(found))
                        if self.wanted_of(ask).is_some_and(|it| has_more(it, &found)) =>
                    {
                        let code = ErrorCode::UnknownServerError.code();
                        shares.push(Share {
                            ask,
                            answer: FetchPartitionAnswer::refusal(asked.partition, code),
                            plan: None,
                            converted: None,
                        });
                    }
                    Some(Ok(found)) => shares.push(self.found(ask, asked, found)),
                    Some(Err(refusal)) => shares.push(self.failed(ask, asked, &refusal)),
                    None => {}
                },
                Look::Failed(refusal) => shares.push(self.failed(ask, asked, refusal)),
                Look::Elsewhere(id, offsets) => shares.push(Share {
                    ask,
                    answer: FetchPartitionAnswer {
                        preferred_read_replica: id.0,
                        ..at_offsets(asked.partition, offsets)
                    },
                    plan: None,
                    converted: None,
                }),
                Look::Erroneous(_) => {}
            }
        }
        let told = self.looks.iter().enumerate().filter_map(|(ask, look)| {
            match (look, self.session.asks.get(ask)) {
                (Look::Erroneous(code), Some(asked)) => Some((ask, asked.partition, *code)),
                _ => None,
            }
        });
        // Kafka: ids nobody knows are found before partitions are looked up.
        let (nameless, unknown): (Vec<_>, Vec<_>) =
            told.partition(|(_, _, code)| *code == ErrorCode::UnknownTopicId);
        let last = nameless.into_iter().chain(unknown);
        shares.extend(last.map(|(ask, partition, code)| erroneous(ask, partition, code)));
        shares
    }

    /// What is read for an ask; they are in the order of the asks, and may be thousands.
    fn wanted_of(&self, ask: usize) -> Option<&Wanted> {
        let at = self.wanted.binary_search_by_key(&ask, |one| one.index);
        self.wanted.get(at.ok()?)
    }

    /// Whether a negative size fails.
    fn fails(&self, round: &Round) -> bool {
        let mut found = self.wanted.iter().zip(&round.found);
        found.any(|(one, found)| {
            one.bytes_max.is_none() && found.as_ref().is_ok_and(|found| has_more(one, found))
        })
    }

    fn found(&self, ask: usize, asked: &PartitionAsk, found: Found) -> Share {
        let Found {
            offsets,
            diverging,
            plan,
            ..
        } = found;
        let committed_only = self.wanted_of(ask).is_some_and(|one| {
            matches!(
                one.reader,
                Reader::Consumer {
                    committed_only: true,
                    ..
                }
            )
        });
        let aborted = committed_only.then(|| {
            let aborted = plan.iter().flat_map(|plan| &plan.aborted);
            aborted
                .map(|one| Aborted {
                    producer_id: one.producer.0,
                    first_offset: one.first_offset.0,
                })
                .collect()
        });
        let diverging_epoch = diverging.map(|(epoch, end)| DivergingEpoch {
            epoch: epoch.0,
            end_offset: end.0,
        });
        let answer = FetchPartitionAnswer {
            diverging_epoch,
            aborted,
            ..at_offsets(asked.partition, &offsets)
        };
        let plan = plan.filter(|plan| !plan.is_empty());
        Share {
            ask,
            answer,
            plan,
            converted: None,
        }
    }

    fn failed(&self, ask: usize, asked: &PartitionAsk, refusal: &Refusal) -> Share {
        let mut code = errors::replication_code(refusal);
        // Kafka: old clients would take the newer code for an unknown, fatal one.
        if code == ErrorCode::KafkaStorageError && self.context.version <= NO_STORAGE_ERROR_UNTIL {
            code = ErrorCode::NotLeaderOrFollower;
        }
        let answer = FetchPartitionAnswer::refusal(asked.partition, code.code());
        Share {
            ask,
            answer,
            plan: None,
            converted: None,
        }
    }

    /// Whether the answer cannot be made or sent without sleeping on a disk or burning the
    /// worker's time.
    fn sleeps(&mut self, shares: &[Share]) -> bool {
        let mut plans = shares
            .iter()
            .filter_map(|share| share.plan.as_ref())
            .peekable();
        if plans.peek().is_none() {
            return false;
        }
        if convert::target_magic(self.context.version).is_some() {
            return true;
        }
        let now_ms = self.services.replicas.shared().clock.monotonic_ms();
        let is_cold = plans.any(cold::is_cold);
        self.probed_ms = (!is_cold).then_some(now_ms);
        is_cold
    }

    /// Warms or rewrites on threads of the directories, then answers. Who takes too long gives
    /// nothing this time: what was begun goes on, and the client asks again.
    async fn tell_slowly(&mut self, mut shares: Vec<Share>, max_wait_ms: i64) -> Answer {
        let magic = convert::target_magic(self.context.version);
        let patience_ms = match magic {
            Some(_) => REWRITING_PATIENCE_MS,
            None => max_wait_ms.max(PATIENCE_MS),
        };
        let stay = self.services.replicas.shared().deadlines.park(patience_ms);
        let by_lane = self.take_slow(&mut shares, magic);
        let mut missing: usize = by_lane.iter().map(|(_, slow)| slow.len()).sum();
        let mut asked = Gathered::new(by_lane.len());
        for (lane, slow) in by_lane {
            let job = move || {
                let done = slow
                    .into_iter()
                    .map(|one| (one.share, one.make_ready(magic)));
                done.collect::<Vec<_>>()
            };
            asked.ask(&lane, [job]);
        }
        while let Some(done) = asked.next(&stay).await {
            missing -= done.len();
            for (number, ready) in done {
                let Some(share) = shares.get_mut(number) else {
                    continue;
                };
                match ready {
                    Ok(Ready::Warm(plan)) => share.plan = Some(plan),
                    Ok(Ready::Rewritten(bytes)) => share.converted = Some(bytes),
                    Err(code) => *share = erroneous(share.ask, share.answer.index, code),
                }
            }
        }
        // Whoever is told at once that there is nothing asks again at once.
        let has_news = |share: &Share| share.bytes() > 0 || share.answer.error_code != 0;
        if missing > 0 && !shares.iter().any(has_news) {
            while !stay.parked().is_expired() {
                stay.parked().wait().await;
            }
        }
        self.tell(shares)
    }

    /// The plans that cannot be sent as they are, by the threads that see to them.
    fn take_slow(
        &self,
        shares: &mut [Share],
        magic: Option<u8>,
    ) -> Vec<(Arc<Lane>, Vec<SlowShare>)> {
        let plans: Vec<_> = shares.iter().map(|share| share.plan.as_ref()).collect();
        let rewritten = convert::bound(&plans, self.context.correlation_id);
        let mut taken: Vec<(Arc<Lane>, SlowShare)> = Vec::new();
        for (number, (share, bytes_max)) in shares.iter_mut().zip(rewritten).enumerate() {
            let is_slow = |plan: &mut ReadPlan| magic.is_some() || cold::is_cold(plan);
            let (Some(plan), Some(asked), Some(one)) = (
                share.plan.take_if(is_slow),
                self.session.asks.get(share.ask),
                self.wanted_of(share.ask),
            ) else {
                continue;
            };
            if magic.is_some() && bytes_max == 0 {
                continue;
            }
            let slow = SlowShare {
                share: number,
                plan,
                bytes_max,
                from: asked.fetch_offset,
            };
            taken.push((one.partition.lane(), slow));
        }
        by_lane(taken)
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

    /// Partitions whose records a client of this version cannot be given.
    fn refuse_by_version(&self, shares: &mut [Share]) {
        let version = self.context.version;
        if version >= KNOWS_ZSTD_SINCE {
            return;
        }
        let converts = convert::target_magic(version).is_some();
        for share in shares
            .iter_mut()
            .filter(|share| share.answer.error_code == 0)
        {
            let Some(one) = self.wanted_of(share.ask) else {
                continue;
            };
            let config = one.partition.log().config();
            let code = if config
                .compression
                .is_some_and(|chosen| chosen.codec == Codec::Zstd)
            {
                ErrorCode::UnsupportedCompressionType
            } else if converts && !self.is_follower && !one.partition.rules().down_conversion {
                ErrorCode::UnsupportedVersion
            } else {
                continue;
            };
            *share = erroneous(share.ask, share.answer.index, code);
        }
    }

    fn name_leader(
        &self,
        asked: &PartitionAsk,
        answer: &mut FetchPartitionAnswer,
        endpoints: &mut Vec<NodeEndpoint>,
    ) {
        let tells = [ErrorCode::NotLeaderOrFollower, ErrorCode::FencedLeaderEpoch]
            .map(ErrorCode::code)
            .contains(&answer.error_code);
        if self.context.version >= TELLS_LEADER_SINCE
            && tells
            && let Some(name) = &asked.name
        {
            let at = (&**name, asked.partition);
            let (replicas, listener) = (&self.services.replicas, &self.context.listener);
            let image = self.services.metadata.image();
            answer.current_leader = Some(current_leader(replicas, &image, listener, at, endpoints));
        }
    }
}

impl Share {
    fn said(&self) -> Told {
        Told {
            watermark: Offset(self.answer.high_watermark),
            log_start: Offset(self.answer.log_start_offset),
            has_records: self.plan.is_some() || self.converted.is_some(),
            has_error: self.answer.error_code != 0,
            always: self.answer.diverging_epoch.is_some()
                || self.answer.preferred_read_replica >= 0,
        }
    }

    fn bytes(&self) -> u64 {
        let planned = self.plan.as_ref().map_or(0, ReadPlan::len);
        (planned + self.converted.as_ref().map_or(0, Bytes::len)) as u64
    }

    /// Leaves holes in the answer for the plan's ranges.
    fn place_records(&mut self, lane: &Arc<Lane>, ranges: &mut Vec<(Range, Arc<Lane>)>) {
        if let Some(bytes) = self.converted.take() {
            self.answer.records.push(ReplyPart::Bytes(bytes));
        }
        for range in self.plan.take().into_iter().flat_map(|plan| plan.ranges) {
            self.answer.records.push(ReplyPart::Hole {
                id: ranges.len(),
                len: range.len,
            });
            ranges.push((range, Arc::clone(lane)));
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

/// A partition without records, at its offsets.
fn at_offsets(partition: i32, offsets: &Offsets) -> FetchPartitionAnswer {
    FetchPartitionAnswer {
        high_watermark: offsets.watermark.0,
        last_stable_offset: offsets.stable.0,
        log_start_offset: offsets.start.0,
        ..FetchPartitionAnswer::refusal(partition, 0)
    }
}

/// A partition that was not read. Kafka tells an empty list of aborted transactions here, and
/// none at all where a read failed.
fn erroneous(ask: usize, partition: i32, code: ErrorCode) -> Share {
    let answer = FetchPartitionAnswer {
        aborted: Some(Vec::new()),
        ..FetchPartitionAnswer::refusal(partition, code.code())
    };
    Share {
        ask,
        answer,
        plan: None,
        converted: None,
    }
}

fn encode(
    context: &Context,
    answer: &FetchAnswer,
    ranges: &[(Range, Arc<Lane>)],
    probed_ms: Option<i64>,
) -> Answer {
    match encode_fetch_answer(context.version, context.correlation_id, answer) {
        Ok(reply) => Answer {
            parts: fill(reply, ranges, probed_ms),
            ..Answer::default()
        },
        Err(error) => {
            debug!(%error, "fetch answer cannot be written");
            Answer::closing()
        }
    }
}

fn fill(
    reply: Reply,
    ranges: &[(Range, Arc<Lane>)],
    probed_ms: Option<i64>,
) -> SmallVec<[Part; 2]> {
    let parts = reply.parts.into_iter().filter_map(|part| match part {
        ReplyPart::Bytes(bytes) => Some(Part::Bytes(bytes)),
        ReplyPart::Hole { id, len } => ranges.get(id).map(|(range, lane)| Part::File {
            file: Arc::clone(&range.file),
            position: range.position,
            len: len as u64,
            lane: Arc::clone(lane),
            probed_ms,
        }),
    });
    parts.collect()
}
