//! What one answer may tell more than once. Pure.
//!
//! Kafka answers as often as a thing is named. So do we, up to a bound: a frame of some megabytes can
//! name one large group a million times. What is named once is told, however much it is.

use std::collections::HashSet;
use std::hash::Hash;

/// What the second and later tellings in one answer may take.
const BYTES_MAX: usize = 16 << 20;

/// What has been told so far.
#[derive(Debug)]
pub(crate) struct Again<K> {
    told: HashSet<K>,
    left: usize,
}

impl<K: Eq + Hash> Again<K> {
    pub(crate) fn new() -> Self {
        Again {
            told: HashSet::new(),
            left: BYTES_MAX,
        }
    }

    /// It is not told yet, or there is room to tell it again.
    pub(crate) fn may_tell(&self, thing: &K) -> bool {
        self.left > 0 || !self.told.contains(thing)
    }

    /// It was told, in so many bytes.
    pub(crate) fn note(&mut self, thing: K, bytes: usize) {
        if !self.told.insert(thing) {
            self.left = self.left.saturating_sub(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_thing_is_told_again_only_as_long_as_there_is_room_and_another_one_always_once() {
        let mut again = Again::new();
        let mut tell = |thing, bytes| {
            let may = again.may_tell(&thing);
            if may {
                again.note(thing, bytes);
            }
            may
        };
        assert!(tell("large", BYTES_MAX));
        assert!(tell("large", BYTES_MAX - 1));
        assert!(tell("large", BYTES_MAX), "a byte is left");
        assert!(!tell("large", BYTES_MAX));
        assert!(tell("other", BYTES_MAX));
        assert!(!tell("other", 1));
    }
}
