//! Syncing: the leader brings the assignment, the others fetch theirs.
//!
//! Kafka: `GroupCoordinator.handleSyncGroup`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::group::{Group, State};
use crate::machine::Machine;
use crate::outcome::{Answer, Note, Now, Outcome, SyncAnswer, Ticket};
use crate::refusal::Refusal;
use crate::work::{Pending, Work};

/// A request for one's assignment, with everybody's if it comes from the leader.
#[derive(Clone, Debug)]
pub struct SyncRequest {
    pub group: Arc<str>,
    pub generation: i32,
    pub member_id: Arc<str>,
    pub group_instance_id: Option<Arc<str>>,
    /// Checked where the client says it (version 5 on).
    pub protocol_type: Option<Arc<str>>,
    pub protocol: Option<Arc<str>>,
    pub assignments: BTreeMap<Arc<str>, Bytes>,
}

impl Machine {
    /// A member wants its assignment. The answer comes when the leader's has been written.
    pub fn sync(&mut self, ticket: Ticket, request: SyncRequest, now: Now) -> Outcome {
        let mut out = Outcome::default();
        let group = Arc::clone(&request.group);
        let refusal = if group.is_empty() {
            Some(Refusal::InvalidGroupId)
        } else {
            let step = |group: &mut Group, work: &mut Work<'_>| group.sync(ticket, request, work);
            match self.on(&group, now, &mut out, step) {
                Some(result) => result.err(),
                None => Some(Refusal::UnknownMemberId),
            }
        };
        if let Some(refusal) = refusal {
            out.answers
                .push((ticket, Answer::Sync(SyncAnswer::refused(refusal))));
        }
        out
    }
}

impl Group {
    fn check_sync(&self, request: &SyncRequest) -> Result<(), Refusal> {
        self.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation != self.generation {
            return Err(Refusal::IllegalGeneration);
        }
        let agrees =
            |asked: &Option<Arc<str>>, mine: &Option<Arc<str>>| asked.is_none() || asked == mine;
        if !agrees(&request.protocol_type, &self.protocol_type)
            || !agrees(&request.protocol, &self.protocol)
        {
            return Err(Refusal::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn sync(
        &mut self,
        ticket: Ticket,
        request: SyncRequest,
        work: &mut Work<'_>,
    ) -> Result<(), Refusal> {
        let member_id = Arc::clone(&request.member_id);
        if let Err(refusal) = self.check_sync(&request) {
            self.note_if_fenced(
                refusal,
                &member_id,
                request.group_instance_id.as_ref(),
                work,
            );
            return Err(refusal);
        }
        match self.state {
            State::Empty => Err(Refusal::UnknownMemberId),
            State::PreparingRebalance => Err(Refusal::RebalanceInProgress),
            State::CompletingRebalance => {
                self.wait_for_assignment(ticket, &member_id, work);
                self.note_synced(&member_id);
                if self.is_leader(&member_id) {
                    self.take_assignments(request.assignments, work);
                }
                Ok(())
            }
            State::Stable => {
                self.note_synced(&member_id);
                work.answer(ticket, Answer::Sync(self.synced(&member_id)));
                self.arm(&member_id, None, work);
                Ok(())
            }
        }
    }

    fn wait_for_assignment(&mut self, ticket: Ticket, member_id: &str, work: &mut Work<'_>) {
        let Some(member) = self.members.get_mut(member_id) else {
            return;
        };
        // Kafka forgets the earlier of two syncs; its client would wait for ever. It is told to
        // come again.
        if let Some(earlier) = member.awaiting_sync.replace(ticket) {
            let answer = SyncAnswer::refused(Refusal::RebalanceInProgress);
            work.answer(earlier, Answer::Sync(answer));
        }
    }

    /// The leader's word for all; whom it forgot gets an empty assignment.
    fn take_assignments(&mut self, given: BTreeMap<Arc<str>, Bytes>, work: &mut Work<'_>) {
        let assignments: BTreeMap<Arc<str>, Bytes> = self
            .members
            .keys()
            .map(|id| (Arc::clone(id), given.get(id).cloned().unwrap_or_default()))
            .collect();
        work.note(Note::Assigned {
            group: Arc::clone(&self.id),
            generation: self.generation,
            unassigned: self
                .members
                .keys()
                .filter(|id| !given.contains_key(*id))
                .count(),
        });
        let generation = self.generation;
        let pending = Pending::Assignment {
            generation,
            assignments: assignments.clone(),
        };
        self.write_state(&assignments, pending, work);
    }
}
