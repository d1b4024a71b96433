//! Followers' progress and the watermark it allows.
//!
//! ```text
//!     start ──────── watermark ──────── end
//!        committed          may still be lost
//! ```
//!
//! Invariant: I-3. The watermark never passes the end of any member of the maximal ISR.
//! Pure: `now` is handed in, nothing is locked, woken or sent.

use protocol::ids::{BrokerId, Offset};

/// What the leader knows of one follower, from its fetches alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follower {
    pub id: BrokerId,
    /// Where the follower's log begins; `None` until it has fetched in this leadership.
    pub start: Option<Offset>,
    /// Where the follower's log ends, which is where it fetched last.
    pub end: Option<Offset>,
    /// The leader's end at the follower's last fetch.
    leader_end_at_fetch: Option<Offset>,
    fetched_ms: i64,
    /// When the follower last had everything the leader had.
    pub caught_up_ms: Option<i64>,
}

/// All followers of one partition, as its leader sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followers(Vec<Follower>);

impl Follower {
    fn new(id: BrokerId) -> Self {
        Follower {
            id,
            start: None,
            end: None,
            leader_end_at_fetch: None,
            fetched_ms: 0,
            caught_up_ms: None,
        }
    }

    /// At the leader's end now, or was there no longer than `lag_ms_max` ago.
    pub fn is_caught_up(&self, leader_end: Offset, now_ms: i64, lag_ms_max: i64) -> bool {
        self.end == Some(leader_end)
            || self
                .caught_up_ms
                .is_some_and(|at| now_ms.saturating_sub(at) <= lag_ms_max)
    }
}

impl Followers {
    /// Follows a change of assignment: newcomers are unknown, those who left are forgotten.
    pub fn assign(&mut self, followers: impl Iterator<Item = BrokerId>) {
        let mut next = Vec::with_capacity(self.0.len());
        for id in followers {
            let known = self.0.iter().position(|follower| follower.id == id);
            next.push(known.map_or_else(|| Follower::new(id), |at| self.0[at].clone()));
        }
        self.0 = next;
    }

    /// A new leader epoch begins at `leader_end`. Members of the ISR count as caught up now.
    ///
    /// Kafka: a broker that was leader already keeps what it knows of ends (Replica, 3.9).
    pub fn begin_epoch(
        &mut self,
        leader_end: Offset,
        isr: &[BrokerId],
        was_leader: bool,
        now_ms: i64,
    ) {
        for follower in &mut self.0 {
            let in_sync = isr.contains(&follower.id);
            follower.caught_up_ms = in_sync.then_some(now_ms);
            if was_leader {
                follower.leader_end_at_fetch = Some(leader_end);
                follower.fetched_ms = if in_sync { now_ms } else { 0 };
            } else {
                follower.start = None;
                follower.end = None;
                follower.leader_end_at_fetch = None;
                follower.fetched_ms = 0;
            }
        }
    }

    /// A follower fetched from `offset`: it has everything before it. Returns whether it is ours.
    pub fn note_fetch(
        &mut self,
        id: BrokerId,
        offset: Offset,
        start: Offset,
        leader_end: Offset,
        now_ms: i64,
    ) -> bool {
        let Some(follower) = self.0.iter_mut().find(|follower| follower.id == id) else {
            return false;
        };
        let caught_up_at = if offset >= leader_end {
            Some(now_ms)
        } else if follower
            .leader_end_at_fetch
            .is_some_and(|end| offset >= end)
        {
            Some(follower.fetched_ms)
        } else {
            None
        };
        follower.caught_up_ms = follower.caught_up_ms.max(caught_up_at);
        follower.start = Some(start);
        follower.end = Some(offset);
        follower.leader_end_at_fetch = Some(leader_end);
        follower.fetched_ms = now_ms;
        true
    }

    pub fn get(&self, id: BrokerId) -> Option<&Follower> {
        self.0.iter().find(|follower| follower.id == id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Follower> {
        self.0.iter()
    }

    /// The highest watermark that the followers allow: the least end among the leader, the
    /// maximal ISR, and those who are about to join it. `None` while a member's end is unknown.
    pub fn watermark(
        &self,
        leader_end: Offset,
        maximal_isr: &[BrokerId],
        now_ms: i64,
        lag_ms_max: i64,
        may_join: impl Fn(BrokerId) -> bool,
    ) -> Option<Offset> {
        let mut watermark = leader_end;
        for follower in &self.0 {
            let counts = maximal_isr.contains(&follower.id)
                || (follower.is_caught_up(leader_end, now_ms, lag_ms_max) && may_join(follower.id));
            if counts {
                watermark = watermark.min(follower.end?);
            }
        }
        Some(watermark)
    }

    /// The least start offset among the leader and the living followers: records beneath it are
    /// gone everywhere. `None` while a living follower has not told its own.
    pub fn low_watermark(
        &self,
        leader_start: Offset,
        is_alive: impl Fn(BrokerId) -> bool,
    ) -> Option<Offset> {
        let mut low = leader_start;
        for follower in self.0.iter().filter(|follower| is_alive(follower.id)) {
            low = low.min(follower.start?);
        }
        Some(low)
    }
}
