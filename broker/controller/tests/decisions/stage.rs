//! Plays one script.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use base::clock::Clock;
use controller::event::{ElectionKind, IsrProposal, IsrProposals, TopicKey};
use controller::sender::{Answer, Answers, Order, Peer, PeerSender};
use controller::{Config, ControllerHandle, Parts};
use parking_lot::Mutex;
use protocol::ids::TopicPartition;
use protocol::kafka::errors::ErrorCode;
use znodes::bodies::partition::PartitionState;
use znodes::memory::{Memory, World};
use znodes::paths;
use znodes::registration;
use znodes::session::create_base_nodes;
use znodes::store::{Kind, Store};

use crate::registered::body;

/// Writes orders down and answers that all went well.
#[derive(Debug, Default)]
struct Clerk {
    open: Mutex<BTreeMap<i32, Answers>>,
    sent: Mutex<Vec<String>>,
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
        let error = ErrorCode::None;
        let mut lines = Vec::new();
        let mut partitions = Vec::new();
        let mut heard = |topic: &Arc<str>, index, told: String| {
            lines.push(format!("to {broker}: {told}"));
            partitions.push((TopicPartition::new(topic.clone(), index), error));
        };
        let answer = match &order {
            Order::LeaderAndIsr(order) => {
                for topic in &order.topics {
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
                Answer::StopReplica { error, partitions }
            }
        };
        self.sent.lock().extend(lines);
        answers.try_send((broker, answer)).unwrap();
    }
}

struct Stage {
    world: World,
    admin: Memory,
    clerk: Arc<Clerk>,
    handle: ControllerHandle,
    sessions: BTreeMap<i32, Memory>,
    shown: BTreeMap<String, String>,
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
    let broker_epoch = registration::register(&first, 1, &body(1), &[])
        .await
        .unwrap();
    let clerk = Arc::new(Clerk::default());
    let (_stopper, stop) = base::stop::pair();
    let mut config = Config::new(1, "PLAINTEXT");
    config.rebalance = false;
    let handle = controller::start(Parts {
        config,
        store: Arc::new(first.clone()),
        sender: Arc::clone(&clerk) as _,
        clock,
        stop,
        body: body(1),
        cluster_id: "scripted".into(),
        broker_epoch,
        past_sessions: Arc::new(Vec::new),
    });
    let mut stage = Stage {
        world,
        admin,
        clerk,
        handle,
        sessions: BTreeMap::from([(1, first)]),
        shown: BTreeMap::new(),
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

fn numbers(text: &str) -> Vec<i32> {
    text.split(',').map(|one| one.parse().unwrap()).collect()
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
                    registration::register(&session, id, &body(id), &[])
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
            ["elect", kind, tp] => {
                let kind = match kind {
                    "preferred" => ElectionKind::Preferred,
                    _ => ElectionKind::Unclean,
                };
                let asked = Some(vec![named(tp)]);
                for (tp, (code, _)) in self.handle.elect_leaders(kind, asked).await.unwrap() {
                    self.answers.push(format!("= {tp} {code:?}"));
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
        for (tp, (code, _)) in done {
            self.answers.push(format!("= {tp} {code:?}"));
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
                now.insert(path.clone(), format!("topic {rest} {}", parts.join(" ")));
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
