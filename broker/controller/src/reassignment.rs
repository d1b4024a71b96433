//! Moving partitions to other brokers, by request or by the old tools' node.
//!
//! | phase | what holds | what is done |
//! |---|---|---|
//! | begun | node lists targets first, then originals; adding and removing are named | everybody gets a higher leader epoch, new replicas start to fetch |
//! | caught up | every target is in the ISR | leader moves to a target, others are stopped and deleted, node lists the targets |
//! | cancelled | the target is the original set | the same, the other way round |
//!
//! Kafka: `onPartitionReassignment` and `updateCurrentReassignment`.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::ids::TopicPartition;
use protocol::kafka::errors::ErrorCode;
use tracing::{info, warn};
use znodes::bodies::reassign;
use znodes::bodies::topic::Assignment;
use znodes::fence::Fenced;
use znodes::paths;
use znodes::store::{ANY, Op};

use crate::context::{Leadership, ReplicaPhase};
use crate::event::{Ongoing, ReassignmentTargets, Verdict, Wake};
use crate::partitions::{Strategy, target};
use crate::reign::Reign;

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
        let mut verdicts = Vec::with_capacity(asked.len());
        let mut begin: Vec<(TopicPartition, Assignment)> = Vec::new();
        for (tp, targets) in asked {
            let verdict = match self.plan_reassignment(&tp, targets.as_deref()) {
                Ok(plan) => {
                    begin.push((tp.clone(), plan));
                    (ErrorCode::None, None)
                }
                Err(refusal) => refusal,
            };
            verdicts.push((tp, verdict));
        }
        self.trim_reassign_node(&begin.iter().map(|(tp, _)| tp.clone()).collect::<Vec<_>>())
            .await?;
        for (tp, plan) in begin {
            self.begin_reassignment(&tp, plan).await?;
        }
        Ok(verdicts)
    }

    fn plan_reassignment(
        &self,
        tp: &TopicPartition,
        targets: Option<&[i32]>,
    ) -> Result<Assignment, Verdict> {
        let unknown = || {
            (
                ErrorCode::UnknownTopicOrPartition,
                Some("The partition does not exist.".to_owned()),
            )
        };
        if let Some(targets) = targets {
            self.check_targets(targets)?;
        }
        let partition = self.context.partition(tp).ok_or_else(unknown)?;
        if self.context.is_deleting(&tp.topic) {
            let text = "The partition's topic is being deleted.".to_owned();
            return Err((ErrorCode::UnknownTopicOrPartition, Some(text)));
        }
        let from = origin(&partition.assignment);
        match targets {
            Some(targets) => {
                let plan = moving(&from, targets);
                if plan.adding.iter().any(|id| !self.context.is_live(*id)) {
                    let text = format!(
                        "Replica assignment has brokers that are not alive. Replica list: {}, live broker list: {}",
                        scala("ArrayBuffer", &plan.adding),
                        scala("Set", &self.context.live()),
                    );
                    return Err((ErrorCode::InvalidReplicaAssignment, Some(text)));
                }
                Ok(plan)
            }
            None if partition.assignment.is_reassigning() => {
                let now = &partition.assignment.replicas;
                let back: Vec<i32> = now.iter().copied().filter(|id| from.contains(id)).collect();
                Ok(moving(&from, &back))
            }
            None => {
                let code = ErrorCode::NoReassignmentInProgress;
                Err((code, code.message().map(str::to_owned)))
            }
        }
    }

    fn check_targets(&self, targets: &[i32]) -> Result<(), Verdict> {
        let refuse = |text: String| Err((ErrorCode::InvalidReplicaAssignment, Some(text)));
        if targets.is_empty() {
            return refuse("Empty replica list specified in partition reassignment.".to_owned());
        }
        if targets.iter().any(|id| *id < 0) {
            return refuse(format!(
                "Invalid broker id in replica list: {}",
                scala("ArrayBuffer", targets)
            ));
        }
        let mut sorted = targets.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() < targets.len() {
            return refuse(format!(
                "Duplicate replica ids in partition reassignment replica list: {}",
                scala("ArrayBuffer", targets)
            ));
        }
        Ok(())
    }

    /// A new, superseding or cancelling assignment is written and begun.
    async fn begin_reassignment(
        &mut self,
        tp: &TopicPartition,
        plan: Assignment,
    ) -> Result<(), Fenced> {
        let Some(partition) = self.context.partition_mut(tp) else {
            return Ok(());
        };
        let before = std::mem::replace(&mut partition.assignment, plan.clone());
        info!(target: "state_change", partition = %tp, from = ?before.replicas, to = ?plan.replicas, adding = ?plan.adding, removing = ?plan.removing, "reassignment");
        self.write_topic(&tp.topic).await?;
        let needless: Vec<i32> = before
            .replicas
            .iter()
            .copied()
            .filter(|id| !plan.replicas.contains(id))
            .collect();
        if !needless.is_empty() {
            // Kafka: the replicas of a superseded plan hear that they are not assigned any more.
            let brokers: Vec<i32> = before
                .replicas
                .iter()
                .chain(&plan.replicas)
                .copied()
                .collect();
            self.raise_leader_epoch(tp, &brokers, &[]).await?;
            self.stop_replicas(tp, &needless).await?;
        }
        if plan.is_reassigning() {
            self.context.ineligible_while_reassigning(&tp.topic);
        }
        self.advance_reassignment(tp).await
    }

    async fn advance_reassignment(&mut self, tp: &TopicPartition) -> Result<(), Fenced> {
        let Some(partition) = self.context.partition(tp) else {
            return Ok(());
        };
        let assignment = partition.assignment.clone();
        if self.has_caught_up(tp) {
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

    fn has_caught_up(&self, tp: &TopicPartition) -> bool {
        let Some(partition) = self.context.partition(tp) else {
            return false;
        };
        let Some(held) = &partition.leadership else {
            return false;
        };
        target(&partition.assignment)
            .iter()
            .all(|id| held.isr.contains(id))
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
        let led = self.context.leadership(tp).is_some_and(|held| {
            targets.contains(&held.leader) && self.context.is_replica_online(held.leader, tp)
        });
        if !led {
            self.bring_online(std::slice::from_ref(tp), Strategy::Reassigning)
                .await?;
        }
        if let Some(partition) = self.context.partition_mut(tp) {
            partition.assignment = Assignment::of(targets.clone());
        }
        if led {
            self.raise_leader_epoch(tp, &targets, &[]).await?;
        }
        self.stop_replicas(tp, &assignment.removing).await?;
        self.write_topic(&tp.topic).await?;
        self.trim_reassign_node(std::slice::from_ref(tp)).await?;
        info!(target: "state_change", partition = %tp, replicas = ?targets, "reassignment done");
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
            let (written, conflicts) = self.write_states(vec![(tp.clone(), next)]).await?;
            if let Some((_, leadership)) = written.into_iter().next() {
                if let Some(partition) = self.context.partition_mut(tp) {
                    partition.leadership = Some(leadership.clone());
                }
                self.outbox.lead(&self.context, old, tp, &leadership, false);
                self.outbox.lead(&self.context, new, tp, &leadership, true);
                self.flush();
                return Ok(());
            }
            if !self.read_states(&conflicts).await?.is_empty() {
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
        if assignment.is_reassigning() && self.has_caught_up(tp) {
            self.finish_reassignment(tp, assignment).await?;
        }
        Ok(())
    }

    /// Brokers came that a reassignment waits for.
    pub(crate) async fn resume_reassignments(&mut self, brokers: &[i32]) -> Result<(), Fenced> {
        let waiting = self.context.partitions_where(|_, partition| {
            partition.assignment.is_reassigning()
                && target(&partition.assignment)
                    .iter()
                    .any(|id| brokers.contains(id))
        });
        for tp in waiting {
            self.advance_reassignment(&tp).await?;
        }
        Ok(())
    }

    pub(crate) async fn resume_all_reassignments(&mut self) -> Result<(), Fenced> {
        self.reassign_node_changed().await?;
        let waiting = self
            .context
            .partitions_where(|_, held| held.assignment.is_reassigning());
        for tp in waiting {
            self.advance_reassignment(&tp).await?;
        }
        Ok(())
    }

    /// `/admin/reassign_partitions` appeared.
    pub(crate) async fn reassign_node_changed(&mut self) -> Result<(), Fenced> {
        let listener = self.wakes.listener(Wake::Reassign);
        if self
            .store
            .exists(paths::REASSIGN, Some(listener))
            .await?
            .is_none()
        {
            return Ok(());
        }
        let Some(node) = self.store.get(paths::REASSIGN, None).await? else {
            return Ok(());
        };
        let targets = match reassign::decode_targets(&node.data) {
            Ok(targets) => targets,
            Err(error) => {
                warn!(%error, "{} cannot be read; left alone", paths::REASSIGN);
                return Ok(());
            }
        };
        let mut dropped = Vec::new();
        for (tp, replicas) in targets {
            let name = self.topic_name(&tp.topic);
            let tp = TopicPartition {
                topic: name.unwrap_or(tp.topic),
                partition: tp.partition,
            };
            match self.plan_reassignment(&tp, Some(&replicas)) {
                Ok(plan) => self.begin_reassignment(&tp, plan).await?,
                Err((code, text)) => {
                    warn!(partition = %tp, ?code, text, "reassignment refused");
                    dropped.push(tp);
                }
            }
        }
        self.trim_reassign_node(&dropped).await
    }

    /// Takes partitions out of the old tools' node; the last one takes the node along.
    async fn trim_reassign_node(&mut self, done: &[TopicPartition]) -> Result<(), Fenced> {
        if done.is_empty() {
            return Ok(());
        }
        let Some(node) = self.store.get(paths::REASSIGN, None).await? else {
            return Ok(());
        };
        let Ok(targets) = reassign::decode_targets(&node.data) else {
            return Ok(());
        };
        let left: Vec<_> = targets
            .iter()
            .filter(|(tp, _)| !done.contains(tp))
            .cloned()
            .collect();
        if left.len() == targets.len() {
            return Ok(());
        }
        if left.is_empty() {
            self.delete_nodes(vec![paths::REASSIGN.to_owned()]).await?;
            let listener = self.wakes.listener(Wake::Reassign);
            if self
                .store
                .exists(paths::REASSIGN, Some(listener))
                .await?
                .is_some()
            {
                self.wakes.add(Wake::Reassign);
            }
            return Ok(());
        }
        let op = Op::set(paths::REASSIGN, reassign::encode_targets(&left), ANY);
        match self.fence.write(&*self.store, vec![op]).await {
            Err(Fenced::Moved) => Err(Fenced::Moved),
            _ => Ok(()),
        }
    }

    /// ListPartitionReassignments.
    pub(crate) fn reassignments(
        &self,
        asked: Option<&[TopicPartition]>,
    ) -> BTreeMap<TopicPartition, Ongoing> {
        let moving = self.context.partitions_where(|tp, partition| {
            partition.assignment.is_reassigning() && asked.is_none_or(|asked| asked.contains(tp))
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
