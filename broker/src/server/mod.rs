//! Puts everything together, floor by floor, starts it and stops it: the only place that knows
//! all rooms.
//!
//! ```text
//! start: bind ports → embedded coordinator → session → identity → settings below /config →
//!        logs → replicas, groups → register → controller → accept
//! stop:  controlled shutdown → no more requests → groups → watermarks → logs → session →
//!        embedded coordinator
//! ```
//!
//! Ports are bound first, so that a second broker on the same address ends before it touches
//! anything; requests are accepted last.

mod cleaner;
pub mod error;
mod exposition;
mod farewell;
pub mod greeting;
pub mod health;
mod identity;
mod local;
mod parts;
mod reach;
mod reconfiguration;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use base::clock::Clock;
use base::disk::{Disk, DiskLock, SystemDisk};
use base::stop::{Stopper, pair};
use base::tasks;
use client::dial::host_and_port;
use protocol::ids::{BrokerEpoch, BrokerId};
use replication::replicas::Replicas;
use storage::store::Store as Logs;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::{info, warn};
use znodes::belonging::Belonging;
use znodes::session::Place;
use znodes::store::Store;
use znodes::zookeeper::ZooKeeper;
use znodes::{registration, session};

use crate::api::table::Table;
use crate::config::Config;
use crate::embedded;
use crate::net::budget::Budget;
use crate::net::connection::Rules;
use crate::net::gates::Gates;
use crate::net::http;
use crate::net::knocks::Knocks;
use crate::net::listen::{self, Bound, Complaints, Reception};
use crate::net::places::{Bounds, Places};
use crate::server::cleaner::Cleaners;
use crate::server::error::StartError;
use crate::server::exposition::{Exposition, Operating, Stage, Stages};
use crate::server::farewell::Farewell;
use crate::server::identity::Found;
use crate::server::parts::{Assembled, Clusterside, Rooms};
use crate::server::reconfiguration::{Obedient, advertised, registered_endpoints};

/// What all requests together may hold in memory unless `queued.max.request.bytes` says else.
const BUDGET_BYTES: usize = 256 << 20;
/// How long the stop waits for answers that are under way.
const CONNECTIONS_LIMIT: Duration = Duration::from_secs(5);
/// A session may last 40 s with ZooKeeper's own bounds; who lives longer is no dead broker.
const FOREIGN_SESSION_LIMIT: Duration = Duration::from_secs(90);
/// How long the stop waits for disks before it leaves the cluster without their clean end.
const DISKS_PATIENCE: Duration = Duration::from_secs(10);

/// A running broker.
pub struct Server {
    greeting: String,
    addresses: Vec<(String, std::net::SocketAddr)>,
    assembled: Assembled,
    farewell: Farewell,
    coordinator: Option<coordinator::Handle>,
    /// What leads clients to the listeners ends before these do …
    open_doors: Stopper,
    gates: Gates,
    /// … and everything else after them.
    rest: Stopper,
    upkeep: Vec<JoinHandle<()>>,
    cleaners: Cleaners,
    stages: Stages,
    operating_address: Option<std::net::SocketAddr>,
}

impl Server {
    /// Starts everything; when this returns, clients are served. Called on the control runtime;
    /// connections and replicas live on `data`.
    pub async fn start(config: Config, data: Handle) -> Result<Server, StartError> {
        Self::start_unless(config, data, std::future::pending()).await
    }

    /// The same, given up with [`StartError::Unwanted`] once `unwanted` returns. A start that comes
    /// to nothing, for whatever reason, leaves the cluster and ends its coordinator first.
    pub async fn start_unless(
        config: Config,
        data: Handle,
        unwanted: impl Future<Output = ()>,
    ) -> Result<Server, StartError> {
        tokio::pin!(unwanted);
        let clock = Clock::system();
        let disk: Arc<dyn Disk> = SystemDisk::shared();
        let bound = bind_all(&config)?;
        let stages = Stages::new();
        let operating = Arc::new(Operating::new(stages.clone()));
        let port = bind_operating(&config)?;
        let (rest, rest_stop) = pair();
        let (open_doors, doors_closing) = pair();
        let operating_address = port.as_ref().and_then(|port| port.address().ok());
        let serving = port.map(|port| {
            let serving = port.serve(
                Arc::clone(&operating) as _,
                clock.clone(),
                rest_stop.clone(),
            );
            tasks::spawn("metrics and health", serving)
        });
        make_directories(&*disk, &config)?;
        let held = hold_directories(&*disk, &config)?;
        let found = Found::read(&*disk, &config.logs.dirs)?;
        let mut coordinator = tokio::select! {
            biased;
            () = &mut unwanted => return Err(StartError::Unwanted),
            started = start_coordinator(&config, &clock) => started?,
        };
        let coordinator_at = coordinator.as_ref().map(coordinator::Handle::address);
        let coordinator_dir = config.coordinator.as_ref().map(|own| own.data_dir.clone());
        let farewell = Farewell::default();
        let leaving = &farewell;
        let starting = async move {
            let (zookeeper, place) = connect(&config, coordinator_at, &clock).await?;
            leaving.owe(&zookeeper);
            let store: Arc<dyn Store> = Arc::new(zookeeper.clone());
            let agreed = found.agree(&*store, &config.identity).await?;
            place.take(&zookeeper).await;
            if let Some(directory) = config.logs.dirs.first() {
                leaving.noted_in(directory);
            }
            let cluster_id: Arc<str> = agreed.cluster_id.as_str().into();
            let ours = Belonging::new(Arc::clone(&store), Arc::clone(&cluster_id));
            let clusterside = Clusterside {
                zookeeper: Arc::clone(&store),
                store: Arc::new(ours),
                broker: agreed.broker,
                cluster_id,
                clock: clock.clone(),
                stop: rest_stop.clone(),
                data: data.clone(),
            };
            let advertised = advertised(&config.listeners.advertised, &addresses_of(&bound));
            stages.set(Stage::Recovering);
            // The logs take the same locks themselves.
            drop(held);
            let rooms = Rooms::build(config, Arc::clone(&disk), clusterside).await?;
            let rooms_live = rooms.live.clone();
            let config = rooms_live.now();
            found.complete(&*disk, &agreed, &date(&clock))?;

            let body = registration_body(&config, &advertised, &clock);
            registration::check_endpoints(&*store, agreed.broker.0, &body).await?;
            let epoch = register(&zookeeper, agreed.broker, &body, &config).await?;
            let past = zookeeper.clone();
            let mut assembled =
                rooms.begin(body.clone(), epoch, Arc::new(move || past.past_sessions()))?;
            let mut upkeep = assembled.take_upkeep();
            let cleaners = Cleaners::start(&config.cleaner, &assembled.logs, disk, &clock)?;
            assembled.wait_until_told().await;
            let table = Arc::new(Table {
                services: Arc::clone(&assembled.services),
            });
            let reception = reception(&config, Bounds::of(&config).await, table, &clock);
            upkeep.extend(serving);
            let (sessions, following) = Exposition::follow_session(&zookeeper, rest_stop.clone());
            upkeep.push(tasks::spawn("session counts", following));
            operating.open(Exposition {
                services: Arc::clone(&assembled.services),
                sender: Arc::clone(&assembled.sender),
                zookeeper: zookeeper.clone(),
                sessions,
                doors: Arc::clone(&reception.doors),
                budget: reception.budget.clone(),
                cleaners: cleaners.clone(),
                workers: Exposition::workers(&data, &clock),
                stages: stages.clone(),
                clock: clock.clone(),
                control: Handle::current(),
            });
            let gates = Gates::new(reception, data.clone());
            for listener in bound {
                gates.open(listener)?;
            }
            let addresses = gates.addresses();
            let obedient = Obedient {
                live: rooms_live.clone(),
                gates: gates.clone(),
                cleaners: cleaners.clone(),
                controller: assembled.services.controller.clone(),
                registered: body.clone(),
            };
            let changed = rooms_live.watch();
            let obeying = obedient.follow(changed, doors_closing.clone());
            upkeep.push(tasks::spawn("changed settings", obeying));
            let (told, bound_at) = (advertised.clone(), addresses.clone());
            let knocks = gates.reception().knocks.clone();
            let look = async move { reach::look(&told, &bound_at, &knocks, &doors_closing).await };
            upkeep.push(tasks::spawn("advertised addresses", look));
            stages.set(Stage::Running);
            // Kafka: scripts wait for this line.
            info!(target: "kafka", broker = agreed.broker.0, "started (kafka.server.KafkaServer)");
            let greeting = greeting::text(&config, &addresses, coordinator_at, operating_address);
            Ok::<Server, StartError>(Server {
                greeting,
                addresses,
                assembled,
                farewell: Farewell::default(),
                coordinator: None,
                gates,
                open_doors,
                rest,
                upkeep,
                cleaners,
                stages,
                operating_address,
            })
        };
        let disk_failed = async {
            match &mut coordinator {
                Some(handle) => handle.failed().await,
                None => std::future::pending().await,
            }
        };
        let started = tokio::select! {
            biased;
            () = unwanted => Err(StartError::Unwanted),
            started = starting => started,
            // Without a disk of its own nothing of all that would be answered.
            () = disk_failed => {
                let directory = coordinator_dir.unwrap_or_default();
                Err(StartError::CoordinatorDisk { directory })
            }
        };
        match started {
            Ok(server) => Ok(Server {
                farewell,
                coordinator,
                ..server
            }),
            Err(reason) => {
                farewell.say().await;
                if let Some(coordinator) = coordinator {
                    coordinator.stop().await;
                }
                Err(reason)
            }
        }
    }

    /// A few lines for a person: where it listens, where its data is, what to type next.
    pub fn greeting(&self) -> &str {
        &self.greeting
    }

    /// Where `/metrics` and `/health` are, if they are served.
    pub fn operating_address(&self) -> Option<std::net::SocketAddr> {
        self.operating_address
    }

    /// Every bound address with its listener's name.
    pub fn addresses(&self) -> &[(String, std::net::SocketAddr)] {
        &self.addresses
    }

    /// Returns once the broker cannot go on, with the reason. Dropping the future is safe.
    pub async fn failed(&mut self) -> String {
        let coordinator_failed = async {
            match &mut self.coordinator {
                Some(coordinator) => coordinator.failed().await,
                None => std::future::pending().await,
            }
        };
        let mut directories = self.assembled.services.replicas.failed_directories();
        let all = self.assembled.services.live.now().logs.dirs.len();
        let no_directory_left = async {
            // The sender lives as long as the replicas, which live in `self`.
            let _all_failed = directories.wait_for(|failed| failed.len() >= all).await;
        };
        let features = &self.assembled.services.features;
        tokio::select! {
            names = features.unsupported() => format!(
                "the cluster has agreed on features that this broker does not know: {}. Start a \
                 version that knows them, or take them out of /feature in ZooKeeper",
                names.join(", ")
            ),
            () = coordinator_failed => {
                "the embedded coordinator cannot write to its disk and has stopped; see the log above".to_owned()
            }
            () = no_directory_left => {
                "every log directory has failed; free or replace the disk and start again".to_owned()
            }
        }
    }

    /// Stops in order; data is closed cleanly when this returns.
    pub async fn stop(self) {
        self.stages.set(Stage::LeavingCluster);
        self.assembled.leave_cluster().await;
        self.stages.set(Stage::Stopping);
        self.assembled.services.groups.stop();
        self.open_doors.stop();
        let closing = self.gates.close();
        if tokio::time::timeout(CONNECTIONS_LIMIT, closing)
            .await
            .is_err()
        {
            warn!("some clients did not take their answers; their connections are cut");
        }
        self.rest.stop();
        let mut state = self.assembled.services.store.state();
        let upkeep = async {
            for task in self.upkeep {
                let _ended = task.await;
            }
        };
        tokio::pin!(upkeep);
        // What is left behind hangs in a disk: it, too, holds nothing up but its own directory's end.
        let away = tokio::select! {
            () = &mut upkeep => false,
            _away = state.wait_for(|state| !state.is_alive()) => true,
            () = tokio::time::sleep(DISKS_PATIENCE) => false,
        };
        if away {
            // A task that waits for ZooKeeper waits until the session is given up.
            self.farewell.say().await;
            let _left_behind = tokio::time::timeout(DISKS_PATIENCE, upkeep).await;
        }
        let (replicas, logs) = (&self.assembled.services.replicas, &self.assembled.logs);
        let closing = close_logs(self.cleaners, Arc::clone(replicas), Arc::clone(logs));
        tokio::pin!(closing);
        let closed = tokio::time::timeout(DISKS_PATIENCE, &mut closing).await;
        if closed.is_err() {
            warn!(
                "a log directory takes long to close; the stop waits for it, unless it is asked for again"
            );
        }
        if !away {
            self.farewell.say().await;
        }
        if let Some(coordinator) = self.coordinator {
            coordinator.stop().await;
        }
        if closed.is_err() {
            closing.await;
        }
        info!(target: "kafka", "shut down completed (kafka.server.KafkaServer)");
    }
}

/// Cleaners, watermarks, then the logs: what was flushed and closed is marked clean.
async fn close_logs(cleaners: Cleaners, replicas: Arc<Replicas>, logs: Arc<Logs>) {
    let closed = tokio::task::spawn_blocking(move || {
        cleaners.halt();
        let closed = logs.close_after(|directory| {
            cleaners.await_left(directory);
            replicas.write_watermarks_in(directory);
        });
        cleaners.join();
        closed
    });
    match closed.await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => {
            warn!(reason = %e, "the logs were not closed cleanly; the next start recovers them")
        }
        Err(_panicked) => warn!("the logs were not closed; the next start recovers them"),
    }
}

fn bind_all(config: &Config) -> Result<Vec<Bound>, StartError> {
    let bind = |at: &crate::config::Endpoint| {
        listen::bind(&at.name, &at.host, at.port, config.network.backlog)
    };
    Ok(config
        .listeners
        .bound
        .iter()
        .map(bind)
        .collect::<Result<_, _>>()?)
}

fn bind_operating(config: &Config) -> Result<Option<http::Port>, StartError> {
    let wanted = &config.metrics;
    let Some(port) = wanted.port else {
        return Ok(None);
    };
    match http::Port::bind(&wanted.address, port) {
        Ok(bound) => Ok(Some(bound)),
        Err(source) => Err(StartError::MetricsPort {
            at: host_and_port(&wanted.address, port),
            source,
        }),
    }
}

fn make_directories(disk: &dyn Disk, config: &Config) -> Result<(), StartError> {
    for directory in &config.logs.dirs {
        disk.create_dir_all(directory)
            .map_err(|source| StartError::Directory {
                directory: directory.clone(),
                source,
            })?;
    }
    Ok(())
}

/// A directory in which another program works is refused before ZooKeeper is met: the session that
/// is noted there, and closed later, would be the session of the one at work. So is a start for
/// which no directory can be written: it must not be seen in the cluster at all.
fn hold_directories(
    disk: &dyn Disk,
    config: &Config,
) -> Result<Vec<Box<dyn DiskLock>>, StartError> {
    let mut held = Vec::with_capacity(config.logs.dirs.len());
    let mut unwritable = None;
    for directory in &config.logs.dirs {
        match disk.lock(&directory.join(storage::files::LOCK)) {
            Ok(lock) => held.push(lock),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                return Err(StartError::InUse {
                    directory: directory.clone(),
                });
            }
            // Its disk is not well; the logs decide whether the others are enough.
            Err(source) => {
                unwritable.get_or_insert(StartError::Unwritable {
                    directory: directory.clone(),
                    source,
                });
            }
        }
    }
    match unwritable {
        Some(refused) if held.is_empty() => Err(refused),
        _ => Ok(held),
    }
}

/// Makes the broker's node, and waits for a former owner's session to end: for longer than that may
/// take where the owner is dead.
async fn register(
    zookeeper: &ZooKeeper,
    broker: BrokerId,
    body: &znodes::bodies::broker::Broker,
    config: &Config,
) -> Result<BrokerEpoch, StartError> {
    let session_ms = config.zookeeper.session_timeout_ms.max(0).cast_unsigned();
    let limit = FOREIGN_SESSION_LIMIT.max(2 * Duration::from_millis(session_ms.into()));
    let past = zookeeper.past_sessions();
    let registering = registration::register(zookeeper, broker.0, body, &past);
    match tokio::time::timeout(limit, registering).await {
        Ok(epoch) => Ok(epoch?),
        Err(_late) => Err(StartError::IdHeld {
            broker: broker.0,
            within_s: limit.as_secs(),
        }),
    }
}

async fn start_coordinator(
    config: &Config,
    clock: &Clock,
) -> Result<Option<coordinator::Handle>, StartError> {
    let Some(wanted) = &config.coordinator else {
        return Ok(None);
    };
    let at = || host_and_port(&wanted.address, wanted.port);
    match embedded::start(wanted, clock).await {
        Ok(handle) => Ok(Some(handle)),
        Err(embedded::Error::NoAddress) => Err(StartError::CoordinatorAddress {
            at: at(),
            reason: embedded::Error::NoAddress.to_string(),
        }),
        Err(embedded::Error::Start(cause)) => Err(match cause {
            coordinator::Error::Listen { cause, .. } if cause.kind() == ErrorKind::AddrInUse => {
                StartError::CoordinatorPort { at: at() }
            }
            coordinator::Error::Listen { cause, .. } => StartError::CoordinatorAddress {
                at: at(),
                reason: cause.to_string(),
            },
            coordinator::Error::InUse { path, .. } => StartError::InUse { directory: path },
            other => other.into(),
        }),
    }
}

async fn connect(
    config: &Config,
    coordinator: Option<std::net::SocketAddr>,
    clock: &Clock,
) -> Result<(ZooKeeper, Place), StartError> {
    let connect = match coordinator {
        Some(address) => address.to_string(),
        None => config.zookeeper.connect.clone(),
    };
    let within_ms = i64::from(config.zookeeper.connection_timeout_ms);
    let wanted = znodes::zookeeper::Config {
        session_timeout_ms: i64::from(config.zookeeper.session_timeout_ms),
        in_flight_max: config.zookeeper.in_flight_max,
        request_bytes_max: config.zookeeper.request_bytes_max,
        ..znodes::zookeeper::Config::new(connect.clone())
    };
    let directory = config.logs.dirs.first().map(std::path::PathBuf::as_path);
    let hosts = wanted.hosts_and_chroot().0.to_owned();
    match session::open(wanted, directory, clock.clone(), within_ms).await {
        Ok(opened) => Ok(opened),
        Err(znodes::store::Error::SessionEnded) => Err(StartError::NoZooKeeper {
            connect,
            within_ms,
            nameless: nameless(&hosts).await,
        }),
        Err(other) => Err(other.into()),
    }
}

/// Those of `host:port,…` whose name no resolver knows: the likeliest reason of all in containers.
async fn nameless(hosts: &str) -> Vec<String> {
    let mut nameless = Vec::new();
    for at in hosts.split(',').map(str::trim) {
        let named = if at.contains(':') {
            at.to_owned()
        } else {
            format!("{at}:2181")
        };
        if tokio::net::lookup_host(&named).await.is_err() {
            nameless.push(
                named
                    .rsplit_once(':')
                    .map_or(at, |(host, _)| host)
                    .to_owned(),
            );
        }
    }
    nameless
}

fn addresses_of(bound: &[Bound]) -> Vec<(String, std::net::SocketAddr)> {
    let each = |bound: &Bound| {
        let name = bound.listener.to_string();
        let named = bound.addresses.iter().map(|at| (name.clone(), *at));
        named.collect::<Vec<_>>()
    };
    bound.iter().flat_map(each).collect()
}

fn registration_body(
    config: &Config,
    advertised: &[crate::config::Endpoint],
    clock: &Clock,
) -> znodes::bodies::broker::Broker {
    znodes::bodies::broker::Broker {
        version: controller::Agreed::at(&config.identity.protocol_version).registration_version,
        endpoints: registered_endpoints(advertised),
        rack: config.identity.rack.clone(),
        features: Vec::new(),
        jmx_port: -1,
        timestamp: clock.wall_ms(),
    }
}

fn reception(config: &Config, bounds: Bounds, table: Arc<Table>, clock: &Clock) -> Reception {
    let network = &config.network;
    let size = |bytes: i32| usize::try_from(bytes).ok().filter(|bytes| *bytes > 0);
    let idle_ms = network.connections_idle_ms_max;
    Reception {
        table,
        rules: Rules {
            frame_bytes_max: network.request_bytes_max,
            idle_ms: if idle_ms < 0 { i64::MAX } else { idle_ms },
            clock: clock.clone(),
        },
        places: Arc::new(Places::new(bounds, config.quotas.clients, clock.clone())),
        knocks: Knocks::default(),
        complaints: Complaints::new(clock),
        budget: Budget::new(network.queued_bytes_max.unwrap_or(BUDGET_BYTES)),
        doors: Arc::default(),
        send_buffer: size(network.send_buffer_bytes),
        receive_buffer: size(network.receive_buffer_bytes),
    }
}

/// The comment Java's Properties would write: informative, never read.
fn date(clock: &Clock) -> String {
    format!("written at {} ms since 1970", clock.wall_ms())
}
