//! The legal moves of a replica, and what each of them does.
//!
//! ```text
//! (none) → New → Online ⇄ Offline → DeletionStarted → DeletionSuccessful → (none)
//!                                      ⇅ DeletionIneligible (back to Online or Offline)
//! ```
//!
//! Kafka: `ZkReplicaStateMachine`.

use std::collections::{BTreeMap, HashSet};

use protocol::ids::TopicPartition;
use tracing::{error, info};
use znodes::fence::Fenced;

use crate::context::{Leadership, NOBODY, ReplicaPhase};
use crate::reign::Reign;

fn is_legal(from: Option<ReplicaPhase>, to: Option<ReplicaPhase>) -> bool {
    use ReplicaPhase::{
        DeletionIneligible, DeletionStarted, DeletionSuccessful, New, Offline, Online,
    };
    match to {
        Some(New) => from.is_none(),
        Some(Online | Offline) => {
            matches!(from, Some(New | Online | Offline | DeletionIneligible))
        }
        Some(DeletionStarted) => from == Some(Offline),
        Some(DeletionSuccessful) => from == Some(DeletionStarted),
        Some(DeletionIneligible) => matches!(from, Some(Offline | DeletionStarted)),
        None => from == Some(DeletionSuccessful),
    }
}

impl Reign {
    /// Moves replicas and sends what follows from it, as one batch.
    pub(crate) async fn move_replicas(
        &mut self,
        replicas: &[(TopicPartition, i32)],
        to: Option<ReplicaPhase>,
    ) -> Result<(), Fenced> {
        let mut by_broker: BTreeMap<i32, Vec<TopicPartition>> = BTreeMap::new();
        for (tp, broker) in replicas {
            let Some(partition) = self.context.partition(tp) else {
                continue;
            };
            let from = partition.replica(*broker);
            if is_legal(from, to) {
                by_broker.entry(*broker).or_default().push(tp.clone());
            } else {
                error!(partition = %tp, broker, ?from, ?to, "illegal move of a replica");
            }
        }
        for (broker, partitions) in by_broker {
            match to {
                Some(ReplicaPhase::New) => self.replicas_new(broker, &partitions),
                Some(ReplicaPhase::Online) => self.replicas_online(broker, &partitions),
                Some(ReplicaPhase::Offline) => self.replicas_offline(broker, &partitions).await?,
                Some(ReplicaPhase::DeletionStarted) => {
                    for tp in &partitions {
                        self.outbox.stop(&self.context, &[broker], tp, true);
                    }
                    self.note_replicas(broker, &partitions, to);
                }
                Some(ReplicaPhase::DeletionIneligible | ReplicaPhase::DeletionSuccessful) => {
                    self.note_replicas(broker, &partitions, to);
                }
                None => {
                    for tp in &partitions {
                        if let Some(partition) = self.context.partition_mut(tp) {
                            partition.assignment.replicas.retain(|id| *id != broker);
                        }
                    }
                    self.note_replicas(broker, &partitions, None);
                }
            }
        }
        self.flush();
        Ok(())
    }

    fn note_replicas(
        &mut self,
        broker: i32,
        partitions: &[TopicPartition],
        to: Option<ReplicaPhase>,
    ) {
        for tp in partitions {
            if let Some(partition) = self.context.partition_mut(tp) {
                partition.set_replica(broker, to);
            }
        }
    }

    fn replicas_new(&mut self, broker: i32, partitions: &[TopicPartition]) {
        for tp in partitions {
            match self.context.leadership(tp).cloned() {
                Some(leadership) if leadership.leader == broker => {
                    error!(partition = %tp, broker, "a leader cannot become a new replica");
                    continue;
                }
                Some(leadership) => {
                    self.outbox
                        .lead(&self.context, &[broker], tp, &leadership, true);
                }
                None => {}
            }
            self.note_replicas(broker, std::slice::from_ref(tp), Some(ReplicaPhase::New));
        }
    }

    fn replicas_online(&mut self, broker: i32, partitions: &[TopicPartition]) {
        for tp in partitions {
            let Some(partition) = self.context.partition_mut(tp) else {
                continue;
            };
            if partition.replica(broker) == Some(ReplicaPhase::New) {
                if !partition.assignment.replicas.contains(&broker) {
                    partition.assignment.replicas.push(broker);
                }
            } else if let Some(leadership) = partition.leadership.clone() {
                self.outbox
                    .lead(&self.context, &[broker], tp, &leadership, false);
            }
            self.note_replicas(broker, std::slice::from_ref(tp), Some(ReplicaPhase::Online));
        }
    }

    async fn replicas_offline(
        &mut self,
        broker: i32,
        partitions: &[TopicPartition],
    ) -> Result<(), Fenced> {
        for tp in partitions {
            self.outbox.stop(&self.context, &[broker], tp, false);
        }
        let (led, never): (Vec<_>, Vec<_>) = partitions
            .iter()
            .cloned()
            .partition(|tp| self.context.leadership(tp).is_some());
        // Kafka: such a replica is not offline, and so never one whose log may be deleted.
        let refused = self.leave_isr(broker, &led).await?;
        for tp in &led {
            let Some(partition) = self.context.partition(tp) else {
                continue;
            };
            let others: Vec<i32> = partition
                .assignment
                .replicas
                .iter()
                .copied()
                .filter(|id| *id != broker)
                .collect();
            if let (false, Some(leadership)) = (
                self.context.is_deleting(&tp.topic),
                partition.leadership.clone(),
            ) {
                self.outbox
                    .lead(&self.context, &others, tp, &leadership, false);
            }
        }
        let registered = self.context.registered();
        self.outbox.tell_of(&self.context, &registered, &never);
        let offline: Vec<_> = partitions
            .iter()
            .filter(|tp| !refused.contains(tp))
            .cloned()
            .collect();
        self.note_replicas(broker, &offline, Some(ReplicaPhase::Offline));
        Ok(())
    }

    /// Takes a replica out of the ISRs it is in; the last member stays, but leads no more. Gives the
    /// partitions whose state ZooKeeper does not take: the replica is in their ISR as before.
    async fn leave_isr(
        &mut self,
        broker: i32,
        partitions: &[TopicPartition],
    ) -> Result<HashSet<TopicPartition>, Fenced> {
        let mut refused = HashSet::new();
        let mut pending: Vec<TopicPartition> = partitions.to_vec();
        while !pending.is_empty() {
            let mut wanted = Vec::new();
            for tp in &pending {
                let Some(held) = self.context.leadership(tp) else {
                    continue;
                };
                if !held.isr.contains(&broker) || held.controller_epoch > self.epoch {
                    continue;
                }
                let mut isr = held.isr.clone();
                if isr.len() > 1 {
                    isr.retain(|id| *id != broker);
                }
                let leadership = Leadership {
                    leader: if held.leader == broker {
                        NOBODY
                    } else {
                        held.leader
                    },
                    leader_epoch: held.leader_epoch.saturating_add(1),
                    isr,
                    recovering: held.recovering,
                    controller_epoch: self.epoch,
                    partition_epoch: held.partition_epoch,
                };
                wanted.push((tp.clone(), leadership));
            }
            let outcome = self.write_states(wanted).await?;
            for (tp, leadership) in outcome.written {
                let Leadership {
                    isr, leader_epoch, ..
                } = &leadership;
                if isr.contains(&broker) {
                    info!(target: "state_change", partition = %tp, broker, leader_epoch, "the last replica in the ISR stopped; nobody leads until it is back");
                } else {
                    info!(target: "state_change", partition = %tp, broker, ?isr, leader_epoch, "replica left the ISR");
                }
                if let Some(partition) = self.context.partition_mut(&tp) {
                    partition.leadership = Some(leadership);
                }
            }
            refused.extend(outcome.refused);
            let missing = self.read_states(&outcome.conflicts).await?;
            pending = outcome
                .conflicts
                .into_iter()
                .filter(|tp| !missing.contains(tp))
                .collect();
        }
        Ok(refused)
    }
}
