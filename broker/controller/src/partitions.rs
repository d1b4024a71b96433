//! The legal moves of a partition, and what each of them does.
//!
//! ```text
//! (none) → New → Online ⇄ Offline → (none)
//! ```
//!
//! Going online from New writes the first state node; from Online or Offline it is an election.
//! Kafka: `ZkPartitionStateMachine`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use protocol::ids::TopicPartition;
use protocol::kafka::errors::ErrorCode;
use tracing::{error, info, warn};
use znodes::fence::Fenced;
use znodes::paths;
use znodes::store::{Error, Op};

use crate::choose_leader::{self, Chosen};
use crate::context::{Leadership, PartitionPhase};
use crate::reign::Reign;

/// How a leader is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// The leader is gone. `unclean`: allowed whatever the configs say.
    Offline {
        unclean: bool,
    },
    Preferred,
    Reassigning,
    Leaving,
}

/// As Kafka's classes are called, for its messages.
impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Strategy::Offline { unclean } => {
                write!(f, "OfflinePartitionLeaderElectionStrategy({unclean})")
            }
            Strategy::Preferred => f.write_str("PreferredReplicaPartitionLeaderElectionStrategy"),
            Strategy::Reassigning => f.write_str("ReassignPartitionLeaderElectionStrategy"),
            Strategy::Leaving => f.write_str("ControlledShutdownPartitionLeaderElectionStrategy"),
        }
    }
}

/// Why a partition got no leader.
pub(crate) type Failures = BTreeMap<TopicPartition, (ErrorCode, String)>;

impl Reign {
    /// Moves that only change memory.
    pub(crate) fn note_partitions(
        &mut self,
        partitions: &[TopicPartition],
        to: Option<PartitionPhase>,
    ) {
        for tp in partitions {
            let Some(partition) = self.context.partition_mut(tp) else {
                continue;
            };
            let legal = match to {
                Some(PartitionPhase::New) => partition.phase.is_none(),
                Some(PartitionPhase::Online | PartitionPhase::Offline) => partition.phase.is_some(),
                None => partition.phase == Some(PartitionPhase::Offline),
            };
            if legal {
                partition.phase = to;
            } else {
                error!(partition = %tp, from = ?partition.phase, ?to, "illegal move of a partition");
            }
        }
    }

    /// Gives leaders to partitions, and sends who leads. Returns those that got none.
    pub(crate) async fn bring_online(
        &mut self,
        partitions: &[TopicPartition],
        strategy: Strategy,
    ) -> Result<Failures, Fenced> {
        let phase = |tp: &TopicPartition| self.context.partition(tp).and_then(|held| held.phase);
        let (mut fresh, mut known) = (Vec::new(), Vec::new());
        for tp in partitions {
            match phase(tp) {
                Some(PartitionPhase::New) => fresh.push(tp.clone()),
                Some(_) => known.push(tp.clone()),
                None => error!(partition = %tp, "a partition that does not exist cannot go online"),
            }
        }
        let mut failures = self.lead_first(fresh).await?;
        failures.extend(self.elect(known, strategy).await?);
        self.flush();
        for (tp, (_, reason)) in &failures {
            warn!(target: "state_change", partition = %tp, reason, "no leader");
        }
        Ok(failures)
    }

    /// The first leadership of new partitions: first live replica leads, all live ones are in sync.
    async fn lead_first(&mut self, fresh: Vec<TopicPartition>) -> Result<Failures, Fenced> {
        let mut failures = Failures::new();
        let mut wanted = Vec::with_capacity(fresh.len());
        for tp in fresh {
            let Some(partition) = self.context.partition(&tp) else {
                continue;
            };
            let isr: Vec<i32> = partition
                .assignment
                .replicas
                .iter()
                .copied()
                .filter(|id| self.context.is_replica_online(*id, &tp))
                .collect();
            let Some(leader) = isr.first().copied() else {
                let reason = format!(
                    "none of the replicas {:?} is alive; live brokers are {:?}",
                    partition.assignment.replicas,
                    self.context.live()
                );
                failures.insert(tp, (ErrorCode::EligibleLeadersNotAvailable, reason));
                continue;
            };
            let leadership = Leadership {
                leader,
                leader_epoch: 0,
                isr,
                recovering: false,
                controller_epoch: self.epoch,
                partition_epoch: 0,
            };
            wanted.push((tp, leadership));
        }
        for (tp, outcome) in self.create_states(wanted).await? {
            match outcome {
                Err(reason) => {
                    failures.insert(tp, (ErrorCode::UnknownServerError, reason));
                }
                Ok(leadership) => {
                    if let Some(partition) = self.context.partition_mut(&tp) {
                        partition.leadership = Some(leadership.clone());
                        partition.phase = Some(PartitionPhase::Online);
                    }
                    info!(target: "state_change", partition = %tp, leader = leadership.leader, isr = ?leadership.isr, "new partition led");
                    self.outbox
                        .lead(&self.context, &leadership.isr, &tp, &leadership, true);
                }
            }
        }
        Ok(failures)
    }

    /// Creates state nodes with their parents, many to a transaction.
    async fn create_states(
        &self,
        wanted: Vec<(TopicPartition, Leadership)>,
    ) -> Result<Vec<(TopicPartition, Result<Leadership, String>)>, Fenced> {
        let mut topics: BTreeSet<&Arc<str>> = BTreeSet::new();
        let mut groups = Vec::with_capacity(wanted.len());
        for (tp, leadership) in &wanted {
            let mut group = Vec::with_capacity(3);
            if topics.insert(&tp.topic) && !self.was_ever_led(&tp.topic) {
                group.push(Op::create(paths::partitions(&tp.topic), ""));
            }
            group.push(Op::create(paths::partition(&tp.topic, tp.partition), ""));
            let path = paths::partition_state(&tp.topic, tp.partition);
            group.push(Op::create(path, leadership.body()));
            groups.push(group);
        }
        let sizes: Vec<usize> = groups.iter().map(Vec::len).collect();
        let batches = znodes::fence::pack(groups);
        let lengths: Vec<usize> = batches.iter().map(Vec::len).collect();
        let outcomes = self.fence.write_all(&*self.store, batches).await?;
        let mut created = Vec::with_capacity(wanted.len());
        let mut rest = wanted.into_iter().zip(sizes);
        for (length, outcome) in lengths.into_iter().zip(outcomes) {
            let mut batch = Vec::new();
            let mut steps = 0;
            while steps < length {
                let Some((entry, size)) = rest.next() else {
                    break;
                };
                steps += size;
                batch.push(entry);
            }
            match outcome {
                Ok(_) => created.extend(
                    batch
                        .into_iter()
                        .map(|(tp, leadership)| (tp, Ok(leadership))),
                ),
                // Something of it was there, or nobody knows: one by one, as Kafka does always.
                Err(_) => {
                    for (tp, leadership) in batch {
                        let outcome = self.create_state(&tp, leadership).await?;
                        created.push((tp, outcome));
                    }
                }
            }
        }
        Ok(created)
    }

    /// A topic's `partitions` node is there once one of its partitions had a leader.
    fn was_ever_led(&self, topic: &str) -> bool {
        self.context.topics.get(topic).is_some_and(|topic| {
            let mut partitions = topic.partitions.values();
            partitions.any(|partition| partition.leadership.is_some())
        })
    }

    async fn create_state(
        &self,
        tp: &TopicPartition,
        wanted: Leadership,
    ) -> Result<Result<Leadership, String>, Fenced> {
        for path in [
            paths::partitions(&tp.topic),
            paths::partition(&tp.topic, tp.partition),
        ] {
            self.create_fenced(path, vec![]).await?;
        }
        let path = paths::partition_state(&tp.topic, tp.partition);
        match self.create_fenced(path.clone(), wanted.body()).await? {
            None => Ok(Ok(wanted)),
            Some(Error::NodeExists { .. }) => match self.store.get(&path, None).await? {
                Some(node) if node.data == wanted.body() => Ok(Ok(Leadership {
                    partition_epoch: node.stat.version,
                    ..wanted
                })),
                _ => Ok(Err(format!("{path} exists already"))),
            },
            Some(error) => Ok(Err(error.to_string())),
        }
    }

    /// Creates one node; `None` for done, else why not.
    async fn create_fenced(&self, path: String, data: Vec<u8>) -> Result<Option<Error>, Fenced> {
        loop {
            let op = Op::create(path.clone(), data.clone());
            match self.fence.write(&*self.store, vec![op]).await {
                Ok(_) => return Ok(None),
                Err(Fenced::Store(Error::Unknown { .. })) => {}
                Err(Fenced::Store(error @ Error::SessionEnded)) => return Err(error.into()),
                Err(Fenced::Store(error)) => return Ok(Some(error.root().clone())),
                Err(Fenced::Moved) => return Err(Fenced::Moved),
            }
        }
    }

    async fn elect(
        &mut self,
        partitions: Vec<TopicPartition>,
        strategy: Strategy,
    ) -> Result<Failures, Fenced> {
        let mut failures = Failures::new();
        let mut pending = partitions;
        while !pending.is_empty() {
            let unclean = self.unclean_among(&pending, strategy).await?;
            let mut wanted = Vec::with_capacity(pending.len());
            for tp in pending {
                match self.plan(&tp, strategy, unclean.contains(&tp)) {
                    Ok(leadership) => wanted.push((tp, leadership)),
                    Err(failure) => {
                        failures.insert(tp, failure);
                    }
                }
            }
            let outcome = self.write_states(wanted).await?;
            for (tp, leadership) in outcome.written {
                self.note_elected(&tp, leadership, strategy);
            }
            for tp in outcome.refused {
                let why = "ZooKeeper refuses the state node".to_owned();
                failures.insert(tp, (ErrorCode::UnknownServerError, why));
            }
            let conflicts = outcome.conflicts;
            for tp in self.read_states(&conflicts).await? {
                failures.insert(
                    tp,
                    (
                        ErrorCode::UnknownServerError,
                        "state node is missing".to_owned(),
                    ),
                );
            }
            pending = conflicts
                .into_iter()
                .filter(|tp| !failures.contains_key(tp))
                .collect();
        }
        Ok(failures)
    }

    fn note_elected(&mut self, tp: &TopicPartition, leadership: Leadership, strategy: Strategy) {
        let Some(partition) = self.context.partition_mut(tp) else {
            return;
        };
        let before = partition.leadership.replace(leadership.clone());
        if before.is_some_and(|held| !held.isr.contains(&leadership.leader)) {
            self.measures.unclean_elections.add(1);
        }
        partition.phase = Some(PartitionPhase::Online);
        let assignment = partition.assignment.clone();
        info!(
            target: "state_change",
            partition = %tp,
            leader = leadership.leader,
            leader_epoch = leadership.leader_epoch,
            isr = ?leadership.isr,
            unclean = leadership.recovering,
            "leader elected"
        );
        let recipients: Vec<i32> = match strategy {
            Strategy::Offline { .. } => assignment
                .replicas
                .iter()
                .copied()
                .filter(|id| self.context.is_replica_online(*id, tp))
                .collect(),
            Strategy::Preferred => assignment.replicas,
            Strategy::Reassigning => target(&assignment),
            Strategy::Leaving => assignment
                .replicas
                .iter()
                .copied()
                .filter(|id| self.context.is_replica_registered(*id, tp))
                .collect(),
        };
        self.outbox
            .lead(&self.context, &recipients, tp, &leadership, false);
    }

    /// Which of these may be led by a replica that was not in sync: asked of the configs only where
    /// no member of the ISR is alive.
    async fn unclean_among(
        &self,
        partitions: &[TopicPartition],
        strategy: Strategy,
    ) -> Result<BTreeSet<TopicPartition>, Fenced> {
        let Strategy::Offline { unclean } = strategy else {
            return Ok(BTreeSet::new());
        };
        let lost: BTreeSet<TopicPartition> = partitions
            .iter()
            .filter(|tp| {
                self.context.leadership(tp).is_some_and(|held| {
                    !held
                        .isr
                        .iter()
                        .any(|id| self.context.is_replica_online(*id, tp))
                })
            })
            .cloned()
            .collect();
        if unclean || lost.is_empty() {
            return Ok(lost);
        }
        let topics: BTreeSet<Arc<str>> = lost.iter().map(|tp| tp.topic.clone()).collect();
        let topics: Vec<Arc<str>> = topics.into_iter().collect();
        let allowed = self.unclean_allowed(&topics).await?;
        Ok(lost
            .into_iter()
            .filter(|tp| allowed.get(&tp.topic) == Some(&true))
            .collect())
    }

    fn plan(
        &self,
        tp: &TopicPartition,
        strategy: Strategy,
        unclean: bool,
    ) -> Result<Leadership, (ErrorCode, String)> {
        let none = |code: ErrorCode| {
            let text =
                format!("Failed to elect leader for partition {tp} under strategy {strategy}");
            (code, text)
        };
        let partition = self
            .context
            .partition(tp)
            .ok_or_else(|| none(ErrorCode::UnknownTopicOrPartition))?;
        let Some(held) = &partition.leadership else {
            return Err(none(ErrorCode::UnknownServerError));
        };
        if held.controller_epoch > self.epoch {
            // Kafka: the state was written by a newer controller; this one is about to hear of it.
            return Err(none(ErrorCode::NotController));
        }
        let replicas = &partition.assignment.replicas;
        let live = |id: i32| self.context.is_replica_online(id, tp);
        let (chosen, refusal): (Option<Chosen>, ErrorCode) = match strategy {
            Strategy::Offline { .. } => (
                choose_leader::offline(replicas, &held.isr, live, unclean),
                ErrorCode::EligibleLeadersNotAvailable,
            ),
            Strategy::Preferred => (
                choose_leader::preferred(replicas, &held.isr, live),
                ErrorCode::PreferredLeaderNotAvailable,
            ),
            Strategy::Reassigning => (
                choose_leader::reassigning(&target(&partition.assignment), &held.isr, live),
                ErrorCode::UnknownServerError,
            ),
            Strategy::Leaving => (
                choose_leader::leaving(
                    replicas,
                    &held.isr,
                    |id| self.context.is_replica_registered(id, tp),
                    |id| self.context.shutting_down.contains(&id),
                ),
                ErrorCode::UnknownServerError,
            ),
        };
        let chosen = chosen.ok_or_else(|| none(refusal))?;
        Ok(Leadership {
            leader: chosen.leader,
            leader_epoch: held.leader_epoch.saturating_add(1),
            isr: chosen.isr,
            recovering: (chosen.unclean && self.config.agreed.recovery) || held.recovering,
            controller_epoch: self.epoch,
            partition_epoch: held.partition_epoch,
        })
    }
}

/// Where a reassignment leads: all replicas but those that go.
pub(crate) fn target(assignment: &znodes::bodies::topic::Assignment) -> Vec<i32> {
    let goes = |id: &i32| assignment.removing.contains(id);
    assignment
        .replicas
        .iter()
        .copied()
        .filter(|id| !goes(id))
        .collect()
}
