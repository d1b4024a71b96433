//! One replica here: its role, its log, its lock. The verbs lie in the modules beside this one:
//!
//! ```text
//! orders      of the controller: lead, follow, leave
//! append      as leader          read    by consumers and followers
//! progress    watermark and ISR  lookup  by time, by epoch; deletion
//! relocation  to another directory
//! view        for whoever describes and measures
//! ```
//!
//! Owner of all that changes is the `state` lock. Appending and reading hold it shared, so that a
//! leadership cannot end under an append; orders of the controller hold it alone. Within it the
//! followers' progress has a small lock of its own, under which the log is never called. Nobody is
//! woken under either: verbs that move an offset return [`Wakes`]. What whoever waits must know is
//! kept beside them in atomics, so that no waiting request ever waits for a disk as well.

pub mod leader;
pub mod isr;
pub mod view;
pub mod orders;
pub mod progress;
pub mod append;
pub mod read;
pub mod lookup;
pub mod relocation;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use base::clock::Clock;
use parking_lot::{Mutex, RwLock};
use protocol::ids::{BrokerId, ControllerEpoch, LeaderEpoch, Offset, TopicId, TopicPartition};
use storage::log::Log;
use storage::offsets::Offsets;

use crate::config::{ReplicationConfig, TopicRules};
use crate::endpoint::IsrKeeper;
use crate::error::Refusal;
use crate::lanes::{Lane, LaneTable};
pub use crate::partition::append::{AppendFailure, By, Done, Patience};
use crate::partition::isr::Isr;
use crate::partition::leader::Followers;
pub use crate::partition::orders::{Assignment, PartitionOrder, RoleChange};
pub use crate::partition::read::{Found, PartitionRead, Reader};
pub use crate::partition::view::{Measures, PartitionView, RemoteCopy};
use crate::traffic::{TopicTraffic, TrafficTable};
use crate::waiting::{Deadlines, Queue, Wakes};

/// Where a copy begins that is not there.
const NO_FUTURE: i64 = i64::MAX;

/// What all partitions of a broker share.
#[derive(Debug)]
pub struct Shared {
    pub config: ReplicationConfig,
    pub clock: Clock,
    pub keeper: Arc<dyn IsrKeeper>,
    pub lanes: LaneTable,
    pub deadlines: Deadlines,
    pub traffic: TrafficTable,
}

/// One partition of which this broker has a replica.
#[derive(Debug)]
pub struct Partition {
    id: TopicPartition,
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    traffic: Arc<TopicTraffic>,
    state: RwLock<State>,
    /// The threads of the directory the log lies in. Outside the lock: whoever wants to know where
    /// to run must not wait for the disk. It changes only where a replica has moved.
    lane: RwLock<Arc<Lane>>,
    topic_id: Mutex<TopicId>,
    /// Outside the lock too: what a topic sets changes for all its partitions, whatever their disks do.
    rules: RwLock<TopicRules>,
    marks: Marks,
    /// Set once: the replica was deleted, or its directory failed, perhaps under a call that holds
    /// `state` and never comes back.
    gone: OnceLock<Refusal>,
    /// Appends that wait in the directory's lane; while there are any, later ones follow them.
    pub(crate) queued: AtomicUsize,
    /// A flush is queued that will see everything appended so far.
    pub(crate) flush_queued: AtomicBool,
}

/// Where the partition stood after its last move. As leader none of them falls.
#[derive(Debug)]
struct Marks {
    /// How often anything moved; whoever saw the same number twice has missed nothing between.
    moves: AtomicU64,
    start: AtomicI64,
    /// Of the copy in another directory, whose disk may hang while this one's does not;
    /// [`NO_FUTURE`] without one.
    future_start: AtomicI64,
    end: AtomicI64,
    flushed: AtomicI64,
    watermark: AtomicI64,
}

#[derive(Debug)]
struct State {
    log: Arc<Log>,
    /// The copy in another directory that is to take its place.
    future: Option<Arc<Log>>,
    leader: Option<BrokerId>,
    leader_epoch: LeaderEpoch,
    partition_epoch: i32,
    controller_epoch: ControllerEpoch,
    assignment: Assignment,
    role: Role,
    term: Term,
}

/// One leadership of this broker, however many leader epochs it goes through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Term(u64);

#[derive(Debug)]
enum Role {
    /// The log is here and the controller has not said what to do with it.
    Idle,
    Leader(Leadership),
    Follower,
}

#[derive(Debug)]
struct Leadership {
    /// Where the log ended when this leader epoch began.
    epoch_start: Offset,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    followers: Followers,
    isr: Isr,
    /// The highest watermark that was allowed. The log's own follows it at once, but not under this
    /// lock; who may join the ISR is judged by this one, so that nobody joins beneath a watermark
    /// that is about to rise.
    watermark: Offset,
}

impl Partition {
    /// A replica with its log and no role yet.
    pub(crate) fn new(
        id: TopicPartition,
        shared: Arc<Shared>,
        log: Arc<Log>,
        rules: TopicRules,
    ) -> Self {
        let lane = shared.lanes.lane(&log.directory());
        let traffic = shared.traffic.of(&id.topic);
        Partition {
            id,
            shared,
            queue: Arc::new(Queue::default()),
            traffic,
            lane: RwLock::new(lane),
            topic_id: Mutex::new(log.topic_id().unwrap_or(TopicId::ZERO)),
            rules: RwLock::new(rules),
            marks: Marks::new(),
            gone: OnceLock::new(),
            state: RwLock::new(State {
                log,
                future: None,
                leader: None,
                leader_epoch: LeaderEpoch::NONE,
                partition_epoch: -1,
                controller_epoch: ControllerEpoch(0),
                assignment: Assignment::default(),
                role: Role::Idle,
                term: Term::default(),
            }),
            queued: AtomicUsize::new(0),
            flush_queued: AtomicBool::new(false),
        }
    }

    pub fn id(&self) -> &TopicPartition {
        &self.id
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// What passes through its topic.
    pub fn traffic(&self) -> &TopicTraffic {
        &self.traffic
    }

    /// Where requests that wait for this partition sit.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    pub fn log(&self) -> Arc<Log> {
        Arc::clone(&self.state.read_recursive().log)
    }

    /// Zero where the topic has none.
    pub fn topic_id(&self) -> TopicId {
        *self.topic_id.lock()
    }

    /// The topic's id became known.
    pub(crate) fn assign_topic_id(&self, id: TopicId) -> Result<(), Refusal> {
        self.log().assign_topic_id(id)?;
        *self.topic_id.lock() = id;
        Ok(())
    }

    /// The threads of the directory its log lies in.
    pub fn lane(&self) -> Arc<Lane> {
        Arc::clone(&self.lane.read())
    }

    /// As [`Partition::lane`], for an append that will wait there: it is counted, and the replica
    /// does not move before it is done.
    pub(crate) fn lane_to_queue(&self) -> Arc<Lane> {
        let lane = self.lane.read();
        self.queued.fetch_add(1, Ordering::AcqRel);
        Arc::clone(&lane)
    }

    pub fn rules(&self) -> TopicRules {
        *self.rules.read()
    }

    /// The topic's settings changed. Waits for no disk.
    pub fn set_rules(&self, rules: TopicRules) -> Wakes {
        *self.rules.write() = rules;
        self.advance_soon()
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.state.read_recursive().leader_epoch
    }

    /// The leadership that is, or was last.
    pub fn term(&self) -> Term {
        self.state.read_recursive().term
    }

    /// Who leads, as the controller's last order said, and in which epoch.
    pub fn leader(&self) -> (Option<BrokerId>, LeaderEpoch) {
        let state = self.state.read_recursive();
        (state.leader, state.leader_epoch)
    }

    pub fn is_leader(&self) -> bool {
        self.leadership(&self.state.read_recursive()).is_ok()
    }

    /// Why there is no replica here any more.
    pub(crate) fn gone(&self) -> Option<&Refusal> {
        self.gone.get()
    }

    /// Whether a reader who saw this count of moves might see something else now.
    pub(crate) fn has_moved(&self, seen: u64) -> bool {
        self.marks.moves.load(Ordering::Acquire) != seen
    }

    fn min_isr(&self, state: &State) -> usize {
        let replicas = state.assignment.replicas.len();
        self.rules().min_insync_replicas.min(replicas)
    }

    fn leadership<'a>(&self, state: &'a State) -> Result<&'a Leadership, Refusal> {
        match (self.gone.get(), &state.role) {
            (Some(why), _) => Err(why.clone()),
            (None, Role::Leader(led)) => Ok(led),
            (None, Role::Idle | Role::Follower) => Err(Refusal::NotLeader),
        }
    }

    /// Kafka: `Partition.getLocalLog`: epochs first, then leadership.
    fn check_epoch(
        &self,
        state: &State,
        theirs: Option<LeaderEpoch>,
        leader_only: bool,
    ) -> Result<(), Refusal> {
        if let Some(why) = self.gone.get() {
            return Err(why.clone());
        }
        match theirs {
            Some(theirs) if theirs < state.leader_epoch => Err(Refusal::FencedLeaderEpoch),
            Some(theirs) if theirs > state.leader_epoch => Err(Refusal::UnknownLeaderEpoch),
            _ if leader_only => self.leadership(state).map(|_| ()),
            _ => Ok(()),
        }
    }
}

impl Marks {
    fn new() -> Self {
        Marks {
            moves: AtomicU64::new(0),
            start: AtomicI64::new(0),
            future_start: AtomicI64::new(NO_FUTURE),
            end: AtomicI64::new(0),
            flushed: AtomicI64::new(0),
            watermark: AtomicI64::new(0),
        }
    }

    fn note(&self, offsets: &Offsets, watermark: Offset) {
        // Two appends may end in one order and come here in the other.
        self.start.fetch_max(offsets.start.0, Ordering::AcqRel);
        self.end.fetch_max(offsets.end.0, Ordering::AcqRel);
        self.flushed.fetch_max(offsets.recovery.0, Ordering::AcqRel);
        self.watermark.fetch_max(watermark.0, Ordering::AcqRel);
        self.moves.fetch_add(1, Ordering::AcqRel);
    }

    fn reset(&self, offsets: &Offsets) {
        self.start.store(offsets.start.0, Ordering::Release);
        self.end.store(offsets.end.0, Ordering::Release);
        self.flushed.store(offsets.recovery.0, Ordering::Release);
        self.watermark.store(offsets.watermark.0, Ordering::Release);
        self.moves.fetch_add(1, Ordering::AcqRel);
    }
}
