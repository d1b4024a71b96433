//! Waiting for a fact, with a deadline that is only ever reached by a failure.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

/// When this program first asked, in milliseconds since 1970: for the timestamps of records. Older
/// ones would be deleted by retention, half a minute after a broker's start.
pub fn began_ms() -> i64 {
    static BEGAN: LazyLock<i64> = LazyLock::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        i64::try_from(since.as_millis()).unwrap()
    });
    *BEGAN
}
