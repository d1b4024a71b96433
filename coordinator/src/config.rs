//! Settings as plain values. Where they come from (`zoo.cfg`, arguments) is [`crate::zoo_cfg`]'s.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use base::clock::Clock;
use base::disk::{Disk, SystemDisk};

use crate::{sasl, tls};

pub use crate::auth::DigestAlgorithm;
pub use crate::packing::Packing;

/// The directory beneath the configured one that holds the files.
const VERSION_DIR: &str = "version-2";

/// Everything the server can be told.
#[derive(Clone, Debug)]
pub struct Config {
    pub data_dir: PathBuf,
    /// Transaction logs; `None`: with the snapshots.
    pub data_log_dir: Option<PathBuf>,
    /// Where to listen; port 0 takes any free one.
    pub address: IpAddr,
    pub port: u16,
    pub listen_backlog: u32,
    /// Where clients with TLS connect; needs `tls`.
    pub secure_address: Option<SocketAddr>,
    /// They are all there are: where there is a secure address, nobody connects without TLS.
    pub secure_only: bool,
    pub tls: Option<tls::Settings>,
    /// The plain port takes TLS as well.
    pub port_unification: bool,
    pub tick_ms: i32,
    /// `None`: two ticks.
    pub min_session_timeout_ms: Option<i32>,
    /// `None`: twenty ticks.
    pub max_session_timeout_ms: Option<i32>,
    /// Connections from one address; 0: any number.
    pub max_client_connections: usize,
    /// Connections in all; 0: any number.
    pub max_connections: usize,
    pub frame_max: usize,
    /// Transactions between two snapshots, about.
    pub snapshot_count: u64,
    /// Bytes of log between two snapshots, about; 0: no such limit.
    pub snapshot_bytes: u64,
    pub snapshot_packing: Packing,
    pub log_preallocate: u64,
    pub force_sync: bool,
    pub slow_sync_ms: i64,
    pub trust_empty_snapshot: bool,
    pub purge_interval_hours: u64,
    pub purge_retain: usize,
    /// Four-letter words that are answered; `*`: all.
    pub words: Vec<String>,
    /// Nodes with a time to live.
    pub extended_types: bool,
    pub container_check_interval_ms: i64,
    pub container_max_per_minute: u64,
    pub container_never_used_ms: i64,
    pub enforce_quota: bool,
    pub reconfig_enabled: bool,
    pub skip_acl: bool,
    pub super_digest: Option<String>,
    pub digest_auth: bool,
    pub digest_algorithm: DigestAlgorithm,
    pub sasl: sasl::Settings,
    pub sasl_provider: bool,
    pub x509_provider: bool,
    /// A client without one of these schemes is closed; empty: none is asked for.
    pub enforce_auth_schemes: Vec<String>,
    /// Where Prometheus may ask; `None`: nowhere.
    pub metrics_address: Option<SocketAddr>,
    pub disk: Arc<dyn Disk>,
    pub clock: Clock,
}

impl Config {
    /// Connections that may wait to be accepted, where nothing is set.
    pub(crate) const LISTEN_BACKLOG: u32 = 1024;
    /// All interfaces, by IPv6 and by IPv4: where ZooKeeper listens unless told otherwise.
    pub(crate) const EVERYWHERE: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

    /// For a server within another program: ZooKeeper's defaults, but for the address, which is
    /// loopback, and the tick of two seconds rather than three, which is what nearly every `zoo.cfg` and
    /// image sets. Less of the log is allocated ahead, so that an empty server is small on the disk.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Config {
            data_dir: data_dir.into(),
            data_log_dir: None,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 2181,
            listen_backlog: Config::LISTEN_BACKLOG,
            secure_address: None,
            secure_only: false,
            tls: None,
            port_unification: false,
            tick_ms: 2_000,
            min_session_timeout_ms: None,
            max_session_timeout_ms: None,
            max_client_connections: 60,
            max_connections: 0,
            frame_max: 0xf_ffff,
            snapshot_count: 100_000,
            snapshot_bytes: 4 << 30,
            snapshot_packing: Packing::Plain,
            log_preallocate: 4 << 20,
            force_sync: true,
            slow_sync_ms: 1_000,
            trust_empty_snapshot: false,
            purge_interval_hours: 0,
            purge_retain: 3,
            words: vec!["srvr".to_owned()],
            extended_types: false,
            container_check_interval_ms: 60_000,
            container_max_per_minute: 10_000,
            container_never_used_ms: 0,
            enforce_quota: false,
            reconfig_enabled: false,
            skip_acl: false,
            super_digest: None,
            digest_auth: true,
            digest_algorithm: DigestAlgorithm::Sha1,
            sasl: sasl::Settings::default(),
            sasl_provider: false,
            x509_provider: false,
            enforce_auth_schemes: Vec::new(),
            metrics_address: None,
            disk: SystemDisk::shared(),
            clock: Clock::system(),
        }
    }

    pub(crate) fn min_timeout_ms(&self) -> i32 {
        self.min_session_timeout_ms
            .unwrap_or(self.tick_ms.saturating_mul(2))
    }

    pub(crate) fn max_timeout_ms(&self) -> i32 {
        self.max_session_timeout_ms
            .unwrap_or(self.tick_ms.saturating_mul(20))
    }

    pub(crate) fn snapshots_dir(&self) -> PathBuf {
        self.data_dir.join(VERSION_DIR)
    }

    pub(crate) fn logs_dir(&self) -> PathBuf {
        self.data_log_dir
            .as_ref()
            .unwrap_or(&self.data_dir)
            .join(VERSION_DIR)
    }
}
