//! Deleting topics: what may go now, what waits, and why.
//!
//! A topic waits (is *ineligible*) while one of its replicas is on a dead broker or it is being
//! reassigned. Otherwise every replica is told to delete its log; when the last has said so, the
//! nodes go. Kafka: `TopicDeletionManager`.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::ids::TopicPartition;
use protocol::kafka::errors::ErrorCode;
use tracing::{info, warn};
use znodes::fence::Fenced;
use znodes::paths;
use znodes::store::{ANY, Error, Op};

use crate::context::{Leadership, NOBODY, PartitionPhase, ReplicaPhase};
use crate::event::Wake;
use crate::reign::Reign;

impl Reign {
    /// The markers below `/admin/delete_topics` changed.
    pub(crate) async fn deletions_changed(&mut self) -> Result<(), Fenced> {
        let listener = self.wakes.listener(Wake::DeleteTopics);
        let names = self
            .store
            .list(paths::DELETE_TOPICS, Some(listener))
            .await?
            .unwrap_or_default();
        let asked: BTreeSet<Arc<str>> = names.into_iter().map(Arc::from).collect();
        let is_known = |name: &Arc<str>| self.context.topics.contains_key(name);
        if !asked.iter().all(is_known) {
            // Perhaps made and marked since the last look at the topics.
            self.topics_changed().await?;
        }
        let (known, unknown): (Vec<_>, Vec<_>) = asked
            .into_iter()
            .partition(|name| self.context.topics.contains_key(name));
        if !unknown.is_empty() {
            warn!(topics = ?unknown, "unknown topics marked for deletion; markers removed");
            self.delete_nodes(
                unknown
                    .iter()
                    .map(|name| paths::delete_topic(name))
                    .collect(),
            )
            .await?;
        }
        if !self.config.delete_topics {
            if !known.is_empty() {
                warn!(topics = ?known, "topic deletion is disabled; markers removed");
                self.delete_nodes(known.iter().map(|name| paths::delete_topic(name)).collect())
                    .await?;
            }
            return Ok(());
        }
        let fresh: Vec<Arc<str>> = known
            .into_iter()
            .filter(|name| !self.context.is_deleting(name))
            .collect();
        if fresh.is_empty() {
            return Ok(());
        }
        info!(topics = ?fresh, "topics marked for deletion");
        for name in &fresh {
            if self.context.is_moving(name) {
                self.context.ineligible.insert(name.clone());
            }
            self.context.to_delete.insert(name.clone());
        }
        self.resume_deletions(&[]).await
    }

    /// At failover: which topics are marked, and which of them must wait.
    pub(crate) async fn load_deletions(&mut self) -> Result<(), Fenced> {
        let names = self
            .store
            .list(paths::DELETE_TOPICS, None)
            .await?
            .unwrap_or_default();
        if !self.config.delete_topics {
            return self
                .delete_nodes(names.iter().map(|name| paths::delete_topic(name)).collect())
                .await;
        }
        for name in names.into_iter().map(Arc::<str>::from) {
            let waits = self.context.partitions_of(&name).iter().any(|tp| {
                self.context.partition(tp).is_some_and(|held| {
                    // What nobody leads, for deleting it had begun, moves no further.
                    let led = |one: &Leadership| one.leader != NOBODY;
                    held.assignment.is_reassigning() && held.leadership.as_ref().is_some_and(led)
                        || held
                            .assignment
                            .replicas
                            .iter()
                            .any(|id| !self.context.is_replica_online(*id, tp))
                })
            });
            if waits {
                self.context.ineligible.insert(name.clone());
            }
            self.context.to_delete.insert(name);
        }
        Ok(())
    }

    /// `now_eligible` topics need not wait any more; then everything that can go goes.
    pub(crate) async fn resume_deletions(
        &mut self,
        now_eligible: &[Arc<str>],
    ) -> Result<(), Fenced> {
        for name in now_eligible {
            self.context.ineligible.remove(name);
        }
        let topics: Vec<Arc<str>> = self.context.to_delete.iter().cloned().collect();
        let mut start = Vec::new();
        for name in topics {
            let phases = self.replica_phases(&name);
            if phases
                .iter()
                .all(|phase| *phase == Some(ReplicaPhase::DeletionSuccessful))
            {
                self.complete_deletion(&name).await?;
                continue;
            }
            let under_way = phases.contains(&Some(ReplicaPhase::DeletionStarted));
            if !under_way && phases.contains(&Some(ReplicaPhase::DeletionIneligible)) {
                self.retry_deletion(&name).await?;
            }
            if !self.context.ineligible.contains(&name) && !under_way {
                start.push(name);
            }
        }
        if !start.is_empty() {
            self.start_deletions(start).await?;
        }
        Ok(())
    }

    fn replica_phases(&self, topic: &str) -> Vec<Option<ReplicaPhase>> {
        let Some(topic) = self.context.topics.get(topic) else {
            return vec![];
        };
        topic
            .partitions
            .values()
            .flat_map(|held| held.assignment.replicas.iter().map(|id| held.replica(*id)))
            .collect()
    }

    /// Replicas that failed to be deleted are offline again, so that they may be asked anew.
    async fn retry_deletion(&mut self, topic: &Arc<str>) -> Result<(), Fenced> {
        let partitions = self.context.partitions_of(topic);
        let failed: Vec<(TopicPartition, i32)> = self
            .context
            .replicas_of(&partitions)
            .into_iter()
            .filter(|(tp, id)| {
                self.context
                    .partition(tp)
                    .and_then(|held| held.replica(*id))
                    == Some(ReplicaPhase::DeletionIneligible)
            })
            .collect();
        self.move_replicas(&failed, Some(ReplicaPhase::Offline))
            .await
    }

    /// Kafka: `onTopicDeletion`, `onPartitionDeletion`.
    async fn start_deletions(&mut self, topics: Vec<Arc<str>>) -> Result<(), Fenced> {
        let mut partitions = Vec::new();
        for name in &topics {
            partitions.extend(self.context.partitions_of(name));
        }
        let existing: Vec<TopicPartition> = partitions
            .iter()
            .filter(|tp| {
                self.context
                    .partition(tp)
                    .is_some_and(|held| held.phase.is_some())
            })
            .cloned()
            .collect();
        self.note_partitions(&existing, Some(PartitionPhase::Offline));
        self.note_partitions(&existing, None);
        self.tell_all_brokers(&partitions);
        let replicas = self.context.replicas_of(&partitions);
        let (alive, dead): (Vec<_>, Vec<_>) = replicas
            .into_iter()
            .partition(|(tp, id)| self.context.is_replica_online(*id, tp));
        let phase_is =
            |context: &crate::context::Context, (tp, id): &(TopicPartition, i32), phase| {
                context.partition(tp).and_then(|held| held.replica(*id)) == Some(phase)
            };
        let alive: Vec<_> = alive
            .into_iter()
            .filter(|one| !phase_is(&self.context, one, ReplicaPhase::DeletionSuccessful))
            .collect();
        if !dead.is_empty() {
            for (tp, _) in &dead {
                self.context.ineligible.insert(tp.topic.clone());
            }
            // Through Offline, so that the move is legal wherever the replica stood.
            self.move_replicas(&dead, Some(ReplicaPhase::Offline))
                .await?;
            self.move_replicas(&dead, Some(ReplicaPhase::DeletionIneligible))
                .await?;
        }
        self.move_replicas(&alive, Some(ReplicaPhase::Offline))
            .await?;
        self.move_replicas(&alive, Some(ReplicaPhase::DeletionStarted))
            .await
    }

    /// Replicas of topics being deleted went offline.
    pub(crate) async fn fail_deletions(
        &mut self,
        replicas: &[(TopicPartition, i32)],
    ) -> Result<(), Fenced> {
        let failed: Vec<_> = replicas
            .iter()
            .filter(|(tp, _)| self.context.is_deleting(&tp.topic))
            .cloned()
            .collect();
        if failed.is_empty() {
            return Ok(());
        }
        for (tp, _) in &failed {
            self.context.ineligible.insert(tp.topic.clone());
        }
        let standing: Vec<_> = failed
            .into_iter()
            .filter(|(tp, id)| {
                self.context
                    .partition(tp)
                    .and_then(|held| held.replica(*id))
                    .is_some()
            })
            .collect();
        let (started, others): (Vec<_>, Vec<_>) = standing.into_iter().partition(|(tp, id)| {
            matches!(
                self.context
                    .partition(tp)
                    .and_then(|held| held.replica(*id)),
                Some(ReplicaPhase::DeletionStarted | ReplicaPhase::Offline)
            )
        });
        self.move_replicas(&others, Some(ReplicaPhase::Offline))
            .await?;
        let all: Vec<_> = started.into_iter().chain(others).collect();
        self.move_replicas(&all, Some(ReplicaPhase::DeletionIneligible))
            .await?;
        self.resume_deletions(&[]).await
    }

    /// A broker answered the order to delete replicas.
    pub(crate) async fn replicas_deleted(
        &mut self,
        broker: i32,
        error: ErrorCode,
        answers: Vec<(TopicPartition, ErrorCode)>,
    ) -> Result<(), Fenced> {
        let started = |tp: &TopicPartition| {
            self.context
                .partition(tp)
                .and_then(|held| held.replica(broker))
                == Some(ReplicaPhase::DeletionStarted)
        };
        let (mut failed, mut done) = (Vec::new(), Vec::new());
        for (tp, code) in answers {
            if started(&tp) {
                let list = if error.is_none() && code.is_none() {
                    &mut done
                } else {
                    &mut failed
                };
                list.push((tp, broker));
            }
        }
        self.fail_deletions(&failed).await?;
        if !done.is_empty() {
            self.move_replicas(&done, Some(ReplicaPhase::DeletionSuccessful))
                .await?;
            self.resume_deletions(&[]).await?;
        }
        Ok(())
    }

    /// Everything of a topic is gone from the brokers: its nodes go.
    async fn complete_deletion(&mut self, topic: &Arc<str>) -> Result<(), Fenced> {
        let partitions = self.context.partitions_of(topic);
        let replicas: Vec<_> = self.context.replicas_of(&partitions);
        self.move_replicas(&replicas, None).await?;
        let mut groups = Vec::new();
        let parent = paths::partitions(topic);
        for index in self.store.list(&parent, None).await?.unwrap_or_default() {
            groups.push(vec![format!("{parent}/{index}/state")]);
            groups.push(vec![format!("{parent}/{index}")]);
        }
        // Together: as long as the topic's node is there, everything that says what to do is.
        groups.push(vec![
            parent,
            paths::topic(topic),
            paths::topic_config(topic),
            paths::delete_topic(topic),
        ]);
        self.delete_topic_nodes(topic, groups).await?;
        // What was to move is gone, and nobody would take it out of the old tools' node.
        self.trim_reassign_node(|tp, _| tp.topic == *topic).await?;
        self.context.remove_topic(topic);
        info!(%topic, "topic deleted");
        Ok(())
    }

    async fn delete_topic_nodes(
        &mut self,
        topic: &Arc<str>,
        groups: Vec<Vec<String>>,
    ) -> Result<(), Fenced> {
        let known = self.context.topics.get(topic).map(|topic| topic.czxid);
        self.delete_groups(groups, Some((paths::topic(topic), known)))
            .await
    }

    /// Deletes nodes in order, fenced, passing over those that are gone; many to a transaction.
    pub(crate) async fn delete_nodes(&mut self, nodes: Vec<String>) -> Result<(), Fenced> {
        let groups = nodes.into_iter().map(|path| vec![path]).collect();
        self.delete_groups(groups, None).await
    }

    /// Deletes groups of nodes that go together. An answer may be lost after all was done, and what
    /// the nodes belong to be made anew meanwhile: where `owner` was not created by this zxid any
    /// more, nothing is deleted again.
    async fn delete_groups(
        &mut self,
        groups: Vec<Vec<String>>,
        owner: Option<(String, Option<i64>)>,
    ) -> Result<(), Fenced> {
        let delete = |path: String| Op::delete(path, ANY);
        let groups = groups.into_iter();
        let groups = groups.map(|paths| paths.into_iter().map(delete).collect());
        for mut batch in znodes::fence::pack(groups) {
            while !batch.is_empty() {
                match self.fence.write(&*self.store, batch.clone()).await {
                    Ok(_) => break,
                    Err(Fenced::Store(Error::Unknown { .. })) => {
                        if let Some((path, known)) = &owner {
                            let there = self.store.exists(path, None).await?;
                            if there.map(|stat| stat.czxid) != *known {
                                return Ok(());
                            }
                        }
                    }
                    Err(Fenced::Store(error)) if error.is_no_node() => {
                        let paths = batch.iter().map(|op| op.path().to_owned()).collect();
                        let mut there = self.store.get_many(paths, None).await?.into_iter();
                        batch.retain(|_| there.next().flatten().is_some());
                    }
                    Err(Fenced::Store(Error::Step { .. })) => {
                        for op in std::mem::take(&mut batch) {
                            self.delete_node(op).await?;
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    async fn delete_node(&mut self, op: Op) -> Result<(), Fenced> {
        loop {
            match self.fence.write(&*self.store, vec![op.clone()]).await {
                Ok(_) => return Ok(()),
                Err(Fenced::Store(Error::Unknown { .. })) => {}
                Err(Fenced::Store(error)) if error.is_no_node() => return Ok(()),
                Err(Fenced::Store(error @ Error::Step { .. })) => {
                    warn!(path = op.path(), %error, "could not delete a node");
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }
}
