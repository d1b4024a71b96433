//! The number in a node's `ephemeralOwner`: nobody, a session, or a mark with a time to live.

const CONTAINER: i64 = i64::MIN;
const EXTENDED: u64 = 0xff00_0000_0000_0000;
const RESERVED: u64 = 0x00ff_ff00_0000_0000;
/// The longest time to live: forty bits of milliseconds.
pub(crate) const TTL_MAX: i64 = 0xff_ffff_ffff;

/// What an owner number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Nobody,
    Session(i64),
    Container,
    Ttl(i64),
}

impl Owner {
    /// `extended`: whether nodes with a time to live are switched on.
    pub(crate) fn of(number: i64, extended: bool) -> Owner {
        let bits = number.cast_unsigned();
        if extended && bits & EXTENDED == EXTENDED && bits & RESERVED == 0 {
            return Owner::Ttl((bits & !(EXTENDED | RESERVED)).cast_signed());
        }
        match number {
            0 => Owner::Nobody,
            CONTAINER => Owner::Container,
            session => Owner::Session(session),
        }
    }

    pub(crate) fn number(self) -> i64 {
        match self {
            Owner::Nobody => 0,
            Owner::Session(session) => session,
            Owner::Container => CONTAINER,
            Owner::Ttl(ttl) => (EXTENDED | ttl.cast_unsigned()).cast_signed(),
        }
    }

    pub(crate) fn is_session(self) -> bool {
        matches!(self, Owner::Session(_))
    }
}
