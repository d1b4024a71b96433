//! A consumer: partitions by hand or by group, read from their leaders.
//!
//! `fetching` speaks to the leaders, `seeking` asks them where to begin, `membership` speaks to the
//! group's coordinator, `commits` keeps what was read. This page holds what they share, and one turn of
//! the wheel: duties of the group, partitions and their leaders, fetches out, one answer in.
//!
//! A consumer outlives its brokers: what passes by itself is tried again for as long as it takes, and
//! who cannot be reached is named once.

mod commits;
mod fetching;
mod membership;
mod seeking;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use base::chance::Chance;
use bytes::Bytes;
use client::{ClientError, Pool};
use protocol::batch::{RecordHeaders, TimestampType};
use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::ResponseKind;
use protocol::names::is_internal;

use crate::failure::Failure;
use crate::filter::Filter;
use crate::kafka::admin::Admin;
use crate::kafka::consumer::fetching::Asked;
use crate::kafka::consumer::membership::Group;
use crate::kafka::offsets::{Committed, EARLIEST, LATEST, Place};
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
    /// EARLIEST or LATEST while the leader is still to say where that is.
    seek: Option<i64>,
    /// The epoch of what was read last, or of what it began with; -1 where nobody said.
    epoch: i32,
    leader: i32,
    /// Whether a leader owes an answer for it.
    flying: bool,
    again_at_ms: i64,
}

/// Partitions that a generation gave or took.
pub(crate) enum Change {
    Assigned(Vec<Place>),
    Revoked(Vec<Place>),
}

/// How often new partitions and topics are looked for where `metadata.max.age.ms` does not say: ten
/// times as often as in Java. Sooner while there is nothing to read yet.
const LOOK_AGAIN_MS: i64 = 30_000;
const LOOK_AGAIN_EMPTY_MS: i64 = 500;
const AGAIN_MS: i64 = 100;
/// How long a leader that could not be reached is left alone, so that the others are not kept waiting.
const UNREACHED_MS: i64 = 1_000;
/// The longest that one turn waits.
const TURN_MS: i64 = 500;

pub(crate) struct Consumer {
    admin: Admin,
    /// Connections for fetches alone: their answers come late, and nothing else is to wait behind them.
    fetchers: Pool,
    /// The fetch that each address owes an answer to.
    asked: BTreeMap<String, Asked>,
    wanted: Wanted,
    creates: bool,
    /// Whether a pattern is for Kafka's own topics too.
    internal: bool,
    /// The partitions that are wanted, and their leaders, as of the last look.
    there: BTreeMap<Place, i32>,
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
    /// Whether it has looked: what is there the first time was there before it began.
    looked: bool,
    look_every_ms: i64,
    /// How often partitions were given out; the perf test counts rebalances.
    pub(crate) rebalances: u64,
    pub(crate) fetched_bytes: u64,
    /// How long it had no partitions, for the group was giving them out.
    pub(crate) joining_ms: i64,
    round_since_ms: i64,
    changes: Vec<Change>,
    figures: Figures,
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
            Some(id) if !matches!(wanted, Wanted::Partition(..)) => {
                Some(Group::new(id, properties)?)
            }
            _ => None,
        };
        let admin = Admin::connect(servers, properties).await?;
        let name = properties.get("client.id").unwrap_or_default();
        let (patience, clock) = (admin.pool.patience(), admin.clock.clone());
        Ok(Consumer {
            fetchers: Pool::new(name, patience, clock, Chance::from_kernel()),
            admin,
            asked: BTreeMap::new(),
            wanted,
            internal: !properties.is_true("exclude.internal.topics", true),
            creates: properties.is_true("allow.auto.create.topics", true),
            there: BTreeMap::new(),
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
            looked: false,
            look_every_ms: properties.number("metadata.max.age.ms", LOOK_AGAIN_MS)?,
            rebalances: 0,
            fetched_bytes: 0,
            joining_ms: 0,
            round_since_ms: base::clock::Clock::system().monotonic_ms(),
            changes: Vec::new(),
            figures: Figures::default(),
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

    /// The next of the records that were fetched already.
    pub(crate) fn at_hand(&mut self) -> Option<Taken> {
        self.taken.pop_front()
    }

    /// One round: group duties, partitions, fetches out, one answer in.
    async fn turn(&mut self, left_ms: i64) -> Result<(), Failure> {
        let now = self.admin.clock.monotonic_ms();
        let done = self.group_duties(now, left_ms.min(TURN_MS)).await;
        if self.bear(done)?
            && let Some(group) = &mut self.group
        {
            group.again_at_ms = self.admin.clock.monotonic_ms() + AGAIN_MS;
        }
        let joining = self.group.as_ref().is_some_and(|group| !group.joined);
        if now >= self.look_at_ms && !joining {
            let done = self.look().await;
            if self.bear(done)? {
                self.look_at_ms = self.admin.clock.monotonic_ms() + AGAIN_MS;
            }
        }
        self.seek().await?;
        self.overdue();
        self.fetch().await?;
        let duty = self.group.as_ref().map_or(i64::MAX, Group::due_ms);
        let wait_ms = left_ms
            .min(duty.min(self.look_at_ms).saturating_sub(now))
            .clamp(1, TURN_MS);
        let wait = Duration::from_millis(wait_ms.unsigned_abs());
        let Ok((address, answer)) = tokio::time::timeout(wait, self.fetchers.receive_any()).await
        else {
            return Ok(());
        };
        match answer {
            Ok((_, ResponseKind::Fetch(answer))) => self.answered(&address, answer),
            Ok(_) => Ok(()),
            Err(cause) => self.lost(&address, cause),
        }
    }

    /// Whether it failed for a reason that passes; every other one is passed on.
    fn bear(&mut self, done: Result<(), Failure>) -> Result<bool, Failure> {
        match done {
            Ok(()) => Ok(false),
            Err(failure) if failure.is_passing() => {
                self.admin.tell(&failure);
                Ok(true)
            }
            Err(failure) => Err(failure),
        }
    }

    /// A leader's connection is gone: what it owed is asked again, of whoever leads then.
    fn lost(&mut self, address: &str, cause: ClientError) -> Result<(), Failure> {
        self.fetchers.close(address);
        let now = self.admin.clock.monotonic_ms();
        let owed = self.asked.remove(address);
        let rest_ms = match cause.unreached() {
            Some(_) => UNREACHED_MS,
            None => AGAIN_MS,
        };
        let leads = |one: &&client::Node| one.address() == address;
        let leader = self.admin.nodes.values().find(leads).map(|node| node.id);
        for (place, position) in &mut self.positions {
            let owes = owed.as_ref().is_some_and(|owed| owed.has(place));
            if owes {
                position.flying = false;
            }
            if owes || Some(position.leader) == leader {
                position.again_at_ms = now + rest_ms;
            }
        }
        self.look_at_ms = self.look_at_ms.min(now + AGAIN_MS);
        let failure = match leader {
            Some(id) => self.admin.explain(id, address.to_owned(), cause),
            None => cause.into(),
        };
        self.bear(Err(failure)).map(|_| ())
    }

    /// Fetches that are owed an answer for too long.
    fn overdue(&mut self) {
        let now = self.admin.clock.monotonic_ms();
        let patience = self.fetchers.patience().answer;
        let waited_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let late = |asked: &Asked| (now - asked.since_ms).unsigned_abs() > waited_ms;
        let late: Vec<String> = self
            .asked
            .iter()
            .filter(|(_, asked)| late(asked))
            .map(|(address, _)| address.clone())
            .collect();
        for address in late {
            let cause = ClientError::Timeout {
                address: address.clone(),
                api: Api::Fetch,
                waited_ms,
            };
            // Nobody's silence is more than passing.
            let _borne = self.lost(&address, cause);
        }
    }

    /// Asks for topics and their partitions, with leaders, that the consumer wants now.
    async fn learn(&mut self) -> Result<(), Failure> {
        let names = match &self.wanted {
            Wanted::Topics(names) => Some(names.clone()),
            Wanted::Partition((topic, _), _) => Some(vec![topic.clone()]),
            Wanted::Pattern(_) => None,
        };
        let create = names.is_some() && self.creates;
        let answer = self
            .admin
            .metadata_creating(names.as_deref(), create)
            .await?;
        let mut there = BTreeMap::new();
        for topic in answer.topics {
            let Some(name) = topic.name.map(|name| name.0.to_string()) else {
                continue;
            };
            let hidden = is_internal(&name) && !self.internal;
            let allowed = |filter: &Filter| filter.allows(&name) && !hidden;
            if matches!(&self.wanted, Wanted::Pattern(filter) if !allowed(filter)) {
                continue;
            }
            let error = ErrorCode::of(topic.error_code);
            if !error.is_none() && !error.is_retriable() {
                return Err(Failure::Refused {
                    code: error,
                    message: None,
                });
            }
            for partition in topic.partitions {
                let place = (name.clone(), partition.partition_index);
                if matches!(&self.wanted, Wanted::Partition(one, _) if *one != place) {
                    continue;
                }
                there.insert(place, partition.leader_id.0);
            }
        }
        self.there = there;
        Ok(())
    }

    /// The topics that are wanted and there.
    fn topics(&self) -> BTreeSet<String> {
        self.there.keys().map(|place| place.0.clone()).collect()
    }

    /// Looks at the cluster again: leaders of what is read, new partitions, new topics.
    async fn look(&mut self) -> Result<(), Failure> {
        self.learn().await?;
        let first = !std::mem::replace(&mut self.looked, true);
        for (place, position) in &mut self.positions {
            position.leader = self.there.get(place).copied().unwrap_or(-1);
        }
        if self.group.is_some() {
            self.rejoin_for_news().await?;
        } else {
            let there = self.there.keys();
            let fresh: Vec<Place> = there
                .filter(|place| !self.positions.contains_key(*place))
                .cloned()
                .collect();
            // A partition that appears later is read from its beginning: nothing of it was seen.
            let from = match (&self.wanted, first) {
                (Wanted::Partition(_, from), _) => *from,
                (_, true) => self.reset_to.unwrap_or(LATEST),
                (_, false) => EARLIEST,
            };
            self.start(fresh, &BTreeMap::new(), from);
        }
        let now = self.admin.clock.monotonic_ms();
        let unled = self.positions.values().any(|position| position.leader < 0);
        let soon = self.there.is_empty() || unled;
        let every_ms = self.look_every_ms;
        self.look_at_ms = now.saturating_add(match soon {
            true => every_ms.min(LOOK_AGAIN_EMPTY_MS),
            false => every_ms,
        });
        Ok(())
    }

    /// Begins to read partitions: where the group committed, else where `from` says.
    fn start(&mut self, places: Vec<Place>, committed: &BTreeMap<Place, Committed>, from: i64) {
        for place in places {
            let (next, epoch, seek) = match committed.get(&place) {
                Some(one) => (one.offset, one.epoch, None),
                None if from >= 0 => (from, -1, None),
                None => (-1, -1, Some(from)),
            };
            let leader = self.there.get(&place).copied().unwrap_or(-1);
            if leader < 0 {
                self.look_at_ms = self.look_at_ms.min(self.admin.clock.monotonic_ms());
            }
            self.positions.insert(
                place,
                Position {
                    next,
                    seek,
                    epoch,
                    leader,
                    flying: false,
                    again_at_ms: 0,
                },
            );
        }
    }
}
