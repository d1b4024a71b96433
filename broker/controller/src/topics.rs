//! Topics appear and grow, whoever wrote their nodes; ids are given and healed.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::ids::{TopicId, TopicPartition};
use tracing::{info, warn};
use znodes::bodies::topic::Topic as Body;
use znodes::fence::Fenced;
use znodes::paths;
use znodes::store::{Error, Op};

use crate::context::{Partition, PartitionPhase, ReplicaPhase, Topic};
use crate::event::Wake;
use crate::partitions::Strategy;
use crate::reign::Reign;

impl Reign {
    /// The names below `/brokers/topics`; watched.
    pub(crate) async fn read_topic_names(&self) -> Result<BTreeSet<Arc<str>>, Fenced> {
        let listener = self.wakes.listener(Wake::Topics);
        let names = self
            .store
            .list(paths::TOPICS, Some(listener))
            .await?
            .unwrap_or_default();
        Ok(names.into_iter().map(Arc::from).collect())
    }

    /// Reads and watches topics that are new to us, gives ids where they lack one, and takes them
    /// into the context. Returns their partitions.
    pub(crate) async fn take_topics(
        &mut self,
        names: Vec<Arc<str>>,
    ) -> Result<Vec<TopicPartition>, Fenced> {
        let listener = self
            .wakes
            .listener_by(|path| Some(Wake::Topic(Arc::from(paths::name(path)))));
        let asked = names.iter().map(|name| paths::topic(name)).collect();
        let nodes = self.store.get_many(asked, Some(listener)).await?;
        let mut without_id = Vec::new();
        let mut found = Vec::new();
        for (name, node) in names.into_iter().zip(nodes) {
            let Some(node) = node else { continue };
            let body = match Body::decode(&node.data) {
                Ok(body) => body,
                Err(error) => {
                    warn!(%name, %error, "topic node cannot be read; it counts as empty");
                    Body::default()
                }
            };
            if body.id.is_none() && self.config.agreed.topic_ids {
                without_id.push((name.clone(), node.stat.version));
            }
            let partitions = body
                .partitions
                .into_iter()
                .map(|(index, assignment)| (index, Partition::new(assignment)))
                .collect();
            self.context.topics.insert(
                name.clone(),
                Topic {
                    id: None,
                    czxid: node.stat.czxid,
                    partitions,
                },
            );
            if let Some(id) = body.id {
                self.context.set_topic_id(&name, id);
            }
            found.extend(self.context.partitions_of(&name));
        }
        self.give_ids(&without_id).await?;
        Ok(found)
    }

    /// Kafka: `processTopicIds`, which draws a new id in any case: brokers refuse a partition whose
    /// log has another one.
    async fn give_ids(&mut self, topics: &[(Arc<str>, i32)]) -> Result<(), Fenced> {
        for (name, _) in topics {
            let partitions = self.context.partitions_of(name);
            let indexes: Vec<i32> = partitions.iter().map(|tp| tp.partition).collect();
            let id = match (self.remembered_id)(name, &indexes) {
                Some(id) if self.has_partition_nodes(name).await? => {
                    info!(%name, %id, "the topic's node had lost its id; it gets the same again");
                    id
                }
                _ => TopicId::random(),
            };
            self.context.set_topic_id(name, id);
        }
        let ops = topics.iter().filter_map(|(name, version)| {
            let topic = self.context.topics.get(name)?;
            let body = topic.body().encode();
            Some(vec![Op::set(paths::topic(name), body, *version)])
        });
        let batches = znodes::fence::pack(ops);
        let lengths: Vec<usize> = batches.iter().map(Vec::len).collect();
        let outcomes = self.fence.write_all(&*self.store, batches).await?;
        let mut rest = topics.iter();
        for (length, outcome) in lengths.into_iter().zip(outcomes) {
            let batch = rest.by_ref().take(length);
            match outcome {
                Ok(_) => batch.for_each(drop),
                // One of them went, changed or is refused, or nobody knows: one by one.
                Err(Error::Step { .. } | Error::Unknown { .. } | Error::TooLarge { .. }) => {
                    for (name, _) in batch {
                        self.give_id(name).await?;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// A topic that is being made has none yet; whatever is remembered of its name is of another.
    async fn has_partition_nodes(&self, name: &str) -> Result<bool, Fenced> {
        let found = self.store.exists(&paths::partitions(name), None).await?;
        Ok(found.is_some())
    }

    /// Writes the id that memory has into the node as it is now, unless it got one meanwhile.
    ///
    /// Invariant: an id that brokers are told of is in ZooKeeper; else the next controller would
    /// draw another. A topic whose node does not take one has none.
    async fn give_id(&mut self, name: &Arc<str>) -> Result<(), Fenced> {
        loop {
            // A topic that went meanwhile tells us so by its watch.
            let Some(node) = self.store.get(&paths::topic(name), None).await? else {
                return Ok(());
            };
            let mut body = Body::decode(&node.data).unwrap_or_default();
            if let Some(id) = body.id {
                self.context.set_topic_id(name, id);
                return Ok(());
            }
            body.id = self.context.topics.get(name).and_then(|topic| topic.id);
            let op = Op::set(paths::topic(name), body.encode(), node.stat.version);
            match self.fence.write(&*self.store, vec![op]).await {
                Ok(_) => return Ok(()),
                Err(Fenced::Store(Error::Unknown { .. })) => {}
                Err(Fenced::Store(error)) if error.is_bad_version() || error.is_no_node() => {}
                Err(Fenced::Store(error @ (Error::Step { .. } | Error::TooLarge { .. }))) => {
                    warn!(%name, %error, "could not write the topic's id; it goes on without one");
                    self.context.forget_topic_id(name);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The list below `/brokers/topics` changed.
    pub(crate) async fn topics_changed(&mut self) -> Result<(), Fenced> {
        let now = self.read_topic_names().await?;
        let new: Vec<Arc<str>> = now
            .iter()
            .filter(|name| !self.context.topics.contains_key(*name))
            .cloned()
            .collect();
        let gone: Vec<Arc<str>> = self
            .context
            .topics
            .keys()
            .filter(|name| !now.contains(*name))
            .cloned()
            .collect();
        for name in &gone {
            self.context.remove_topic(name);
        }
        if new.is_empty() {
            return Ok(());
        }
        let partitions = self.take_topics(new.clone()).await?;
        info!(
            topics = new.len(),
            partitions = partitions.len(),
            removed = gone.len(),
            "new topics"
        );
        self.start_partitions(&partitions).await
    }

    /// Kafka: `onNewPartitionCreation`.
    pub(crate) async fn start_partitions(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<(), Fenced> {
        if partitions.is_empty() {
            return Ok(());
        }
        self.note_partitions(partitions, Some(PartitionPhase::New));
        let replicas = self.context.replicas_of(partitions);
        self.move_replicas(&replicas, Some(ReplicaPhase::New))
            .await?;
        self.bring_online(partitions, Strategy::Offline { unclean: false })
            .await?;
        self.move_replicas(&replicas, Some(ReplicaPhase::Online))
            .await
    }

    /// A topic's node changed: partitions may have been added.
    pub(crate) async fn topic_changed(&mut self, name: &Arc<str>) -> Result<(), Fenced> {
        if !self.context.topics.contains_key(name) {
            return Ok(());
        }
        let listener = self.wakes.listener(Wake::Topic(name.clone()));
        let Some(node) = self.store.get(&paths::topic(name), Some(listener)).await? else {
            return Ok(());
        };
        let body = match Body::decode(&node.data) {
            Ok(body) => body,
            Err(error) => {
                warn!(%name, %error, "topic node cannot be read; the change is passed over");
                return Ok(());
            }
        };
        let Some(topic) = self.context.topics.get(name) else {
            return Ok(());
        };
        let fresh: Vec<i32> = body
            .partitions
            .keys()
            .copied()
            .filter(|at| !topic.partitions.contains_key(at))
            .collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let lost_id = body.id.is_none() && topic.id.is_some();
        if self.context.is_deleting(name) {
            warn!(%name, "partitions were added to a topic that is being deleted; taken back");
            return self.write_topic(name).await.map(drop);
        }
        if let Some(id) = body.id
            && topic.id.is_none()
        {
            self.context.set_topic_id(name, id);
        }
        // Old tools drop the id when they add partitions; the one in memory is put back, so that
        // no failover can give another (brokers would refuse it with INCONSISTENT_TOPIC_ID).
        let mut added = Vec::with_capacity(fresh.len());
        if let Some(topic) = self.context.topics.get_mut(name) {
            for (index, assignment) in body.partitions {
                topic.partitions.entry(index).or_insert_with(|| {
                    added.push(TopicPartition {
                        topic: name.clone(),
                        partition: index,
                    });
                    Partition::new(assignment)
                });
            }
        }
        info!(%name, partitions = ?fresh, "partitions added");
        if lost_id {
            self.write_topic(name).await?;
        }
        self.start_partitions(&added).await
    }

    /// Writes a topic's node as memory has it, together with partitions that others have added to it
    /// and nobody has looked at yet, unless the topic is being deleted. `false` where ZooKeeper does
    /// not take it.
    pub(crate) async fn write_topic(&mut self, name: &Arc<str>) -> Result<bool, Fenced> {
        loop {
            // A topic that went meanwhile tells us so by its watch.
            let Some(node) = self.store.get(&paths::topic(name), None).await? else {
                return Ok(true);
            };
            let Some(topic) = self.context.topics.get(name) else {
                return Ok(true);
            };
            let mut body = topic.body();
            if !self.context.is_deleting(name) {
                let there = Body::decode(&node.data).unwrap_or_default();
                for (index, assignment) in there.partitions {
                    body.partitions.entry(index).or_insert(assignment);
                }
            }
            let op = Op::set(paths::topic(name), body.encode(), node.stat.version);
            match self.fence.write(&*self.store, vec![op]).await {
                Ok(_) => return Ok(true),
                Err(Fenced::Store(Error::Unknown { .. })) => {}
                Err(Fenced::Store(error)) if error.is_bad_version() || error.is_no_node() => {}
                Err(Fenced::Store(error @ (Error::Step { .. } | Error::TooLarge { .. }))) => {
                    warn!(%name, %error, "could not write the topic's node");
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
    }
}
