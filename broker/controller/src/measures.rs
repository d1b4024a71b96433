//! The controller in numbers: how long each kind of its work takes, and what it counts when asked.
//!
//! Counting walks over all partitions once, in the controller's own task, when somebody asks; so
//! nothing has to be kept up to date where decisions are made.

use std::sync::atomic::{AtomicU8, Ordering};

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
    UpdateMetadataResponseReceived,
    /// What has no state of its own in Kafka: producer ids, what this broker asks of itself.
    Other,
}

impl Work {
    pub const ALL: [Work; 16] = [
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
        Work::UpdateMetadataResponseReceived,
        Work::Other,
    ];

    /// Whether Kafka has a metric for how long it takes.
    pub const fn is_timed(self) -> bool {
        !matches!(self, Work::UpdateMetadataResponseReceived | Work::Other)
    }

    /// Kafka: `ControllerState.value`; 0 is nothing, or what has no number of its own here.
    pub const fn number(self) -> u8 {
        match self {
            Work::Other => 0,
            Work::ControllerChange => 1,
            Work::LeaderElection => 2,
            Work::TopicChange => 3,
            Work::TopicDeletion => 4,
            Work::PartitionReassignment => 5,
            Work::AutoLeaderBalance => 6,
            Work::ManualLeaderBalance => 7,
            Work::ControlledShutdown => 8,
            Work::IsrChange => 9,
            Work::LeaderAndIsrResponseReceived => 10,
            Work::LogDirChange => 11,
            Work::UncleanLeaderElectionEnable => 13,
            Work::TopicUncleanLeaderElectionEnable => 14,
            Work::ListPartitionReassignment => 15,
            Work::UpdateMetadataResponseReceived => 16,
        }
    }
}

/// Kept from election to election.
#[derive(Debug, Default)]
pub struct Measures {
    works: [Timings; Work::ALL.len()],
    /// What is being done, as [`Work::number`]; 0 while nothing is.
    state: AtomicU8,
    /// Leaders chosen from outside the ISR.
    pub unclean_elections: Count,
}

impl Measures {
    pub(crate) fn note_begun(&self, work: Work) {
        self.state.store(work.number(), Ordering::Relaxed);
    }

    pub(crate) fn note_idle(&self) {
        self.state.store(0, Ordering::Relaxed);
    }

    /// Kafka: the gauge `ControllerState`.
    pub fn state(&self) -> u8 {
        self.state.load(Ordering::Relaxed)
    }

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
