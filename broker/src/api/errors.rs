//! Errors of every room beneath, told in Kafka's codes: the only place that knows both.

use groups::Refusal as GroupRefusal;
use protocol::kafka::errors::ErrorCode;
use replication::error::Refusal as ReplicationRefusal;
use replication::sessions::SessionRefusal;
use storage::error::AppendRefusal;

/// What a client of a group hears.
pub(crate) fn of_group(refusal: GroupRefusal) -> ErrorCode {
    match refusal {
        GroupRefusal::InvalidGroupId => ErrorCode::InvalidGroupId,
        GroupRefusal::CoordinatorNotAvailable => ErrorCode::CoordinatorNotAvailable,
        GroupRefusal::CoordinatorLoadInProgress => ErrorCode::CoordinatorLoadInProgress,
        GroupRefusal::NotCoordinator => ErrorCode::NotCoordinator,
        GroupRefusal::UnsupportedVersion => ErrorCode::UnsupportedVersion,
        GroupRefusal::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
        GroupRefusal::UnknownMemberId => ErrorCode::UnknownMemberId,
        GroupRefusal::GroupMaxSizeReached => ErrorCode::GroupMaxSizeReached,
        GroupRefusal::InconsistentGroupProtocol => ErrorCode::InconsistentGroupProtocol,
        GroupRefusal::MemberIdRequired => ErrorCode::MemberIdRequired,
        GroupRefusal::FencedInstanceId => ErrorCode::FencedInstanceId,
        GroupRefusal::IllegalGeneration => ErrorCode::IllegalGeneration,
        GroupRefusal::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        GroupRefusal::NonEmptyGroup => ErrorCode::NonEmptyGroup,
        GroupRefusal::GroupIdNotFound => ErrorCode::GroupIdNotFound,
        GroupRefusal::GroupSubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
        GroupRefusal::OffsetMetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
        GroupRefusal::UnstableOffsetCommit => ErrorCode::UnstableOffsetCommit,
        GroupRefusal::InvalidCommitOffsetSize => ErrorCode::InvalidCommitOffsetSize,
        GroupRefusal::RequestTimedOut => ErrorCode::RequestTimedOut,
        GroupRefusal::InvalidProducerEpoch => ErrorCode::InvalidProducerEpoch,
        GroupRefusal::InvalidTxnState => ErrorCode::InvalidTxnState,
        GroupRefusal::UnknownServerError => ErrorCode::UnknownServerError,
    }
}

/// What a client hears of a partition's refusal.
pub(crate) fn replication_code(refusal: &ReplicationRefusal) -> ErrorCode {
    match refusal {
        ReplicationRefusal::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        ReplicationRefusal::NotLeader => ErrorCode::NotLeaderOrFollower,
        ReplicationRefusal::FencedLeaderEpoch => ErrorCode::FencedLeaderEpoch,
        ReplicationRefusal::UnknownLeaderEpoch => ErrorCode::UnknownLeaderEpoch,
        ReplicationRefusal::OffsetOutOfRange => ErrorCode::OffsetOutOfRange,
        ReplicationRefusal::OffsetNotAvailable => ErrorCode::OffsetNotAvailable,
        ReplicationRefusal::NotEnoughReplicas => ErrorCode::NotEnoughReplicas,
        ReplicationRefusal::NotEnoughReplicasAfterAppend => ErrorCode::NotEnoughReplicasAfterAppend,
        ReplicationRefusal::InconsistentTopicId => ErrorCode::InconsistentTopicId,
        ReplicationRefusal::DeletionNotAllowed => ErrorCode::PolicyViolation,
        ReplicationRefusal::TimedOut | ReplicationRefusal::Overloaded => ErrorCode::RequestTimedOut,
        ReplicationRefusal::StaleControllerEpoch => ErrorCode::StaleControllerEpoch,
        ReplicationRefusal::StaleBrokerEpoch => ErrorCode::StaleBrokerEpoch,
        ReplicationRefusal::DirectoryOffline | ReplicationRefusal::Silent => {
            ErrorCode::KafkaStorageError
        }
        ReplicationRefusal::DirectoryNotFound => ErrorCode::LogDirNotFound,
        ReplicationRefusal::Damaged => ErrorCode::CorruptMessage,
        ReplicationRefusal::Append(refusal) => append_code(refusal),
    }
}

fn append_code(refusal: &AppendRefusal) -> ErrorCode {
    match refusal {
        AppendRefusal::Corrupt(_) => ErrorCode::CorruptMessage,
        AppendRefusal::TooLarge { .. } => ErrorCode::MessageTooLarge,
        AppendRefusal::SetTooLarge { .. } => ErrorCode::RecordListTooLarge,
        AppendRefusal::InvalidRecord { .. } => ErrorCode::InvalidRecord,
        AppendRefusal::InvalidTimestamp { .. } => ErrorCode::InvalidTimestamp,
        AppendRefusal::UnsupportedCompression(_) => ErrorCode::UnsupportedCompressionType,
        AppendRefusal::Unreadable(_) => ErrorCode::UnknownServerError,
        AppendRefusal::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        AppendRefusal::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        AppendRefusal::CoordinatorFenced { .. } => ErrorCode::TransactionCoordinatorFenced,
        AppendRefusal::InvalidTxnState { .. } => ErrorCode::InvalidTxnState,
        AppendRefusal::UnexpectedOffset { .. } => ErrorCode::UnknownServerError,
    }
}

/// Why a fetch session cannot go on.
pub(crate) fn session_code(refusal: SessionRefusal) -> ErrorCode {
    match refusal {
        SessionRefusal::NotFound => ErrorCode::FetchSessionIdNotFound,
        SessionRefusal::WrongEpoch => ErrorCode::InvalidFetchSessionEpoch,
        SessionRefusal::TopicIdsMixed => ErrorCode::FetchSessionTopicIdError,
        SessionRefusal::Impossible => ErrorCode::UnknownServerError,
    }
}
