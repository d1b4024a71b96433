//! Sessions: their numbers, passwords and deadlines. Their ends are ordinary transactions.
//!
//! Their time is that in which a client could be heard: while the server itself is held up, by a disk
//! or by the machine, or takes nothing in, nobody's deadline comes nearer.

use hashbrown::HashMap;

use crate::watches::ConnectionId;

/// ZooKeeper's constant in every session's password, so that a session opened at either server
/// can be resumed at the other.
const SECRET: i64 = 0xB341_5C00;

/// Time is passed at least so often, however long a tick is.
const STEP_MAX_MS: i64 = 1_000;

/// One session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    pub(crate) timeout_ms: i32,
    pub(crate) deadline_ms: i64,
    /// Its end is on the way.
    pub(crate) closing: bool,
    pub(crate) connection: Option<ConnectionId>,
}

/// All sessions. Deadlines are rounded up to ticks, as ZooKeeper does.
#[derive(Debug)]
pub(crate) struct Sessions {
    all: HashMap<i64, Session>,
    tick_ms: i64,
    next_id: i64,
    /// The time of the sessions.
    now_ms: i64,
    /// The clock's time when it was looked at last.
    seen_ms: i64,
}

impl Sessions {
    /// `wall_ms` makes numbers that earlier runs did not use.
    pub(crate) fn new(tick_ms: i64, now_ms: i64, wall_ms: i64) -> Self {
        let id = ((wall_ms << 24).cast_unsigned() >> 8).cast_signed() | (1 << 56);
        Sessions {
            all: HashMap::new(),
            tick_ms: tick_ms.max(1),
            next_id: id,
            now_ms,
            seen_ms: now_ms,
        }
    }

    /// How often time is to be passed at least.
    pub(crate) fn step_ms(&self) -> i64 {
        self.tick_ms.min(STEP_MAX_MS)
    }

    /// Time goes on to `clock_ms`; `listened`: clients could be heard meanwhile. Of a pause longer than a
    /// step, and what a busy machine adds to one, the rest does not count: nobody was heard in it.
    pub(crate) fn pass_time(&mut self, clock_ms: i64, listened: bool) {
        let passed_ms = clock_ms - self.seen_ms;
        self.seen_ms = clock_ms;
        if listened {
            let step_ms = self.step_ms();
            self.now_ms += passed_ms.clamp(0, step_ms + step_ms / 4);
        }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.now_ms
    }

    pub(crate) fn get(&self, id: i64) -> Option<&Session> {
        self.all.get(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (i64, &Session)> {
        self.all.iter().map(|(&id, session)| (id, session))
    }

    /// A fresh session.
    pub(crate) fn open(&mut self, timeout_ms: i32, by: ConnectionId) -> i64 {
        while self.all.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.restore(id, timeout_ms);
        self.attach(id, Some(by));
        id
    }

    /// A session known from the files; its time begins anew.
    pub(crate) fn restore(&mut self, id: i64, timeout_ms: i32) {
        let deadline_ms = self.deadline(timeout_ms);
        let session = Session {
            timeout_ms,
            deadline_ms,
            closing: false,
            connection: None,
        };
        self.all.insert(id, session);
        if id >= self.next_id && id >> 56 == self.next_id >> 56 {
            self.next_id = id + 1;
        }
    }

    fn deadline(&self, timeout_ms: i32) -> i64 {
        ((self.now_ms + i64::from(timeout_ms)) / self.tick_ms + 1) * self.tick_ms
    }

    /// The client has given a sign of life; false where there is no such session any more.
    pub(crate) fn touch(&mut self, id: i64, timeout_ms: i32) -> bool {
        let deadline_ms = self.deadline(timeout_ms);
        match self.all.get_mut(&id) {
            Some(session) if !session.closing => {
                session.deadline_ms = deadline_ms;
                true
            }
            _ => false,
        }
    }

    /// Says which connection speaks for the session; gives back the one that did.
    pub(crate) fn attach(&mut self, id: i64, to: Option<ConnectionId>) -> Option<ConnectionId> {
        let session = self.all.get_mut(&id)?;
        std::mem::replace(&mut session.connection, to)
    }

    pub(crate) fn set_closing(&mut self, id: i64) {
        if let Some(session) = self.all.get_mut(&id) {
            session.closing = true;
        }
    }

    pub(crate) fn remove(&mut self, id: i64) {
        self.all.remove(&id);
    }

    /// Sessions whose time is over and whose end is not yet on the way.
    pub(crate) fn overdue(&self) -> Vec<i64> {
        let mut ids: Vec<i64> = self
            .all
            .iter()
            .filter(|(_, session)| !session.closing && session.deadline_ms <= self.now_ms)
            .map(|(&id, _)| id)
            .collect();
        ids.sort_unstable();
        ids
    }
}

/// The password of a session: Java's `Random` seeded by its number and ZooKeeper's constant.
pub(crate) fn password(id: i64) -> [u8; 16] {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut seed = ((id ^ SECRET).cast_unsigned() ^ MULTIPLIER) & MASK;
    let mut out = [0; 16];
    for word in out.chunks_exact_mut(4) {
        seed = seed.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        word.copy_from_slice(&((seed >> 16) as u32).to_le_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_those_zookeeper_gives() {
        let expected = [
            0xdd, 0xc8, 0xe6, 0x13, 0xa6, 0x45, 0x0b, 0x70, 0x83, 0x97, 0x68, 0xa6, 0x5f, 0x7d,
            0x0e, 0xaf,
        ];
        assert_eq!(password(0x0100_0037_41c9_0000), expected);
    }

    #[test]
    fn a_session_that_gives_no_sign_is_overdue_a_tick_late_at_most() {
        let mut sessions = Sessions::new(500, 100, 1_000_000);
        let id = sessions.open(4_000, 1);
        go_on(&mut sessions, 4_000);
        assert!(sessions.overdue().is_empty());
        go_on(&mut sessions, 4_600);
        assert_eq!(sessions.overdue(), [id]);
        assert!(sessions.touch(id, 4_000));
        go_on(&mut sessions, 8_000);
        assert!(sessions.overdue().is_empty());
        sessions.set_closing(id);
        assert!(!sessions.touch(id, 4_000));
        go_on(&mut sessions, 100_000);
        assert!(sessions.overdue().is_empty());
    }

    /// Time as it passes where nothing is held up.
    fn go_on(sessions: &mut Sessions, until_ms: i64) {
        for ms in (sessions.seen_ms..until_ms).step_by(100) {
            sessions.pass_time(ms, true);
        }
        sessions.pass_time(until_ms, true);
    }

    #[test]
    fn time_in_which_nobody_is_heard_does_not_count() {
        let mut sessions = Sessions::new(2_000, 0, 1_000_000);
        let id = sessions.open(4_000, 1);
        go_on(&mut sessions, 1_000);
        // Held up for a minute: as if it had been a little more than a step.
        sessions.pass_time(61_000, true);
        assert_eq!(sessions.now_ms(), 2_250);
        // Not listening for an hour, however often one looks at the clock.
        for ms in (61_000..3_661_000).step_by(500) {
            sessions.pass_time(ms, false);
        }
        assert_eq!(sessions.now_ms(), 2_250);
        assert!(sessions.overdue().is_empty());
        go_on(&mut sessions, 3_661_000 + 6_000);
        assert_eq!(sessions.overdue(), [id]);
    }
}
