//! Ids for producers, handed out of blocks that the controller allots to this broker.
//!
//! Invariant: an id is handed out once in the life of a cluster. A block that was allotted and not
//! used up when a broker stops is lost, never reused.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use protocol::ids::ProducerId;
use tokio::sync::Mutex;

/// Asks the controller for a block; `None` where it cannot be had now.
pub type AskForBlock =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Option<Block>> + Send>> + Send + Sync>;

/// Ids from `next` up to `end`, which is not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    pub next: i64,
    pub end: i64,
}

/// Owner of the current block. The lock is held while a new one is asked for, so that a crowd of
/// producers asks once.
pub struct ProducerIds {
    ask: AskForBlock,
    block: Mutex<Block>,
}

impl ProducerIds {
    pub fn new(ask: AskForBlock) -> Self {
        ProducerIds {
            ask,
            block: Mutex::default(),
        }
    }

    /// Has a block before the first producer asks for an id.
    pub async fn prepare(&self) {
        let mut block = self.block.lock().await;
        if block.next >= block.end
            && let Some(first) = (self.ask)().await
        {
            *block = first;
        }
    }

    /// The next id; `None` while the controller gives none.
    pub async fn next(&self) -> Option<ProducerId> {
        let mut block = self.block.lock().await;
        if block.next >= block.end {
            *block = (self.ask)().await?;
        }
        let id = block.next;
        (id < block.end).then(|| {
            block.next += 1;
            ProducerId(id)
        })
    }
}

impl fmt::Debug for ProducerIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerIds").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[tokio::test]
    async fn ids_follow_one_another_and_a_used_up_block_is_replaced() {
        let asked = Arc::new(AtomicI64::new(0));
        let asks = Arc::clone(&asked);
        let ids = ProducerIds::new(Arc::new(move || {
            let start = asks.fetch_add(1, Ordering::Relaxed) * 1000;
            Box::pin(async move {
                Some(Block {
                    next: start,
                    end: start + 2,
                })
            })
        }));
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push(ids.next().await.unwrap().0);
        }
        assert_eq!(seen, [0, 1, 1000, 1001, 2000]);
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn without_a_controller_there_is_no_id() {
        let ids = ProducerIds::new(Arc::new(|| Box::pin(async { None })));
        assert_eq!(ids.next().await, None);
    }
}
