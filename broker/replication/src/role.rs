//! Orders of the controller: lead, follow, stop. Fenced by epochs, one order at a time.
//!
//! The result of each partition is the first that holds of a fixed list (LeaderAndIsr: offline,
//! other topic id, newer epoch, older epoch, same epoch); controllers act on these codes, so they
//! are the contract. Blocks on the disk (logs are made here): callers run it on a thread that may.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::last::last_of_each;
use protocol::ids::{BrokerEpoch, ControllerEpoch, LeaderEpoch, TopicId, TopicPartition};
use tracing::{error, info, warn};

use crate::error::Refusal;
use crate::partition::{Partition, PartitionOrder, RoleChange};
use crate::replicas::{Hosted, Orders, Replicas};

/// StopReplica: the topic is being deleted, whatever the epoch here.
const EPOCH_DURING_DELETE: LeaderEpoch = LeaderEpoch(-2);
/// StopReplica: the sender knows of no epochs.
const NO_EPOCH: LeaderEpoch = LeaderEpoch(-1);
/// So many new replicas write their small files before the order is answered.
const SETTLED_AT_ONCE_MAX: usize = 1_000;

/// Who gives an order, and to which registration of this broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority {
    pub controller_epoch: ControllerEpoch,
    /// What the controller believes this broker's epoch to be; −1: it does not say.
    pub broker_epoch: BrokerEpoch,
    /// What it is.
    pub own_broker_epoch: BrokerEpoch,
}

/// What became of a LeaderAndIsr order whose authority was accepted.
#[derive(Debug, Default)]
pub struct Applied {
    pub results: Vec<(TopicPartition, TopicId, Result<(), Refusal>)>,
    /// Roles that changed, for coordinators that load and unload.
    pub changes: Vec<(Arc<Partition>, RoleChange)>,
}

/// One partition of a StopReplica order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopOrder {
    pub partition: TopicPartition,
    pub leader_epoch: LeaderEpoch,
    pub delete: bool,
}

/// What became of a StopReplica order whose authority was accepted.
#[derive(Debug, Default)]
pub struct Stopped {
    pub results: Vec<(TopicPartition, Result<(), Refusal>)>,
    /// Partitions that serve no more, and whether they were deleted.
    pub gone: Vec<(TopicPartition, bool)>,
}

impl Replicas {
    /// LeaderAndIsr. `Err` where the whole order is refused.
    pub fn apply_leader_and_isr(
        &self,
        authority: Authority,
        orders: &[PartitionOrder],
    ) -> Result<Applied, Refusal> {
        let mut known = self.orders.lock();
        self.accept(authority)?;
        let mut applied = Applied::default();
        for order in self.last_taken(orders) {
            let result = self.apply_one(&mut known, order).map(|change| {
                applied.changes.extend(change);
            });
            // A new controller tells all it knows: most of it is known here.
            if let Err(refusal) = &result
                && !self.is_known(order)
            {
                warn!(
                    target: "state_change", partition = %order.partition, reason = %refusal,
                    leader_epoch = order.leader_epoch.0, "order not applied"
                );
            }
            applied
                .results
                .push((order.partition.clone(), order.topic_id, result));
        }
        warn_of_followers(&applied.changes);
        // The ids of some are on the disk before a producer can come for them. Those of thousands
        // follow with the next upkeep: nobody should wait for ten thousand files.
        let logs: Vec<_> = applied.changes.iter().map(|(led, _)| led.log()).collect();
        if logs.len() <= SETTLED_AT_ONCE_MAX
            && let Err(failed) = self.store().settle(&logs)
        {
            warn!(error = %failed, "topic ids and epochs not written");
        }
        Ok(applied)
    }

    /// Kafka looks at every order before it carries any out: where a partition is named more often,
    /// the last one that it takes counts.
    fn last_taken<'o>(&self, orders: &'o [PartitionOrder]) -> Vec<&'o PartitionOrder> {
        let last = last_of_each(orders.iter().collect(), |order| &order.partition);
        if last.len() == orders.len() {
            return last;
        }
        let (taken, mut counted): (Vec<_>, Vec<_>) =
            orders.iter().partition(|order| self.is_taken(order));
        counted.extend(taken);
        last_of_each(counted, |order| &order.partition)
    }

    fn is_taken(&self, order: &PartitionOrder) -> bool {
        let is_newer = match self.find(&order.partition) {
            Hosted::Online(partition) => order.leader_epoch > partition.leader_epoch(),
            Hosted::Absent => order.leader_epoch > LeaderEpoch::NONE,
            Hosted::Offline => false,
        };
        is_newer && order.assignment.replicas.contains(&self.shared().config.me)
    }

    /// Whether the order says what one before it said.
    fn is_known(&self, order: &PartitionOrder) -> bool {
        match self.find(&order.partition) {
            Hosted::Online(partition) => partition.leader_epoch() == order.leader_epoch,
            Hosted::Offline | Hosted::Absent => false,
        }
    }

    fn apply_one(
        &self,
        known: &mut Orders,
        order: &PartitionOrder,
    ) -> Result<Option<(Arc<Partition>, RoleChange)>, Refusal> {
        let hosted = match self.find(&order.partition) {
            Hosted::Offline => return Err(Refusal::DirectoryOffline),
            Hosted::Online(partition) => Some(partition),
            Hosted::Absent => None,
        };
        let log = match &hosted {
            Some(partition) => Some(partition.log()),
            None => self.store().log(&order.partition),
        };
        let log_id = log.as_ref().and_then(|log| log.topic_id());
        if let Some(id) = log_id
            && !order.topic_id.is_zero()
            && id != order.topic_id
        {
            return Err(Refusal::InconsistentTopicId);
        }
        let epoch = hosted
            .as_ref()
            .map_or(LeaderEpoch::NONE, |partition| partition.leader_epoch());
        if order.leader_epoch > epoch {
            let me = self.shared().config.me;
            if !order.assignment.replicas.contains(&me) {
                return Err(Refusal::UnknownPartition);
            }
            let (partition, is_fresh) = match hosted {
                Some(partition) => (partition, false),
                None => (self.make_replica(known, order)?, true),
            };
            if log_id.is_none() && !order.topic_id.is_zero() {
                partition.assign_topic_id(order.topic_id)?;
            }
            return self.take_role(partition, is_fresh, order);
        }
        match log {
            Some(log) if order.leader_epoch == epoch && !order.topic_id.is_zero() => {
                if log_id.is_some() {
                    return Err(Refusal::StaleControllerEpoch);
                }
                match &hosted {
                    Some(partition) => partition.assign_topic_id(order.topic_id)?,
                    None => log.assign_topic_id(order.topic_id)?,
                }
                Ok(None)
            }
            // Kafka: a follower forgets the id its fetcher used; without a fetcher there is
            // nothing to forget.
            Some(_)
                if order.leader_epoch == epoch
                    && log_id.is_some()
                    && order.leader != self.shared().config.me =>
            {
                Ok(None)
            }
            _ => Err(Refusal::StaleControllerEpoch),
        }
    }

    fn take_role(
        &self,
        partition: Arc<Partition>,
        is_fresh: bool,
        order: &PartitionOrder,
    ) -> Result<Option<(Arc<Partition>, RoleChange)>, Refusal> {
        let shared = self.shared();
        let (change, wakes) = if order.leader == shared.config.me {
            partition.become_leader(order)?
        } else if order.leader.0 >= 0 && shared.keeper.is_alive(order.leader) {
            partition.become_follower(order)
        } else {
            // Kafka: the log is made all the same, so that the watermark's checkpoint has it; state
            // and epoch stay as they were, and the answer is no error.
            error!(
                target: "state_change", partition = %order.partition, leader = order.leader.0,
                leader_epoch = order.leader_epoch.0, "leader to follow is not alive"
            );
            (RoleChange::Nothing, crate::waiting::Wakes::none())
        };
        if is_fresh {
            self.insert(Arc::clone(&partition));
            self.resume_move(&partition);
        }
        wakes.fire();
        Ok((change != RoleChange::Nothing).then_some((partition, change)))
    }

    /// Finds or makes the log, and a partition around it.
    fn make_replica(
        &self,
        known: &mut Orders,
        order: &PartitionOrder,
    ) -> Result<Arc<Partition>, Refusal> {
        let id = &order.partition;
        let config = self.config_of(&id.topic);
        let log = match self.store().log(id) {
            Some(log) => log,
            // Kafka: a replica that was here before may lie in the directory that is offline; a
            // second, empty one elsewhere would lose its records (LogManager.getOrCreateLog, 3.9).
            None if !order.is_new && self.store().directories().iter().any(|dir| !dir.online) => {
                return Err(Refusal::DirectoryOffline);
            }
            // An empty log in its stead would lead, and pass for the whole of it. One that follows is
            // made anew from its leader.
            None if !order.is_new
                && order.leader == self.shared().config.me
                && self
                    .store()
                    .is_set_aside(id, Some(order.topic_id).filter(|id| !id.is_zero())) =>
            {
                warn!(
                    target: "state_change", partition = %id,
                    "not led: its files could not be trusted and are kept aside; to begin anew without \
                     its records, remove them and start this broker again"
                );
                return Err(Refusal::DirectoryOffline);
            }
            None => {
                let topic_id = Some(order.topic_id).filter(|id| !id.is_zero());
                let wished = known.wished.get(id).map(PathBuf::as_path);
                let made = self
                    .store()
                    .create(id, topic_id, Arc::clone(&config.log), wished)?;
                known.wished.remove(id);
                made
            }
        };
        log.set_config(config.log);
        if let Some(watermark) = known.watermarks.remove(id) {
            log.set_high_watermark(watermark);
        }
        let shared = Arc::clone(self.shared());
        let partition = Partition::new(id.clone(), shared, log, config.rules);
        Ok(Arc::new(partition))
    }

    /// StopReplica. `Err` where the whole order is refused.
    pub fn apply_stop_replica(
        &self,
        authority: Authority,
        orders: &[StopOrder],
    ) -> Result<Stopped, Refusal> {
        self.accept(authority)?;
        let mut stopped = Stopped::default();
        for order in orders {
            let result = self.stop_one(order, &mut stopped.gone);
            stopped.results.push((order.partition.clone(), result));
        }
        self.delete_stopped(orders, &mut stopped.results);
        Ok(stopped)
    }

    /// The logs of those that stopped and are to be deleted go together, which is many times sooner
    /// than one by one.
    fn delete_stopped(
        &self,
        orders: &[StopOrder],
        results: &mut [(TopicPartition, Result<(), Refusal>)],
    ) {
        let mut going: Vec<_> = results
            .iter_mut()
            .zip(orders)
            .filter(|((id, stopped), order)| {
                order.delete && stopped.is_ok() && self.store().log(id).is_some()
            })
            .map(|(result, _)| result)
            .collect();
        let ids: Vec<TopicPartition> = going.iter().map(|(id, _)| id.clone()).collect();
        for ((id, result), deleted) in going.iter_mut().zip(self.store().delete(&ids)) {
            *result = deleted.map_err(Refusal::from);
            if result.is_ok() {
                info!(target: "state_change", partition = %id, "replica deleted");
            }
        }
    }

    /// Everything but the deletion of the log.
    fn stop_one(
        &self,
        order: &StopOrder,
        gone: &mut Vec<(TopicPartition, bool)>,
    ) -> Result<(), Refusal> {
        let id = &order.partition;
        match self.find(id) {
            // What is merely damaged can be deleted.
            Hosted::Offline if order.delete && self.is_damaged(id) => {
                gone.push((id.clone(), true));
                self.remove(id);
            }
            Hosted::Offline => return Err(Refusal::DirectoryOffline),
            Hosted::Online(partition) => {
                let is_bound = ![EPOCH_DURING_DELETE, NO_EPOCH].contains(&order.leader_epoch);
                if is_bound && order.leader_epoch < partition.leader_epoch() {
                    return Err(Refusal::FencedLeaderEpoch);
                }
                gone.push((id.clone(), order.delete));
                if !order.delete {
                    // The replica stays with its role; it merely fetches no more.
                    return Ok(());
                }
                self.call_off_move(&partition)?;
                self.remove(id);
                partition.leave(Refusal::NotLeader).fire();
            }
            Hosted::Absent => {}
        }
        // Before the replica itself: a copy that is left alone would be taken up again.
        if order.delete && self.store().future_log(id).is_some() {
            self.store().delete_future(id)?;
        }
        Ok(())
    }

    /// Alone, on a directory that works.
    fn is_damaged(&self, id: &TopicPartition) -> bool {
        let log = self.store().log(id);
        log.is_some_and(|log| log.is_damaged() && log.is_directory_online())
    }

    /// Fences by both epochs and remembers the controller's.
    fn accept(&self, authority: Authority) -> Result<(), Refusal> {
        let Authority {
            controller_epoch,
            broker_epoch,
            own_broker_epoch,
        } = authority;
        if broker_epoch.0 != -1 && broker_epoch < own_broker_epoch {
            return Err(Refusal::StaleBrokerEpoch);
        }
        match self.accept_controller(controller_epoch) {
            true => Ok(()),
            false => Err(Refusal::StaleControllerEpoch),
        }
    }

    /// The highest controller epoch that gave an order here. UpdateMetadata is fenced by it too, and
    /// waits for no order: `false` where `epoch` is older.
    pub fn accept_controller(&self, epoch: ControllerEpoch) -> bool {
        self.controller_epoch.fetch_max(epoch.0, Ordering::AcqRel) <= epoch.0
    }
}

/// Such partitions come from znodes or from another's controller: our own requests refuse them.
fn warn_of_followers(changes: &[(Arc<Partition>, RoleChange)]) {
    let mut followed = changes
        .iter()
        .filter(|(_, change)| matches!(change, RoleChange::BecameFollower));
    let Some((first, _)) = followed.next() else {
        return;
    };
    warn!(
        partition = %first.id(), others = followed.count(),
        "told to follow, and records are not copied yet: this replica stays behind and leaves the \
         ISR after replica.lag.time.max.ms; only the leader has what was acknowledged"
    );
}
