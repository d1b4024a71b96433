//! What people do to a cluster: through brokers, and with old tools straight in ZooKeeper.

use std::sync::Arc;

use controller::event::ElectionKind;
use protocol::ids::TopicPartition;
use tokio::sync::oneshot;
use znodes::bodies::reassign;
use znodes::bodies::topic::{Assignment, Topic};
use znodes::paths;
use znodes::store::{ANY, Kind, Op, Store};

use crate::world::{BROKERS, Stage};

const TOPICS: usize = 4;
const PARTITIONS: i32 = 4;

impl Stage {
    /// One to three different brokers.
    fn some_brokers(&self) -> Vec<i32> {
        let mut ids: Vec<i32> = (1..=BROKERS).collect();
        for at in (1..ids.len()).rev() {
            ids.swap(at, self.below(at + 1));
        }
        ids.truncate(1 + self.below(3));
        ids
    }

    fn some_topic(&self) -> Option<(Arc<str>, Topic)> {
        let chronicle = self.chronicle.lock();
        let all: Vec<_> = chronicle.topics.iter().collect();
        let found = self.pick(&all)?;
        Some((Arc::clone(found.0), found.1.clone()))
    }

    /// Of a topic that is there, and once in a while one that is not.
    fn some_partition(&self) -> Option<TopicPartition> {
        let (name, topic) = self.some_topic()?;
        let indexes: Vec<i32> = topic.partitions.keys().copied().collect();
        let index = match self.below(20) {
            0 => PARTITIONS,
            _ => *self.pick(&indexes)?,
        };
        Some(TopicPartition::new(name, index))
    }

    /// As old tools do it: without an id.
    pub(crate) async fn a_topic_is_made(&mut self) {
        let name: Arc<str> = format!("t{}", 1 + self.below(TOPICS)).into();
        let node = paths::topic(&name);
        let marker = paths::delete_topic(&name);
        if self.admin.get(&node, None).await.unwrap().is_some()
            || self.admin.get(&marker, None).await.unwrap().is_some()
        {
            return;
        }
        // What a broker that was away when a replica was moved off it still has, somebody removes
        // by hand, as with Kafka: all assigned replicas were gone with the former topic.
        for host in &mut self.hosts {
            host.disk.retain(|tp, _| tp.topic != name);
            if let Some(process) = &mut host.process {
                process.replicas.retain(|tp, _| tp.topic != name);
            }
        }
        let count = 1 + i32::try_from(self.below(2)).unwrap();
        let partitions = (0..count).map(|index| (index, Assignment::of(self.some_brokers())));
        let topic = Topic {
            id: None,
            partitions: partitions.collect(),
        };
        let config = Op::create(paths::topic_config(&name), "{\"version\":1,\"config\":{}}");
        let made = Op::create(node, topic.encode());
        self.chronicle.lock().topics.insert(name, topic);
        self.admin.multi(vec![config, made]).await.unwrap();
    }

    pub(crate) async fn a_topic_is_deleted(&mut self) {
        let Some((name, _)) = self.some_topic() else {
            return;
        };
        if self.chronicle.lock().marked.insert(Arc::clone(&name)) {
            let marker = paths::delete_topic(&name);
            let made = self.admin.create(&marker, b"", Kind::Persistent);
            made.await.unwrap();
        }
    }

    /// As old tools do it, of which the oldest drop the id.
    pub(crate) async fn a_topic_grows(&mut self) {
        let Some((name, mut topic)) = self.some_topic() else {
            return;
        };
        let next = i32::try_from(topic.partitions.len()).unwrap();
        if next >= PARTITIONS {
            return;
        }
        let added = Assignment::of(self.some_brokers());
        topic.partitions.insert(next, added);
        let mut written = topic.clone();
        if self.below(3) == 0 {
            written.id = None;
        }
        let body = written.encode();
        self.chronicle
            .lock()
            .topics
            .insert(Arc::clone(&name), topic);
        let set = vec![Op::set(paths::topic(&name), body, ANY)];
        self.admin.multi(set).await.unwrap();
        self.totals.growths += 1;
    }

    /// Sends a request to some broker, which is on its way until the scheduler says otherwise.
    fn ask<T>(&self, request: impl FnOnce(controller::ControllerHandle) -> T + Send + 'static)
    where
        T: Future + Send + 'static,
        T::Output: Send,
    {
        let Some(handle) = self.pick(&self.running()).and_then(|at| self.handle(*at)) else {
            return;
        };
        let (gate, arrived) = oneshot::channel();
        self.gates.lock().push(gate);
        base::tasks::spawn("request", async move {
            if arrived.await.is_ok() {
                // Whoever is not controller refuses.
                let _answer = request(handle).await;
            }
        });
    }

    pub(crate) fn an_election_is_asked_for(&mut self) {
        self.ask(|handle| async move { handle.elect_leaders(ElectionKind::Preferred, None).await });
    }

    pub(crate) fn a_move_is_asked_for(&mut self) {
        let Some(tp) = self.some_partition() else {
            return;
        };
        // Some take back what was asked for.
        let targets = (self.below(4) > 0).then(|| self.some_brokers());
        self.ask(|handle| async move { handle.reassign(vec![(tp, targets)]).await });
    }

    pub(crate) async fn a_move_is_written_down(&mut self) {
        let mut targets = Vec::new();
        for _ in 0..=self.below(2) {
            if let Some(tp) = self.some_partition()
                && targets.iter().all(|(other, _)| *other != tp)
            {
                targets.push((tp, self.some_brokers()));
            }
        }
        if !targets.is_empty() {
            self.write_down(paths::REASSIGN, &reassign::encode_targets(&targets))
                .await;
        }
    }

    pub(crate) async fn an_election_is_written_down(&mut self) {
        let asked: Vec<_> = self.some_partition().into_iter().collect();
        self.write_down(
            paths::PREFERRED_ELECTION,
            &reassign::encode_partitions(&asked),
        )
        .await;
    }

    /// Old tools refuse where somebody else's node is there still.
    async fn write_down(&self, path: &str, body: &str) {
        if self.admin.get(path, None).await.unwrap().is_none() {
            let made = self.admin.create(path, body.as_bytes(), Kind::Persistent);
            made.await.unwrap();
        }
    }

    pub(crate) fn somebody_asks_to_leave(&mut self) {
        let staying: Vec<usize> = self
            .running()
            .into_iter()
            .filter(|at| !self.leaving.contains(at))
            .collect();
        // As with deaths: somebody is always left.
        if staying.len() <= 2 {
            return;
        }
        let Some(at) = self.pick(&staying).copied() else {
            return;
        };
        let Some(mine) = self.handle(at) else { return };
        self.leaving.insert(at);
        let id = self.hosts[at].id;
        self.ask(move |handle| async move {
            let epoch = mine.status().broker_epoch.0;
            handle.controlled_shutdown(id, epoch).await
        });
    }

    /// Whatever it was told: it has asked, and time is up.
    pub(crate) fn somebody_leaves(&mut self) {
        let leaving: Vec<usize> = self.leaving.iter().copied().collect();
        if let Some(at) = self.pick(&leaving).copied() {
            self.leave(at);
        }
    }

    /// An orderly end: the session is closed behind the last request.
    pub(crate) fn leave(&mut self, at: usize) {
        self.leaving.remove(&at);
        if let Some(session) = self.hosts[at].kill(|| true) {
            self.world.expire(session);
            self.totals.leavings += 1;
        }
    }

    pub(crate) fn a_directory_fails(&mut self) {
        let second = self.below(2) == 0;
        if let Some(at) = self.pick(&self.running()).copied() {
            let host = &mut self.hosts[at];
            let id = host.id;
            let failed = host
                .process
                .as_mut()
                .is_some_and(|process| process.fail_directory(id, second));
            self.totals.failed_directories += usize::from(failed);
        }
    }
}
