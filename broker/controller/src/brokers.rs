//! A broker comes, goes, or returns under a new registration.

use std::collections::BTreeMap;

use protocol::ids::TopicPartition;
use tracing::{info, warn};
use znodes::bodies::broker::Broker;
use znodes::fence::Fenced;
use znodes::paths;

use crate::context::{PartitionPhase, Registered, ReplicaPhase};
use crate::event::Wake;
use crate::partitions::Strategy;
use crate::reign::Reign;

impl Reign {
    /// The registered brokers as ZooKeeper has them now; watches the list and each of them.
    pub(crate) async fn read_brokers(&self) -> Result<BTreeMap<i32, Registered>, Fenced> {
        let listener = self.wakes.listener(Wake::Brokers);
        let names = self
            .store
            .list(paths::IDS, Some(listener))
            .await?
            .unwrap_or_default();
        let ids: Vec<i32> = names.iter().filter_map(|name| name.parse().ok()).collect();
        let listener = self
            .wakes
            .listener_by(|path| paths::name(path).parse().ok().map(Wake::Broker));
        let fresh: Vec<i32> = ids
            .iter()
            .copied()
            .filter(|id| !self.context.is_registered(*id))
            .collect();
        let known: Vec<i32> = ids
            .iter()
            .copied()
            .filter(|id| self.context.is_registered(*id))
            .collect();
        let path_of = |ids: &[i32]| ids.iter().map(|id| paths::broker(*id)).collect::<Vec<_>>();
        // Nodes known already are watched already; a bounced one was watched until it went.
        let mut nodes = self.store.get_many(path_of(&fresh), Some(listener)).await?;
        nodes.extend(self.store.get_many(path_of(&known), None).await?);
        let mut found = BTreeMap::new();
        for (id, node) in fresh.into_iter().chain(known).zip(nodes) {
            let Some(node) = node else { continue };
            match Broker::decode(&node.data) {
                Ok(body) => {
                    found.insert(
                        id,
                        Registered {
                            epoch: node.stat.czxid,
                            body,
                        },
                    );
                }
                Err(error) => warn!(broker = id, %error, "registration cannot be read"),
            }
        }
        Ok(found)
    }

    /// The list below `/brokers/ids` changed.
    pub(crate) async fn brokers_changed(&mut self) -> Result<(), Fenced> {
        let now = self.read_brokers().await?;
        let new: Vec<i32> = now
            .keys()
            .copied()
            .filter(|id| !self.context.is_registered(*id))
            .collect();
        let dead: Vec<i32> = self
            .context
            .brokers
            .keys()
            .copied()
            .filter(|id| !now.contains_key(id))
            .collect();
        let bounced: Vec<i32> = now
            .iter()
            .filter(|(id, broker)| {
                self.context
                    .brokers
                    .get(id)
                    .is_some_and(|held| broker.epoch > held.epoch)
            })
            .map(|(id, _)| *id)
            .collect();
        if new.is_empty() && dead.is_empty() && bounced.is_empty() {
            return Ok(());
        }
        info!(?new, ?dead, ?bounced, "brokers changed");
        for id in dead.iter().chain(&bounced) {
            self.sender.close(*id);
        }
        if !bounced.is_empty() {
            for id in &bounced {
                self.context.brokers.remove(id);
            }
            self.brokers_failed(&bounced).await?;
        }
        let come: Vec<i32> = bounced.into_iter().chain(new).collect();
        for id in &come {
            if let Some(broker) = now.get(id) {
                self.context.brokers.insert(*id, broker.clone());
                self.open_peer(*id);
            }
        }
        if !come.is_empty() {
            self.rewatch(&come).await?;
            self.brokers_came(&come).await?;
        }
        if !dead.is_empty() {
            for id in &dead {
                self.context.brokers.remove(id);
            }
            self.brokers_failed(&dead).await?;
        }
        Ok(())
    }

    /// A bounced broker's node is a new node: it needs its watch again.
    async fn rewatch(&mut self, ids: &[i32]) -> Result<(), Fenced> {
        let listener = self
            .wakes
            .listener_by(|path| paths::name(path).parse().ok().map(Wake::Broker));
        let paths = ids.iter().map(|id| paths::broker(*id)).collect();
        self.store.get_many(paths, Some(listener)).await?;
        Ok(())
    }

    /// One broker's node changed its data: listeners may be new.
    pub(crate) async fn broker_changed(&mut self, id: i32) -> Result<(), Fenced> {
        let listener = self.wakes.listener(Wake::Broker(id));
        let Some(node) = self.store.get(&paths::broker(id), Some(listener)).await? else {
            return Ok(());
        };
        let Ok(body) = Broker::decode(&node.data) else {
            return Ok(());
        };
        let Some(held) = self.context.brokers.get_mut(&id) else {
            return Ok(());
        };
        // Kafka: a new rack alone is not noticed before the next registration.
        if node.stat.czxid != held.epoch
            || (held.body.endpoints == body.endpoints && held.body.features == body.features)
        {
            return Ok(());
        }
        info!(broker = id, "broker changed its listeners");
        held.body = body;
        self.tell_all_brokers(&[]);
        Ok(())
    }

    /// Tells everybody who is alive, and what is known of `partitions`.
    pub(crate) fn tell_all_brokers(&mut self, partitions: &[TopicPartition]) {
        let registered = self.context.registered();
        self.outbox.tell_of(&self.context, &registered, partitions);
        self.flush();
    }

    /// Kafka: `onBrokerStartup`.
    async fn brokers_came(&mut self, new: &[i32]) -> Result<(), Fenced> {
        for id in new {
            self.context.offline_dirs.remove(id);
        }
        let old: Vec<i32> = self
            .context
            .registered()
            .into_iter()
            .filter(|id| !new.contains(id))
            .collect();
        self.outbox.tell_of(&self.context, &old, &[]);
        self.flush();
        let all = self
            .context
            .partitions_where(|_, partition| partition.leadership.is_some());
        self.outbox.tell_of(&self.context, new, &all);
        self.flush();
        let replicas = self.context.replicas_on(new);
        self.move_replicas(&replicas, Some(ReplicaPhase::Online))
            .await?;
        self.trigger_elections(None).await?;
        self.resume_reassignments(new).await?;
        let waiting: Vec<_> = replicas
            .iter()
            .map(|(tp, _)| tp.topic.clone())
            .filter(|topic| self.context.is_deleting(topic))
            .collect();
        if !waiting.is_empty() {
            self.resume_deletions(&waiting).await?;
        }
        Ok(())
    }

    /// Kafka: `onBrokerFailure`.
    async fn brokers_failed(&mut self, dead: &[i32]) -> Result<(), Fenced> {
        for id in dead {
            self.context.offline_dirs.remove(id);
            self.context.shutting_down.remove(id);
        }
        let replicas = self.context.replicas_on(dead);
        self.replicas_became_offline(&replicas).await
    }

    /// Kafka: `onReplicasBecomeOffline`.
    pub(crate) async fn replicas_became_offline(
        &mut self,
        replicas: &[(TopicPartition, i32)],
    ) -> Result<(), Fenced> {
        let (deleting, kept): (Vec<_>, Vec<_>) = replicas
            .iter()
            .cloned()
            .partition(|(tp, _)| self.context.is_deleting(&tp.topic));
        let leaderless = self.context.partitions_where(|tp, partition| {
            !self.context.is_deleting(&tp.topic)
                && partition.phase.is_some()
                && partition
                    .leadership
                    .as_ref()
                    .is_some_and(|held| !self.context.is_replica_online(held.leader, tp))
        });
        self.note_partitions(&leaderless, Some(PartitionPhase::Offline));
        let elected = self.trigger_elections(None).await?;
        self.move_replicas(&kept, Some(ReplicaPhase::Offline))
            .await?;
        if !deleting.is_empty() {
            self.fail_deletions(&deleting).await?;
        }
        // Nobody has heard that a broker is gone, where none of its replicas and no election told.
        if kept.is_empty() && elected == 0 {
            self.tell_all_brokers(&[]);
        }
        Ok(())
    }

    /// Tries to find leaders for every partition that should have one, or those of one topic.
    /// Returns how many were found. Kafka: `triggerOnlinePartitionStateChange`.
    pub(crate) async fn trigger_elections(&mut self, topic: Option<&str>) -> Result<usize, Fenced> {
        let waiting = self.context.partitions_where(|tp, partition| {
            topic.is_none_or(|topic| topic == &*tp.topic)
                && !self.context.is_deleting(&tp.topic)
                && matches!(
                    partition.phase,
                    Some(PartitionPhase::New | PartitionPhase::Offline)
                )
        });
        if waiting.is_empty() {
            return Ok(0);
        }
        let failures = self
            .bring_online(&waiting, Strategy::Offline { unclean: false })
            .await?;
        Ok(waiting.len() - failures.len())
    }
}
