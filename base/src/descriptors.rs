//! How many files and sockets the process may have open.

use rustix::process::{Resource, getrlimit, setrlimit};

/// What most systems grant who does not ask.
const USUAL: u64 = 1024;

/// Takes all that is granted, as Java does: what a process begins with is the least for programs that
/// still use `select`. Gives how many it may have now.
pub fn take_all() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let begun_with = limit.current;
        limit.current = limit.maximum;
        if setrlimit(Resource::Nofile, limit).is_err() {
            limit.current = begun_with;
        }
    }
    usize::try_from(limit.current.unwrap_or(USUAL)).unwrap_or(usize::MAX)
}
