//! What the controller orders of one partition: to lead, to follow, to leave.

use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use protocol::ids::{BrokerId, ControllerEpoch, LeaderEpoch, TopicId, TopicPartition};
use storage::offsets::Offsets;
use tracing::info;

use crate::error::Refusal;
use crate::partition::isr::Isr;
use crate::partition::leader::Followers;
use crate::partition::{Leadership, Partition, Progress, Role, State};
use crate::waiting::Wakes;

/// Who should have a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    pub replicas: Vec<BrokerId>,
    pub adding: Vec<BrokerId>,
    pub removing: Vec<BrokerId>,
}

/// A controller's order for one partition (LeaderAndIsr).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionOrder {
    pub partition: TopicPartition,
    /// Zero where the topic has none.
    pub topic_id: TopicId,
    pub controller_epoch: ControllerEpoch,
    /// [`BrokerId::NONE`] while nobody leads.
    pub leader: BrokerId,
    pub leader_epoch: LeaderEpoch,
    pub isr: Vec<BrokerId>,
    pub partition_epoch: i32,
    pub assignment: Assignment,
    /// The replica is to be made; otherwise it must have been here before.
    pub is_new: bool,
}

/// A change of role, for whoever must hear of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleChange {
    /// Leads now and did not before.
    BecameLeader,
    /// Led before, in an older epoch, and goes on leading.
    StaysLeader,
    BecameFollower,
    /// The order was older than what is known: nothing was done.
    Nothing,
}

impl Partition {
    /// The controller orders this broker to lead. The caller has compared leader epochs.
    pub(crate) fn become_leader(
        &self,
        order: &PartitionOrder,
    ) -> Result<(RoleChange, Wakes), Refusal> {
        let me = self.shared.config.me;
        let now_ms = self.shared.clock.monotonic_ms();
        let mut guard = self.state.write();
        let state = &mut *guard;
        // Kafka: an equal partition epoch is new, since an answer to a proposal may have told it
        // before this order came (Partition.makeLeader, 3.9).
        if order.partition_epoch < state.partition_epoch {
            return Ok((RoleChange::Nothing, Wakes::none()));
        }
        let was_leader = matches!(state.role, Role::Leader(_));
        let is_new_epoch = order.leader_epoch > state.leader_epoch;
        let Offsets { end, watermark, .. } = state.log.offsets();
        let (mut followers, epoch_start) = match std::mem::replace(&mut state.role, Role::Idle) {
            Role::Leader(led) => (led.progress.into_inner().followers, led.epoch_start),
            Role::Idle | Role::Follower => (Followers::default(), end),
        };
        followers.assign(
            order
                .assignment
                .replicas
                .iter()
                .copied()
                .filter(|id| *id != me),
        );
        let epoch_start = if is_new_epoch { end } else { epoch_start };
        if is_new_epoch {
            // An epoch that begins where another did before it must still be in the log's epochs:
            // followers that were led in between ask for it (Partition.makeLeader, 3.9).
            state.log.assign_epoch(order.leader_epoch, end)?;
            followers.begin_epoch(end, &order.isr, was_leader, now_ms);
        }
        state.note_order(order);
        if !was_leader {
            state.term.0 += 1;
        }
        state.leader = Some(me);
        state.role = Role::Leader(Leadership {
            epoch_start,
            progress: Mutex::new(Progress {
                followers,
                isr: Isr::new(order.isr.clone()),
                watermark,
            }),
        });
        info!(
            target: "state_change", topic = %self.id.topic, partition = self.id.partition,
            leader_epoch = order.leader_epoch.0, partition_epoch = order.partition_epoch,
            isr = ?order.isr, end = end.0, "became leader"
        );
        self.marks.reset(&state.log.offsets());
        drop(guard);
        let change = if was_leader {
            RoleChange::StaysLeader
        } else {
            RoleChange::BecameLeader
        };
        Ok((change, self.advance()))
    }

    /// The controller orders this broker to follow a leader that is alive.
    pub(crate) fn become_follower(&self, order: &PartitionOrder) -> (RoleChange, Wakes) {
        let mut state = self.state.write();
        if order.partition_epoch < state.partition_epoch {
            return (RoleChange::Nothing, Wakes::none());
        }
        state.note_order(order);
        state.leader = Some(order.leader);
        state.role = Role::Follower;
        drop(state);
        info!(
            target: "state_change", topic = %self.id.topic, partition = self.id.partition,
            leader_epoch = order.leader_epoch.0, leader = order.leader.0, "became follower"
        );
        self.marks.moves.fetch_add(1, Ordering::AcqRel);
        let mut wakes = Wakes::none();
        self.queue.all(&mut wakes);
        (RoleChange::BecameFollower, wakes)
    }

    /// The replica serves no more: deleted, or its directory failed.
    pub(crate) fn leave(&self, why: Refusal) -> Wakes {
        let _before = self.gone.set(why);
        self.marks.moves.fetch_add(1, Ordering::AcqRel);
        let mut wakes = Wakes::none();
        self.queue.all(&mut wakes);
        wakes
    }
}

impl State {
    pub(in crate::partition) fn note_order(&mut self, order: &PartitionOrder) {
        self.leader_epoch = order.leader_epoch;
        self.partition_epoch = order.partition_epoch;
        self.controller_epoch = order.controller_epoch;
        self.assignment = order.assignment.clone();
    }
}
