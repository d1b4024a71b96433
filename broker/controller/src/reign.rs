//! One controllership, from election to resignation: what it knows, and its hands.
//!
//! Dropped as a whole when it ends. Every verb that fails with [`Fenced`] ends it: a newer
//! controller exists, or ZooKeeper's session is over.

use std::sync::Arc;

use base::clock::Clock;
use protocol::ids::{TopicId, TopicPartition};
use tokio::sync::mpsc;
use tracing::warn;
use znodes::bodies::config::Overrides;
use znodes::fence::{Fence, Fenced};
use znodes::store::{Error, Listener, Store};

use crate::agreed::Agreed;
use crate::context::{Context, Leadership};
use crate::event::Wakes;
use crate::measures::Measures;
use crate::outbox::Outbox;
use crate::sender::{Answered, Answers, Peer, PeerSender};

/// What a controller is told about its broker and how to behave.
#[derive(Clone, Debug)]
pub struct Config {
    pub broker: i32,
    /// The listener that brokers use among themselves (or for control, where there is one).
    pub listener: String,
    /// The listener on which followers reach their leaders, also where control has its own.
    pub leader_listener: String,
    /// `inter.broker.protocol.version`.
    pub agreed: Agreed,
    /// `delete.topic.enable`.
    pub delete_topics: bool,
    /// `unclean.leader.election.enable` of the broker; topics may override it.
    pub unclean_election: bool,
    /// `auto.leader.rebalance.enable`.
    pub rebalance: bool,
    /// `leader.imbalance.check.interval.seconds`, in milliseconds.
    pub rebalance_interval_ms: i64,
    /// `leader.imbalance.per.broker.percentage`.
    pub imbalance_percent: i32,
}

/// What became of new leaderships.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// With their new version.
    pub(crate) written: Vec<(TopicPartition, Leadership)>,
    /// Somebody else had changed these.
    pub(crate) conflicts: Vec<TopicPartition>,
    /// ZooKeeper does not take these, whatever is read again.
    pub(crate) refused: Vec<TopicPartition>,
}

impl Config {
    /// Kafka's defaults.
    pub fn new(broker: i32, listener: impl Into<String>) -> Self {
        let listener = listener.into();
        Config {
            broker,
            leader_listener: listener.clone(),
            listener,
            agreed: Agreed::at("3.9"),
            delete_topics: true,
            unclean_election: false,
            rebalance: true,
            rebalance_interval_ms: 300_000,
            imbalance_percent: 10,
        }
    }
}

/// Looks up a topic's id by its name and its partitions.
pub type RememberedId = Arc<dyn Fn(&str, &[i32]) -> Option<TopicId> + Send + Sync>;

/// The controllership itself.
pub(crate) struct Reign {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sender: Arc<dyn PeerSender>,
    pub(crate) clock: Clock,
    pub(crate) wakes: Wakes,
    pub(crate) remembered_id: RememberedId,
    pub(crate) answers: mpsc::Sender<Answered>,
    pub(crate) epoch: i32,
    pub(crate) fence: Fence,
    pub(crate) context: Context,
    pub(crate) outbox: Outbox,
    pub(crate) measures: Arc<Measures>,
}

impl Reign {
    /// Sends what was gathered.
    pub(crate) fn flush(&mut self) {
        self.outbox.flush(
            &self.context,
            &*self.sender,
            self.config.broker,
            self.epoch,
            &self.config.leader_listener,
        );
    }

    pub(crate) fn open_peer(&self, broker: i32) {
        let Some(registered) = self.context.brokers.get(&broker) else {
            return;
        };
        let Some(endpoint) = registered.body.endpoint(&self.config.listener) else {
            warn!(
                broker,
                listener = self.config.listener,
                "broker has no endpoint on the inter-broker listener; it gets no orders"
            );
            return;
        };
        let peer = Peer {
            id: broker,
            epoch: registered.epoch,
            endpoint: endpoint.clone(),
        };
        let answers = Answers::of(&peer, self.answers.clone());
        self.sender.open(peer, answers);
    }

    /// Writes new leaderships, each over the version it was decided on (`partition_epoch`).
    pub(crate) async fn write_states(
        &self,
        wanted: Vec<(TopicPartition, Leadership)>,
    ) -> Result<Outcome, Fenced> {
        let mut written = Vec::with_capacity(wanted.len());
        let (mut conflicts, mut refused) = (Vec::new(), Vec::new());
        let mut remaining = wanted;
        while !remaining.is_empty() {
            // Where one is refused, others may be: each by itself then, or each would cost a round.
            let alone = !refused.is_empty();
            let groups = remaining.iter().map(|(tp, leadership)| {
                let path = znodes::paths::partition_state(&tp.topic, tp.partition);
                vec![znodes::store::Op::set(
                    path,
                    leadership.body(),
                    leadership.partition_epoch,
                )]
            });
            let batches = match alone {
                false => znodes::fence::pack(groups),
                true => groups.collect(),
            };
            let lengths: Vec<usize> = batches.iter().map(Vec::len).collect();
            let outcomes = self.fence.write_all(&*self.store, batches).await?;
            let mut rest = remaining.into_iter();
            let mut again = Vec::new();
            for (length, outcome) in lengths.into_iter().zip(outcomes) {
                let mut batch: Vec<(TopicPartition, Leadership)> =
                    rest.by_ref().take(length).collect();
                match outcome {
                    Ok(_) => written.extend(batch.into_iter().map(|(tp, mut leadership)| {
                        leadership.partition_epoch = leadership.partition_epoch.wrapping_add(1);
                        (tp, leadership)
                    })),
                    Err(error) if error.is_bad_version() || error.is_no_node() => {
                        let index = error.step().unwrap_or(0).min(batch.len().saturating_sub(1));
                        if !batch.is_empty() {
                            conflicts.push(batch.remove(index).0);
                        }
                        again.extend(batch);
                    }
                    // Kafka: `finishedUpdates` has the exception of this partition alone.
                    Err(znodes::store::Error::Step { index, cause }) if index < batch.len() => {
                        let (tp, _) = batch.remove(index);
                        warn!(partition = %tp, error = %cause, "ZooKeeper refuses a partition's state");
                        refused.push(tp);
                        again.extend(batch);
                    }
                    Err(znodes::store::Error::Unknown { .. }) => {
                        let (done, undone, lost) = self.look_after(batch).await?;
                        written.extend(done);
                        again.extend(undone);
                        conflicts.extend(lost);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            remaining = again;
        }
        Ok(Outcome {
            written,
            conflicts,
            refused,
        })
    }

    /// After a write whose outcome is unknown: which are done, which not, which are somebody else's.
    async fn look_after(
        &self,
        batch: Vec<(TopicPartition, Leadership)>,
    ) -> Result<
        (
            Vec<(TopicPartition, Leadership)>,
            Vec<(TopicPartition, Leadership)>,
            Vec<TopicPartition>,
        ),
        Fenced,
    > {
        let paths = batch
            .iter()
            .map(|(tp, _)| znodes::paths::partition_state(&tp.topic, tp.partition))
            .collect();
        let nodes = self.store.get_many(paths, None).await?;
        let (mut done, mut undone, mut lost) = (vec![], vec![], vec![]);
        for ((tp, mut leadership), node) in batch.into_iter().zip(nodes) {
            match node {
                Some(node) if node.stat.version == leadership.partition_epoch => {
                    undone.push((tp, leadership));
                }
                Some(node)
                    if node.stat.version == leadership.partition_epoch.wrapping_add(1)
                        && node.data == leadership.body() =>
                {
                    leadership.partition_epoch = leadership.partition_epoch.wrapping_add(1);
                    done.push((tp, leadership));
                }
                _ => lost.push(tp),
            }
        }
        Ok((done, undone, lost))
    }

    /// Reads state nodes anew into the context. Returns those without one.
    pub(crate) async fn read_states(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<TopicPartition>, Fenced> {
        self.read_states_watching(partitions, None).await
    }

    /// The same; `listener` is told of the next change of each.
    pub(crate) async fn read_states_watching(
        &mut self,
        partitions: &[TopicPartition],
        listener: Option<Listener>,
    ) -> Result<Vec<TopicPartition>, Fenced> {
        let paths = partitions
            .iter()
            .map(|tp| znodes::paths::partition_state(&tp.topic, tp.partition))
            .collect();
        let nodes = self.store.get_many(paths, listener).await?;
        let mut missing = Vec::new();
        for (tp, node) in partitions.iter().zip(nodes) {
            let read =
                node.and_then(|node| {
                    match znodes::bodies::partition::PartitionState::decode(&node.data) {
                        Ok(state) => Some(Leadership::read(state, node.stat.version)),
                        Err(error) => {
                            warn!(partition = %tp, %error, "partition state node cannot be read");
                            None
                        }
                    }
                });
            let found = read.is_some();
            if let Some(partition) = self.context.partition_mut(tp) {
                partition.leadership = read;
            }
            if !found {
                missing.push(tp.clone());
            }
        }
        Ok(missing)
    }

    /// Whether topics allow unclean elections, read at the moment of the election.
    pub(crate) async fn unclean_allowed(
        &self,
        topics: &[Arc<str>],
    ) -> Result<std::collections::HashMap<Arc<str>, bool>, Fenced> {
        let paths = topics
            .iter()
            .map(|topic| znodes::paths::topic_config(topic))
            .collect();
        let nodes = match self.store.get_many(paths, None).await {
            Err(Error::NoAuth { .. }) => return self.unclean_allowed_one_by_one(topics).await,
            nodes => nodes?,
        };
        Ok(topics
            .iter()
            .cloned()
            .zip(nodes.into_iter().map(|node| self.is_unclean_allowed(node)))
            .collect())
    }

    /// Where one of the nodes may not be read, which fails the reading of all: it allows nothing.
    async fn unclean_allowed_one_by_one(
        &self,
        topics: &[Arc<str>],
    ) -> Result<std::collections::HashMap<Arc<str>, bool>, Fenced> {
        let mut found = std::collections::HashMap::with_capacity(topics.len());
        for topic in topics {
            let path = znodes::paths::topic_config(topic);
            let allowed = match self.store.get(&path, None).await {
                Err(error @ Error::NoAuth { .. }) => {
                    warn!(%topic, %error, "the topic's config cannot be read; no unclean election");
                    false
                }
                node => self.is_unclean_allowed(node?),
            };
            found.insert(topic.clone(), allowed);
        }
        Ok(found)
    }

    fn is_unclean_allowed(&self, config: Option<znodes::store::Node>) -> bool {
        let overrides = config.and_then(|node| Overrides::decode(&node.data).ok());
        match overrides
            .as_ref()
            .and_then(|all| all.get("unclean.leader.election.enable"))
        {
            Some(value) => value.eq_ignore_ascii_case("true"),
            None => self.config.unclean_election,
        }
    }
}
