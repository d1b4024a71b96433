//! Leaving: by member id, or by instance id when an operator sends a static member away.
//!
//! Kafka: `GroupCoordinator.handleLeaveGroup`.

use std::sync::Arc;

use crate::group::{Group, State};
use crate::machine::Machine;
use crate::outcome::{JoinAnswer, Note, Now, Outcome, SyncAnswer};
use crate::refusal::Refusal;
use crate::work::Work;

/// One of those who leave.
#[derive(Clone, Debug)]
pub struct Leaver {
    /// Empty if only the instance is known.
    pub member_id: Arc<str>,
    pub group_instance_id: Option<Arc<str>>,
    pub reason: Option<Arc<str>>,
}

impl Machine {
    /// Members leave at once. One verdict for each, in their order.
    pub fn leave(
        &mut self,
        group: &str,
        leavers: &[Leaver],
        now: Now,
        out: &mut Outcome,
    ) -> Result<Vec<Result<(), Refusal>>, Refusal> {
        if group.is_empty() {
            return Err(Refusal::InvalidGroupId);
        }
        let verdicts = self.on(group, now, out, |group, work| {
            leavers
                .iter()
                .map(|leaver| group.leave(leaver, work))
                .collect()
        });
        Ok(verdicts.unwrap_or_else(|| vec![Err(Refusal::UnknownMemberId); leavers.len()]))
    }
}

impl Group {
    fn leave(&mut self, leaver: &Leaver, work: &mut Work<'_>) -> Result<(), Refusal> {
        let member_id = if leaver.member_id.is_empty() {
            let known = leaver
                .group_instance_id
                .as_ref()
                .and_then(|id| self.statics.get(id));
            known.cloned().ok_or(Refusal::UnknownMemberId)?
        } else if self.pending.contains_key(&leaver.member_id) {
            self.remove_pending(&leaver.member_id, work);
            return Ok(());
        } else {
            let instance = leaver.group_instance_id.as_ref();
            let checked = self.check_member(&leaver.member_id, instance.map(|id| &**id));
            if let Err(refusal) = checked {
                self.note_if_fenced(refusal, &leaver.member_id, instance, work);
                return Err(refusal);
            }
            Arc::clone(&leaver.member_id)
        };
        let reason = leaver.reason.as_deref().unwrap_or("not provided");
        self.remove_and_rebalance(&member_id, &format!("left: {reason}"), work);
        Ok(())
    }

    /// An id nobody came back with is void.
    pub(crate) fn remove_pending(&mut self, member_id: &str, work: &mut Work<'_>) {
        self.remove(member_id);
        self.complete_join_if_all_are_here(work);
    }

    /// A member is gone; the others share what was its.
    pub(crate) fn remove_and_rebalance(
        &mut self,
        member_id: &Arc<str>,
        why: &str,
        work: &mut Work<'_>,
    ) {
        let refusal = Refusal::UnknownMemberId;
        // A new member may still wait for its first answer; it will join again if it is alive.
        self.answer_join(member_id, JoinAnswer::refused("", refusal), work);
        self.answer_sync(member_id, SyncAnswer::refused(refusal), work);
        self.remove(member_id);
        work.note(Note::MemberLeft {
            group: Arc::clone(&self.id),
            member_id: Arc::clone(member_id),
            why: why.to_owned(),
        });
        match self.state {
            State::Empty => {}
            State::Stable | State::CompletingRebalance => {
                self.prepare_rebalance(&format!("{member_id} {why}"), work);
            }
            State::PreparingRebalance => self.complete_join_if_all_are_here(work),
        }
    }
}
