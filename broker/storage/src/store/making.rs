//! One at a time makes, moves or deletes the log of a partition; of others, others may meanwhile.
//!
//! It takes as long as the disk does: were there one turn for all, a directory that hangs would keep
//! every partition from being made anywhere.

use std::collections::HashSet;

use parking_lot::{Condvar, Mutex};
use protocol::ids::TopicPartition;

#[derive(Debug, Default)]
pub(in crate::store) struct Making {
    busy: Mutex<HashSet<TopicPartition>>,
    freed: Condvar,
}

/// A partition's turn; over when it is dropped.
#[derive(Debug)]
#[must_use = "held for as long as the disk works"]
pub(in crate::store) struct MakingOf<'a> {
    making: &'a Making,
    partition: TopicPartition,
}

impl Making {
    /// Waits until nobody else is at it.
    pub(in crate::store) fn begin(&self, partition: &TopicPartition) -> MakingOf<'_> {
        let mut busy = self.busy.lock();
        while !busy.insert(partition.clone()) {
            self.freed.wait(&mut busy);
        }
        MakingOf {
            making: self,
            partition: partition.clone(),
        }
    }
}

impl Drop for MakingOf<'_> {
    fn drop(&mut self) {
        self.making.busy.lock().remove(&self.partition);
        self.making.freed.notify_all();
    }
}
