//! What a broker knows of the cluster at one moment: brokers, topics, ids, leaders, epochs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use protocol::ids::{BrokerId, ControllerEpoch, LeaderEpoch, TopicId, TopicPartition};

/// Immutable; topics are shared between one image and the next.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// The broker that sent the last update, if any did.
    pub controller: Option<BrokerId>,
    pub controller_epoch: ControllerEpoch,
    pub brokers: BTreeMap<BrokerId, Arc<Broker>>,
    pub topics: BTreeMap<Arc<str>, Arc<TopicImage>>,
    pub names_by_id: HashMap<TopicId, Arc<str>>,
}

/// A living broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    pub id: BrokerId,
    pub endpoints: Vec<Endpoint>,
    pub rack: Option<String>,
}

/// Where a broker can be reached, by listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub listener: String,
    pub host: String,
    pub port: i32,
    /// Kafka's number of the security protocol: 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicImage {
    pub name: Arc<str>,
    /// Zero where the topic has none.
    pub id: TopicId,
    pub partitions: BTreeMap<i32, PartitionImage>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionImage {
    /// [`BrokerId::NONE`] while nobody leads.
    pub leader: BrokerId,
    pub leader_epoch: LeaderEpoch,
    pub isr: Vec<BrokerId>,
    pub replicas: Vec<BrokerId>,
    pub offline_replicas: Vec<BrokerId>,
    /// The version of the state znode.
    pub partition_epoch: i32,
    pub controller_epoch: ControllerEpoch,
}

impl Image {
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics.get(name)
    }

    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<TopicImage>> {
        self.topics.get(self.names_by_id.get(&id)?)
    }

    /// All partitions of all topics.
    pub fn partitions(&self) -> impl Iterator<Item = TopicPartition> {
        let topics = self.topics.values();
        topics.flat_map(|topic| {
            let indexes = topic.partitions.keys();
            indexes.map(|index| TopicPartition::new(Arc::clone(&topic.name), *index))
        })
    }

    pub fn partition(&self, topic: &str, partition: i32) -> Option<&PartitionImage> {
        self.topics.get(topic)?.partitions.get(&partition)
    }

    pub fn is_alive(&self, broker: BrokerId) -> bool {
        self.brokers.contains_key(&broker)
    }

    /// Where `broker` listens under `listener`, if it lives and has such a listener.
    pub fn endpoint(&self, broker: BrokerId, listener: &str) -> Option<&Endpoint> {
        self.brokers
            .get(&broker)?
            .endpoints
            .iter()
            .find(|at| at.listener == listener)
    }
}
