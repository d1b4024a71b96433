//! What a controller tells brokers, and the trait of whoever carries it there.
//!
//! Plain values: how they are spelled on the wire is the carrier's business. Per broker, orders
//! arrive in the order given, one at a time, and are repeated until answered or the broker is
//! closed.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use protocol::ids::{TopicId, TopicPartition};
use protocol::kafka::errors::ErrorCode;
use tokio::sync::mpsc;
use znodes::bodies::broker::Endpoint;

/// Where a broker is to be reached, and which registration of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub id: i32,
    pub epoch: i64,
    /// Its endpoint on the listener that brokers use among themselves.
    pub endpoint: Endpoint,
}

/// Who leads one partition, told to a replica of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionOrder {
    pub index: i32,
    /// The epoch of the controller that took the decision.
    pub controller_epoch: i32,
    pub leader: i32,
    pub leader_epoch: i32,
    pub isr: Vec<i32>,
    pub partition_epoch: i32,
    pub replicas: Vec<i32>,
    pub adding: Vec<i32>,
    pub removing: Vec<i32>,
    pub is_new: bool,
    pub recovering: bool,
}

/// Partitions of one topic in an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfTopic<T> {
    pub name: Arc<str>,
    /// Zero where the topic has none.
    pub id: TopicId,
    pub partitions: Vec<T>,
}

/// A living broker as replicas must know it: id, host, port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveLeader {
    pub id: i32,
    pub host: String,
    pub port: i32,
}

/// Lead or follow these partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderAndIsr {
    pub controller_id: i32,
    pub controller_epoch: i32,
    pub broker_epoch: i64,
    pub topics: Vec<OfTopic<PartitionOrder>>,
    pub live_leaders: Vec<LiveLeader>,
}

/// What any broker tells clients of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionFacts {
    pub index: i32,
    pub controller_epoch: i32,
    /// −1: none; −2: the partition is being deleted.
    pub leader: i32,
    pub leader_epoch: i32,
    pub isr: Vec<i32>,
    pub partition_epoch: i32,
    pub replicas: Vec<i32>,
    pub offline_replicas: Vec<i32>,
}

/// What any broker tells clients of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerFacts {
    pub id: i32,
    pub endpoints: Vec<Endpoint>,
    pub rack: Option<String>,
}

/// The cluster, or what changed in it. The same for every broker, so it is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateMetadata {
    pub controller_id: i32,
    pub controller_epoch: i32,
    pub topics: Vec<OfTopic<PartitionFacts>>,
    pub brokers: Vec<BrokerFacts>,
}

/// One replica that stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopPartition {
    pub index: i32,
    /// −2: the topic is deleted; −1: unknown. Neither is checked.
    pub leader_epoch: i32,
    pub delete: bool,
}

/// Stop these replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopReplica {
    pub controller_id: i32,
    pub controller_epoch: i32,
    pub broker_epoch: i64,
    pub topics: Vec<OfTopic<StopPartition>>,
}

impl StopReplica {
    /// The answer to this order, of all that the broker said about its partitions.
    ///
    /// Invariant: only what was to be deleted is passed on. A replica that merely stopped must not
    /// count as deleted. Kafka: `AbstractControllerBrokerRequestBatch.sendStopReplicaRequests`.
    pub fn answered(
        &self,
        error: ErrorCode,
        partitions: impl IntoIterator<Item = (TopicPartition, ErrorCode)>,
    ) -> Answer {
        let asked = self.topics.iter().flat_map(|topic| {
            let deletes = topic.partitions.iter().filter(|one| one.delete);
            deletes.map(|one| (&*topic.name, one.index))
        });
        let asked: HashSet<(&str, i32)> = asked.collect();
        let told = partitions.into_iter();
        let deleted = told.filter(|(tp, _)| asked.contains(&(&*tp.topic, tp.partition)));
        Answer::StopReplica {
            error,
            deleted: deleted.collect(),
        }
    }
}

/// One request to one broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    LeaderAndIsr(LeaderAndIsr),
    UpdateMetadata {
        broker_epoch: i64,
        body: Arc<UpdateMetadata>,
    },
    StopReplica(StopReplica),
}

/// What a broker answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    LeaderAndIsr {
        error: ErrorCode,
        partitions: Vec<(TopicPartition, ErrorCode)>,
    },
    UpdateMetadata {
        error: ErrorCode,
    },
    /// Made by [`StopReplica::answered`].
    StopReplica {
        error: ErrorCode,
        /// The replicas that were to be deleted, and what came of it.
        deleted: Vec<(TopicPartition, ErrorCode)>,
    },
}

/// What a broker answered, and under which registration.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) broker: i32,
    pub(crate) epoch: i64,
    pub(crate) answer: Answer,
}

/// Where the answers of one registration of a broker go. A carrier waits where the controller is
/// behind.
#[derive(Clone, Debug)]
pub struct Answers {
    broker: i32,
    epoch: i64,
    to: mpsc::Sender<Answered>,
}

impl Answers {
    pub(crate) fn of(peer: &Peer, to: mpsc::Sender<Answered>) -> Self {
        Answers {
            broker: peer.id,
            epoch: peer.epoch,
            to,
        }
    }

    fn marked(&self, answer: Answer) -> Answered {
        Answered {
            broker: self.broker,
            epoch: self.epoch,
            answer,
        }
    }

    /// Waits for room; whether anybody listens still.
    pub async fn send(&self, answer: Answer) -> bool {
        self.to.send(self.marked(answer)).await.is_ok()
    }

    /// Whether there was room, and somebody who listens.
    pub fn try_send(&self, answer: Answer) -> bool {
        self.to.try_send(self.marked(answer)).is_ok()
    }

    pub fn is_closed(&self) -> bool {
        self.to.is_closed()
    }
}

/// Carries orders to brokers.
pub trait PeerSender: Send + Sync + fmt::Debug {
    /// Begins an empty queue for a broker; what was queued for a former one is dropped.
    fn open(&self, peer: Peer, answers: Answers);

    /// Drops a broker's queue. An order on its way may still arrive.
    fn close(&self, broker: i32);

    /// Queues an order behind those before it; does nothing for a broker that is not open.
    fn send(&self, broker: i32, order: Order);
}
