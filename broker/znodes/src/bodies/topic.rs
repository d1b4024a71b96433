//! `/brokers/topics/<topic>`: the topic's id and which brokers hold its partitions.

use std::collections::BTreeMap;

use protocol::ids::TopicId;
use serde_json::Value;

use super::json::{BodyError, Fields, Object, numbers};

/// The replicas of one partition, and what a reassignment adds and takes away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    pub replicas: Vec<i32>,
    pub adding: Vec<i32>,
    pub removing: Vec<i32>,
}

impl Assignment {
    pub fn of(replicas: Vec<i32>) -> Self {
        Assignment {
            replicas,
            adding: vec![],
            removing: vec![],
        }
    }

    pub fn is_reassigning(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }
}

/// A topic as its node tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topic {
    pub id: Option<TopicId>,
    pub partitions: BTreeMap<i32, Assignment>,
}

impl Topic {
    /// Version 3, the version of 3.9; without an id the key is left out.
    pub fn encode(&self) -> String {
        let select = |take: fn(&Assignment) -> &Vec<i32>, empty_too: bool| {
            self.partitions
                .iter()
                .filter(|(_, assignment)| empty_too || !take(assignment).is_empty())
                .fold(Object::new(), |object, (partition, assignment)| {
                    object.numbers(&partition.to_string(), take(assignment))
                })
        };
        let mut body = Object::new().object(
            "partitions",
            select(|assignment| &assignment.replicas, true),
        );
        if let Some(id) = self.id {
            body = body.text("topic_id", &id.to_string());
        }
        body.object(
            "adding_replicas",
            select(|assignment| &assignment.adding, false),
        )
        .object(
            "removing_replicas",
            select(|assignment| &assignment.removing, false),
        )
        .number("version", 3)
        .end()
    }

    /// Reads every version; the number itself does not matter.
    /// Kafka: what is no JSON is a topic without partitions (`TopicZNode.decode`).
    pub fn decode(bytes: &[u8]) -> Result<Self, BodyError> {
        let Ok(fields) = Fields::parse(bytes) else {
            return Ok(Topic::default());
        };
        let id = match fields.text_or_none("topic_id")? {
            None => None,
            Some(text) => Some(TopicId::parse(text).ok_or(BodyError::Field("topic_id"))?),
        };
        let mut topic = Topic {
            id,
            partitions: BTreeMap::new(),
        };
        let Some(partitions) = fields.get("partitions").and_then(Value::as_object) else {
            return Ok(topic);
        };
        let of = |name: &'static str, partition: &str| -> Result<Vec<i32>, BodyError> {
            match fields.get(name).and_then(|lists| lists.get(partition)) {
                None => Ok(vec![]),
                Some(list) => numbers(list).ok_or(BodyError::Field(name)),
            }
        };
        for (partition, replicas) in partitions {
            let number = partition
                .parse()
                .map_err(|_| BodyError::Field("partitions"))?;
            let assignment = Assignment {
                replicas: numbers(replicas).ok_or(BodyError::Field("partitions"))?,
                adding: of("adding_replicas", partition)?,
                removing: of("removing_replicas", partition)?,
            };
            topic.partitions.insert(number, assignment);
        }
        Ok(topic)
    }
}
