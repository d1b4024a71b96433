//! The scheduler, and what must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::chance::Chance;
use base::clock::Clock;
use controller::event::ElectionKind;
use parking_lot::Mutex;
use protocol::ids::TopicPartition;
use tokio::sync::oneshot;
use znodes::bodies::partition::PartitionState;
use znodes::memory::{Memory, World};
use znodes::paths;
use znodes::registration;
use znodes::session::create_base_nodes;
use znodes::store::{Kind, Op, Store};

use crate::host::{CLUSTER, Host, Verdict};
use crate::replica::Role;
use crate::wire::Witness;

const BROKERS: i32 = 4;
const STEPS: usize = 4_000;
/// Enough for everything to be told to everybody when nothing happens any more.
const QUIET_ROUNDS: usize = 4_000;

/// What happened in a run, so that a run in which nothing did is seen.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) elections: usize,
    pub(crate) leader_changes: usize,
    pub(crate) isr_changes: usize,
    pub(crate) committed: usize,
    pub(crate) kills: usize,
    pub(crate) expiries: usize,
    pub(crate) repeated_orders: usize,
}

impl Totals {
    pub(crate) fn add(&mut self, other: &Totals) {
        self.elections += other.elections;
        self.leader_changes += other.leader_changes;
        self.isr_changes += other.isr_changes;
        self.committed += other.committed;
        self.kills += other.kills;
        self.expiries += other.expiries;
        self.repeated_orders += other.repeated_orders;
    }
}

/// What the writes to ZooKeeper say, checked as they go through.
#[derive(Default)]
struct Chronicle {
    controller: Option<i32>,
    elections: usize,
    leaders: BTreeMap<(TopicPartition, i32), i32>,
    states: BTreeMap<TopicPartition, PartitionState>,
    leader_changes: usize,
    isr_changes: usize,
}

impl Chronicle {
    fn note(&mut self, broker: i32, ops: &[Op]) {
        if ops
            .iter()
            .any(|op| matches!(op, Op::Create { path, .. } if path == paths::CONTROLLER))
        {
            self.controller = Some(broker);
            self.elections += 1;
        }
        for op in ops {
            let path = op.path();
            let of_controllers = (path.starts_with("/brokers/topics/")
                || path.starts_with("/admin/"))
                && !matches!(op, Op::Check { .. });
            assert!(
                !of_controllers || self.controller == Some(broker),
                "broker {broker} wrote {path} while {:?} had been elected after it",
                self.controller
            );
            let (Op::Set { data, .. } | Op::Create { data, .. }) = op else {
                continue;
            };
            if let Some(tp) = partition_of(path) {
                self.note_state(tp, PartitionState::decode(data).unwrap());
            }
        }
    }

    fn note_state(&mut self, tp: TopicPartition, state: PartitionState) {
        if state.leader >= 0 {
            let epoch = (tp.clone(), state.leader_epoch);
            let known = *self.leaders.entry(epoch).or_insert(state.leader);
            assert_eq!(
                known, state.leader,
                "two leaders of {tp} in epoch {}",
                state.leader_epoch
            );
        }
        if let Some(before) = self.states.get(&tp) {
            self.leader_changes += usize::from(before.leader != state.leader);
            self.isr_changes += usize::from(before.isr != state.isr);
            assert!(
                before.leader_epoch <= state.leader_epoch,
                "the epoch of {tp} went back"
            );
        }
        self.states.insert(tp, state);
    }
}

fn partition_of(path: &str) -> Option<TopicPartition> {
    let rest = path.strip_prefix("/brokers/topics/")?;
    let (topic, rest) = rest.split_once("/partitions/")?;
    let index = rest.strip_suffix("/state")?.parse().ok()?;
    Some(TopicPartition::new(topic, index))
}

struct Stage {
    chance: Chance,
    clock: Clock,
    world: World,
    admin: Memory,
    hosts: Vec<Host>,
    witness: Witness,
    chronicle: Arc<Mutex<Chronicle>>,
    gates: Mutex<Vec<oneshot::Sender<()>>>,
    verdicts: Arc<Mutex<Vec<Verdict>>>,
    /// Sessions nobody uses any more, which the server still believes in.
    ghosts: Vec<i64>,
    committed: BTreeMap<TopicPartition, BTreeSet<u64>>,
    acting: BTreeMap<(TopicPartition, i32), i32>,
    topics: usize,
    next_record: u64,
    totals: Totals,
}

/// One run; panics where something does not hold.
pub(crate) async fn run(seed: u64) -> Totals {
    let clock = Clock::by_hand(1_700_000_000_000);
    let world = World::new(clock.clone());
    let admin = world.connect();
    create_base_nodes(&admin).await.unwrap();
    registration::cluster_id(&admin, Some(CLUSTER))
        .await
        .unwrap();
    let chronicle: Arc<Mutex<Chronicle>> = Arc::default();
    let noted = Arc::clone(&chronicle);
    let mut stage = Stage {
        chance: Chance::seeded(seed),
        clock,
        world,
        admin,
        hosts: (1..=BROKERS).map(Host::new).collect(),
        witness: Arc::new(move |broker, ops| noted.lock().note(broker, ops)),
        chronicle,
        gates: Mutex::default(),
        verdicts: Arc::default(),
        ghosts: vec![],
        committed: BTreeMap::new(),
        acting: BTreeMap::new(),
        topics: 0,
        next_record: 0,
        totals: Totals::default(),
    };
    for host in &mut stage.hosts {
        host.start(&stage.world, &stage.clock, &stage.witness);
    }
    for _ in 0..STEPS {
        stage.step().await;
        stage.settle().await;
        stage.check();
    }
    stage.come_to_rest().await;
    stage.totals.elections = stage.chronicle.lock().elections;
    stage.totals.leader_changes = stage.chronicle.lock().leader_changes;
    stage.totals.isr_changes = stage.chronicle.lock().isr_changes;
    stage.totals.committed = stage.committed.values().map(BTreeSet::len).sum();
    stage.totals
}

impl Stage {
    fn below(&self, bound: usize) -> usize {
        usize::try_from(self.chance.below(bound.max(1) as u64)).unwrap()
    }

    fn pick<'a, T>(&self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }

    /// Lets every task go as far as it can without the outside.
    async fn settle(&self) {
        for _ in 0..6 {
            tokio::task::yield_now().await;
        }
    }

    async fn step(&mut self) {
        match self.below(1_000) {
            0..280 => self.zookeeper_serves(),
            280..530 => self.zookeeper_answers(),
            530..660 => self.an_order_arrives(),
            660..740 => self.somebody_appends(),
            740..880 => self.somebody_fetches(),
            880..915 => self.somebody_proposes(),
            915..930 => self.a_proposal_arrives(),
            930..945 => self.a_verdict_arrives(),
            945..965 => self.somebody_lags(),
            965..975 => self.clock.advance(300),
            975..980 => self.a_topic_is_made().await,
            980..983 => self.a_process_dies(),
            983..987 => self.a_process_starts(),
            987..989 => self.a_session_is_renewed(),
            989..992 => self.a_ghost_goes(),
            992..995 => self.a_connection_breaks(),
            995..998 => self.an_election_is_asked_for(),
            _ => self.a_stray_order_arrives(),
        }
    }

    fn running(&self) -> Vec<usize> {
        (0..self.hosts.len())
            .filter(|at| self.hosts[*at].process.is_some())
            .collect()
    }

    fn zookeeper_serves(&mut self) {
        if let Some(at) = self.pick(&self.running())
            && let Some(process) = &self.hosts[*at].process
        {
            process.wire.serve();
        }
    }

    fn zookeeper_answers(&mut self) {
        if let Some(at) = self.pick(&self.running())
            && let Some(process) = &self.hosts[*at].process
        {
            process.wire.deliver();
        }
    }

    fn an_order_arrives(&mut self) {
        let lost = self.below(20) == 0;
        let mut waiting = Vec::new();
        for at in self.running() {
            if let Some(process) = &self.hosts[at].process {
                waiting.extend(process.post.targets().into_iter().map(|to| (at, to)));
            }
        }
        let Some((from, to)) = self.pick(&waiting).copied() else {
            return;
        };
        self.carry(from, to, lost);
    }

    fn carry(&mut self, from: usize, to: i32, lost: bool) {
        let Some(post) = self.hosts[from]
            .process
            .as_ref()
            .map(|one| one.post.clone())
        else {
            return;
        };
        let Some(order) = post.front(to) else { return };
        let target = usize::try_from(to - 1).unwrap();
        let Some(answer) = self.hosts[target].obey(&order) else {
            return;
        };
        self.note_acting(target);
        match lost {
            // Carried out, not answered: it comes again.
            true => self.totals.repeated_orders += 1,
            false => post.answered(to, answer),
        }
    }

    fn a_stray_order_arrives(&mut self) {
        for at in 0..self.hosts.len() {
            let post = self.hosts[at].process.as_ref().map(|one| one.post.clone());
            if let Some((to, order)) = post.and_then(|post| post.stray(self.below(8))) {
                let target = usize::try_from(to - 1).unwrap();
                self.hosts[target].obey(&order);
                self.note_acting(target);
                return;
            }
        }
    }

    /// Two brokers never act as leader in one epoch.
    fn note_acting(&mut self, at: usize) {
        let Some(process) = &self.hosts[at].process else {
            return;
        };
        let id = self.hosts[at].id;
        for (tp, replica) in &process.replicas {
            if replica.role == Role::Leader {
                let known = *self.acting.entry((tp.clone(), replica.epoch)).or_insert(id);
                assert_eq!(
                    known, id,
                    "two brokers lead {tp} in epoch {}",
                    replica.epoch
                );
            }
        }
    }

    fn somebody_appends(&mut self) {
        let Some((at, tp)) = self.some_replica(|role| role == Role::Leader) else {
            return;
        };
        self.next_record += 1;
        let record = self.next_record;
        if let Some(process) = &mut self.hosts[at].process
            && let Some(replica) = process.replicas.get_mut(&tp)
        {
            replica.log.push((replica.epoch, record));
        }
        self.advance(at, &tp);
    }

    fn advance(&mut self, at: usize, tp: &TopicPartition) {
        let me = self.hosts[at].id;
        if let Some(process) = &mut self.hosts[at].process
            && let Some(replica) = process.replicas.get_mut(tp)
            && replica.role == Role::Leader
        {
            let committed = self.committed.entry(tp.clone()).or_default();
            committed.extend(replica.advance(me).iter().map(|record| record.1));
        }
    }

    fn some_replica(&self, fits: impl Fn(Role) -> bool) -> Option<(usize, TopicPartition)> {
        let mut found = Vec::new();
        for at in self.running() {
            if let Some(process) = &self.hosts[at].process {
                let fitting = process
                    .replicas
                    .iter()
                    .filter(|(_, replica)| fits(replica.role));
                found.extend(fitting.map(|(tp, _)| (at, tp.clone())));
            }
        }
        self.pick(&found).cloned()
    }

    fn somebody_fetches(&mut self) {
        if let Some((at, tp)) = self.some_replica(|role| role == Role::Follower) {
            let most = 1 + self.below(4);
            self.fetch(at, &tp, most);
        }
    }

    fn fetch(&mut self, at: usize, tp: &TopicPartition, most: usize) {
        let me = self.hosts[at].id;
        let Some(mut mine) = self.hosts[at]
            .process
            .as_mut()
            .and_then(|one| one.replicas.remove(tp))
        else {
            return;
        };
        let leader = usize::try_from(mine.leader - 1).ok();
        if let Some(leader) = leader
            && let Some(process) = self
                .hosts
                .get_mut(leader)
                .and_then(|one| one.process.as_mut())
            && let Some(theirs) = process.replicas.get_mut(tp)
            && theirs.role == Role::Leader
            && theirs.epoch == mine.epoch
        {
            mine.truncate_to(&theirs.log);
            theirs.note_fetch(me, mine.log.len());
            let from = mine.log.len();
            let upto = theirs.log.len().min(from + most);
            mine.log.extend_from_slice(&theirs.log[from..upto]);
        }
        if let Some(process) = &mut self.hosts[at].process {
            process.replicas.insert(tp.clone(), mine);
        }
        if let Some(leader) = leader.filter(|leader| *leader < self.hosts.len()) {
            self.advance(leader, tp);
        }
    }

    fn somebody_lags(&mut self) {
        if let Some((at, tp)) = self.some_replica(|role| role == Role::Leader) {
            let (me, slow) = (self.hosts[at].id, i32::try_from(self.below(4)).unwrap() + 1);
            if let Some(process) = &mut self.hosts[at].process
                && let Some(replica) = process.replicas.get_mut(&tp)
            {
                replica.shrink(me, slow);
            }
        }
    }

    fn somebody_proposes(&mut self) {
        if let Some((at, tp)) = self.some_replica(|role| role == Role::Leader) {
            self.propose(at, &tp);
        }
    }

    fn propose(&mut self, at: usize, tp: &TopicPartition) {
        let believed = self.hosts[at]
            .process
            .as_ref()
            .map_or(-1, |one| one.controller);
        let Ok(controller) = usize::try_from(believed - 1) else {
            return;
        };
        let process = self
            .hosts
            .get(controller)
            .and_then(|one| one.process.as_ref());
        let handle = process.and_then(|one| one.handle.lock().clone());
        if let Some(handle) = handle {
            self.hosts[at].propose(tp, &handle, &self.gates, &self.verdicts);
        }
    }

    fn a_proposal_arrives(&mut self) {
        let mut gates = self.gates.lock();
        if !gates.is_empty() {
            let at = usize::try_from(self.chance.below(gates.len() as u64)).unwrap();
            // Whoever proposed it may be dead.
            let _gone = gates.swap_remove(at).send(());
        }
    }

    fn a_verdict_arrives(&mut self) {
        let verdict = {
            let mut verdicts = self.verdicts.lock();
            if verdicts.is_empty() {
                return;
            }
            let at = usize::try_from(self.chance.below(verdicts.len() as u64)).unwrap();
            verdicts.remove(at)
        };
        let (id, tp, epoch, outcome) = verdict;
        let at = usize::try_from(id - 1).unwrap();
        if let Some(process) = &mut self.hosts[at].process
            && let Some(replica) = process.replicas.get_mut(&tp)
        {
            replica.answered(epoch, outcome);
        }
        self.advance(at, &tp);
    }

    async fn a_topic_is_made(&mut self) {
        if self.topics >= 4 {
            return;
        }
        self.topics += 1;
        let name = format!("t{}", self.topics);
        let mut lists = Vec::new();
        for partition in 0..=self.below(2) {
            let first = self.below(4);
            let factor = 1 + self.below(3);
            let ids: Vec<String> = (0..factor)
                .map(|more| ((first + more) % 4 + 1).to_string())
                .collect();
            lists.push(format!("\"{partition}\":[{}]", ids.join(",")));
        }
        let body = format!("{{\"version\":1,\"partitions\":{{{}}}}}", lists.join(","));
        let path = paths::topic(&name);
        self.admin
            .create(&path, body.as_bytes(), Kind::Persistent)
            .await
            .unwrap();
    }

    fn a_process_dies(&mut self) {
        // Somebody is always left, or a run would mostly be silence.
        if let Some(at) = self.pick(&self.running()).copied()
            && self.running().len() > 2
        {
            self.kill(at);
        }
    }

    fn kill(&mut self, at: usize) {
        let chance = &self.chance;
        if let Some(session) = self.hosts[at].kill(|| chance.below(2) == 0) {
            self.ghosts.push(session);
            self.totals.kills += 1;
        }
    }

    fn a_process_starts(&mut self) {
        let down: Vec<usize> = (0..self.hosts.len())
            .filter(|at| self.hosts[*at].process.is_none())
            .collect();
        if let Some(at) = self.pick(&down).copied() {
            // Half the time its old session is closed first, as the session's file allows.
            if self.below(2) == 0 {
                for ghost in std::mem::take(&mut self.ghosts) {
                    self.world.expire(ghost);
                }
            }
            self.hosts[at].start(&self.world, &self.clock, &self.witness);
        }
    }

    fn a_session_is_renewed(&mut self) {
        let at_server = self.below(2) == 0;
        if let Some(at) = self.pick(&self.running()).copied()
            && let Some(process) = &self.hosts[at].process
        {
            if !at_server {
                self.ghosts.push(process.wire.session());
            }
            process.wire.renew(at_server);
            self.totals.expiries += 1;
        }
    }

    fn a_ghost_goes(&mut self) {
        if !self.ghosts.is_empty() {
            let ghost = self.ghosts.swap_remove(self.below(self.ghosts.len()));
            self.world.expire(ghost);
        }
    }

    fn a_connection_breaks(&mut self) {
        if let Some(at) = self.pick(&self.running()).copied()
            && let Some(process) = &self.hosts[at].process
        {
            let chance = &self.chance;
            process.wire.reconnect(|| chance.below(2) == 0);
        }
    }

    fn an_election_is_asked_for(&mut self) {
        let Some(at) = self.pick(&self.running()).copied() else {
            return;
        };
        let handle = self.hosts[at]
            .process
            .as_ref()
            .and_then(|one| one.handle.lock().clone());
        if let Some(handle) = handle {
            base::tasks::spawn("election", async move {
                // Whoever is not controller refuses.
                let _answer = handle.elect_leaders(ElectionKind::Preferred, None).await;
            });
        }
    }

    /// Members of the ISR, and the leader among them, hold all that was committed.
    fn check(&self) {
        let chronicle = self.chronicle.lock();
        for (tp, state) in &chronicle.states {
            let Some(committed) = self.committed.get(tp) else {
                continue;
            };
            for id in &state.isr {
                let host = &self.hosts[usize::try_from(*id - 1).unwrap()];
                let log = match &host.process {
                    Some(process) => process.replicas.get(tp).map(|replica| &replica.log),
                    None => host.disk.get(tp),
                };
                let held: BTreeSet<u64> = log.into_iter().flatten().map(|one| one.1).collect();
                let lost: Vec<&u64> = committed.difference(&held).collect();
                assert!(
                    lost.is_empty(),
                    "{id} is in the ISR of {tp} ({state:?}) without the committed {lost:?}"
                );
            }
        }
    }

    /// Everybody lives, nothing is lost any more: all partitions are led, and all brokers know.
    async fn come_to_rest(&mut self) {
        for ghost in std::mem::take(&mut self.ghosts) {
            self.world.expire(ghost);
        }
        for host in &mut self.hosts {
            if host.process.is_none() {
                host.start(&self.world, &self.clock, &self.witness);
            }
        }
        let mut last = String::new();
        for round in 0..QUIET_ROUNDS {
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
                self.a_proposal_arrives();
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
            self.clock.advance(50);
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

    /// What is still not as it should be.
    async fn unrest(&self) -> Option<String> {
        for topic in 1..=self.topics {
            let name = format!("t{topic}");
            let node = self.admin.get(&paths::topic(&name), None).await.unwrap();
            let Some(node) = node else { continue };
            let body = znodes::bodies::topic::Topic::decode(&node.data).unwrap();
            for (index, assigned) in &body.partitions {
                let tp = TopicPartition::new(name.as_str(), *index);
                let path = paths::partition_state(&name, *index);
                let Some(node) = self.admin.get(&path, None).await.unwrap() else {
                    return Some(format!("{tp} was never led"));
                };
                let state = PartitionState::decode(&node.data).unwrap();
                if state.leader < 0 || !state.isr.contains(&state.leader) {
                    return Some(format!("{tp} is not led: {state:?}"));
                }
                for id in &assigned.replicas {
                    let host = &self.hosts[usize::try_from(*id - 1).unwrap()];
                    let replica = host.process.as_ref().and_then(|one| one.replicas.get(&tp));
                    let Some(replica) = replica else {
                        return Some(format!("broker {id} has never heard of {tp}"));
                    };
                    let role = match *id == state.leader {
                        true => Role::Leader,
                        false => Role::Follower,
                    };
                    if replica.role != role || replica.epoch != state.leader_epoch {
                        return Some(format!(
                            "broker {id} is {:?} of {tp} in epoch {}, not {role:?}: {state:?}",
                            replica.role, replica.epoch
                        ));
                    }
                    if !state.isr.contains(id) {
                        return Some(format!("broker {id} is not in sync: {tp} {state:?}"));
                    }
                }
            }
        }
        None
    }
}
