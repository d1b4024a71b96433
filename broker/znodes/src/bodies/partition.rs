//! `…/partitions/<p>/state`: who leads a partition, in which epoch, with which in-sync replicas.
//!
//! The node's version is the partition epoch of all requests.

use super::json::{BodyError, Fields, Object};

/// A partition's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionState {
    pub controller_epoch: i32,
    /// −1: none.
    pub leader: i32,
    pub leader_epoch: i32,
    pub isr: Vec<i32>,
    /// After an unclean election, until the leader's next AlterPartition.
    pub recovering: bool,
}

impl PartitionState {
    pub fn encode(&self) -> String {
        let mut body = Object::new()
            .number("controller_epoch", self.controller_epoch)
            .number("leader", self.leader)
            .number("version", 1);
        if self.recovering {
            body = body.number("leader_recovery_state", 1);
        }
        body.number("leader_epoch", self.leader_epoch)
            .numbers("isr", &self.isr)
            .end()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, BodyError> {
        let fields = Fields::parse(bytes)?;
        Ok(PartitionState {
            controller_epoch: fields.i32("controller_epoch")?,
            leader: fields.i32("leader")?,
            leader_epoch: fields.i32("leader_epoch")?,
            isr: fields.i32s("isr")?,
            recovering: fields.i32_or("leader_recovery_state", 0)? == 1,
        })
    }
}
