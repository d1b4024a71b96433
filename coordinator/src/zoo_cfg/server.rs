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
        self.ensembles_keys();
        self.nodes(config);
        self.metrics(config);
    }

    /// Two listeners want one port.
    pub(super) fn ports(&mut self, config: &Config) {
        let plain = SocketAddr::new(config.address, config.port);
        let listeners = [
            ("clientPort", Some(plain).filter(|_| !config.secure_only)),
            ("secureClientPort", config.secure_address),
            ("metricsProvider.httpPort", config.metrics_address),
        ];
        for (at, (key, address)) in listeners.iter().enumerate() {
            for (before, other) in &listeners[..at] {
                let (Some(address), Some(other)) = (address, other) else {
                    continue;
                };
                let everywhere = address.ip().is_unspecified() || other.ip().is_unspecified();
                let same_place = everywhere || address.ip() == other.ip();
                if address.port() == other.port() && address.port() != 0 && same_place {
                    self.wrong(
                        key,
                        address.port().to_string(),
                        format!("{before} is the same"),
                    );
                }
            }
        }
    }

    fn files(&mut self, config: &mut Config) {
        let logs = self.text("dataLogDir").filter(|dir| !dir.is_empty());
        config.data_log_dir = logs.map(PathBuf::from);
        if let Some(count) = self.property::<i64>("snapCount") {
            config.snapshot_count = count.max(2).cast_unsigned();
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
        if let Some(kib) = self.property::<i64>("preAllocSize") {
            config.log_preallocate = kib.max(0).cast_unsigned().saturating_mul(1024);
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
            // ZooKeeper takes these, and ends every session at once.
            let least = i32::from(key == "maxSessionTimeout");
            if let Some(ms) = slot.filter(|ms| *ms < least) {
                self.wrong(key, ms.to_string(), "no session would last");
                return;
            }
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

    /// ZooKeeper refuses these where they are wrong, whether it makes use of them or not.
    fn ensembles_keys(&mut self) {
        const NUMBERS: [&str; 4] = [
            "initLimit",
            "syncLimit",
            "connectToLearnerMasterLimit",
            "observerMasterPort",
        ];
        const FLAGS: [&str; 8] = [
            "localSessionsEnabled",
            "localSessionsUpgradingEnabled",
            "quorumListenOnAllIPs",
            "syncEnabled",
            "standaloneEnabled",
            "sslQuorum",
            "portUnification",
            "sslQuorumReloadCertFiles",
        ];
        for key in NUMBERS {
            self.look_at(
                key,
                |value| value.parse::<i32>().is_ok(),
                "not a number that fits",
            );
        }
        for key in FLAGS {
            let is_flag = |value: &str| {
                value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false")
            };
            self.look_at(key, is_flag, "neither true nor false");
        }
        self.look_at("electionAlg", |value| value == "3", "3 is all there is");
        let is_peer = |value: &str| {
            value.eq_ignore_ascii_case("observer") || value.eq_ignore_ascii_case("participant")
        };
        self.look_at("peerType", is_peer, "neither observer nor participant");
    }

    fn nodes(&mut self, config: &mut Config) {
        self.flag("extendedTypesEnabled", &mut config.extended_types);
        let key = "znode.container.checkIntervalMs";
        if let Some(ms) = self.property::<i64>(key) {
            config.container_check_interval_ms = ms;
            if ms <= 0 {
                self.wrong(key, ms.to_string(), "must be positive");
            }
        }
        if let Some(count) = self.property("znode.container.maxPerMinute") {
            config.container_max_per_minute = count;
        }
        if let Some(ms) = self.property("znode.container.maxNeverUsedIntervalMs") {
            config.container_never_used_ms = ms;
        }
        self.flag("enforceQuota", &mut config.enforce_quota);
        self.strict_flag("reconfigEnabled", &mut config.reconfig_enabled);
    }

    fn metrics(&mut self, config: &mut Config) {
        const PACKAGE: &str = "org.apache.zookeeper.metrics.";
        let key = "metricsProvider.className";
        let class = self.text(key).unwrap_or_default();
        match class.strip_prefix(PACKAGE).unwrap_or(&class) {
            "prometheus.PrometheusMetricsProvider" => {}
            "" | "impl.DefaultMetricsProvider" | "impl.NullMetricsProvider" => return,
            _ => return self.wrong(key, class, "not a metrics provider known here"),
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
