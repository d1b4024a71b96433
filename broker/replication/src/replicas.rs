//! The table of partitions that have a replica here. Lookups only; who changes a partition is the
//! partition itself, ordered by `role`.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicI32;

use base::clock::Clock;
use dashmap::DashMap;
use parking_lot::{Mutex, RwLock};
use protocol::ids::{Offset, TopicPartition};
use storage::store::Store;
use tokio::sync::watch;

use crate::config::{ReplicationConfig, TopicConfigs};
use crate::endpoint::{IsrKeeper, Proposal};
use crate::lanes::LaneTable;
use crate::moves::Moves;
use crate::partition::isr::IsrAnswer;
use crate::partition::{Partition, Shared};
use crate::traffic::TrafficTable;
use crate::waiting::Deadlines;

/// All replicas of this broker.
#[derive(Debug)]
pub struct Replicas {
    shared: Arc<Shared>,
    store: Arc<Store>,
    configs: Configs,
    topics: DashMap<Arc<str>, Arc<TopicReplicas>>,
    pub(crate) orders: Mutex<Orders>,
    /// The highest controller epoch that gave an order.
    pub(crate) controller_epoch: AtomicI32,
    pub(crate) moves: Moves,
    pub(crate) failed: watch::Sender<Vec<PathBuf>>,
    pub(crate) losses: watch::Sender<usize>,
}

/// What is kept from one order of the controller to the next; the lock makes orders one by one.
#[derive(Debug)]
pub(crate) struct Orders {
    /// Watermarks as they were at the last stop, for logs that have no partition yet.
    pub(crate) watermarks: HashMap<TopicPartition, Offset>,
    /// Where replicas that are not here yet are to be made (`LogManager.preferredLogDirs`).
    pub(crate) wished: HashMap<TopicPartition, PathBuf>,
}

pub(crate) struct Configs(pub(crate) TopicConfigs);

#[derive(Debug, Default)]
struct TopicReplicas {
    partitions: RwLock<BTreeMap<i32, Slot>>,
}

#[derive(Clone, Debug)]
enum Slot {
    Online(Arc<Partition>),
    Offline,
}

/// What is known here of a partition.
#[derive(Clone, Debug)]
pub enum Hosted {
    Online(Arc<Partition>),
    /// Its directory failed, or its bytes are damaged.
    Offline,
    /// No replica here: another broker has it, or nobody.
    Absent,
}

impl Hosted {
    pub fn online(self) -> Option<Arc<Partition>> {
        match self {
            Hosted::Online(partition) => Some(partition),
            Hosted::Offline | Hosted::Absent => None,
        }
    }
}

impl Replicas {
    /// Over an open store. Partitions appear as the controller orders them; what lies on the disk
    /// without an order is left alone.
    pub fn new(
        config: ReplicationConfig,
        store: Arc<Store>,
        clock: Clock,
        keeper: Arc<dyn IsrKeeper>,
        configs: TopicConfigs,
    ) -> Result<Arc<Self>, storage::error::Error> {
        let watermarks = store.read_watermarks()?;
        let moves = Moves::new(&config.moves, clock.monotonic_ms());
        let shared = Arc::new(Shared {
            lanes: LaneTable::new(clock.clone(), config.workers),
            deadlines: Deadlines::new(clock.clone()),
            traffic: TrafficTable::default(),
            config,
            clock,
            keeper,
        });
        let orders = Orders {
            watermarks,
            wished: HashMap::new(),
        };
        Ok(Arc::new(Replicas {
            shared,
            store,
            configs: Configs(configs),
            topics: DashMap::new(),
            orders: Mutex::new(orders),
            controller_epoch: AtomicI32::new(0),
            moves,
            failed: watch::Sender::new(Vec::new()),
            losses: watch::Sender::new(0),
        }))
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Hot path: one shard lock, one shared lock; no allocation.
    pub fn partition(&self, topic: &str, partition: i32) -> Hosted {
        let Some(topic) = self.topics.get(topic).map(|entry| Arc::clone(&entry)) else {
            return Hosted::Absent;
        };
        let partitions = topic.partitions.read();
        match partitions.get(&partition) {
            Some(Slot::Online(found)) => Hosted::Online(Arc::clone(found)),
            Some(Slot::Offline) => Hosted::Offline,
            None => Hosted::Absent,
        }
    }

    pub fn find(&self, id: &TopicPartition) -> Hosted {
        self.partition(&id.topic, id.partition)
    }

    /// All partitions that are online, in no order.
    pub fn all(&self) -> Vec<Arc<Partition>> {
        let topics: Vec<_> = self
            .topics
            .iter()
            .map(|entry| Arc::clone(entry.value()))
            .collect();
        let mut all = Vec::new();
        for topic in topics {
            all.extend(
                topic
                    .partitions
                    .read()
                    .values()
                    .filter_map(|slot| match slot {
                        Slot::Online(partition) => Some(Arc::clone(partition)),
                        Slot::Offline => None,
                    }),
            );
        }
        all
    }

    /// How many replicas are offline.
    pub fn offline_count(&self) -> usize {
        let topics = self.topics.iter().map(|entry| Arc::clone(entry.value()));
        let topics: Vec<_> = topics.collect();
        let offline = topics.iter().map(|topic| {
            let partitions = topic.partitions.read();
            let offline = |slot: &&Slot| matches!(slot, Slot::Offline);
            partitions.values().filter(offline).count()
        });
        offline.sum()
    }

    /// The online partitions of one topic.
    pub fn of_topic(&self, topic: &str) -> Vec<Arc<Partition>> {
        let Some(topic) = self.topics.get(topic).map(|entry| Arc::clone(&entry)) else {
            return Vec::new();
        };
        let partitions = topic.partitions.read();
        let online = partitions.values().filter_map(|slot| match slot {
            Slot::Online(partition) => Some(Arc::clone(partition)),
            Slot::Offline => None,
        });
        online.collect()
    }

    /// A topic's settings changed: its logs, copies on their way and replicas obey them from now on.
    pub fn set_topic_config(&self, topic: &str, config: &crate::config::TopicConfig) {
        for partition in self.of_topic(topic) {
            // Before and after the log that is served: a copy may be that one by then, or have been begun
            // with what that one obeyed.
            let set_copy = || {
                if let Some(copy) = self.store().future_log(partition.id()) {
                    copy.set_config(Arc::clone(&config.log));
                }
            };
            set_copy();
            partition.log().set_config(Arc::clone(&config.log));
            set_copy();
            partition.set_rules(config.rules).fire();
        }
    }

    /// The controller has answered a proposal ([`IsrKeeper::propose`]).
    pub fn note_isr_answer(&self, proposal: &Proposal, answer: &IsrAnswer) {
        if let Hosted::Online(partition) = self.find(&proposal.partition) {
            partition.note_isr_answer(proposal, answer).fire();
        }
    }

    /// How often something was lost, a directory or a replica alone, for whoever tells the controller.
    pub fn losses(&self) -> watch::Receiver<usize> {
        self.losses.subscribe()
    }

    /// Directories that failed since the start.
    pub fn failed_directories(&self) -> watch::Receiver<Vec<PathBuf>> {
        self.failed.subscribe()
    }

    pub(crate) fn config_of(&self, topic: &str) -> crate::config::TopicConfig {
        self.configs.0(topic)
    }

    pub(crate) fn insert(&self, partition: Arc<Partition>) {
        let id = partition.id().clone();
        self.put(&id, Slot::Online(partition));
    }

    pub(crate) fn set_offline(&self, id: &TopicPartition) {
        self.put(id, Slot::Offline);
    }

    /// Unless it is gone, or another, by now.
    pub(crate) fn replace_by_offline(&self, partition: &Arc<Partition>) -> bool {
        let id = partition.id();
        let Some(topic) = self.topics.get(&id.topic).map(|entry| Arc::clone(&entry)) else {
            return false;
        };
        let mut partitions = topic.partitions.write();
        let slot = partitions.get(&id.partition);
        let is_there = matches!(slot, Some(Slot::Online(one)) if Arc::ptr_eq(one, partition));
        if is_there {
            partitions.insert(id.partition, Slot::Offline);
        }
        is_there
    }

    /// Holds on to the topic meanwhile: whoever removes the last of its others takes it out of the table.
    fn put(&self, id: &TopicPartition, slot: Slot) {
        let topic = self.topics.entry(Arc::clone(&id.topic)).or_default();
        topic.partitions.write().insert(id.partition, slot);
    }

    pub(crate) fn remove(&self, id: &TopicPartition) {
        if let Some(topic) = self.topics.get(&id.topic).map(|entry| Arc::clone(&entry)) {
            topic.partitions.write().remove(&id.partition);
        }
        let gone = self
            .topics
            .remove_if(&id.topic, |_, topic| topic.partitions.read().is_empty());
        if gone.is_some() {
            self.shared.traffic.forget(&id.topic);
        }
    }
}

impl std::fmt::Debug for Configs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Configs")
    }
}
