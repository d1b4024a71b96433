//! Heartbeats: the most frequent request, answered at once.
//!
//! Hot path: two map lookups and a deadline moved; no allocation, no record, no timer touched.
//!
//! Kafka: `GroupCoordinator.handleHeartbeat`.

use crate::group::{Group, State};
use crate::machine::Machine;
use crate::outcome::{Now, Outcome};
use crate::refusal::Refusal;
use crate::work::Work;

impl Machine {
    /// A sign of life. The outcome holds nothing to write; notes at most.
    pub fn heartbeat(
        &mut self,
        group: &str,
        member_id: &str,
        instance: Option<&str>,
        generation: i32,
        now: Now,
    ) -> Result<(), Refusal> {
        if group.is_empty() {
            return Err(Refusal::InvalidGroupId);
        }
        let mut out = Outcome::default();
        self.on(group, now, &mut out, |group, work| {
            group.heartbeat(member_id, instance, generation, work)
        })
        .unwrap_or(Err(Refusal::UnknownMemberId))
    }
}

impl Group {
    fn heartbeat(
        &mut self,
        member_id: &str,
        instance: Option<&str>,
        generation: i32,
        work: &mut Work<'_>,
    ) -> Result<(), Refusal> {
        self.check_member(member_id, instance)?;
        if generation != self.generation {
            return Err(Refusal::IllegalGeneration);
        }
        match self.state {
            State::Empty => return Err(Refusal::UnknownMemberId),
            // After the answer to their join, members may send heartbeats before they sync.
            State::PreparingRebalance | State::CompletingRebalance | State::Stable => {}
        }
        self.arm(member_id, None, work);
        if self.state == State::PreparingRebalance {
            Err(Refusal::RebalanceInProgress)
        } else {
            Ok(())
        }
    }
}
