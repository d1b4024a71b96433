//! Which orders of the controller stand in line, and where.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use protocol::ids::TopicPartition;

use crate::lanes::Lane;
use crate::partition::{Partition, RoleChange};

/// Orders in line, by partition.
#[derive(Debug, Default)]
pub(crate) struct Lines(HashMap<TopicPartition, Line>);

#[derive(Debug)]
struct Line {
    lane: Arc<Lane>,
    orders: usize,
}

/// Who hears of orders that were carried out after their answer.
pub struct LateListener {
    pub changed: Box<dyn Fn(&Arc<Partition>, RoleChange) + Send + Sync>,
    pub gone: Box<dyn Fn(&TopicPartition) + Send + Sync>,
}

impl std::fmt::Debug for LateListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LateListener")
    }
}

/// Directories whose disks hold somebody up, as one order finds them.
#[derive(Debug, Default)]
pub(crate) struct HeldUp(Vec<Arc<Lane>>);

impl HeldUp {
    pub(crate) fn has(&self, lane: &Arc<Lane>) -> bool {
        self.0.iter().any(|known| Arc::ptr_eq(known, lane))
    }

    /// Where nothing new should be made.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let paths = self.0.iter().map(|lane| lane.path().to_path_buf());
        paths.collect()
    }

    pub(crate) fn add(&mut self, lane: Arc<Lane>) {
        if !self.has(&lane) {
            self.0.push(lane);
        }
    }
}

impl Lines {
    /// The lanes in which anything stands in line.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.0.values().map(|line| &line.lane)
    }

    pub(crate) fn of(&self, id: &TopicPartition) -> Option<Arc<Lane>> {
        self.0.get(id).map(|line| Arc::clone(&line.lane))
    }

    pub(crate) fn enter(&mut self, id: &TopicPartition, lane: &Arc<Lane>) {
        let line = self.0.entry(id.clone()).or_insert_with(|| Line {
            lane: Arc::clone(lane),
            orders: 0,
        });
        line.orders += 1;
    }

    /// True where none is left.
    pub(crate) fn leave(&mut self, id: &TopicPartition) -> bool {
        let Some(line) = self.0.get_mut(id) else {
            return true;
        };
        line.orders -= 1;
        let is_last = line.orders == 0;
        if is_last {
            self.0.remove(id);
        }
        is_last
    }
}
