//! What becomes of a write: the log has it, or it has failed.
//!
//! Invariant: results come in the order of the writes, markers of transactions among them.

use std::sync::Arc;

use protocol::ids::TopicPartition;

use crate::group::{Group, State};
use crate::machine::Machine;
use crate::offsets::Committed;
use crate::outcome::{Answer, JoinAnswer, Note, Now, Outcome, Ticket, WriteId};
use crate::refusal::{Refusal, WriteError};
use crate::work::{Pending, UnderWay, Work};

impl Machine {
    /// The result of one write: the offset of its batch, or why there is none.
    pub fn written(&mut self, id: WriteId, result: Result<i64, WriteError>, now: Now) -> Outcome {
        let mut out = Outcome::default();
        self.note_written(id, result, now, &mut out);
        out
    }

    pub(crate) fn note_written(
        &mut self,
        id: WriteId,
        result: Result<i64, WriteError>,
        now: Now,
        out: &mut Outcome,
    ) {
        let Some(UnderWay {
            group,
            incarnation,
            pending,
        }) = self.writes.take(id)
        else {
            return;
        };
        match pending {
            Pending::Offsets {
                ticket,
                verdicts,
                offsets,
            } => {
                if let Some(group) = self.same_group(&group, incarnation) {
                    note_offsets(group, id, offsets, result);
                }
                out.answers.push(commit_answer(ticket, verdicts, result));
            }
            Pending::Transactional {
                ticket,
                producer_id,
                verdicts,
                partitions,
            } => {
                let mut open = true;
                if let Some(group) = self.same_group(&group, incarnation) {
                    note_undecided(group, id, producer_id, &partitions, result);
                    open = group.offsets.has_undecided_of(producer_id);
                }
                if !open {
                    self.forget_producer(producer_id, &group);
                }
                out.answers.push(commit_answer(ticket, verdicts, result));
            }
            Pending::Tombstones { ticket } => {
                out.answers
                    .extend(ticket.map(|ticket| (ticket, Answer::Deleted)));
                if let Err(failure) = result {
                    out.notes.push(Note::NotWritten {
                        group,
                        refusal: failure.of_group(),
                    });
                }
            }
            pending => {
                if self.same_group(&group, incarnation).is_some() {
                    let result = result.map_err(WriteError::of_group);
                    self.on(&group, now, out, |group, work| {
                        group.note_state(pending, result, work)
                    });
                }
            }
        }
    }

    fn same_group(&mut self, id: &str, incarnation: u64) -> Option<&mut Group> {
        self.groups
            .get_mut(id)
            .filter(|group| group.incarnation == incarnation)
    }

    fn forget_producer(&mut self, producer_id: i64, group: &str) {
        if let Some(groups) = self.producers.get_mut(&producer_id) {
            groups.remove(group);
            if groups.is_empty() {
                self.producers.remove(&producer_id);
            }
        }
    }
}

fn commit_answer(
    ticket: Ticket,
    verdicts: Vec<Result<(), Refusal>>,
    result: Result<i64, WriteError>,
) -> (Ticket, Answer) {
    let written = result.map(drop).map_err(WriteError::of_commit);
    (
        ticket,
        Answer::Commit(
            verdicts
                .into_iter()
                .map(|verdict| verdict.and(written))
                .collect(),
        ),
    )
}

fn note_offsets(
    group: &mut Group,
    id: WriteId,
    offsets: Vec<(TopicPartition, Committed)>,
    result: Result<i64, WriteError>,
) {
    for (tp, committed) in offsets {
        match result {
            Ok(appended_at) => group.offsets.note_written(&tp, id, committed, appended_at),
            Err(_) => group.offsets.note_failed(&tp, id),
        }
    }
}

fn note_undecided(
    group: &mut Group,
    id: WriteId,
    producer_id: i64,
    partitions: &[TopicPartition],
    result: Result<i64, WriteError>,
) {
    for tp in partitions {
        match result {
            Ok(at) => group
                .offsets
                .note_undecided_written(producer_id, tp, id, at),
            Err(_) => group.offsets.note_undecided_failed(producer_id, tp),
        }
    }
}

impl Group {
    /// The group's own record is written, or is not.
    fn note_state(&mut self, pending: Pending, result: Result<i64, Refusal>, work: &mut Work<'_>) {
        if let Err(refusal) = result {
            work.note(Note::NotWritten {
                group: Arc::clone(&self.id),
                refusal,
            });
        }
        match pending {
            // Somebody may have joined meanwhile: then this assignment is nobody's any more.
            Pending::Assignment {
                generation,
                assignments,
            } => {
                if self.state == State::CompletingRebalance && self.generation == generation {
                    match result {
                        Ok(_) => self.hand_out(&assignments, work),
                        Err(refusal) => {
                            self.take_back_assignments(refusal, work);
                            self.prepare_rebalance("the assignment could not be written", work);
                        }
                    }
                }
            }
            Pending::StaticMember { .. } => self.note_static_member(pending, result.err(), work),
            // The generation before will come back after a crash, and time out: it has no members.
            Pending::Empty => {}
            Pending::Offsets { .. }
            | Pending::Transactional { .. }
            | Pending::Tombstones { .. } => {}
        }
    }

    /// A static member's new id is written: it may go on where it stopped. Or it is not: then the
    /// old id is the valid one.
    // Kafka: GroupCoordinator.updateStaticMemberAndRebalance.
    fn note_static_member(
        &mut self,
        pending: Pending,
        failure: Option<Refusal>,
        work: &mut Work<'_>,
    ) {
        let Pending::StaticMember {
            generation,
            member_id,
            old_member_id,
            old_leader,
            old_rebalance_timeout_ms,
            old_session_timeout_ms,
            may_skip_assignment,
        } = pending
        else {
            return;
        };
        // A rebalance has begun meanwhile: its end answers the join.
        if self.state != State::Stable || self.generation != generation {
            return;
        }
        let mut answer = self.joined(&member_id);
        if let Some(refusal) = failure {
            answer = JoinAnswer {
                refusal: Some(refusal),
                member_id: "".into(),
                leader: old_leader,
                members: Vec::new(),
                ..answer
            };
            self.answer_join(&member_id, answer, work);
            if let Some(member) = self.members.get_mut(&member_id) {
                member.rebalance_timeout_ms = old_rebalance_timeout_ms;
                member.session_timeout_ms = old_session_timeout_ms;
                self.replace_static(&member_id, &old_member_id, work);
                self.arm(&old_member_id, None, work);
            }
            return;
        }
        if may_skip_assignment {
            answer.skip_assignment = self.is_leader(&member_id);
        } else {
            // Told that it leads, an old client would assign anew and a stable group would not
            // listen; told the old leader's id, it does not know itself.
            answer.leader = old_leader;
            answer.members.clear();
        }
        self.answer_join(&member_id, answer, work);
    }
}
