//! One partition's log (signatures; bodies follow).
#![allow(
    unused_variables,
    dead_code,
    clippy::unimplemented,
    reason = "published early for the neighbours"
)]

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicId, TopicPartition};

use base::disk::DiskFile;

use crate::config::LogConfig;
use crate::error::{AppendError, ReadError, Result};
use crate::offsets::Offsets;

/// Who appends as leader: decides which checks apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A producer: sequences are checked, control batches refused.
    Client,
    /// The group or transaction coordinator of this broker, or a transaction marker.
    Coordinator,
}

/// What an append did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Of the appended records; of the earlier ones where `duplicate`.
    pub first_offset: Offset,
    pub last_offset: Offset,
    /// −1 unless the topic stamps records on arrival.
    pub log_append_time_ms: i64,
    pub log_start: Offset,
    /// The end of the log after it.
    pub end: Offset,
    /// The producer had sent this batch before: nothing was written.
    pub duplicate: bool,
    /// The log is due to be flushed (`flush.messages`). In the durable mode nothing may be
    /// acknowledged before [`Log::flush`] has returned at least `end`.
    pub flush_due: bool,
}

/// How far a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upto {
    End,
    HighWatermark,
    /// The last stable offset: the plan names the aborted transactions on its way.
    Stable,
}

#[derive(Clone, Copy, Debug)]
pub struct ReadRequest {
    pub from: Offset,
    pub bytes_max: usize,
    /// Give the first batch even where it alone exceeds `bytes_max`.
    pub min_one: bool,
    pub upto: Upto,
}

/// Bytes of one file, one after the other. The file stays readable while this is held, deleted or not.
#[derive(Clone, Debug)]
pub struct Range {
    pub file: Arc<dyn DiskFile>,
    pub position: u64,
    pub len: usize,
}

/// Which bytes answer a read; nothing has been copied.
#[derive(Clone, Debug)]
pub struct ReadPlan {
    /// The base offset of the first batch (at most `from`).
    pub first_offset: Offset,
    pub ranges: smallvec::SmallVec<[Range; 1]>,
    /// As they were when the plan was made.
    pub offsets: Offsets,
    /// With [`Upto::Stable`]: transactions to leave out.
    pub aborted: Vec<AbortedTransaction>,
}

impl ReadPlan {
    pub fn len(&self) -> usize {
        unimplemented!()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Reads the planned bytes.
    pub fn read(&self) -> Result<Bytes> {
        unimplemented!()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer: ProducerId,
    pub first_offset: Offset,
}

/// Which moment a reader looks for (ListOffsets).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// −2: the start of the log.
    Earliest,
    /// −4: the start of what lies on this disk.
    EarliestLocal,
    /// −1: bounded by the caller's `upto`.
    Latest,
    /// −3: the record with the highest timestamp.
    MaxTimestamp,
    /// −5: the end of what lies in tiered storage; we have none.
    LatestTiered,
    At(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    /// −1 for the special moments.
    pub timestamp_ms: i64,
    pub offset: Offset,
    pub leader_epoch: Option<LeaderEpoch>,
}

/// A producer as DescribeProducers shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    pub producer: ProducerId,
    pub epoch: ProducerEpoch,
    pub last_sequence: i32,
    pub last_timestamp_ms: i64,
    pub coordinator_epoch: i32,
    /// −1 without an open transaction.
    pub transaction_start: Offset,
}

/// Allows one producer's first transactional write here: see [`Log::start_verification`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerificationGuard(pub(crate) u64);

/// One partition's log. All verbs block on the disk at most; none is async.
#[derive(Debug)]
pub struct Log {}

impl Log {
    pub fn partition(&self) -> &TopicPartition {
        unimplemented!()
    }
    /// The log directory (an entry of `log.dirs`) it lies in.
    pub fn directory(&self) -> PathBuf {
        unimplemented!()
    }
    pub fn is_future(&self) -> bool {
        unimplemented!()
    }
    pub fn topic_id(&self) -> Option<TopicId> {
        unimplemented!()
    }
    /// Writes `partition.metadata`. The caller has compared the ids.
    pub fn assign_topic_id(&self, id: TopicId) -> Result<()> {
        unimplemented!()
    }
    pub fn config(&self) -> Arc<LogConfig> {
        unimplemented!()
    }
    pub fn set_config(&self, config: Arc<LogConfig>) {
        unimplemented!()
    }
    pub fn offsets(&self) -> Offsets {
        unimplemented!()
    }
    /// Bytes in all segments.
    pub fn size(&self) -> u64 {
        unimplemented!()
    }
    /// Whether bytes not flushed before the last stop may be gone: an unclean stop and another
    /// boot of the machine. A lone replica should not lead on such a log without looking around.
    pub fn may_have_lost_bytes(&self) -> bool {
        unimplemented!()
    }

    /// Appends what a producer or coordinator sent. `records` are not changed: the patched head
    /// of a batch is written beside them.
    pub fn append_as_leader(
        &self,
        records: &Bytes,
        leader_epoch: LeaderEpoch,
        origin: Origin,
        guard: Option<&VerificationGuard>,
    ) -> Result<Appended, AppendError> {
        unimplemented!()
    }
    /// Appends what the leader sent, offsets and epochs as they are. A partial last batch is ignored.
    pub fn append_as_follower(&self, records: &Bytes) -> Result<Appended, AppendError> {
        unimplemented!()
    }

    pub fn read(&self, request: ReadRequest) -> Result<ReadPlan, ReadError> {
        unimplemented!()
    }
    pub fn aborted_transactions(
        &self,
        from: Offset,
        to: Offset,
    ) -> Result<Vec<AbortedTransaction>> {
        unimplemented!()
    }
    /// `None` where no record is that young.
    pub fn offset_for(&self, moment: Moment, upto: Upto) -> Result<Option<FoundOffset>> {
        unimplemented!()
    }

    /// The watermark moves to `to`, kept within [start, end]; gives what it is now.
    pub fn set_high_watermark(&self, to: Offset) -> Offset {
        unimplemented!()
    }
    /// The watermark moves up to `to`, never down; gives the new one if it moved.
    pub fn raise_high_watermark(&self, to: Offset) -> Option<Offset> {
        unimplemented!()
    }

    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        unimplemented!()
    }
    /// A new leader notes its epoch at the log's end.
    pub fn assign_epoch(&self, epoch: LeaderEpoch, start: Offset) -> Result<()> {
        unimplemented!()
    }
    /// The largest epoch ≤ `epoch` and the offset at which it ends. Kafka: `endOffsetForEpoch`.
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        unimplemented!()
    }
    /// All epochs with their first offsets.
    pub fn epochs(&self) -> Vec<(LeaderEpoch, Offset)> {
        unimplemented!()
    }

    /// Cuts everything at and above `to`. Gives whether anything was cut.
    pub fn truncate_to(&self, to: Offset) -> Result<bool> {
        unimplemented!()
    }
    /// Drops everything; the log goes on, empty, at `at`.
    pub fn truncate_fully_and_start_at(&self, at: Offset, log_start: Option<Offset>) -> Result<()> {
        unimplemented!()
    }
    /// Records below `to` may not be read any more. The caller has checked `to` ≤ watermark;
    /// gives the new start (unchanged where `to` is below it).
    pub fn delete_records_before(&self, to: Offset) -> Result<Offset> {
        unimplemented!()
    }

    /// Puts everything on the disk that was written before the call, together with whoever else
    /// asks on the same file system. Gives the offset below which all is safe.
    pub fn flush(&self) -> Result<Offset> {
        unimplemented!()
    }
    /// Starts a new segment (empty ones stay). Gives the active base offset.
    pub fn roll(&self) -> Result<Offset> {
        unimplemented!()
    }

    pub fn active_producers(&self) -> Vec<ActiveProducer> {
        unimplemented!()
    }
    /// Whether this producer has an open transaction here, at this very epoch.
    pub fn has_open_transaction(&self, producer: ProducerId, epoch: ProducerEpoch) -> bool {
        unimplemented!()
    }
    /// Kafka: KIP-890. Before the first write of a transaction the coordinator is asked; `None`: no
    /// need, the transaction is open here already.
    pub fn start_verification(
        &self,
        producer: ProducerId,
        epoch: ProducerEpoch,
        sequence: i32,
    ) -> Option<VerificationGuard> {
        unimplemented!()
    }
}
