//! The scheduler: what happens next, and what must hold after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::chance::Chance;
use base::clock::Clock;
use controller::{ControllerHandle, RememberedId};
use parking_lot::Mutex;
use protocol::ids::{TopicId, TopicPartition};
use tokio::sync::oneshot;
use znodes::memory::{Memory, World};
use znodes::registration;
use znodes::session::create_base_nodes;

use crate::chronicle::Chronicle;
use crate::host::{CLUSTER, Host, Verdict};
use crate::replica::{Kept, Role};
use crate::wire::Witness;

pub(crate) const BROKERS: i32 = 4;
const STEPS: usize = 4_000;

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
    pub(crate) deletions: usize,
    pub(crate) growths: usize,
    pub(crate) moves: usize,
    pub(crate) leavings: usize,
    pub(crate) failed_directories: usize,
    pub(crate) isr_notices: usize,
}

/// Who writes ISRs down: in a cluster of today, of long ago, or one on its way from there to here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Today,
    Old,
    Between,
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
        self.deletions += other.deletions;
        self.growths += other.growths;
        self.moves += other.moves;
        self.leavings += other.leavings;
        self.failed_directories += other.failed_directories;
        self.isr_notices += other.isr_notices;
    }
}

pub(crate) struct Stage {
    pub(crate) chance: Chance,
    pub(crate) clock: Clock,
    pub(crate) world: World,
    pub(crate) admin: Memory,
    pub(crate) hosts: Vec<Host>,
    pub(crate) witness: Witness,
    pub(crate) remembered_id: RememberedId,
    pub(crate) chronicle: Arc<Mutex<Chronicle>>,
    pub(crate) gates: Arc<Mutex<Vec<oneshot::Sender<()>>>>,
    pub(crate) verdicts: Arc<Mutex<Vec<Verdict>>>,
    /// Sessions nobody uses any more, which the server still believes in.
    pub(crate) ghosts: Vec<i64>,
    committed: BTreeMap<(TopicId, i32), BTreeSet<u64>>,
    acting: BTreeMap<(TopicId, i32, i32), i32>,
    /// Brokers that asked to leave, and go sooner or later.
    pub(crate) leaving: BTreeSet<usize>,
    next_record: u64,
    age: Age,
    pub(crate) totals: Totals,
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
    let age = match seed % 4 {
        2 => Age::Between,
        3 => Age::Old,
        _ => Age::Today,
    };
    chronicle.lock().leaders_write = age != Age::Today;
    let (noted, known) = (Arc::clone(&chronicle), Arc::clone(&chronicle));
    let mut stage = Stage {
        chance: Chance::seeded(seed),
        clock,
        world,
        admin,
        hosts: (1..=BROKERS).map(Host::new).collect(),
        witness: Arc::new(move |broker, ops| noted.lock().note(broker, ops)),
        remembered_id: Arc::new(move |name, _| known.lock().last_ids.get(name).copied()),
        chronicle,
        gates: Arc::default(),
        verdicts: Arc::default(),
        ghosts: vec![],
        committed: BTreeMap::new(),
        acting: BTreeMap::new(),
        leaving: BTreeSet::new(),
        next_record: 0,
        age,
        totals: Totals::default(),
    };
    for at in 0..stage.hosts.len() {
        stage.start(at);
    }
    for _ in 0..STEPS {
        stage.step().await;
        stage.settle().await;
        stage.check();
    }
    stage.come_to_rest().await;
    let Stage {
        chronicle,
        committed,
        mut totals,
        ..
    } = stage;
    let chronicle = chronicle.lock();
    totals.elections = chronicle.elections;
    totals.leader_changes = chronicle.leader_changes;
    totals.isr_changes = chronicle.isr_changes;
    totals.deletions = chronicle.deletions;
    totals.moves = chronicle.moves;
    totals.committed = committed.values().map(BTreeSet::len).sum();
    totals
}

impl Stage {
    pub(crate) fn below(&self, bound: usize) -> usize {
        usize::try_from(self.chance.below(bound.max(1) as u64)).unwrap()
    }

    pub(crate) fn pick<'a, T>(&self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }

    /// Lets every task go as far as it can without the outside.
    pub(crate) async fn settle(&self) {
        for _ in 0..6 {
            tokio::task::yield_now().await;
        }
    }

    async fn step(&mut self) {
        if self.age != Age::Today && self.below(40) == 0 {
            return self.somebody_announces();
        }
        match self.below(1_030) {
            0..280 => self.zookeeper_serves(),
            280..530 => self.zookeeper_answers(),
            530..660 => self.an_order_arrives(),
            660..740 => self.somebody_appends(),
            740..880 => self.somebody_fetches(),
            880..915 => self.somebody_proposes(),
            915..930 => self.a_request_arrives(),
            930..945 => self.a_verdict_arrives(),
            945..965 => self.somebody_lags(),
            965..975 => self.clock.advance(300),
            975..983 => self.a_topic_is_made().await,
            983..986 => self.a_process_dies(),
            986..990 => self.a_process_starts(),
            990..992 => self.a_session_is_renewed(),
            992..995 => self.a_ghost_goes(),
            995..998 => self.a_connection_breaks(),
            998..1_001 => self.an_election_is_asked_for(),
            1_001..1_003 => self.a_stray_order_arrives(),
            1_003..1_006 => self.a_topic_is_deleted().await,
            1_006..1_009 => self.a_topic_grows().await,
            1_009..1_016 => self.a_move_is_asked_for(),
            1_016..1_019 => self.a_move_is_written_down().await,
            1_019..1_021 => self.an_election_is_written_down().await,
            1_021..1_023 => self.somebody_asks_to_leave(),
            1_023..1_027 => self.somebody_leaves(),
            _ => self.a_directory_fails(),
        }
    }

    pub(crate) fn running(&self) -> Vec<usize> {
        (0..self.hosts.len())
            .filter(|at| self.hosts[*at].process.is_some())
            .collect()
    }

    /// The controller of this broker, where it runs.
    pub(crate) fn handle(&self, at: usize) -> Option<ControllerHandle> {
        let process = self.hosts.get(at)?.process.as_ref()?;
        process.handle.lock().clone()
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

    pub(crate) fn carry(&mut self, from: usize, to: i32, lost: bool) {
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
                let key = (replica.id, tp.partition, replica.epoch);
                let known = *self.acting.entry(key).or_insert(id);
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
            let key = (replica.id, tp.partition);
            let committed = self.committed.entry(key).or_default();
            committed.extend(replica.advance(me).iter().map(|record| record.1));
        }
    }

    pub(crate) fn some_replica(
        &self,
        fits: impl Fn(Role) -> bool,
    ) -> Option<(usize, TopicPartition)> {
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

    pub(crate) fn fetch(&mut self, at: usize, tp: &TopicPartition, most: usize) {
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
            && theirs.id == mine.id
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

    /// The controller is told which ISRs were written by their leaders.
    fn somebody_announces(&mut self) {
        if let Some(at) = self.pick(&self.running()).copied() {
            self.announce(at);
        }
    }

    pub(crate) fn announce(&mut self, at: usize) {
        self.totals.isr_notices += usize::from(self.hosts[at].announce());
    }

    pub(crate) fn propose(&mut self, at: usize, tp: &TopicPartition) {
        if self.hosts[at]
            .process
            .as_ref()
            .is_some_and(|one| one.writes_isrs)
        {
            return self.hosts[at].write_isr(tp, &self.verdicts);
        }
        let believed = self.hosts[at]
            .process
            .as_ref()
            .map_or(-1, |one| one.controller);
        let Ok(controller) = usize::try_from(believed - 1) else {
            return;
        };
        if let Some(handle) = self.handle(controller) {
            self.hosts[at].propose(tp, &handle, &self.gates, &self.verdicts);
        }
    }

    pub(crate) fn a_request_arrives(&mut self) {
        let mut gates = self.gates.lock();
        if !gates.is_empty() {
            let at = usize::try_from(self.chance.below(gates.len() as u64)).unwrap();
            // Whoever sent it may be dead.
            let _gone = gates.swap_remove(at).send(());
        }
    }

    pub(crate) fn a_verdict_arrives(&mut self) {
        let verdict = {
            let mut verdicts = self.verdicts.lock();
            if verdicts.is_empty() {
                return;
            }
            let at = usize::try_from(self.chance.below(verdicts.len() as u64)).unwrap();
            verdicts.remove(at)
        };
        let at = usize::try_from(verdict.to - 1).unwrap();
        if let Some(process) = &mut self.hosts[at].process
            && let Some(replica) = process.replicas.get_mut(&verdict.tp)
            && replica.id == verdict.id
        {
            replica.answered(verdict.epoch, verdict.outcome);
        }
        self.advance(at, &verdict.tp);
    }

    fn a_process_dies(&mut self) {
        // Somebody is always left, or a run would mostly be silence.
        if let Some(at) = self.pick(&self.running()).copied()
            && self.running().len() > 2
        {
            self.kill(at);
        }
    }

    pub(crate) fn start(&mut self, at: usize) {
        let writes_isrs = match self.age {
            Age::Today => false,
            Age::Old => true,
            Age::Between => self.below(2) == 0,
        };
        let (world, clock) = (&self.world, &self.clock);
        let (witness, remembered_id) = (&self.witness, &self.remembered_id);
        self.hosts[at].start(world, clock, witness, remembered_id, writes_isrs);
    }

    fn kill(&mut self, at: usize) {
        self.leaving.remove(&at);
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
            self.start(at);
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

    /// What this broker has of a partition, running or not.
    pub(crate) fn log(
        &self,
        broker: i32,
        id: TopicId,
        tp: &TopicPartition,
    ) -> Option<&[(i32, u64)]> {
        let host = &self.hosts[usize::try_from(broker - 1).unwrap()];
        let (held, log) = match &host.process {
            Some(process) => process.replicas.get(tp).map(|one| (one.id, &one.log))?,
            None => host.disk.get(tp).map(|one: &Kept| (one.id, &one.log))?,
        };
        (held == id).then_some(log)
    }

    pub(crate) fn check(&self) {
        self.check_isrs();
        self.check_deletions();
    }

    /// Members of the ISR, and the leader among them, hold all that was committed.
    fn check_isrs(&self) {
        let chronicle = self.chronicle.lock();
        for (tp, state) in &chronicle.states {
            let id = chronicle.topics.get(&tp.topic).and_then(|topic| topic.id);
            let id = id.unwrap_or(TopicId::ZERO);
            // A topic on its way out has let its replicas go.
            let (Some(committed), false) = (
                self.committed.get(&(id, tp.partition)),
                chronicle.marked.contains(&tp.topic),
            ) else {
                continue;
            };
            for broker in &state.isr {
                let log = self.log(*broker, id, tp).unwrap_or_default();
                let held: BTreeSet<u64> = log.iter().map(|one| one.1).collect();
                let lost: Vec<&u64> = committed.difference(&held).collect();
                assert!(
                    lost.is_empty(),
                    "{broker} is in the ISR of {tp} ({state:?}) without the committed {lost:?}"
                );
            }
        }
    }

    /// When a topic's nodes go, every replica it had is gone already: nobody would ask for it again.
    fn check_deletions(&self) {
        for gone in std::mem::take(&mut self.chronicle.lock().gone) {
            let id = gone.topic.id.unwrap_or(TopicId::ZERO);
            for (index, assigned) in &gone.topic.partitions {
                let tp = TopicPartition::new(Arc::clone(&gone.name), *index);
                for broker in &assigned.replicas {
                    assert!(
                        self.log(*broker, id, &tp).is_none(),
                        "{tp} is deleted, and broker {broker} still has it"
                    );
                }
            }
        }
    }
}
