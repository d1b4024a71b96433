//! All that a controller knows: plain data, and the questions asked of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use protocol::ids::{TopicId, TopicPartition};
use znodes::bodies::broker::Broker;
use znodes::bodies::partition::PartitionState;
use znodes::bodies::topic::{self, Assignment};

/// The leader of a partition that has none.
pub(crate) const NOBODY: i32 = -1;

/// Leadership of one partition as its state node tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leadership {
    pub(crate) leader: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) isr: Vec<i32>,
    pub(crate) recovering: bool,
    /// The controller that decided it.
    pub(crate) controller_epoch: i32,
    /// The version of the state node.
    pub(crate) partition_epoch: i32,
}

impl Leadership {
    pub(crate) fn read(state: PartitionState, version: i32) -> Self {
        Leadership {
            leader: state.leader,
            leader_epoch: state.leader_epoch,
            isr: state.isr,
            recovering: state.recovering,
            controller_epoch: state.controller_epoch,
            partition_epoch: version,
        }
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        PartitionState {
            controller_epoch: self.controller_epoch,
            leader: self.leader,
            leader_epoch: self.leader_epoch,
            isr: self.isr.clone(),
            recovering: self.recovering,
        }
        .encode()
        .into_bytes()
    }
}

/// Where a partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartitionPhase {
    /// Assigned, never led.
    New,
    Online,
    Offline,
}

/// Where a replica stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplicaPhase {
    New,
    Online,
    Offline,
    DeletionStarted,
    DeletionSuccessful,
    DeletionIneligible,
}

/// A partition as the controller sees it.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    pub(crate) assignment: Assignment,
    /// `None` does not exist to the state machine (yet, or any more).
    pub(crate) phase: Option<PartitionPhase>,
    pub(crate) leadership: Option<Leadership>,
    pub(crate) replicas: Vec<(i32, ReplicaPhase)>,
}

impl Partition {
    pub(crate) fn new(assignment: Assignment) -> Self {
        Partition {
            assignment,
            phase: None,
            leadership: None,
            replicas: vec![],
        }
    }

    pub(crate) fn replica(&self, broker: i32) -> Option<ReplicaPhase> {
        self.replicas
            .iter()
            .find(|(id, _)| *id == broker)
            .map(|(_, phase)| *phase)
    }

    pub(crate) fn set_replica(&mut self, broker: i32, phase: Option<ReplicaPhase>) {
        self.replicas.retain(|(id, _)| *id != broker);
        if let Some(phase) = phase {
            self.replicas.push((broker, phase));
        }
    }
}

/// A topic as the controller sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Topic {
    pub(crate) id: Option<TopicId>,
    /// When its node was made: tells it from a later topic of the same name.
    pub(crate) czxid: i64,
    pub(crate) partitions: BTreeMap<i32, Partition>,
}

impl Topic {
    /// As its node is written.
    pub(crate) fn body(&self) -> topic::Topic {
        topic::Topic {
            id: self.id,
            partitions: self
                .partitions
                .iter()
                .map(|(index, partition)| (*index, partition.assignment.clone()))
                .collect(),
        }
    }
}

/// A registered broker.
#[derive(Clone, Debug)]
pub(crate) struct Registered {
    /// The czxid of its node.
    pub(crate) epoch: i64,
    pub(crate) body: Broker,
}

/// The cluster in one controllership.
#[derive(Debug, Default)]
pub(crate) struct Context {
    pub(crate) brokers: BTreeMap<i32, Registered>,
    /// Registered still, but asked to leave.
    pub(crate) shutting_down: BTreeSet<i32>,
    pub(crate) topics: BTreeMap<Arc<str>, Topic>,
    pub(crate) names: HashMap<TopicId, Arc<str>>,
    /// Replicas that lie on failed directories, by broker.
    pub(crate) offline_dirs: BTreeMap<i32, BTreeSet<TopicPartition>>,
    pub(crate) to_delete: BTreeSet<Arc<str>>,
    pub(crate) ineligible: BTreeSet<Arc<str>>,
    /// Which `/admin/reassign_partitions` was obeyed last, by its czxid: our own trimming of it
    /// asks for nothing.
    pub(crate) reassign_node: Option<i64>,
    /// Which `/admin/preferred_replica_election` was obeyed last, by its mzxid: one that ZooKeeper
    /// does not let us delete is not obeyed again and again.
    pub(crate) preferred_node: Option<i64>,
    /// Partitions whose state node is watched while they move.
    pub(crate) watched_states: BTreeSet<TopicPartition>,
}

impl Context {
    pub(crate) fn is_registered(&self, broker: i32) -> bool {
        self.brokers.contains_key(&broker)
    }

    /// Registered and not leaving.
    pub(crate) fn is_live(&self, broker: i32) -> bool {
        self.is_registered(broker) && !self.shutting_down.contains(&broker)
    }

    pub(crate) fn live(&self) -> Vec<i32> {
        self.brokers
            .keys()
            .copied()
            .filter(|id| !self.shutting_down.contains(id))
            .collect()
    }

    pub(crate) fn registered(&self) -> Vec<i32> {
        self.brokers.keys().copied().collect()
    }

    /// The broker is live and the replica is not on a failed directory.
    pub(crate) fn is_replica_online(&self, broker: i32, tp: &TopicPartition) -> bool {
        self.is_live(broker) && !self.is_on_failed_directory(broker, tp)
    }

    /// The same, where a broker that leaves counts as well.
    pub(crate) fn is_replica_registered(&self, broker: i32, tp: &TopicPartition) -> bool {
        self.is_registered(broker) && !self.is_on_failed_directory(broker, tp)
    }

    fn is_on_failed_directory(&self, broker: i32, tp: &TopicPartition) -> bool {
        self.offline_dirs
            .get(&broker)
            .is_some_and(|set| set.contains(tp))
    }

    /// Whether one of its partitions moves.
    pub(crate) fn is_moving(&self, topic: &str) -> bool {
        self.topics.get(topic).is_some_and(|topic| {
            let mut partitions = topic.partitions.values();
            partitions.any(|held| held.assignment.is_reassigning())
        })
    }

    pub(crate) fn is_deleting(&self, topic: &str) -> bool {
        self.to_delete.contains(topic)
    }

    pub(crate) fn partition(&self, tp: &TopicPartition) -> Option<&Partition> {
        self.topics.get(&tp.topic)?.partitions.get(&tp.partition)
    }

    pub(crate) fn partition_mut(&mut self, tp: &TopicPartition) -> Option<&mut Partition> {
        self.topics
            .get_mut(&tp.topic)?
            .partitions
            .get_mut(&tp.partition)
    }

    pub(crate) fn leadership(&self, tp: &TopicPartition) -> Option<&Leadership> {
        self.partition(tp)?.leadership.as_ref()
    }

    pub(crate) fn all_partitions(&self) -> Vec<TopicPartition> {
        self.partitions_where(|_, _| true)
    }

    pub(crate) fn partitions_where(
        &self,
        fits: impl Fn(&TopicPartition, &Partition) -> bool,
    ) -> Vec<TopicPartition> {
        let mut found = Vec::new();
        for (name, topic) in &self.topics {
            for (index, partition) in &topic.partitions {
                let tp = TopicPartition {
                    topic: name.clone(),
                    partition: *index,
                };
                if fits(&tp, partition) {
                    found.push(tp);
                }
            }
        }
        found
    }

    pub(crate) fn partitions_of(&self, topic: &str) -> Vec<TopicPartition> {
        match self.topics.get_key_value(topic) {
            Some((name, topic)) => topic
                .partitions
                .keys()
                .map(|index| TopicPartition {
                    topic: name.clone(),
                    partition: *index,
                })
                .collect(),
            None => vec![],
        }
    }

    /// Every replica of these partitions, as the assignment has it.
    pub(crate) fn replicas_of(&self, partitions: &[TopicPartition]) -> Vec<(TopicPartition, i32)> {
        let mut found = Vec::new();
        for tp in partitions {
            if let Some(partition) = self.partition(tp) {
                found.extend(
                    partition
                        .assignment
                        .replicas
                        .iter()
                        .map(|id| (tp.clone(), *id)),
                );
            }
        }
        found
    }

    pub(crate) fn replicas_on(&self, brokers: &[i32]) -> Vec<(TopicPartition, i32)> {
        let mut found = Vec::new();
        for (name, topic) in &self.topics {
            for (index, partition) in &topic.partitions {
                for id in partition
                    .assignment
                    .replicas
                    .iter()
                    .filter(|id| brokers.contains(id))
                {
                    found.push((
                        TopicPartition {
                            topic: name.clone(),
                            partition: *index,
                        },
                        *id,
                    ));
                }
            }
        }
        found
    }

    pub(crate) fn set_topic_id(&mut self, name: &Arc<str>, id: TopicId) {
        if let Some(topic) = self.topics.get_mut(name) {
            if let Some(old) = topic.id.replace(id) {
                self.names.remove(&old);
            }
            self.names.insert(id, name.clone());
        }
    }

    pub(crate) fn forget_topic_id(&mut self, name: &str) {
        let id = self.topics.get_mut(name).and_then(|topic| topic.id.take());
        if let Some(id) = id {
            self.names.remove(&id);
        }
    }

    pub(crate) fn remove_topic(&mut self, name: &str) {
        if let Some(topic) = self.topics.remove(name)
            && let Some(id) = topic.id
        {
            self.names.remove(&id);
        }
        self.to_delete.remove(name);
        self.ineligible.remove(name);
    }

    /// Invariant: what is said in two places agrees.
    pub(crate) fn check(&self) {
        for (id, name) in &self.names {
            assert_eq!(
                self.topics.get(name).and_then(|topic| topic.id),
                Some(*id),
                "{name}"
            );
        }
        for (name, topic) in &self.topics {
            for (index, partition) in &topic.partitions {
                if let Some(leadership) = &partition.leadership {
                    assert!(
                        !leadership.isr.is_empty(),
                        "{name}-{index} has an empty ISR"
                    );
                }
            }
        }
    }
}
