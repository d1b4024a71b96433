//! All shards: who coordinates which group, loading and unloading, deadlines.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use ::groups::outcome::Note;
use ::groups::{Answer, Config, Machine, Now, Outcome, Refusal, Ticket};
use base::clock::Clock;
use base::io_pool::IoPool;
use base::stop::Stop;
use base::tasks;
use protocol::batch::Codec;
use protocol::ids::{LeaderEpoch, TopicPartition};
use protocol::names::CONSUMER_OFFSETS;
use replication::append::Acks;
use replication::partition::{Partition, RoleChange};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tracing::{debug, error, info, warn};

use crate::config::parts;
use crate::coordination::load::{self, Loaded};
use crate::coordination::log::{HostLog, ReplicatedLog};
use crate::coordination::route;
use crate::coordination::shard::{Aftermath, NEVER, Shard};

/// Partitions loaded at the same time.
const LOADERS: usize = 2;
/// Loads that may wait for a thread; the rest try again.
const LOADS_QUEUED_MAX: usize = 64;
/// How soon a load that found no room tries again.
const LOAD_RETRY_MS: i64 = 20;
/// And one that found no descriptor.
const READ_RETRY_MS: i64 = 500;

/// How groups are hosted: plain values, already checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the brain obeys.
    pub groups: Config,
    /// How many partitions `__consumer_offsets` has: from its znode if it exists when the broker
    /// starts, else `offsets.topic.num.partitions`. Fixed while the broker runs, as in Kafka.
    pub partitions: i32,
    /// `offsets.topic.compression.codec`
    pub codec: Codec,
    /// `offsets.commit.required.acks`
    pub acks: Acks,
    /// `offsets.commit.timeout.ms`
    pub commit_timeout_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub retention_check_interval_ms: i64,
    /// `offsets.load.buffer.size`
    pub load_buffer_bytes: usize,
}

impl Settings {
    /// From the broker's settings. `partitions`: of the topic as it is, if it is there.
    pub fn new(config: &parts::Groups, partitions: Option<i32>) -> Self {
        Settings {
            groups: Config {
                session_timeout_min_ms: config.session_ms_min,
                session_timeout_max_ms: config.session_ms_max,
                size_max: config.size_max,
                initial_rebalance_delay_ms: config.initial_delay_ms,
                write_timeout_ms: config.commit_timeout_ms,
                offset_metadata_max: config.metadata_bytes_max,
                offsets_retention_ms: config.offsets_retention_ms,
                offset_value_version: config.offset_value_version,
                group_value_version: config.group_value_version,
            },
            partitions: partitions.unwrap_or(config.topic_partitions),
            codec: u8::try_from(config.codec)
                .ok()
                .and_then(Codec::from_id)
                .unwrap_or_default(),
            // Kafka: anything but all is deprecated; there is no topic that loses commits by design.
            acks: Acks::from_wire(config.required_acks).unwrap_or(Acks::All),
            commit_timeout_ms: i64::from(config.commit_timeout_ms),
            retention_check_interval_ms: config.offsets_check_ms,
            load_buffer_bytes: config.load_buffer_bytes,
        }
    }
}

impl Default for Settings {
    /// Kafka's defaults.
    fn default() -> Self {
        Settings {
            groups: Config::default(),
            partitions: 50,
            codec: Codec::None,
            acks: Acks::All,
            commit_timeout_ms: 5_000,
            retention_check_interval_ms: 600_000,
            load_buffer_bytes: 5 * 1024 * 1024,
        }
    }
}

/// The group coordinator of this broker. One a broker; shards are its only state.
#[derive(Debug)]
pub struct Groups {
    settings: Settings,
    config: Arc<Config>,
    clock: Clock,
    /// Where loads and drains run. Appends happen on the caller's thread: all callers, and this
    /// runtime, are those that may touch `replication`.
    runtime: Handle,
    loaders: IoPool,
    shards: Box<[Arc<Shard>]>,
    active: AtomicBool,
    /// Until when the deadline task sleeps; the smallest number while it is awake.
    sleeps_until: AtomicI64,
    wake: Notify,
}

impl Groups {
    /// Refuses who names an instance id that could not be written down. Kafka: below protocol
    /// version 2.3, before anything else is looked at.
    pub(super) fn check_static(&self, instance: Option<&str>) -> Result<(), Refusal> {
        match instance {
            Some(_) if !self.config.knows_static_members() => Err(Refusal::UnsupportedVersion),
            _ => Ok(()),
        }
    }

    /// Nothing is coordinated until [`Groups::note_role`] says what this broker leads.
    pub fn new(settings: Settings, clock: Clock, runtime: Handle) -> std::io::Result<Arc<Self>> {
        let loaders = IoPool::new("groups-load", LOADERS, LOADS_QUEUED_MAX)?;
        Ok(Arc::new(Groups {
            config: Arc::new(settings.groups.clone()),
            shards: (0..settings.partitions.max(1))
                .map(|number| Arc::new(Shard::new(number)))
                .collect(),
            settings,
            clock,
            runtime,
            loaders,
            active: AtomicBool::new(true),
            sleeps_until: AtomicI64::new(i64::MIN),
            wake: Notify::new(),
        }))
    }

    pub(super) fn commit_timeout_ms(&self) -> i64 {
        self.settings.commit_timeout_ms
    }

    pub(super) async fn sleep_ms(&self, ms: i64) {
        self.clock.sleep_ms(ms).await;
    }

    /// The partition of `__consumer_offsets` a group belongs to.
    pub fn partition_for(&self, group: &str) -> i32 {
        route::partition_for(group, self.settings.partitions)
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The two times of this moment.
    pub fn now(&self) -> Now {
        Now {
            monotonic_ms: self.clock.monotonic_ms(),
            wall_ms: self.clock.wall_ms(),
        }
    }

    /// A partition's role here has changed; others than those of `__consumer_offsets` are passed
    /// over.
    pub fn note_role(self: &Arc<Self>, partition: &Arc<Partition>, change: RoleChange) {
        if &*partition.id().topic != CONSUMER_OFFSETS {
            return;
        }
        let (number, epoch) = (partition.id().partition, partition.leader_epoch());
        match change {
            RoleChange::BecameLeader | RoleChange::StaysLeader => {
                let (acks, timeout_ms) = (self.settings.acks, self.settings.commit_timeout_ms);
                let log = ReplicatedLog::new(Arc::clone(partition), acks, timeout_ms);
                self.lead(number, epoch, Arc::new(log));
            }
            RoleChange::BecameFollower => self.resign(number, Some(epoch)),
            RoleChange::Nothing => {}
        }
    }

    /// A replica was deleted here.
    pub fn note_gone(&self, partition: &TopicPartition) {
        if &*partition.topic == CONSUMER_OFFSETS {
            self.resign(partition.partition, None);
        }
    }

    /// This broker leads a partition now: its groups are loaded.
    pub fn lead(self: &Arc<Self>, partition: i32, epoch: LeaderEpoch, log: Arc<dyn HostLog>) {
        let Some(shard) = self.shard(partition) else {
            warn!(
                partition,
                "the internal topic has more partitions than when the broker started"
            );
            return;
        };
        let Some(turn) = shard.begin_load(epoch) else {
            return;
        };
        let (groups, shard) = (Arc::clone(self), Arc::clone(shard));
        let work = async move { groups.load(&shard, turn, log).await };
        let _detached = tasks::spawn_on(&self.runtime, "groups-load", work);
    }

    /// This broker leads a partition no more.
    pub fn resign(&self, partition: i32, epoch: Option<LeaderEpoch>) {
        let Some(shard) = self.shard(partition) else {
            return;
        };
        if let Some(after) = shard.unload(epoch, self.now()) {
            debug!(
                partition,
                "stopped coordinating the groups of this partition"
            );
            after.settle().into_iter().for_each(tell);
        }
    }

    async fn load(self: &Arc<Self>, shard: &Arc<Shard>, turn: u64, log: Arc<dyn HostLog>) {
        let partition = shard.number();
        let began_ms = self.clock.monotonic_ms();
        let mut is_told = false;
        let loaded = loop {
            let (log, config) = (Arc::clone(&log), Arc::clone(&self.config));
            let (bytes_max, now) = (self.settings.load_buffer_bytes, self.now());
            match self
                .loaders
                .run(move || load::load(&*log, config, bytes_max, now))
                .await
            {
                Ok(Err(cause)) if cause.passes() => {
                    if !shard.is_loading(turn) {
                        return;
                    }
                    if !std::mem::replace(&mut is_told, true) {
                        warn!(partition, %cause, "groups cannot be loaded now; tried again");
                    }
                    self.clock.sleep_ms(READ_RETRY_MS).await;
                }
                Ok(loaded) => break loaded,
                Err(_full) => self.clock.sleep_ms(LOAD_RETRY_MS).await,
            }
        };
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(cause) => {
                error!(partition, %cause, "load groups");
                return shard.give_up(turn);
            }
        };
        let Loaded {
            machine, records, ..
        } = &loaded;
        let (groups, offsets, records) = (machine.group_count(), machine.offset_count(), *records);
        if let Some(after) = shard.install(turn, loaded, log, self.settings.codec) {
            let took_ms = self.clock.monotonic_ms() - began_ms;
            // Fifty partitions that hold nothing are no news.
            if records == 0 {
                debug!(
                    partition,
                    "coordinating this partition, which has no groups yet"
                );
            } else {
                info!(
                    partition,
                    groups, offsets, records, took_ms, "coordinating the groups of this partition"
                );
            }
            self.settle(shard, after);
        }
    }

    fn shard(&self, partition: i32) -> Option<&Arc<Shard>> {
        usize::try_from(partition)
            .ok()
            .and_then(|number| self.shards.get(number))
    }

    /// The shard of a group, if groups are coordinated at all.
    fn shard_of(&self, group: &str) -> Result<&Arc<Shard>, Refusal> {
        if !self.active.load(Ordering::Acquire) {
            return Err(Refusal::CoordinatorNotAvailable);
        }
        self.shard(self.partition_for(group))
            .ok_or(Refusal::NotCoordinator)
    }

    /// Runs an event whose answer may come later.
    pub(crate) fn ask<T>(
        self: &Arc<Self>,
        group: &str,
        event: impl FnOnce(&mut Machine, Ticket, Now, &mut Outcome) -> T,
    ) -> Result<(T, Waiting), Refusal> {
        let shard = self.shard_of(group)?;
        let now = self.now();
        let (result, heard, after) =
            shard.ask(|machine, ticket, out| event(machine, ticket, now, out))?;
        self.settle(shard, after);
        Ok((result, Waiting(heard)))
    }

    /// Runs an event that is answered at once.
    pub(crate) fn tell<T>(
        self: &Arc<Self>,
        group: &str,
        event: impl FnOnce(&mut Machine, Now, &mut Outcome) -> T,
    ) -> Result<T, Refusal> {
        let shard = self.shard_of(group)?;
        let now = self.now();
        let (result, after) = shard.run(|machine, out| event(machine, now, out))?;
        self.settle(shard, after);
        Ok(result)
    }

    /// Looks at the groups of a partition.
    pub(crate) fn look<T>(
        &self,
        group: &str,
        look: impl FnOnce(&Machine) -> T,
    ) -> Result<T, Refusal> {
        self.shard_of(group)?.look(look)
    }

    /// Looks at all that is coordinated here, partition by partition. `false` in the end if some
    /// are still loading.
    pub(crate) fn look_at_all(&self, mut look: impl FnMut(&Machine)) -> Result<bool, Refusal> {
        if !self.active.load(Ordering::Acquire) {
            return Err(Refusal::CoordinatorNotAvailable);
        }
        let mut complete = true;
        for shard in &self.shards {
            if let Err(Refusal::CoordinatorLoadInProgress) = shard.look(&mut look) {
                complete = false;
            }
        }
        Ok(complete)
    }

    /// A marker has been written to partitions of `__consumer_offsets`.
    pub fn complete_transaction(&self, partitions: &[i32], producer_id: i64, commit: bool) {
        for shard in partitions
            .iter()
            .filter_map(|partition| self.shard(*partition))
        {
            shard.note_marker(producer_id, commit);
        }
    }

    /// Topics are gone: so are the offsets committed in them.
    pub fn forget_partitions(self: &Arc<Self>, partitions: &[TopicPartition]) {
        if partitions.is_empty() {
            return;
        }
        self.for_each_shard(|machine, now| machine.forget_partitions(partitions, now));
    }

    /// No more requests are taken; who waits is sent away. Part of stopping the broker.
    pub fn stop(&self) {
        self.active.store(false, Ordering::Release);
        for shard in &self.shards {
            if let Some(after) = shard.unload(None, self.now()) {
                after.settle().into_iter().for_each(tell);
            }
        }
    }

    fn for_each_shard(self: &Arc<Self>, event: impl Fn(&mut Machine, Now) -> Outcome) {
        for shard in &self.shards {
            let now = self.now();
            let ran = shard.run(|machine, out| *out = event(machine, now));
            if let Ok(((), after)) = ran {
                self.settle_elsewhere(shard, after);
            }
        }
    }

    /// What follows an event once the shard's lock is free: its appends, on this thread.
    fn settle(self: &Arc<Self>, shard: &Arc<Shard>, after: Aftermath) {
        let append = after.append;
        self.follow(shard, after);
        if let Some(turn) = append
            && !self.append(shard, turn)
        {
            self.append_elsewhere(shard, turn);
        }
    }

    /// As [`Groups::settle`], for events of the broker's own clock: all shards have one task, which
    /// no disk may hold up.
    fn settle_elsewhere(self: &Arc<Self>, shard: &Arc<Shard>, after: Aftermath) {
        let append = after.append;
        self.follow(shard, after);
        if let Some(turn) = append {
            self.append_elsewhere(shard, turn);
        }
    }

    fn append(self: &Arc<Self>, shard: &Arc<Shard>, turn: u64) -> bool {
        shard.append(turn, || self.now(), |after| self.follow(shard, after))
    }

    fn append_elsewhere(self: &Arc<Self>, shard: &Arc<Shard>, turn: u64) {
        let (groups, shard) = (Arc::clone(self), Arc::clone(shard));
        let work = async move {
            while !groups.append(&shard, turn) {
                tokio::task::yield_now().await;
            }
        };
        let _detached = tasks::spawn_on(&self.runtime, "groups-append", work);
    }

    /// What follows besides appends.
    fn follow(self: &Arc<Self>, shard: &Arc<Shard>, after: Aftermath) {
        if let Some(turn) = after.drain {
            let (groups, draining) = (Arc::clone(self), Arc::clone(shard));
            let work = async move {
                let settle = |after: Aftermath| groups.settle(&draining, after);
                draining.drain(turn, || groups.now(), settle).await;
            };
            let _detached = tasks::spawn_on(&self.runtime, "groups-drain", work);
        }
        after.settle().into_iter().for_each(tell);
        if shard.deadline() < self.sleeps_until.load(Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }

    /// Sees to deadlines and to old offsets until told to stop. One task a broker.
    pub async fn run(self: Arc<Self>, stop: Stop) {
        let interval_ms = self.settings.retention_check_interval_ms.max(1);
        let mut next_check_ms = self.clock.monotonic_ms().saturating_add(interval_ms);
        while !stop.is_stopped() {
            self.sleeps_until.store(i64::MIN, Ordering::SeqCst);
            self.expire();
            if self.clock.monotonic_ms() >= next_check_ms {
                next_check_ms = self.clock.monotonic_ms().saturating_add(interval_ms);
                self.for_each_shard(Machine::expire_offsets);
            }
            let until_ms = self.earliest().min(next_check_ms);
            self.sleeps_until.store(until_ms, Ordering::SeqCst);
            // An event between the two lines above saw us awake and told us nothing.
            let wait_ms = self.earliest().min(until_ms) - self.clock.monotonic_ms();
            if wait_ms > 0 {
                tokio::select! {
                    () = self.clock.sleep_ms(wait_ms) => {}
                    () = self.wake.notified() => {}
                    () = stop.stopped() => {}
                }
            }
        }
    }

    fn earliest(&self) -> i64 {
        self.shards
            .iter()
            .map(|shard| shard.deadline())
            .min()
            .unwrap_or(NEVER)
    }

    /// Carries out every deadline that has passed.
    pub(crate) fn expire(self: &Arc<Self>) {
        for shard in &self.shards {
            let now = self.now();
            if shard.deadline() <= now.monotonic_ms {
                let ran = shard.run(|machine, out| *out = machine.expire(now));
                if let Ok(((), after)) = ran {
                    self.settle_elsewhere(shard, after);
                }
            }
        }
    }
}

/// An answer that is on its way.
#[derive(Debug)]
pub(crate) struct Waiting(oneshot::Receiver<Answer>);

impl Waiting {
    /// The answer; `None` if the shard has gone without one, which unloading does not do.
    pub(crate) async fn answer(self) -> Option<Answer> {
        self.0.await.ok()
    }
}

fn tell(note: Note) {
    match note {
        Note::Rebalancing {
            group,
            generation,
            reason,
        } => {
            info!(group = %group, generation, reason, "rebalancing");
        }
        Note::Stabilized {
            group,
            generation,
            members,
        } => {
            info!(group = %group, generation, members, "new generation");
        }
        Note::Assigned {
            group,
            generation,
            unassigned,
        } => {
            info!(group = %group, generation, unassigned, "assigned");
        }
        Note::Emptied { group, generation } => info!(group = %group, generation, "group is empty"),
        Note::Removed { group, generation } => info!(group = %group, generation, "group is gone"),
        Note::MemberLeft {
            group,
            member_id,
            why,
        } => {
            info!(group = %group, member_id = %member_id, why, "member is out");
        }
        Note::Fenced {
            group,
            member_id,
            group_instance_id,
        } => {
            info!(group = %group, member_id = %member_id, group_instance_id = %group_instance_id, "member is fenced");
        }
        Note::NobodyRejoined { group } => info!(group = %group, "no member rejoined in time"),
        Note::MixedCommits { group } => {
            warn!(group = %group, "consumers and transactions both commit offsets to this group");
        }
        Note::NotWritten { group, refusal } => warn!(group = %group, %refusal, "write group"),
        Note::OffsetsExpired { count } => info!(count, "offsets expired"),
        Note::UnknownRecord { version } => {
            debug!(
                version,
                "passed over a record with a key of another coordinator"
            );
        }
        Note::DamagedRecord { offset, why } => warn!(offset, %why, "passed over a damaged record"),
    }
}
