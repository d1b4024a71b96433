//! Changes that are prepared but not yet durable: what the next request must already see.
//!
//! Clients read the applied tree only; preparation reads this first. A change leaves when its
//! transaction is applied.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use protocol::zookeeper::types::{Acl, StatPersisted};

use crate::tree::{Tree, digest};

/// A node as it will be.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) stat: StatPersisted,
    pub(crate) children: u32,
    pub(crate) acl: Arc<[Acl]>,
    pub(crate) content: u32,
    pub(crate) data_len: usize,
}

#[derive(Clone, Debug)]
struct Change {
    zxid: i64,
    /// `None`: deleted.
    state: Option<State>,
}

/// Invariant: for every path in `changes` there is an entry with its zxid in `order`, and `order`
/// rises; `digest` is that of the tree once all of it is applied.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    changes: HashMap<Arc<str>, Change>,
    order: VecDeque<(i64, Arc<str>)>,
    digest: Option<u64>,
    /// What the changes of an unfinished multi replaced, and the digest before it.
    undo: Option<Undo>,
}

#[derive(Debug)]
struct Undo {
    replaced: Vec<(Arc<str>, Option<Change>)>,
    order_len: usize,
    digest: Option<u64>,
}

/// The key of a path: the root has two names.
fn key(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

impl Pending {
    /// The node at `path` as the next transaction will find it.
    pub(crate) fn state(&self, tree: &Tree, path: &str) -> Option<State> {
        if !self.changes.is_empty()
            && let Some(change) = self.changes.get(key(path))
        {
            return change.state.clone();
        }
        let node = tree.node(path)?;
        Some(State {
            stat: node.stat,
            children: node.children,
            acl: Arc::clone(tree.acl(node)),
            content: node.content,
            data_len: node.data_len(),
        })
    }

    pub(crate) fn exists(&self, tree: &Tree, path: &str) -> bool {
        if !self.changes.is_empty()
            && let Some(change) = self.changes.get(key(path))
        {
            return change.state.is_some();
        }
        tree.nodes.find(path).is_some()
    }

    pub(crate) fn digest(&self, tree: &Tree) -> u64 {
        self.digest.unwrap_or_else(|| tree.digest())
    }

    /// Notes that `path`, until now `before`, will be `after`.
    pub(crate) fn put(
        &mut self,
        tree: &Tree,
        zxid: i64,
        path: &str,
        before: Option<&State>,
        after: Option<State>,
    ) {
        if digest::counts(path) {
            let of = |state: Option<&State>| {
                state.map_or(0, |state| digest::of_node(state.content, &state.stat))
            };
            let moved = of(after.as_ref()).wrapping_sub(of(before));
            self.digest = Some(self.digest(tree).wrapping_add(moved));
        } else {
            self.digest = Some(self.digest(tree));
        }
        let change = Change { zxid, state: after };
        let (path, replaced) = match self.changes.get_key_value_mut(key(path)) {
            Some((known, before)) => {
                let replaced = std::mem::replace(before, change);
                (Arc::clone(known), Some(replaced))
            }
            None => {
                let fresh: Arc<str> = Arc::from(key(path));
                self.changes.insert(Arc::clone(&fresh), change);
                (fresh, None)
            }
        };
        if let Some(undo) = &mut self.undo {
            undo.replaced.push((Arc::clone(&path), replaced));
        }
        self.order.push_back((zxid, path));
    }

    pub(crate) fn begin_multi(&mut self) {
        self.undo = Some(Undo {
            replaced: Vec::new(),
            order_len: self.order.len(),
            digest: self.digest,
        });
    }

    pub(crate) fn end_multi(&mut self) {
        self.undo = None;
    }

    /// Forgets what the unfinished multi has changed so far.
    pub(crate) fn roll_back(&mut self) {
        let Some(undo) = self.undo.take() else { return };
        for (path, replaced) in undo.replaced.into_iter().rev() {
            match replaced {
                Some(change) => self.changes.insert(path, change),
                None => self.changes.remove(&path),
            };
        }
        self.order.truncate(undo.order_len);
        self.digest = undo.digest;
    }

    /// The transaction `zxid` is in the tree now.
    pub(crate) fn applied(&mut self, zxid: i64) {
        while let Some((first, path)) = self.order.front() {
            if *first > zxid {
                break;
            }
            if self
                .changes
                .get(path)
                .is_some_and(|change| change.zxid == *first)
            {
                self.changes.remove(path);
            }
            self.order.pop_front();
        }
        if self.order.is_empty() {
            self.digest = None;
        }
    }

    /// What `session` will own: `owned` now, and what is under way.
    pub(crate) fn ephemerals(&self, session: i64, owned: Vec<String>) -> Vec<Arc<str>> {
        let mut paths: Vec<Arc<str>> = owned
            .into_iter()
            .map(Arc::from)
            .filter(|path| !self.changes.contains_key(path))
            .collect();
        let coming = self.changes.iter().filter(|(_, change)| {
            change
                .state
                .as_ref()
                .is_some_and(|state| state.stat.ephemeral_owner == session)
        });
        paths.extend(coming.map(|(path, _)| Arc::clone(path)));
        paths.sort_unstable();
        paths
    }
}
