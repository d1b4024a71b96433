//! The rooms between the session and the listeners, built and tied to one another.

use std::sync::Arc;
use std::time::Duration;

use base::chance::Chance;
use base::clock::Clock;
use base::descriptors;
use base::disk::Disk;
use base::io_pool::IoPool;
use base::stop::Stop;
use base::tasks;
use controller::ControllerHandle;
use parking_lot::Mutex;
use protocol::ids::{BrokerEpoch, BrokerId, TopicPartition};
use protocol::names::CONSUMER_OFFSETS;
use replication::config::{ReplicationConfig, SessionsConfig};
use replication::replicas::Replicas;
use replication::sessions::Sessions;
use storage::config::StoreConfig;
use storage::store::Store as Logs;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::warn;
use znodes::bodies::broker::Broker;
use znodes::bodies::notices;
use znodes::bodies::producer_ids::BLOCK_LEN;
use znodes::store::{Kind, Store};

use crate::admin::auto_create::AutoCreate;
use crate::admin::changes::{self, Newcomers, Obeying};
use crate::admin::configs::Configs;
use crate::admin::loggers::Loggers;
use crate::admin::quotas::{ClientQuotas, Hosts};
use crate::admin::scram::Scram;
use crate::admin::topics::Topics;
use crate::api::data::fetch::FetchServices;
use crate::api::peers::authority::Orders as Authority;
use crate::api::slow_lane::SlowLane;
use crate::api::table::Services;
use crate::api::transactions::producer_ids::{Block, ProducerIds};
use crate::complaints::Complaint;
use crate::config::{Config, Live, TopicSettings};
use crate::coordination::{Groups, Settings};
use crate::measures::Requests;
use crate::metadata::Metadata;
use crate::metadata::features::ClusterFeatures;
use crate::peer::isr::{Keeper, Way};
use crate::peer::link::{Link, LinkConfig};
use crate::peer::orders::Orders;
use crate::peer::versions::Versions;
use crate::peer::writing::Writing;
use crate::quota::Quotas;
use crate::server::error::StartError;
use crate::server::local::Local;

/// Orders and disk jobs that may wait; a controller repeats what found no room.
const QUEUE_MAX: usize = 1024;
/// How often it is looked whether a disk has put a worker to sleep.
const WAKING_TICK: Duration = Duration::from_millis(20);
/// How many times, before the next storage call is waited for without a clock.
const WAKING_TICKS: u32 = 50;
/// How long a start waits for its own controller's first words.
const TOLD_LIMIT: Duration = Duration::from_secs(3);
/// Rest before a failed directory is reported again.
const REPORT_REST_MS: i64 = 1000;

/// What the session and the identity gave.
#[derive(Clone, Debug)]
pub(crate) struct Clusterside {
    /// ZooKeeper, whatever it holds: for the controller's task, which waits for the right cluster.
    pub(crate) zookeeper: Arc<dyn Store>,
    /// The nodes of our cluster, for everybody else.
    pub(crate) store: Arc<dyn Store>,
    pub(crate) broker: BrokerId,
    pub(crate) cluster_id: Arc<str>,
    pub(crate) clock: Clock,
    pub(crate) stop: Stop,
    /// The runtime of connections and replicas.
    pub(crate) data: Handle,
}

/// Everything that can stand before the broker is registered.
#[derive(Debug)]
pub(crate) struct Rooms {
    side: Clusterside,
    pub(crate) live: Live,
    obeying: Obeying,
    metadata: Arc<Metadata>,
    keeper: Arc<Keeper>,
    logs: Arc<Logs>,
    replicas: Arc<Replicas>,
    groups: Arc<Groups>,
}

/// Everything, once registered.
pub(crate) struct Assembled {
    pub(crate) services: Arc<Services>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) sender: Arc<Orders>,
    link: Mutex<Option<Link>>,
    upkeep: Vec<JoinHandle<()>>,
}

impl Rooms {
    /// Reads the settings below `/config`, opens the logs with them, and builds what needs both.
    pub(crate) async fn build(
        config: Config,
        disk: Arc<dyn Disk>,
        side: Clusterside,
    ) -> Result<Rooms, StartError> {
        let live = Live::new(config);
        let topics = TopicSettings::new(live.clone());
        let quotas = Arc::new(Quotas::new(live.now().quotas));
        let mut obeying = Obeying {
            broker: side.broker,
            live: live.clone(),
            topics,
            quotas,
            hosts: Hosts::default(),
            replicas: None,
            controller: None,
        };
        changes::renew_secrets(&side.store, &obeying).await?;
        changes::read_everything(&side.store, &obeying).await?;
        let partitions = partitions_of(&*side.store, CONSUMER_OFFSETS).await?;
        let config = live.now();

        let logs = open_logs(disk, &config, &side.clock, obeying.topics.clone()).await?;
        let metadata = Arc::new(Metadata::default());
        let keeper = Arc::new(Keeper::new(Arc::clone(&metadata)));
        let topics = obeying.topics.clone();
        let configs = Arc::new(move |topic: &str| topics.of(topic).for_replicas());
        let wanted = ReplicationConfig {
            me: side.broker,
            lag_ms_max: config.replication.lag_ms_max,
            checkpoint_ms: config.replication.checkpoint_ms,
            sessions: SessionsConfig {
                slots_max: config.fetches.sessions_max,
                ..SessionsConfig::default()
            },
            moves: config.moves(logs.directories().len()),
            workers: config.threads.data(),
        };
        let keeping: Arc<dyn replication::endpoint::IsrKeeper> = Arc::clone(&keeper) as _;
        let replicas = Replicas::new(
            wanted,
            Arc::clone(&logs),
            side.clock.clone(),
            keeping,
            configs,
        )?;
        obeying.replicas = Some(Arc::clone(&replicas));
        let groups = Groups::new(
            Settings::new(&config.groups, partitions),
            side.clock.clone(),
            side.data.clone(),
        )?;
        Ok(Rooms {
            side,
            live,
            obeying,
            metadata,
            keeper,
            logs,
            replicas,
            groups,
        })
    }

    /// Starts the controller and everything that runs by itself. The broker is registered.
    pub(crate) fn begin(
        self,
        body: Broker,
        epoch: BrokerEpoch,
        past_sessions: Arc<dyn Fn() -> Vec<i64> + Send + Sync>,
    ) -> Result<Assembled, StartError> {
        let Rooms {
            side,
            live,
            mut obeying,
            metadata,
            keeper,
            logs,
            replicas,
            groups,
        } = self;
        let config = live.now();
        let patience = Duration::from_millis(u64::from(
            config.controlling.socket_timeout_ms.unsigned_abs(),
        ));
        let versions = Versions::of(&config.identity.protocol_version);
        let sender = Arc::new(Orders::new(
            side.broker,
            side.clock.clone(),
            patience,
            versions,
        ));
        let controller = controller::start(controller::Parts {
            config: controlling(&config, side.broker),
            store: Arc::clone(&side.zookeeper),
            sender: Arc::clone(&sender) as _,
            clock: side.clock.clone(),
            stop: side.stop.clone(),
            body,
            broker_epoch: epoch,
            cluster_id: Arc::clone(&side.cluster_id),
            past_sessions,
            remembered_id: remembered_ids(Arc::clone(&metadata), Arc::clone(&replicas)),
        });
        obeying.controller = Some(controller.clone());
        let authority = Authority {
            replicas: Arc::clone(&replicas),
            groups: Arc::clone(&groups),
            metadata: Arc::clone(&metadata),
            controller: controller.clone(),
            thread: IoPool::new("orders", 1, QUEUE_MAX)?,
            newcomers: Newcomers {
                store: Arc::clone(&side.store),
                obeying: obeying.clone(),
            },
        };
        sender.set_local(Arc::new(Local::new(authority.clone())));
        let agreed = controller::Agreed::at(&config.identity.protocol_version);
        let link = Link::new(
            side.broker,
            controller.clone(),
            Arc::clone(&metadata),
            side.clock.clone(),
            LinkConfig {
                listener: config.listeners.inter_broker.clone(),
                patience,
                shutdown_version: versions.controlled_shutdown,
                topic_ids: agreed.topic_ids,
            },
        );

        let mut upkeep = Vec::new();
        let way = match agreed.alter_partition {
            true => Way::Controller(Box::new(link.another())),
            false => Way::Leader(Writing::new(
                side.broker,
                Arc::clone(&side.store),
                side.clock.clone(),
            )),
        };
        let proposing = Arc::clone(&keeper).run(Arc::clone(&replicas), way, side.stop.clone());
        upkeep.push(tasks::spawn("isr keeper", proposing));
        let following = changes::follow(
            Arc::clone(&side.store),
            side.clock.clone(),
            side.stop.clone(),
            obeying.clone(),
        );
        upkeep.push(tasks::spawn("config changes", following));
        let electing = follow_unclean(live.clone(), controller.clone(), side.stop.clone());
        upkeep.push(tasks::spawn("election settings", electing));
        let waking = wake_workers(Arc::clone(&replicas), side.data.clone(), side.stop.clone());
        upkeep.push(tasks::spawn("wake workers", waking));
        {
            let _data = side.data.enter();
            let disks = IoPool::new("upkeep", 2, QUEUE_MAX)?;
            upkeep.extend(replicas.start(&disks, &side.stop));
            upkeep.push(tasks::spawn(
                "groups",
                Arc::clone(&groups).run(side.stop.clone()),
            ));
        }

        let reporting = report_losses(
            Arc::clone(&side.store),
            side.broker,
            side.clock.clone(),
            replicas.losses(),
            side.stop.clone(),
        );
        upkeep.push(tasks::spawn("losses", reporting));

        let features = ClusterFeatures::default();
        if agreed.features {
            let following = features.clone();
            let watching = following.follow(Arc::clone(&side.store), side.stop.clone());
            upkeep.push(tasks::spawn("features", watching));
        }

        let requests = Requests::new(side.clock.clone());
        let sessions = SessionsConfig {
            slots_max: config.fetches.sessions_max,
            ..SessionsConfig::default()
        };
        let fetches = Arc::new(FetchServices {
            replicas: Arc::clone(&replicas),
            sessions: Arc::new(Sessions::new(
                sessions,
                side.clock.clone(),
                Chance::from_kernel(),
            )),
            metadata: Arc::clone(&metadata),
            requests: Arc::clone(&requests),
            bytes_max: config.fetches.bytes_max,
            sends_to_racks: config.fetches.sends_to_racks,
        });
        let topics = Arc::new(Topics::new(
            Arc::clone(&side.store),
            live.clone(),
            Arc::clone(&metadata),
            side.clock.clone(),
        ));
        let producer_ids = Arc::new(match agreed.producer_ids {
            true => ids_of_controller(&link),
            false => ids_of_zookeeper(Arc::clone(&side.store), side.broker),
        });
        if !agreed.producer_ids {
            // Kafka: who takes blocks himself takes the first at his start.
            let ids = Arc::clone(&producer_ids);
            let preparing = async move { ids.prepare().await };
            upkeep.push(tasks::spawn("producer ids", preparing));
        }
        let services = Services {
            auto_create: AutoCreate::new(Arc::clone(&topics), live.clone(), &side.clock),
            not_moved: Complaint::new("the replica does not move", &side.clock),
            topics,
            cluster_id: side.cluster_id,
            configs: Configs::new(
                Arc::clone(&side.store),
                live.clone(),
                Arc::clone(&metadata),
                side.broker,
            ),
            quotas: Arc::clone(&obeying.quotas),
            clock: side.clock.clone(),
            client_quotas: ClientQuotas::new(Arc::clone(&side.store)),
            scram: Scram::new(Arc::clone(&side.store)),
            live,
            metadata,
            store: side.store,
            replicas,
            fetches,
            producer_ids,
            groups,
            controller,
            orders: authority,
            requests,
            loggers: Loggers::default(),
            slow_lane: SlowLane::start(config.network.request_bytes_max)?,
            features,
            agreed,
        };
        Ok(Assembled {
            services: Arc::new(services),
            logs,
            sender,
            link: Mutex::new(Some(link)),
            upkeep,
        })
    }
}

impl Assembled {
    /// Where this broker is itself the controller: waits until it has told itself about every
    /// partition whose log lies here, so that the first client after a restart does not hear that
    /// its topic is unknown. Bounded; a controller elsewhere, even one whose name is kept from us,
    /// tells us once we listen.
    pub(crate) async fn wait_until_told(&self) {
        let services = &self.services;
        let told = async {
            let mut status = services.controller.watch();
            if status
                .wait_for(|status| status.has_controller())
                .await
                .is_err()
            {
                return;
            }
            if !services.controller.is_active() {
                return;
            }
            let Ok(topics) = services.store.list(znodes::paths::TOPICS, None).await else {
                return;
            };
            let topics = topics.unwrap_or_default();
            let hosted = self.logs.all();
            let expected = hosted.iter().map(|log| log.partition());
            let expected: Vec<_> = expected
                .filter(|id| topics.iter().any(|name| **name == *id.topic))
                .collect();
            let mut changes = services.metadata.changes();
            loop {
                changes.mark_unchanged();
                let image = services.metadata.image();
                let knows =
                    |id: &&TopicPartition| image.partition(&id.topic, id.partition).is_some();
                if image.is_alive(services.configs.broker()) && expected.iter().all(knows) {
                    return;
                }
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(TOLD_LIMIT, told).await.is_err() {
            warn!("not every topic found on disk has been announced yet; serving all the same");
        }
    }

    /// The tasks that end after stop is said.
    pub(crate) fn take_upkeep(&mut self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut self.upkeep)
    }

    /// Controlled shutdown: leaderships that others can take are handed over first. Nobody can take
    /// them while ZooKeeper is away, so then the stop goes on at once.
    pub(crate) async fn leave_cluster(&self) {
        let mut state = self.services.store.state();
        let away = state.wait_for(|state| !state.is_alive());
        tokio::select! {
            () = self.hand_over() => {}
            _away = away => warn!("ZooKeeper is away: stopping without handing over leaderships"),
        }
    }

    async fn hand_over(&self) {
        let config = self.services.live.now();
        let Some(mut link) = self.link.lock().take() else {
            return;
        };
        if !config.controlling.controlled_shutdown {
            return;
        }
        // Kafka: so many attempts in all, and none at all for 0.
        for attempt in 1..=config.controlling.controlled_shutdown_retries {
            match link.controlled_shutdown().await {
                Ok(remaining) if remaining.is_empty() => return,
                Ok(remaining) => warn!(
                    attempt,
                    remaining = remaining.len(),
                    "others could not take all leaderships yet"
                ),
                Err(code) => warn!(
                    attempt,
                    error = code.name(),
                    "controlled shutdown was refused"
                ),
            }
            if attempt < config.controlling.controlled_shutdown_retries {
                link.wait_ms(config.controlling.controlled_shutdown_backoff_ms)
                    .await;
            }
        }
        warn!("stopping without having handed over all leaderships");
    }
}

async fn open_logs(
    disk: Arc<dyn Disk>,
    config: &Config,
    clock: &Clock,
    topics: TopicSettings,
) -> Result<Arc<Logs>, StartError> {
    let wanted = StoreConfig {
        // The other half is for sockets; where they want more, the store gives way.
        open_files_max: descriptors::take_all() / 2,
        ..config.logs.store()
    };
    let clock = clock.clone();
    let opening = tokio::task::spawn_blocking(move || {
        Logs::open(disk, wanted, clock, &|topic| {
            Arc::new(topics.of(topic).log.clone())
        })
    });
    match opening.await {
        Ok(Ok(opened)) => Ok(Arc::new(opened)),
        Ok(Err(storage::error::Error::Locked { dir })) => Err(StartError::InUse { directory: dir }),
        Ok(Err(other)) => Err(other.into()),
        Err(panicked) => Err(StartError::Threads(std::io::Error::other(panicked))),
    }
}

/// How many partitions a topic has, if it is there.
async fn partitions_of(store: &dyn Store, topic: &str) -> Result<Option<i32>, StartError> {
    let Some(node) = store.get(&znodes::paths::topic(topic), None).await? else {
        return Ok(None);
    };
    let Ok(body) = znodes::bodies::topic::Topic::decode(&node.data) else {
        return Ok(None);
    };
    Ok(i32::try_from(body.partitions.len())
        .ok()
        .filter(|count| *count > 0))
}

fn controlling(config: &Config, broker: BrokerId) -> controller::Config {
    let listener = config
        .listeners
        .control_plane
        .clone()
        .unwrap_or_else(|| config.listeners.inter_broker.clone());
    controller::Config {
        agreed: controller::Agreed::at(&config.identity.protocol_version),
        delete_topics: config.topics.delete_enable,
        unclean_election: config.controlling.unclean_leader_election,
        rebalance: config.controlling.auto_rebalance,
        rebalance_interval_ms: config.controlling.imbalance_check_s.saturating_mul(1000),
        imbalance_percent: config.controlling.imbalance_percent,
        leader_listener: config.listeners.inter_broker.clone(),
        ..controller::Config::new(broker.0, listener)
    }
}

/// What a controller has told this broker; after a start, before any has, what its own logs say.
fn remembered_ids(metadata: Arc<Metadata>, replicas: Arc<Replicas>) -> controller::RememberedId {
    Arc::new(move |topic, partitions| {
        let told = metadata.image().topic(topic).map(|topic| topic.id);
        let kept = || {
            partitions.iter().find_map(|index| {
                let tp = TopicPartition::new(topic, *index);
                replicas.store().log(&tp)?.topic_id()
            })
        };
        told.filter(|id| !id.is_zero()).or_else(kept)
    })
}

/// Ids come in blocks from the controller, whichever broker that is.
fn ids_of_controller(link: &Link) -> ProducerIds {
    let link = Arc::new(tokio::sync::Mutex::new(link.another()));
    ProducerIds::new(Arc::new(move || {
        let link = Arc::clone(&link);
        Box::pin(async move {
            match link.lock().await.allocate_producer_ids().await {
                Ok((next, len)) => Some(Block {
                    next,
                    end: next.saturating_add(i64::from(len)),
                }),
                Err(code) => {
                    warn!(
                        error = code.name(),
                        "the controller gave no producer ids; clients ask again"
                    );
                    None
                }
            }
        })
    }))
}

/// Below protocol version 3.0 every broker takes its blocks itself. Kafka: `ZkProducerIdManager`.
fn ids_of_zookeeper(store: Arc<dyn Store>, me: BrokerId) -> ProducerIds {
    ProducerIds::new(Arc::new(move || {
        let store = Arc::clone(&store);
        Box::pin(async move {
            let block = |next: i64| Block {
                next,
                end: next.saturating_add(BLOCK_LEN),
            };
            match controller::producer_ids::allocate(&*store, me.0).await {
                Ok(first) => first.ok().map(block),
                Err(error) => {
                    warn!(%error, "ZooKeeper gave no producer ids; clients ask again");
                    None
                }
            }
        })
    }))
}

/// Keeps the sockets watched while a worker sleeps on a disk.
///
/// The runtime's workers take turns at watching them. Whoever is woken with a single request does not
/// call another to the watch before it runs it; if that request then sleeps in a write, nobody watches,
/// and every connection of every disk waits. A task from outside wakes a worker, and a worker with
/// nothing more to do goes to the watch.
async fn wake_workers(replicas: Arc<Replicas>, data: Handle, stop: Stop) {
    let lanes = &replicas.shared().lanes;
    let watching = async {
        loop {
            lanes.await_call().await;
            for _ in 0..WAKING_TICKS {
                tokio::time::sleep(WAKING_TICK).await;
                if lanes.holds_a_worker() {
                    let _woken = tasks::spawn_on(&data, "wake", async {});
                }
            }
        }
    };
    tokio::select! {
        () = watching => {}
        () = stop.stopped() => {}
    }
}

/// Tells this broker's controller whenever `unclean.leader.election.enable` is another.
async fn follow_unclean(live: Live, controller: ControllerHandle, stop: Stop) {
    let mut changes = live.watch();
    let mut told = None;
    loop {
        let allowed = live.now().controlling.unclean_leader_election;
        if told.replace(allowed) != Some(allowed) {
            controller.set_unclean_election(allowed).await;
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = stop.stopped() => return,
        }
    }
}

/// Tells the controller of every directory that fails and every replica that is found damaged, by a
/// notice in ZooKeeper: it asks this broker then which replicas are gone.
async fn report_losses(
    store: Arc<dyn Store>,
    broker: BrokerId,
    clock: Clock,
    mut losses: watch::Receiver<usize>,
    stop: Stop,
) {
    let path = format!(
        "{}/{}",
        znodes::paths::LOG_DIR_EVENTS,
        znodes::paths::LOG_DIR_EVENT_PREFIX
    );
    let body = notices::encode_log_dir_failure(broker.0);
    loop {
        tokio::select! {
            changed = losses.changed() => if changed.is_err() { return },
            () = stop.stopped() => return,
        }
        // A notice too many harms nobody; one too few leaves clients with a dead leader.
        while let Err(error) = store
            .create(&path, body.as_bytes(), Kind::PersistentSequential)
            .await
        {
            warn!(%error, "the controller could not be told that replicas are offline; trying on");
            tokio::select! {
                () = clock.sleep_ms(REPORT_REST_MS) => {}
                () = stop.stopped() => return,
            }
        }
    }
}
