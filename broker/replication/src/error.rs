//! Every "no" of this crate, and what failed beneath it.

use storage::error::{AppendError, AppendRefusal, ReadError, ReadRefusal};

/// Why a partition does not do what was asked. The client hears it; nothing here is broken,
/// except where the storage beneath is, which has said so itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("partition is not known here")]
    UnknownPartition,
    #[error("this broker does not lead the partition")]
    NotLeader,
    #[error("caller's leader epoch is older than ours")]
    FencedLeaderEpoch,
    #[error("caller's leader epoch is newer than ours")]
    UnknownLeaderEpoch,
    #[error("offset is outside the log")]
    OffsetOutOfRange,
    #[error("watermark has not reached this leadership yet")]
    OffsetNotAvailable,
    #[error("in-sync replicas are fewer than min.insync.replicas")]
    NotEnoughReplicas,
    #[error("records are written, but in-sync replicas became fewer than min.insync.replicas")]
    NotEnoughReplicasAfterAppend,
    #[error("topic has another id here")]
    InconsistentTopicId,
    #[error("cleanup.policy does not allow deletion")]
    DeletionNotAllowed,
    #[error("time is up")]
    TimedOut,
    #[error("controller epoch is older than one seen before")]
    StaleControllerEpoch,
    #[error("broker epoch belongs to an earlier registration")]
    StaleBrokerEpoch,
    #[error("log directory is offline")]
    DirectoryOffline,
    #[error("log directory is not one of ours")]
    DirectoryNotFound,
    #[error("bytes on disk are damaged")]
    Damaged,
    #[error("disk's queue is full")]
    Overloaded,
    #[error("disk has not answered in time")]
    Silent,
    #[error(transparent)]
    Append(AppendRefusal),
}

impl Refusal {
    /// Whether nothing failed: a client with an old map of the cluster, or records that are wrong
    /// in themselves. Kafka counts the same as no failure (ReplicaManager.appendToLocalLog, 3.9).
    pub fn is_expected(&self) -> bool {
        matches!(
            self,
            Refusal::UnknownPartition
                | Refusal::NotLeader
                | Refusal::FencedLeaderEpoch
                | Refusal::UnknownLeaderEpoch
                | Refusal::OffsetOutOfRange
                | Refusal::OffsetNotAvailable
                | Refusal::DirectoryOffline
                | Refusal::Append(AppendRefusal::Corrupt(_))
        ) || self.is_too_large()
    }

    pub fn is_too_large(&self) -> bool {
        matches!(
            self,
            Refusal::Append(AppendRefusal::TooLarge { .. } | AppendRefusal::SetTooLarge { .. })
        )
    }
}

impl From<storage::error::Error> for Refusal {
    fn from(failed: storage::error::Error) -> Self {
        use storage::error::Error;
        match failed {
            Error::Disk { .. }
            | Error::Offline { .. }
            | Error::TooManyFiles { .. }
            | Error::Hung { .. }
            | Error::NoDirectory => Refusal::DirectoryOffline,
            // The log was deleted or moved under our feet: the next order has the new one.
            Error::Closed => Refusal::NotLeader,
            Error::Corrupt { .. }
            | Error::Locked { .. }
            | Error::Foreign { .. }
            | Error::Twice { .. }
            | Error::Exists { .. }
            | Error::Identity { .. } => Refusal::Damaged,
        }
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Refused(refusal) => Refusal::Append(refusal),
            AppendError::Failed(failed) => failed.into(),
        }
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Refused(ReadRefusal::OutOfRange { .. }) => Refusal::OffsetOutOfRange,
            ReadError::Failed(failed) => failed.into(),
        }
    }
}
