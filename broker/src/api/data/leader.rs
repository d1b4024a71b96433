//! Finding a partition, asking it off the worker where its disk is slow, and telling a client that asked the wrong broker who leads it.

use std::sync::Arc;

use protocol::StrBytes;
use protocol::ids::BrokerId;
use protocol::kafka::data::{CurrentLeader, NodeEndpoint};
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

/// Asks a partition something that needs its log for a moment: here where the directory is
/// healthy, on one of its threads where it is not.
pub(crate) async fn ask<T: Send + 'static>(
    partition: &Arc<Partition>,
    question: impl FnOnce(&Partition) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let lane = partition.lane();
    if let Some(_permit) = partition.shared().lanes.try_permit(&lane) {
        return question(partition);
    }
    let asked = Arc::clone(partition);
    lane.run_read(move || question(&asked))
        .await
        .unwrap_or(Err(Refusal::Overloaded))
}

/// Asks a partition something that may sleep on its disk.
pub(crate) async fn ask_disk<T: Send + 'static>(
    partition: &Arc<Partition>,
    question: impl FnOnce(&Partition) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let asked = Arc::clone(partition);
    let answer = partition.lane().run_read(move || question(&asked)).await;
    answer.unwrap_or(Err(Refusal::Overloaded))
}
