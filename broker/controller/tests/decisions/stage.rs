//! Plays one script.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::sync::{Arc, OnceLock};

use base::clock::Clock;
use controller::event::{ElectionKind, IsrProposal, IsrProposals, TopicKey, Verdict};
use controller::sender::{
    Answer, Answers, OfTopic, Order, Peer, PeerSender, StopPartition, StopReplica,
};
use controller::{Config, ControllerHandle, Parts};
use parking_lot::Mutex;
use protocol::ids::{TopicId, TopicPartition};
use protocol::kafka::errors::ErrorCode;
use znodes::bodies::controller::{Controller, decode_epoch};
use znodes::bodies::partition::PartitionState;
use znodes::bodies::reassign;
use znodes::isr::{self, Wanted};
use znodes::memory::{Access, Memory, World};
use znodes::paths;
use znodes::registration;
use znodes::session::create_base_nodes;
use znodes::store::{ANY, Kind, Op, Store};

use znodes::memory::broker_body;

/// Writes orders down and answers that all went well, unless told otherwise.
#[derive(Debug, Default)]
struct Clerk {
    open: Mutex<BTreeMap<i32, Answers>>,
    sent: Mutex<Vec<String>>,
    /// Who lives, as each broker was told last.
    alive: Mutex<BTreeMap<i32, Vec<i32>>>,
    /// Brokers that do not say what became of deletions, and what they would say.
    mute: Mutex<BTreeMap<i32, Vec<StopReplica>>>,
    /// Replicas that lie on failed directories.
    failed: Mutex<BTreeSet<(i32, TopicPartition)>>,
    ids: Mutex<HashMap<Arc<str>, TopicId>>,
    /// The controller whose orders these are, and what it was doing when it sent them.
    controller: OnceLock<ControllerHandle>,
    works: Mutex<BTreeSet<u8>>,
}

impl Clerk {
    /// A broker says at last what became of deletions.
    fn speak(&self, broker: i32, code: ErrorCode) {
        let orders = self.mute.lock().remove(&broker).unwrap_or_default();
        let answers = self.open.lock().get(&broker).cloned().unwrap();
        for order in orders {
            let partitions = order.topics.iter().flat_map(|topic| {
                let each = topic.partitions.iter();
                each.map(|one| (TopicPartition::new(topic.name.clone(), one.index), code))
            });
            let answer = order.answered(ErrorCode::None, partitions);
            assert!(answers.try_send(answer));
        }
    }

    fn told_who_lives(&self, broker: i32, order: &Order) -> Option<String> {
        let Order::UpdateMetadata { body, .. } = order else {
            return None;
        };
        let now: Vec<i32> = body.brokers.iter().map(|one| one.id).collect();
        let before = self.alive.lock().insert(broker, now.clone());
        (before.as_ref() != Some(&now)).then(|| format!("to {broker}: alive {now:?}"))
    }
}

impl PeerSender for Clerk {
    fn open(&self, peer: Peer, answers: Answers) {
        self.open.lock().insert(peer.id, answers);
    }

    fn close(&self, broker: i32) {
        self.open.lock().remove(&broker);
    }

    fn send(&self, broker: i32, order: Order) {
        let Some(answers) = self.open.lock().get(&broker).cloned() else {
            return;
        };
        if let Some(controller) = self.controller.get() {
            self.works.lock().insert(controller.measures().state());
        }
        let error = ErrorCode::None;
        let mut lines = Vec::from_iter(self.told_who_lives(broker, &order));
        let mut partitions = Vec::new();
        let mut heard = |topic: &Arc<str>, index, told: String| {
            lines.push(format!("to {broker}: {told}"));
            let replica = (broker, TopicPartition::new(topic.clone(), index));
            let code = match self.failed.lock().contains(&replica) {
                true => ErrorCode::KafkaStorageError,
                false => error,
            };
            partitions.push((replica.1, code));
        };
        let answer = match &order {
            Order::LeaderAndIsr(order) => {
                for topic in &order.topics {
                    self.ids.lock().insert(topic.name.clone(), topic.id);
                    for one in &topic.partitions {
                        let told = format!(
                            "lead {}-{} leader {} epoch {} isr {:?}{}{}",
                            topic.name,
                            one.index,
                            one.leader,
                            one.leader_epoch,
                            one.isr,
                            if one.is_new { " new" } else { "" },
                            if one.recovering { " recovering" } else { "" },
                        );
                        heard(&topic.name, one.index, told);
                    }
                }
                Answer::LeaderAndIsr { error, partitions }
            }
            Order::UpdateMetadata { body, .. } => {
                for topic in &body.topics {
                    for one in &topic.partitions {
                        let told = format!(
                            "tell {}-{} leader {} epoch {} offline {:?}",
                            topic.name,
                            one.index,
                            one.leader,
                            one.leader_epoch,
                            one.offline_replicas
                        );
                        heard(&topic.name, one.index, told);
                    }
                }
                Answer::UpdateMetadata { error }
            }
            Order::StopReplica(order) => {
                for topic in &order.topics {
                    for one in &topic.partitions {
                        let deletes = if one.delete { " delete" } else { "" };
                        let told = format!(
                            "stop {}-{} epoch {}{deletes}",
                            topic.name, one.index, one.leader_epoch
                        );
                        heard(&topic.name, one.index, told);
                    }
                }
                let deletes =
                    |topic: &OfTopic<StopPartition>| topic.partitions.iter().any(|one| one.delete);
                if order.topics.iter().any(deletes)
                    && let Some(kept) = self.mute.lock().get_mut(&broker)
                {
                    kept.push(order.clone());
                    self.sent.lock().extend(lines);
                    return;
                }
                order.answered(error, partitions)
            }
        };
        self.sent.lock().extend(lines);
        assert!(answers.try_send(answer));
    }
}

struct Stage {
    world: World,
    admin: Memory,
    clerk: Arc<Clerk>,
    handle: ControllerHandle,
    sessions: BTreeMap<i32, Memory>,
    shown: BTreeMap<String, String>,
    ids: BTreeMap<String, Option<TopicId>>,
    clock: Clock,
    answers: Vec<String>,
}

/// The script with what came out below each command.
pub(crate) async fn play(script: &str) -> String {
    let clock = Clock::by_hand(1);
    let world = World::new(clock.clone());
    let (admin, first) = (world.connect(), world.connect());
    create_base_nodes(&admin).await.unwrap();
    registration::cluster_id(&admin, Some("scripted"))
        .await
        .unwrap();
    let broker_epoch = registration::register(&first, 1, &broker_body(9001), &[])
        .await
        .unwrap();
    let clerk = Arc::new(Clerk::default());
    let (_stopper, stop) = base::stop::pair();
    let config = Config::new(1, "PLAINTEXT");
    let remembering = Arc::clone(&clerk);
    let handle = controller::start(Parts {
        config,
        store: Arc::new(first.clone()),
        sender: Arc::clone(&clerk) as _,
        clock: clock.clone(),
        stop,
        body: broker_body(9001),
        cluster_id: "scripted".into(),
        broker_epoch,
        past_sessions: Arc::new(Vec::new),
        remembered_id: Arc::new(move |topic, _| remembering.ids.lock().get(topic).copied()),
    });
    clerk.controller.set(handle.clone()).unwrap();
    let mut stage = Stage {
        world,
        admin,
        clerk,
        handle,
        sessions: BTreeMap::from([(1, first)]),
        shown: BTreeMap::new(),
        ids: BTreeMap::new(),
        clock,
        answers: vec![],
    };
    stage.settle().await;
    stage.clerk.sent.lock().clear();
    let mut text = String::new();
    for line in script.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            writeln!(text, "{line}").unwrap();
            stage.carry_out(command).await;
            stage.settle().await;
            for line in stage.news().await {
                writeln!(text, "{line}").unwrap();
            }
        } else if line.is_empty() || line.starts_with('#') {
            writeln!(text, "{line}").unwrap();
        }
    }
    text
}

fn access(what: &str) -> Access {
    match what {
        "reading" => Access::Read,
        "deleting" => Access::Delete,
        "seeing" => Access::Look,
        _ => Access::Write,
    }
}

fn numbers(text: &str) -> Vec<i32> {
    text.split(',').map(|one| one.parse().unwrap()).collect()
}

fn verdict(tp: &TopicPartition, (code, text): Verdict) -> String {
    let text = text.map_or_else(String::new, |text| format!(": {text}"));
    format!("= {tp} {code:?}{text}")
}

fn named(text: &str) -> TopicPartition {
    let (topic, index) = text.rsplit_once('-').unwrap();
    TopicPartition::new(topic, index.parse().unwrap())
}

impl Stage {
    async fn settle(&self) {
        for _ in 0..500 {
            tokio::task::yield_now().await;
        }
    }

    async fn carry_out(&mut self, command: &str) {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[..] {
            ["broker", ref ids @ ..] => {
                for id in ids {
                    let id: i32 = id.parse().unwrap();
                    let session = self.world.connect();
                    registration::register(&session, id, &broker_body(9000 + id), &[])
                        .await
                        .unwrap();
                    self.sessions.insert(id, session);
                    self.settle().await;
                }
            }
            ["dies", id] => {
                let session = self.sessions.remove(&id.parse().unwrap()).unwrap();
                self.world.expire(session.session());
            }
            ["topic", name, ref lists @ ..] => {
                let lists: Vec<String> = lists
                    .iter()
                    .map(|list| {
                        let (index, ids) = list.split_once(':').unwrap();
                        format!("\"{index}\":[{ids}]")
                    })
                    .collect();
                let body = format!("{{\"version\":1,\"partitions\":{{{}}}}}", lists.join(","));
                self.create(&paths::topic(name), &body).await;
            }
            ["unclean", name] => {
                let body = r#"{"version":1,"config":{"unclean.leader.election.enable":"true"}}"#;
                self.create(&paths::topic_config(name), body).await;
                self.handle.unclean_election_enabled(name.into()).await;
            }
            ["isr", leader, tp, members] => self.propose(leader, tp, members, 0).await,
            ["stale-isr", leader, tp, members] => self.propose(leader, tp, members, 1).await,
            ["writes-isr", tp, members] => {
                let tp = named(tp);
                let path = paths::partition_state(&tp.topic, tp.partition);
                let node = self.admin.get(&path, None).await.unwrap().unwrap();
                let mut state = PartitionState::decode(&node.data).unwrap();
                state.isr = numbers(members);
                let wanted = Wanted {
                    partition: tp,
                    state,
                    version: node.stat.version,
                };
                isr::write(&self.admin, &[wanted]).await.unwrap();
            }
            ["notice", tp] => isr::announce(&self.admin, &[named(tp)]).await.unwrap(),
            ["elect", kind, tp] => {
                let kind = match kind {
                    "preferred" => ElectionKind::Preferred,
                    _ => ElectionKind::Unclean,
                };
                let asked = Some(vec![named(tp)]);
                for (tp, outcome) in self.handle.elect_leaders(kind, asked).await.unwrap() {
                    self.answers.push(match outcome {
                        Ok(leader) => format!("= {tp} led by {leader}"),
                        Err(refusal) => verdict(&tp, refusal),
                    });
                }
            }
            ["leaves", id] => {
                let id = id.parse().unwrap();
                match self.handle.controlled_shutdown(id, -1).await {
                    Ok(rest) => {
                        let rest: Vec<String> = rest.iter().map(ToString::to_string).collect();
                        self.answers.push(format!("= still led: {rest:?}"));
                    }
                    Err(code) => self.answers.push(format!("= {code:?}")),
                }
            }
            ["move", tp, ids] => self.reassign(tp, Some(numbers(ids))).await,
            ["cancel", tp] => self.reassign(tp, None).await,
            ["node", ref moves @ ..] => {
                let each = moves.iter().map(|one| {
                    let (tp, ids) = one.split_once(':').unwrap();
                    (named(tp), numbers(ids))
                });
                let body = reassign::encode_targets(&each.collect::<Vec<_>>());
                self.create(paths::REASSIGN, &body).await;
            }
            ["prefers", tp] => {
                let body = reassign::encode_partitions(&[named(tp)]);
                self.create(paths::PREFERRED_ELECTION, &body).await;
            }
            ["prefers-again", tp] => {
                let body = reassign::encode_partitions(&[named(tp)]);
                let set = self
                    .admin
                    .set(paths::PREFERRED_ELECTION, body.as_bytes(), ANY);
                set.await.unwrap();
            }
            ["failover"] => self.admin.delete(paths::CONTROLLER, ANY).await.unwrap(),
            ["usurps", id] => {
                let id: i32 = id.parse().unwrap();
                let rival = Controller {
                    broker: id,
                    timestamp: 1,
                    kraft_epoch: -1,
                };
                let epoch = self.admin.get(paths::CONTROLLER_EPOCH, None);
                let epoch = decode_epoch(&epoch.await.unwrap().unwrap().data).unwrap();
                let steps = vec![
                    Op::delete(paths::CONTROLLER, ANY),
                    Op::create(paths::CONTROLLER, rival.encode()),
                    Op::set(paths::CONTROLLER_EPOCH, (epoch + 1).to_string(), ANY),
                ];
                self.admin.multi(steps).await.unwrap();
            }
            ["loses-id", name] => {
                let path = paths::topic(name);
                let node = self.admin.get(&path, None).await.unwrap().unwrap();
                let mut topic = znodes::bodies::topic::Topic::decode(&node.data).unwrap();
                topic.id = None;
                let body = topic.encode();
                self.admin.set(&path, body.as_bytes(), ANY).await.unwrap();
            }
            ["mute", id] => {
                let mut mute = self.clerk.mute.lock();
                mute.insert(id.parse().unwrap(), vec![]);
            }
            ["speaks", id] => self.clerk.speak(id.parse().unwrap(), ErrorCode::None),
            ["fails-to-delete", id] => {
                let code = ErrorCode::KafkaStorageError;
                self.clerk.speak(id.parse().unwrap(), code);
            }
            ["directory-fails", id, tp] => {
                let broker = id.parse().unwrap();
                self.clerk.failed.lock().insert((broker, named(tp)));
                let path = format!("{}/{}", paths::LOG_DIR_EVENTS, paths::LOG_DIR_EVENT_PREFIX);
                let body = znodes::bodies::notices::encode_log_dir_failure(broker);
                let kind = Kind::PersistentSequential;
                let notice = self.admin.create(&path, body.as_bytes(), kind);
                notice.await.unwrap();
            }
            ["waits", seconds] => self.clock.advance(seconds.parse::<i64>().unwrap() * 1000),
            ["forbids", what, path] => self.world.forbid(path, access(what)),
            ["allows", what, path] => self.world.allow(path, access(what)),
            ["status"] => {
                let status = self.handle.status();
                let hidden = if status.hidden { " hidden" } else { "" };
                self.answers.push(format!(
                    "= active {} epoch {} controller {:?}{hidden}",
                    status.active, status.epoch, status.controller
                ));
            }
            ["works"] => {
                let works = std::mem::take(&mut *self.clerk.works.lock());
                let now = self.handle.measures().state();
                self.answers.push(format!("= {works:?} now {now}"));
            }
            ["counts"] => {
                let counts = self.handle.counts().await.unwrap();
                let unclean = self.handle.measures().unclean_elections.get();
                self.answers.push(format!("= {counts:?} unclean {unclean}"));
            }
            ["delete", name] => self.create(&paths::delete_topic(name), "").await,
            _ => panic!("not a command: {command}"),
        }
    }

    async fn create(&self, path: &str, body: &str) {
        self.admin
            .create(path, body.as_bytes(), Kind::Persistent)
            .await
            .unwrap();
    }

    async fn reassign(&mut self, tp: &str, to: Option<Vec<i32>>) {
        let done = self.handle.reassign(vec![(named(tp), to)]).await.unwrap();
        for (tp, refusal) in done {
            self.answers.push(verdict(&tp, refusal));
        }
    }

    async fn propose(&mut self, leader: &str, tp: &str, members: &str, behind: i32) {
        let (broker, tp) = (leader.parse().unwrap(), named(tp));
        let path = paths::partition_state(&tp.topic, tp.partition);
        let node = self.admin.get(&path, None).await.unwrap().unwrap();
        let state = PartitionState::decode(&node.data).unwrap();
        let registered = self.admin.get(&paths::broker(broker), None).await.unwrap();
        let asked = IsrProposals {
            broker,
            broker_epoch: registered.unwrap().stat.czxid,
            by_id: false,
            topics: vec![(
                TopicKey::Name(tp.topic.clone()),
                vec![IsrProposal {
                    partition: tp.partition,
                    leader_epoch: state.leader_epoch,
                    isr: numbers(members),
                    recovering: false,
                    partition_epoch: node.stat.version - behind,
                }],
            )],
        };
        for (_, list) in self.handle.alter_partition(asked).await.unwrap() {
            for one in list {
                self.answers.push(match one.outcome {
                    Ok(state) => format!("= isr {:?} v{}", state.isr, state.partition_epoch),
                    Err(code) => format!("= {code:?}"),
                });
            }
        }
    }

    /// States and assignments that are new, orders since the last look, answers.
    async fn news(&mut self) -> Vec<String> {
        let mut lines = std::mem::take(&mut self.answers);
        let mut now = BTreeMap::new();
        for (path, data) in self.world.dump() {
            if path == paths::REASSIGN || path == paths::PREFERRED_ELECTION {
                now.insert(path, format!("node {data}"));
                continue;
            }
            let Some(rest) = path.strip_prefix("/brokers/topics/") else {
                continue;
            };
            if let Some((topic, rest)) = rest.split_once("/partitions/") {
                let Some(index) = rest.strip_suffix("/state") else {
                    continue;
                };
                let state = PartitionState::decode(data.as_bytes()).unwrap();
                let node = self.admin.get(&path, None).await.unwrap().unwrap();
                let line = format!(
                    "{topic}-{index} leader {} epoch {} isr {:?}{} by {} v{}",
                    state.leader,
                    state.leader_epoch,
                    state.isr,
                    if state.recovering { " recovering" } else { "" },
                    state.controller_epoch,
                    node.stat.version
                );
                now.insert(path, line);
            } else if !rest.contains('/') {
                let topic = znodes::bodies::topic::Topic::decode(data.as_bytes()).unwrap();
                let parts: Vec<String> = topic
                    .partitions
                    .iter()
                    .map(|(index, held)| {
                        let mut text = format!("{index}:{:?}", held.replicas);
                        if !held.adding.is_empty() || !held.removing.is_empty() {
                            text +=
                                &format!(" adding {:?} removing {:?}", held.adding, held.removing);
                        }
                        text
                    })
                    .collect();
                let first = *self.ids.entry(rest.to_owned()).or_insert(topic.id);
                let id = match topic.id {
                    None => " without id",
                    id if id == first => "",
                    Some(_) => " with another id",
                };
                let line = format!("topic {rest} {}{id}", parts.join(" "));
                now.insert(path.clone(), line);
            }
        }
        for (path, line) in &now {
            if self.shown.get(path) != Some(line) {
                lines.push(line.clone());
            }
        }
        for path in self.shown.keys().filter(|path| !now.contains_key(*path)) {
            lines.push(format!("gone {path}"));
        }
        self.shown = now;
        lines.append(&mut self.clerk.sent.lock());
        lines
    }
}
