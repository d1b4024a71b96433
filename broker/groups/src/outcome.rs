//! What the brain wants done: records to write, answers to give, things worth a log line.

use std::sync::Arc;

use bytes::Bytes;

use crate::refusal::Refusal;

/// The two times of an event: one to measure waiting, one to write into records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    pub monotonic_ms: i64,
    pub wall_ms: i64,
}

/// Whom an answer is for; chosen by the host for every request that may have to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Which write a result belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// Everything one event led to. The host takes up the writes in order, then gives the answers.
#[derive(Debug, Default)]
pub struct Outcome {
    pub writes: Vec<Write>,
    pub answers: Vec<(Ticket, Answer)>,
    pub notes: Vec<Note>,
}

impl Outcome {
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.answers.is_empty() && self.notes.is_empty()
    }
}

/// One batch for the partition. The host reports back with
/// [`Machine::written`](crate::machine::Machine::written), once, whatever happens.
#[derive(Debug)]
pub struct Write {
    pub id: WriteId,
    pub records: Vec<Record>,
    /// Wall time for every record of the batch.
    pub timestamp_ms: i64,
    pub batch: Batch,
}

/// How the batch is made and what counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// A group's state: written when replicated.
    Group,
    /// Offsets: base sequence 0, as Kafka writes them; written when replicated.
    Offsets,
    /// Offsets of a transaction; written when replicated.
    Transactional {
        producer_id: i64,
        producer_epoch: i16,
    },
    /// Tombstones: written when the leader has them. A lost one is written again by the next pass.
    Tombstones,
}

/// A key, and a value or a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// What a waiting request is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Join(JoinAnswer),
    Sync(SyncAnswer),
    /// One verdict for each offset, in the order of the request.
    Commit(Vec<Result<(), Refusal>>),
    /// Tombstones are written, or could not be.
    Deleted,
}

/// The answer to a join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinAnswer {
    pub refusal: Option<Refusal>,
    pub member_id: Arc<str>,
    /// −1 with most refusals.
    pub generation: i32,
    pub protocol_type: Option<Arc<str>>,
    pub protocol: Option<Arc<str>>,
    pub leader: Arc<str>,
    pub skip_assignment: bool,
    /// For the leader only.
    pub members: Vec<JoinedMember>,
}

/// A member as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    pub member_id: Arc<str>,
    pub group_instance_id: Option<Arc<str>>,
    pub metadata: Bytes,
}

impl JoinAnswer {
    pub fn refused(member_id: impl Into<Arc<str>>, refusal: Refusal) -> Self {
        JoinAnswer {
            refusal: Some(refusal),
            member_id: member_id.into(),
            generation: -1,
            protocol_type: None,
            protocol: None,
            leader: "".into(),
            skip_assignment: false,
            members: Vec::new(),
        }
    }
}

/// The answer to a sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncAnswer {
    pub refusal: Option<Refusal>,
    pub protocol_type: Option<Arc<str>>,
    pub protocol: Option<Arc<str>>,
    pub assignment: Bytes,
}

impl SyncAnswer {
    pub fn refused(refusal: Refusal) -> Self {
        SyncAnswer {
            refusal: Some(refusal),
            protocol_type: None,
            protocol: None,
            assignment: Bytes::new(),
        }
    }
}

/// Something an operator may want to read; the host logs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    Rebalancing {
        group: Arc<str>,
        generation: i32,
        reason: String,
    },
    Stabilized {
        group: Arc<str>,
        generation: i32,
        members: usize,
    },
    Assigned {
        group: Arc<str>,
        generation: i32,
        unassigned: usize,
    },
    Emptied {
        group: Arc<str>,
        generation: i32,
    },
    Removed {
        group: Arc<str>,
        generation: i32,
    },
    MemberLeft {
        group: Arc<str>,
        member_id: Arc<str>,
        why: String,
    },
    Fenced {
        group: Arc<str>,
        member_id: Arc<str>,
        group_instance_id: Arc<str>,
    },
    /// Nobody came back in time; the wait starts again.
    NobodyRejoined {
        group: Arc<str>,
    },
    /// Consumers and transactions commit to one group: each overwrites the other.
    MixedCommits {
        group: Arc<str>,
    },
    NotWritten {
        group: Arc<str>,
        refusal: Refusal,
    },
    OffsetsExpired {
        count: usize,
    },
    /// A record of a newer coordinator was passed over while loading.
    UnknownRecord {
        version: i16,
    },
    /// A record that cannot be read was passed over while loading.
    DamagedRecord {
        offset: i64,
        why: protocol::internal::Malformed,
    },
}
