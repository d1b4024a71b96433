//! From one generation to the next: gather, choose, hand out.
//!
//! Kafka: `GroupCoordinator.prepareRebalance`, `onCompleteJoin`, `DelayedJoin`,
//! `InitialDelayedJoin`, `DelayedSync`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use protocol::internal::groups::{GroupValue, MemberValue, write_key};

use crate::group::{Gathering, GatheringKind, Group, State};
use crate::outcome::{Batch, Note, Record, SyncAnswer};
use crate::refusal::Refusal;
use crate::work::{Alarm, Pending, UnderWay, Work};

/// Who is waited for once more is waited for so long at least, whatever timeout he named: with one of
/// nothing, waiting again would never end.
const AGAIN_MS_MIN: i32 = 100;

impl Group {
    /// Starts a rebalance unless one is gathering already.
    pub(crate) fn rebalance_unless_gathering(&mut self, reason: &str, work: &mut Work<'_>) {
        if self.state != State::PreparingRebalance {
            self.prepare_rebalance(reason, work);
        }
    }

    /// Everybody has to join again.
    pub(crate) fn prepare_rebalance(&mut self, reason: &str, work: &mut Work<'_>) {
        if self.state == State::CompletingRebalance {
            self.take_back_assignments(Refusal::RebalanceInProgress, work);
        }
        self.forget_syncs();
        let (kind, wait_ms) = if self.state == State::Empty {
            let delay_ms = work.config.initial_rebalance_delay_ms;
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms).max(0);
            let first = GatheringKind::First {
                delay_ms,
                remaining_ms,
            };
            (first, delay_ms)
        } else {
            (GatheringKind::All, self.rebalance_timeout_ms())
        };
        self.enter(State::PreparingRebalance, work.now.wall_ms);
        work.note(Note::Rebalancing {
            group: Arc::clone(&self.id),
            generation: self.generation,
            reason: reason.to_owned(),
        });
        self.gather(kind, wait_ms, work);
        self.complete_join_if_all_are_here(work);
    }

    fn gather(&mut self, kind: GatheringKind, wait_ms: i32, work: &mut Work<'_>) {
        let deadline = work.after(wait_ms);
        self.gathering = Some(Gathering { deadline, kind });
        work.timers.remind(deadline, &self.id, Alarm::Rebalance);
    }

    /// Goes on as soon as nobody is missing; a first gathering always waits its time out.
    pub(crate) fn complete_join_if_all_are_here(&mut self, work: &mut Work<'_>) {
        let may_end = matches!(
            self.gathering,
            Some(Gathering {
                kind: GatheringKind::All,
                ..
            })
        );
        if may_end && self.members.len() == self.awaiting_join && self.pending.is_empty() {
            self.complete_join(work);
        }
    }

    /// The time to gather is up.
    pub(crate) fn note_gathering_over(&mut self, work: &mut Work<'_>) {
        match self.gathering.map(|gathering| gathering.kind) {
            Some(GatheringKind::First {
                delay_ms,
                remaining_ms,
            }) if self.new_member_added && remaining_ms != 0 => {
                self.new_member_added = false;
                let next_ms = work.config.initial_rebalance_delay_ms.min(remaining_ms);
                let rest_ms = remaining_ms.saturating_sub(delay_ms).max(0);
                let kind = GatheringKind::First {
                    delay_ms: next_ms,
                    remaining_ms: rest_ms,
                };
                self.gather(kind, next_ms, work);
            }
            Some(_) => self.complete_join(work),
            None => {}
        }
    }

    /// Who has joined is the next generation; who has not is out, unless it is static.
    fn complete_join(&mut self, work: &mut Work<'_>) {
        let late: Vec<Arc<str>> = self
            .members
            .values()
            .filter(|member| member.awaiting_join.is_none() && member.instance.is_none())
            .map(|member| Arc::clone(&member.id))
            .collect();
        for member_id in late {
            self.remove(&member_id);
            let why = "did not join in time".to_owned();
            work.note(Note::MemberLeft {
                group: Arc::clone(&self.id),
                member_id,
                why,
            });
        }
        if !self.members.is_empty() && !self.has_leader_that_joined() {
            // Sessions will take those away who do not come back.
            work.note(Note::NobodyRejoined {
                group: Arc::clone(&self.id),
            });
            let wait_ms = self.rebalance_timeout_ms().max(AGAIN_MS_MIN);
            self.gather(GatheringKind::All, wait_ms, work);
            return;
        }
        self.gathering = None;
        self.begin_generation(work);
        if self.state == State::Empty {
            work.note(Note::Emptied {
                group: Arc::clone(&self.id),
                generation: self.generation,
            });
            self.write_state(&BTreeMap::new(), Pending::Empty, work);
            return;
        }
        work.note(Note::Stabilized {
            group: Arc::clone(&self.id),
            generation: self.generation,
            members: self.members.len(),
        });
        for member_id in self.members.keys().cloned().collect::<Vec<_>>() {
            let answer = self.joined(&member_id);
            self.answer_join(&member_id, answer, work);
            self.arm(&member_id, None, work);
            if let Some(member) = self.members.get_mut(&member_id) {
                member.is_new = false;
            }
            self.pending_sync.insert(member_id);
        }
        let deadline = work.after(self.rebalance_timeout_ms());
        self.sync_deadline = Some(deadline);
        work.timers.remind(deadline, &self.id, Alarm::Sync);
    }

    /// Keeps a leader that has joined, else makes one of those who have.
    // Kafka: GroupMetadata.maybeElectNewJoinedLeader.
    fn has_leader_that_joined(&mut self) -> bool {
        let joined = |id: &Arc<str>| {
            self.members
                .get(id)
                .is_some_and(|m| m.awaiting_join.is_some())
        };
        if self.leader.as_ref().is_some_and(joined) {
            return true;
        }
        let Some(other) = self
            .members
            .values()
            .find(|member| member.awaiting_join.is_some())
        else {
            return false;
        };
        self.leader = Some(Arc::clone(&other.id));
        true
    }

    fn begin_generation(&mut self, work: &mut Work<'_>) {
        self.generation = self.generation.wrapping_add(1).max(0);
        let state = if self.members.is_empty() {
            State::Empty
        } else {
            State::CompletingRebalance
        };
        self.protocol = if state == State::Empty {
            None
        } else {
            self.choose_protocol()
        };
        self.subscribed = self.subscriptions();
        self.enter(state, work.now.wall_ms);
        self.plain_commits = false;
        self.transactional_commits = false;
        self.pending_sync.clear();
    }

    /// Nobody is waited for to sync any more.
    pub(crate) fn forget_syncs(&mut self) {
        self.pending_sync.clear();
        self.sync_deadline = None;
    }

    /// One member less to wait for.
    pub(crate) fn note_synced(&mut self, member_id: &str) {
        self.pending_sync.remove(member_id);
        if self.pending_sync.is_empty() {
            self.sync_deadline = None;
        }
    }

    /// The time to sync is up: who has not done so is out, and the others gather again.
    pub(crate) fn note_sync_over(&mut self, work: &mut Work<'_>) {
        self.sync_deadline = None;
        if self.pending_sync.is_empty() {
            return;
        }
        for member_id in std::mem::take(&mut self.pending_sync) {
            self.remove(&member_id);
            let why = "did not sync in time".to_owned();
            work.note(Note::MemberLeft {
                group: Arc::clone(&self.id),
                member_id,
                why,
            });
        }
        self.prepare_rebalance("members did not sync in time", work);
    }

    /// The assignment is written: everyone may have it.
    pub(crate) fn hand_out(
        &mut self,
        assignments: &BTreeMap<Arc<str>, Bytes>,
        work: &mut Work<'_>,
    ) {
        for member in self.members.values_mut() {
            member.assignment = assignments.get(&member.id).cloned().unwrap_or_default();
        }
        self.answer_syncs(None, work);
        self.enter(State::Stable, work.now.wall_ms);
    }

    /// Whoever waits in a sync hears why there is no assignment.
    pub(crate) fn take_back_assignments(&mut self, refusal: Refusal, work: &mut Work<'_>) {
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
        }
        self.answer_syncs(Some(refusal), work);
    }

    fn answer_syncs(&mut self, refusal: Option<Refusal>, work: &mut Work<'_>) {
        for member_id in self.members.keys().cloned().collect::<Vec<_>>() {
            let answer = match refusal {
                Some(refusal) => SyncAnswer::refused(refusal),
                None => self.synced(&member_id),
            };
            if self.answer_sync(&member_id, answer, work) {
                // Waiting kept the session alive without a timer; from here on it needs one.
                self.arm(&member_id, None, work);
            }
        }
    }

    /// What a member of a stable group is told when it syncs.
    pub(crate) fn synced(&self, member_id: &str) -> SyncAnswer {
        let assignment = self
            .members
            .get(member_id)
            .map(|member| member.assignment.clone());
        SyncAnswer {
            refusal: None,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: assignment.unwrap_or_default(),
        }
    }

    /// Asks for the group's own record to be written, with these assignments.
    pub(crate) fn write_state(
        &self,
        assignments: &BTreeMap<Arc<str>, Bytes>,
        pending: Pending,
        work: &mut Work<'_>,
    ) {
        let protocol = self.protocol.as_deref();
        let value = GroupValue {
            protocol_type: self.protocol_type.as_deref().unwrap_or(""),
            generation: self.generation,
            protocol,
            leader: self.leader.as_deref(),
            current_state_timestamp: self.state_since.unwrap_or(-1),
            members: Vec::new(),
        };
        let subscriptions: Vec<Bytes> = self
            .members
            .values()
            .map(|member| member.metadata(protocol.unwrap_or("")))
            .collect();
        let members = self
            .members
            .values()
            .zip(&subscriptions)
            .map(|(member, subscription)| MemberValue {
                member_id: &member.id,
                group_instance_id: member.instance.as_deref(),
                client_id: &member.client_id,
                client_host: &member.client_host,
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                session_timeout_ms: member.session_timeout_ms,
                subscription,
                assignment: assignments.get(&member.id).map_or(&[], |bytes| bytes),
            });
        let value = GroupValue {
            members: members.collect(),
            ..value
        };
        let record = Record {
            key: write_key(&self.id),
            value: Some(value.write(work.config.group_value_version)),
        };
        let under_way = UnderWay {
            group: Arc::clone(&self.id),
            incarnation: self.incarnation,
            pending,
        };
        work.write(vec![record], Batch::Group, under_way);
    }
}
