//! What the four-letter words and the metrics show of the server's work.

/// Latencies in milliseconds, as ZooKeeper keeps them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Latency {
    pub(crate) min_ms: i64,
    pub(crate) max_ms: i64,
    pub(crate) sum_ms: i64,
    pub(crate) count: i64,
}

impl Latency {
    pub(crate) fn add(&mut self, ms: i64) {
        self.min_ms = if self.count == 0 {
            ms
        } else {
            self.min_ms.min(ms)
        };
        self.max_ms = self.max_ms.max(ms);
        self.sum_ms = self.sum_ms.saturating_add(ms);
        self.count += 1;
    }

    pub(crate) fn mean_ms(&self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            self.sum_ms as f64 / self.count as f64
        }
    }
}

/// Counts since the start or the last reset.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) latency: Latency,
    pub(crate) reads: Latency,
    pub(crate) updates: Latency,
    pub(crate) bytes_received: u64,
    /// Handshakes, of new sessions and of resumed ones.
    pub(crate) connect_requests: u64,
    pub(crate) auth_failures: u64,
    pub(crate) sessions_expired: u64,
    pub(crate) snapshots: u64,
}

/// The same of one connection, with its last request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionStats {
    pub(crate) whole: Stats,
    pub(crate) established_ms: i64,
    pub(crate) last_op: i32,
    pub(crate) last_xid: i32,
    pub(crate) last_zxid: i64,
    pub(crate) last_response_ms: i64,
    pub(crate) last_latency_ms: i64,
}

impl ConnectionStats {
    /// Of a connection about which nothing is known yet, or no more.
    pub(crate) fn new(established_ms: i64) -> Self {
        ConnectionStats {
            whole: Stats::default(),
            established_ms,
            last_op: 0,
            last_xid: -1,
            last_zxid: -1,
            last_response_ms: 0,
            last_latency_ms: 0,
        }
    }
}
