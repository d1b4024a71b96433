//! Errors of every room beneath, told in Kafka's codes: the only place that knows both.

use groups::Refusal as GroupRefusal;
use protocol::kafka::errors::ErrorCode;

/// What a client of a group hears.
pub(crate) fn of_group(refusal: GroupRefusal) -> ErrorCode {
    match refusal {
        GroupRefusal::InvalidGroupId => ErrorCode::InvalidGroupId,
        GroupRefusal::CoordinatorNotAvailable => ErrorCode::CoordinatorNotAvailable,
        GroupRefusal::CoordinatorLoadInProgress => ErrorCode::CoordinatorLoadInProgress,
        GroupRefusal::NotCoordinator => ErrorCode::NotCoordinator,
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
