//! `/admin/reassign_partitions` and `/admin/preferred_replica_election`: what old tools ask for.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use protocol::ids::TopicPartition;

use super::json::{BodyError, Fields, Object};

/// Asked-for replicas, in the order of the node.
pub type Targets = Vec<(TopicPartition, Vec<i32>)>;

pub fn encode_targets(targets: &[(TopicPartition, Vec<i32>)]) -> String {
    let partitions = targets.iter().map(|(tp, replicas)| {
        Object::new()
            .text("topic", &tp.topic)
            .number("partition", tp.partition)
            .numbers("replicas", replicas)
    });
    Object::new()
        .number("version", 1)
        .objects("partitions", partitions)
        .end()
}

/// Kafka binds this body straight to a class: an unknown key makes it unreadable. Of a partition
/// that is named more often, what was said last counts.
pub fn decode_targets(bytes: &[u8]) -> Result<Targets, BodyError> {
    let fields = Fields::parse(bytes)?;
    if fields
        .keys()
        .any(|key| key != "version" && key != "partitions")
    {
        return Err(BodyError::Field("partitions"));
    }
    let mut targets = Targets::new();
    let mut places = HashMap::new();
    for one in fields.list("partitions")? {
        let one = Fields::from_value(one)?;
        if one
            .keys()
            .any(|key| !["topic", "partition", "replicas"].contains(&key))
        {
            return Err(BodyError::Field("partitions"));
        }
        let tp = TopicPartition::new(one.text("topic")?, one.i32("partition")?);
        let replicas = one.i32s("replicas")?;
        match places.entry(tp) {
            Entry::Occupied(place) => {
                let at: &usize = place.get();
                if let Some(named_before) = targets.get_mut(*at) {
                    named_before.1 = replicas;
                }
            }
            Entry::Vacant(place) => {
                targets.push((place.key().clone(), replicas));
                place.insert(targets.len() - 1);
            }
        }
    }
    Ok(targets)
}

/// Partitions named by topic and number; also the shape of `isr_change` notices.
pub fn encode_partitions(partitions: &[TopicPartition]) -> String {
    let partitions = partitions.iter().map(|tp| {
        Object::new()
            .text("topic", &tp.topic)
            .number("partition", tp.partition)
    });
    Object::new()
        .number("version", 1)
        .objects("partitions", partitions)
        .end()
}

pub fn decode_partitions(bytes: &[u8]) -> Result<Vec<TopicPartition>, BodyError> {
    Fields::parse(bytes)?
        .list("partitions")?
        .iter()
        .map(|one| {
            let one = Fields::from_value(one)?;
            Ok(TopicPartition::new(
                one.text("topic")?,
                one.i32("partition")?,
            ))
        })
        .collect()
}
