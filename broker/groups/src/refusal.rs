//! Every "no" a client of a group can hear, under Kafka's names.

/// Why a group says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    #[error("the group id is not valid")]
    InvalidGroupId,
    #[error("the coordinator is not available")]
    CoordinatorNotAvailable,
    #[error("the coordinator is loading")]
    CoordinatorLoadInProgress,
    #[error("this broker is not the group's coordinator")]
    NotCoordinator,
    #[error("the brokers' agreed version does not know static members")]
    UnsupportedVersion,
    #[error("the session timeout is outside the allowed range")]
    InvalidSessionTimeout,
    #[error("the member id is not known")]
    UnknownMemberId,
    #[error("the group is full")]
    GroupMaxSizeReached,
    #[error("the group's protocols differ from the member's")]
    InconsistentGroupProtocol,
    #[error("join again with the member id given")]
    MemberIdRequired,
    #[error("another member has taken this instance id")]
    FencedInstanceId,
    #[error("the generation is not the group's")]
    IllegalGeneration,
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    #[error("the group has members")]
    NonEmptyGroup,
    #[error("there is no such group")]
    GroupIdNotFound,
    #[error("the group is subscribed to the topic")]
    GroupSubscribedToTopic,
    #[error("the metadata is too large")]
    OffsetMetadataTooLarge,
    #[error("a commit of this offset is under way")]
    UnstableOffsetCommit,
    #[error("the commit is too large to be written")]
    InvalidCommitOffsetSize,
    #[error("the write was not acknowledged in time")]
    RequestTimedOut,
    #[error("the producer's epoch is old")]
    InvalidProducerEpoch,
    #[error("the producer has no transaction here")]
    InvalidTxnState,
    #[error("something unexpected went wrong")]
    UnknownServerError,
}

/// Why a record was not written down, or not known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Unknown partition, or too few replicas in sync.
    #[error("too few replicas")]
    NotEnoughReplicas,
    /// No longer the leader, or the disk has failed.
    #[error("not the leader")]
    NotLeader,
    #[error("not replicated in time")]
    TimedOut,
    #[error("larger than the topic allows")]
    TooLarge,
    #[error("the producer's epoch is old")]
    InvalidProducerEpoch,
    #[error("the producer has no transaction here")]
    InvalidTxnState,
    #[error("the log refused the records")]
    Other,
}

impl WriteError {
    /// What members hear when the group's own record was not written.
    // Kafka: GroupMetadataManager.storeGroup. A timed-out write sends members back to join.
    pub fn of_group(self) -> Refusal {
        match self {
            WriteError::NotEnoughReplicas => Refusal::CoordinatorNotAvailable,
            WriteError::NotLeader => Refusal::NotCoordinator,
            WriteError::TimedOut => Refusal::RebalanceInProgress,
            WriteError::InvalidProducerEpoch => Refusal::InvalidProducerEpoch,
            WriteError::InvalidTxnState => Refusal::InvalidTxnState,
            WriteError::TooLarge | WriteError::Other => Refusal::UnknownServerError,
        }
    }

    /// What a committer hears.
    // Kafka: GroupMetadataManager.maybeConvertOffsetCommitError.
    pub fn of_commit(self) -> Refusal {
        match self {
            WriteError::NotEnoughReplicas => Refusal::CoordinatorNotAvailable,
            WriteError::NotLeader => Refusal::NotCoordinator,
            WriteError::TimedOut => Refusal::RequestTimedOut,
            WriteError::TooLarge => Refusal::InvalidCommitOffsetSize,
            WriteError::InvalidProducerEpoch => Refusal::InvalidProducerEpoch,
            WriteError::InvalidTxnState => Refusal::InvalidTxnState,
            WriteError::Other => Refusal::UnknownServerError,
        }
    }
}
