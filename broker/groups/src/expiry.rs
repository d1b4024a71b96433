//! What time does: sessions end, waits are over, old offsets go.

use std::sync::Arc;

use crate::group::{Group, State};
use crate::machine::Machine;
use crate::outcome::{Note, Now, Outcome};
use crate::refusal::WriteError;
use crate::work::{Alarm, Timer, Work};

impl Machine {
    /// Carries out every deadline that has passed.
    pub fn expire(&mut self, now: Now) -> Outcome {
        let mut out = Outcome::default();
        while let Some(Timer { at, group, alarm }) = self.timers.pop_due(now.monotonic_ms) {
            self.on(&group, now, &mut out, |group, work| {
                group.ring(at, alarm, work)
            });
        }
        // The log may have them yet, or never: what it says of them then concerns nobody.
        while let Some(id) = self.writes.late(now.monotonic_ms) {
            self.note_written(id, Err(WriteError::TimedOut), now, &mut out);
        }
        out
    }

    /// One pass over all groups: offsets past their retention get tombstones, and empty groups
    /// without offsets go.
    // Kafka: GroupMetadataManager.cleanupGroupMetadata.
    pub fn expire_offsets(&mut self, now: Now) -> Outcome {
        let mut out = Outcome::default();
        let retention_ms = self.config.offsets_retention_ms;
        let mut count = 0;
        for id in self.ids() {
            let Some(group) = self.groups.get_mut(&id) else {
                continue;
            };
            let expired = group.expire_offsets(now.wall_ms, retention_ms);
            count += expired.len();
            self.bury(&id, &expired, None, now, &mut out);
        }
        if count > 0 {
            out.notes.push(Note::OffsetsExpired { count });
        }
        out
    }
}

impl Group {
    /// Whether the reminder is the one of a deadline that still stands.
    pub(crate) fn awaits(&self, timer: &Timer) -> bool {
        let at = Some(timer.at);
        match &timer.alarm {
            Alarm::Session(id) => self.members.get(id).is_some_and(|m| m.timer_at == at),
            Alarm::Pending(id) => self.pending.get(id).copied() == at,
            Alarm::Rebalance => self.gathering.map(|gathering| gathering.deadline) == at,
            Alarm::Sync => self.sync_deadline == at,
        }
    }

    fn ring(&mut self, at: i64, alarm: Alarm, work: &mut Work<'_>) {
        match alarm {
            Alarm::Session(member_id) => self.ring_session(at, &member_id, work),
            Alarm::Pending(member_id) => {
                if self.pending.get(&member_id) == Some(&at) {
                    self.remove_pending(&member_id, work);
                }
            }
            Alarm::Rebalance => {
                if self
                    .gathering
                    .is_some_and(|gathering| gathering.deadline == at)
                {
                    self.note_gathering_over(work);
                }
            }
            Alarm::Sync => {
                if self.sync_deadline == Some(at) {
                    self.note_sync_over(work);
                }
            }
        }
    }

    fn ring_session(&mut self, at: i64, member_id: &Arc<str>, work: &mut Work<'_>) {
        let Some(member) = self.members.get_mut(member_id) else {
            return;
        };
        if member.timer_at != Some(at) {
            return; // An earlier reminder has taken over.
        }
        member.timer_at = None;
        match member.session_deadline {
            Some(deadline) if deadline > work.now.monotonic_ms => {
                // Heartbeats have moved it.
                member.timer_at = Some(deadline);
                work.timers
                    .remind(deadline, &self.id, Alarm::Session(Arc::clone(member_id)));
            }
            Some(_) => {
                member.session_deadline = None;
                // Whoever waits in a rebalance is alive; the end of the wait starts the session.
                if !member.waits_safely() {
                    self.remove_and_rebalance(member_id, "session expired", work);
                }
            }
            None => {}
        }
    }

    /// Takes expired offsets out and says which.
    // Kafka: GroupMetadata.removeExpiredOffsets. Where there is no consumer any more, the time
    // counts from the moment the last one left; a member's own topics never expire.
    fn expire_offsets(
        &mut self,
        now_ms: i64,
        retention_ms: i64,
    ) -> Vec<protocol::ids::TopicPartition> {
        let Group {
            offsets,
            state,
            state_since,
            protocol_type,
            subscribed,
            ..
        } = self;
        match (protocol_type.as_deref(), *state, subscribed) {
            (Some(_), State::Empty, _) => {
                let since = *state_since;
                let from = |committed: &crate::offsets::Committed| {
                    since.unwrap_or(committed.commit_timestamp)
                };
                offsets.expire(now_ms, retention_ms, from, |_topic| false)
            }
            (Some("consumer"), State::Stable, Some(subscribed)) => {
                let keeps = |topic: &str| subscribed.contains(topic);
                offsets.expire(
                    now_ms,
                    retention_ms,
                    |committed| committed.commit_timestamp,
                    keeps,
                )
            }
            (None, _, _) => {
                let from = |committed: &crate::offsets::Committed| committed.commit_timestamp;
                offsets.expire(now_ms, retention_ms, from, |_topic| false)
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::join::JoinRequest;
    use crate::member::Protocol;
    use crate::outcome::Ticket;

    #[test]
    fn a_member_that_joins_again_and_again_leaves_no_crowd_of_reminders() {
        let config = Config {
            initial_rebalance_delay_ms: 0,
            ..Config::default()
        };
        let mut machine = Machine::new(Arc::new(config));
        let joining = |member_id: &str, round: u64| JoinRequest {
            group: "g".into(),
            member_id: member_id.into(),
            group_instance_id: None,
            needs_known_member_id: false,
            may_skip_assignment: false,
            client_id: "c".into(),
            client_host: "/".into(),
            // Two weeks, in which nothing of it would be looked at.
            rebalance_timeout_ms: 14 * 24 * 3_600_000,
            session_timeout_ms: 10_000,
            protocol_type: "consumer".into(),
            protocols: vec![Protocol {
                name: "range".into(),
                metadata: round.to_be_bytes().to_vec().into(),
            }],
            reason: None,
            fresh_id: "1".into(),
        };
        let mut now = Now {
            monotonic_ms: 0,
            wall_ms: 0,
        };
        let _joined = machine.join(Ticket(0), joining("", 0), now);
        let _answered = machine.expire(now);
        for round in 1..10_000 {
            now.monotonic_ms += 1;
            let _again = machine.join(Ticket(round), joining("c-1", round), now);
        }
        assert_eq!(machine.group_count(), 1);
        assert!(machine.timers.len() < 3_000, "{}", machine.timers.len());
        // What still stands is kept: the session ends in its time.
        let due = machine.next_deadline();
        assert!(
            due.is_some_and(|at| at <= now.monotonic_ms + 10_000),
            "{due:?}"
        );
    }
}
