//! The brain's records as a batch, the way Kafka's coordinator writes them.

use ::groups::outcome::{Batch, Write};
use ::groups::refusal::WriteError;
use bytes::Bytes;
use protocol::batch::{BatchBuilder, Codec};
use protocol::ids::{ProducerEpoch, ProducerId};

/// Kafka: every batch of offsets says sequence 0, with a producer or without.
const OFFSETS_SEQUENCE: i32 = 0;

/// Builds the batch of one write.
pub fn build(write: &Write, codec: Codec) -> Result<Bytes, WriteError> {
    let mut batch = BatchBuilder::new(codec);
    match write.batch {
        Batch::Group | Batch::Tombstones => {}
        Batch::Offsets => {
            batch = batch.producer(ProducerId::NONE, ProducerEpoch(-1), OFFSETS_SEQUENCE);
        }
        Batch::Transactional {
            producer_id,
            producer_epoch,
        } => {
            let (id, epoch) = (ProducerId(producer_id), ProducerEpoch(producer_epoch));
            batch = batch
                .producer(id, epoch, OFFSETS_SEQUENCE)
                .transactional(true);
        }
    }
    for record in &write.records {
        batch
            .push(
                write.timestamp_ms,
                Some(&record.key),
                record.value.as_deref(),
                &[],
            )
            .map_err(|_too_long| WriteError::TooLarge)?;
    }
    batch.build().map_err(|_too_long| WriteError::TooLarge)
}
