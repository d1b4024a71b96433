//! A partition at one moment, for whoever describes or measures it.

use std::time::Duration;

use protocol::ids::{BrokerId, LeaderEpoch, Offset};
use storage::log::LogMeasures;
use storage::offsets::Offsets;

use crate::error::Refusal;
use crate::partition::{Partition, Role};

/// A partition at one moment, for whoever describes it.
#[derive(Clone, Debug)]
pub struct PartitionView {
    pub is_leader: bool,
    pub leader: Option<BrokerId>,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
    /// As this leader knows it; empty elsewhere.
    pub isr: Vec<BrokerId>,
    pub replicas: Vec<BrokerId>,
    pub offsets: Offsets,
}

/// A partition in numbers.
#[derive(Clone, Copy, Debug)]
pub struct Measures {
    /// How many are in sync, as this leader knows; `None` where this broker does not lead.
    pub in_sync: Option<usize>,
    pub replicas: usize,
    pub reassigning: bool,
    pub min_in_sync: usize,
    pub log: LogMeasures,
}

/// A copy on another broker, as its leader knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteCopy {
    pub id: BrokerId,
    pub end: Offset,
    /// How long ago it last had everything.
    pub behind_ms: i64,
}

impl Partition {
    /// Asks the log too, and so may wait for its disk.
    pub fn view(&self) -> PartitionView {
        let state = self.state.read();
        let isr = match &state.role {
            Role::Leader(led) => led.progress.lock().isr.committed().to_vec(),
            Role::Idle | Role::Follower => Vec::new(),
        };
        PartitionView {
            is_leader: matches!(state.role, Role::Leader(_)),
            leader: state.leader,
            leader_epoch: state.leader_epoch,
            partition_epoch: state.partition_epoch,
            isr,
            replicas: state.assignment.replicas.clone(),
            offsets: state.log.offsets(),
        }
    }

    /// Where else a record at `from` is: members of the ISR that have it. `None` where this broker
    /// does not lead, and so does not know.
    pub fn copies(&self, from: Offset) -> Option<Vec<RemoteCopy>> {
        let state = self.state.read();
        let Role::Leader(led) = &state.role else {
            return None;
        };
        let now_ms = self.shared.clock.monotonic_ms();
        let progress = led.progress.lock();
        let in_sync = progress.isr.committed();
        let copies = progress.followers.iter().filter_map(|follower| {
            let (start, end) = (follower.start?, follower.end?);
            let has_it = in_sync.contains(&follower.id) && start <= from && from <= end;
            has_it.then(|| RemoteCopy {
                id: follower.id,
                end,
                behind_ms: now_ms.saturating_sub(follower.caught_up_ms.unwrap_or(0)),
            })
        });
        Some(copies.collect())
    }

    /// Where the log begins and ends, for a reader who knows this epoch.
    pub fn offsets_for(&self, epoch: Option<LeaderEpoch>) -> Result<Offsets, Refusal> {
        let state = self.state.read();
        self.check_epoch(&state, epoch, false)?;
        Ok(state.log.offsets())
    }

    /// The partition in numbers, for whoever measures. `None` while its directory is slow, or where an
    /// order of the controller or a write takes longer than `wait`: a measurement waits for no disk.
    pub fn measures(&self, wait: Duration) -> Option<Measures> {
        if self.shared.lanes.is_slow(&self.lane()) {
            return None;
        }
        let state = self.state.try_read_for(wait)?;
        let in_sync = match &state.role {
            Role::Leader(led) => Some(led.progress.lock().isr.committed().len()),
            Role::Idle | Role::Follower => None,
        };
        Some(Measures {
            in_sync,
            replicas: state.assignment.replicas.len(),
            reassigning: !(state.assignment.adding.is_empty()
                && state.assignment.removing.is_empty()),
            min_in_sync: self.min_isr(&state),
            log: state.log.measures(wait)?,
        })
    }
}
