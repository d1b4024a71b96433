//! Everything that wakes a controller: changed nodes, requests of brokers, answers of peers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use protocol::ids::{TopicId, TopicPartition};
use protocol::kafka::errors::ErrorCode;
use tokio::sync::{Notify, oneshot};
use znodes::bodies::broker::Broker;
use znodes::store::Listener;

use crate::measures::Counts;

/// A node that changed, and must be read again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wake {
    Controller,
    Brokers,
    Broker(i32),
    Topics,
    Topic(Arc<str>),
    DeleteTopics,
    LogDirs,
    IsrChanges,
    /// The state of a partition that moves, where its leader writes that itself.
    Moving(TopicPartition),
    Reassign,
    PreferredElection,
}

/// Changes not looked at yet. A node that changes twice is read once, so this cannot grow beyond
/// the nodes that are watched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wakes(Arc<(Mutex<BTreeSet<Wake>>, Notify)>);

impl Wakes {
    pub(crate) fn listener(&self, wake: Wake) -> Listener {
        let wakes = self.clone();
        Listener::new(move |_event| wakes.add(wake.clone()))
    }

    /// A listener for many nodes at once: tells them apart by path.
    pub(crate) fn listener_by(
        &self,
        wake: impl Fn(&str) -> Option<Wake> + Send + Sync + 'static,
    ) -> Listener {
        let wakes = self.clone();
        Listener::new(move |event| {
            if let Some(wake) = wake(&event.path) {
                wakes.add(wake);
            }
        })
    }

    pub(crate) fn add(&self, wake: Wake) {
        self.0.0.lock().insert(wake);
        self.0.1.notify_one();
    }

    pub(crate) fn take(&self) -> Option<Wake> {
        self.0.0.lock().pop_first()
    }

    /// Forgets what only a controller looks at; for one that resigns. That `/controller` changed
    /// concerns everybody, and its watch is spent.
    pub(crate) fn forget_reign(&self) {
        self.0.0.lock().retain(|wake| *wake == Wake::Controller);
    }

    pub(crate) async fn woken(&self) {
        self.0.1.notified().await;
    }
}

/// A partition named by a leader that proposes a new ISR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrProposal {
    pub partition: i32,
    pub leader_epoch: i32,
    pub isr: Vec<i32>,
    pub recovering: bool,
    pub partition_epoch: i32,
}

/// AlterPartition of one broker: proposals by topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrProposals {
    pub broker: i32,
    pub broker_epoch: i64,
    /// Below version 2 topics come by name and an ineligible member is told by another code.
    pub by_id: bool,
    pub topics: Vec<(TopicKey, Vec<IsrProposal>)>,
}

/// A topic as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicKey {
    Name(Arc<str>),
    Id(TopicId),
}

/// What became of one proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrAnswer {
    pub partition: i32,
    pub outcome: Result<IsrState, ErrorCode>,
}

/// A partition's state after a proposal was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrState {
    pub leader: i32,
    pub leader_epoch: i32,
    pub isr: Vec<i32>,
    pub recovering: bool,
    pub partition_epoch: i32,
}

/// Answers to proposals, in their order.
pub type IsrAnswers = Vec<(TopicKey, Vec<IsrAnswer>)>;

/// Which partitions an election is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionKind {
    Preferred,
    Unclean,
}

/// Per partition: the leader elected, or why none was; `ElectionNotNeeded` where it had been so
/// already.
pub type ElectionOutcomes = BTreeMap<TopicPartition, Result<i32, Verdict>>;

/// Asked-for replicas; `None` cancels.
pub type ReassignmentTargets = Vec<(TopicPartition, Option<Vec<i32>>)>;

/// A refusal with its words, or nothing.
pub type Verdict = (ErrorCode, Option<String>);

/// A reassignment under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ongoing {
    pub replicas: Vec<i32>,
    pub adding: Vec<i32>,
    pub removing: Vec<i32>,
}

type Reply<T> = oneshot::Sender<Result<T, ErrorCode>>;

/// What brokers and operators ask of the controller. Whoever is not controller answers with the
/// code that 3.9 has for it.
#[derive(Debug)]
pub(crate) enum Request {
    AlterPartition(IsrProposals, Reply<IsrAnswers>),
    ControlledShutdown {
        broker: i32,
        broker_epoch: i64,
        reply: Reply<Vec<TopicPartition>>,
    },
    Elect {
        kind: ElectionKind,
        partitions: Option<Vec<TopicPartition>>,
        reply: Reply<ElectionOutcomes>,
    },
    Reassign(ReassignmentTargets, Reply<Vec<(TopicPartition, Verdict)>>),
    ListReassignments(
        Option<Vec<TopicPartition>>,
        Reply<BTreeMap<TopicPartition, Ongoing>>,
    ),
    ProducerIds {
        broker: i32,
        broker_epoch: i64,
        reply: Reply<i64>,
    },
    Count(Reply<Counts>),
    /// The broker's registration says something else from now on.
    Register(Box<Broker>),
    /// A topic's `unclean.leader.election.enable` was turned on.
    UncleanEnabled(Arc<str>),
    /// What `unclean.leader.election.enable` is where a topic does not say.
    UncleanDefault(bool),
}
