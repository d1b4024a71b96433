//! A consumer: partitions by hand or by group, read from their leaders.
//!
//! `fetching` speaks to the leaders, `membership` to the group's coordinator, `commits` keeps what was
//! read. This page holds what they share, and one turn of the wheel: duties of the group, partitions
//! and their leaders, fetches out, one answer in.

mod commits;
mod fetching;
mod membership;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::batch::{RecordHeaders, TimestampType};
use protocol::kafka::errors::ErrorCode;
use protocol::messages::ResponseKind;

use crate::failure::Failure;
use crate::filter::{Filter, is_internal};
use crate::kafka::admin::Admin;
use crate::kafka::assignors;
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

    /// The next of the records that were fetched already.
    pub(crate) fn at_hand(&mut self) -> Option<Taken> {
        self.taken.pop_front()
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
}
