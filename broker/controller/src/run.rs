//! The one task: event → decision → outbox, from election to election.
//!
//! Each broker runs one. It keeps the broker registered through renewed sessions, tries to become
//! controller whenever there is none, and while it is one, everything that happens passes through
//! here one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::clock::Clock;
use base::stop::Stop;
use protocol::ids::{BrokerEpoch, TopicPartition};
use protocol::kafka::errors::ErrorCode;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};
use znodes::bodies::broker::Broker;
use znodes::bodies::controller::Controller;
use znodes::fence::{Fence, Fenced};
use znodes::paths;
use znodes::registration;
use znodes::store::{ANY, Error, Op, State, Store};

use crate::context::Context;
use crate::election::{self, Holder, Outcome};
use crate::event::{
    ElectionKind, ElectionOutcomes, IsrAnswers, IsrProposals, Ongoing, ReassignmentTargets,
    Request, Verdict, Wake, Wakes,
};
use crate::measures::{Counts, Measures};
use crate::next::Next;
use crate::outbox::Outbox;
use crate::producer_ids;
use crate::reign::{Config, Reign, RememberedId};
use crate::sender::{Answer, Answered, PeerSender};

/// Requests waiting for the controller; more of them wait at the door.
const REQUESTS_MAX: usize = 256;
/// Answers of peers waiting for the controller; the peers wait then.
const ANSWERS_MAX: usize = 1024;
/// The first look at the balance of leaders after an election.
const FIRST_REBALANCE_MS: i64 = 5_000;
/// How often a `/controller` that may not be read is tried.
const LOOK_AGAIN_MS: i64 = 1_000;
/// Rest after an error that should not happen, so that it does not spin.
const REST_MS: i64 = 500;

/// What runs a controller.
pub struct Parts {
    pub config: Config,
    pub store: Arc<dyn Store>,
    pub sender: Arc<dyn PeerSender>,
    pub clock: Clock,
    pub stop: Stop,
    /// The broker's own registration, written anew under every new session.
    pub body: Broker,
    /// The cluster this broker's data belongs to.
    pub cluster_id: Arc<str>,
    /// The epoch of the registration that was made before the start.
    pub broker_epoch: BrokerEpoch,
    /// Sessions this process had before the current one.
    pub past_sessions: Arc<dyn Fn() -> Vec<i64> + Send + Sync>,
    /// The id by which this broker was last told of a topic: all that is left where an old tool
    /// dropped it from the topic's node and the controller died before it could put it back.
    pub remembered_id: RememberedId,
}

/// What everybody may know of this broker's part in the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether this broker is controller.
    pub active: bool,
    /// Its epoch while it is; 0 otherwise.
    pub epoch: i32,
    /// Who is controller, as `/controller` was last read.
    pub controller: Option<i32>,
    /// Somebody is, but the node does not say who to this broker.
    pub hidden: bool,
    /// This broker's registration.
    pub broker_epoch: BrokerEpoch,
    /// Whether the cluster knows this broker: not between two sessions, and not while ZooKeeper
    /// holds another cluster or the id is held by another session.
    pub registered: bool,
}

impl Status {
    /// Whether anybody is controller, known by name or not.
    pub fn has_controller(&self) -> bool {
        self.controller.is_some() || self.hidden
    }
}

/// Asks the controller of this broker. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ControllerHandle {
    requests: mpsc::Sender<Request>,
    status: watch::Receiver<Status>,
    measures: Arc<Measures>,
}

/// Starts the task on the current runtime.
pub fn start(parts: Parts) -> ControllerHandle {
    let (requests, incoming) = mpsc::channel(REQUESTS_MAX);
    let (status, seen) = watch::channel(Status {
        active: false,
        epoch: 0,
        controller: None,
        hidden: false,
        broker_epoch: parts.broker_epoch,
        registered: true,
    });
    let term = parts.store.state().borrow().term();
    let desk = Desk {
        parts,
        wakes: Wakes::default(),
        status,
        reign: None,
        answers: None,
        term,
        measures: Arc::default(),
        unregistered: false,
        lost_told: false,
        refused_election: None,
        look_again_ms: None,
    };
    let measures = Arc::clone(&desk.measures);
    base::tasks::spawn("controller", desk.run(incoming));
    ControllerHandle {
        requests,
        status: seen,
        measures,
    }
}

impl ControllerHandle {
    pub fn status(&self) -> Status {
        *self.status.borrow()
    }

    /// Tells of every change of [`Status`].
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    pub fn is_active(&self) -> bool {
        self.status.borrow().active
    }

    /// How long this broker's work as controller has taken.
    pub fn measures(&self) -> &Measures {
        &self.measures
    }

    /// What there is to count, where this broker is controller.
    pub async fn counts(&self) -> Option<Counts> {
        self.ask(ErrorCode::NotController, Request::Count)
            .await
            .ok()
    }

    /// AlterPartition.
    pub async fn alter_partition(&self, asked: IsrProposals) -> Result<IsrAnswers, ErrorCode> {
        self.ask(ErrorCode::NotController, |reply| {
            Request::AlterPartition(asked, reply)
        })
        .await
    }

    /// ControlledShutdown: what the broker still leads and others could.
    pub async fn controlled_shutdown(
        &self,
        broker: i32,
        broker_epoch: i64,
    ) -> Result<Vec<TopicPartition>, ErrorCode> {
        let ask = |reply| Request::ControlledShutdown {
            broker,
            broker_epoch,
            reply,
        };
        self.ask(ErrorCode::StaleControllerEpoch, ask).await
    }

    /// ElectLeaders; every partition for `None`.
    pub async fn elect_leaders(
        &self,
        kind: ElectionKind,
        partitions: Option<Vec<TopicPartition>>,
    ) -> Result<ElectionOutcomes, ErrorCode> {
        let ask = |reply| Request::Elect {
            kind,
            partitions,
            reply,
        };
        self.ask(ErrorCode::NotController, ask).await
    }

    /// AlterPartitionReassignments.
    pub async fn reassign(
        &self,
        targets: ReassignmentTargets,
    ) -> Result<Vec<(TopicPartition, Verdict)>, ErrorCode> {
        self.ask(ErrorCode::NotController, |reply| {
            Request::Reassign(targets, reply)
        })
        .await
    }

    /// ListPartitionReassignments; all of them for `None`.
    pub async fn reassignments(
        &self,
        partitions: Option<Vec<TopicPartition>>,
    ) -> Result<BTreeMap<TopicPartition, Ongoing>, ErrorCode> {
        let ask = |reply| Request::ListReassignments(partitions, reply);
        self.ask(ErrorCode::NotController, ask).await
    }

    /// AllocateProducerIds: the first of a block of 1000.
    pub async fn allocate_producer_ids(
        &self,
        broker: i32,
        broker_epoch: i64,
    ) -> Result<i64, ErrorCode> {
        let ask = |reply| Request::ProducerIds {
            broker,
            broker_epoch,
            reply,
        };
        self.ask(ErrorCode::NotController, ask).await
    }

    /// Changes what this broker is registered with, now and under every later session.
    pub async fn register_as(&self, body: Broker) {
        // A controller that is gone registers nobody any more.
        let _gone = self.requests.send(Request::Register(Box::new(body))).await;
    }

    /// `unclean.leader.election.enable` was turned on for a topic: its leaderless partitions are
    /// tried again.
    pub async fn unclean_election_enabled(&self, topic: Arc<str>) {
        // A controller that is gone has nothing to elect.
        let _gone = self.requests.send(Request::UncleanEnabled(topic)).await;
    }

    /// `unclean.leader.election.enable` of the broker, for topics that do not set it. Told to
    /// every broker, for any may be controller next.
    pub async fn set_unclean_election(&self, allowed: bool) {
        let _gone = self.requests.send(Request::UncleanDefault(allowed)).await;
    }

    async fn ask<T>(
        &self,
        otherwise: ErrorCode,
        request: impl FnOnce(oneshot::Sender<Result<T, ErrorCode>>) -> Request,
    ) -> Result<T, ErrorCode> {
        if !self.is_active() {
            return Err(otherwise);
        }
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(request(reply))
            .await
            .map_err(|_gone| otherwise)?;
        match answer.await {
            Ok(Err(ErrorCode::NotController)) | Err(_) => Err(otherwise),
            Ok(outcome) => outcome,
        }
    }
}

/// The task's own state. Between elections there is no reign.
struct Desk {
    parts: Parts,
    wakes: Wakes,
    status: watch::Sender<Status>,
    reign: Option<Reign>,
    answers: Option<mpsc::Receiver<Answered>>,
    term: u64,
    measures: Arc<Measures>,
    /// The last try to register under a new session failed; it is tried again before anything else.
    unregistered: bool,
    /// That ZooKeeper holds another cluster, or none, was told already.
    lost_told: bool,
    /// Why the last election could not be taken part in.
    refused_election: Option<Error>,
    /// When to look whether `/controller` may be read by now: no watch tells of a changed access
    /// list, and ZooKeeper 3.9.5 gives none to whom the list excludes. Nothing while it may be.
    look_again_ms: Option<i64>,
}

impl Desk {
    async fn run(mut self, mut incoming: mpsc::Receiver<Request>) {
        let mut state = self.parts.store.state();
        let mut rebalance_at = i64::MAX;
        self.wakes.add(Wake::Controller);
        loop {
            let was_active = self.reign.is_some();
            let next = self.next(&mut incoming, &mut state, rebalance_at).await;
            let (work, began_us) = (next.work(), self.parts.clock.monotonic_us());
            self.measures.note_begun(work);
            let outcome = match next {
                Next::Stop => break,
                Next::Session => {
                    let now = *state.borrow_and_update();
                    if now == State::Closed {
                        break;
                    }
                    self.session_changed(now).await
                }
                Next::Wake(wake) => self.awake(wake).await,
                Next::Look => self.look_again().await,
                Next::Request(request) => self.request(request).await,
                Next::Answer(answered) => self.answer(answered).await,
                Next::Rebalance => {
                    let interval_ms = self.parts.config.rebalance_interval_ms;
                    rebalance_at = self.parts.clock.monotonic_ms().saturating_add(interval_ms);
                    match &mut self.reign {
                        Some(reign) => reign.rebalance().await,
                        None => Ok(()),
                    }
                }
            };
            let took_us = self.parts.clock.monotonic_us() - began_us;
            self.measures.note_idle();
            if was_active || self.reign.is_some() {
                self.measures.work(work).note(took_us);
            }
            if let Err(fenced) = outcome {
                self.step_down(fenced).await;
            }
            if !was_active && self.reign.is_some() && self.parts.config.rebalance {
                rebalance_at = self.parts.clock.monotonic_ms() + FIRST_REBALANCE_MS;
            }
            if self.reign.is_none() {
                rebalance_at = i64::MAX;
            }
        }
        self.forget_reign();
    }

    async fn next(
        &mut self,
        incoming: &mut mpsc::Receiver<Request>,
        state: &mut watch::Receiver<State>,
        rebalance_at: i64,
    ) -> Next {
        loop {
            // The session comes first, then what changed in ZooKeeper, then what is asked.
            if state.has_changed().unwrap_or(true) {
                return Next::Session;
            }
            if self.parts.stop.is_stopped() {
                return Next::Stop;
            }
            if self.unregistered {
                return Next::Session;
            }
            if let Some(wake) = self.wakes.take() {
                return Next::Wake(wake);
            }
            let now_ms = self.parts.clock.monotonic_ms();
            let rest = rebalance_at.saturating_sub(now_ms);
            let look_in = self.look_again_ms.map_or(0, |at| at - now_ms);
            let answered = async {
                match &mut self.answers {
                    Some(answers) => answers.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _changed = state.changed() => return Next::Session,
                () = self.parts.stop.stopped() => return Next::Stop,
                () = self.wakes.woken() => {}
                Some(answered) = answered => return Next::Answer(answered),
                request = incoming.recv() => match request {
                    Some(request) => return Next::Request(request),
                    None => return Next::Stop,
                },
                () = self.parts.clock.sleep_ms(rest), if rebalance_at != i64::MAX => {
                    return Next::Rebalance;
                }
                () = self.parts.clock.sleep_ms(look_in), if self.look_again_ms.is_some() => {
                    return Next::Look;
                }
            }
        }
    }

    async fn session_changed(&mut self, now: State) -> Result<(), Fenced> {
        self.unregistered = false;
        if now.term() != self.term {
            self.status.send_modify(|status| status.registered = false);
        }
        match now {
            State::Suspended { .. } | State::Closed => Ok(()),
            State::Expired { .. } => {
                self.status.send_modify(|status| status.registered = false);
                // Kafka: resigns before the new session is opened.
                self.forget_reign();
                Ok(())
            }
            State::Alive { term, .. } if term == self.term => {
                // The same session, joined again: what was missed is read.
                self.wakes.add(Wake::Controller);
                if self.reign.is_some() {
                    for wake in [
                        Wake::Brokers,
                        Wake::Topics,
                        Wake::DeleteTopics,
                        Wake::LogDirs,
                        Wake::IsrChanges,
                    ] {
                        self.wakes.add(wake);
                    }
                }
                Ok(())
            }
            State::Alive { term, .. } => {
                self.forget_reign();
                if let Err(error) = self.register(term).await {
                    warn!(%error, "could not register again; trying on");
                    self.parts.clock.sleep_ms(REST_MS).await;
                    self.unregistered = true;
                }
                Ok(())
            }
        }
    }

    /// Registers under a new session, where ZooKeeper still holds this broker's cluster.
    async fn register(&mut self, term: u64) -> Result<(), registration::Refusal> {
        let store = &*self.parts.store;
        let known = registration::known_cluster_id(store).await?;
        if known.as_deref() != Some(&*self.parts.cluster_id) {
            self.bear_a_lost_cluster(known).await;
            return Ok(());
        }
        self.lost_told = false;
        let mine = (self.parts.past_sessions)();
        let id = self.parts.config.broker;
        let epoch = registration::register(store, id, &self.parts.body, &mine).await?;
        self.term = term;
        self.status.send_modify(|status| {
            status.broker_epoch = epoch;
            status.registered = true;
        });
        self.wakes.add(Wake::Controller);
        Ok(())
    }

    /// ZooKeeper came back without our cluster. To register, and perhaps to reign over nothing,
    /// would mix two clusters; so this broker goes on with what it leads and waits.
    async fn bear_a_lost_cluster(&mut self, known: Option<String>) {
        if !std::mem::replace(&mut self.lost_told, true) {
            let ours = &*self.parts.cluster_id;
            match known {
                None => error!(
                    "the data of this broker belongs to cluster {ours}, but ZooKeeper came back empty: \
                     it has no /cluster/id and so no topics either. Nothing is deleted here, and what \
                     this broker leads is still served. Bring back ZooKeeper's own data (a container \
                     without a volume loses it): this broker joins again by itself. To begin a new \
                     cluster instead, stop all brokers and move their log directories away"
                ),
                Some(known) => error!(
                    "the data of this broker belongs to cluster {ours}, but ZooKeeper now holds cluster \
                     {known}. Nothing is deleted here. Bring back the ZooKeeper of cluster {ours}: this \
                     broker joins again by itself"
                ),
            }
        }
        self.parts.clock.sleep_ms(REST_MS).await;
        self.unregistered = true;
    }

    async fn awake(&mut self, wake: Wake) -> Result<(), Fenced> {
        if wake == Wake::Controller {
            return self.controller_changed().await;
        }
        let Some(reign) = &mut self.reign else {
            return Ok(());
        };
        let outcome = match wake {
            Wake::Controller => Ok(()),
            Wake::Brokers => reign.brokers_changed().await,
            Wake::Broker(id) => reign.broker_changed(id).await,
            Wake::Topics => reign.topics_changed().await,
            Wake::Topic(name) => reign.topic_changed(&name).await,
            Wake::DeleteTopics => reign.deletions_changed().await,
            Wake::LogDirs => reign.log_dirs_changed().await,
            Wake::IsrChanges => reign.isr_changes().await,
            Wake::Moving(tp) => reign.moving_state_changed(tp).await,
            Wake::Reassign => reign.reassign_node_changed().await,
            Wake::PreferredElection => reign.preferred_node_changed().await,
        };
        if cfg!(debug_assertions)
            && let Some(reign) = &self.reign
        {
            reign.context.check();
        }
        outcome
    }

    /// `/controller` changed, or has to be looked at.
    async fn controller_changed(&mut self) -> Result<(), Fenced> {
        let me = self.parts.config.broker;
        let store = self.parts.store.clone();
        let listener = self.wakes.listener(Wake::Controller);
        let mut current = election::current(&*store, &listener).await?;
        if current.is_some_and(Holder::is_hidden) && self.is_newest().await? {
            current = Some(Holder::Broker(me));
        }
        self.note_holder(current);
        match current {
            Some(Holder::Broker(id)) if id == me && self.reign.is_some() => Ok(()),
            Some(Holder::Broker(id)) if id == me => self.drop_own_leftover().await,
            Some(other) => {
                self.refused_election = None;
                if self.reign.is_some() {
                    info!(controller = other.id(), "another broker is controller now");
                    self.forget_reign();
                }
                Ok(())
            }
            None => {
                self.forget_reign();
                match election::attempt(&*store, me, self.parts.clock.wall_ms()).await? {
                    Outcome::Won { epoch, fence } => {
                        self.refused_election = None;
                        self.begin(epoch, fence).await
                    }
                    Outcome::Lost => {
                        // The watch set above may be spent by our own attempt.
                        self.wakes.add(Wake::Controller);
                        Ok(())
                    }
                }
            }
        }
    }

    /// Who is controller now; the same trouble is told once.
    fn note_holder(&mut self, now: Option<Holder>) {
        let before = self.status.borrow().hidden;
        self.status.send_modify(|status| {
            status.hidden = now.is_some_and(Holder::is_hidden);
            status.controller = now.and_then(Holder::id);
        });
        self.look_again_ms = None;
        match now {
            Some(Holder::Forbidden) => {
                self.look_again_ms = Some(self.parts.clock.monotonic_ms() + LOOK_AGAIN_MS);
                if !before {
                    warn!(
                        "{} may not be read by this broker, so it takes part in no election; it \
                         looks again every {} s. Look at the node's access list in ZooKeeper and \
                         at the identity this broker shows",
                        paths::CONTROLLER,
                        LOOK_AGAIN_MS / 1000
                    );
                }
            }
            Some(Holder::Garbled) => {
                warn!(
                    "{} does not say who is controller, so this broker takes part in no election \
                     until the node changes",
                    paths::CONTROLLER
                );
            }
            Some(Holder::Broker(_)) | None => {}
        }
    }

    /// Whether `/controller` may be read by now, without a watch: one more at each look would be many.
    async fn look_again(&mut self) -> Result<(), Fenced> {
        self.look_again_ms = Some(self.parts.clock.monotonic_ms() + LOOK_AGAIN_MS);
        match self.parts.store.get(paths::CONTROLLER, None).await {
            Err(Error::NoAuth { .. }) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => self.wakes.add(Wake::Controller),
        }
        Ok(())
    }

    /// Whether this broker reigns, and nobody was elected since.
    async fn is_newest(&self) -> Result<bool, Fenced> {
        let Some(reign) = &self.reign else {
            return Ok(false);
        };
        let epoch = self.parts.store.get(paths::CONTROLLER_EPOCH, None).await?;
        Ok(epoch.is_some_and(|node| Fence(node.stat.version) == reign.fence))
    }

    /// `/controller` names us, but this task does not reign: left by a former session or failure.
    async fn drop_own_leftover(&mut self) -> Result<(), Fenced> {
        let store = &*self.parts.store;
        // Read before the node: if it is another's by the time of the deletion, so is the epoch.
        let epoch = store.get(paths::CONTROLLER_EPOCH, None).await?;
        let fence = Fence(epoch.map_or(0, |node| node.stat.version));
        let Some(node) = store.get(paths::CONTROLLER, None).await? else {
            return Ok(());
        };
        let owner = node.stat.ephemeral_owner;
        let session = store.state().borrow().session();
        if owner != session && !(self.parts.past_sessions)().contains(&owner) {
            info!(
                session = format!("{owner:#x}"),
                "a former process of this broker is still controller; waiting for its session to end"
            );
            return Ok(());
        }
        let ours = Controller::decode(&node.data)
            .is_ok_and(|held| held.broker == self.parts.config.broker);
        if !ours {
            return Ok(());
        }
        let gone = vec![Op::delete(paths::CONTROLLER, ANY)];
        match fence.write(store, gone).await {
            // The watch tells of what becomes of the node.
            Ok(_) | Err(Fenced::Moved) => Ok(()),
            Err(Fenced::Store(Error::Unknown { .. })) => {
                self.wakes.add(Wake::Controller);
                Ok(())
            }
            Err(Fenced::Store(error)) if error.is_no_node() => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn begin(&mut self, epoch: i32, fence: Fence) -> Result<(), Fenced> {
        let me = self.parts.config.broker;
        let (sender, answers) = mpsc::channel(ANSWERS_MAX);
        self.answers = Some(answers);
        let mut reign = Reign {
            config: self.parts.config.clone(),
            store: self.parts.store.clone(),
            sender: self.parts.sender.clone(),
            clock: self.parts.clock.clone(),
            wakes: self.wakes.clone(),
            remembered_id: Arc::clone(&self.parts.remembered_id),
            answers: sender,
            epoch,
            fence,
            context: Context::default(),
            outbox: Outbox::default(),
            measures: Arc::clone(&self.measures),
        };
        let outcome = reign.take_over().await;
        self.reign = Some(reign);
        outcome?;
        self.status.send_modify(|status| {
            *status = Status {
                active: true,
                epoch,
                controller: Some(me),
                ..*status
            };
        });
        Ok(())
    }

    fn forget_reign(&mut self) {
        let Some(reign) = self.reign.take() else {
            return;
        };
        for id in reign.context.brokers.keys() {
            self.parts.sender.close(*id);
        }
        self.answers = None;
        self.wakes.forget_reign();
        self.status.send_modify(|status| {
            *status = Status {
                active: false,
                epoch: 0,
                ..*status
            }
        });
        info!(epoch = reign.epoch, "resigned as controller");
    }

    async fn step_down(&mut self, why: Fenced) {
        let fence = self.reign.as_ref().map(|reign| reign.fence);
        self.forget_reign();
        match (&why, fence) {
            (Fenced::Moved, _) => info!("a newer controller exists"),
            (Fenced::Store(Error::SessionEnded), _) => return,
            (Fenced::Store(error), Some(fence)) => {
                error!(%error, "controller failed; giving the controllership up");
                election::resign(&*self.parts.store, fence).await;
            }
            (Fenced::Store(error), None) => self.tell_of_refused_election(error),
        }
        if why != Fenced::Moved {
            self.parts.clock.sleep_ms(REST_MS).await;
        }
        self.wakes.add(Wake::Controller);
    }

    /// It is tried again and again; the same trouble is told once.
    fn tell_of_refused_election(&mut self, error: &Error) {
        if self.refused_election.as_ref() != Some(error) {
            warn!(%error, "could not take part in the election; trying on");
            self.refused_election = Some(error.clone());
        }
    }

    async fn answer(&mut self, answered: Answered) -> Result<(), Fenced> {
        let Some(reign) = &mut self.reign else {
            return Ok(());
        };
        let Answered {
            broker,
            epoch,
            answer,
        } = answered;
        if reign.context.brokers.get(&broker).map(|held| held.epoch) != Some(epoch) {
            // Of a process that is gone: whatever failed there, its successor was asked anew.
            return Ok(());
        }
        match answer {
            Answer::LeaderAndIsr { error, partitions } if error.is_none() => {
                reign.led_answered(broker, partitions).await
            }
            Answer::StopReplica { error, deleted } => {
                reign.replicas_deleted(broker, error, deleted).await
            }
            Answer::LeaderAndIsr { error, .. } | Answer::UpdateMetadata { error } => {
                if !error.is_none() {
                    warn!(broker, ?error, "a broker refused an order");
                }
                Ok(())
            }
        }
    }

    /// The registration says something else, now and under every later session.
    async fn register_as(&mut self, body: Broker) {
        self.parts.body = body;
        let path = paths::broker(self.parts.config.broker);
        let written = self.parts.body.encode();
        let set = self.parts.store.set(&path, written.as_bytes(), ANY);
        match set.await {
            Ok(_) => info!("the registration in ZooKeeper has the new listeners"),
            // Nobody is registered now: the next registration has them.
            Err(Error::NoNode { .. }) => {}
            Err(error) => warn!(
                %error,
                "the registration in ZooKeeper could not be changed; clients are told the former \
                 listeners until this broker registers again"
            ),
        }
    }

    async fn request(&mut self, request: Request) -> Result<(), Fenced> {
        let request = match request {
            Request::UncleanDefault(allowed) => return self.set_unclean_election(allowed).await,
            Request::Register(body) => {
                self.register_as(*body).await;
                return Ok(());
            }
            other => other,
        };
        let Some(reign) = &mut self.reign else {
            refuse(request);
            return Ok(());
        };
        match request {
            Request::AlterPartition(asked, reply) => {
                let partitions = named(reign, &asked);
                let outcome = reign.alter_partitions(asked).await;
                answer_then(outcome, reply)?;
                reign.after_isr_change(&partitions).await
            }
            Request::ControlledShutdown {
                broker,
                broker_epoch,
                reply,
            } => {
                let outcome = reign.controlled_shutdown(broker, broker_epoch).await;
                answer_then(outcome, reply)
            }
            Request::Elect {
                kind,
                partitions,
                reply,
            } => {
                let outcome = reign.elect_leaders(kind, partitions).await.map(Ok);
                answer_then(outcome, reply)
            }
            Request::Reassign(targets, reply) => {
                let outcome = reign.reassign(targets).await.map(Ok);
                answer_then(outcome, reply)
            }
            Request::ListReassignments(asked, reply) => {
                answer_then(Ok(Ok(reign.reassignments(asked.as_deref()))), reply)
            }
            Request::ProducerIds {
                broker,
                broker_epoch,
                reply,
            } => {
                let held = reign.context.brokers.get(&broker).map(|held| held.epoch);
                let outcome = match held {
                    None => Ok(Err(ErrorCode::BrokerIdNotRegistered)),
                    Some(epoch) if epoch != broker_epoch => Ok(Err(ErrorCode::StaleBrokerEpoch)),
                    Some(_) => match producer_ids::allocate(&*reign.store, broker).await {
                        Err(error @ Error::SessionEnded) => Err(error.into()),
                        // Kafka tells the asker; its reign does not depend on that node.
                        Err(error) => {
                            warn!(%error, "no producer ids");
                            Ok(Err(ErrorCode::UnknownServerError))
                        }
                        given => Ok(given?),
                    },
                };
                answer_then(outcome, reply)
            }
            Request::Count(reply) => answer_then(Ok(Ok(Counts::of(&reign.context))), reply),
            Request::UncleanEnabled(topic) => reign.trigger_elections(Some(&topic)).await.map(drop),
            Request::UncleanDefault(_) | Request::Register(_) => Ok(()),
        }
    }

    /// Kafka: `enableDefaultUncleanLeaderElection`; turned off, nothing is taken back.
    async fn set_unclean_election(&mut self, allowed: bool) -> Result<(), Fenced> {
        let before = std::mem::replace(&mut self.parts.config.unclean_election, allowed);
        let Some(reign) = &mut self.reign else {
            return Ok(());
        };
        reign.config.unclean_election = allowed;
        if allowed && !before {
            reign.trigger_elections(None).await?;
        }
        Ok(())
    }
}

/// The partitions that proposals are about, as far as they are known.
fn named(reign: &Reign, asked: &IsrProposals) -> Vec<TopicPartition> {
    use crate::event::TopicKey;
    let mut found = Vec::new();
    for (key, proposals) in &asked.topics {
        let name = match key {
            TopicKey::Name(name) => Some(name.clone()),
            TopicKey::Id(id) => reign.context.names.get(id).cloned(),
        };
        let Some(name) = name else { continue };
        for proposal in proposals {
            found.push(TopicPartition {
                topic: name.clone(),
                partition: proposal.partition,
            });
        }
    }
    found
}

/// Answers, and passes on what ends the reign. Whoever asked may have gone.
fn answer_then<T>(
    outcome: Result<Result<T, ErrorCode>, Fenced>,
    reply: oneshot::Sender<Result<T, ErrorCode>>,
) -> Result<(), Fenced> {
    match outcome {
        Ok(answer) => {
            let _gone = reply.send(answer);
            Ok(())
        }
        Err(fenced) => {
            let _gone = reply.send(Err(ErrorCode::NotController));
            Err(fenced)
        }
    }
}

fn refuse(request: Request) {
    const NO: ErrorCode = ErrorCode::NotController;
    match request {
        Request::AlterPartition(_, reply) => drop(reply.send(Err(NO))),
        Request::ControlledShutdown { reply, .. } => drop(reply.send(Err(NO))),
        Request::Elect { reply, .. } => drop(reply.send(Err(NO))),
        Request::Reassign(_, reply) => drop(reply.send(Err(NO))),
        Request::ListReassignments(_, reply) => drop(reply.send(Err(NO))),
        Request::ProducerIds { reply, .. } => drop(reply.send(Err(NO))),
        Request::Count(reply) => drop(reply.send(Err(NO))),
        Request::UncleanEnabled(_) | Request::UncleanDefault(_) | Request::Register(_) => {}
    }
}
