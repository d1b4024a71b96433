//! One broker: the real controller task, a registration, and models of its replicas.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use base::clock::Clock;
use base::stop::Stopper;
use controller::event::{IsrProposal, IsrProposals, IsrState, TopicKey};
use controller::sender::{Answer, Answers, Order, Peer, PeerSender};
use controller::{Agreed, Config, ControllerHandle, Parts, RememberedId};
use parking_lot::Mutex;
use protocol::ids::{TopicId, TopicPartition};
use protocol::kafka::errors::ErrorCode;
use tokio::sync::oneshot;
use znodes::bodies::notices;
use znodes::bodies::partition::PartitionState;
use znodes::isr::{self, Wanted};
use znodes::memory::World;
use znodes::store::{Kind, Store};
use znodes::{paths, registration};

use crate::replica::{Kept, Replica, Role};
use crate::wire::{Wire, Witness};
use znodes::memory::broker_body;

pub(crate) const CLUSTER: &str = "simulated";

/// Orders of one process's controller to one broker, in order.
#[derive(Clone)]
struct Queue {
    answers: Answers,
    orders: VecDeque<Order>,
}

/// Carries orders when the scheduler says so.
#[derive(Clone, Default)]
pub(crate) struct Post {
    queues: Arc<Mutex<BTreeMap<i32, Queue>>>,
    /// On their way when their queue was closed: may arrive, answered to nobody.
    strays: Arc<Mutex<Vec<(i32, Order)>>>,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Post")
    }
}

impl PeerSender for Post {
    fn open(&self, peer: Peer, answers: Answers) {
        self.close(peer.id);
        let queue = Queue {
            answers,
            orders: VecDeque::new(),
        };
        self.queues.lock().insert(peer.id, queue);
    }

    fn close(&self, broker: i32) {
        if let Some(mut queue) = self.queues.lock().remove(&broker)
            && let Some(order) = queue.orders.pop_front()
        {
            self.strays.lock().push((broker, order));
        }
    }

    fn send(&self, broker: i32, order: Order) {
        if let Some(queue) = self.queues.lock().get_mut(&broker) {
            queue.orders.push_back(order);
        }
    }
}

impl Post {
    pub(crate) fn targets(&self) -> Vec<i32> {
        let queues = self.queues.lock();
        let waiting = queues.iter().filter(|(_, queue)| !queue.orders.is_empty());
        waiting.map(|(id, _)| *id).collect()
    }

    pub(crate) fn front(&self, to: i32) -> Option<Order> {
        self.queues.lock().get(&to)?.orders.front().cloned()
    }

    /// The answer to the first order arrives.
    pub(crate) fn answered(&self, to: i32, answer: Answer) {
        let mut queues = self.queues.lock();
        let Some(queue) = queues.get_mut(&to) else {
            return;
        };
        // A controller that has resigned hears nothing any more.
        if queue.answers.try_send(answer) || queue.answers.is_closed() {
            queue.orders.pop_front();
        }
    }

    pub(crate) fn stray(&self, at: usize) -> Option<(i32, Order)> {
        let mut strays = self.strays.lock();
        (!strays.is_empty()).then(|| {
            let at = at % strays.len();
            strays.swap_remove(at)
        })
    }
}

/// What runs while the process does.
pub(crate) struct Process {
    pub(crate) wire: Wire,
    pub(crate) post: Post,
    pub(crate) handle: Arc<Mutex<Option<ControllerHandle>>>,
    stopper: Stopper,
    /// Of an old protocol version: leaders here write their ISRs into ZooKeeper themselves.
    pub(crate) writes_isrs: bool,
    /// Partitions whose ISR was written here and the controller not told.
    pub(crate) unsaid: Arc<Mutex<BTreeSet<TopicPartition>>>,
    /// Which of its two directories failed: the second, or the first.
    pub(crate) failed: Option<bool>,
    pub(crate) replicas: BTreeMap<TopicPartition, Replica>,
    pub(crate) controller_epoch: i32,
    /// As UpdateMetadata told it.
    pub(crate) controller: i32,
}

pub(crate) struct Host {
    pub(crate) id: i32,
    pub(crate) process: Option<Process>,
    pub(crate) disk: BTreeMap<TopicPartition, Kept>,
}

/// An answer of the controller to a proposal of a leader in its epoch, as it comes back.
pub(crate) struct Verdict {
    pub(crate) to: i32,
    pub(crate) tp: TopicPartition,
    pub(crate) id: TopicId,
    pub(crate) epoch: i32,
    pub(crate) outcome: Result<IsrState, ErrorCode>,
}

impl Host {
    pub(crate) fn new(id: i32) -> Host {
        Host {
            id,
            process: None,
            disk: BTreeMap::new(),
        }
    }

    /// A new process: opens a session, registers, and runs its controller.
    pub(crate) fn start(
        &mut self,
        world: &World,
        clock: &Clock,
        witness: &Witness,
        remembered_id: &RememberedId,
        writes_isrs: bool,
    ) {
        let wire = Wire::open(self.id, world, Arc::clone(witness));
        let (stopper, stop) = base::stop::pair();
        let post = Post::default();
        let handle: Arc<Mutex<Option<ControllerHandle>>> = Arc::default();
        let replicas = std::mem::take(&mut self.disk)
            .into_iter()
            .map(|(tp, kept)| (tp, Replica::on_disk(kept)))
            .collect();
        self.process = Some(Process {
            wire: wire.clone(),
            post: post.clone(),
            handle: Arc::clone(&handle),
            stopper,
            writes_isrs,
            unsaid: Arc::default(),
            failed: None,
            replicas,
            controller_epoch: 0,
            controller: -1,
        });
        let (id, clock) = (self.id, clock.clone());
        let remembered_id = Arc::clone(remembered_id);
        base::tasks::spawn("broker start", async move {
            let body = broker_body(9000 + id);
            let epoch = loop {
                match registration::register(&wire, id, &body, &wire.past_sessions()).await {
                    Ok(epoch) => break epoch,
                    Err(_) if stop.is_stopped() => return,
                    // The session was renewed in between.
                    Err(_) => tokio::task::yield_now().await,
                }
            };
            let past = wire.clone();
            let mut config = Config::new(id, "PLAINTEXT");
            config.rebalance = false;
            config.agreed = Agreed {
                alter_partition: !writes_isrs,
                ..config.agreed
            };
            let parts = Parts {
                config,
                store: Arc::new(wire),
                sender: Arc::new(post),
                clock,
                stop,
                body,
                cluster_id: CLUSTER.into(),
                broker_epoch: epoch,
                past_sessions: Arc::new(move || past.past_sessions()),
                remembered_id,
            };
            *handle.lock() = Some(controller::start(parts));
        });
    }

    /// kill -9: logs stay.
    pub(crate) fn kill(&mut self, reaches: impl Fn() -> bool) -> Option<i64> {
        let process = self.process.take()?;
        process.stopper.stop();
        let session = process.wire.session();
        process.wire.kill(reaches);
        self.disk = process
            .replicas
            .into_iter()
            .map(|(tp, replica)| (tp, replica.kept()))
            .collect();
        Some(session)
    }

    /// Carries an order out; `None` where no process is there to.
    pub(crate) fn obey(&mut self, order: &Order) -> Option<Answer> {
        let me = self.id;
        let process = self.process.as_mut()?;
        let epoch = process.handle.lock().as_ref()?.status().broker_epoch.0;
        Some(match order {
            Order::LeaderAndIsr(order) => {
                let refused = process.refuses(order.controller_epoch, order.broker_epoch, epoch);
                let mut partitions = Vec::new();
                for topic in order.topics.iter().filter(|_| refused.is_none()) {
                    for one in &topic.partitions {
                        let tp = TopicPartition::new(topic.name.clone(), one.index);
                        let code = match process.replica(me, &tp, topic.id, one.is_new) {
                            Some(replica) => replica.obey(me, topic.id, one),
                            None => ErrorCode::KafkaStorageError,
                        };
                        partitions.push((tp, code));
                    }
                }
                Answer::LeaderAndIsr {
                    error: refused.unwrap_or(ErrorCode::None),
                    partitions,
                }
            }
            Order::UpdateMetadata { broker_epoch, body } => {
                let refused = process.refuses(body.controller_epoch, *broker_epoch, epoch);
                if refused.is_none() {
                    process.controller = body.controller_id;
                }
                Answer::UpdateMetadata {
                    error: refused.unwrap_or(ErrorCode::None),
                }
            }
            Order::StopReplica(order) => {
                let refused = process.refuses(order.controller_epoch, order.broker_epoch, epoch);
                let mut partitions = Vec::new();
                for topic in order.topics.iter().filter(|_| refused.is_none()) {
                    for one in &topic.partitions {
                        let tp = TopicPartition::new(topic.name.clone(), one.index);
                        let code = process.stop(&tp, one.leader_epoch, one.delete);
                        partitions.push((tp, code));
                    }
                }
                order.answered(refused.unwrap_or(ErrorCode::None), partitions)
            }
        })
    }

    /// Writes the ISR that a leader here would like to have, as leaders did before 2.7-IV2.
    pub(crate) fn write_isr(&mut self, tp: &TopicPartition, verdicts: &Arc<Mutex<Vec<Verdict>>>) {
        let me = self.id;
        let Some(process) = &mut self.process else {
            return;
        };
        let Some(replica) = process.replicas.get_mut(tp) else {
            return;
        };
        let Some(proposed) = &mut replica.proposed else {
            return;
        };
        if proposed.in_flight || proposed.stuck || replica.role != Role::Leader {
            return;
        }
        proposed.in_flight = true;
        let (id, epoch) = (replica.id, replica.epoch);
        let state = PartitionState {
            controller_epoch: replica.controller_epoch,
            leader: me,
            leader_epoch: epoch,
            isr: proposed.isr.clone(),
            recovering: false,
        };
        let wanted = Wanted {
            partition: tp.clone(),
            state: state.clone(),
            version: replica.partition_epoch,
        };
        let (wire, unsaid) = (process.wire.clone(), Arc::clone(&process.unsaid));
        let (tp, verdicts) = (tp.clone(), Arc::clone(verdicts));
        base::tasks::spawn("write isr", async move {
            let outcome = match isr::write(&wire, &[wanted]).await.as_deref() {
                Ok([Some(version)]) => {
                    unsaid.lock().insert(tp.clone());
                    Ok(IsrState {
                        leader: me,
                        leader_epoch: epoch,
                        isr: state.isr,
                        recovering: false,
                        partition_epoch: *version,
                    })
                }
                Ok(_) => Err(ErrorCode::InvalidUpdateVersion),
                // The session is over: it is tried again under the next.
                Err(_) => Err(ErrorCode::NotController),
            };
            verdicts.lock().push(Verdict {
                to: me,
                tp,
                id,
                epoch,
                outcome,
            });
        });
    }

    /// Tells the controller which ISRs were written here.
    pub(crate) fn announce(&self) -> bool {
        let Some(process) = &self.process else {
            return false;
        };
        let told = std::mem::take(&mut *process.unsaid.lock());
        if told.is_empty() {
            return false;
        }
        let (wire, unsaid) = (process.wire.clone(), Arc::clone(&process.unsaid));
        base::tasks::spawn("isr notice", async move {
            let partitions: Vec<_> = told.into_iter().collect();
            if isr::announce(&wire, &partitions).await.is_err() {
                unsaid.lock().extend(partitions);
            }
        });
        true
    }

    /// Sends the proposals that wait to whom this broker takes for the controller.
    pub(crate) fn propose(
        &mut self,
        tp: &TopicPartition,
        to: &ControllerHandle,
        gates: &Mutex<Vec<oneshot::Sender<()>>>,
        verdicts: &Arc<Mutex<Vec<Verdict>>>,
    ) -> bool {
        let me = self.id;
        let Some(process) = &mut self.process else {
            return false;
        };
        let epoch = process
            .handle
            .lock()
            .as_ref()
            .map(|one| one.status().broker_epoch.0);
        let (Some(replica), Some(broker_epoch)) = (process.replicas.get_mut(tp), epoch) else {
            return false;
        };
        let Some(proposed) = &mut replica.proposed else {
            return false;
        };
        if proposed.in_flight || proposed.stuck || replica.role != Role::Leader {
            return false;
        }
        proposed.in_flight = true;
        let (epoch, id) = (replica.epoch, replica.id);
        let asked = IsrProposals {
            broker: me,
            broker_epoch,
            by_id: true,
            topics: vec![(
                TopicKey::Id(id),
                vec![IsrProposal {
                    partition: tp.partition,
                    leader_epoch: epoch,
                    isr: proposed.isr.clone(),
                    recovering: false,
                    partition_epoch: replica.partition_epoch,
                }],
            )],
        };
        let (to, tp, verdicts) = (to.clone(), tp.clone(), Arc::clone(verdicts));
        // On its way until the scheduler says that it arrived.
        let (gate, arrived) = oneshot::channel();
        gates.lock().push(gate);
        base::tasks::spawn("alter partition", async move {
            if arrived.await.is_err() {
                return;
            }
            let outcome = match to.alter_partition(asked).await {
                Ok(answers) => answers
                    .into_iter()
                    .flat_map(|(_, list)| list)
                    .next()
                    .map_or(Err(ErrorCode::UnknownServerError), |one| one.outcome),
                // Of the whole request: it is sent again, whatever the code.
                Err(_) => Err(ErrorCode::NotController),
            };
            verdicts.lock().push(Verdict {
                to: me,
                tp,
                id,
                epoch,
                outcome,
            });
        });
        true
    }
}

impl Process {
    fn refuses(&mut self, controller_epoch: i32, asked: i64, mine: i64) -> Option<ErrorCode> {
        if asked != -1 && asked < mine {
            return Some(ErrorCode::StaleBrokerEpoch);
        }
        if controller_epoch < self.controller_epoch {
            return Some(ErrorCode::StaleControllerEpoch);
        }
        self.controller_epoch = controller_epoch;
        None
    }

    /// The replica that an order is about, made where there is none. `None`: it may lie in the
    /// directory that failed, and must not come into being in the other.
    fn replica(
        &mut self,
        me: i32,
        tp: &TopicPartition,
        id: TopicId,
        is_new: bool,
    ) -> Option<&mut Replica> {
        if !self.replicas.contains_key(tp) {
            let home = (tp.partition + me) % 2 == 0;
            let second = match self.failed {
                Some(_) if !is_new => return None,
                Some(failed) => !failed,
                None => home,
            };
            let log = vec![];
            let made = Replica::on_disk(Kept { id, second, log });
            self.replicas.insert(tp.clone(), made);
        }
        self.replicas.get_mut(tp)
    }

    /// A log directory fails: its replicas stop, and the controller is told until it is known that
    /// it heard. The last directory does not fail, for a broker without any ends.
    pub(crate) fn fail_directory(&mut self, me: i32, second: bool) -> bool {
        if self.failed.is_some() {
            return false;
        }
        self.failed = Some(second);
        let lost = self
            .replicas
            .values_mut()
            .filter(|one| one.second == second);
        lost.for_each(Replica::fail);
        let (wire, stop) = (self.wire.clone(), self.stopper.listen());
        base::tasks::spawn("directory failure", async move {
            let path = format!("{}/{}", paths::LOG_DIR_EVENTS, paths::LOG_DIR_EVENT_PREFIX);
            let body = notices::encode_log_dir_failure(me);
            let sequential = Kind::PersistentSequential;
            while !stop.is_stopped()
                && wire
                    .create(&path, body.as_bytes(), sequential)
                    .await
                    .is_err()
            {
                tokio::task::yield_now().await;
            }
        });
        true
    }

    fn stop(&mut self, tp: &TopicPartition, epoch: i32, delete: bool) -> ErrorCode {
        let Some(replica) = self.replicas.get_mut(tp) else {
            return ErrorCode::None;
        };
        if replica.offline {
            return ErrorCode::KafkaStorageError;
        }
        if epoch >= 0 && epoch < replica.epoch {
            return ErrorCode::FencedLeaderEpoch;
        }
        match delete {
            true => drop(self.replicas.remove(tp)),
            false => replica.role = Role::Stopped,
        }
        ErrorCode::None
    }
}
