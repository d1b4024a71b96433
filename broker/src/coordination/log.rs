//! The log beneath a shard: append, and read everything once. A trait, so that shards can be
//! tried over one in memory.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ::groups::refusal::WriteError;
use bytes::Bytes;
use protocol::ids::Offset;
use replication::append::{Acks, Append, AppendAnswer, Turn, append};
use replication::error::Refusal;
use replication::partition::{By, Partition, Term};
use storage::error::{AppendRefusal, ReadError};
use storage::log::{ReadRequest, Upto};

/// The result of an append: the offset of its batch, or why there is none.
pub type Written = Result<i64, WriteError>;

/// An append, done or under way.
pub enum Appending {
    Done(Written),
    /// Dropping it early is safe: the records stay where they are.
    Later(Pin<Box<dyn Future<Output = Written> + Send>>),
}

impl fmt::Debug for Appending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Appending::Done(written) => f.debug_tuple("Done").field(written).finish(),
            Appending::Later(_) => f.write_str("Later"),
        }
    }
}

/// A partition of an internal topic that this broker leads.
pub trait HostLog: Send + Sync + fmt::Debug {
    /// Appends a batch behind all earlier ones. `replicated`: done when every in-sync replica has
    /// it, or when time is up; else when this broker has it. Sleeps where the disk does.
    fn append(&self, batch: Bytes, replicated: bool) -> Appending;

    /// Where reading begins.
    fn start(&self) -> Offset;

    /// Where it ends at this moment.
    fn end(&self) -> Offset;

    /// Whole batches from `from` on, at least one unless the log ends there. Blocks.
    fn read(&self, from: Offset, bytes_max: usize) -> Result<Bytes, ReadError>;
}

/// A partition under `replication`.
#[derive(Debug)]
pub struct ReplicatedLog {
    partition: Arc<Partition>,
    /// The leadership in which its groups are loaded.
    term: Term,
    /// `offsets.commit.required.acks`
    acks: Acks,
    /// `offsets.commit.timeout.ms`
    timeout_ms: i64,
}

impl ReplicatedLog {
    pub fn new(partition: Arc<Partition>, acks: Acks, timeout_ms: i64) -> Self {
        ReplicatedLog {
            term: partition.term(),
            partition,
            acks,
            timeout_ms,
        }
    }
}

impl HostLog for ReplicatedLog {
    fn append(&self, batch: Bytes, replicated: bool) -> Appending {
        let acks = if replicated { self.acks } else { Acks::Leader };
        let mut turn = Turn::begin();
        let appended = append(
            &self.partition,
            batch,
            By::coordinator_of(self.term),
            acks,
            &mut turn,
        );
        turn.end();
        match appended {
            Append::Answered(answer) => Appending::Done(written(&answer)),
            Append::Waits(wait) => {
                let stay = self.partition.shared().deadlines.park(self.timeout_ms);
                Appending::Later(Box::pin(async move { written(&wait.finish(&stay).await) }))
            }
        }
    }

    fn start(&self) -> Offset {
        self.partition.log().offsets().start
    }

    fn end(&self) -> Offset {
        self.partition.log().offsets().end
    }

    fn read(&self, from: Offset, bytes_max: usize) -> Result<Bytes, ReadError> {
        let request = ReadRequest {
            from,
            bytes_max,
            min_one: true,
            upto: Upto::End,
        };
        let plan = self.partition.log().read(request)?;
        Ok(plan.read()?)
    }
}

// Kafka: GroupMetadataManager.storeGroup and maybeConvertOffsetCommitError group the log's errors
// in the same way.
fn written(answer: &AppendAnswer) -> Written {
    let Some(refusal) = &answer.refusal else {
        return Ok(answer.first_offset.0);
    };
    Err(match refusal {
        Refusal::UnknownPartition
        | Refusal::NotEnoughReplicas
        | Refusal::NotEnoughReplicasAfterAppend => WriteError::NotEnoughReplicas,
        Refusal::NotLeader
        | Refusal::FencedLeaderEpoch
        | Refusal::UnknownLeaderEpoch
        | Refusal::DirectoryOffline
        | Refusal::DirectoryNotFound
        | Refusal::Damaged => WriteError::NotLeader,
        Refusal::TimedOut | Refusal::Overloaded | Refusal::Silent => WriteError::TimedOut,
        Refusal::Append(AppendRefusal::TooLarge { .. } | AppendRefusal::SetTooLarge { .. }) => {
            WriteError::TooLarge
        }
        Refusal::Append(AppendRefusal::InvalidProducerEpoch { .. }) => {
            WriteError::InvalidProducerEpoch
        }
        Refusal::Append(AppendRefusal::InvalidTxnState { .. }) => WriteError::InvalidTxnState,
        Refusal::Append(_)
        | Refusal::OffsetOutOfRange
        | Refusal::OffsetNotAvailable
        | Refusal::InconsistentTopicId
        | Refusal::DeletionNotAllowed
        | Refusal::StaleControllerEpoch
        | Refusal::StaleBrokerEpoch => WriteError::Other,
    })
}
