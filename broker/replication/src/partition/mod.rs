//! One replica here: its role, its log, its lock; verbs in the order a partition lives them.
//!
//! Owner of all that changes is the `state` lock. Appending and reading hold it shared, so that a
//! leadership cannot end under an append; orders of the controller hold it alone. Within it the
//! followers' progress has a small lock of its own, under which the log is never called. Nobody is
//! woken under either: verbs that move an offset return [`Wakes`]. What whoever waits must know is
//! kept beside them in atomics, so that no waiting request ever waits for a disk as well.
//!
//! Hot path (append, read): one shared lock, the log's own, one uncontended lock for the
//! watermark; no allocation of ours.

pub mod leader;
pub mod isr;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use base::clock::Clock;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use protocol::ids::{BrokerId, ControllerEpoch, LeaderEpoch, Offset, TopicId, TopicPartition};
use storage::log::VerificationGuard;
use storage::log::{
    Appended, FoundOffset, Log, LogMeasures, Moment, Origin, ReadPlan, ReadRequest, Upto,
};
use storage::offsets::Offsets;
use tracing::{debug, info};

use crate::config::{ReplicationConfig, TopicRules};
use crate::endpoint::{IsrKeeper, Proposal};
use crate::error::Refusal;
use crate::lanes::{Lane, LaneTable};
use crate::partition::isr::{AfterAnswer, Isr, IsrAnswer};
use crate::partition::leader::Followers;
use crate::traffic::{Passed, TopicTraffic, TrafficTable};
use crate::waiting::{Deadlines, Moved, Queue, Wakes};

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
    /// to run must not wait for the disk.
    lane: Arc<Lane>,
    topic_id: Mutex<TopicId>,
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
#[derive(Debug, Default)]
struct Marks {
    /// How often anything moved; whoever saw the same number twice has missed nothing between.
    moves: AtomicU64,
    end: AtomicI64,
    flushed: AtomicI64,
    watermark: AtomicI64,
}

#[derive(Debug)]
struct State {
    log: Arc<Log>,
    rules: TopicRules,
    leader: Option<BrokerId>,
    leader_epoch: LeaderEpoch,
    partition_epoch: i32,
    controller_epoch: ControllerEpoch,
    assignment: Assignment,
    role: Role,
}

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

/// Who should have a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    pub replicas: Vec<BrokerId>,
    pub adding: Vec<BrokerId>,
    pub removing: Vec<BrokerId>,
}

/// A controller's order for one partition (LeaderAndIsr).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionOrder {
    pub partition: TopicPartition,
    /// Zero where the topic has none.
    pub topic_id: TopicId,
    pub controller_epoch: ControllerEpoch,
    /// [`BrokerId::NONE`] while nobody leads.
    pub leader: BrokerId,
    pub leader_epoch: LeaderEpoch,
    pub isr: Vec<BrokerId>,
    pub partition_epoch: i32,
    pub assignment: Assignment,
    /// The replica is to be made; otherwise it must have been here before.
    pub is_new: bool,
}

/// A partition at one moment, for whoever describes it.
#[derive(Clone, Debug)]
pub struct PartitionView {
    pub is_leader: bool,
    pub leader: Option<BrokerId>,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
    /// As this leader knows it; empty elsewhere.
    pub isr: Vec<BrokerId>,
    pub replicas: Vec<BrokerId>,
    pub offsets: Offsets,
}

/// A partition in numbers.
#[derive(Clone, Copy, Debug)]
pub struct Measures {
    /// How many are in sync, as this leader knows; `None` where this broker does not lead.
    pub in_sync: Option<usize>,
    pub replicas: usize,
    pub reassigning: bool,
    pub min_in_sync: usize,
    pub log: LogMeasures,
}

/// How long a measurement waits for an order that is being obeyed.
const MEASURE_WAIT: std::time::Duration = std::time::Duration::from_millis(20);

/// Who reads, which decides how far and from whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Bounded by the watermark or the stable offset. `leader_only` for clients that do not know
    /// of reading from followers (Fetch before version 11).
    Consumer {
        committed_only: bool,
        leader_only: bool,
    },
    /// Another replica: reads to the end, and its offset is its progress.
    Follower { id: BrokerId, log_start: Offset },
    /// This broker's own loops, to the end.
    Local,
}

/// A read of one partition.
#[derive(Clone, Copy, Debug)]
pub struct PartitionRead {
    pub from: Offset,
    pub bytes_max: usize,
    pub min_one: bool,
    pub current_leader_epoch: Option<LeaderEpoch>,
    pub last_fetched_epoch: Option<LeaderEpoch>,
    pub reader: Reader,
    /// A follower's progress is counted once a request, not each time a parked one looks again.
    pub counts: bool,
}

/// What a read found.
#[derive(Debug)]
pub struct Found {
    /// As they were before the read.
    pub offsets: Offsets,
    /// The count of moves before the read; see [`Partition::has_moved`].
    pub moves: u64,
    /// Where two logs part: the follower should truncate there, nothing was read.
    pub diverging: Option<(LeaderEpoch, Offset)>,
    pub plan: Option<ReadPlan>,
}

/// Why an append was not done, and where the log starts, which the answer tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendFailure {
    pub refusal: Refusal,
    pub log_start: Offset,
}

/// An append that was done.
#[derive(Debug)]
pub struct Done {
    pub appended: Appended,
    /// Nothing may be acknowledged before the log is flushed to here.
    pub flush_to: Option<Offset>,
    /// A flush should be started, waited for or not.
    pub flush_due: bool,
    pub wakes: Wakes,
}

/// A change of role, for whoever must hear of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleChange {
    /// Leads now and did not before.
    BecameLeader,
    /// Led before, in an older epoch, and goes on leading.
    StaysLeader,
    BecameFollower,
    /// The order was older than what is known: nothing was done.
    Nothing,
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
            lane,
            topic_id: Mutex::new(log.topic_id().unwrap_or(TopicId::ZERO)),
            marks: Marks::default(),
            gone: OnceLock::new(),
            state: RwLock::new(State {
                log,
                rules,
                leader: None,
                leader_epoch: LeaderEpoch::NONE,
                partition_epoch: -1,
                controller_epoch: ControllerEpoch(0),
                assignment: Assignment::default(),
                role: Role::Idle,
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
        Arc::clone(&self.lane)
    }

    pub fn rules(&self) -> TopicRules {
        self.state.read_recursive().rules
    }

    /// The topic's settings changed.
    pub fn set_rules(&self, rules: TopicRules) -> Wakes {
        self.state.write().rules = rules;
        self.advance()
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.state.read_recursive().leader_epoch
    }

    /// Who leads, as the controller's last order said, and in which epoch.
    pub fn leader(&self) -> (Option<BrokerId>, LeaderEpoch) {
        let state = self.state.read_recursive();
        (state.leader, state.leader_epoch)
    }

    pub fn is_leader(&self) -> bool {
        self.leadership(&self.state.read_recursive()).is_ok()
    }

    /// Asks the log too, and so may wait for its disk.
    pub fn view(&self) -> PartitionView {
        let state = self.state.read();
        let isr = match &state.role {
            Role::Leader(led) => led.progress.lock().isr.committed().to_vec(),
            Role::Idle | Role::Follower => Vec::new(),
        };
        PartitionView {
            is_leader: matches!(state.role, Role::Leader(_)),
            leader: state.leader,
            leader_epoch: state.leader_epoch,
            partition_epoch: state.partition_epoch,
            isr,
            replicas: state.assignment.replicas.clone(),
            offsets: state.log.offsets(),
        }
    }

    /// The partition in numbers, for whoever measures. `None` while its directory is slow or an
    /// order of the controller is being obeyed: a measurement waits for nobody.
    pub fn measures(&self) -> Option<Measures> {
        if self.shared.lanes.is_slow(&self.lane()) {
            return None;
        }
        let state = self.state.try_read_for(MEASURE_WAIT)?;
        let in_sync = match &state.role {
            Role::Leader(led) => Some(led.progress.lock().isr.committed().len()),
            Role::Idle | Role::Follower => None,
        };
        Some(Measures {
            in_sync,
            replicas: state.assignment.replicas.len(),
            reassigning: !(state.assignment.adding.is_empty()
                && state.assignment.removing.is_empty()),
            min_in_sync: state.min_isr(),
            log: state.log.measures(),
        })
    }

    /// The controller orders this broker to lead. The caller has compared leader epochs.
    pub(crate) fn become_leader(
        &self,
        order: &PartitionOrder,
    ) -> Result<(RoleChange, Wakes), Refusal> {
        let me = self.shared.config.me;
        let now_ms = self.shared.clock.monotonic_ms();
        let mut guard = self.state.write();
        let state = &mut *guard;
        // Kafka: an equal partition epoch is new, since an answer to a proposal may have told it
        // before this order came (Partition.makeLeader, 3.9).
        if order.partition_epoch < state.partition_epoch {
            return Ok((RoleChange::Nothing, Wakes::none()));
        }
        let was_leader = matches!(state.role, Role::Leader(_));
        let is_new_epoch = order.leader_epoch > state.leader_epoch;
        let Offsets { end, watermark, .. } = state.log.offsets();
        let (mut followers, epoch_start) = match std::mem::replace(&mut state.role, Role::Idle) {
            Role::Leader(led) => (led.progress.into_inner().followers, led.epoch_start),
            Role::Idle | Role::Follower => (Followers::default(), end),
        };
        followers.assign(
            order
                .assignment
                .replicas
                .iter()
                .copied()
                .filter(|id| *id != me),
        );
        let epoch_start = if is_new_epoch { end } else { epoch_start };
        if is_new_epoch {
            // An epoch that begins where another did before it must still be in the log's epochs:
            // followers that were led in between ask for it (Partition.makeLeader, 3.9).
            state.log.assign_epoch(order.leader_epoch, end)?;
            followers.begin_epoch(end, &order.isr, was_leader, now_ms);
        }
        state.note_order(order);
        state.leader = Some(me);
        state.role = Role::Leader(Leadership {
            epoch_start,
            progress: Mutex::new(Progress {
                followers,
                isr: Isr::new(order.isr.clone()),
                watermark,
            }),
        });
        info!(
            target: "state_change", topic = %self.id.topic, partition = self.id.partition,
            leader_epoch = order.leader_epoch.0, partition_epoch = order.partition_epoch,
            isr = ?order.isr, end = end.0, "became leader"
        );
        self.marks.reset(&state.log.offsets());
        drop(guard);
        let change = if was_leader {
            RoleChange::StaysLeader
        } else {
            RoleChange::BecameLeader
        };
        Ok((change, self.advance()))
    }

    /// The controller orders this broker to follow a leader that is alive.
    pub(crate) fn become_follower(&self, order: &PartitionOrder) -> (RoleChange, Wakes) {
        let mut state = self.state.write();
        if order.partition_epoch < state.partition_epoch {
            return (RoleChange::Nothing, Wakes::none());
        }
        state.note_order(order);
        state.leader = Some(order.leader);
        state.role = Role::Follower;
        drop(state);
        info!(
            target: "state_change", topic = %self.id.topic, partition = self.id.partition,
            leader_epoch = order.leader_epoch.0, leader = order.leader.0, "became follower"
        );
        self.marks.moves.fetch_add(1, Ordering::AcqRel);
        let mut wakes = Wakes::none();
        self.queue.all(&mut wakes);
        (RoleChange::BecameFollower, wakes)
    }

    /// The replica serves no more: deleted, or its directory failed.
    pub(crate) fn leave(&self, why: Refusal) -> Wakes {
        let _before = self.gone.set(why);
        self.marks.moves.fetch_add(1, Ordering::AcqRel);
        let mut wakes = Wakes::none();
        self.queue.all(&mut wakes);
        wakes
    }

    /// Whether a reader who saw this count of moves might see something else now.
    pub(crate) fn has_moved(&self, seen: u64) -> bool {
        self.marks.moves.load(Ordering::Acquire) != seen
    }

    /// Appends as leader. With `acks_all` too small an ISR refuses before anything is written.
    pub fn append(
        &self,
        records: &Bytes,
        origin: Origin,
        acks_all: bool,
        guard: Option<&VerificationGuard>,
    ) -> Result<Done, AppendFailure> {
        self.traffic.add(Passed::ProduceRequests, 1);
        let appended = self.append_counted(records, origin, acks_all, guard);
        match &appended {
            Ok(done) if !done.appended.duplicate => {
                let Appended {
                    first_offset,
                    last_offset,
                    ..
                } = done.appended;
                let messages = last_offset
                    .0
                    .saturating_sub(first_offset.0)
                    .saturating_add(1);
                self.traffic
                    .add(Passed::MessagesIn, messages.max(0).cast_unsigned());
                self.traffic.add(Passed::BytesIn, records.len() as u64);
            }
            Ok(_) => {}
            Err(failure) if failure.refusal.is_too_large() => {
                self.traffic
                    .add(Passed::BytesRejected, records.len() as u64);
            }
            Err(failure) if failure.refusal.is_expected() => {}
            Err(_) => self.traffic.add(Passed::FailedProduces, 1),
        }
        appended
    }

    fn append_counted(
        &self,
        records: &Bytes,
        origin: Origin,
        acks_all: bool,
        guard: Option<&VerificationGuard>,
    ) -> Result<Done, AppendFailure> {
        let state = self.state.read();
        let unknown_start = |refusal| AppendFailure {
            refusal,
            log_start: Offset::NONE,
        };
        let led = self.leadership(&state).map_err(unknown_start)?;
        if acks_all {
            let in_sync = led.progress.lock().isr.committed().len();
            if in_sync < state.min_isr() {
                return Err(AppendFailure {
                    refusal: Refusal::NotEnoughReplicas,
                    log_start: state.log.offsets().start,
                });
            }
        }
        let appended = state
            .log
            .append_as_leader(records, state.leader_epoch, origin, guard)
            .map_err(|error| AppendFailure {
                refusal: error.into(),
                log_start: state.log.offsets().start,
            })?;
        let durable = appended.flush_due && state.log.config().is_durable();
        let wakes = self.advance_led(&state, led);
        Ok(Done {
            flush_to: durable.then_some(appended.end),
            flush_due: appended.flush_due,
            appended,
            wakes,
        })
    }

    /// Whether a produce with acks from all whose last record lies just beneath `required` may be
    /// answered, and how.
    pub fn check_acks(&self, required: Offset) -> Option<Result<(), Refusal>> {
        let state = self.state.read_recursive();
        let led = match self.leadership(&state) {
            Ok(led) => led,
            Err(refusal) => return Some(Err(refusal)),
        };
        if self.marks.watermark.load(Ordering::Acquire) < required.0 {
            return None;
        }
        let in_sync = led.progress.lock().isr.maximal().len();
        Some(match in_sync < state.min_isr() {
            true => Err(Refusal::NotEnoughReplicasAfterAppend),
            false => Ok(()),
        })
    }

    /// Whether everything beneath `to` is on the disk.
    pub fn check_flushed(&self, to: Offset) -> Option<Result<(), Refusal>> {
        if let Some(why) = self.gone.get() {
            return Some(Err(why.clone()));
        }
        (self.marks.flushed.load(Ordering::Acquire) >= to.0).then_some(Ok(()))
    }

    /// Moves the watermark as far as it may go; after a flush, a fetch or a change of rules.
    pub fn advance(&self) -> Wakes {
        let state = self.state.read();
        match self.leadership(&state) {
            Ok(led) => self.advance_led(&state, led),
            Err(_not_leading) => {
                let mut wakes = Wakes::none();
                self.queue.all(&mut wakes);
                wakes
            }
        }
    }

    fn advance_led(&self, state: &State, led: &Leadership) -> Wakes {
        let offsets = state.log.offsets();
        // In the durable mode the leader's own copy counts once it is on the disk.
        let own_end = match state.log.config().is_durable() {
            true => offsets.recovery.min(offsets.end),
            false => offsets.end,
        };
        let allowed = {
            let mut progress = led.progress.lock();
            if progress.isr.committed().len() >= state.min_isr() {
                let now_ms = self.shared.clock.monotonic_ms();
                let allowed = progress.followers.watermark(
                    own_end,
                    progress.isr.maximal(),
                    now_ms,
                    self.shared.config.lag_ms_max,
                    |id| self.shared.keeper.is_alive(id),
                );
                progress.watermark = progress.watermark.max(allowed.unwrap_or(Offset::ZERO));
            }
            progress.watermark
        };
        if allowed > offsets.watermark {
            state.log.raise_high_watermark(allowed);
        }
        let watermark = allowed.max(offsets.watermark);
        self.marks.note(&offsets, watermark);
        let mut wakes = Wakes::none();
        if !self.queue.is_empty_after_fence() {
            let low_watermark = self.low_watermark_led(offsets.start, led);
            let moved = Moved {
                end: offsets.end,
                flushed: offsets.recovery,
                watermark,
                low_watermark,
            };
            self.queue.due(&moved, &mut wakes);
        }
        wakes
    }

    /// Plans a read, checks epochs first, and counts a follower's progress.
    pub fn read(&self, read: &PartitionRead) -> Result<(Found, Wakes), Refusal> {
        let found = self.read_counted(read);
        if read.counts {
            self.traffic.add(Passed::FetchRequests, 1);
            if found.as_ref().is_err_and(|refusal| !refusal.is_expected()) {
                self.traffic.add(Passed::FailedFetches, 1);
            }
        }
        found
    }

    fn read_counted(&self, read: &PartitionRead) -> Result<(Found, Wakes), Refusal> {
        let state = self.state.read();
        let leader_only = match read.reader {
            Reader::Consumer { leader_only, .. } => leader_only,
            Reader::Follower { .. } => true,
            Reader::Local => false,
        };
        self.check_epoch(&state, read.current_leader_epoch, leader_only)?;
        if let Reader::Follower { id, .. } = read.reader {
            let led = self.leadership(&state)?;
            if led.progress.lock().followers.get(id).is_none() {
                return Err(match read.current_leader_epoch {
                    Some(_) => Refusal::UnknownLeaderEpoch,
                    None => Refusal::NotLeader,
                });
            }
        }
        let moves = self.marks.moves.load(Ordering::Acquire);
        // The end before the read: what is appended meanwhile must not keep a follower out of sync.
        let offsets = state.log.offsets();
        let diverging = match read.last_fetched_epoch {
            Some(epoch) => state.diverging(epoch, read.from, &offsets)?,
            None => None,
        };
        if diverging.is_some() {
            return Ok((
                Found {
                    offsets,
                    moves,
                    diverging,
                    plan: None,
                },
                Wakes::none(),
            ));
        }
        let upto = match read.reader {
            Reader::Consumer {
                committed_only: true,
                ..
            } => Upto::Stable,
            Reader::Consumer {
                committed_only: false,
                ..
            } => Upto::HighWatermark,
            Reader::Follower { .. } | Reader::Local => Upto::End,
        };
        let plan = state.log.read(ReadRequest {
            from: read.from,
            bytes_max: read.bytes_max,
            min_one: read.min_one,
            upto,
        })?;
        drop(state);
        let wakes = match read.reader {
            Reader::Follower { id, log_start } if read.counts => {
                self.note_follower_fetch(id, read.from, log_start, offsets.end)
            }
            _ => Wakes::none(),
        };
        Ok((
            Found {
                offsets,
                moves,
                diverging: None,
                plan: Some(plan),
            },
            wakes,
        ))
    }

    /// A follower asked for records from `from`: it has everything before.
    fn note_follower_fetch(
        &self,
        id: BrokerId,
        from: Offset,
        log_start: Offset,
        leader_end: Offset,
    ) -> Wakes {
        let state = self.state.read();
        let Ok(led) = self.leadership(&state) else {
            return Wakes::none();
        };
        let now_ms = self.shared.clock.monotonic_ms();
        let wanted = {
            let mut progress = led.progress.lock();
            let Progress {
                followers,
                isr,
                watermark,
            } = &mut *progress;
            if !followers.note_fetch(id, from, log_start, leader_end, now_ms) {
                return Wakes::none();
            }
            let keeper = &self.shared.keeper;
            let wanted = isr.choose_expand(followers, id, *watermark, led.epoch_start, |id| {
                keeper.is_alive(id)
            });
            if let Some(wanted) = &wanted {
                isr.note_proposed(wanted.clone());
            }
            wanted
        };
        if let Some(isr) = wanted {
            self.propose(&state, isr, false);
        }
        self.advance_led(&state, led)
    }

    /// Drops from the ISR who has lagged for too long. Called every half of that time. A
    /// partition on a slow disk is passed over: nothing may wait for it here, and its followers
    /// cannot get ahead either.
    pub fn check_isr(&self) -> Wakes {
        if self.shared.lanes.is_slow(&self.lane()) {
            return Wakes::none();
        }
        let Some(state) = self.state.try_read() else {
            return Wakes::none();
        };
        let Ok(led) = self.leadership(&state) else {
            return Wakes::none();
        };
        let now_ms = self.shared.clock.monotonic_ms();
        let end = Offset(self.marks.end.load(Ordering::Acquire));
        let wanted = {
            let mut progress = led.progress.lock();
            let Progress { followers, isr, .. } = &mut *progress;
            let lag_ms_max = self.shared.config.lag_ms_max;
            let wanted = isr.choose_shrink(followers, end, now_ms, lag_ms_max);
            if let Some(wanted) = &wanted {
                info!(
                    topic = %self.id.topic, partition = self.id.partition,
                    isr = ?isr.committed(), wanted = ?wanted, "ISR should shrink"
                );
                isr.note_proposed(wanted.clone());
            }
            wanted
        };
        if let Some(isr) = wanted {
            self.propose(&state, isr, false);
        }
        self.advance_led(&state, led)
    }

    /// The controller's answer to the proposal in flight. May wait for an append under way.
    pub fn note_isr_answer(&self, answer: &IsrAnswer) -> Wakes {
        let mut guard = self.state.write();
        let state = &mut *guard;
        let epoch = state.leader_epoch;
        let Role::Leader(led) = &mut state.role else {
            return Wakes::none();
        };
        let isr = &mut led.progress.get_mut().isr;
        let before = isr.committed().len();
        let after = isr.note_answer(answer, epoch, &mut state.partition_epoch);
        let traffic = &self.shared.traffic;
        match (after, isr.committed().len()) {
            (AfterAnswer::Changed, now) if now < before => traffic.isr_shrinks.add(1),
            (AfterAnswer::Changed, now) if now > before => traffic.isr_expands.add(1),
            (AfterAnswer::Dropped, _) => traffic.isr_failures.add(1),
            _ => {}
        }
        let again = match after {
            AfterAnswer::Again => isr.proposed().map(<[BrokerId]>::to_vec),
            _ => None,
        };
        debug!(
            topic = %self.id.topic, partition = self.id.partition, ?after,
            isr = ?isr.committed(), "ISR proposal answered"
        );
        drop(guard);
        if let Some(isr) = again {
            self.propose(&self.state.read(), isr, true);
        }
        self.advance()
    }

    fn propose(&self, state: &State, isr: Vec<BrokerId>, again: bool) {
        self.shared.keeper.propose(Proposal {
            partition: self.id.clone(),
            topic_id: state.log.topic_id().unwrap_or(TopicId::ZERO),
            leader_epoch: state.leader_epoch,
            partition_epoch: state.partition_epoch,
            isr,
            again,
        });
    }

    /// Finds the offset of a moment (ListOffsets). `None`: no record is that young.
    pub fn find_offset(
        &self,
        moment: Moment,
        reader: Reader,
        current_leader_epoch: Option<LeaderEpoch>,
    ) -> Result<Option<FoundOffset>, Refusal> {
        let state = self.state.read();
        let leader_only = !matches!(
            reader,
            Reader::Consumer {
                leader_only: false,
                ..
            }
        );
        self.check_epoch(&state, current_leader_epoch, leader_only)?;
        let offsets = state.log.offsets();
        let (upto, last, is_client) = match reader {
            Reader::Consumer {
                committed_only: true,
                ..
            } => (Upto::Stable, offsets.stable, true),
            Reader::Consumer { .. } => (Upto::HighWatermark, offsets.watermark, true),
            Reader::Follower { .. } | Reader::Local => (Upto::End, offsets.end, false),
        };
        // Kafka: after an election the watermark may be older than the leadership. A client must
        // not take it for the end of the log.
        let lags = match &state.role {
            Role::Leader(led) => is_client && led.epoch_start > offsets.watermark,
            Role::Idle | Role::Follower => false,
        };
        match moment {
            Moment::Latest if lags => Err(Refusal::OffsetNotAvailable),
            Moment::Latest => Ok(Some(FoundOffset {
                timestamp_ms: -1,
                offset: last,
                leader_epoch: Some(state.leader_epoch),
            })),
            Moment::Earliest | Moment::EarliestLocal => Ok(state.log.offset_for(moment, upto)?),
            Moment::MaxTimestamp | Moment::LatestTiered | Moment::At(_) => {
                let found = state.log.offset_for(moment, upto)?;
                match found.filter(|found| found.offset < last) {
                    None if lags => Err(Refusal::OffsetNotAvailable),
                    found => Ok(found),
                }
            }
        }
    }

    /// The largest epoch not above `epoch`, and where it ends (OffsetForLeaderEpoch).
    pub fn end_offset_for_epoch(
        &self,
        epoch: LeaderEpoch,
        current_leader_epoch: Option<LeaderEpoch>,
        leader_only: bool,
    ) -> Result<Option<(LeaderEpoch, Offset)>, Refusal> {
        let state = self.state.read();
        self.check_epoch(&state, current_leader_epoch, leader_only)?;
        Ok(state.log.end_offset_for_epoch(epoch))
    }

    /// Deletes records beneath `before`, or beneath the watermark. Gives the offset that was meant
    /// and the low watermark.
    pub fn delete_records(
        &self,
        before: Option<Offset>,
    ) -> Result<(Offset, Option<Offset>, Wakes), Refusal> {
        let state = self.state.read();
        let led = self.leadership(&state)?;
        if !state.log.config().delete {
            return Err(Refusal::DeletionNotAllowed);
        }
        let offsets = state.log.offsets();
        let before = before.unwrap_or(offsets.watermark);
        if before < Offset::ZERO || before > offsets.watermark {
            return Err(Refusal::OffsetOutOfRange);
        }
        state.log.delete_records_before(before)?;
        let low = self.low_watermark_led(state.log.offsets().start, led);
        Ok((before, low, self.advance_led(&state, led)))
    }

    /// The least start offset of all living replicas.
    pub fn low_watermark(&self) -> Result<Option<Offset>, Refusal> {
        let state = self.state.read();
        let led = self.leadership(&state)?;
        Ok(self.low_watermark_led(state.log.offsets().start, led))
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

    fn low_watermark_led(&self, start: Offset, led: &Leadership) -> Option<Offset> {
        let progress = led.progress.lock();
        progress
            .followers
            .low_watermark(start, |id| self.shared.keeper.is_alive(id))
    }
}

impl Marks {
    fn note(&self, offsets: &Offsets, watermark: Offset) {
        // Two appends may end in one order and come here in the other.
        self.end.fetch_max(offsets.end.0, Ordering::AcqRel);
        self.flushed.fetch_max(offsets.recovery.0, Ordering::AcqRel);
        self.watermark.fetch_max(watermark.0, Ordering::AcqRel);
        self.moves.fetch_add(1, Ordering::AcqRel);
    }

    fn reset(&self, offsets: &Offsets) {
        self.end.store(offsets.end.0, Ordering::Release);
        self.flushed.store(offsets.recovery.0, Ordering::Release);
        self.watermark.store(offsets.watermark.0, Ordering::Release);
        self.moves.fetch_add(1, Ordering::AcqRel);
    }
}

impl State {
    fn min_isr(&self) -> usize {
        self.rules
            .min_insync_replicas
            .min(self.assignment.replicas.len())
    }

    fn note_order(&mut self, order: &PartitionOrder) {
        self.leader_epoch = order.leader_epoch;
        self.partition_epoch = order.partition_epoch;
        self.controller_epoch = order.controller_epoch;
        self.assignment = order.assignment.clone();
    }

    /// Whether a reader whose last record is of `epoch` has parted from this log before `from`.
    fn diverging(
        &self,
        epoch: LeaderEpoch,
        from: Offset,
        offsets: &Offsets,
    ) -> Result<Option<(LeaderEpoch, Offset)>, Refusal> {
        let (ours, end) = self
            .log
            .end_offset_for_epoch(epoch)
            .ok_or(Refusal::OffsetOutOfRange)?;
        if from < offsets.start {
            return Err(Refusal::OffsetOutOfRange);
        }
        Ok((ours < epoch || end < from).then_some((ours, end)))
    }
}
