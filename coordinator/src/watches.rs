//! Who waits for what. A watch fires once, or stays; a recursive one hears of the whole subtree.
//!
//! Two tables, as in ZooKeeper: *data* watches hear of a node itself, *child* watches of its
//! children. Who hears of one event through several watches hears it once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The number of a connection, never used twice.
pub(crate) type ConnectionId = u64;

/// Kinds of a watch on one path, as bits.
pub(crate) const STANDARD: u8 = 1;
pub(crate) const PERSISTENT: u8 = 2;
pub(crate) const RECURSIVE: u8 = 4;
const ANY: u8 = 7;

/// One table. Invariant: `by_path` and `by_watcher` hold the same pairs; `recursive` counts those
/// with that bit.
#[derive(Debug, Default)]
pub(crate) struct Table {
    by_path: HashMap<Arc<str>, Vec<(ConnectionId, u8)>>,
    by_watcher: HashMap<ConnectionId, HashSet<Arc<str>>>,
    recursive: usize,
}

impl Table {
    fn add(&mut self, path: &str, watcher: ConnectionId, kind: u8) {
        let path: Arc<str> = match self.by_path.get_key_value(path) {
            Some((path, _)) => Arc::clone(path),
            None => path.into(),
        };
        let list = self.by_path.entry(Arc::clone(&path)).or_default();
        let new = match list.iter_mut().find(|(other, _)| *other == watcher) {
            Some((_, bits)) => {
                let new = kind & !*bits;
                *bits |= kind;
                new
            }
            None => {
                list.push((watcher, kind));
                self.by_watcher.entry(watcher).or_default().insert(path);
                kind
            }
        };
        self.recursive += usize::from(new & RECURSIVE != 0);
    }

    /// The bits of `watcher` on `path`.
    fn bits(&self, path: &str, watcher: ConnectionId) -> u8 {
        let list = self
            .by_path
            .get(path)
            .map(Vec::as_slice)
            .unwrap_or_default();
        list.iter()
            .find(|(other, _)| *other == watcher)
            .map_or(0, |(_, bits)| *bits)
    }

    /// Takes `kinds` away; true where one of them was there.
    fn remove(&mut self, path: &str, watcher: ConnectionId, kinds: u8) -> bool {
        let Some(list) = self.by_path.get_mut(path) else {
            return false;
        };
        let Some(at) = list.iter().position(|(other, _)| *other == watcher) else {
            return false;
        };
        let gone = list[at].1 & kinds;
        list[at].1 &= !kinds;
        self.recursive -= usize::from(gone & RECURSIVE != 0);
        if list[at].1 == 0 {
            list.swap_remove(at);
            if list.is_empty() {
                self.by_path.remove(path);
            }
            self.forget(path, watcher);
        }
        gone != 0
    }

    fn forget(&mut self, path: &str, watcher: ConnectionId) {
        if let Some(paths) = self.by_watcher.get_mut(&watcher) {
            paths.remove(path);
            if paths.is_empty() {
                self.by_watcher.remove(&watcher);
            }
        }
    }

    fn remove_watcher(&mut self, watcher: ConnectionId) {
        for path in self.by_watcher.remove(&watcher).into_iter().flatten() {
            let Some(list) = self.by_path.get_mut(&path) else {
                continue;
            };
            list.retain(|(other, bits)| {
                let leaves = *other == watcher;
                self.recursive -= usize::from(leaves && bits & RECURSIVE != 0);
                !leaves
            });
            if list.is_empty() {
                self.by_path.remove(&path);
            }
        }
    }

    /// Who hears of an event at `path`; watches that fire once are gone afterwards.
    fn fire(&mut self, path: &str, heard: &mut Vec<ConnectionId>) {
        if self.by_path.is_empty() {
            return;
        }
        if let Some(list) = self.by_path.get_mut(path) {
            let mut over = Vec::new();
            list.retain_mut(|(watcher, bits)| {
                heard.push(*watcher);
                *bits &= !STANDARD;
                if *bits == 0 {
                    over.push(*watcher);
                }
                *bits != 0
            });
            if list.is_empty() {
                self.by_path.remove(path);
            }
            for watcher in over {
                self.forget(path, watcher);
            }
        }
        if self.recursive > 0 {
            let mut at = path;
            while at.len() > 1
                && let Some(slash) = at.rfind('/')
            {
                at = if slash == 0 { "/" } else { &at[..slash] };
                let above = self.by_path.get(at).map(Vec::as_slice).unwrap_or_default();
                heard.extend(
                    above
                        .iter()
                        .filter(|(_, bits)| bits & RECURSIVE != 0)
                        .map(|(w, _)| *w),
                );
            }
        }
    }

    fn count(&self) -> usize {
        self.by_path.values().map(Vec::len).sum()
    }

    /// Paths with their watchers.
    pub(crate) fn by_path(&self) -> impl Iterator<Item = (&str, &[(ConnectionId, u8)])> {
        self.by_path
            .iter()
            .map(|(path, list)| (&**path, list.as_slice()))
    }

    /// Watchers with their paths.
    pub(crate) fn by_watcher(&self) -> impl Iterator<Item = (ConnectionId, &HashSet<Arc<str>>)> {
        self.by_watcher
            .iter()
            .map(|(watcher, paths)| (*watcher, paths))
    }
}

/// The two tables.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    pub(crate) data: Table,
    child: Table,
}

/// Which watches a request to check or remove means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Children,
    Data,
    Any,
    Persistent,
    Recursive,
}

impl Kind {
    pub(crate) fn of(number: i32) -> Option<Kind> {
        Some(match number {
            1 => Kind::Children,
            2 => Kind::Data,
            3 => Kind::Any,
            4 => Kind::Persistent,
            5 => Kind::Recursive,
            _ => return None,
        })
    }
}

impl Watches {
    pub(crate) fn is_empty(&self) -> bool {
        self.data.by_path.is_empty() && self.child.by_path.is_empty()
    }

    pub(crate) fn count(&self) -> usize {
        self.data.count() + self.child.count()
    }

    pub(crate) fn add_data(&mut self, path: &str, watcher: ConnectionId) {
        self.data.add(path, watcher, STANDARD);
    }

    pub(crate) fn add_child(&mut self, path: &str, watcher: ConnectionId) {
        self.child.add(path, watcher, STANDARD);
    }

    pub(crate) fn add_persistent(&mut self, path: &str, watcher: ConnectionId) {
        self.data.add(path, watcher, PERSISTENT);
        self.child.add(path, watcher, PERSISTENT);
    }

    pub(crate) fn add_recursive(&mut self, path: &str, watcher: ConnectionId) {
        self.data.add(path, watcher, RECURSIVE);
    }

    pub(crate) fn contains(&self, path: &str, watcher: ConnectionId, kind: Kind) -> bool {
        let (data, child) = (
            self.data.bits(path, watcher),
            self.child.bits(path, watcher),
        );
        match kind {
            Kind::Children => child & STANDARD != 0,
            Kind::Data => data & STANDARD != 0,
            Kind::Persistent => data & PERSISTENT != 0,
            Kind::Recursive => data & RECURSIVE != 0,
            Kind::Any => (data | child) != 0,
        }
    }

    pub(crate) fn remove(&mut self, path: &str, watcher: ConnectionId, kind: Kind) -> bool {
        match kind {
            Kind::Children => self.child.remove(path, watcher, STANDARD),
            Kind::Data => self.data.remove(path, watcher, STANDARD),
            Kind::Recursive => self.data.remove(path, watcher, RECURSIVE),
            Kind::Persistent => {
                let child = self.child.remove(path, watcher, PERSISTENT);
                self.data.remove(path, watcher, PERSISTENT) || child
            }
            Kind::Any => {
                let child = self.child.remove(path, watcher, ANY);
                self.data.remove(path, watcher, ANY) || child
            }
        }
    }

    pub(crate) fn remove_watcher(&mut self, watcher: ConnectionId) {
        self.data.remove_watcher(watcher);
        self.child.remove_watcher(watcher);
    }

    /// Who hears that a node was created or its data changed.
    pub(crate) fn fire_data(&mut self, path: &str) -> Vec<ConnectionId> {
        let mut heard = Vec::new();
        self.data.fire(path, &mut heard);
        once(heard)
    }

    /// Who hears that a node is gone: each once, however it watched.
    pub(crate) fn fire_deleted(&mut self, path: &str) -> Vec<ConnectionId> {
        let mut heard = Vec::new();
        self.data.fire(path, &mut heard);
        self.child.fire(path, &mut heard);
        once(heard)
    }

    /// Who hears that the children of `parent` changed.
    pub(crate) fn fire_children(&mut self, parent: &str) -> Vec<ConnectionId> {
        let mut heard = Vec::new();
        self.child
            .fire(if parent.is_empty() { "/" } else { parent }, &mut heard);
        once(heard)
    }
}

fn once(mut heard: Vec<ConnectionId>) -> Vec<ConnectionId> {
    heard.sort_unstable();
    heard.dedup();
    heard
}
