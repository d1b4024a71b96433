//! Offsets of version 0, which live in ZooKeeper under `/consumers` and nowhere else.
//!
//! Kafka: `KafkaZkClient.setOrCreateConsumerOffset` and `getConsumerOffset`. Whoever is asked
//! answers, coordinator or not; group membership is not looked at.

use protocol::kafka::errors::ErrorCode;
use znodes::paths;
use znodes::store::{ANY, Error, Store, create_with_parents};

/// Writes one offset as text.
pub(crate) async fn store_offset(
    store: &dyn Store,
    group: &str,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<(), ErrorCode> {
    let path = path_of(group, topic, partition)?;
    let value = offset.to_string();
    // Somebody else may create it between our two steps: then it can be set.
    for _ in 0..2 {
        match store.set(&path, value.as_bytes(), ANY).await {
            Ok(_stat) => return Ok(()),
            Err(error) if error.is_no_node() => {}
            Err(error) => return Err(failed(&path, &error)),
        }
        match create_with_parents(store, &path, value.as_bytes()).await {
            Ok(_created) => return Ok(()),
            Err(error) if error.is_node_exists() => {}
            Err(error) => return Err(failed(&path, &error)),
        }
    }
    Err(ErrorCode::UnknownServerError)
}

/// Reads one offset; `None` if there is none.
pub(crate) async fn load_offset(
    store: &dyn Store,
    group: &str,
    topic: &str,
    partition: i32,
) -> Result<Option<i64>, ErrorCode> {
    let path = path_of(group, topic, partition)?;
    let node = store
        .get(&path, None)
        .await
        .map_err(|error| failed(&path, &error))?;
    let Some(node) = node else { return Ok(None) };
    let text = std::str::from_utf8(&node.data).ok();
    // Kafka: what is not a number is an exception.
    text.and_then(|text| text.parse().ok())
        .map(Some)
        .ok_or(ErrorCode::UnknownServerError)
}

/// A group's name becomes part of a path, whatever is in it; one that makes no path is refused
/// as ZooKeeper's client refuses it.
fn path_of(group: &str, topic: &str, partition: i32) -> Result<String, ErrorCode> {
    let legal = |part: &str| !part.is_empty() && part != "." && part != "..";
    let clean = !group
        .chars()
        .any(|c| c.is_control() || ('\u{f000}'..='\u{f8ff}').contains(&c));
    if clean && group.split('/').all(legal) {
        Ok(paths::consumer_offset(group, topic, partition))
    } else {
        Err(ErrorCode::UnknownServerError)
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

    #[tokio::test]
    async fn an_offset_reads_back_and_may_be_overwritten() {
        let store = World::new(Clock::by_hand(0)).connect();
        assert_eq!(load_offset(&store, "g", "t", 0).await, Ok(None));
        for offset in [5, 6] {
            assert_eq!(store_offset(&store, "g", "t", 0, offset).await, Ok(()));
            assert_eq!(load_offset(&store, "g", "t", 0).await, Ok(Some(offset)));
        }
    }

    #[tokio::test]
    async fn a_group_that_makes_no_path_is_refused() {
        for group in ["", "/", "a//b", "a/..", "a\u{0}"] {
            assert_eq!(
                path_of(group, "t", 0),
                Err(ErrorCode::UnknownServerError),
                "{group:?}"
            );
        }
        assert!(path_of("a/b", "t", 0).is_ok());
    }
}
