//! Sessions: their numbers, passwords and deadlines. Their ends are ordinary transactions.

use hashbrown::HashMap;

use crate::watches::ConnectionId;

/// ZooKeeper's constant in every session's password, so that a session opened at either server
/// can be resumed at the other.
const SECRET: i64 = 0xB341_5C00;

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
}

impl Sessions {
    /// `wall_ms` makes numbers that earlier runs did not use.
    pub(crate) fn new(tick_ms: i64, wall_ms: i64) -> Self {
        let id = ((wall_ms << 24).cast_unsigned() >> 8).cast_signed() | (1 << 56);
        Sessions {
            all: HashMap::new(),
            tick_ms: tick_ms.max(1),
            next_id: id,
        }
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
    pub(crate) fn open(&mut self, timeout_ms: i32, now_ms: i64, by: ConnectionId) -> i64 {
        while self.all.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.restore(id, timeout_ms, now_ms);
        self.attach(id, Some(by));
        id
    }

    /// A session known from the files; its time begins anew.
    pub(crate) fn restore(&mut self, id: i64, timeout_ms: i32, now_ms: i64) {
        let deadline_ms = self.deadline(timeout_ms, now_ms);
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

    fn deadline(&self, timeout_ms: i32, now_ms: i64) -> i64 {
        (now_ms.saturating_add(i64::from(timeout_ms)) / self.tick_ms + 1) * self.tick_ms
    }

    /// The client has given a sign of life; false where there is no such session any more.
    pub(crate) fn touch(&mut self, id: i64, timeout_ms: i32, now_ms: i64) -> bool {
        let deadline_ms = self.deadline(timeout_ms, now_ms);
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
    pub(crate) fn overdue(&self, now_ms: i64) -> Vec<i64> {
        let mut ids: Vec<i64> = self
            .all
            .iter()
            .filter(|(_, session)| !session.closing && session.deadline_ms <= now_ms)
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
        let mut sessions = Sessions::new(500, 1_000_000);
        let id = sessions.open(4_000, 100, 1);
        assert!(sessions.overdue(4_000).is_empty());
        assert_eq!(sessions.overdue(4_600), [id]);
        assert!(sessions.touch(id, 4_000, 4_600));
        assert!(sessions.overdue(8_000).is_empty());
        sessions.set_closing(id);
        assert!(!sessions.touch(id, 4_000, 4_600));
        assert!(sessions.overdue(100_000).is_empty());
    }
}
