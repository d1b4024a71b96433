//! Topics are created, grown and marked for deletion by writing their nodes; the controller's
//! watches do the rest.
//!
//! Checks come in Kafka's order and words (`ZkAdminManager`, `AdminZkClient`). Until followers
//! fetch, a replication factor above one is refused here; what other tools write is not touched.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::chance::Chance;
use base::clock::Clock;
use controller::Agreed;
use controller::assign::{self, Candidate};
use protocol::ids::TopicId;
use protocol::kafka::errors::ErrorCode;
use protocol::names;
use settings::layers::Texts;
use znodes::bodies::config::Overrides;
use znodes::bodies::topic::{Assignment, Topic};
use znodes::paths;
use znodes::registration;
use znodes::session::create_missing;
use znodes::store::{ANY, Error, Kind, Op, Store, create_with_parents};

use crate::config::Live;
use crate::metadata::Metadata;

/// A "no" in Kafka's code, with its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: ErrorCode,
    pub text: Option<String>,
}

impl Refusal {
    fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Refusal {
            code,
            text: Some(text.into()),
        }
    }

    /// Kafka: an exception nobody meant, told without words.
    fn silent() -> Self {
        Refusal {
            code: ErrorCode::UnknownServerError,
            text: None,
        }
    }

    /// Whether it is such an exception.
    pub fn is_silent(&self) -> bool {
        self.code == ErrorCode::UnknownServerError && self.text.is_none()
    }

    fn unwritten(error: &Error) -> Self {
        if let Error::TooLarge { .. } = error.root() {
            return Refusal::new(ErrorCode::InvalidRequest, error.to_string());
        }
        tracing::warn!(%error, "could not write to ZooKeeper");
        let code = ErrorCode::UnknownServerError;
        Refusal {
            code,
            text: code.message().map(str::to_owned),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal::unwritten(&error)
    }
}

impl From<registration::Refusal> for Refusal {
    fn from(refusal: registration::Refusal) -> Self {
        Refusal::new(ErrorCode::UnknownServerError, refusal.to_string())
    }
}

/// A topic somebody wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub name: String,
    /// −1: the broker's default.
    pub partitions: i32,
    pub replication_factor: i16,
    /// Given by hand; empty for an automatic assignment.
    pub assignments: Vec<(i32, Vec<i32>)>,
    pub configs: Vec<(String, Option<String>)>,
}

/// A topic that was made, or would have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub id: TopicId,
    pub partitions: i32,
    pub replication_factor: i16,
}

/// The room itself.
#[derive(Debug)]
pub struct Topics {
    store: Arc<dyn Store>,
    live: Live,
    metadata: Arc<Metadata>,
    clock: Clock,
    chance: Chance,
}

impl Topics {
    pub fn new(store: Arc<dyn Store>, live: Live, metadata: Arc<Metadata>, clock: Clock) -> Self {
        Topics {
            store,
            live,
            metadata,
            clock,
            chance: Chance::from_kernel(),
        }
    }

    /// Creates a topic, or only checks whether it could be.
    pub async fn create(&self, wanted: &Wanted, check_only: bool) -> Result<Made, Refusal> {
        let name = wanted.name.as_str();
        if self.metadata.image().topic(name).is_some() {
            return Err(exists(name));
        }
        let empty: Vec<&str> = wanted
            .configs
            .iter()
            .filter(|(_, value)| value.is_none())
            .map(|(key, _)| key.as_str())
            .collect();
        if !empty.is_empty() {
            let text = format!(
                "Null value not supported for topic configs: {}",
                empty.join(",")
            );
            return Err(Refusal::new(ErrorCode::InvalidConfig, text));
        }
        let assignment = self.assignment(wanted).await?;
        self.check(name, &assignment).await?;
        let overrides: Texts = wanted
            .configs
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), value.clone()?)))
            .collect();
        let config = self.live.now();
        settings::topics::check(&overrides, &config.topic_defaults)
            .map_err(|refusal| Refusal::new(ErrorCode::InvalidConfig, refusal.to_string()))?;
        // Kafka looks at the sum of the numbers alone, and trips over those that are missing.
        if !assignment.keys().zip(0..).all(|(index, due)| *index == due) {
            return Err(Refusal::silent());
        }
        let factor = assignment.values().next().map_or(0, Vec::len);
        let mut made = Made {
            id: TopicId::ZERO,
            partitions: i32::try_from(assignment.len()).unwrap_or(i32::MAX),
            replication_factor: i16::try_from(factor).unwrap_or(i16::MAX),
        };
        let id = match Agreed::at(&config.identity.protocol_version).topic_ids {
            true => TopicId::random(),
            false => TopicId::ZERO,
        };
        let partitions = assignment
            .into_iter()
            .map(|(index, replicas)| (index, Assignment::of(replicas)));
        let topic = Topic {
            id: (!id.is_zero()).then_some(id),
            partitions: partitions.collect(),
        };
        // In the order of the request.
        let overrides = wanted
            .configs
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
        let overrides: Overrides = overrides.collect();
        if check_only {
            self.store.fits(&steps(name, &topic, &overrides))?;
        } else {
            self.write(name, &topic, &overrides).await?;
            made.id = id;
        }
        Ok(made)
    }

    async fn assignment(&self, wanted: &Wanted) -> Result<BTreeMap<i32, Vec<i32>>, Refusal> {
        let automatic = wanted.assignments.is_empty();
        if !automatic && (wanted.partitions != -1 || wanted.replication_factor != -1) {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "Both numPartitions or replicationFactor and replicasAssignments were set. Both cannot be used at the same time.",
            ));
        }
        let assignment = if automatic {
            let defaults = &self.live.now().topics;
            let count = if wanted.partitions == -1 {
                defaults.partitions
            } else {
                wanted.partitions
            };
            let factor = match wanted.replication_factor {
                -1 => defaults.replication_factor,
                given => given,
            };
            let brokers = self.candidates().await?;
            self.assign(&brokers, count, i32::from(factor), 0)?
        } else {
            wanted.assignments.iter().cloned().collect()
        };
        only_one_replica(assignment.values())?;
        Ok(assignment)
    }

    fn assign(
        &self,
        brokers: &[Candidate],
        count: i32,
        factor: i32,
        first: i32,
    ) -> Result<BTreeMap<i32, Vec<i32>>, Refusal> {
        let places = u64::try_from(brokers.len()).unwrap_or(1);
        let draw = || usize::try_from(self.chance.below(places)).unwrap_or(0);
        assign::assign(brokers, count, factor, first, draw(), draw()).map_err(|refusal| {
            let code = match refusal {
                assign::Refusal::Partitions | assign::Refusal::TooManyPartitions => {
                    ErrorCode::InvalidPartitions
                }
                assign::Refusal::ReplicationFactor | assign::Refusal::TooFewBrokers { .. } => {
                    ErrorCode::InvalidReplicationFactor
                }
                assign::Refusal::SomeRacks => ErrorCode::UnknownServerError,
            };
            match code {
                // Kafka: an exception without a code of its own tells the code's text.
                ErrorCode::UnknownServerError => Refusal {
                    code,
                    text: code.message().map(str::to_owned),
                },
                _ => Refusal::new(code, refusal.to_string()),
            }
        })
    }

    async fn candidates(&self) -> Result<Vec<Candidate>, Refusal> {
        let brokers = registration::brokers(&*self.store).await?;
        Ok(brokers
            .into_iter()
            .map(|(id, body)| Candidate {
                id,
                rack: body.rack,
            })
            .collect())
    }

    /// Kafka: `AdminZkClient.validateTopicCreate`.
    async fn check(&self, name: &str, assignment: &BTreeMap<i32, Vec<i32>>) -> Result<(), Refusal> {
        names::check_topic_name(name).map_err(|reason| {
            let text = format!("Topic name is invalid: {reason}");
            Refusal::new(ErrorCode::InvalidTopicException, text)
        })?;
        let deleting = paths::delete_topic(name);
        let (there, marked) = (
            paths::topic(name),
            self.store.exists(&deleting, None).await?.is_some(),
        );
        if marked {
            let text = format!("Topic '{name}' is marked for deletion.");
            return Err(Refusal::new(ErrorCode::TopicAlreadyExists, text));
        }
        if self.store.exists(&there, None).await?.is_some() {
            return Err(exists(name));
        }
        if name.contains(['.', '_']) {
            let all = self
                .store
                .list(paths::TOPICS, None)
                .await?
                .unwrap_or_default();
            // Made by somebody else since the look above.
            if all.iter().any(|other| other == name) {
                return Err(exists(name));
            }
            let twins: Vec<String> = all
                .into_iter()
                .filter(|other| names::collide(other, name))
                .collect();
            if !twins.is_empty() {
                let text = format!(
                    "Topic '{name}' collides with existing topics: {}",
                    twins.join(", ")
                );
                return Err(Refusal::new(ErrorCode::InvalidTopicException, text));
            }
        }
        let refuse = |text: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, text));
        let sizes: BTreeSet<usize> = assignment.values().map(Vec::len).collect();
        if sizes.len() != 1 {
            return refuse("All partitions should have the same number of replicas".to_owned());
        }
        let uniques = |replicas: &Vec<i32>| replicas.iter().collect::<BTreeSet<_>>().len();
        if assignment
            .values()
            .any(|replicas| uniques(replicas) != replicas.len())
        {
            return refuse(format!(
                "Duplicate replica assignment found: {}",
                scala_map(assignment)
            ));
        }
        let count = i64::try_from(assignment.len()).unwrap_or(i64::MAX);
        let not_negative = assignment.keys().copied().filter(|index| *index >= 0);
        if not_negative.map(i64::from).sum::<i64>() != count * (count - 1) / 2 {
            return refuse(
                "partitions should be a consecutive 0-based integer sequence".to_owned(),
            );
        }
        Ok(())
    }

    /// The overrides and the topic's node, all or nothing: a topic that is refused leaves no
    /// overrides behind, and those of one that somebody else has just made stay as they are.
    ///
    /// Kafka: `AdminZkClient.createTopicWithAssignment`, which writes one after the other.
    async fn write(&self, name: &str, topic: &Topic, overrides: &Overrides) -> Result<(), Refusal> {
        let [create_config, create] = steps(name, topic, overrides);
        let mut config = create_config.clone();
        loop {
            let outcome = self.store.multi(vec![config.clone(), create.clone()]).await;
            let Err(error) = outcome else { return Ok(()) };
            match (error.step(), error.root()) {
                // Left behind by a former topic.
                (Some(0), Error::NodeExists { .. }) => {
                    config = Op::set(config.path(), overrides.encode(), ANY);
                }
                (Some(0), Error::NoNode { .. }) => {
                    create_missing(&*self.store, &paths::entity_config("topics")).await?;
                    config = create_config.clone();
                }
                (Some(1), Error::NodeExists { .. }) => return Err(exists(name)),
                (Some(1), Error::NoNode { .. }) => {
                    create_missing(&*self.store, paths::TOPICS).await?;
                }
                (None, Error::Unknown { .. }) => {
                    let node = self.store.get(create.path(), None).await?;
                    return match node.map(|node| Topic::decode(&node.data)) {
                        Some(Ok(held)) if held == *topic => Ok(()),
                        Some(_) => Err(exists(name)),
                        None => Err(Refusal::new(
                            ErrorCode::RequestTimedOut,
                            "the outcome is unknown",
                        )),
                    };
                }
                _ => return Err(error.into()),
            }
        }
    }

    /// Adds partitions up to `count`. Kafka: `ZkAdminManager.createPartitions`.
    pub async fn grow(
        &self,
        name: &str,
        count: i32,
        given: Option<Vec<Vec<i32>>>,
        check_only: bool,
    ) -> Result<(), Refusal> {
        let path = paths::topic(name);
        if !paths::is_legal(&path) {
            return Err(Refusal::silent());
        }
        if self
            .store
            .exists(&paths::delete_topic(name), None)
            .await?
            .is_some()
        {
            let text = "The topic is queued for deletion.";
            return Err(Refusal::new(ErrorCode::InvalidTopicException, text));
        }
        loop {
            let (topic, version) = self.grown(name, count, given.as_deref()).await?;
            let body = topic.encode();
            if check_only {
                let set = Op::set(path.as_str(), body, version);
                return Ok(self.store.fits(&[set])?);
            }
            // Over what was read: a move may have begun, or others may have added partitions.
            match self.store.set(&path, body.as_bytes(), version).await {
                Ok(_) => return Ok(()),
                Err(Error::BadVersion { .. }) => {}
                Err(Error::Unknown { .. }) => {
                    let node = self.store.get(&path, None).await?;
                    let held = node.and_then(|node| Topic::decode(&node.data).ok());
                    if held.is_some_and(|held| held == topic) {
                        return Ok(());
                    }
                }
                Err(Error::NoNode { .. }) => return Err(missing(name)),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A topic as it is to be, and the version of the node it is to be written over.
    async fn grown(
        &self,
        name: &str,
        count: i32,
        given: Option<&[Vec<i32>]>,
    ) -> Result<(Topic, i32), Refusal> {
        let node = self.store.get(&paths::topic(name), None).await?;
        let node = node.ok_or_else(|| missing(name))?;
        let mut topic = Topic::decode(&node.data)
            .map_err(|error| Refusal::new(ErrorCode::UnknownServerError, error.to_string()))?;
        if topic.partitions.values().any(Assignment::is_reassigning) {
            let text = format!("A partition reassignment is in progress for the topic '{name}'.");
            return Err(Refusal::new(ErrorCode::ReassignmentInProgress, text));
        }
        let now = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        if count < now {
            let text = format!(
                "Topic currently has {now} partitions, which is higher than the requested {count}."
            );
            return Err(Refusal::new(ErrorCode::InvalidPartitions, text));
        }
        if count == now {
            let text = format!("Topic already has {now} partitions.");
            return Err(Refusal::new(ErrorCode::InvalidPartitions, text));
        }
        let brokers = self.candidates().await?;
        let more = count - now;
        let factor = topic
            .partitions
            .values()
            .next()
            .map_or(1, |first| first.replicas.len());
        let added: BTreeMap<i32, Vec<i32>> = match given {
            None => {
                let factor = i32::try_from(factor).unwrap_or(i32::MAX);
                self.assign(&brokers, more, factor, now)?
            }
            Some(lists) => {
                check_given(lists, (now, more), factor, &brokers)?;
                (now..).zip(lists.iter().cloned()).collect()
            }
        };
        only_one_replica(added.values())?;
        let added = added
            .into_iter()
            .map(|(index, replicas)| (index, Assignment::of(replicas)));
        topic.partitions.extend(added);
        Ok((topic, node.stat.version))
    }

    /// `delete.topic.enable`.
    pub fn may_be_deleted(&self) -> bool {
        self.live.now().topics.delete_enable
    }

    /// Marks a topic for deletion.
    pub async fn delete(&self, name: &str) -> Result<(), Refusal> {
        let code = if self.metadata.image().topic(name).is_none() {
            ErrorCode::UnknownTopicOrPartition
        } else {
            let path = paths::delete_topic(name);
            return match self.store.create(&path, &[], Kind::Persistent).await {
                // Kafka: a marker that is there already is as good.
                Ok(_) | Err(Error::NodeExists { .. } | Error::Unknown { .. }) => Ok(()),
                Err(Error::NoNode { .. }) => {
                    match create_with_parents(&*self.store, &path, &[]).await {
                        Ok(_) | Err(Error::NodeExists { .. }) => Ok(()),
                        Err(error) => Err(error.into()),
                    }
                }
                Err(error) => Err(error.into()),
            };
        };
        Err(Refusal { code, text: None })
    }

    /// Waits until all of these are done as far as this broker knows the cluster, and tells of each
    /// whether it is. Kafka: with no time to wait nothing is looked at, however soon it is done.
    pub async fn wait_for_each<T>(
        &self,
        within_ms: i32,
        things: &[T],
        is_done: impl Fn(&crate::metadata::Image, &T) -> bool,
    ) -> Vec<bool> {
        if within_ms <= 0 {
            return vec![false; things.len()];
        }
        let all = |image: &_| things.iter().all(|thing| is_done(image, thing));
        if self.wait_until(within_ms, all).await {
            return vec![true; things.len()];
        }
        let image = self.metadata.image();
        things.iter().map(|thing| is_done(&image, thing)).collect()
    }

    /// Waits until `done` holds of the cluster as this broker knows it; `false` when time is up.
    pub async fn wait_until(
        &self,
        within_ms: i32,
        done: impl Fn(&crate::metadata::Image) -> bool,
    ) -> bool {
        let mut changes = self.metadata.changes();
        let wait = async {
            loop {
                if done(&self.metadata.image()) {
                    return true;
                }
                if changes.changed().await.is_err() {
                    return false;
                }
            }
        };
        tokio::select! {
            biased;
            seen = wait => seen,
            () = self.clock.sleep_ms(i64::from(within_ms)) => false,
        }
    }
}

/// What makes a topic: its overrides and its node.
fn steps(name: &str, topic: &Topic, overrides: &Overrides) -> [Op; 2] {
    [
        Op::create(paths::topic_config(name), overrides.encode()),
        Op::create(paths::topic(name), topic.encode()),
    ]
}

fn missing(name: &str) -> Refusal {
    let text = format!("The topic '{name}' does not exist.");
    Refusal::new(ErrorCode::UnknownTopicOrPartition, text)
}

fn exists(name: &str) -> Refusal {
    Refusal::new(
        ErrorCode::TopicAlreadyExists,
        format!("Topic '{name}' already exists."),
    )
}

fn only_one_replica<'a>(mut lists: impl Iterator<Item = &'a Vec<i32>>) -> Result<(), Refusal> {
    let unique = |list: &Vec<i32>| list.iter().collect::<BTreeSet<_>>().len();
    if lists.any(|list| unique(list) > 1) {
        return Err(Refusal::new(
            ErrorCode::InvalidReplicationFactor,
            "Replication factor above 1 is not supported yet: this broker does not fetch from other brokers, so further replicas would never be in sync.",
        ));
    }
    Ok(())
}

fn check_given(
    lists: &[Vec<i32>],
    (first, more): (i32, i32),
    factor: usize,
    brokers: &[Candidate],
) -> Result<(), Refusal> {
    let refuse = |text: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, text));
    let known = |id: &i32| brokers.iter().any(|broker| broker.id == *id);
    let unknown = lists.iter().flatten().filter(|id| !known(id));
    let unknown: BTreeSet<&i32> = unknown.collect();
    if !unknown.is_empty() {
        let unknown: Vec<String> = unknown.into_iter().map(i32::to_string).collect();
        return refuse(format!(
            "Unknown broker(s) in replica assignment: {}.",
            unknown.join(", ")
        ));
    }
    if i32::try_from(lists.len()) != Ok(more) {
        return refuse(format!(
            "Increasing the number of partitions by {more} but {} assignments provided.",
            lists.len()
        ));
    }
    for (index, list) in (first..).zip(lists) {
        if list.is_empty() {
            return refuse(format!(
                "Cannot have replication factor of 0 for partition id {index}."
            ));
        }
        if list.iter().collect::<BTreeSet<_>>().len() < list.len() {
            let ids: Vec<String> = list.iter().map(i32::to_string).collect();
            return refuse(format!(
                "Duplicate brokers not allowed in replica assignment: {} for partition id {index}.",
                ids.join(", ")
            ));
        }
    }
    let others = (first..)
        .zip(lists)
        .filter(|(_, list)| list.len() != factor);
    let (others, factors): (Vec<String>, Vec<String>) = others
        .map(|(index, list)| (index.to_string(), list.len().to_string()))
        .unzip();
    if !others.is_empty() {
        return refuse(format!(
            "Inconsistent replication factor between partitions, partition 0 has {factor} while partitions [{}] have replication factors [{}], respectively.",
            others.join(", "),
            factors.join(", ")
        ));
    }
    Ok(())
}

/// An assignment as Scala prints it inside Kafka's message.
fn scala_map(assignment: &BTreeMap<i32, Vec<i32>>) -> String {
    let entries: Vec<String> = assignment
        .iter()
        .map(|(index, replicas)| {
            let ids: Vec<String> = replicas.iter().map(i32::to_string).collect();
            format!("{index} -> ArrayBuffer({})", ids.join(", "))
        })
        .collect();
    format!("HashMap({})", entries.join(", "))
}

#[cfg(test)]
mod tests {
    use znodes::memory::{World, broker_body};

    use super::*;
    use crate::config::Config;

    /// One broker, and no topic yet.
    async fn room() -> (Arc<dyn Store>, Topics) {
        let clock = Clock::by_hand(1);
        let store: Arc<dyn Store> = Arc::new(World::new(clock.clone()).connect());
        let body = broker_body(9092).encode();
        create_with_parents(&*store, &paths::broker(1), body.as_bytes())
            .await
            .unwrap();
        let config = Config::of(&[
            ("broker.id", "1"),
            ("zookeeper.connect", "127.0.0.1:2181"),
            ("log.dirs", "/data"),
        ]);
        let live = Live::new(config.unwrap());
        let metadata = Arc::new(Metadata::default());
        let topics = Topics::new(Arc::clone(&store), live, metadata, clock);
        (store, topics)
    }

    /// ZooKeeper would drop the connection at each try, and everybody's requests with it.
    #[tokio::test]
    async fn a_topic_that_zookeeper_does_not_take_is_refused_and_not_tried_for_ever() {
        let (store, topics) = room().await;
        let wanted = |partitions| Wanted {
            name: "t".to_owned(),
            partitions,
            replication_factor: 1,
            ..Wanted::default()
        };
        let refused = |refusal: Refusal| {
            assert_eq!(refusal.code, ErrorCode::InvalidRequest);
            let text = refusal.text.unwrap();
            assert!(text.contains("zookeeper.request.max.bytes"), "{text}");
        };
        for check_only in [true, false] {
            let made = topics.create(&wanted(100_000), check_only).await;
            refused(made.unwrap_err());
        }
        // Nothing is left of it, the folders neither.
        assert_eq!(store.exists("/config", None).await, Ok(None));
        topics.create(&wanted(2), false).await.unwrap();
        for check_only in [true, false] {
            let grown = topics.grow("t", 100_000, None, check_only).await;
            refused(grown.unwrap_err());
        }
        assert_eq!(topics.grow("t", 3, None, false).await, Ok(()));
    }

    /// Two who make a topic of the same name at once: the second one's settings are not the first
    /// one's. Those that a former topic left behind are replaced.
    #[tokio::test]
    async fn a_topics_settings_are_written_with_it_or_not_at_all() {
        let (store, topics) = room().await;
        let overrides = |text: &str| Overrides::from_iter([("retention.ms", text)]);
        let topic = Topic {
            id: None,
            partitions: BTreeMap::from([(0, Assignment::of(vec![1]))]),
        };
        let held = async || {
            let node = store.get("/config/topics/t", None).await.unwrap().unwrap();
            String::from_utf8(node.data).unwrap()
        };
        create_with_parents(&*store, "/config/topics/t", b"left")
            .await
            .unwrap();
        let first = topics.write("t", &topic, &overrides("1")).await;
        assert_eq!((first, held().await), (Ok(()), overrides("1").encode()));
        let second = topics.write("t", &topic, &overrides("2")).await;
        assert_eq!(second, Err(exists("t")));
        assert_eq!(held().await, overrides("1").encode());
    }
}
