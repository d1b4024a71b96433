//! A disk that does not answer for five minutes is given up: its directory goes offline, so that
//! others may lead what lies there.
//!
//! Linux itself gives up on a command after half a minute and tells of it, so what is out for ten
//! times as long hangs where nobody tells: a network's storage, a frozen file system. It is not
//! less, as an append may wait for a sync, which takes as long as there is much to write. Counted
//! are looks at calls that are still out and not the time that passed, for a machine that slept may
//! find itself an hour later with a disk that had no second to answer.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::lanes::CallOut;

/// How often it is looked.
pub(crate) const LOOK_EVERY_MS: i64 = 1_000;
/// For how long a call that hangs has been out.
pub(crate) const HUNG_SECONDS: u64 = 300;
/// How many looks in a row have found it by then.
const LOOKS_MAX: u64 = HUNG_SECONDS * 1_000 / LOOK_EVERY_MS.cast_unsigned();

/// The calls that were out at the last look, and how many looks have found each.
#[derive(Debug, Default)]
pub(crate) struct Hangs(HashMap<CallOut, u64>);

impl Hangs {
    /// Takes what is out now; gives the directories of calls that hang.
    pub(crate) fn look(&mut self, out: Vec<(CallOut, PathBuf)>) -> Vec<PathBuf> {
        let mut hung = Vec::new();
        let mut seen = HashMap::with_capacity(out.len());
        for (call, directory) in out {
            let looks = self.0.get(&call).map_or(1, |looks| looks + 1);
            if looks >= LOOKS_MAX && !hung.contains(&directory) {
                hung.push(directory);
            }
            seen.insert(call, looks);
        }
        self.0 = seen;
        hung
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_hangs_that_is_out_at_each_of_many_looks() {
        let call = |job| {
            let call = CallOut::Lane { lane: 1, job };
            (call, PathBuf::from("/a"))
        };
        let mut hangs = Hangs::default();
        for number in 1..LOOKS_MAX {
            // The second is another each time.
            let out = vec![call(0), call(number)];
            assert!(hangs.look(out).is_empty());
        }
        assert_eq!(hangs.look(vec![call(0)]), [PathBuf::from("/a")]);
        assert!(hangs.look(Vec::new()).is_empty());
        assert!(hangs.look(vec![call(0)]).is_empty());
    }
}
