//! The controller in numbers: how long each kind of its work takes, and what it counts when asked.
//!
//! Counting walks over all partitions once, in the controller's own task, when somebody asks; so
//! nothing has to be kept up to date where decisions are made.

use base::metrics::{Count, Timings};

use crate::context::{Context, PartitionPhase, ReplicaPhase};

/// The kinds of work a controller does, as Kafka's `ControllerState` tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    ControllerChange,
    LeaderElection,
    TopicChange,
    TopicDeletion,
    PartitionReassignment,
    ListPartitionReassignment,
    AutoLeaderBalance,
    ManualLeaderBalance,
    ControlledShutdown,
    IsrChange,
    LeaderAndIsrResponseReceived,
    LogDirChange,
    UncleanLeaderElectionEnable,
    TopicUncleanLeaderElectionEnable,
    /// What Kafka does not time: producer ids, answers to other orders.
    Other,
}

impl Work {
    pub const ALL: [Work; 15] = [
        Work::ControllerChange,
        Work::LeaderElection,
        Work::TopicChange,
        Work::TopicDeletion,
        Work::PartitionReassignment,
        Work::ListPartitionReassignment,
        Work::AutoLeaderBalance,
        Work::ManualLeaderBalance,
        Work::ControlledShutdown,
        Work::IsrChange,
        Work::LeaderAndIsrResponseReceived,
        Work::LogDirChange,
        Work::UncleanLeaderElectionEnable,
        Work::TopicUncleanLeaderElectionEnable,
        Work::Other,
    ];
}

/// Kept from election to election.
#[derive(Debug, Default)]
pub struct Measures {
    works: [Timings; Work::ALL.len()],
    /// Leaders chosen from outside the ISR.
    pub unclean_elections: Count,
}

impl Measures {
    /// In microseconds.
    pub fn work(&self, work: Work) -> &Timings {
        &self.works[work as usize]
    }
}

/// What an active controller counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Registered, those that leave included.
    pub brokers: usize,
    pub topics: usize,
    /// Those that were ever led.
    pub partitions: usize,
    /// Those that lost their leader, not those that never had one.
    pub offline_partitions: usize,
    /// Led by another than the preferred replica.
    pub imbalanced_partitions: usize,
    pub topics_to_delete: usize,
    /// Not deleted yet.
    pub replicas_to_delete: usize,
    pub topics_ineligible: usize,
    pub replicas_ineligible: usize,
}

impl Counts {
    pub(crate) fn of(context: &Context) -> Counts {
        let mut counts = Counts {
            brokers: context.brokers.len(),
            topics: context.topics.len(),
            topics_to_delete: context.to_delete.len(),
            topics_ineligible: context.ineligible.len(),
            ..Counts::default()
        };
        for (name, topic) in &context.topics {
            let goes = context.is_deleting(name);
            for partition in topic.partitions.values() {
                counts.partitions += usize::from(partition.leadership.is_some());
                if goes {
                    let phases = partition.replicas.iter().map(|(_, phase)| *phase);
                    for phase in phases {
                        let ineligible = phase == ReplicaPhase::DeletionIneligible;
                        let done = phase == ReplicaPhase::DeletionSuccessful;
                        counts.replicas_to_delete += usize::from(!done);
                        counts.replicas_ineligible += usize::from(ineligible);
                    }
                    continue;
                }
                let offline = partition.phase == Some(PartitionPhase::Offline);
                counts.offline_partitions += usize::from(offline);
                let leader = partition.leadership.as_ref().map(|held| held.leader);
                let preferred = partition.assignment.replicas.first().copied();
                counts.imbalanced_partitions +=
                    usize::from(leader.is_some() && leader != preferred);
            }
        }
        counts
    }
}
