//! A group: its members, its generation, its offsets; and the small moves everything is made of.
//!
//! Kafka: `GroupMetadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use protocol::internal::consumer;

use crate::member::{Member, Protocol};
use crate::offsets::Offsets;
use crate::outcome::{Answer, JoinAnswer, JoinedMember, SyncAnswer, Ticket};
use crate::refusal::Refusal;
use crate::work::{Alarm, Work};

/// What a group is doing. A dead group is one that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        })
    }
}

/// The wait for members to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gathering {
    pub(crate) deadline: i64,
    pub(crate) kind: GatheringKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GatheringKind {
    /// The first members of an empty group: waits its time out, and longer while more arrive.
    First { delay_ms: i32, remaining_ms: i32 },
    /// Ends as soon as every known member has joined.
    All,
}

/// A group. Owned by the machine.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: Arc<str>,
    /// Tells it from an earlier group of the same name.
    pub(crate) incarnation: u64,
    pub(crate) state: State,
    /// Wall time of entering `state`; `None` if it was loaded from a record too old to say.
    pub(crate) state_since: Option<i64>,
    pub(crate) protocol_type: Option<Arc<str>>,
    pub(crate) protocol: Option<Arc<str>>,
    pub(crate) generation: i32,
    /// Invariant: names a member, or nobody where there are none.
    pub(crate) leader: Option<Arc<str>>,
    pub(crate) members: BTreeMap<Arc<str>, Member>,
    /// Invariant: instance id → member id, for exactly the members that have one.
    pub(crate) statics: BTreeMap<Arc<str>, Arc<str>>,
    /// Ids given out and not yet joined with, each with its time to come back.
    pub(crate) pending: BTreeMap<Arc<str>, i64>,
    /// Invariant: how many members have `awaiting_join`.
    pub(crate) awaiting_join: usize,
    /// Invariant: how many members know each protocol; none is zero.
    supporters: BTreeMap<Arc<str>, usize>,
    /// Joined the generation, not synced yet.
    pub(crate) pending_sync: BTreeSet<Arc<str>>,
    /// What a group of consumers reads; `None` while that is not known.
    pub(crate) subscribed: Option<BTreeSet<Box<str>>>,
    /// Someone arrived during the first gathering.
    pub(crate) new_member_added: bool,
    pub(crate) gathering: Option<Gathering>,
    pub(crate) sync_deadline: Option<i64>,
    pub(crate) offsets: Offsets,
    pub(crate) plain_commits: bool,
    pub(crate) transactional_commits: bool,
}

impl Group {
    pub(crate) fn new(id: Arc<str>, incarnation: u64, wall_ms: i64) -> Self {
        Group {
            id,
            incarnation,
            state: State::Empty,
            state_since: Some(wall_ms),
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            pending: BTreeMap::new(),
            awaiting_join: 0,
            supporters: BTreeMap::new(),
            pending_sync: BTreeSet::new(),
            subscribed: None,
            new_member_added: false,
            gathering: None,
            sync_deadline: None,
            offsets: Offsets::default(),
            plain_commits: false,
            transactional_commits: false,
        }
    }

    pub(crate) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    pub(crate) fn leader_or_nobody(&self) -> Arc<str> {
        self.leader.clone().unwrap_or_else(|| "".into())
    }

    pub(crate) fn has_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(consumer::PROTOCOL_TYPE)
    }

    pub(crate) fn enter(&mut self, state: State, wall_ms: i64) {
        self.state = state;
        self.state_since = Some(wall_ms);
    }

    /// The instance id, if there is one, is this member's; and the member is there.
    // Kafka: GroupCoordinator.validateCurrentMember. Fenced comes before unknown: clients stop on
    // the one and rejoin on the other.
    pub(crate) fn check_member(
        &self,
        member_id: &str,
        instance: Option<&str>,
    ) -> Result<(), Refusal> {
        if let Some(instance) = instance {
            match self.statics.get(instance) {
                Some(current) if **current != *member_id => return Err(Refusal::FencedInstanceId),
                Some(_) => {}
                None => return Err(Refusal::UnknownMemberId),
            }
        }
        if self.members.contains_key(member_id) {
            Ok(())
        } else {
            Err(Refusal::UnknownMemberId)
        }
    }

    /// Whether somebody with these protocols could take part.
    pub(crate) fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|protocol| {
                self.supporters.get(&protocol.name).copied().unwrap_or(0) == self.members.len()
            })
    }

    pub(crate) fn add(&mut self, member: Member) {
        if let Some(instance) = &member.instance {
            self.statics
                .insert(Arc::clone(instance), Arc::clone(&member.id));
        }
        if self.leader.is_none() {
            self.leader = Some(Arc::clone(&member.id));
        }
        self.count_supporter(&member.protocols);
        self.awaiting_join += usize::from(member.awaiting_join.is_some());
        self.pending.remove(&member.id);
        self.members.insert(Arc::clone(&member.id), member);
    }

    /// Takes a member out, or an id that was pending; its waiting requests must have been answered.
    pub(crate) fn remove(&mut self, member_id: &str) -> Option<Member> {
        let removed = self.members.remove(member_id);
        if let Some(member) = &removed {
            self.discount_supporter(&member.protocols);
            self.awaiting_join -= usize::from(member.awaiting_join.is_some());
            if let Some(instance) = &member.instance {
                self.statics.remove(instance);
            }
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending.remove(member_id);
        self.pending_sync.remove(member_id);
        removed
    }

    /// What a rejoining member now asks for, and who waits for the answer.
    pub(crate) fn update(
        &mut self,
        member_id: &str,
        protocols: Vec<Protocol>,
        timeouts: (i32, i32),
        ticket: Ticket,
        work: &mut Work<'_>,
    ) {
        // Kafka forgets the earlier of two joins; its client would wait for ever. It is told to
        // come again.
        let again = JoinAnswer::refused(member_id, Refusal::RebalanceInProgress);
        self.answer_join(member_id, again, work);
        let Some(member) = self.members.get_mut(member_id) else {
            return;
        };
        let before = std::mem::replace(&mut member.protocols, protocols);
        let now = member.protocols.clone();
        (member.rebalance_timeout_ms, member.session_timeout_ms) = timeouts;
        self.awaiting_join += 1;
        member.awaiting_join = Some(ticket);
        self.discount_supporter(&before);
        self.count_supporter(&now);
    }

    /// Gives a member's waiting join its answer; `false` if none waits.
    pub(crate) fn answer_join(
        &mut self,
        member_id: &str,
        answer: JoinAnswer,
        work: &mut Work<'_>,
    ) -> bool {
        let waiting = self
            .members
            .get_mut(member_id)
            .and_then(|member| member.awaiting_join.take());
        if let Some(ticket) = waiting {
            self.awaiting_join -= 1;
            work.answer(ticket, Answer::Join(answer));
        }
        waiting.is_some()
    }

    /// Gives a member's waiting sync its answer; `false` if none waits.
    pub(crate) fn answer_sync(
        &mut self,
        member_id: &str,
        answer: SyncAnswer,
        work: &mut Work<'_>,
    ) -> bool {
        let waiting = self
            .members
            .get_mut(member_id)
            .and_then(|member| member.awaiting_sync.take());
        if let Some(ticket) = waiting {
            work.answer(ticket, Answer::Sync(answer));
        }
        waiting.is_some()
    }

    /// The same static member under a new id; who waited under the old one is fenced.
    pub(crate) fn replace_static(&mut self, old_id: &str, new_id: &Arc<str>, work: &mut Work<'_>) {
        let fenced = Refusal::FencedInstanceId;
        self.answer_join(old_id, JoinAnswer::refused(old_id, fenced), work);
        self.answer_sync(old_id, SyncAnswer::refused(fenced), work);
        let Some(mut member) = self.members.remove(old_id) else {
            return;
        };
        member.id = Arc::clone(new_id);
        // Reminders go by the member's id: the old one is void.
        member.timer_at = None;
        if let Some(instance) = &member.instance {
            self.statics
                .insert(Arc::clone(instance), Arc::clone(new_id));
        }
        self.members.insert(Arc::clone(new_id), member);
        if self.is_leader(old_id) {
            self.leader = Some(Arc::clone(new_id));
        }
    }

    /// Starts a member's session anew; one that safely waits needs none.
    pub(crate) fn arm(&mut self, member_id: &str, timeout_ms: Option<i32>, work: &mut Work<'_>) {
        let Some(member) = self.members.get_mut(member_id) else {
            return;
        };
        if member.waits_safely() {
            member.session_deadline = None;
            return;
        }
        let deadline = work.after(timeout_ms.unwrap_or(member.session_timeout_ms));
        member.session_deadline = Some(deadline);
        if member.timer_at.is_none_or(|at| at > deadline) {
            member.timer_at = Some(deadline);
            work.timers
                .remind(deadline, &self.id, Alarm::Session(Arc::clone(&member.id)));
        }
    }

    /// The longest time any member wants to be waited for.
    pub(crate) fn rebalance_timeout_ms(&self) -> i32 {
        self.members
            .values()
            .map(|member| member.rebalance_timeout_ms)
            .max()
            .unwrap_or(0)
            .max(0)
    }

    /// Every member votes for the first of its protocols that all know; most votes win, and of
    /// equals the one voted for first.
    pub(crate) fn choose_protocol(&self) -> Option<Arc<str>> {
        let everybody = self.members.len();
        let mut votes: Vec<(&Arc<str>, usize)> = Vec::new();
        for member in self.members.values() {
            let known_to_all =
                |protocol: &&Protocol| self.supporters.get(&protocol.name) == Some(&everybody);
            let Some(choice) = member.protocols.iter().find(known_to_all) else {
                continue;
            };
            match votes.iter_mut().find(|(name, _)| **name == choice.name) {
                Some((_, count)) => *count += 1,
                None => votes.push((&choice.name, 1)),
            }
        }
        let most = votes.iter().map(|(_, count)| *count).max()?;
        votes
            .into_iter()
            .find(|(_, count)| *count == most)
            .map(|(name, _)| Arc::clone(name))
    }

    /// The topics all members together subscribe to; `None` if that cannot be told.
    // Kafka: GroupMetadata.computeSubscribedTopics.
    pub(crate) fn subscriptions(&self) -> Option<BTreeSet<Box<str>>> {
        if !self.has_consumers() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_ref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let metadata = member.metadata(protocol);
            let named = consumer::subscribed_topics(&metadata).ok()?;
            topics.extend(named.into_iter().map(Box::from));
        }
        Some(topics)
    }

    /// The members as the leader is told of them.
    pub(crate) fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or("");
        let joined = self.members.values().map(|member| JoinedMember {
            member_id: Arc::clone(&member.id),
            group_instance_id: member.instance.clone(),
            metadata: member.metadata(protocol),
        });
        joined.collect()
    }

    /// What a member of the current generation is told.
    pub(crate) fn joined(&self, member_id: &Arc<str>) -> JoinAnswer {
        let members = if self.is_leader(member_id) {
            self.joined_members()
        } else {
            Vec::new()
        };
        JoinAnswer {
            refusal: None,
            member_id: Arc::clone(member_id),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader_or_nobody(),
            skip_assignment: false,
            members,
        }
    }

    fn count_supporter(&mut self, protocols: &[Protocol]) {
        for name in distinct(protocols) {
            *self.supporters.entry(Arc::clone(name)).or_default() += 1;
        }
    }

    fn discount_supporter(&mut self, protocols: &[Protocol]) {
        for name in distinct(protocols) {
            if let Some(count) = self.supporters.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.supporters.remove(name);
                }
            }
        }
    }

    /// Every invariant of the fields above; for debug builds and tests.
    pub(crate) fn check(&self) {
        let awaiting = self
            .members
            .values()
            .filter(|member| member.awaiting_join.is_some())
            .count();
        assert_eq!(
            self.awaiting_join, awaiting,
            "awaiting joins of {}",
            self.id
        );
        match &self.leader {
            Some(leader) => assert!(self.members.contains_key(leader), "leader of {}", self.id),
            None => assert!(self.members.is_empty(), "leaderless {}", self.id),
        }
        let statics = self
            .members
            .values()
            .filter(|member| member.instance.is_some())
            .count();
        assert_eq!(self.statics.len(), statics, "static members of {}", self.id);
        for (instance, member_id) in &self.statics {
            let member = self.members.get(member_id);
            assert_eq!(
                member.and_then(|member| member.instance.as_ref()),
                Some(instance)
            );
        }
        for member in self.members.values() {
            if let (Some(deadline), Some(at)) = (member.session_deadline, member.timer_at) {
                assert!(at <= deadline, "a session of {} may be missed", self.id);
            }
        }
        let gathering = self.state == State::PreparingRebalance;
        assert_eq!(
            self.gathering.is_some(),
            gathering,
            "gathering of {}",
            self.id
        );
        if self.state == State::Empty {
            assert!(self.members.is_empty(), "members of empty {}", self.id);
        }
    }
}

/// Each name once, however often a member lists it.
fn distinct(protocols: &[Protocol]) -> BTreeSet<&Arc<str>> {
    protocols.iter().map(|protocol| &protocol.name).collect()
}
