//! Joining: newcomers, those who come back, and static members that come back under a new id.
//!
//! Kafka: `GroupCoordinator.handleJoinGroup` and what it calls; the order of the checks is part
//! of the contract.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::group::{Group, State};
use crate::machine::Machine;
use crate::member::{Member, Protocol};
use crate::outcome::{Answer, JoinAnswer, Note, Now, Outcome, Ticket};
use crate::refusal::Refusal;
use crate::work::{Alarm, Pending, Work};

/// How long a new member may wait in its first join. It has no id yet to send heartbeats with,
/// and a client that gave up and tried again would otherwise leave members behind for ever.
const NEW_MEMBER_JOIN_TIMEOUT_MS: i32 = 5 * 60 * 1_000;

/// A request to join.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    pub group: Arc<str>,
    /// Empty for a newcomer.
    pub member_id: Arc<str>,
    pub group_instance_id: Option<Arc<str>>,
    /// A newcomer without an instance id is given one and told to join again (version 4 on).
    pub needs_known_member_id: bool,
    /// The client understands that it may lead without assigning (version 9 on).
    pub may_skip_assignment: bool,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub protocol_type: Arc<str>,
    pub protocols: Vec<Protocol>,
    /// What the client gives as its reason, for the log.
    pub reason: Option<Arc<str>>,
    /// A random UUID's text: chance is handed in.
    pub fresh_id: Arc<str>,
}

impl JoinRequest {
    fn reason(&self) -> &str {
        self.reason.as_deref().unwrap_or("not provided")
    }

    /// The id a newcomer gets: who it says it is, and something nobody else has.
    fn new_member_id(&self) -> Arc<str> {
        let name = self.group_instance_id.as_ref().unwrap_or(&self.client_id);
        format!("{name}-{}", self.fresh_id).into()
    }

    fn timeouts(&self) -> (i32, i32) {
        (self.rebalance_timeout_ms, self.session_timeout_ms)
    }
}

impl Machine {
    /// Somebody wants to be a member. The answer comes when the next generation is complete.
    pub fn join(&mut self, ticket: Ticket, request: JoinRequest, now: Now) -> Outcome {
        let mut out = Outcome::default();
        let allowed = self.config.session_timeout_min_ms..=self.config.session_timeout_max_ms;
        if request.group.is_empty() {
            refuse(
                &mut out,
                ticket,
                &request.member_id,
                Refusal::InvalidGroupId,
            );
        } else if !allowed.contains(&request.session_timeout_ms) {
            refuse(
                &mut out,
                ticket,
                &request.member_id,
                Refusal::InvalidSessionTimeout,
            );
        } else {
            let group = Arc::clone(&request.group);
            if request.member_id.is_empty() {
                self.ensure(&group, now);
            }
            let member_id = Arc::clone(&request.member_id);
            let found = self.on(&group, now, &mut out, |group, work| {
                group.join(ticket, request, work)
            });
            if found.is_none() {
                refuse(&mut out, ticket, &member_id, Refusal::UnknownMemberId);
            }
        }
        out
    }
}

fn refuse(out: &mut Outcome, ticket: Ticket, member_id: &str, refusal: Refusal) {
    out.answers.push((
        ticket,
        Answer::Join(JoinAnswer::refused(member_id, refusal)),
    ));
}

impl Group {
    fn join(&mut self, ticket: Ticket, request: JoinRequest, work: &mut Work<'_>) {
        if !self.has_room_for(&request.member_id, work.config.size_max) {
            self.remove_for_good(&request.member_id, work);
            refuse(work.out, ticket, "", Refusal::GroupMaxSizeReached);
        } else if !self.supports(&request.protocol_type, &request.protocols) {
            let refusal = Refusal::InconsistentGroupProtocol;
            refuse(work.out, ticket, &request.member_id, refusal);
        } else if request.member_id.is_empty() {
            self.join_as_newcomer(ticket, request, work);
        } else {
            self.join_again(ticket, request, work);
        }
        self.complete_join_if_all_are_here(work);
    }

    // Kafka: GroupCoordinator.acceptJoiningMember. While gathering, those who wait are counted:
    // the group may be over its size already, and the last to come back is the one too many.
    fn has_room_for(&self, member_id: &str, size_max: usize) -> bool {
        match self.state {
            State::Empty => true,
            State::PreparingRebalance => {
                let member = self.members.get(member_id);
                member.is_some_and(|member| member.awaiting_join.is_some())
                    || self.awaiting_join < size_max
            }
            State::CompletingRebalance | State::Stable => {
                self.members.contains_key(member_id) || self.members.len() < size_max
            }
        }
    }

    /// Removes a member that may still be waiting somewhere.
    fn remove_for_good(&mut self, member_id: &str, work: &mut Work<'_>) {
        let refusal = Refusal::UnknownMemberId;
        self.answer_join(member_id, JoinAnswer::refused("", refusal), work);
        self.answer_sync(
            member_id,
            crate::outcome::SyncAnswer::refused(refusal),
            work,
        );
        self.remove(member_id);
    }

    fn join_as_newcomer(&mut self, ticket: Ticket, request: JoinRequest, work: &mut Work<'_>) {
        let member_id = request.new_member_id();
        let known = request
            .group_instance_id
            .as_ref()
            .and_then(|id| self.statics.get(id))
            .cloned();
        if let Some(old_id) = known {
            self.replace_and_rebalance(ticket, request, &old_id, member_id, work);
        } else if request.group_instance_id.is_none() && request.needs_known_member_id {
            let deadline = work.after(request.session_timeout_ms);
            self.pending.insert(Arc::clone(&member_id), deadline);
            work.timers
                .remind(deadline, &self.id, Alarm::Pending(Arc::clone(&member_id)));
            refuse(work.out, ticket, &member_id, Refusal::MemberIdRequired);
        } else {
            self.add_and_rebalance(ticket, request, member_id, work);
        }
    }

    fn join_again(&mut self, ticket: Ticket, request: JoinRequest, work: &mut Work<'_>) {
        let member_id = Arc::clone(&request.member_id);
        if self.pending.contains_key(&member_id) {
            if request.group_instance_id.is_some() {
                // Kafka: an exception; pending ids are never given to static members.
                refuse(work.out, ticket, "", Refusal::UnknownServerError);
            } else {
                self.add_and_rebalance(ticket, request, member_id, work);
            }
            return;
        }
        if let Err(refusal) = self.check_member(&member_id, request.group_instance_id.as_deref()) {
            self.note_if_fenced(
                refusal,
                &member_id,
                request.group_instance_id.as_ref(),
                work,
            );
            refuse(work.out, ticket, &member_id, refusal);
            return;
        }
        let changed = self
            .members
            .get(&member_id)
            .is_some_and(|m| m.protocols != request.protocols);
        let rebalances = match self.state {
            State::PreparingRebalance => true,
            // With nothing changed it has probably missed the answer to its first join.
            State::CompletingRebalance => changed,
            // A leader that joins again asks for a rebalance: it has seen topics change.
            State::Stable => changed || self.is_leader(&member_id),
            State::Empty => {
                refuse(work.out, ticket, &member_id, Refusal::UnknownMemberId);
                return;
            }
        };
        if rebalances {
            let reason = format!("{member_id} joins again: {}", request.reason());
            let timeouts = request.timeouts();
            self.update(&member_id, request.protocols, timeouts, ticket, work);
            self.rebalance_unless_gathering(&reason, work);
        } else {
            let mut answer = self.joined(&member_id);
            if self.state == State::Stable {
                answer.members.clear();
            }
            work.answer(ticket, Answer::Join(answer));
        }
    }

    fn add_and_rebalance(
        &mut self,
        ticket: Ticket,
        request: JoinRequest,
        member_id: Arc<str>,
        work: &mut Work<'_>,
    ) {
        let reason = format!("{member_id} joins: {}", request.reason());
        if self.state == State::PreparingRebalance && self.generation == 0 {
            self.new_member_added = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(Arc::clone(&request.protocol_type));
        }
        self.add(Member {
            id: Arc::clone(&member_id),
            instance: request.group_instance_id,
            client_id: request.client_id,
            client_host: request.client_host,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            protocols: request.protocols,
            assignment: Bytes::new(),
            awaiting_join: Some(ticket),
            awaiting_sync: None,
            is_new: true,
            session_deadline: None,
            timer_at: None,
        });
        self.arm(&member_id, Some(NEW_MEMBER_JOIN_TIMEOUT_MS), work);
        self.rebalance_unless_gathering(&reason, work);
    }

    /// A static member has restarted: its place is kept, under a new id.
    fn replace_and_rebalance(
        &mut self,
        ticket: Ticket,
        request: JoinRequest,
        old_id: &Arc<str>,
        new_id: Arc<str>,
        work: &mut Work<'_>,
    ) {
        let old_leader = self.leader_or_nobody();
        self.replace_static(old_id, &new_id, work);
        self.arm(&new_id, None, work);
        let before = self.members.get(&new_id).map_or((0, 0), |member| {
            (member.rebalance_timeout_ms, member.session_timeout_ms)
        });
        let timeouts = request.timeouts();
        let reason = format!("static member {new_id} joins: {}", request.reason());
        let may_skip_assignment = request.may_skip_assignment;
        self.update(&new_id, request.protocols, timeouts, ticket, work);
        match self.state {
            State::Stable if self.choose_protocol() == self.protocol => {
                let assignments: BTreeMap<Arc<str>, Bytes> = self
                    .members
                    .values()
                    .map(|member| (Arc::clone(&member.id), member.assignment.clone()))
                    .collect();
                let pending = Pending::StaticMember {
                    generation: self.generation,
                    member_id: new_id,
                    old_member_id: Arc::clone(old_id),
                    old_leader,
                    old_rebalance_timeout_ms: before.0,
                    old_session_timeout_ms: before.1,
                    may_skip_assignment,
                };
                self.write_state(&assignments, pending, work);
            }
            State::Stable => self.rebalance_unless_gathering(&reason, work),
            // The leader may have been told of the old id; its assignment would miss the new one.
            State::CompletingRebalance => self.prepare_rebalance(&reason, work),
            State::PreparingRebalance | State::Empty => {}
        }
    }

    /// Remembers for the log that somebody used an instance id that is another's.
    pub(crate) fn note_if_fenced(
        &self,
        refusal: Refusal,
        member_id: &Arc<str>,
        instance: Option<&Arc<str>>,
        work: &mut Work<'_>,
    ) {
        if let (Refusal::FencedInstanceId, Some(instance)) = (refusal, instance) {
            work.note(Note::Fenced {
                group: Arc::clone(&self.id),
                member_id: Arc::clone(member_id),
                group_instance_id: Arc::clone(instance),
            });
        }
    }
}
