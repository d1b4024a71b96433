//! A consumer: partitions by hand or by group, fetched from their leaders, aborted transactions
//! left out where asked.
//!
//! Fetches are sessionless and by name. In a group it speaks the classic protocol eagerly, as the
//! mix of range and cooperative-sticky makes Apache's consumer do: before a rebalance everything
//! is committed and let go.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::batch::{DECOMPRESSED_BYTES_MAX, Marker, RecordHeaders, TimestampType, split};
use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::fetch_response::PartitionData;
use protocol::messages::join_group_request::JoinGroupRequestProtocol;
use protocol::messages::leave_group_request::MemberIdentity;
use protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use protocol::messages::{
    BrokerId, FetchRequest, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, OffsetCommitRequest, ResponseKind, SyncGroupRequest,
};

use crate::body;
use crate::failure::Failure;
use crate::filter::{Filter, is_internal};
use crate::kafka::admin::{Admin, text, topic_name};
use crate::kafka::assignors::{self, Subscription};
use crate::kafka::offsets::{self, Committed, EARLIEST, LATEST, Place};
use crate::properties::Properties;

/// A record as it was read.
pub(crate) struct Taken {
    /// The leader's epoch when it was written.
    pub(crate) epoch: i32,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: i64,
    pub(crate) timestamp_type: TimestampType,
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: RecordHeaders,
}

/// What to read.
pub(crate) enum Wanted {
    Topics(Vec<String>),
    Pattern(Filter),
    /// One partition from an offset, or from EARLIEST or LATEST.
    Partition(Place, i64),
}

struct Position {
    next: i64,
    /// The epoch of what was read last, or of what it began with; -1 where nobody said.
    epoch: i32,
    leader: i32,
    flying: bool,
    again_at_ms: i64,
}

/// Partitions that a generation gave or took.
pub(crate) enum Change {
    Assigned(Vec<Place>),
    Revoked(Vec<Place>),
}

struct Group {
    id: String,
    instance: Option<String>,
    member: String,
    generation: i32,
    joined: bool,
    beat_at_ms: i64,
    commit_at_ms: i64,
    auto_commit: bool,
    session_timeout_ms: i32,
    rebalance_timeout_ms: i32,
    assignors: Vec<&'static str>,
}

/// Kafka: `metadata.max.age.ms`; new partitions and topics are seen this often, and sooner while
/// there is nothing to read yet.
const LOOK_AGAIN_MS: i64 = 30_000;
const LOOK_AGAIN_EMPTY_MS: i64 = 500;
const AUTO_COMMIT_MS: i64 = 5_000;
const HEARTBEAT_MS: i64 = 3_000;
const AGAIN_MS: i64 = 100;

pub(crate) struct Consumer {
    admin: Admin,
    wanted: Wanted,
    group: Option<Group>,
    positions: BTreeMap<Place, Position>,
    taken: VecDeque<Taken>,
    reset_to: Option<i64>,
    read_committed: bool,
    max_wait_ms: i32,
    min_bytes: i32,
    max_bytes: i32,
    partition_bytes: i32,
    look_at_ms: i64,
    /// How often partitions were given out; the perf test counts rebalances.
    pub(crate) rebalances: u64,
    pub(crate) fetched_bytes: u64,
    /// How long it had no partitions, for the group was giving them out.
    pub(crate) joining_ms: i64,
    round_since_ms: i64,
    changes: Vec<Change>,
    figures: Figures,
    /// When each broker was sent the fetch it owes an answer to.
    asked_ms: BTreeMap<String, i64>,
}

/// What a consumer counted, for those who ask how it went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) partitions: usize,
    pub(crate) fetches: u64,
    pub(crate) fetch_bytes_max: u64,
    /// From sending to the answer, of all fetches.
    pub(crate) latency_ms: u64,
    pub(crate) latency_ms_max: u64,
    pub(crate) joins: u64,
    pub(crate) heartbeats: u64,
    pub(crate) commits: u64,
}

impl Consumer {
    pub(crate) async fn connect(
        servers: &str,
        properties: &Properties,
        wanted: Wanted,
    ) -> Result<Consumer, Failure> {
        let reset_to = match properties.get("auto.offset.reset").unwrap_or("latest") {
            "earliest" => Some(EARLIEST),
            "latest" => Some(LATEST),
            "none" => None,
            other => {
                return Err(Failure::said(format!(
                    "Invalid value {other} for configuration auto.offset.reset: String must be one of: latest, earliest, none"
                )));
            }
        };
        let number = |key, default| -> Result<i32, Failure> {
            Ok(i32::try_from(properties.number(key, default)?).unwrap_or(i32::MAX))
        };
        let group = match properties.get("group.id") {
            Some(id) if !matches!(wanted, Wanted::Partition(..)) => Some(Group {
                id: id.to_string(),
                instance: properties.get("group.instance.id").map(str::to_string),
                member: String::new(),
                generation: -1,
                joined: false,
                beat_at_ms: 0,
                commit_at_ms: 0,
                auto_commit: properties.is_true("enable.auto.commit", true),
                session_timeout_ms: number("session.timeout.ms", 45_000)?,
                rebalance_timeout_ms: number("max.poll.interval.ms", 300_000)?,
                assignors: assignors::named(properties.get("partition.assignment.strategy"))?,
            }),
            _ => None,
        };
        Ok(Consumer {
            admin: Admin::connect(servers, properties).await?,
            wanted,
            group,
            positions: BTreeMap::new(),
            taken: VecDeque::new(),
            reset_to,
            read_committed: properties.get("isolation.level") == Some("read_committed"),
            max_wait_ms: number("fetch.max.wait.ms", 500)?,
            min_bytes: number("fetch.min.bytes", 1)?,
            max_bytes: number("fetch.max.bytes", 52_428_800)?,
            partition_bytes: number("max.partition.fetch.bytes", 1_048_576)?,
            look_at_ms: i64::MIN,
            rebalances: 0,
            fetched_bytes: 0,
            joining_ms: 0,
            round_since_ms: base::clock::Clock::system().monotonic_ms(),
            changes: Vec::new(),
            figures: Figures::default(),
            asked_ms: BTreeMap::new(),
        })
    }

    pub(crate) fn figures(&self) -> Figures {
        Figures {
            partitions: self.positions.len(),
            ..self.figures.clone()
        }
    }

    /// What the group gave and took since the last call.
    pub(crate) fn changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// The next record, waiting at most so long. May be dropped while waiting.
    pub(crate) async fn next(&mut self, wait_ms: i64) -> Result<Option<Taken>, Failure> {
        let until = self.admin.clock.monotonic_ms().saturating_add(wait_ms);
        loop {
            if let Some(taken) = self.taken.pop_front() {
                return Ok(Some(taken));
            }
            let left = until.saturating_sub(self.admin.clock.monotonic_ms());
            if left <= 0 {
                return Ok(None);
            }
            self.turn(left).await?;
        }
    }

    /// One round: group duties, partitions, fetches out, one answer in.
    async fn turn(&mut self, left_ms: i64) -> Result<(), Failure> {
        let now = self.admin.clock.monotonic_ms();
        if self.group.is_some() {
            self.group_duties(now).await?;
        }
        if now >= self.look_at_ms {
            self.look().await?;
        }
        self.fetch().await?;
        let duty = self
            .group
            .as_ref()
            .map_or(i64::MAX, |group| group.beat_at_ms - now);
        let wait_ms = left_ms
            .min(duty.max(1))
            .min(self.look_at_ms - now)
            .clamp(1, AGAIN_MS * 5);
        let wait = Duration::from_millis(wait_ms.unsigned_abs());
        let Ok((address, answer)) = tokio::time::timeout(wait, self.admin.pool.receive_any()).await
        else {
            return Ok(());
        };
        match answer {
            Ok((_, ResponseKind::Fetch(answer))) => self.answered(&address, answer),
            Ok(_) => Ok(()),
            Err(_) => {
                self.lost(&address);
                Ok(())
            }
        }
    }

    fn lost(&mut self, address: &str) {
        self.admin.pool.close(address);
        let now = self.admin.clock.monotonic_ms();
        for position in self.positions.values_mut() {
            let there = self
                .admin
                .nodes
                .get(&position.leader)
                .map(|node| node.address());
            if there.as_deref() == Some(address) || there.is_none() {
                position.flying = false;
                position.again_at_ms = now + AGAIN_MS;
            }
        }
        self.look_at_ms = now + AGAIN_MS;
    }

    /// Topics and their partitions, with leaders, that the consumer wants now.
    async fn wanted_partitions(&mut self) -> Result<BTreeMap<Place, i32>, Failure> {
        let answer = match &self.wanted {
            Wanted::Topics(names) => {
                let names = names.clone();
                self.admin.metadata_creating(Some(&names), true).await?
            }
            Wanted::Partition((topic, _), _) => {
                let names = [topic.clone()];
                self.admin.metadata_creating(Some(&names), true).await?
            }
            Wanted::Pattern(_) => self.admin.metadata(None).await?,
        };
        let mut made = BTreeMap::new();
        for topic in answer.topics {
            let error = ErrorCode::of(topic.error_code);
            if !error.is_none() && !error.is_retriable() {
                return Err(Failure::Refused {
                    code: error,
                    message: None,
                });
            }
            let Some(name) = topic.name.map(|name| name.0.to_string()) else {
                continue;
            };
            for partition in topic.partitions {
                let place = (name.clone(), partition.partition_index);
                let wanted = match &self.wanted {
                    Wanted::Topics(_) => true,
                    Wanted::Partition(one, _) => *one == place,
                    Wanted::Pattern(filter) => filter.allows(&name) && !is_internal(&name),
                };
                if wanted {
                    made.insert(place, partition.leader_id.0);
                }
            }
        }
        Ok(made)
    }

    /// Looks at the cluster again: leaders of what is read, and, without a group, new partitions.
    async fn look(&mut self) -> Result<(), Failure> {
        let there = self.wanted_partitions().await?;
        for (place, position) in &mut self.positions {
            position.leader = there.get(place).copied().unwrap_or(-1);
        }
        if self.group.is_none() {
            let first = self.positions.is_empty() && self.look_at_ms == i64::MIN;
            let fresh: Vec<Place> = there
                .keys()
                .filter(|place| !self.positions.contains_key(*place))
                .cloned()
                .collect();
            // A partition that appears later is read from its beginning: nothing of it was seen.
            let from = match (&self.wanted, first) {
                (Wanted::Partition(_, from), _) => *from,
                (_, true) => self.reset_to.unwrap_or(LATEST),
                (_, false) => EARLIEST,
            };
            self.start(fresh, &BTreeMap::new(), from, &there).await?;
        }
        let now = self.admin.clock.monotonic_ms();
        let unled = self.positions.values().any(|position| position.leader < 0);
        let soon = self.positions.is_empty() && self.group.is_none() || unled;
        self.look_at_ms = now
            + if soon {
                LOOK_AGAIN_EMPTY_MS
            } else {
                LOOK_AGAIN_MS
            };
        Ok(())
    }

    /// Begins to read partitions: where the group committed, else where `from` says.
    async fn start(
        &mut self,
        places: Vec<Place>,
        committed: &BTreeMap<Place, Committed>,
        from: i64,
        leaders: &BTreeMap<Place, i32>,
    ) -> Result<(), Failure> {
        let open: Vec<(Place, i64)> = places
            .iter()
            .filter(|place| !committed.contains_key(*place) && from < 0)
            .map(|place| (place.clone(), from))
            .collect();
        let found = offsets::list(&mut self.admin, &open, self.read_committed).await?;
        for place in places {
            let (next, epoch) = match committed.get(&place) {
                Some(one) => (one.offset, one.epoch),
                None if from >= 0 => (from, -1),
                None => match found.get(&place) {
                    Some(Ok(found)) => (found.offset, found.leader_epoch),
                    // It will be looked at again with the next metadata.
                    _ => continue,
                },
            };
            let leader = leaders.get(&place).copied().unwrap_or(-1);
            self.positions.insert(
                place,
                Position {
                    next,
                    epoch,
                    leader,
                    flying: false,
                    again_at_ms: 0,
                },
            );
        }
        Ok(())
    }

    /// Sends a fetch to every leader that owes none.
    async fn fetch(&mut self) -> Result<(), Failure> {
        let now = self.admin.clock.monotonic_ms();
        let busy: HashSet<i32> = self
            .positions
            .values()
            .filter(|one| one.flying)
            .map(|one| one.leader)
            .collect();
        let mut asked: BTreeMap<i32, BTreeMap<String, Vec<FetchPartition>>> = BTreeMap::new();
        for (place, position) in &mut self.positions {
            let known = self.admin.nodes.contains_key(&position.leader);
            if !known || busy.contains(&position.leader) || now < position.again_at_ms {
                continue;
            }
            position.flying = true;
            let partition = FetchPartition::default()
                .with_partition(place.1)
                .with_fetch_offset(position.next)
                .with_partition_max_bytes(self.partition_bytes);
            let topics = asked.entry(position.leader).or_default();
            topics.entry(place.0.clone()).or_default().push(partition);
        }
        for (leader, topics) in asked {
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
            let address = self.admin.address(leader)?;
            let sent = match self.admin.pool.connection(&address).await {
                // By name: version 13 and later name topics by id only.
                Ok(connection) => match connection.versions().pick_within(Api::Fetch, 4, 12) {
                    Some(version) => {
                        connection
                            .send_as(Api::Fetch, version, request.into())
                            .await
                    }
                    None => connection.send(Api::Fetch, request.into()).await,
                },
                Err(error) => Err(error),
            };
            match sent {
                Ok(_) => {
                    self.asked_ms.insert(address, now);
                }
                Err(error) if error.is_retriable() => self.lost(&address),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn answered(
        &mut self,
        address: &str,
        answer: protocol::messages::FetchResponse,
    ) -> Result<(), Failure> {
        let now = self.admin.clock.monotonic_ms();
        let since = self.asked_ms.remove(address).unwrap_or(now);
        let latency = (now - since).unsigned_abs();
        let before = self.fetched_bytes;
        let taken = self.take(answer);
        let figures = &mut self.figures;
        figures.fetches += 1;
        figures.latency_ms += latency;
        figures.latency_ms_max = figures.latency_ms_max.max(latency);
        let bytes = self.fetched_bytes - before;
        figures.fetch_bytes_max = figures.fetch_bytes_max.max(bytes);
        taken
    }

    fn take(&mut self, answer: protocol::messages::FetchResponse) -> Result<(), Failure> {
        let now = self.admin.clock.monotonic_ms();
        for topic in answer.responses {
            for partition in topic.partitions {
                let place = (topic.topic.0.to_string(), partition.partition_index);
                let Some(position) = self.positions.get_mut(&place) else {
                    continue;
                };
                position.flying = false;
                match ErrorCode::of(partition.error_code) {
                    ErrorCode::None => self.unpack(&place, partition)?,
                    ErrorCode::OffsetOutOfRange => {
                        self.positions.remove(&place);
                        if self.reset_to.is_none() {
                            return Err(Failure::said(format!(
                                "Fetch position of {}-{} is out of range, and no reset policy is configured",
                                place.0, place.1
                            )));
                        }
                        self.look_at_ms = now;
                    }
                    error if error.is_retriable() || error == ErrorCode::FencedLeaderEpoch => {
                        position.again_at_ms = now + AGAIN_MS;
                        self.look_at_ms = now;
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

    /// Joins, beats, commits, and notices that the group rebalances.
    async fn group_duties(&mut self, now: i64) -> Result<(), Failure> {
        let Some(group) = &self.group else {
            return Ok(());
        };
        if !group.joined {
            return self.join().await;
        }
        if group.auto_commit && now >= group.commit_at_ms {
            self.commit().await?;
        }
        let Some(group) = &self.group else {
            return Ok(());
        };
        if now < group.beat_at_ms {
            return Ok(());
        }
        let request = HeartbeatRequest::default()
            .with_group_id(GroupId(text(&group.id)))
            .with_generation_id(group.generation)
            .with_member_id(text(&group.member))
            .with_group_instance_id(group.instance.as_deref().map(text));
        let id = group.id.clone();
        let codes = |answer: &ResponseKind| match answer {
            ResponseKind::Heartbeat(body) => vec![body.error_code],
            _ => Vec::new(),
        };
        let answer = self
            .ask_group(&id, Api::Heartbeat, request.into(), codes)
            .await?;
        self.figures.heartbeats += 1;
        let code = body!(answer, Heartbeat).error_code;
        let Some(group) = &mut self.group else {
            return Ok(());
        };
        group.beat_at_ms = now + HEARTBEAT_MS;
        match ErrorCode::of(code) {
            ErrorCode::None => {}
            ErrorCode::RebalanceInProgress => self.leave_round(false).await?,
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
                self.leave_round(true).await?
            }
            error => {
                return Err(Failure::Refused {
                    code: error,
                    message: None,
                });
            }
        }
        Ok(())
    }

    /// The coordinator's connection is kept apart from the fetches: their answers would come
    /// between. What the pool reads for a fetch meanwhile is taken in by the next turn.
    async fn ask_group(
        &mut self,
        id: &str,
        api: Api,
        request: protocol::messages::RequestKind,
        codes: impl Fn(&ResponseKind) -> Vec<i16>,
    ) -> Result<ResponseKind, Failure> {
        self.settle_fetches().await?;
        self.admin.ask_coordinator(id, api, request, codes).await
    }

    /// Takes in the answers of fetches that are on their way, so that a connection owes nothing.
    async fn settle_fetches(&mut self) -> Result<(), Failure> {
        while !self.admin.pool.busy().is_empty() {
            let patience = Duration::from_millis(30_000);
            let Ok((address, answer)) =
                tokio::time::timeout(patience, self.admin.pool.receive_any()).await
            else {
                return Ok(());
            };
            match answer {
                Ok((_, ResponseKind::Fetch(answer))) => self.answered(&address, answer)?,
                Ok(_) => {}
                Err(_) => self.lost(&address),
            }
        }
        Ok(())
    }

    /// Lets go of everything before the next generation.
    async fn leave_round(&mut self, forgotten: bool) -> Result<(), Failure> {
        self.settle_fetches().await?;
        if !forgotten && self.group.as_ref().is_some_and(|group| group.auto_commit) {
            self.commit().await?;
        }
        self.round_since_ms = self.admin.clock.monotonic_ms();
        let revoked = std::mem::take(&mut self.positions).into_keys().collect();
        self.changes.push(Change::Revoked(revoked));
        self.taken.clear();
        if let Some(group) = &mut self.group {
            group.joined = false;
            if forgotten {
                group.member.clear();
                group.generation = -1;
            }
        }
        Ok(())
    }

    async fn join(&mut self) -> Result<(), Failure> {
        self.settle_fetches().await?;
        let there = self.wanted_partitions().await?;
        let topics: BTreeSet<String> = match &self.wanted {
            Wanted::Topics(names) => names.iter().cloned().collect(),
            _ => there.keys().map(|place| place.0.clone()).collect(),
        };
        let Some(group) = &self.group else {
            return Ok(());
        };
        let metadata = assignors::write_subscription(&Subscription {
            topics: topics.into_iter().collect(),
            owned: Vec::new(),
        });
        let protocols = group.assignors.iter().map(|name| {
            JoinGroupRequestProtocol::default()
                .with_name(text(name))
                .with_metadata(metadata.clone())
        });
        let request = JoinGroupRequest::default()
            .with_group_id(GroupId(text(&group.id)))
            .with_session_timeout_ms(group.session_timeout_ms)
            .with_rebalance_timeout_ms(group.rebalance_timeout_ms)
            .with_member_id(text(&group.member))
            .with_group_instance_id(group.instance.as_deref().map(text))
            .with_protocol_type(text("consumer"))
            .with_protocols(protocols.collect());
        let (id, instance) = (group.id.clone(), group.instance.clone());
        let codes = |answer: &ResponseKind| match answer {
            ResponseKind::JoinGroup(body) => vec![body.error_code],
            _ => Vec::new(),
        };
        let answer = self
            .ask_group(&id, Api::JoinGroup, request.into(), codes)
            .await?;
        let joined = body!(answer, JoinGroup);
        let Some(group) = &mut self.group else {
            return Ok(());
        };
        match ErrorCode::of(joined.error_code) {
            ErrorCode::None => {}
            ErrorCode::MemberIdRequired => {
                group.member = joined.member_id.to_string();
                return Ok(());
            }
            ErrorCode::UnknownMemberId => {
                group.member.clear();
                return Ok(());
            }
            error if error.is_retriable() => return Ok(()),
            error => {
                return Err(Failure::Refused {
                    code: error,
                    message: None,
                });
            }
        }
        group.member = joined.member_id.to_string();
        group.generation = joined.generation_id;
        let plan = if joined.leader == joined.member_id {
            plan(&joined, &there)
        } else {
            Vec::new()
        };
        let request = SyncGroupRequest::default()
            .with_group_id(GroupId(text(&id)))
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id.clone())
            .with_group_instance_id(instance.as_deref().map(text))
            .with_protocol_type(joined.protocol_type.clone())
            .with_protocol_name(joined.protocol_name.clone())
            .with_assignments(plan);
        let codes = |answer: &ResponseKind| match answer {
            ResponseKind::SyncGroup(body) => vec![body.error_code],
            _ => Vec::new(),
        };
        let answer = self
            .ask_group(&id, Api::SyncGroup, request.into(), codes)
            .await?;
        let synced = body!(answer, SyncGroup);
        match ErrorCode::of(synced.error_code) {
            ErrorCode::None => {}
            ErrorCode::RebalanceInProgress => return Ok(()),
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
                return self.leave_round(true).await;
            }
            error => {
                return Err(Failure::Refused {
                    code: error,
                    message: None,
                });
            }
        }
        let places = assignors::read_assignment(&synced.assignment).unwrap_or_default();
        self.begin(&id, places, &there).await
    }

    /// Starts the partitions of a new generation.
    async fn begin(
        &mut self,
        id: &str,
        places: Vec<Place>,
        there: &BTreeMap<Place, i32>,
    ) -> Result<(), Failure> {
        let now = self.admin.clock.monotonic_ms();
        if let Some(group) = &mut self.group {
            group.joined = true;
            group.beat_at_ms = now + HEARTBEAT_MS;
            group.commit_at_ms = now + AUTO_COMMIT_MS;
        }
        self.rebalances += 1;
        let now = self.admin.clock.monotonic_ms();
        self.joining_ms += now - self.round_since_ms;
        self.figures.joins += 1;
        self.changes.push(Change::Assigned(places.clone()));
        let committed = offsets::committed(&mut self.admin, id).await?;
        if self.reset_to.is_none() && places.iter().any(|place| !committed.contains_key(place)) {
            return Err(Failure::said(
                "Undefined offset with no reset policy for partitions",
            ));
        }
        let from = self.reset_to.unwrap_or(LATEST);
        self.start(places, &committed, from, there).await?;
        self.look_at_ms = now + LOOK_AGAIN_MS;
        Ok(())
    }

    /// Commits what the caller was given.
    pub(crate) async fn commit(&mut self) -> Result<(), Failure> {
        // Records still in hand were not given out: they are to be read again.
        let mut upto: BTreeMap<Place, Committed> = self
            .positions
            .iter()
            .map(|(place, position)| {
                let (offset, epoch) = (position.next, position.epoch);
                (place.clone(), Committed { offset, epoch })
            })
            .collect();
        for taken in self.taken.iter().rev() {
            let (offset, epoch) = (taken.offset, taken.epoch);
            let place = (taken.topic.to_string(), taken.partition);
            upto.insert(place, Committed { offset, epoch });
        }
        self.commit_these(&upto).await
    }

    /// Commits what the caller says.
    pub(crate) async fn commit_these(
        &mut self,
        upto: &BTreeMap<Place, Committed>,
    ) -> Result<(), Failure> {
        let now = self.admin.clock.monotonic_ms();
        let Some(group) = &mut self.group else {
            return Ok(());
        };
        group.commit_at_ms = now + AUTO_COMMIT_MS;
        if upto.is_empty() || !group.joined {
            return Ok(());
        }
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for ((topic, partition), one) in upto {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(one.offset)
                .with_committed_leader_epoch(one.epoch)
                .with_committed_metadata(Some(text("")));
            topics.entry(topic).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            OffsetCommitRequestTopic::default()
                .with_name(topic_name(name))
                .with_partitions(partitions)
        });
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(&group.id)))
            .with_generation_id_or_member_epoch(group.generation)
            .with_member_id(text(&group.member))
            .with_group_instance_id(group.instance.as_deref().map(text))
            .with_topics(topics.collect());
        let id = group.id.clone();
        let codes = |answer: &ResponseKind| match answer {
            ResponseKind::OffsetCommit(body) => {
                let partitions = body.topics.iter().flat_map(|topic| &topic.partitions);
                partitions.map(|partition| partition.error_code).collect()
            }
            _ => Vec::new(),
        };
        // A commit that a rebalance refuses is no failure: the next generation reads again.
        self.figures.commits += 1;
        self.ask_group(&id, Api::OffsetCommit, request.into(), codes)
            .await?;
        Ok(())
    }

    /// Commits where it should and leaves the group.
    pub(crate) async fn close(&mut self) -> Result<(), Failure> {
        if self
            .group
            .as_ref()
            .is_some_and(|group| group.auto_commit && group.joined)
        {
            self.commit().await?;
        }
        let Some(group) = &self.group else {
            return Ok(());
        };
        if group.joined {
            let revoked = self.positions.keys().cloned().collect();
            self.changes.push(Change::Revoked(revoked));
        }
        if group.member.is_empty() || group.instance.is_some() {
            return Ok(());
        }
        let id = group.id.clone();
        let member = MemberIdentity::default().with_member_id(text(&group.member));
        let coordinator = self.admin.coordinator(&id).await?;
        let address = self.admin.address(coordinator)?;
        let version = self
            .admin
            .pool
            .connection(&address)
            .await?
            .versions()
            .pick(Api::LeaveGroup);
        let mut request = LeaveGroupRequest::default().with_group_id(GroupId(text(&id)));
        match version.unwrap_or(0) {
            3.. => request.members = vec![member],
            _ => request.member_id = member.member_id,
        }
        self.settle_fetches().await?;
        self.admin
            .node(coordinator, Api::LeaveGroup, request.into())
            .await?;
        Ok(())
    }
}

/// The leader's work: everyone's partitions by the assignor the group chose.
fn plan(
    joined: &JoinGroupResponse,
    there: &BTreeMap<Place, i32>,
) -> Vec<SyncGroupRequestAssignment> {
    let members: BTreeMap<String, Subscription> = joined
        .members
        .iter()
        .map(|member| {
            let subscription = assignors::read_subscription(&member.metadata).unwrap_or_default();
            (member.member_id.to_string(), subscription)
        })
        .collect();
    let mut counts: BTreeMap<String, i32> = BTreeMap::new();
    for place in there.keys() {
        *counts.entry(place.0.clone()).or_default() += 1;
    }
    let plan = match joined.protocol_name.as_deref() {
        Some("cooperative-sticky") => assignors::cooperative_sticky(&members, &counts),
        Some("roundrobin") => assignors::round_robin(&members, &counts),
        _ => assignors::range(&members, &counts),
    };
    let assignment = |(member, places): (String, Vec<Place>)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(&member))
            .with_assignment(assignors::write_assignment(&places))
    };
    plan.into_iter().map(assignment).collect()
}
