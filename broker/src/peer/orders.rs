//! Carries a controller's orders: one queue and one task a broker, strictly in order.
//!
//! An order is sent again every 100 ms until it is answered or the broker's queue is closed; the
//! controller closes it when the broker's registration goes. Kafka: `RequestSendThread`. A queue
//! is bounded by what the controller decides during one session timeout, after which an
//! unreachable broker is gone.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base::clock::Clock;
use client::connection::Connection;
use client::dial::host_and_port;
use controller::sender::{Answer, Answers, Order, Peer, PeerSender};
use parking_lot::Mutex;
use protocol::ids::BrokerId;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tracing::{debug, warn};

use crate::peer::versions::Versions;
use crate::peer::{LocalBroker, spelling};

/// Kafka: the pause of `RequestSendThread` after a failure.
const RETRY_MS: i64 = 100;

/// Implements [`PeerSender`] over sockets, and in process for this very broker.
#[derive(Debug)]
pub struct Orders {
    me: BrokerId,
    clock: Clock,
    runtime: Handle,
    patience: Duration,
    versions: Versions,
    local: Arc<Local>,
    queues: Mutex<HashMap<i32, Arc<Queue>>>,
}

#[derive(Debug, Default)]
struct Local {
    broker: OnceLock<Arc<dyn LocalBroker>>,
    ready: Notify,
}

#[derive(Debug)]
struct Queue {
    peer: Peer,
    orders: Mutex<VecDeque<Order>>,
    woken: Notify,
    closed: AtomicBool,
}

impl Orders {
    /// `patience` is `controller.socket.timeout.ms`. Tasks run on the current runtime.
    pub fn new(me: BrokerId, clock: Clock, patience: Duration, versions: Versions) -> Self {
        Orders {
            me,
            clock,
            runtime: Handle::current(),
            patience,
            versions,
            local: Arc::default(),
            queues: Mutex::default(),
        }
    }

    /// How many orders wait for each broker.
    pub fn waiting(&self) -> Vec<(i32, usize)> {
        let queues = self.queues.lock();
        queues
            .iter()
            .map(|(id, queue)| (*id, queue.orders.lock().len()))
            .collect()
    }

    /// Says who obeys orders for this broker itself; until then they wait. Only the first counts.
    pub fn set_local(&self, broker: Arc<dyn LocalBroker>) {
        if self.local.broker.set(broker).is_ok() {
            self.local.ready.notify_waiters();
        }
    }
}

impl PeerSender for Orders {
    fn open(&self, peer: Peer, answers: Answers) {
        let id = peer.id;
        let queue = Arc::new(Queue {
            peer,
            orders: Mutex::default(),
            woken: Notify::new(),
            closed: AtomicBool::new(false),
        });
        if let Some(old) = self.queues.lock().insert(id, queue.clone()) {
            old.close();
        }
        let local = (id == self.me.0).then(|| self.local.clone());
        let carrier = Carrier {
            queue,
            answers,
            clock: self.clock.clone(),
            patience: self.patience,
            versions: self.versions,
            client_id: self.me.to_string(),
            local,
            connection: None,
            told: false,
        };
        base::tasks::spawn_on(&self.runtime, "orders to a broker", carrier.run());
    }

    fn close(&self, broker: i32) {
        if let Some(queue) = self.queues.lock().remove(&broker) {
            queue.close();
        }
    }

    fn send(&self, broker: i32, order: Order) {
        let queue = self.queues.lock().get(&broker).cloned();
        if let Some(queue) = queue {
            let orders = spelling::orders(order, self.versions);
            queue.orders.lock().extend(orders);
            queue.woken.notify_one();
        }
    }
}

impl Queue {
    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.woken.notify_one();
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    async fn next(&self) -> Option<Order> {
        loop {
            if self.is_closed() {
                return None;
            }
            if let Some(order) = self.orders.lock().pop_front() {
                return Some(order);
            }
            self.woken.notified().await;
        }
    }
}

/// The task of one broker.
struct Carrier {
    queue: Arc<Queue>,
    answers: Answers,
    clock: Clock,
    patience: Duration,
    versions: Versions,
    client_id: String,
    local: Option<Arc<Local>>,
    connection: Option<Connection>,
    told: bool,
}

impl Carrier {
    async fn run(mut self) {
        while let Some(order) = self.queue.next().await {
            let Some(answer) = self.deliver(&order).await else {
                return;
            };
            if !self.answers.send(answer).await {
                return;
            }
        }
    }

    /// Sends until answered; `None` once closed.
    async fn deliver(&mut self, order: &Order) -> Option<Answer> {
        loop {
            if self.queue.is_closed() {
                return None;
            }
            let answered = match self.local.clone() {
                Some(local) => self.hand_over(&local, order).await,
                None => self.send(order).await,
            };
            if answered.is_some() {
                self.told = false;
                return answered;
            }
            self.clock.sleep_ms(RETRY_MS).await;
        }
    }

    async fn hand_over(&self, local: &Local, order: &Order) -> Option<Answer> {
        let ready = local.ready.notified();
        tokio::pin!(ready);
        ready.as_mut().enable();
        if local.broker.get().is_none() {
            ready.await;
        }
        let (_, version, request) = spelling::request(order, self.versions);
        let response = local.broker.get()?.obey(version, request).await?;
        spelling::answer(order, response)
    }

    async fn send(&mut self, order: &Order) -> Option<Answer> {
        let (api, version, request) = spelling::request(order, self.versions);
        let at = &self.queue.peer.endpoint;
        let address = host_and_port(&at.host, at.port);
        if self.connection.as_ref().is_none_or(Connection::is_broken) {
            let opened = Connection::open_unasked(&address, &self.client_id, self.patience).await;
            match opened {
                Ok(connection) => self.connection = Some(connection),
                Err(error) => {
                    if !self.told {
                        warn!(broker = self.queue.peer.id, %error, "cannot reach a broker; trying on");
                        self.told = true;
                    }
                    return None;
                }
            }
        }
        let connection = self.connection.as_mut()?;
        let exchange = async {
            connection.send_as(api, version, request).await?;
            connection.receive().await.map(|(_, response)| response)
        };
        match tokio::time::timeout(self.patience, exchange).await {
            Ok(Ok(response)) => spelling::answer(order, response),
            Ok(Err(error)) => {
                debug!(broker = self.queue.peer.id, %error, "order not answered; sending again");
                self.connection = None;
                None
            }
            Err(_late) => {
                warn!(
                    broker = self.queue.peer.id,
                    "order not answered in time; sending again"
                );
                self.connection = None;
                None
            }
        }
    }
}
