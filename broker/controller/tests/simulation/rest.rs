//! The end of a run: everybody lives, nothing is lost any more, and the cluster comes to rest.

use protocol::ids::TopicPartition;
use znodes::bodies::partition::PartitionState;
use znodes::bodies::topic::{Assignment, Topic};
use znodes::paths;
use znodes::store::Store;

use crate::replica::Role;
use crate::world::Stage;

/// Enough for everything to be told to everybody when nothing happens any more.
const QUIET_ROUNDS: usize = 4_000;

impl Stage {
    /// All partitions are led, all brokers know, and nothing is left undone.
    pub(crate) async fn come_to_rest(&mut self) {
        for ghost in std::mem::take(&mut self.ghosts) {
            self.world.expire(ghost);
        }
        for at in 0..self.hosts.len() {
            let broken = |one: &crate::host::Process| one.failed.is_some();
            if self.leaving.contains(&at) || self.hosts[at].process.as_ref().is_some_and(broken) {
                self.leave(at);
            }
            if self.hosts[at].process.is_none() {
                self.start(at);
            }
        }
        let mut last = String::new();
        for round in 0..QUIET_ROUNDS {
            self.quiet_round().await;
            self.check();
            if round % 20 == 19 {
                match self.unrest().await {
                    None => return,
                    Some(why) => last = why,
                }
            }
        }
        panic!("no rest: {last}");
    }

    /// Everything under way arrives, everybody fetches and proposes.
    async fn quiet_round(&mut self) {
        for at in 0..self.hosts.len() {
            if let Some(process) = &self.hosts[at].process {
                while process.wire.serve() {}
                while process.wire.deliver() {}
            }
            self.settle().await;
            let targets = self.hosts[at]
                .process
                .as_ref()
                .map(|one| one.post.targets());
            for to in targets.unwrap_or_default() {
                self.carry(at, to, false);
            }
            self.settle().await;
        }
        while !self.gates.lock().is_empty() {
            self.a_request_arrives();
        }
        self.settle().await;
        while !self.verdicts.lock().is_empty() {
            self.a_verdict_arrives();
        }
        let all: Vec<(usize, TopicPartition)> = (0..self.hosts.len())
            .flat_map(|at| {
                let process = self.hosts[at].process.as_ref();
                let keys = process.map(|one| one.replicas.keys().cloned().collect::<Vec<_>>());
                keys.unwrap_or_default().into_iter().map(move |tp| (at, tp))
            })
            .collect();
        for (at, tp) in &all {
            self.fetch(*at, tp, 100);
            self.propose(*at, tp);
        }
        for at in 0..self.hosts.len() {
            self.announce(at);
        }
        self.clock.advance(50);
    }

    /// What is still not as it should be.
    async fn unrest(&self) -> Option<String> {
        for path in [paths::REASSIGN, paths::PREFERRED_ELECTION] {
            if self.admin.exists(path, None).await.unwrap().is_some() {
                return Some(format!("{path} is there still"));
            }
        }
        for folder in [
            paths::DELETE_TOPICS,
            paths::LOG_DIR_EVENTS,
            paths::ISR_CHANGES,
        ] {
            let left = self.admin.list(folder, None).await.unwrap();
            if left.as_ref().is_some_and(|names| !names.is_empty()) {
                return Some(format!("{folder} has {left:?}"));
            }
        }
        let names = self.admin.list(paths::TOPICS, None).await.unwrap();
        let configs = format!("{}/topics", paths::CONFIG);
        let configured = self.admin.list(&configs, None).await.unwrap();
        if names != configured {
            return Some(format!("topics {names:?} have configs {configured:?}"));
        }
        for name in names.unwrap_or_default() {
            let node = self.admin.get(&paths::topic(&name), None).await.unwrap();
            let topic = Topic::decode(&node.unwrap().data).unwrap();
            for (index, assigned) in &topic.partitions {
                let tp = TopicPartition::new(name.as_str(), *index);
                let why = self.unrest_of(&tp, &topic, assigned).await;
                if why.is_some() {
                    return why;
                }
            }
        }
        None
    }

    async fn unrest_of(
        &self,
        tp: &TopicPartition,
        topic: &Topic,
        assigned: &Assignment,
    ) -> Option<String> {
        if assigned.is_reassigning() {
            return Some(format!("{tp} is moving still: {assigned:?}"));
        }
        let path = paths::partition_state(&tp.topic, tp.partition);
        let Some(node) = self.admin.get(&path, None).await.unwrap() else {
            return Some(format!("{tp} was never led"));
        };
        let state = PartitionState::decode(&node.data).unwrap();
        if state.leader < 0 || !state.isr.contains(&state.leader) {
            return Some(format!("{tp} is not led: {state:?}"));
        }
        if let Some(other) = state.isr.iter().find(|id| !assigned.replicas.contains(id)) {
            return Some(format!("{other} is in sync, and not a replica of {tp}"));
        }
        for id in &assigned.replicas {
            let host = &self.hosts[usize::try_from(*id - 1).unwrap()];
            let replica = host.process.as_ref().and_then(|one| one.replicas.get(tp));
            let Some(replica) = replica else {
                return Some(format!("broker {id} has never heard of {tp}"));
            };
            let role = match *id == state.leader {
                true => Role::Leader,
                false => Role::Follower,
            };
            if replica.role != role
                || replica.epoch != state.leader_epoch
                || Some(replica.id) != topic.id
            {
                return Some(format!(
                    "broker {id} is {:?} of {tp} in epoch {} under id {}, not {role:?}: {state:?} {:?}",
                    replica.role, replica.epoch, replica.id, topic.id
                ));
            }
            if !state.isr.contains(id) {
                return Some(format!("broker {id} is not in sync: {tp} {state:?}"));
            }
        }
        None
    }
}
