//! `/latest_producer_id_block`: the block of producer ids that was given out last.

use super::json::{BodyError, Fields, Object};

/// How many ids a block holds. Kafka: `ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE`.
pub const BLOCK_LEN: i64 = 1000;

/// A block, both ends inclusive, and the broker it went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    pub broker: i32,
    pub first: i64,
    pub last: i64,
}

impl Block {
    pub fn encode(&self) -> String {
        Object::new()
            .number("version", 1)
            .number("broker", self.broker)
            .text("block_start", &self.first.to_string())
            .text("block_end", &self.last.to_string())
            .end()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, BodyError> {
        let fields = Fields::parse(bytes)?;
        Ok(Block {
            broker: fields.i32("broker")?,
            first: fields.text_i64("block_start")?,
            last: fields.text_i64("block_end")?,
        })
    }
}
