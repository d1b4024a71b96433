//! What replication asks of the world above it.

use protocol::ids::{BrokerId, ControllerEpoch, LeaderEpoch, TopicId, TopicPartition};

/// Carries proposals for the ISR to whoever decides, and knows who may be proposed.
///
/// Its methods return at once; the answer to a proposal comes back through
/// `Replicas::note_isr_answer`, exactly one for each proposal, however long it takes.
pub trait IsrKeeper: Send + Sync + std::fmt::Debug {
    fn propose(&self, proposal: Proposal);

    /// Whether this broker is alive as far as the cluster's metadata says: a dead one neither
    /// joins the ISR nor holds back the low watermark.
    fn is_alive(&self, broker: BrokerId) -> bool;
}

/// The ISR a leader would like to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub partition: TopicPartition,
    /// Zero where the topic has none.
    pub topic_id: TopicId,
    /// Of the controller that gave the leadership.
    pub controller_epoch: ControllerEpoch,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
    pub isr: Vec<BrokerId>,
    /// Sent again because the last answer was no decision; the keeper waits a little first.
    pub again: bool,
}
