//! Blocks of producer ids, given out one after another.

use protocol::kafka::errors::ErrorCode;
use tracing::{info, warn};
use znodes::bodies::producer_ids::{BLOCK_LEN, Block};
use znodes::paths;
use znodes::store::{Error, Kind, Store};

/// Takes the next block for `broker` and gives its first id. Kafka: `ZkProducerIdManager`.
pub async fn allocate(store: &dyn Store, broker: i32) -> Result<Result<i64, ErrorCode>, Error> {
    loop {
        let Some(node) = store.get(paths::PRODUCER_IDS, None).await? else {
            match store
                .create(paths::PRODUCER_IDS, &[], Kind::Persistent)
                .await
            {
                Ok(_) | Err(Error::NodeExists { .. } | Error::Unknown { .. }) => continue,
                Err(error) => return Err(error),
            }
        };
        let first = if node.data.is_empty() {
            0
        } else {
            match Block::decode(&node.data) {
                Ok(block) if block.last <= i64::MAX - BLOCK_LEN => block.last + 1,
                Ok(_) => {
                    warn!("all producer ids have been given out");
                    return Ok(Err(ErrorCode::UnknownServerError));
                }
                Err(error) => {
                    warn!(%error, "producer id block cannot be read");
                    return Ok(Err(ErrorCode::UnknownServerError));
                }
            }
        };
        let block = Block {
            broker,
            first,
            last: first + BLOCK_LEN - 1,
        };
        match store
            .set(
                paths::PRODUCER_IDS,
                block.encode().as_bytes(),
                node.stat.version,
            )
            .await
        {
            Ok(_) => {
                info!(broker, first, "producer ids given out");
                return Ok(Ok(first));
            }
            // After an unknown outcome the block may be lost, which harms nobody.
            Err(Error::BadVersion { .. } | Error::Unknown { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}
