//! Waiting for a fact, with a deadline that is only ever reached by a failure.

use std::time::{Duration, Instant};

/// Asks every 10 ms until `fact` gives something; panics with `what` at the deadline.
pub fn until<T>(what: &str, limit: Duration, mut fact: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = fact() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "waited {limit:?} in vain: {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}
