//! What replication needs of the broker's settings: plain values, already checked.

use protocol::ids::BrokerId;

/// Cut from the broker's configuration at start.
#[derive(Clone, Copy, Debug)]
pub struct ReplicationConfig {
    /// This broker.
    pub me: BrokerId,
    /// `replica.lag.time.max.ms`: how long a follower may lag and stay in sync.
    pub lag_ms_max: i64,
    pub sessions: SessionsConfig,
    /// Workers of the data runtime; one of them always stays free of storage calls.
    pub workers: usize,
}

/// Fetch sessions.
#[derive(Clone, Copy, Debug)]
pub struct SessionsConfig {
    /// `max.incremental.fetch.session.cache.slots`.
    pub slots_max: usize,
    /// How long a session is safe from eviction by its equals.
    pub eviction_ms: i64,
}

impl Default for SessionsConfig {
    fn default() -> Self {
        SessionsConfig { slots_max: 1000, eviction_ms: 120_000 }
    }
}
