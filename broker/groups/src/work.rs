//! What an event may touch besides its group: timers, writes under way, the outcome.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use protocol::ids::TopicPartition;

use crate::config::Config;
use crate::offsets::Committed;
use crate::outcome::{Answer, Batch, Note, Now, Outcome, Record, Ticket, Write, WriteId};
use crate::refusal::Refusal;

/// Which deadline of a group an entry of the heap stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alarm {
    /// A member's session.
    Session(Arc<str>),
    /// A pending member's time to come back with the id it was given.
    Pending(Arc<str>),
    /// The wait for members to join.
    Rebalance,
    /// The wait for members to sync.
    Sync,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timer {
    pub(crate) at: i64,
    pub(crate) group: Arc<str>,
    pub(crate) alarm: Alarm,
}

/// All deadlines, earliest first. An entry is only a reminder to look: the deadline itself lies
/// with its owner and may have moved, so that a heartbeat costs no heap operation.
///
/// Entries whose deadline is gone stay until their time comes, which clients choose and may lie
/// weeks ahead; so whenever there are twice as many as after the last time, those are thrown out.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<Timer>>,
    kept: usize,
}

/// Fewer entries are never looked through.
const CROWD_MIN: usize = 1024;

impl Timers {
    pub(crate) fn remind(&mut self, at: i64, group: &Arc<str>, alarm: Alarm) {
        self.heap.push(Reverse(Timer {
            at,
            group: Arc::clone(group),
            alarm,
        }));
    }

    pub(crate) fn next_at(&self) -> Option<i64> {
        self.heap.peek().map(|Reverse(timer)| timer.at)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(crate) fn are_crowded(&self) -> bool {
        self.heap.len() > CROWD_MIN.max(2 * self.kept)
    }

    /// Keeps what somebody still waits for.
    pub(crate) fn keep_awaited(&mut self, is_awaited: impl Fn(&Timer) -> bool) {
        self.heap.retain(|Reverse(timer)| is_awaited(timer));
        self.kept = self.heap.len();
    }

    pub(crate) fn pop_due(&mut self, now_ms: i64) -> Option<Timer> {
        if self.next_at()? > now_ms {
            return None;
        }
        self.heap.pop().map(|Reverse(timer)| timer)
    }
}

/// What a write was for, so that its result finds its way.
#[derive(Debug)]
pub(crate) enum Pending {
    /// The leader's assignment; members wait for it in their sync.
    Assignment {
        generation: i32,
        assignments: BTreeMap<Arc<str>, Bytes>,
    },
    /// A static member came back under a new id, without a rebalance.
    StaticMember {
        generation: i32,
        member_id: Arc<str>,
        old_member_id: Arc<str>,
        old_leader: Arc<str>,
        old_rebalance_timeout_ms: i32,
        old_session_timeout_ms: i32,
        may_skip_assignment: bool,
    },
    /// The last member has gone.
    Empty,
    Offsets {
        ticket: Ticket,
        verdicts: Vec<Result<(), Refusal>>,
        offsets: Vec<(TopicPartition, Committed)>,
    },
    Transactional {
        ticket: Ticket,
        producer_id: i64,
        verdicts: Vec<Result<(), Refusal>>,
        partitions: Vec<TopicPartition>,
    },
    Tombstones {
        ticket: Option<Ticket>,
    },
}

impl Pending {
    /// Members wait in their joins or syncs until it is written.
    fn holds_up_members(&self) -> bool {
        matches!(
            self,
            Pending::Assignment { .. } | Pending::StaticMember { .. }
        )
    }
}

/// A write under way: whose it is and what it was for.
#[derive(Debug)]
pub(crate) struct UnderWay {
    pub(crate) group: Arc<str>,
    /// Tells the group from a later one of the same name.
    pub(crate) incarnation: u64,
    pub(crate) pending: Pending,
}

/// Writes whose result is not known yet.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    pub(crate) under_way: HashMap<WriteId, UnderWay>,
    /// How long members wait for those that they wait for, in the order of the writes. The first is
    /// always one that is under way.
    awaited: VecDeque<(i64, WriteId)>,
    next: u64,
}

impl Writes {
    /// When somebody will have waited for long enough.
    pub(crate) fn next_at(&self) -> Option<i64> {
        self.awaited.front().map(|(at, _)| *at)
    }

    /// A write that somebody has waited for long enough.
    pub(crate) fn late(&self, now_ms: i64) -> Option<WriteId> {
        let (at, id) = *self.awaited.front()?;
        (at <= now_ms).then_some(id)
    }

    /// A write is under way no more. `None` where it was not: nobody waits for it.
    pub(crate) fn take(&mut self, id: WriteId) -> Option<UnderWay> {
        let taken = self.under_way.remove(&id);
        while let Some((_, first)) = self.awaited.front()
            && !self.under_way.contains_key(first)
        {
            self.awaited.pop_front();
        }
        taken
    }

    /// The number the next write will have.
    pub(crate) fn next_id(&self) -> WriteId {
        WriteId(self.next)
    }
}

/// The world around one group during one event.
pub(crate) struct Work<'a> {
    pub(crate) config: &'a Config,
    pub(crate) now: Now,
    pub(crate) timers: &'a mut Timers,
    pub(crate) writes: &'a mut Writes,
    pub(crate) out: &'a mut Outcome,
}

impl Work<'_> {
    pub(crate) fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.out.answers.push((ticket, answer));
    }

    pub(crate) fn note(&mut self, note: Note) {
        self.out.notes.push(note);
    }

    /// The moment `timeout_ms` from now.
    pub(crate) fn after(&self, timeout_ms: i32) -> i64 {
        self.now
            .monotonic_ms
            .saturating_add(i64::from(timeout_ms.max(0)))
    }

    /// Asks for records to be written, and remembers what for.
    pub(crate) fn write(
        &mut self,
        records: Vec<Record>,
        batch: Batch,
        under_way: UnderWay,
    ) -> WriteId {
        let id = self.writes.next_id();
        self.writes.next += 1;
        if under_way.pending.holds_up_members() {
            let until = self.after(self.config.write_timeout_ms);
            self.writes.awaited.push_back((until, id));
        }
        self.writes.under_way.insert(id, under_way);
        self.out.writes.push(Write {
            id,
            records,
            timestamp_ms: self.now.wall_ms,
            batch,
        });
        id
    }
}
