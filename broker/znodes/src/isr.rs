//! A leader writes the ISR of its partition itself, as brokers did before AlterPartition (2.7-IV2).
//!
//! The version of the state node is the only fence: what a controller has decided meanwhile is
//! never written over. The controller learns of it from a notice below
//! `/isr_change_notification`. Kafka: `ReplicationUtils.updateLeaderAndIsr`.

use protocol::ids::TopicPartition;
use tracing::warn;

use crate::bodies::partition::PartitionState;
use crate::bodies::reassign::encode_partitions;
use crate::paths;
use crate::store::{Done, Error, Kind, Op, Store};

/// How many partitions one notice names: with the longest names it stays below ZooKeeper's limit
/// for one request.
const PARTITIONS_PER_NOTICE: usize = 2_000;

/// A state to write over the version it was decided on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub partition: TopicPartition,
    pub state: PartitionState,
    pub version: i32,
}

/// Writes states. For each, in order: the version it has in ZooKeeper now, or `None` where somebody
/// else has written meanwhile, the node is gone, or ZooKeeper refuses this one.
///
/// After an error some may be written; asking the same again finds them so.
pub async fn write(store: &dyn Store, wanted: &[Wanted]) -> Result<Vec<Option<i32>>, Error> {
    let mut versions = vec![None; wanted.len()];
    let mut left: Vec<(&Wanted, &mut Option<i32>)> = wanted.iter().zip(&mut versions).collect();
    while !left.is_empty() {
        let one =
            |wanted: &Wanted| vec![Op::set(path(wanted), wanted.state.encode(), wanted.version)];
        let batches = left.iter().map(|(wanted, _)| one(wanted)).collect();
        let outcomes = store.multi_all(batches).await?;
        let mut doubtful = Vec::new();
        for ((wanted, version), outcome) in left.into_iter().zip(outcomes) {
            match outcome {
                Ok(done) => *version = done.first().and_then(Done::stat).map(|stat| stat.version),
                Err(error) if error.is_no_node() => {}
                Err(error) if error.is_bad_version() => doubtful.push((wanted, version)),
                Err(Error::Unknown { .. }) => doubtful.push((wanted, version)),
                Err(Error::SessionEnded) => return Err(Error::SessionEnded),
                // Kafka: `conditionalUpdatePath` fails for any reason as if somebody had written.
                Err(error) => {
                    warn!(partition = %wanted.partition, %error, "ZooKeeper refuses a new ISR");
                }
            }
        }
        left = undone(store, doubtful).await?;
    }
    Ok(versions)
}

/// Notes those that are written after all, only the answer was lost; gives those back of which
/// nobody has written anything.
async fn undone<'a>(
    store: &dyn Store,
    doubtful: Vec<(&'a Wanted, &'a mut Option<i32>)>,
) -> Result<Vec<(&'a Wanted, &'a mut Option<i32>)>, Error> {
    let paths = doubtful.iter().map(|(wanted, _)| path(wanted)).collect();
    let nodes = store.get_many(paths, None).await?;
    let mut undone = Vec::new();
    for ((wanted, version), node) in doubtful.into_iter().zip(nodes) {
        let Some(node) = node else { continue };
        if PartitionState::decode(&node.data).as_ref() == Ok(&wanted.state) {
            *version = Some(node.stat.version);
        } else if node.stat.version == wanted.version {
            undone.push((wanted, version));
        }
    }
    Ok(undone)
}

fn path(wanted: &Wanted) -> String {
    paths::partition_state(&wanted.partition.topic, wanted.partition.partition)
}

/// Tells the controller whose states were written. A notice too many harms nobody.
pub async fn announce(store: &dyn Store, partitions: &[TopicPartition]) -> Result<(), Error> {
    let folder = format!("{}/{}", paths::ISR_CHANGES, paths::ISR_CHANGE_PREFIX);
    for some in partitions.chunks(PARTITIONS_PER_NOTICE) {
        let body = encode_partitions(some);
        store
            .create(&folder, body.as_bytes(), Kind::PersistentSequential)
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use base::clock::Clock;

    use super::*;
    use crate::memory::{Access, Memory, World};
    use crate::store::ANY;

    fn wanted(isr: &[i32], version: i32) -> Wanted {
        let state = PartitionState {
            controller_epoch: 1,
            leader: 1,
            leader_epoch: 0,
            isr: isr.to_vec(),
            recovering: false,
        };
        let partition = TopicPartition::new("t", 0);
        Wanted {
            partition,
            state,
            version,
        }
    }

    async fn led() -> Memory {
        let store = World::new(Clock::by_hand(1)).connect();
        for node in ["/brokers", "/brokers/topics", "/brokers/topics/t"] {
            store.create(node, &[], Kind::Persistent).await.unwrap();
        }
        for node in ["partitions", "partitions/0"] {
            let node = format!("/brokers/topics/t/{node}");
            store.create(&node, &[], Kind::Persistent).await.unwrap();
        }
        let first = wanted(&[1, 2], 0);
        let body = first.state.encode();
        let kind = Kind::Persistent;
        store
            .create(&path(&first), body.as_bytes(), kind)
            .await
            .unwrap();
        store
    }

    #[tokio::test]
    async fn what_somebody_else_wrote_is_not_written_over() {
        let store = led().await;
        assert_eq!(write(&store, &[wanted(&[1], 0)]).await, Ok(vec![Some(1)]));
        // The answer was lost, and it is asked again: it is written, whoever says so.
        assert_eq!(write(&store, &[wanted(&[1], 0)]).await, Ok(vec![Some(1)]));
        assert_eq!(write(&store, &[wanted(&[1, 2], 0)]).await, Ok(vec![None]));
        let mut decided = wanted(&[1], 1);
        decided.state.leader_epoch = 1;
        let body = decided.state.encode();
        store
            .set(&path(&decided), body.as_bytes(), ANY)
            .await
            .unwrap();
        let both = [wanted(&[1, 2], 1), wanted(&[1, 2], 2)];
        assert_eq!(write(&store, &both[..1]).await, Ok(vec![None]));
        let node = store.get(&path(&decided), None).await.unwrap().unwrap();
        assert_eq!(node.data, body.as_bytes());
        // A topic that is gone is nobody's.
        let mut gone = wanted(&[1], 0);
        gone.partition = TopicPartition::new("u", 0);
        assert_eq!(
            write(&store, &[gone, wanted(&[1, 2], 2)]).await,
            Ok(vec![None, Some(3)])
        );
    }

    #[tokio::test]
    async fn a_node_that_may_not_be_written_keeps_no_other_from_being_written() {
        let store = led().await;
        let other = "/brokers/topics/t/partitions/1";
        let mut forbidden = wanted(&[1], 0);
        forbidden.partition = TopicPartition::new("t", 1);
        for node in [other, &path(&forbidden)] {
            store.create(node, &[], Kind::Persistent).await.unwrap();
        }
        store.world().forbid(&path(&forbidden), Access::Write);
        let both = [forbidden, wanted(&[1], 0)];
        assert_eq!(write(&store, &both).await, Ok(vec![None, Some(1)]));
    }

    #[tokio::test]
    async fn a_notice_names_no_more_than_fits() {
        let store = World::new(Clock::by_hand(1)).connect();
        let kind = Kind::Persistent;
        store.create(paths::ISR_CHANGES, &[], kind).await.unwrap();
        let name = "n".repeat(249);
        let many: Vec<_> = (0..2_001)
            .map(|at| TopicPartition::new(name.as_str(), at))
            .collect();
        announce(&store, &many).await.unwrap();
        let notices = store.list(paths::ISR_CHANGES, None).await.unwrap().unwrap();
        assert_eq!(notices.len(), 2);
        let mut named = Vec::new();
        for notice in notices {
            let path = format!("{}/{notice}", paths::ISR_CHANGES);
            let node = store.get(&path, None).await.unwrap().unwrap();
            assert!(node.data.len() < 1_000_000);
            named.extend(crate::bodies::reassign::decode_partitions(&node.data).unwrap());
        }
        named.sort();
        assert_eq!(named, many);
    }
}
