//! Finding partitions, asking them, and telling a client that asked the wrong broker who leads one.

use std::sync::Arc;

use protocol::StrBytes;
use protocol::ids::BrokerId;
use protocol::kafka::data::{CurrentLeader, NodeEndpoint};
use replication::asking::{Question, ask_all};
use replication::error::Refusal;
use replication::partition::Partition;
use replication::replicas::{Hosted, Replicas};

use crate::metadata::Image;

/// The replica here, or why there is none. Kafka: `getPartitionOrError`: a topic that exists
/// elsewhere is led by someone else, one that exists nowhere is unknown.
pub(crate) fn find(
    replicas: &Replicas,
    image: &Image,
    topic: &str,
    partition: i32,
) -> Result<Arc<Partition>, Refusal> {
    match replicas.partition(topic, partition) {
        Hosted::Online(found) => Ok(found),
        Hosted::Offline => Err(Refusal::DirectoryOffline),
        Hosted::Absent if image.partition(topic, partition).is_some() => Err(Refusal::NotLeader),
        Hosted::Absent => Err(Refusal::UnknownPartition),
    }
}

/// Who leads a partition as far as this broker knows, noting where that broker listens.
pub(crate) fn current_leader(
    replicas: &Replicas,
    image: &Image,
    listener: &str,
    (topic, partition): (&str, i32),
    endpoints: &mut Vec<NodeEndpoint>,
) -> CurrentLeader {
    let (leader, epoch) = match replicas.partition(topic, partition) {
        Hosted::Online(found) => {
            let (leader, epoch) = found.leader();
            (leader.unwrap_or(BrokerId::NONE), epoch.0)
        }
        Hosted::Offline | Hosted::Absent => match image.partition(topic, partition) {
            Some(known) => (known.leader, known.leader_epoch.0),
            None => (BrokerId::NONE, -1),
        },
    };
    if !endpoints.iter().any(|known| known.node_id == leader.0)
        && let Some(broker) = image.brokers.get(&leader)
        && let Some(at) = image.endpoint(leader, listener)
    {
        endpoints.push(NodeEndpoint {
            node_id: leader.0,
            host: StrBytes::from_string(at.host.clone()),
            port: at.port,
            rack: broker.rack.clone().map(StrBytes::from_string),
        });
    }
    CurrentLeader {
        leader_id: leader.0,
        leader_epoch: epoch,
    }
}

/// Asks every partition that was found. Everybody's answer, in order: of those that were not found, why;
/// of those that refuse, or whose disk is silent, what `told` makes of it.
pub(crate) async fn ask_each<T, Q, E>(
    found: Vec<Result<Question<Q>, E>>,
    patience_ms: i64,
    told: impl Fn(Refusal) -> E,
) -> Vec<Result<T, E>>
where
    T: Send + 'static,
    Q: FnOnce(&Partition) -> Result<T, Refusal> + Send + 'static,
{
    let mut questions = Vec::with_capacity(found.len());
    let mut lost = Vec::with_capacity(found.len());
    for one in found {
        lost.push(match one {
            Ok(question) => {
                questions.push(question);
                None
            }
            Err(why) => Some(why),
        });
    }
    let mut answers = ask_all(questions, patience_ms).await.into_iter();
    let answer = |lost: Option<E>| match lost {
        Some(why) => Some(Err(why)),
        None => answers.next().map(|answer| answer.map_err(&told)),
    };
    lost.into_iter().filter_map(answer).collect()
}
