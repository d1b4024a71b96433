//! Which transactions were aborted, as the markers in the log tell it: pure.
//!
//! The index of aborted transactions is not asked. No checksum covers it, and a spoilt entry would
//! have committed records dropped, or aborted ones take the place of committed ones.
//! Kafka: its cleaner believes the index.

use std::collections::HashMap;

use protocol::batch::{BatchView, Fault, Marker};

/// A marker has ten bytes of content; whatever is larger is not one.
const MARKER_BYTES_MAX: u64 = 1 << 16;

/// What a marker says; `None` where an earlier pass has emptied it, or for one of a kind we do not
/// know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Ended(Marker),
    Nothing,
    Unknown,
}

pub(crate) fn read_marker(batch: &BatchView) -> Result<Said, Fault> {
    let Some(record) = batch.records(MARKER_BYTES_MAX)?.next() else {
        return Ok(Said::Nothing);
    };
    let key = record?.key.unwrap_or_default();
    Ok(Marker::from_key(&key).map_or(Said::Unknown, Said::Ended))
}

/// Aborted transactions: the first offset of each that is there, and its marker's.
///
/// What bounds it is the dirty part alone: 16 bytes for each abort in it, and about 100 for each producer
/// that has aborted. Kafka's cleaner, which reads the indexes of that part, bounds it no better.
#[derive(Debug, Default)]
pub(crate) struct Aborted(HashMap<i64, Vec<(i64, i64)>>);

impl Aborted {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a batch of records belongs to one of them.
    pub(crate) fn holds(&self, batch: &BatchView) -> bool {
        if !batch.is_transactional() {
            return false;
        }
        let Some(ended) = self.0.get(&batch.producer_id.0) else {
            return false;
        };
        let offset = batch.base_offset.0;
        let at = ended.partition_point(|(_, last)| *last < offset);
        ended.get(at).is_some_and(|(first, _)| *first <= offset)
    }
}

/// A walk that finds them, for all batches below an offset. How a transaction ended stands behind
/// them, so it goes on until those that began below are over. It may be led past the same batches twice,
/// and takes each once.
#[derive(Debug)]
pub(crate) struct Gathering {
    upto: i64,
    /// All below has passed.
    reached: i64,
    /// Producer → its first offset.
    open: HashMap<i64, i64>,
    aborted: Aborted,
}

impl Gathering {
    pub(crate) fn below(upto: i64) -> Gathering {
        Gathering {
            upto,
            reached: 0,
            open: HashMap::new(),
            aborted: Aborted::default(),
        }
    }

    /// Notes a batch whose checksum holds.
    pub(crate) fn pass(&mut self, batch: &BatchView) -> Result<(), Fault> {
        let (producer, offset) = (batch.producer_id.0, batch.base_offset.0);
        if offset < self.reached {
            return Ok(());
        }
        self.reached = batch.next_offset().0;
        if batch.is_control() {
            let said = read_marker(batch)?;
            if said == Said::Unknown {
                return Ok(());
            }
            if let Some(first) = self.open.remove(&producer)
                && said == Said::Ended(Marker::Abort)
            {
                let ended = self.aborted.0.entry(producer).or_default();
                ended.push((first, offset));
            }
        } else if batch.is_transactional() && offset < self.upto {
            self.open.entry(producer).or_insert(offset);
        }
        Ok(())
    }

    /// Up to where it has come.
    pub(crate) fn reached(&self) -> i64 {
        self.reached
    }

    /// Whether all that has passed was committed, or never part of a transaction.
    pub(crate) fn is_blank(&self) -> bool {
        self.open.is_empty() && self.aborted.is_empty()
    }

    /// Whether what lies at `offset` and behind it does not matter.
    pub(crate) fn is_over(&self, offset: i64) -> bool {
        offset >= self.upto && self.open.is_empty()
    }

    /// One that no marker ends was not aborted.
    pub(crate) fn end(self) -> Aborted {
        self.aborted
    }
}
