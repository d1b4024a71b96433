//! What an operator decides about groups: plain values, already checked.

/// Since this version a group's value names its members' instance ids.
const STATIC_SINCE: i16 = 3;

/// Limits, delays and record versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `group.min.session.timeout.ms`
    pub session_timeout_min_ms: i32,
    /// `group.max.session.timeout.ms`
    pub session_timeout_max_ms: i32,
    /// `group.max.size`
    pub size_max: usize,
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay_ms: i32,
    /// `offsets.commit.timeout.ms`: how long members wait for the group's own record to be written,
    /// wherever it waits.
    pub write_timeout_ms: i32,
    /// `offset.metadata.max.bytes`; counted in UTF-16 units, as Kafka counts it.
    pub offset_metadata_max: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// The newest version of offset values to write: 3, or less below
    /// `inter.broker.protocol.version` 2.1.
    pub offset_value_version: i16,
    /// The newest version of group values to write: 3, or less below 2.3.
    pub group_value_version: i16,
}

impl Default for Config {
    /// Kafka's defaults.
    fn default() -> Self {
        Config {
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            size_max: i32::MAX as usize,
            initial_rebalance_delay_ms: 3_000,
            write_timeout_ms: 5_000,
            offset_metadata_max: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            offset_value_version: protocol::internal::offsets::VALUE_VERSION,
            group_value_version: protocol::internal::groups::VALUE_VERSION,
        }
    }
}

impl Config {
    /// Whether the brokers' agreed version can write down who a member is. Where it cannot, a static
    /// member would become another with the next coordinator.
    pub fn knows_static_members(&self) -> bool {
        self.group_value_version >= STATIC_SINCE
    }

    /// Whether metadata of a committed offset is short enough.
    pub(crate) fn allows_metadata(&self, metadata: &str) -> bool {
        // A text has no more UTF-16 units than bytes, so counting is rare.
        metadata.len() <= self.offset_metadata_max
            || metadata.encode_utf16().count() <= self.offset_metadata_max
    }
}
