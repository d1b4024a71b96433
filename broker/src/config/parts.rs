//! The plain structs that settings are cut into: the one place that turns keys into fields.
//!
//! No crate beneath `broker` sees a `Config`; each gets its own small struct, made here. A row of
//! the settings' table that *works* names one of these fields.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use protocol::batch::{Codec, Compression};
use protocol::ids::BrokerId;
use replication::config::{TopicConfig, TopicRules};
use settings::layers::{Texts, Values};
use settings::topics;
use settings::versions;
use storage::compaction::CompactionConfig;
use storage::config::{LogConfig, StoreConfig};

/// Who the broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `None`: the cluster is to give one, above `reserved_max`.
    pub broker_id: Option<BrokerId>,
    pub reserved_max: i32,
    pub rack: Option<String>,
    /// What a new cluster is to be called; an existing one must be called so.
    pub cluster_id: Option<String>,
    pub protocol_version: String,
}

impl Identity {
    pub(super) fn read(values: &Values) -> Identity {
        let id = values.int("broker.id");
        Identity {
            broker_id: (id >= 0).then_some(BrokerId(id)),
            reserved_max: values.int("reserved.broker.max.id"),
            rack: values.text("broker.rack").map(str::to_owned),
            cluster_id: values.text("cluster.id").map(str::to_owned),
            protocol_version: values
                .text("inter.broker.protocol.version")
                .unwrap_or_default()
                .to_owned(),
        }
    }
}

/// How passwords are encrypted that are set while running.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets {
    pub secret: Option<String>,
    pub old_secret: Option<String>,
    pub key_factory: Option<String>,
    pub cipher: String,
    /// In bits.
    pub key_length: u32,
    pub iterations: u32,
}

impl Secrets {
    pub(super) fn read(values: &Values) -> Secrets {
        let text = |key: &str| values.text(key).map(str::to_owned);
        Secrets {
            secret: text("password.encoder.secret"),
            old_secret: text("password.encoder.old.secret"),
            key_factory: text("password.encoder.keyfactory.algorithm"),
            cipher: text("password.encoder.cipher.algorithm").unwrap_or_default(),
            key_length: small(values.long("password.encoder.key.length")),
            iterations: small(values.long("password.encoder.iterations")),
        }
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

/// The coordinator inside this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coordinator {
    pub address: String,
    pub port: u16,
    pub data_dir: PathBuf,
}

/// The session with ZooKeeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZooKeeper {
    /// `host:port[,host:port…][/chroot]`.
    pub connect: String,
    pub session_timeout_ms: i32,
    pub connection_timeout_ms: i32,
    pub in_flight_max: usize,
    pub request_bytes_max: usize,
}

impl ZooKeeper {
    pub(super) fn read(values: &Values) -> ZooKeeper {
        let session = values.int("zookeeper.session.timeout.ms");
        let connection = values.whole("zookeeper.connection.timeout.ms");
        ZooKeeper {
            connect: values
                .text("zookeeper.connect")
                .unwrap_or_default()
                .to_owned(),
            session_timeout_ms: session,
            connection_timeout_ms: connection
                .and_then(|n| i32::try_from(n).ok())
                .unwrap_or(session),
            in_flight_max: size(values.long("zookeeper.max.in.flight.requests")),
            request_bytes_max: size(values.long("zookeeper.request.max.bytes")),
        }
    }
}

/// How many connections may wait to be accepted where nobody says. Kafka's 50 makes a burst of
/// clients wait for a second; the kernel takes the smaller of this and its own bound.
const BACKLOG: i32 = 1024;

/// A bound of the whole broker that a listener may have one of its own in place of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PerListener<T> {
    pub broker: T,
    /// `listener.name.<name>.<key>`, by the listener's upper-case name.
    pub own: BTreeMap<String, T>,
}

impl<T: Copy> PerListener<T> {
    /// The bound of one listener.
    pub fn at(&self, listener: &str) -> T {
        self.own.get(listener).copied().unwrap_or(self.broker)
    }
}

/// Sockets, connections and what a request may cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// −1: what the system gives.
    pub send_buffer_bytes: i32,
    pub receive_buffer_bytes: i32,
    pub backlog: i32,
    pub request_bytes_max: usize,
    /// `None`: no bound but the requests' number.
    pub queued_bytes_max: Option<usize>,
    pub connections_max: PerListener<usize>,
    pub connections_per_address_max: usize,
    /// Addresses and host names with bounds of their own.
    pub connections_per_address: BTreeMap<String, usize>,
    /// Accepted a second at most.
    pub connections_rate_max: PerListener<i32>,
    /// −1: a connection may be idle for ever.
    pub connections_idle_ms_max: i64,
    pub request_timeout_ms: i32,
}

impl Network {
    pub(super) fn read(values: &Values, texts: &Texts) -> Network {
        let queued = values.long("queued.max.request.bytes");
        let overrides = values
            .text("max.connections.per.ip.overrides")
            .unwrap_or_default();
        let per_listener = |key: &str| {
            let each = texts.iter().filter_map(|(name, text)| {
                let (listener, base) = name.strip_prefix("listener.name.")?.split_once('.')?;
                let number = text.trim().parse::<i32>().ok()?;
                (base == key).then(|| (listener.to_uppercase(), number))
            });
            each.collect::<BTreeMap<String, i32>>()
        };
        // A size that nobody chose is left to the kernel, which grows buffers with the link: Kafka's
        // 100 KiB cut a fetch of 1 MiB into ten wake-ups.
        let buffer = |key: &str| match texts.contains_key(key) {
            true => values.int(key),
            false => -1,
        };
        Network {
            send_buffer_bytes: buffer("socket.send.buffer.bytes"),
            receive_buffer_bytes: buffer("socket.receive.buffer.bytes"),
            backlog: match texts.get("socket.listen.backlog.size") {
                Some(_) => values.int("socket.listen.backlog.size"),
                None => BACKLOG,
            },
            request_bytes_max: size(values.long("socket.request.max.bytes")),
            queued_bytes_max: (queued > 0).then(|| size(queued)),
            connections_max: PerListener {
                broker: size(values.long("max.connections")),
                own: per_listener("max.connections")
                    .into_iter()
                    .map(|(name, max)| (name, size(i64::from(max))))
                    .collect(),
            },
            connections_per_address_max: size(values.long("max.connections.per.ip")),
            connections_per_address: address_overrides(overrides).unwrap_or_default(),
            connections_rate_max: PerListener {
                broker: values.int("max.connection.creation.rate"),
                own: per_listener("max.connection.creation.rate"),
            },
            connections_idle_ms_max: values.long("connections.max.idle.ms"),
            request_timeout_ms: values.int("request.timeout.ms"),
        }
    }
}

/// `host:count` items; the item that is none.
pub(super) fn address_overrides(text: &str) -> Result<BTreeMap<String, usize>, String> {
    let items = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty());
    let mut map = BTreeMap::new();
    for item in items {
        let (host, count) = item.rsplit_once(':').ok_or_else(|| item.to_owned())?;
        let count = count.trim().parse::<usize>().map_err(|_| item.to_owned())?;
        map.insert(host.trim().to_owned(), count);
    }
    Ok(map)
}

/// How many may work at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads;

impl Threads {
    /// Workers of the data runtime: one more than there are cores, so that one that sleeps on a
    /// disk leaves the cores busy.
    pub fn data(&self) -> usize {
        std::thread::available_parallelism().map_or(2, std::num::NonZero::get) + 1
    }
}

/// What a topic gets that does not say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topics {
    pub auto_create: bool,
    pub delete_enable: bool,
    pub partitions: i32,
    pub replication_factor: i16,
}

impl Topics {
    pub(super) fn read(values: &Values) -> Topics {
        Topics {
            auto_create: values.flag("auto.create.topics.enable"),
            delete_enable: values.flag("delete.topic.enable"),
            partitions: values.int("num.partitions"),
            replication_factor: short(values, "default.replication.factor"),
        }
    }
}

/// The broker's housekeeping of its logs.
#[derive(Clone, Debug, PartialEq)]
pub struct Logs {
    pub dirs: Vec<PathBuf>,
    pub recovery_threads_per_dir: usize,
    pub opening_threads_per_dir: usize,
    pub initial_task_delay_ms: i64,
    pub retention_check_ms: i64,
    pub flush_check_ms: i64,
    pub recovery_checkpoint_ms: i64,
    pub start_offset_checkpoint_ms: i64,
    pub segment_delete_delay_ms: i64,
    pub producer_id_expiration_ms: i64,
    pub producer_id_check_ms: i64,
}

/// What a directory is opened with unless the settings say. Kafka: 1 up to 3.9, 2 since; nobody can
/// tell but who waits for the start. Scans are long reads, which disks like few of at a time.
const RECOVERY_THREADS: usize = 2;
/// The same after a clean stop: a few small reads a partition, of which disks like many.
const OPENING_THREADS: usize = 8;

impl Logs {
    pub(super) fn read(values: &Values, texts: &Texts) -> Logs {
        let threads = "num.recovery.threads.per.data.dir";
        let asked = texts
            .contains_key(threads)
            .then(|| size(values.long(threads)));
        Logs {
            dirs: log_dirs(values),
            recovery_threads_per_dir: asked.unwrap_or(RECOVERY_THREADS),
            opening_threads_per_dir: asked.unwrap_or(OPENING_THREADS),
            initial_task_delay_ms: values.long("log.initial.task.delay.ms"),
            retention_check_ms: values.long("log.retention.check.interval.ms"),
            flush_check_ms: values.long("log.flush.scheduler.interval.ms"),
            recovery_checkpoint_ms: values.long("log.flush.offset.checkpoint.interval.ms"),
            start_offset_checkpoint_ms: values
                .long("log.flush.start.offset.checkpoint.interval.ms"),
            segment_delete_delay_ms: values.long("log.segment.delete.delay.ms"),
            producer_id_expiration_ms: values.long("producer.id.expiration.ms"),
            producer_id_check_ms: values.long("producer.id.expiration.check.interval.ms"),
        }
    }

    /// What the store of all logs obeys.
    pub fn store(&self) -> StoreConfig {
        StoreConfig {
            dirs: self.dirs.clone(),
            recovery_threads_per_dir: self.recovery_threads_per_dir,
            opening_threads_per_dir: self.opening_threads_per_dir,
            delete_delay_ms: self.segment_delete_delay_ms,
            producer_id_expiration_ms: self.producer_id_expiration_ms,
            recovery_checkpoint_ms: self.recovery_checkpoint_ms,
            start_checkpoint_ms: self.start_offset_checkpoint_ms,
            retention_check_ms: self.retention_check_ms,
            producer_check_ms: self.producer_id_check_ms,
            ..StoreConfig::default()
        }
    }
}

pub(super) fn log_dirs(values: &Values) -> Vec<PathBuf> {
    let text = values
        .text("log.dirs")
        .or_else(|| values.text("log.dir"))
        .unwrap_or_default();
    text.split(',')
        .map(str::trim)
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from)
        .collect()
}

/// Compaction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cleaner {
    pub enable: bool,
    pub threads: usize,
    pub dedupe_buffer_bytes: usize,
    pub load_factor: f64,
    pub io_buffer_bytes: usize,
    pub io_bytes_per_second_max: f64,
    pub backoff_ms: i64,
}

impl Cleaner {
    pub(super) fn read(values: &Values) -> Cleaner {
        Cleaner {
            enable: values.flag("log.cleaner.enable"),
            threads: size(values.long("log.cleaner.threads")),
            dedupe_buffer_bytes: size(values.long("log.cleaner.dedupe.buffer.size")),
            load_factor: values
                .real("log.cleaner.io.buffer.load.factor")
                .unwrap_or(0.9),
            io_buffer_bytes: size(values.long("log.cleaner.io.buffer.size")),
            io_bytes_per_second_max: values
                .real("log.cleaner.io.max.bytes.per.second")
                .unwrap_or(f64::MAX),
            backoff_ms: values.long("log.cleaner.backoff.ms"),
        }
    }
}

impl Cleaner {
    /// How many threads compact: at least one for each log directory, so that one whose disk hangs
    /// does not keep the others from being compacted.
    pub fn crew(&self, directories: usize) -> usize {
        match self.threads {
            0 => 0,
            threads => threads.max(directories),
        }
    }

    /// What one pass over a log obeys: the memory for keys is shared by all that run at once.
    pub fn compaction(&self, directories: usize) -> CompactionConfig {
        let crew = self.crew(directories).max(1);
        CompactionConfig {
            map_bytes: self.dedupe_buffer_bytes / crew,
            load_factor: self.load_factor,
            bytes_per_second: self.io_bytes_per_second_max,
            threads_per_directory: (crew + 1).saturating_sub(directories).max(1),
        }
    }
}

/// All that one topic obeys: what its logs do, and what its leader and its clients are held to.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    pub log: LogConfig,
    pub min_insync_replicas: usize,
    pub unclean_leader_election: bool,
    pub downconversion: bool,
    /// Replicas whose replication the leader, or the follower, is asked to throttle.
    pub throttled_leaders: Vec<String>,
    pub throttled_followers: Vec<String>,
}

impl Topic {
    /// What the topic's logs and replicas obey.
    pub fn for_replicas(&self) -> TopicConfig {
        TopicConfig {
            log: Arc::new(self.log.clone()),
            rules: TopicRules {
                min_insync_replicas: self.min_insync_replicas,
                down_conversion: self.downconversion,
            },
        }
    }

    /// A topic's overrides over what the broker gives all.
    pub fn read(overrides: &Texts, defaults: &Texts) -> Topic {
        let (values, _) = topics::values(overrides, defaults);
        let policy = values.list("cleanup.policy");
        let has = |name: &str| policy.iter().any(|item| item == name);
        Topic {
            log: LogConfig {
                segment_bytes: small(values.long("segment.bytes")),
                segment_ms: values.long("segment.ms"),
                segment_jitter_ms: values.long("segment.jitter.ms"),
                segment_index_bytes: small(values.long("segment.index.bytes")),
                index_interval_bytes: small(values.long("index.interval.bytes")),
                flush_messages: values.long("flush.messages"),
                flush_ms: values.long("flush.ms"),
                retention_ms: values.long("retention.ms"),
                retention_bytes: values.long("retention.bytes"),
                max_message_bytes: size(values.long("max.message.bytes")),
                delete: has("delete"),
                compact: has("compact"),
                min_cleanable_dirty_ratio: values.real("min.cleanable.dirty.ratio").unwrap_or(0.5),
                min_compaction_lag_ms: values.long("min.compaction.lag.ms"),
                max_compaction_lag_ms: values.long("max.compaction.lag.ms"),
                delete_retention_ms: values.long("delete.retention.ms"),
                file_delete_delay_ms: values.long("file.delete.delay.ms"),
                compression: codec(&values),
                log_append_time: values.text("message.timestamp.type") == Some("LogAppendTime"),
                timestamp_before_max_ms: timestamp_bound(
                    &values,
                    "message.timestamp.before.max.ms",
                ),
                timestamp_after_max_ms: timestamp_bound(&values, "message.timestamp.after.max.ms"),
            },
            min_insync_replicas: size(values.long("min.insync.replicas")),
            unclean_leader_election: values.flag("unclean.leader.election.enable"),
            downconversion: values.flag("message.downconversion.enable"),
            throttled_leaders: values
                .list("leader.replication.throttled.replicas")
                .to_vec(),
            throttled_followers: values
                .list("follower.replication.throttled.replicas")
                .to_vec(),
        }
    }
}

/// Kafka: the older `difference.max.ms` counts where the newer key was left at its default.
fn timestamp_bound(values: &Values, key: &str) -> i64 {
    match values.long(key) {
        i64::MAX => values.long("message.timestamp.difference.max.ms"),
        bound => bound,
    }
}

fn codec(values: &Values) -> Option<Compression> {
    let leveled = |codec, key| Compression {
        codec,
        level: Some(values.int(key)),
    };
    match values.text("compression.type") {
        Some("uncompressed") => Some(Compression::NONE),
        Some("gzip") => Some(leveled(Codec::Gzip, "compression.gzip.level")),
        Some("snappy") => Some(Codec::Snappy.into()),
        Some("lz4") => Some(leveled(Codec::Lz4, "compression.lz4.level")),
        Some("zstd") => Some(leveled(Codec::Zstd, "compression.zstd.level")),
        _ => None,
    }
}

/// What a fetch may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetches {
    pub bytes_max: usize,
    pub sessions_max: usize,
    /// `replica.selector.class`: a consumer that says where it stands is sent to a replica there.
    pub sends_to_racks: bool,
    /// Partitions that one DescribeTopicPartitions names at most.
    pub partitions_per_answer_max: usize,
}

/// The two classes that Kafka brings along to choose a replica for a consumer.
pub(super) const RACK_AWARE: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
pub(super) const LEADER_ONLY: &str = "org.apache.kafka.common.replica.LeaderSelector";

impl Fetches {
    pub(super) fn read(values: &Values) -> Fetches {
        Fetches {
            bytes_max: size(values.long("fetch.max.bytes")),
            sends_to_racks: values.text("replica.selector.class") == Some(RACK_AWARE),
            sessions_max: size(values.long("max.incremental.fetch.session.cache.slots")),
            partitions_per_answer_max: size(values.long("max.request.partition.size.limit")),
        }
    }
}

/// Following, leading, and falling behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replication {
    pub lag_ms_max: i64,
    pub checkpoint_ms: i64,
    pub fetchers: usize,
    pub fetch_wait_ms_max: i32,
    pub fetch_bytes_min: i32,
    pub fetch_bytes_max: i32,
    pub fetch_response_bytes_max: i32,
    pub fetch_backoff_ms: i64,
    pub socket_timeout_ms: i32,
    pub socket_receive_buffer_bytes: i32,
    /// `None`: as many as there are log directories.
    pub move_threads: Option<i64>,
}

impl Replication {
    pub(super) fn read(values: &Values) -> Replication {
        Replication {
            lag_ms_max: values.long("replica.lag.time.max.ms"),
            checkpoint_ms: values.long("replica.high.watermark.checkpoint.interval.ms"),
            fetchers: size(values.long("num.replica.fetchers")),
            fetch_wait_ms_max: values.int("replica.fetch.wait.max.ms"),
            fetch_bytes_min: values.int("replica.fetch.min.bytes"),
            fetch_bytes_max: values.int("replica.fetch.max.bytes"),
            fetch_response_bytes_max: values.int("replica.fetch.response.max.bytes"),
            fetch_backoff_ms: values.long("replica.fetch.backoff.ms"),
            socket_timeout_ms: values.int("replica.socket.timeout.ms"),
            socket_receive_buffer_bytes: values.int("replica.socket.receive.buffer.bytes"),
            move_threads: values.whole("num.replica.alter.log.dirs.threads"),
        }
    }
}

/// What the controller does by itself, and how a broker takes its leave of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controlling {
    pub auto_rebalance: bool,
    pub imbalance_check_s: i64,
    pub imbalance_percent: i32,
    pub unclean_leader_election: bool,
    pub socket_timeout_ms: i32,
    pub controlled_shutdown: bool,
    pub controlled_shutdown_retries: i32,
    pub controlled_shutdown_backoff_ms: i64,
}

impl Controlling {
    pub(super) fn read(values: &Values) -> Controlling {
        Controlling {
            auto_rebalance: values.flag("auto.leader.rebalance.enable"),
            imbalance_check_s: values.long("leader.imbalance.check.interval.seconds"),
            imbalance_percent: values.int("leader.imbalance.per.broker.percentage"),
            unclean_leader_election: values.flag("unclean.leader.election.enable"),
            socket_timeout_ms: values.int("controller.socket.timeout.ms"),
            controlled_shutdown: values.flag("controlled.shutdown.enable"),
            controlled_shutdown_retries: values.int("controlled.shutdown.max.retries"),
            controlled_shutdown_backoff_ms: values.long("controlled.shutdown.retry.backoff.ms"),
        }
    }
}

/// Consumer groups and their offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    pub session_ms_min: i32,
    pub session_ms_max: i32,
    pub initial_delay_ms: i32,
    pub size_max: usize,
    pub metadata_bytes_max: usize,
    pub offsets_retention_ms: i64,
    pub offsets_check_ms: i64,
    pub commit_timeout_ms: i32,
    pub load_buffer_bytes: usize,
    pub topic_partitions: i32,
    pub topic_replication_factor: i16,
    pub topic_segment_bytes: i32,
    /// How the broker's own records are compressed: 0 to 4, as batches number codecs.
    pub codec: i32,
    /// −1 waits for all replicas in sync.
    pub required_acks: i16,
    /// The forms of records that brokers of the agreed version can read.
    pub offset_value_version: i16,
    pub group_value_version: i16,
}

impl Groups {
    pub(super) fn read(values: &Values) -> Groups {
        let agreed = values
            .text("inter.broker.protocol.version")
            .unwrap_or_default();
        let since = |steps: &[&str]| {
            let reached = steps
                .iter()
                .filter(|step| versions::at_least(agreed, step))
                .count();
            i16::try_from(reached).unwrap_or_default()
        };
        Groups {
            session_ms_min: values.int("group.min.session.timeout.ms"),
            session_ms_max: values.int("group.max.session.timeout.ms"),
            initial_delay_ms: values.int("group.initial.rebalance.delay.ms"),
            size_max: size(values.long("group.max.size")),
            metadata_bytes_max: size(values.long("offset.metadata.max.bytes")),
            offsets_retention_ms: values
                .long("offsets.retention.minutes")
                .saturating_mul(60_000),
            offsets_check_ms: values.long("offsets.retention.check.interval.ms"),
            commit_timeout_ms: values.int("offsets.commit.timeout.ms"),
            load_buffer_bytes: size(values.long("offsets.load.buffer.size")),
            topic_partitions: values.int("offsets.topic.num.partitions"),
            topic_replication_factor: short(values, "offsets.topic.replication.factor"),
            topic_segment_bytes: values.int("offsets.topic.segment.bytes"),
            codec: values.int("offsets.topic.compression.codec"),
            required_acks: short(values, "offsets.commit.required.acks"),
            offset_value_version: since(&["2.1-IV0", "2.1-IV1"]) + 1,
            group_value_version: since(&["0.10.1-IV0", "2.1-IV0", "2.3-IV0"]),
        }
    }
}

/// Transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transactions {
    pub timeout_ms_max: i32,
    pub id_expiration_ms: i64,
    pub timed_out_check_ms: i64,
    pub expired_id_check_ms: i64,
    pub partition_verification: bool,
    pub load_buffer_bytes: usize,
    pub topic_partitions: i32,
    pub topic_replication_factor: i16,
    pub topic_segment_bytes: i32,
    pub topic_min_isr: i32,
}

impl Transactions {
    pub(super) fn read(values: &Values) -> Transactions {
        Transactions {
            timeout_ms_max: values.int("transaction.max.timeout.ms"),
            id_expiration_ms: values.long("transactional.id.expiration.ms"),
            timed_out_check_ms: values
                .long("transaction.abort.timed.out.transaction.cleanup.interval.ms"),
            expired_id_check_ms: values
                .long("transaction.remove.expired.transaction.cleanup.interval.ms"),
            partition_verification: values.flag("transaction.partition.verification.enable"),
            load_buffer_bytes: size(values.long("transaction.state.log.load.buffer.size")),
            topic_partitions: values.int("transaction.state.log.num.partitions"),
            topic_replication_factor: short(values, "transaction.state.log.replication.factor"),
            topic_segment_bytes: values.int("transaction.state.log.segment.bytes"),
            topic_min_isr: values.int("transaction.state.log.min.isr"),
        }
    }
}

/// Over how long, and in how many pieces, rates are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub samples: usize,
    pub sample_ms: i64,
}

/// The windows of the quotas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    pub clients: Window,
    pub mutations: Window,
    pub replication: Window,
    pub moves: Window,
}

impl Quotas {
    pub(super) fn read(values: &Values) -> Quotas {
        let window = |prefix: &str| Window {
            samples: size(values.long(&format!("{prefix}quota.window.num"))),
            sample_ms: values
                .long(&format!("{prefix}quota.window.size.seconds"))
                .saturating_mul(1000),
        };
        Quotas {
            clients: window(""),
            mutations: window("controller."),
            replication: window("replication."),
            moves: window("alter.log.dirs.replication."),
        }
    }
}

/// The port that serves measurements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    pub address: String,
    /// `None`: not served.
    pub port: Option<u16>,
}

impl Metrics {
    pub(super) fn read(values: &Values) -> Metrics {
        Metrics {
            address: values
                .text("metrics.address")
                .unwrap_or("127.0.0.1")
                .to_owned(),
            port: values
                .whole("metrics.port")
                .and_then(|port| u16::try_from(port).ok()),
        }
    }

    pub fn ip(&self) -> Option<IpAddr> {
        self.address.parse().ok()
    }
}

/// A count or a size that bounds have kept from being negative.
fn size(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

fn small(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn short(values: &Values, key: &str) -> i16 {
    i16::try_from(values.long(key)).unwrap_or(i16::MAX)
}
