//! Orders for partitions that a disk holds up stand in line, and orders for others do not.
//!
//! Who obeys an order has the partition to himself, which an append that hangs does not let him have.
//! So orders for the partitions of such a directory are carried out on a thread of their own, one after
//! the other, once the disk answers; or never, where the directory is given up before.
//!
//! ```text
//! LeaderAndIsr   is answered as carried out; who is to lead no more does not from then on
//! StopReplica    is answered by KAFKA_STORAGE_ERROR: nothing has been deleted yet
//! a move         is refused by the same, and stands in no line
//! ```
//!
//! Invariant: orders for one partition are carried out as they were given. Where one stands in line,
//! those that follow stand behind it.

use std::sync::Arc;
use std::time::Duration;

use protocol::ids::TopicPartition;
use tracing::warn;

use crate::error::Refusal;
use crate::lanes::Lane;
use crate::lines::{HeldUp, LateListener, Lines};
use crate::replicas::{Hosted, Replicas};

/// For how long an order waits for whoever is at its partition: an append takes less.
const HELD_UP: Duration = Duration::from_secs(1);

impl Replicas {
    /// Who hears of what becomes of orders in line. Only the first counts.
    pub fn tell_late(&self, listener: LateListener) {
        let _only_the_first = self.late.set(listener);
    }

    /// Which directories hold up the orders for these partitions. Each is waited for once.
    pub(crate) fn held_up<'a>(
        &self,
        lines: &Lines,
        ids: impl Iterator<Item = &'a TopicPartition>,
    ) -> HeldUp {
        let mut held_up = HeldUp::default();
        lines.lanes().cloned().for_each(|lane| held_up.add(lane));
        for id in ids {
            if let Some(lane) = self.lane_of(id)
                && !held_up.has(&lane)
                && self.is_held_up(id)
            {
                held_up.add(lane);
            }
        }
        held_up
    }

    fn is_held_up(&self, id: &TopicPartition) -> bool {
        match self.find(id) {
            Hosted::Online(partition) => partition.is_held_up(HELD_UP),
            Hosted::Offline => false,
            Hosted::Absent => {
                let log = self.store().log(id);
                log.is_some_and(|log| log.is_held_up(HELD_UP))
            }
        }
    }

    /// Of the directory that it lies in, if it does.
    fn lane_of(&self, id: &TopicPartition) -> Option<Arc<Lane>> {
        match self.find(id) {
            Hosted::Online(partition) => Some(partition.lane()),
            Hosted::Offline => None,
            Hosted::Absent => {
                let log = self.store().log(id)?;
                Some(self.shared().lanes.lane(&log.directory()))
            }
        }
    }

    /// Where an order for this partition has to stand in line.
    pub(crate) fn line_for(
        &self,
        lines: &Lines,
        held_up: &HeldUp,
        id: &TopicPartition,
    ) -> Option<Arc<Lane>> {
        if let Hosted::Offline = self.find(id) {
            // It is told so, whatever stands in line.
            return None;
        }
        let of_directory = || self.lane_of(id).filter(|lane| held_up.has(lane));
        lines.of(id).or_else(of_directory)
    }

    /// Has an order carried out in its turn.
    pub(crate) fn stand_in_line(
        self: &Arc<Self>,
        lines: &mut Lines,
        lane: &Arc<Lane>,
        id: &TopicPartition,
        carry_out: impl FnOnce(&Arc<Replicas>) + Send + 'static,
    ) -> Result<(), Refusal> {
        let (replicas, own) = (Arc::clone(self), id.clone());
        let in_turn = move || {
            carry_out(&replicas);
            let mut known = replicas.orders.lock();
            let is_last = known.lines.leave(&own);
            let partition = replicas.find(&own).online().filter(|_| is_last);
            let wakes = partition.map(|partition| partition.supersede(None));
            drop(known);
            wakes.unwrap_or_default().fire();
        };
        let submitted = lane.submit_order(in_turn);
        submitted.map_err(|_full| Refusal::Silent)?;
        if lines.of(id).is_none() {
            warn!(
                target: "state_change", partition = %id, dir = %lane.path().display(),
                "the disk does not answer: orders for this replica wait until it does"
            );
        }
        lines.enter(id, lane);
        Ok(())
    }
}
