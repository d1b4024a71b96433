//! Reads a whole partition and brings its groups to life. Blocks: runs on threads of its own.

use std::sync::Arc;

use ::groups::load::{Loader, ReplayedBatch};
use ::groups::{Config, Machine, Now, Outcome};
use protocol::batch::{BatchView, DECOMPRESSED_BYTES_MAX, Fault, Marker, split};
use protocol::ids::Offset;
use storage::error::{Error, ReadError};

use crate::coordination::log::HostLog;

/// Why a partition could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("read offset {at}: {cause}")]
    Read { at: Offset, cause: ReadError },
    #[error("read batches after offset {at}: {cause}")]
    Batch { at: Offset, cause: Fault },
}

impl LoadError {
    /// Whether what failed is the matter of a moment, and nothing is wrong with the log.
    pub(crate) fn passes(&self) -> bool {
        matches!(
            self,
            LoadError::Read {
                cause: ReadError::Failed(Error::TooManyFiles { .. }),
                ..
            }
        )
    }
}

/// A partition brought to life, and how far it was read.
#[derive(Debug)]
pub struct Loaded {
    pub machine: Machine,
    pub outcome: Outcome,
    pub records: u64,
}

/// Replays everything from the log's start to its end. A broken batch ends the load: what lies
/// behind it cannot be told.
pub fn load(
    log: &dyn HostLog,
    config: Arc<Config>,
    bytes_max: usize,
    now: Now,
) -> Result<Loaded, LoadError> {
    let mut loader = Loader::new(config, now);
    let mut next = log.start();
    let mut records = 0;
    while next < log.end() {
        let set = log
            .read(next, bytes_max)
            .map_err(|cause| LoadError::Read { at: next, cause })?;
        let from = next;
        for batch in split(&set) {
            let batch = batch.map_err(|cause| LoadError::Batch { at: next, cause })?;
            if batch.header().next_offset() > next {
                replay(&batch, from, &mut loader, &mut records)
                    .map_err(|cause| LoadError::Batch { at: next, cause })?;
                next = batch.header().next_offset();
            }
        }
        if next == from {
            break; // The log was cut back meanwhile: another leader has come.
        }
    }
    let (machine, outcome) = loader.finish();
    Ok(Loaded {
        machine,
        outcome,
        records,
    })
}

fn replay(
    batch: &BatchView,
    from: Offset,
    loader: &mut Loader,
    count: &mut u64,
) -> Result<(), Fault> {
    let header = batch.header();
    let producer = header.producer_id.0;
    let mut replayed = ReplayedBatch {
        base_offset: header.base_offset.0,
        transaction: header.is_transactional().then_some(producer),
    };
    let mut first = true;
    for record in batch.records(DECOMPRESSED_BYTES_MAX)? {
        let record = record?;
        if record.offset < from {
            continue;
        }
        *count += 1;
        let key = record.key.as_deref().unwrap_or(&[]);
        if header.is_control() {
            match Marker::from_key(key) {
                Some(marker) => loader.replay_marker(producer, marker == Marker::Commit),
                None => continue,
            }
            break;
        }
        // Kafka: the offset of the first record that is left, not the header's.
        if std::mem::take(&mut first) {
            replayed.base_offset = record.offset.0;
        }
        loader.replay(replayed, key, record.value.as_deref());
    }
    Ok(())
}
