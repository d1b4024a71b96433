//! What replication needs of the broker's settings: plain values, already checked.

use std::sync::Arc;

use protocol::ids::BrokerId;
use storage::config::LogConfig;

/// Cut from the broker's configuration at start.
#[derive(Clone, Copy, Debug)]
pub struct ReplicationConfig {
    /// This broker.
    pub me: BrokerId,
    /// `replica.lag.time.max.ms`: how long a follower may lag and stay in sync.
    pub lag_ms_max: i64,
    /// `replica.high.watermark.checkpoint.interval.ms`.
    pub checkpoint_ms: i64,
    pub sessions: SessionsConfig,
    pub moves: MovesConfig,
    /// Workers of the data runtime; one of them always stays free of storage calls.
    pub workers: usize,
}

/// Moves of replicas between directories.
#[derive(Clone, Copy, Debug)]
pub struct MovesConfig {
    /// `num.replica.alter.log.dirs.threads`: how many replicas are copied at once.
    pub threads: usize,
    /// `alter.log.dirs.replication.quota.window.num`.
    pub samples: usize,
    /// `alter.log.dirs.replication.quota.window.size.seconds`.
    pub sample_ms: i64,
    /// `replica.alter.log.dirs.io.max.bytes.per.second`, as it stands at the start.
    pub bytes_per_second_max: u64,
    /// `replica.fetch.max.bytes`: how much is copied at once.
    pub copy_bytes: usize,
    /// `replica.fetch.backoff.ms`: the pause after a failure, and of those who are too fast.
    pub backoff_ms: i64,
}

/// What a topic sets about its replicas and readers; the rest of its settings is its log's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicRules {
    /// `min.insync.replicas`; never more than there are replicas when it is obeyed.
    pub min_insync_replicas: usize,
    /// `message.downconversion.enable`.
    pub down_conversion: bool,
}

/// All a topic sets: what its logs obey and what its replicas obey.
#[derive(Clone, Debug)]
pub struct TopicConfig {
    pub log: Arc<LogConfig>,
    pub rules: TopicRules,
}

/// Where the settings of a topic are found when its first partition comes here.
pub type TopicConfigs = Arc<dyn Fn(&str) -> TopicConfig + Send + Sync>;

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
        SessionsConfig {
            slots_max: 1000,
            eviction_ms: 120_000,
        }
    }
}

impl Default for MovesConfig {
    fn default() -> Self {
        MovesConfig {
            threads: 1,
            samples: 11,
            sample_ms: 1_000,
            bytes_per_second_max: i64::MAX.cast_unsigned(),
            copy_bytes: 1 << 20,
            backoff_ms: 1_000,
        }
    }
}

impl Default for TopicRules {
    fn default() -> Self {
        TopicRules {
            min_insync_replicas: 1,
            down_conversion: true,
        }
    }
}
