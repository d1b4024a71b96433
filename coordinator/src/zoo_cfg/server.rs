//! What a server is and where it keeps things: files, ports, time, nodes, metrics.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::{Config, Packing};
use crate::zoo_cfg::reading::{Reading, names};

/// ZooKeeper's, where a file does not set it.
const TICK_MS: i32 = 3_000;

impl Reading {
    pub(super) fn server(&mut self, config: &mut Config) {
        self.files(config);
        self.network(config);
        self.timeouts(config);
        self.ensemble();
        self.nodes(config);
        self.metrics(config);
    }

    fn files(&mut self, config: &mut Config) {
        let logs = self.text("dataLogDir").filter(|dir| !dir.is_empty());
        config.data_log_dir = logs.map(PathBuf::from);
        if let Some(count) = self.property::<u64>("snapCount") {
            config.snapshot_count = count.max(2);
        }
        if let Some(kib) = self.property::<i64>("snapSizeLimitInKb") {
            config.snapshot_bytes = kib.max(0).cast_unsigned().saturating_mul(1024);
        }
        let method = "snapshot.compression.method";
        match self.text(method).map(|name| (Packing::named(&name), name)) {
            Some((Some(packing), _)) => config.snapshot_packing = packing,
            // ZooKeeper: a name it does not know is none; so it is told among what has no meaning.
            Some((None, name)) => drop(self.left.insert(method.to_owned(), name)),
            None => {}
        }
        if let Some(kib) = self.property::<u64>("preAllocSize") {
            config.log_preallocate = kib.saturating_mul(1024);
        }
        if let Some(value) = self.text("forceSync") {
            config.force_sync = value != "no";
        }
        if let Some(ms) = self.property("fsync.warningthresholdms") {
            config.slow_sync_ms = ms;
        }
        self.flag("snapshot.trust.empty", &mut config.trust_empty_snapshot);
        self.limit("autopurge.purgeInterval", &mut config.purge_interval_hours);
        self.limit("autopurge.snapRetainCount", &mut config.purge_retain);
    }

    fn network(&mut self, config: &mut Config) {
        // ZooKeeper: a file that names a secure port alone wants nobody without TLS.
        let named = |key: &str| self.left.contains_key(key);
        config.secure_only = named("secureClientPort") && !named("clientPort");
        if named("clientPortAddress") && !named("clientPort") {
            self.missing("clientPort", "clientPortAddress alone names no port");
        }
        if let Some(port) = self.parsed("clientPort", "not a port") {
            config.port = port;
        }
        let address = self.host("clientPortAddress");
        config.address = address.unwrap_or(Config::EVERYWHERE);
        // ZooKeeper: -1 leaves it to the system.
        let backlog = self.parsed::<i64>("clientPortListenBacklog", "not a number");
        if let Some(backlog) = backlog.and_then(|backlog| u32::try_from(backlog).ok()) {
            config.listen_backlog = backlog;
        }
        self.limit("maxClientCnxns", &mut config.max_client_connections);
        self.limit("maxCnxns", &mut config.max_connections);
        if let Some(bytes) = self.property("jute.maxbuffer") {
            config.frame_max = bytes;
        }
        if let Some(words) = self.text("4lw.commands.whitelist") {
            config.words = names(&words);
        }
    }

    fn timeouts(&mut self, config: &mut Config) {
        config.tick_ms = TICK_MS;
        self.number("tickTime", &mut config.tick_ms);
        if config.tick_ms <= 0 {
            self.wrong("tickTime", config.tick_ms.to_string(), "must be positive");
            return;
        }
        for (key, slot) in [
            ("minSessionTimeout", &mut config.min_session_timeout_ms),
            ("maxSessionTimeout", &mut config.max_session_timeout_ms),
        ] {
            let value: Option<i32> = self.parsed(key, "not a number that fits");
            *slot = value.filter(|ms| *ms != -1).or(*slot);
        }
        if config.min_timeout_ms() > config.max_timeout_ms() {
            let value = config.min_timeout_ms().to_string();
            self.wrong("minSessionTimeout", value, "larger than maxSessionTimeout");
        }
    }

    /// ZooKeeper stands alone where one member is named. Several would be several histories.
    fn ensemble(&mut self) {
        const WHY: &str = "an ensemble is ZooKeeper's own work; this server stands alone";
        let members = |key: &str| {
            let number = key.strip_prefix("server.");
            number.is_some_and(|number| number.parse::<i64>().is_ok())
        };
        let named: Vec<String> = self
            .left
            .keys()
            .filter(|key| members(key))
            .cloned()
            .collect();
        let last = named.last().filter(|_| named.len() > 1);
        for key in last
            .into_iter()
            .map(String::as_str)
            .chain(["dynamicConfigFile"])
        {
            if let Some(value) = self.text(key) {
                self.wrong(key, value, WHY);
            }
        }
    }

    fn nodes(&mut self, config: &mut Config) {
        self.flag("extendedTypesEnabled", &mut config.extended_types);
        if let Some(ms) = self.property("znode.container.checkIntervalMs") {
            config.container_check_interval_ms = ms;
        }
        if let Some(count) = self.property("znode.container.maxPerMinute") {
            config.container_max_per_minute = count;
        }
        if let Some(ms) = self.property("znode.container.maxNeverUsedIntervalMs") {
            config.container_never_used_ms = ms;
        }
        self.flag("enforceQuota", &mut config.enforce_quota);
        self.flag("reconfigEnabled", &mut config.reconfig_enabled);
    }

    fn metrics(&mut self, config: &mut Config) {
        let class = self.text("metricsProvider.className").unwrap_or_default();
        if !class.contains("Prometheus") {
            return;
        }
        let mut port = 7_000;
        if let Some(wanted) = self.parsed("metricsProvider.httpPort", "not a port") {
            port = wanted;
        }
        let address = self.host("metricsProvider.httpHost");
        let address = address.unwrap_or(Config::EVERYWHERE);
        config.metrics_address = Some(SocketAddr::new(address, port));
    }
}
