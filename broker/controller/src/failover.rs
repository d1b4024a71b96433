//! Taking over: everything is read, brokers are told, leaderless partitions get leaders.
//!
//! Kafka: `onControllerFailover`; the order of the steps is the contract, because a broker refuses
//! to follow a leader it has not heard of.

use std::sync::Arc;

use protocol::ids::TopicPartition;
use tracing::{info, warn};
use znodes::bodies::partition::PartitionState;
use znodes::fence::Fenced;
use znodes::paths;

use crate::context::{Leadership, PartitionPhase, ReplicaPhase};
use crate::event::Wake;
use crate::features;
use crate::reign::Reign;

impl Reign {
    pub(crate) async fn take_over(&mut self) -> Result<(), Fenced> {
        let began = self.clock.monotonic_ms();
        features::settle(&*self.store, self.fence, self.config.agreed).await?;
        self.watch_folders().await?;
        self.load().await?;
        self.load_deletions().await?;
        self.tell_all_brokers(&[]);
        self.start_replicas().await?;
        self.start_partition_states().await?;
        self.resume_all_reassignments().await?;
        self.resume_deletions(&[]).await?;
        self.wakes.add(Wake::PreferredElection);
        if cfg!(debug_assertions) {
            self.context.check();
        }
        info!(
            epoch = self.epoch,
            brokers = self.context.brokers.len(),
            topics = self.context.topics.len(),
            took_ms = self.clock.monotonic_ms() - began,
            "controller is ready"
        );
        Ok(())
    }

    /// Watches what is not read below, and clears away what the former controller was told.
    async fn watch_folders(&mut self) -> Result<(), Fenced> {
        let store = self.store.clone();
        let listeners = [
            Wake::LogDirs,
            Wake::IsrChanges,
            Wake::DeleteTopics,
            Wake::PreferredElection,
            Wake::Reassign,
        ]
        .map(|wake| self.wakes.listener(wake));
        let [log_dirs, isr, deletes, preferred, reassign] = listeners;
        let (log_dirs, isr, deletes, preferred, reassign) = tokio::join!(
            store.list(paths::LOG_DIR_EVENTS, Some(log_dirs)),
            store.list(paths::ISR_CHANGES, Some(isr)),
            store.list(paths::DELETE_TOPICS, Some(deletes)),
            store.exists(paths::PREFERRED_ELECTION, Some(preferred)),
            store.exists(paths::REASSIGN, Some(reassign)),
        );
        deletes?;
        preferred?;
        reassign?;
        let stale = [
            (paths::LOG_DIR_EVENTS, log_dirs?),
            (paths::ISR_CHANGES, isr?),
        ];
        for (folder, names) in stale {
            let nodes: Vec<String> = names
                .unwrap_or_default()
                .iter()
                .map(|name| format!("{folder}/{name}"))
                .collect();
            if !nodes.is_empty() {
                self.delete_nodes(nodes).await?;
            }
        }
        Ok(())
    }

    /// Brokers, topics, states. Kafka: `initializeControllerContext`.
    async fn load(&mut self) -> Result<(), Fenced> {
        let (brokers, names) = tokio::join!(self.read_brokers(), self.read_topic_names());
        self.context.brokers = brokers?;
        let partitions = self.take_topics(names?.into_iter().collect()).await?;
        let asked = partitions
            .iter()
            .map(|tp| paths::partition_state(&tp.topic, tp.partition))
            .collect();
        let nodes = self.store.get_many(asked, None).await?;
        for (tp, node) in partitions.iter().zip(nodes) {
            let Some(node) = node else { continue };
            match PartitionState::decode(&node.data) {
                Ok(state) => {
                    if let Some(partition) = self.context.partition_mut(tp) {
                        partition.leadership = Some(Leadership::read(state, node.stat.version));
                    }
                }
                Err(error) => warn!(partition = %tp, %error, "partition state cannot be read"),
            }
        }
        for id in self.context.registered() {
            self.open_peer(id);
        }
        Ok(())
    }

    /// Kafka: `ReplicaStateMachine.startup`.
    async fn start_replicas(&mut self) -> Result<(), Fenced> {
        let all = self.context.replicas_of(&self.context.all_partitions());
        let (mut online, mut offline) = (Vec::new(), Vec::new());
        for (tp, id) in all {
            let is_online = self.context.is_replica_online(id, &tp);
            let deleting = self.context.is_deleting(&tp.topic);
            let Some(partition) = self.context.partition_mut(&tp) else {
                continue;
            };
            if is_online {
                partition.set_replica(id, Some(ReplicaPhase::Online));
                online.push((tp, id));
            } else if deleting {
                partition.set_replica(id, Some(ReplicaPhase::DeletionIneligible));
            } else {
                partition.set_replica(id, Some(ReplicaPhase::Offline));
                offline.push((tp, id));
            }
        }
        self.tell_led_partitions();
        self.move_replicas(&online, Some(ReplicaPhase::Online))
            .await?;
        self.move_replicas(&offline, Some(ReplicaPhase::Offline))
            .await
    }

    fn tell_led_partitions(&mut self) {
        let registered = self.context.registered();
        let led = self
            .context
            .partitions_where(|_, partition| partition.leadership.is_some());
        self.outbox.tell_of(&self.context, &registered, &led);
    }

    /// Kafka: `PartitionStateMachine.startup`.
    async fn start_partition_states(&mut self) -> Result<(), Fenced> {
        for tp in self.context.all_partitions() {
            let online = self
                .context
                .leadership(&tp)
                .map(|held| self.context.is_replica_online(held.leader, &tp));
            let phase = match online {
                None => PartitionPhase::New,
                Some(true) => PartitionPhase::Online,
                Some(false) => PartitionPhase::Offline,
            };
            if let Some(partition) = self.context.partition_mut(&tp) {
                partition.phase = Some(phase);
            }
        }
        self.trigger_elections(None).await.map(drop)
    }

    /// A broker said that one of its log directories failed.
    pub(crate) async fn log_dirs_changed(&mut self) -> Result<(), Fenced> {
        let names = self.notices(paths::LOG_DIR_EVENTS, Wake::LogDirs).await?;
        for data in names {
            let Ok(broker) = znodes::bodies::notices::decode_log_dir_failure(&data) else {
                continue;
            };
            info!(
                broker,
                "a log directory failed; asking for all of its replicas"
            );
            // Kafka: the state is sent again for every replica there; the broken ones answer 56.
            let replicas: Vec<_> = self
                .context
                .replicas_on(&[broker])
                .into_iter()
                .filter(|(tp, id)| {
                    self.context
                        .partition(tp)
                        .and_then(|held| held.replica(*id))
                        .is_some()
                })
                .collect();
            self.move_replicas(&replicas, Some(ReplicaPhase::Online))
                .await?;
        }
        Ok(())
    }

    /// Leaders of old protocol versions wrote states themselves.
    pub(crate) async fn isr_changes(&mut self) -> Result<(), Fenced> {
        let mut partitions: Vec<TopicPartition> = Vec::new();
        for data in self.notices(paths::ISR_CHANGES, Wake::IsrChanges).await? {
            if let Ok(named) = znodes::bodies::reassign::decode_partitions(&data) {
                partitions.extend(
                    named
                        .into_iter()
                        .filter(|tp| self.context.partition(tp).is_some()),
                );
            }
        }
        partitions.sort();
        partitions.dedup();
        if partitions.is_empty() {
            return Ok(());
        }
        self.read_states(&partitions).await?;
        self.tell_all_brokers(&partitions);
        self.after_isr_change(&partitions).await
    }

    /// Reads and deletes all notices of a folder; watches it.
    async fn notices(&mut self, folder: &str, wake: Wake) -> Result<Vec<Vec<u8>>, Fenced> {
        let listener = self.wakes.listener(wake);
        let mut names = self
            .store
            .list(folder, Some(listener))
            .await?
            .unwrap_or_default();
        names.sort();
        let nodes: Vec<String> = names
            .iter()
            .map(|name| format!("{folder}/{name}"))
            .collect();
        if nodes.is_empty() {
            return Ok(vec![]);
        }
        let read = self.store.get_many(nodes.clone(), None).await?;
        self.delete_nodes(nodes).await?;
        Ok(read.into_iter().flatten().map(|node| node.data).collect())
    }

    /// A replica could not be opened because its directory failed, or could again.
    pub(crate) async fn led_answered(
        &mut self,
        broker: i32,
        partitions: Vec<(TopicPartition, protocol::kafka::errors::ErrorCode)>,
    ) -> Result<(), Fenced> {
        use protocol::kafka::errors::ErrorCode;
        let mut failed = Vec::new();
        for (tp, code) in partitions {
            if self.context.partition(&tp).is_none() {
                continue;
            }
            let offline = self.context.offline_dirs.entry(broker).or_default();
            match code {
                ErrorCode::KafkaStorageError if offline.insert(tp.clone()) => {
                    failed.push((tp, broker));
                }
                ErrorCode::None => {
                    offline.remove(&tp);
                }
                _ => {}
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        warn!(
            broker,
            replicas = failed.len(),
            "replicas lie on a failed log directory"
        );
        self.replicas_became_offline(&failed).await
    }

    pub(crate) fn topic_name(&self, name: &str) -> Option<Arc<str>> {
        self.context
            .topics
            .get_key_value(name)
            .map(|(name, _)| name.clone())
    }
}
