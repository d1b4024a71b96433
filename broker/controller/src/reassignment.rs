//! Moving partitions to other brokers, by request or by the old tools' node.
//!
//! | phase | what holds | what is done |
//! |---|---|---|
//! | begun | node lists targets first, then originals; adding and removing are named | everybody gets a higher leader epoch, new replicas start to fetch |
//! | caught up | every target is in the ISR | leader moves to a target, others are stopped and deleted, node lists the targets |
//! | cancelled | the target is the original set | the same, the other way round |
//!
//! Kafka: `onPartitionReassignment` and `updateCurrentReassignment`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use protocol::ids::TopicPartition;
use protocol::kafka::errors::ErrorCode;
use tracing::{info, warn};
use znodes::bodies::reassign;
use znodes::bodies::topic::Assignment;
use znodes::fence::Fenced;
use znodes::paths;
use znodes::store::{Error, Node, Op};

use crate::context::{Leadership, NOBODY, PartitionPhase, ReplicaPhase};
use crate::event::{Ongoing, ReassignmentTargets, Verdict, Wake};
use crate::partitions::{Strategy, target};
use crate::reign::Reign;

/// What whoever asks hears of an assignment that ZooKeeper does not take.
const UNWRITTEN: &str =
    "The topic's node could not be written to ZooKeeper; the log of the controller says why.";

/// The replicas before a reassignment began: all but those it adds.
fn origin(assignment: &Assignment) -> Vec<i32> {
    let added = |id: &i32| assignment.adding.contains(id);
    assignment
        .replicas
        .iter()
        .copied()
        .filter(|id| !added(id))
        .collect()
}

/// The assignment while moving from `from` to `to`: targets first, then what goes.
fn moving(from: &[i32], to: &[i32]) -> Assignment {
    let adding: Vec<i32> = to.iter().copied().filter(|id| !from.contains(id)).collect();
    let removing: Vec<i32> = from.iter().copied().filter(|id| !to.contains(id)).collect();
    let mut replicas = to.to_vec();
    replicas.extend(&removing);
    Assignment {
        replicas,
        adding,
        removing,
    }
}

impl Reign {
    /// AlterPartitionReassignments. Kafka: `processApiPartitionReassignment`.
    pub(crate) async fn reassign(
        &mut self,
        asked: ReassignmentTargets,
    ) -> Result<Vec<(TopicPartition, Verdict)>, Fenced> {
        let mut planned = Vec::with_capacity(asked.len());
        for (tp, targets) in asked {
            let checked = match &targets {
                Some(targets) => self.check_targets(&tp, targets),
                None => Ok(()),
            };
            let plan = checked.and_then(|()| self.plan_reassignment(&tp, targets.as_deref()));
            planned.push((tp, plan));
        }
        let mut verdicts = Vec::with_capacity(planned.len());
        let mut begun = BTreeSet::new();
        for (tp, plan) in planned {
            let verdict = match plan {
                Ok(plan) if self.is_movable(&tp) => {
                    match self.begin_reassignment(&tp, plan).await? {
                        true => {
                            begun.insert(tp.clone());
                            (ErrorCode::None, None)
                        }
                        false => (ErrorCode::UnknownServerError, Some(UNWRITTEN.to_owned())),
                    }
                }
                Ok(_) => {
                    let text = "The partition does not exist.".to_owned();
                    (ErrorCode::UnknownTopicOrPartition, Some(text))
                }
                Err(refusal) => refusal,
            };
            verdicts.push((tp, verdict));
        }
        // What is asked for last counts, whichever way the former request came. What could not be
        // begun takes the place of nothing, and it is answered only after this: a controller that
        // ends in between has promised nobody anything.
        self.trim_reassign_node(|tp, _| begun.contains(tp)).await?;
        Ok(verdicts)
    }

    /// Known, and not of a topic that is being deleted.
    fn is_movable(&self, tp: &TopicPartition) -> bool {
        self.context.partition(tp).is_some() && !self.context.is_deleting(&tp.topic)
    }

    /// Kafka: `maybeBuildReassignment`, for which an unknown partition is one without replicas.
    fn plan_reassignment(
        &self,
        tp: &TopicPartition,
        targets: Option<&[i32]>,
    ) -> Result<Assignment, Verdict> {
        let now = self.assignment(tp);
        let from = origin(&now);
        match targets {
            Some(targets) => Ok(moving(&from, targets)),
            None if now.is_reassigning() => Ok(moving(&from, &from)),
            None => {
                let code = ErrorCode::NoReassignmentInProgress;
                Err((code, code.message().map(str::to_owned)))
            }
        }
    }

    fn assignment(&self, tp: &TopicPartition) -> Assignment {
        let partition = self.context.partition(tp);
        partition.map_or_else(|| Assignment::of(vec![]), |held| held.assignment.clone())
    }

    /// Kafka: `validateReplicas`; the order of the checks is the contract.
    fn check_targets(&self, tp: &TopicPartition, targets: &[i32]) -> Result<(), Verdict> {
        let refuse = |text: String| Err((ErrorCode::InvalidReplicaAssignment, Some(text)));
        check_list(targets).or_else(refuse)?;
        let adding = moving(&origin(&self.assignment(tp)), targets).adding;
        if adding.iter().any(|id| !self.context.is_live(*id)) {
            return refuse(format!(
                "Replica assignment has brokers that are not alive. Replica list: {}, live broker list: {}",
                scala("ArrayBuffer", &adding),
                scala("Set", &self.context.live()),
            ));
        }
        Ok(())
    }

    /// A new, superseding, cancelling or resumed assignment; `false` where ZooKeeper does not take
    /// it, and all stays as it was. Kafka: `onPartitionReassignment`.
    async fn begin_reassignment(
        &mut self,
        tp: &TopicPartition,
        plan: Assignment,
    ) -> Result<bool, Fenced> {
        let Some(partition) = self.context.partition_mut(tp) else {
            return Ok(true);
        };
        let before = std::mem::replace(&mut partition.assignment, plan.clone());
        if before != plan {
            info!(target: "state_change", partition = %tp, from = ?before.replicas, to = ?plan.replicas, adding = ?plan.adding, removing = ?plan.removing, "reassignment");
            if !self.write_topic(&tp.topic).await? {
                if let Some(partition) = self.context.partition_mut(tp) {
                    partition.assignment = before;
                }
                return Ok(false);
            }
            // The replicas that only the superseded plan wanted.
            let needless: Vec<i32> = before
                .replicas
                .into_iter()
                .filter(|id| !plan.replicas.contains(id))
                .collect();
            self.stop_replicas(tp, &needless).await?;
        }
        if plan.is_reassigning() {
            self.replace_stopped_leader(tp).await?;
            self.context.ineligible_while_reassigning(&tp.topic);
        }
        self.advance_reassignment(tp).await.map(|()| true)
    }

    /// The leader may have been among the replicas that were stopped: nobody else would ever notice,
    /// and no replica could be added for want of a leader.
    async fn replace_stopped_leader(&mut self, tp: &TopicPartition) -> Result<(), Fenced> {
        let stopped = self.context.partition(tp).is_some_and(|held| {
            let leader = held.leadership.as_ref().map(|one| one.leader);
            held.phase == Some(PartitionPhase::Online) && leader == Some(NOBODY)
        });
        if stopped {
            let unled = std::slice::from_ref(tp);
            self.note_partitions(unled, Some(PartitionPhase::Offline));
            self.bring_online(unled, Strategy::Offline { unclean: false })
                .await?;
        }
        Ok(())
    }

    async fn advance_reassignment(&mut self, tp: &TopicPartition) -> Result<(), Fenced> {
        self.read_moving_states(std::slice::from_ref(tp)).await?;
        let Some(partition) = self.context.partition(tp) else {
            return Ok(());
        };
        if partition.phase.is_none() {
            // Deleting it has begun: whatever is told now brings replicas back.
            return Ok(());
        }
        let assignment = partition.assignment.clone();
        if self.is_complete(tp) {
            return self.finish_reassignment(tp, assignment).await;
        }
        // Those that were assigned before learn of it as they are, the new ones as new.
        let old: Vec<i32> = origin(&assignment);
        self.raise_leader_epoch(tp, &old, &assignment.adding)
            .await?;
        let fresh: Vec<_> = assignment
            .adding
            .iter()
            .filter(|id| {
                self.context
                    .partition(tp)
                    .is_some_and(|held| held.replica(**id).is_none())
            })
            .map(|id| (tp.clone(), *id))
            .collect();
        self.move_replicas(&fresh, Some(ReplicaPhase::New)).await
    }

    /// Nothing is to be added or removed, or every target is in sync: a mere new order, and a
    /// cancelled plan, need not wait for anybody. Kafka: `isReassignmentComplete`.
    fn is_complete(&self, tp: &TopicPartition) -> bool {
        let Some(partition) = self.context.partition(tp) else {
            return false;
        };
        let in_sync = |held: &Leadership| {
            let mut targets = target(&partition.assignment).into_iter();
            targets.all(|id| held.isr.contains(&id))
        };
        !partition.assignment.is_reassigning() || partition.leadership.as_ref().is_some_and(in_sync)
    }

    /// Phase B. Kafka: steps B1 to B9.
    async fn finish_reassignment(
        &mut self,
        tp: &TopicPartition,
        assignment: Assignment,
    ) -> Result<(), Fenced> {
        let targets = target(&assignment);
        let online: Vec<_> = assignment
            .adding
            .iter()
            .filter(|id| {
                self.context
                    .partition(tp)
                    .is_some_and(|held| held.replica(**id).is_some())
            })
            .map(|id| (tp.clone(), *id))
            .collect();
        self.move_replicas(&online, Some(ReplicaPhase::Online))
            .await?;
        if let Some(partition) = self.context.partition_mut(tp) {
            partition.assignment = Assignment::of(targets.clone());
        }
        let led = self.context.leadership(tp).is_some_and(|held| {
            targets.contains(&held.leader) && self.context.is_replica_online(held.leader, tp)
        });
        if led {
            self.raise_leader_epoch(tp, &targets, &[]).await?;
        } else {
            let unled = std::slice::from_ref(tp);
            if !self
                .bring_online(unled, Strategy::Reassigning)
                .await?
                .is_empty()
            {
                // So that the next broker to come is tried as its leader.
                self.note_partitions(unled, Some(PartitionPhase::Offline));
            }
        }
        self.stop_replicas(tp, &assignment.removing).await?;
        if self.write_topic(&tp.topic).await? {
            self.trim_reassign_node(|one, replicas| one == tp && *replicas == targets)
                .await?;
            info!(target: "state_change", partition = %tp, replicas = ?targets, "reassignment done");
        }
        self.tell_all_brokers(std::slice::from_ref(tp));
        if self.context.is_deleting(&tp.topic) {
            self.resume_deletions(std::slice::from_ref(&tp.topic))
                .await?;
        }
        Ok(())
    }

    /// Offline → DeletionStarted → DeletionSuccessful → gone, without waiting for the brokers.
    async fn stop_replicas(&mut self, tp: &TopicPartition, brokers: &[i32]) -> Result<(), Fenced> {
        let replicas: Vec<_> = brokers
            .iter()
            .filter(|id| {
                self.context
                    .partition(tp)
                    .is_some_and(|held| held.replica(**id).is_some())
            })
            .map(|id| (tp.clone(), *id))
            .collect();
        for phase in [
            Some(ReplicaPhase::Offline),
            Some(ReplicaPhase::DeletionStarted),
            Some(ReplicaPhase::DeletionSuccessful),
            None,
        ] {
            self.move_replicas(&replicas, phase).await?;
        }
        Ok(())
    }

    /// Kafka: `updateLeaderEpochAndSendRequest`.
    async fn raise_leader_epoch(
        &mut self,
        tp: &TopicPartition,
        old: &[i32],
        new: &[i32],
    ) -> Result<(), Fenced> {
        loop {
            let Some(held) = self.context.leadership(tp) else {
                return Ok(());
            };
            if held.controller_epoch > self.epoch {
                return Ok(());
            }
            let next = Leadership {
                leader_epoch: held.leader_epoch.saturating_add(1),
                controller_epoch: self.epoch,
                ..held.clone()
            };
            let outcome = self.write_states(vec![(tp.clone(), next)]).await?;
            if let Some((_, leadership)) = outcome.written.into_iter().next() {
                if let Some(partition) = self.context.partition_mut(tp) {
                    partition.leadership = Some(leadership.clone());
                }
                self.outbox.lead(&self.context, old, tp, &leadership, false);
                self.outbox.lead(&self.context, new, tp, &leadership, true);
                self.flush();
                return Ok(());
            }
            let missing = self.read_states(&outcome.conflicts).await?;
            if !missing.is_empty() || !outcome.refused.is_empty() {
                return Ok(());
            }
        }
    }

    /// A partition's ISR changed: perhaps all targets are in it now.
    pub(crate) async fn complete_reassignment_if_ready(
        &mut self,
        tp: &TopicPartition,
    ) -> Result<(), Fenced> {
        let Some(partition) = self.context.partition(tp) else {
            return Ok(());
        };
        let assignment = partition.assignment.clone();
        let exists = partition.phase.is_some();
        if exists && assignment.is_reassigning() && self.is_complete(tp) {
            self.finish_reassignment(tp, assignment).await?;
        }
        Ok(())
    }

    /// Brokers came that a reassignment waits for, or without whom a partition had never been led.
    pub(crate) async fn resume_reassignments(&mut self, brokers: &[i32]) -> Result<(), Fenced> {
        let waiting = self.context.partitions_where(|tp, partition| {
            let mut targets = target(&partition.assignment).into_iter();
            partition.assignment.is_reassigning()
                && (targets.any(|id| brokers.contains(&id)) || self.is_complete(tp))
        });
        for tp in waiting {
            self.advance_reassignment(&tp).await?;
        }
        Ok(())
    }

    /// After a failover: what the node asks for, then what else was under way.
    pub(crate) async fn resume_all_reassignments(&mut self) -> Result<(), Fenced> {
        let resumed = self.read_reassign_node().await?;
        let waiting = self
            .context
            .partitions_where(|tp, held| held.assignment.is_reassigning() && !resumed.contains(tp));
        for tp in waiting {
            self.advance_reassignment(&tp).await?;
        }
        Ok(())
    }

    /// `/admin/reassign_partitions` appeared, or changed under our own hands.
    pub(crate) async fn reassign_node_changed(&mut self) -> Result<(), Fenced> {
        self.read_reassign_node().await.map(drop)
    }

    /// Obeys the node once after each creation, and watches for the next. Returns what began.
    async fn read_reassign_node(&mut self) -> Result<BTreeSet<TopicPartition>, Fenced> {
        let mut begun = BTreeSet::new();
        let listener = self.wakes.listener(Wake::Reassign);
        let Some(stat) = self.store.exists(paths::REASSIGN, Some(listener)).await? else {
            return Ok(begun);
        };
        if self.context.reassign_node == Some(stat.czxid) {
            return Ok(begun);
        }
        let Some(node) = self.node_of_tools(paths::REASSIGN).await? else {
            return Ok(begun);
        };
        self.context.reassign_node = Some(node.stat.czxid);
        let targets = match reassign::decode_targets(&node.data) {
            Ok(targets) => targets,
            Err(error) => {
                warn!(%error, "{} cannot be read; left alone", paths::REASSIGN);
                return Ok(begun);
            }
        };
        let mut dropped = BTreeSet::new();
        for (named, replicas) in targets {
            let name = self.topic_name(&named.topic);
            let tp = TopicPartition {
                topic: name.unwrap_or_else(|| named.topic.clone()),
                partition: named.partition,
            };
            // Kafka: whether the targets live is not asked on this way.
            let reason = match check_list(&replicas) {
                Ok(()) if self.is_movable(&tp) => None,
                Ok(()) => Some("The partition does not exist.".to_owned()),
                Err(text) => Some(text),
            };
            if let Some(reason) = reason {
                warn!(partition = %tp, reason, "reassignment refused");
                dropped.insert(named);
                continue;
            }
            let plan = moving(&origin(&self.assignment(&tp)), &replicas);
            match self.begin_reassignment(&tp, plan).await? {
                true => begun.insert(tp),
                false => dropped.insert(named),
            };
        }
        if !dropped.is_empty() {
            self.trim_reassign_node(|tp, _| dropped.contains(tp))
                .await?;
        }
        Ok(begun)
    }

    /// A node of the old tools; none where its access list keeps it from us, which ends no reign.
    pub(crate) async fn node_of_tools(&self, path: &str) -> Result<Option<Node>, Fenced> {
        match self.store.get(path, None).await {
            Err(error @ Error::NoAuth { .. }) => {
                warn!(%error, "{path} cannot be read; left alone");
                Ok(None)
            }
            node => Ok(node?),
        }
    }

    /// Takes partitions out of the old tools' node; the last one takes the node along.
    pub(crate) async fn trim_reassign_node(
        &mut self,
        is_done: impl Fn(&TopicPartition, &Vec<i32>) -> bool,
    ) -> Result<(), Fenced> {
        while let Some(node) = self.node_of_tools(paths::REASSIGN).await? {
            let Ok(targets) = reassign::decode_targets(&node.data) else {
                return Ok(());
            };
            let mut left = targets.clone();
            left.retain(|(tp, replicas)| !is_done(tp, replicas));
            if left.len() == targets.len() {
                return Ok(());
            }
            // Over what was read: another tool's node may have come in its place.
            let version = node.stat.version;
            let op = match left.is_empty() {
                true => Op::delete(paths::REASSIGN, version),
                false => Op::set(paths::REASSIGN, reassign::encode_targets(&left), version),
            };
            match self.fence.write(&*self.store, vec![op]).await {
                Ok(_) if left.is_empty() => return self.await_reassign_node().await,
                Ok(_) => return Ok(()),
                Err(Fenced::Store(Error::Unknown { .. })) => {}
                Err(Fenced::Store(error)) if error.is_bad_version() || error.is_no_node() => {}
                Err(Fenced::Store(error @ (Error::Step { .. } | Error::TooLarge { .. }))) => {
                    warn!(%error, "could not write {}", paths::REASSIGN);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Watches for the next node of the old tools; it may be there already.
    async fn await_reassign_node(&mut self) -> Result<(), Fenced> {
        let listener = self.wakes.listener(Wake::Reassign);
        let next = self.store.exists(paths::REASSIGN, Some(listener)).await?;
        if next.is_some() {
            self.wakes.add(Wake::Reassign);
        }
        Ok(())
    }

    /// ListPartitionReassignments.
    pub(crate) fn reassignments(
        &self,
        asked: Option<&[TopicPartition]>,
    ) -> BTreeMap<TopicPartition, Ongoing> {
        let asked = asked.map(|asked| asked.iter().collect::<HashSet<_>>());
        let moving = self.context.partitions_where(|tp, partition| {
            let is_asked = || asked.as_ref().is_none_or(|asked| asked.contains(tp));
            partition.assignment.is_reassigning() && is_asked()
        });
        let describe = |tp: TopicPartition| {
            let held = self.context.partition(&tp)?.assignment.clone();
            let Assignment {
                replicas,
                adding,
                removing,
            } = held;
            Some((
                tp,
                Ongoing {
                    replicas,
                    adding,
                    removing,
                },
            ))
        };
        moving.into_iter().filter_map(describe).collect()
    }
}

impl crate::context::Context {
    fn ineligible_while_reassigning(&mut self, topic: &Arc<str>) {
        if self.is_deleting(topic) {
            self.ineligible.insert(topic.clone());
        }
    }
}

/// What no list of replicas may be, in Kafka's words and order.
fn check_list(targets: &[i32]) -> Result<(), String> {
    if targets.is_empty() {
        return Err("Empty replica list specified in partition reassignment.".to_owned());
    }
    let different: BTreeSet<&i32> = targets.iter().collect();
    if different.len() < targets.len() {
        let list = scala("ArrayBuffer", targets);
        return Err(format!(
            "Duplicate replica ids in partition reassignment replica list: {list}"
        ));
    }
    if targets.iter().any(|id| *id < 0) {
        let list = scala("ArrayBuffer", targets);
        return Err(format!("Invalid broker id in replica list: {list}"));
    }
    Ok(())
}

/// A collection as Scala prints it inside Kafka's messages.
fn scala<'a>(kind: &str, ids: impl IntoIterator<Item = &'a i32>) -> String {
    let ids: Vec<String> = ids.into_iter().map(i32::to_string).collect();
    format!("{kind}({})", ids.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_come_first_and_what_goes_stays_to_the_end() {
        let plan = moving(&[1, 2], &[4, 2]);
        let expected = Assignment {
            replicas: vec![4, 2, 1],
            adding: vec![4],
            removing: vec![1],
        };
        assert_eq!(plan, expected);
        assert_eq!((target(&plan), origin(&plan)), (vec![4, 2], vec![2, 1]));
    }
}
