//! Offsets of version 0, which live in ZooKeeper under `/consumers` and nowhere else.
//!
//! Kafka: `KafkaZkClient.setOrCreateConsumerOffset` and `getConsumerOffset`. Whoever is asked
//! answers, coordinator or not; group membership is not looked at.

use protocol::ids::TopicPartition;
use protocol::kafka::errors::ErrorCode;
use znodes::paths;
use znodes::store::{ANY, Error, Node, Op, Store, create_with_parents};

/// Offsets that are written, or read, without waiting in between.
const AT_ONCE_MAX: usize = 256;

/// Writes offsets as text. One verdict for each.
pub(crate) async fn store_offsets(
    store: &dyn Store,
    group: &str,
    offsets: &[(&TopicPartition, i64)],
) -> Vec<Result<(), ErrorCode>> {
    let mut verdicts = Vec::with_capacity(offsets.len());
    for some in offsets.chunks(AT_ONCE_MAX) {
        let paths = some.iter().map(|(tp, _)| path_of(group, tp));
        let paths: Vec<_> = paths.collect();
        let sets = paths.iter().zip(some).filter_map(|(path, (_, offset))| {
            let path = path.as_ref().ok()?;
            Some(vec![Op::set(path.as_str(), offset.to_string(), ANY)])
        });
        let mut set = match store.multi_all(sets.collect()).await {
            Ok(set) => set.into_iter(),
            Err(error) => {
                let failed = paths.into_iter().map(|path| Err(failed(&path?, &error)));
                verdicts.extend(failed);
                continue;
            }
        };
        for (path, (_, offset)) in paths.into_iter().zip(some) {
            verdicts.push(match path {
                Ok(path) => match set.next() {
                    Some(Err(error)) if error.root().is_no_node() => {
                        store_first(store, &path, *offset).await
                    }
                    Some(Err(error)) => Err(failed(&path, &error)),
                    Some(Ok(_done)) => Ok(()),
                    None => Err(ErrorCode::UnknownServerError),
                },
                Err(code) => Err(code),
            });
        }
    }
    verdicts
}

/// Writes an offset that has no node yet.
async fn store_first(store: &dyn Store, path: &str, offset: i64) -> Result<(), ErrorCode> {
    let value = offset.to_string();
    match create_with_parents(store, path, value.as_bytes()).await {
        Ok(_created) => return Ok(()),
        // Somebody else has created it meanwhile: then it can be set.
        Err(error) if error.is_node_exists() => {}
        Err(error) => return Err(failed(path, &error)),
    }
    let set = store.set(path, value.as_bytes(), ANY).await;
    set.map(drop).map_err(|error| failed(path, &error))
}

/// Reads offsets; `None` where there is none.
pub(crate) async fn load_offsets(
    store: &dyn Store,
    group: &str,
    partitions: &[&TopicPartition],
) -> Vec<Result<Option<i64>, ErrorCode>> {
    let mut offsets = Vec::with_capacity(partitions.len());
    for some in partitions.chunks(AT_ONCE_MAX) {
        let paths: Vec<_> = some.iter().map(|tp| path_of(group, tp)).collect();
        let legal = paths.iter().filter_map(|path| path.as_ref().ok().cloned());
        let nodes = match store.get_many(legal.collect(), None).await {
            Ok(nodes) => nodes.into_iter().map(Ok).collect(),
            // One that cannot be read is no reason to tell nothing of the others.
            Err(_) => get_each(store, &paths).await,
        };
        let mut nodes = nodes.into_iter();
        let read = paths.into_iter().map(|path| {
            path?;
            let node = nodes.next().unwrap_or(Err(ErrorCode::UnknownServerError))?;
            let text = node.as_ref().map(|node| std::str::from_utf8(&node.data));
            // Kafka: what is not a number is an exception.
            let number = text.map(|text| text.ok().and_then(|text| text.parse().ok()));
            number
                .map(|number| number.ok_or(ErrorCode::UnknownServerError))
                .transpose()
        });
        offsets.extend(read);
    }
    offsets
}

async fn get_each(
    store: &dyn Store,
    paths: &[Result<String, ErrorCode>],
) -> Vec<Result<Option<Node>, ErrorCode>> {
    let mut nodes = Vec::with_capacity(paths.len());
    for path in paths.iter().flatten() {
        let node = store.get(path, None).await;
        nodes.push(node.map_err(|error| failed(path, &error)));
    }
    nodes
}

/// A group's name becomes part of a path, whatever is in it; one that makes no path is refused
/// as ZooKeeper's client refuses it.
fn path_of(group: &str, tp: &TopicPartition) -> Result<String, ErrorCode> {
    let path = paths::consumer_offset(group, &tp.topic, tp.partition);
    match paths::is_legal(&path) {
        true => Ok(path),
        false => Err(ErrorCode::UnknownServerError),
    }
}

/// Told to the client only: the path is made of a stranger's words, and that ZooKeeper is away is known.
fn failed(path: &str, error: &Error) -> ErrorCode {
    tracing::debug!(path, %error, "offset in ZooKeeper");
    ErrorCode::UnknownServerError
}

#[cfg(test)]
mod tests {
    use base::clock::Clock;
    use znodes::memory::World;

    use super::*;

    fn tp(partition: i32) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    #[tokio::test]
    async fn offsets_read_back_and_may_be_overwritten() {
        let store = World::new(Clock::by_hand(0)).connect();
        let all: Vec<_> = (0..2 * AT_ONCE_MAX as i32 + 1).map(tp).collect();
        let named: Vec<_> = all.iter().collect();
        let none = vec![Ok(None); all.len()];
        assert_eq!(load_offsets(&store, "g", &named).await, none);
        // The second time half of them are there.
        for (count, base) in [(AT_ONCE_MAX, 5), (all.len(), 6)] {
            let some = named.iter().take(count);
            let offsets: Vec<_> = some
                .map(|tp| (*tp, i64::from(tp.partition) + base))
                .collect();
            let verdicts = store_offsets(&store, "g", &offsets).await;
            assert_eq!(verdicts, vec![Ok(()); count]);
            let read = load_offsets(&store, "g", &named[..count]).await;
            let written = offsets.iter().map(|(_, offset)| Ok(Some(*offset)));
            assert!(read.into_iter().eq(written));
        }
    }

    #[tokio::test]
    async fn a_group_that_makes_no_path_is_refused() {
        let store = World::new(Clock::by_hand(0)).connect();
        let refused = Err(ErrorCode::UnknownServerError);
        for group in ["", "/", "a//b", "a/..", "a\u{0}"] {
            let stored = store_offsets(&store, group, &[(&tp(0), 1)]).await;
            assert_eq!(stored, [refused], "{group:?}");
            let loaded = load_offsets(&store, group, &[&tp(0)]).await;
            assert_eq!(loaded, [Err(ErrorCode::UnknownServerError)], "{group:?}");
        }
        assert!(path_of("a/b", &tp(0)).is_ok());
    }
}
