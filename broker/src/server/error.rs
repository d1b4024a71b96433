//! Why the broker did not start: one line, with what to do about it.

use std::path::PathBuf;

use crate::net::listen::BindError;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("stopped before it was running")]
    Unwanted,
    #[error(
        "the port of the embedded coordinator, {at}, is taken. If a ZooKeeper listens there, use it: \
         --zookeeper {at}. Otherwise choose another port: --override coordinator.port=PORT"
    )]
    CoordinatorPort { at: String },
    #[error(
        "listen on {at} for the embedded coordinator: {reason}. coordinator.address must be an \
         address of this machine, and its user may need rights for coordinator.port"
    )]
    CoordinatorAddress { at: String, reason: String },
    #[error(
        "the embedded coordinator cannot write to {}, as is told above: a full disk, most often. Make \
         room there, or choose another directory with --data-dir DIR",
        directory.display()
    )]
    CoordinatorDisk { directory: PathBuf },
    #[error(
        "the data directory {} is in use by another program. Stop that one, or choose another \
         directory with --data-dir DIR",
        directory.display()
    )]
    InUse { directory: PathBuf },
    #[error(
        "start the embedded coordinator: {0}. Another directory is chosen with --data-dir DIR, or \
         coordinator.data.dir alone"
    )]
    Coordinator(#[from] coordinator::Error),
    #[error("{0}. Choose another address with --override listeners=PLAINTEXT://localhost:PORT")]
    Bind(#[from] BindError),
    #[error(
        "listen on {at} for /metrics and /health: {source}. Choose another with --override \
         metrics.port=PORT, or leave metrics.port out"
    )]
    MetricsPort { at: String, source: std::io::Error },
    #[error(
        "cannot make the data directory {}: {source}. Choose another one with --data-dir DIR, or \
         make this one writable",
        directory.display()
    )]
    Directory {
        directory: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "cannot write in the data directory {}: {source}. Choose another one with --data-dir DIR, or \
         make this one writable",
        directory.display()
    )]
    Unwritable {
        directory: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "no answer from ZooKeeper at {connect} within {within_ms} ms{}. Is it running? The address is \
         set by --zookeeper or zookeeper.connect, the time by zookeeper.connection.timeout.ms; without \
         an address this broker brings a coordinator of its own",
        unresolved(nameless)
    )]
    NoZooKeeper {
        connect: String,
        within_ms: i64,
        /// Hosts whose names lead nowhere.
        nameless: Vec<String>,
    },
    #[error("ask ZooKeeper: {0}")]
    ZooKeeper(#[from] znodes::store::Error),
    #[error("read the settings in ZooKeeper: {0}")]
    Settings(#[from] crate::admin::entities::Failure),
    #[error(
        "broker id {broker} is held in ZooKeeper by another broker, which lives: it kept its session \
         for {within_s} s. Stop that one, or give this one an id of its own: broker.id=ID"
    )]
    IdHeld { broker: i32, within_s: u64 },
    #[error("register in ZooKeeper: {0}")]
    Registration(#[from] znodes::registration::Refusal),
    #[error(
        "open the log directories: {}. {}; others are chosen with --data-dir DIR or log.dirs",
        with_causes(.0),
        advice(.0)
    )]
    Storage(#[from] storage::error::Error),
    #[error("start threads: {0}")]
    Threads(#[from] std::io::Error),
    #[error(
        "the data directories disagree about {what}: {one}, {other}. They belong to different \
         brokers; list only this broker's in log.dirs"
    )]
    DirectoriesDisagree {
        what: &'static str,
        one: String,
        other: String,
    },
    #[error(
        "broker.id is configured as {configured}, but {} belongs to broker {kept}. Set \
         broker.id={kept}, or use a directory of its own for broker {configured}",
        directory.display()
    )]
    OtherBroker {
        configured: i32,
        kept: i32,
        directory: PathBuf,
    },
    #[error(
        "the data in {} belongs to cluster {kept}, but ZooKeeper holds cluster {known}. Point \
         zookeeper.connect at the ZooKeeper of cluster {kept}, or use another data directory; \
         nothing was changed",
        directory.display()
    )]
    OtherCluster {
        kept: String,
        known: String,
        directory: PathBuf,
    },
    #[error(
        "the data in {} belongs to cluster {cluster_id}, but this ZooKeeper is empty: it has no \
         /cluster/id and so no topics either. Bring back ZooKeeper's own data (a container without \
         a volume loses it), or, to begin a new cluster and leave these records unused, move the \
         directory away; nothing was deleted",
        directory.display()
    )]
    EmptyZooKeeper {
        cluster_id: String,
        directory: PathBuf,
    },
    #[error(
        "cluster.id asks for {asked}, but this broker's ZooKeeper, or its embedded coordinator, holds \
         cluster {known}. Leave cluster.id (CLUSTER_ID) out or set it to {known}; for a new cluster, \
         use another ZooKeeper or another data directory"
    )]
    OtherClusterAsked { asked: String, known: String },
}

/// An error and what caused it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
}

/// What a directory must be that could not be opened.
fn advice(error: &storage::error::Error) -> &'static str {
    use storage::error::{Error, IdentityFault};
    match error {
        Error::Identity { what, .. } => match what {
            IdentityFault::Version(_) => {
                "It was formatted for KRaft, whose metadata are not read here"
            }
            IdentityFault::Missing(_) | IdentityFault::Value(_) => {
                "The file was damaged or written by hand: put back the one that belongs there, for it \
                 says whose logs these are"
            }
            IdentityFault::Differs { .. } => "All of them must be one broker's",
        },
        Error::Foreign { path } if path.ends_with("lost+found") => {
            "It is the root of a file system: a folder in it can be a log directory"
        }
        Error::Foreign { .. } => "There may be nothing in them but replicas: move it elsewhere",
        _ => "Each must be this broker's own, writable for its user and on a disk with room",
    }
}

fn unresolved(nameless: &[String]) -> String {
    match nameless {
        [] => String::new(),
        [one] => format!(": {one} does not resolve"),
        more => format!(": {} do not resolve", more.join(", ")),
    }
}
