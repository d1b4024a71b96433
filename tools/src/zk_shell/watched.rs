//! What a session watches: set again after a reconnect, and asked before a watch is taken off.

use std::collections::BTreeSet;

/// The kinds of watches a path may have, by the numbers of `removeWatches`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Children = 1,
    Data = 2,
    Any = 3,
    Persistent = 4,
    Recursive = 5,
}

/// What is watched, as the server was asked. Paths are whole.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    pub(crate) data: BTreeSet<String>,
    pub(crate) exist: BTreeSet<String>,
    pub(crate) child: BTreeSet<String>,
    pub(crate) persistent: BTreeSet<String>,
    pub(crate) recursive: BTreeSet<String>,
}

impl Watches {
    pub(crate) fn is_empty(&self) -> bool {
        let all = [
            &self.data,
            &self.exist,
            &self.child,
            &self.persistent,
            &self.recursive,
        ];
        all.iter().all(|paths| paths.is_empty())
    }

    /// An event has come: what is heard once is over.
    pub(crate) fn heard(&mut self, kind: i32, path: &str) {
        if matches!(kind, 1..=3) {
            self.data.remove(path);
            self.exist.remove(path);
        }
        if matches!(kind, 2 | 4) {
            self.child.remove(path);
        }
    }

    /// Takes watches off; the events ZooKeeper's client tells of it.
    pub(crate) fn remove(&mut self, kind: Kind, path: &str) -> Vec<&'static str> {
        let mut told = Vec::new();
        let any = kind == Kind::Any;
        if any || kind == Kind::Children {
            told.extend(self.child.remove(path).then_some("ChildWatchRemoved"));
        }
        if any || kind == Kind::Data {
            let (data, exist) = (self.data.remove(path), self.exist.remove(path));
            told.extend((data || exist).then_some("DataWatchRemoved"));
        }
        if any || kind == Kind::Persistent {
            told.extend(
                self.persistent
                    .remove(path)
                    .then_some("PersistentWatchRemoved"),
            );
        }
        if any || kind == Kind::Recursive {
            told.extend(
                self.recursive
                    .remove(path)
                    .then_some("PersistentWatchRemoved"),
            );
        }
        told
    }

    pub(crate) fn has(&self, kind: Kind, path: &str) -> bool {
        let data = self.data.contains(path) || self.exist.contains(path);
        let (child, persistent) = (self.child.contains(path), self.persistent.contains(path));
        let recursive = self.recursive.contains(path);
        match kind {
            Kind::Children => child,
            Kind::Data => data,
            Kind::Any => child || data || persistent || recursive,
            Kind::Persistent => persistent,
            Kind::Recursive => recursive,
        }
    }
}
