//! A server that ZooKeeper's own clients cannot tell from a standalone ZooKeeper 3.9.
//!
//! Words: a *znode* is a node of the tree; a *zxid* numbers every transaction; a *session* is a
//! client's standing, which outlives its connections; a *watch* asks for one event, or for all.
//!
//! What holds: every write is on the disk before its reply; transactions are applied in the order
//! of their zxids; a client's requests are answered in their order; a watch is heard before the
//! change it tells of can be seen. The files are ZooKeeper's own, and either server opens the
//! other's. Absences: no ensembles, and no word of Kafka.

mod error;
mod stats;
mod sasl;
mod tls;
mod auth;
mod packing;
mod config;
mod tree;
mod watches;
mod sessions;
mod pending;
mod prepare;
mod reads;
pub mod store;
mod outbox;
mod pipeline;
mod server;
pub mod zoo_cfg;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;

use base::disk::{Disk, DiskLock, Open};
use base::stop::{self, Stopper};
use base::tasks;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc, oneshot};
use tracing::{error, info, warn};

pub use crate::config::{Config, DigestAlgorithm, Packing};
pub use crate::error::{Damage, Error, Fault};
pub use crate::sasl::{Answer as SaslAnswer, Login, Settings as SaslSettings};
pub use crate::tls::dialling::{Dialler, Line, Settings as DiallerSettings};
pub use crate::tls::stores::{Secret, Store};
pub use crate::tls::{ClientAuth, Settings as TlsSettings};

use crate::pipeline::{Pipeline, Ports};
use crate::server::{Door, Guests, Way};
use crate::store::recover::{Places, Recovered};
use crate::store::snapshot::Taking;
use crate::store::writer::Unsynced;
use crate::tls::Stores;

/// The thread of the pipeline and its connections.
const THREAD: &str = "zk";
/// Messages that may wait for the pipeline.
const MESSAGES_MAX: usize = 1_024;

/// A running server. Dropping it stops it without waiting; [`Handle::stop`] waits.
#[derive(Debug)]
pub struct Handle {
    address: SocketAddr,
    secure_address: Option<SocketAddr>,
    metrics_address: Option<SocketAddr>,
    stopper: Stopper,
    thread: JoinHandle<()>,
    /// Closed by the thread at its very end.
    ended: oneshot::Receiver<()>,
    failed: mpsc::Receiver<()>,
}

impl Handle {
    /// Where clients connect: with TLS, if there is no other way.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where clients with TLS connect.
    pub fn secure_address(&self) -> Option<SocketAddr> {
        self.secure_address
    }

    /// Where Prometheus asks.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Returns once the disk has failed and the server has stopped serving.
    pub async fn failed(&mut self) {
        // One that ended without being told to has panicked, which is no better than a failed disk.
        let is_over = self.failed.recv().await.is_none();
        if is_over && self.stopper.listen().is_stopped() {
            std::future::pending::<()>().await;
        }
    }

    /// Stops: what was accepted is on the disk when this returns.
    pub async fn stop(self) {
        self.stopper.stop();
        // The sender is dropped, never used.
        let _closed = self.ended.await;
        if self.thread.join().is_err() {
            error!("the coordinator's thread panicked; this is a defect, please report it");
        }
    }
}

/// Opens the directory, recovers what is in it, and serves.
///
/// The pipeline and its plain connections share one thread: from the socket to the disk and back
/// no other thread need be woken, and a wake costs as much as a quick disk's sync. What takes long
/// is kept out of it: TLS, metrics and purges run on the current tokio runtime.
pub async fn start(config: Config) -> Result<Handle, Error> {
    let thread_fails = |cause| Error::Thread {
        name: THREAD,
        cause,
    };
    let mut own = OwnRuntime::new().map_err(thread_fails)?;
    let stores = config.tls.as_ref().map(Stores::open).transpose()?;
    let stores = stores.map(Arc::new);
    let secure = secure_door(&config)?;
    let secure_address = secure.as_ref().map(|(_, address)| *address);
    let (plain, address) = match secure_address {
        Some(address) if config.secure_only => (None, address),
        _ => {
            let (listener, address) = plain_door(&config, own.handle())?;
            (Some(listener), address)
        }
    };
    let locks = lock_directories(&config)?;
    let (mut recovered, unsynced) = recover(&config)?;
    let refused = std::mem::take(&mut recovered.refused);
    info!(zxid = format_args!("0x{:x}", recovered.tree.last_zxid), nodes = recovered.tree.count(),
        sessions = recovered.sessions.len(), replayed = recovered.replayed, %address, "serving");
    let progress = Arc::new(Notify::new());
    let pipeline = Pipeline::new(
        config.clone(),
        recovered,
        unsynced,
        Arc::clone(&progress),
        Ports {
            plain: plain.as_ref().map(|_| address.port()),
            secure: secure_address.map(|address| address.port()),
        },
    )?;
    let (stopper, stop) = stop::pair();
    let (messages, incoming) = mpsc::channel(MESSAGES_MAX);
    let (failed_sender, failed) = mpsc::channel(1);
    let door = Door {
        takes_mask: config
            .words
            .iter()
            .any(|word| word == "stmk" || word == "*"),
        messages,
        stop: stop.clone(),
        clock: config.clock.clone(),
        frame_max: config.frame_max,
        per_address_max: config.max_client_connections,
        total_max: config.max_connections,
        guests: Arc::new(Mutex::new(Guests::default())),
        next_id: Arc::new(AtomicU64::new(1)),
        unsent: Arc::default(),
    };
    let metrics_address = serve_metrics(&config, &door)?;
    let running = pipeline::run::run(pipeline, incoming, progress, stop.clone(), failed_sender);
    match (plain, stores.clone().filter(|_| config.port_unification)) {
        (Some(listener), Some(stores)) => {
            let accepting = server::accept(listener, door.clone(), Way::Either(stores));
            tasks::spawn("zk-accept", accepting);
        }
        (Some(listener), None) => {
            let accepting = server::accept(listener, door.clone(), Way::Plain);
            tasks::spawn_on(own.handle(), "zk-accept", accepting);
        }
        (None, _) => {}
    }
    if let Some(stores) = stores.clone() {
        tasks::spawn(
            "zk-stores",
            stores.follow(config.clock.clone(), stop.clone()),
        );
    }
    if let (Some((listener, _)), Some(stores)) = (secure, stores) {
        let accepting = server::accept(listener, door, Way::Tls(stores));
        tasks::spawn("zk-accept-tls", accepting);
    }
    if config.purge_interval_hours > 0 {
        tasks::spawn("zk-purge", purge_now_and_then(config, refused, stop));
    }
    let (end, ended) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new()
        .name(THREAD.to_owned())
        .spawn(move || {
            // The directories stay locked until the last byte is written.
            let (_locks, _end) = (locks, end);
            own.run(running);
        })
        .map_err(thread_fails)?;
    Ok(Handle {
        address,
        secure_address,
        metrics_address,
        stopper,
        thread,
        ended,
        failed,
    })
}

/// The runtime of the pipeline's thread. Where the start fails it goes without waiting: it is dropped
/// in the caller's runtime then, which may not wait.
struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    fn new() -> std::io::Result<Self> {
        let mut building = tokio::runtime::Builder::new_current_thread();
        building.enable_all().build().map(|it| OwnRuntime(Some(it)))
    }

    fn handle(&self) -> &tokio::runtime::Handle {
        self.0
            .as_ref()
            .expect("it is there until it is dropped")
            .handle()
    }

    /// Never inlined: `bench/gate` counts what runs in here.
    #[inline(never)]
    fn run(&mut self, work: impl Future<Output = ()>) {
        if let Some(runtime) = &self.0 {
            runtime.block_on(work);
        }
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The listener without TLS. Where one port takes both, its connections are no business of the
/// pipeline's thread.
fn plain_door(
    config: &Config,
    runtime: &tokio::runtime::Handle,
) -> Result<(TcpListener, SocketAddr), Error> {
    let address = SocketAddr::new(config.address, config.port);
    let mixed = config.port_unification && config.tls.is_some();
    let entered = (!mixed).then(|| runtime.enter());
    let listener = server::listen(address, config.listen_backlog)?;
    drop(entered);
    let address = listener
        .local_addr()
        .map_err(|cause| Error::Listen { address, cause })?;
    Ok((listener, address))
}

/// The listener for TLS, where there is to be one.
fn secure_door(config: &Config) -> Result<Option<(TcpListener, SocketAddr)>, Error> {
    let Some(address) = config.secure_address.filter(|_| config.tls.is_some()) else {
        return Ok(None);
    };
    let listener = server::listen(address, config.listen_backlog)?;
    let address = listener
        .local_addr()
        .map_err(|cause| Error::Listen { address, cause })?;
    Ok(Some((listener, address)))
}

fn serve_metrics(config: &Config, door: &Door) -> Result<Option<SocketAddr>, Error> {
    let Some(address) = config.metrics_address else {
        return Ok(None);
    };
    let listener = server::listen(address, 16)?;
    let address = listener
        .local_addr()
        .map_err(|cause| Error::Listen { address, cause })?;
    tasks::spawn(
        "zk-metrics-accept",
        server::metrics::accept(listener, door.clone()),
    );
    Ok(Some(address))
}

fn lock_directories(config: &Config) -> Result<Vec<Box<dyn DiskLock>>, Error> {
    let mut dirs = vec![config.snapshots_dir(), config.logs_dir()];
    dirs.dedup();
    let mut locks = Vec::new();
    for dir in dirs {
        let made = config.disk.create_dir_all(&dir);
        made.map_err(|cause| Error::Write {
            path: dir.clone(),
            cause,
        })?;
        let path = dir.join(".lock");
        let lock = config
            .disk
            .lock(&path)
            .map_err(|cause| match cause.kind() {
                std::io::ErrorKind::WouldBlock => Error::InUse {
                    path: dir.clone(),
                    cause,
                },
                _ => Error::Write { path, cause },
            })?;
        locks.push(lock);
    }
    Ok(locks)
}

/// Directories besides the logs' own whose newest entries a power cut may still take: of this
/// start, or of an earlier one that died before its first transaction. `fresh`: there was no such
/// transaction yet, so that any directory above may be as new.
fn unsynced_names(config: &Config, fresh: bool) -> Vec<Unsynced> {
    let (snapshots, logs) = (config.snapshots_dir(), config.logs_dir());
    let mut dirs = vec![config.data_dir.clone()];
    if logs != snapshots {
        dirs.extend(config.data_log_dir.clone());
        dirs.push(snapshots);
    }
    let mut above: Vec<&Path> = [Some(&config.data_dir), config.data_log_dir.as_ref()]
        .into_iter()
        .flatten()
        .filter(|_| fresh)
        .flat_map(|dir| dir.ancestors().skip(1))
        .map(|dir| {
            if dir.as_os_str().is_empty() {
                Path::new(".")
            } else {
                dir
            }
        })
        .collect();
    above.sort_unstable();
    above.dedup();
    let above = above
        .into_iter()
        .map(|dir| Unsynced::Above(dir.to_path_buf()));
    dirs.into_iter().map(Unsynced::Names).chain(above).collect()
}

/// What the files hold; and what is not yet safe of what was written here.
fn recover(config: &Config) -> Result<(Recovered, Vec<Unsynced>), Error> {
    let (snapshots, logs) = (config.snapshots_dir(), config.logs_dir());
    store::remove_unfinished(&*config.disk, &snapshots)?;
    let places = Places {
        snapshots: &snapshots,
        logs: &logs,
        extended: config.extended_types,
        trust_empty_snapshot: config.trust_empty_snapshot,
    };
    let recovered = store::recover::recover(&*config.disk, places)?;
    let no_log = store::files(&*config.disk, &logs, store::LOG_PREFIX)?.is_empty();
    let mut unsynced = unsynced_names(config, no_log || recovered.without_snapshot);
    if recovered.without_snapshot {
        unsynced.extend(write_first_snapshot(config, &recovered)?);
    }
    Ok((recovered, unsynced))
}

/// ZooKeeper refuses logs without a snapshot, so there is one from the beginning. That of an empty
/// tree is synced with the first transaction only: until then nobody was told of anything that
/// could be lost, and logs from the very first transaction on do without it.
fn write_first_snapshot(config: &Config, recovered: &Recovered) -> Result<Option<Unsynced>, Error> {
    let tree = &recovered.tree;
    let sessions = recovered.sessions.iter().map(|(&id, &ms)| (id, ms));
    let bytes = Taking::begin(tree).next_piece(tree, sessions, usize::MAX);
    let packing = config.snapshot_packing;
    let name = store::snapshot_name(tree.last_zxid, packing);
    let path = config.snapshots_dir().join(name);
    let write = || {
        let bytes = packing.pack(bytes).map_err(std::io::Error::other)?;
        if tree.last_zxid != 0 {
            base::durable::replace(&*config.disk, &path, &bytes)?;
            return Ok(None);
        }
        let file = config.disk.open(&path, Open::Create)?;
        file.truncate(0)?;
        file.write_at(&bytes, 0)?;
        Ok(Some(file))
    };
    match write() {
        Ok(file) => Ok(file.map(|file| Unsynced::Contents(path, file))),
        Err(cause) => Err(Error::Write { path, cause }),
    }
}

/// Loads a `version-2` directory as a start would, and gives the last zxid in it. Nothing is served.
pub fn last_zxid_in(disk: &dyn Disk, dir: &Path) -> Result<i64, Error> {
    let places = Places {
        snapshots: dir,
        logs: dir,
        extended: true,
        trust_empty_snapshot: false,
    };
    Ok(store::recover::recover(disk, places)?.tree.last_zxid)
}

async fn purge_now_and_then(config: Config, refused: Vec<PathBuf>, stop: stop::Stop) {
    let refused = Arc::<[PathBuf]>::from(refused);
    let hours = i64::try_from(config.purge_interval_hours).unwrap_or(i64::MAX);
    loop {
        let (disk, retain) = (Arc::clone(&config.disk), config.purge_retain.max(3));
        let (snapshots, logs) = (config.snapshots_dir(), config.logs_dir());
        let refused = Arc::clone(&refused);
        let work = move || store::purge::purge(&*disk, &snapshots, &logs, retain, &refused);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(work).await {
            warn!(%error, "purge");
        }
        tokio::select! {
            () = config.clock.sleep_ms(hours.saturating_mul(3_600_000)) => {}
            () = stop.stopped() => return,
        }
    }
}
