//! Listeners and the connections that came in by them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

/// One listener's numbers.
#[derive(Debug, Default)]
pub struct Door {
    open: AtomicI64,
    accepted: AtomicU64,
    refused: AtomicU64,
    idle_closed: AtomicU64,
}

/// What a [`Door`] showed at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoorView {
    pub open: i64,
    pub accepted: u64,
    pub refused: u64,
    pub idle_closed: u64,
}

/// A connection that is open; counted until dropped.
#[derive(Debug)]
pub struct Inside(Arc<Door>);

impl Door {
    pub fn enter(self: &Arc<Self>) -> Inside {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Inside(Arc::clone(self))
    }

    pub fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub fn close_idle(&self) {
        self.idle_closed.fetch_add(1, Ordering::Relaxed);
    }

    fn view(&self) -> DoorView {
        DoorView {
            open: self.open.load(Ordering::Relaxed),
            accepted: self.accepted.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            idle_closed: self.idle_closed.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All listeners of this broker, those that were taken away included.
#[derive(Debug, Default)]
pub struct Doors(Mutex<BTreeMap<Arc<str>, Arc<Door>>>);

impl Doors {
    /// The numbers of a listener; a listener that comes back goes on counting.
    pub fn of(&self, listener: &Arc<str>) -> Arc<Door> {
        Arc::clone(self.0.lock().entry(Arc::clone(listener)).or_default())
    }

    pub fn views(&self) -> Vec<(Arc<str>, DoorView)> {
        let doors = self.0.lock();
        doors
            .iter()
            .map(|(name, door)| (Arc::clone(name), door.view()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_counts_as_open_until_it_is_dropped() {
        let doors = Doors::default();
        let door = doors.of(&"PLAINTEXT".into());
        let first = door.enter();
        let _second = doors.of(&"PLAINTEXT".into()).enter();
        drop(first);
        door.refuse();
        let (name, view) = doors.views().remove(0);
        assert_eq!(&*name, "PLAINTEXT");
        assert_eq!((view.open, view.accepted, view.refused), (1, 2, 1));
    }
}
