//! What a controller does next, and which kind of work that is.

use crate::event::{Request, Wake};
use crate::measures::Work;
use crate::sender::{Answer, Answered};

/// One turn of the controller's task.
pub(crate) enum Next {
    Wake(Wake),
    /// A `/controller` that could not be read is tried again.
    Look,
    Request(Request),
    Answer(Answered),
    Rebalance,
    Session,
    Stop,
}

impl Next {
    /// Kafka: `ControllerEvent.state`.
    pub(crate) fn work(&self) -> Work {
        match self {
            Next::Wake(wake) => match wake {
                Wake::Controller => Work::ControllerChange,
                Wake::Brokers | Wake::Broker(_) => Work::LeaderElection,
                Wake::Topics | Wake::Topic(_) => Work::TopicChange,
                Wake::DeleteTopics => Work::TopicDeletion,
                Wake::LogDirs => Work::LogDirChange,
                Wake::IsrChanges => Work::IsrChange,
                Wake::Reassign | Wake::Moving(_) => Work::PartitionReassignment,
                Wake::PreferredElection => Work::ManualLeaderBalance,
            },
            Next::Request(request) => match request {
                Request::AlterPartition(..) => Work::IsrChange,
                Request::ControlledShutdown { .. } => Work::ControlledShutdown,
                Request::Elect { .. } => Work::ManualLeaderBalance,
                Request::Reassign(..) => Work::PartitionReassignment,
                Request::ListReassignments(..) => Work::ListPartitionReassignment,
                Request::UncleanDefault(_) => Work::UncleanLeaderElectionEnable,
                Request::UncleanEnabled(_) => Work::TopicUncleanLeaderElectionEnable,
                Request::ProducerIds { .. } | Request::Count(_) | Request::Register(_) => {
                    Work::Other
                }
            },
            Next::Answer(answered) => match answered.answer {
                Answer::LeaderAndIsr { .. } => Work::LeaderAndIsrResponseReceived,
                Answer::StopReplica { .. } => Work::TopicDeletion,
                Answer::UpdateMetadata { .. } => Work::UpdateMetadataResponseReceived,
            },
            Next::Rebalance => Work::AutoLeaderBalance,
            Next::Look | Next::Session | Next::Stop => Work::ControllerChange,
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::ids::TopicPartition;
    use protocol::kafka::errors::ErrorCode;

    use super::*;

    /// The numbers that operators' dashboards know from Kafka.
    #[test]
    fn kinds_of_work_have_kafkas_numbers() {
        let error = ErrorCode::None;
        let answer = |answer| {
            Next::Answer(Answered {
                broker: 1,
                epoch: 1,
                answer,
            })
        };
        let led = Answer::LeaderAndIsr {
            error,
            partitions: vec![],
        };
        let stopped = Answer::StopReplica {
            error,
            deleted: vec![],
        };
        for (next, number, timed) in [
            (Next::Wake(Wake::Brokers), 2, true),
            (
                Next::Wake(Wake::Moving(TopicPartition::new("t", 0))),
                5,
                true,
            ),
            (answer(led), 10, true),
            (answer(stopped), 4, true),
            (answer(Answer::UpdateMetadata { error }), 16, false),
            (Next::Request(Request::UncleanDefault(true)), 13, true),
        ] {
            let work = next.work();
            assert_eq!(
                (work.number(), work.is_timed()),
                (number, timed),
                "{work:?}"
            );
        }
    }
}
