//! `/admin/reassign_partitions` and `/admin/preferred_replica_election`: what old tools ask for.

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

/// Kafka binds this body straight to a class: an unknown key makes it unreadable.
pub fn decode_targets(bytes: &[u8]) -> Result<Targets, BodyError> {
    let fields = Fields::parse(bytes)?;
    if fields
        .keys()
        .any(|key| key != "version" && key != "partitions")
    {
        return Err(BodyError::Field("partitions"));
    }
    fields
        .list("partitions")?
        .iter()
        .map(|one| {
            let one = Fields::from_value(one)?;
            if one
                .keys()
                .any(|key| !["topic", "partition", "replicas"].contains(&key))
            {
                return Err(BodyError::Field("partitions"));
            }
            let tp = TopicPartition::new(one.text("topic")?, one.i32("partition")?);
            Ok((tp, one.i32s("replicas")?))
        })
        .collect()
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
