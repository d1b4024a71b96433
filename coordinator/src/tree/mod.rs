//! The tree of nodes. [`Tree::apply`] is the only way it changes once it is loaded.
//!
//! Absences: no clock, no disk, no connections. What watchers should hear is handed back as
//! [`Happened`]; who may do what is checked by others, before.

pub(crate) mod acl;
pub(crate) mod path;
pub(crate) mod digest;
pub(crate) mod owner;
pub(crate) mod node;
pub(crate) mod quota;
mod apply;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use protocol::zookeeper::errors::Code;
use protocol::zookeeper::types::{Acl, Stat, StatPersisted, perms};

use crate::tree::acl::AclTable;
use crate::tree::node::{Node, Nodes, ROOT};
use crate::tree::owner::Owner;
use crate::tree::quota::Quotas;

/// A change that watchers may hear of. The lists are those the nodes had when it happened.
#[derive(Clone, Debug)]
pub(crate) enum Happened {
    Created {
        path: Arc<str>,
        acl: Arc<[Acl]>,
        parent_acl: Arc<[Acl]>,
    },
    Deleted {
        path: Arc<str>,
        acl: Arc<[Acl]>,
        parent_acl: Arc<[Acl]>,
    },
    DataChanged {
        path: Arc<str>,
        acl: Arc<[Acl]>,
    },
}

/// What applying a transaction gave.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Applied {
    pub(crate) op: i32,
    pub(crate) code: Code,
    pub(crate) path: Option<Arc<str>>,
    pub(crate) stat: Option<Stat>,
    pub(crate) parts: Vec<Applied>,
}

impl Applied {
    fn new(op: i32, code: Code) -> Self {
        Applied {
            op,
            code,
            path: None,
            stat: None,
            parts: Vec::new(),
        }
    }
}

/// The digest of the tree as it was right after a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ZxidDigest {
    pub(crate) zxid: i64,
    pub(crate) digest: i64,
}

/// Invariant: `digest` is the sum over the nodes that count; `ephemerals`, `containers` and
/// `timed` hold the numbers of exactly the living nodes of their kind.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) nodes: Nodes,
    pub(crate) acls: AclTable,
    pub(crate) quotas: Quotas,
    ephemerals: BTreeMap<i64, HashSet<u32>>,
    containers: HashSet<u32>,
    timed: HashSet<u32>,
    extended: bool,
    digest: u64,
    data_size: i64,
    pub(crate) last_zxid: i64,
    /// Of the nodes that a snapshot brought; it may hold some that are younger than itself.
    pub(crate) youngest_loaded: i64,
    /// Every 128th digest, for the word `hash`.
    digest_log: std::collections::VecDeque<ZxidDigest>,
}

impl Tree {
    /// The tree of a server that has never run. `extended`: nodes may have a time to live.
    pub(crate) fn new(extended: bool) -> Self {
        let mut tree = Tree::bare(extended, StatPersisted::default());
        let zero = StatPersisted::default();
        tree.insert(ROOT, "/zookeeper", Some(Box::default()), zero, acl::OPEN);
        let own = tree.nodes.find("/zookeeper").expect("just inserted");
        tree.insert(
            own,
            "/zookeeper/quota",
            Some(Box::default()),
            zero,
            acl::OPEN,
        );
        tree.add_config_node(own);
        tree
    }

    /// A tree of only the root, to be filled from a snapshot.
    pub(crate) fn bare(extended: bool, root: StatPersisted) -> Self {
        let mut tree = Tree {
            nodes: Nodes::new(acl::OPEN),
            acls: AclTable::default(),
            quotas: Quotas::default(),
            ephemerals: BTreeMap::new(),
            containers: HashSet::new(),
            timed: HashSet::new(),
            extended,
            digest: 0,
            data_size: 0,
            last_zxid: 0,
            youngest_loaded: 0,
            digest_log: std::collections::VecDeque::new(),
        };
        tree.nodes.get_mut(ROOT).stat = root;
        tree.digest = digest::of_node(tree.nodes.get(ROOT).content, &root);
        tree
    }

    /// ZooKeeper has this node from 3.5 on; a tree from an older server gains it.
    pub(crate) fn add_config_node(&mut self, own: u32) {
        let list: Arc<[Acl]> = Arc::from([Acl {
            perms: perms::READ,
            ..Acl::open()
        }]);
        let acl = self.acls.acquire(&list);
        let stat = StatPersisted {
            aversion: -1,
            ..StatPersisted::default()
        };
        self.insert(own, "/zookeeper/config", Some(Box::default()), stat, acl);
    }

    pub(crate) fn extended(&self) -> bool {
        self.extended
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn digest_log(&self) -> impl Iterator<Item = &ZxidDigest> {
        self.digest_log.iter()
    }

    pub(crate) fn node(&self, path: &str) -> Option<&Node> {
        self.nodes.find(path).map(|id| self.nodes.get(id))
    }

    pub(crate) fn acl(&self, node: &Node) -> &Arc<[Acl]> {
        self.acls.get(node.acl)
    }

    pub(crate) fn stat(&self, node: &Node) -> Stat {
        node.client_stat(self.extended)
    }

    /// Nodes as ZooKeeper counts them: it knows the root by two names.
    pub(crate) fn count(&self) -> usize {
        self.nodes.len() + 1
    }

    /// ZooKeeper counts the root's name too, where it is "/".
    pub(crate) fn data_size(&self) -> i64 {
        self.data_size + 1
    }

    pub(crate) fn ephemeral_count(&self) -> usize {
        self.ephemerals.values().map(HashSet::len).sum()
    }

    /// Sessions that own nodes, each with the paths of those, in order.
    pub(crate) fn ephemerals(&self) -> impl Iterator<Item = (i64, Vec<String>)> {
        self.ephemerals
            .iter()
            .map(|(&session, ids)| (session, self.paths(ids)))
    }

    pub(crate) fn ephemerals_of(&self, session: i64) -> Vec<String> {
        self.ephemerals
            .get(&session)
            .map(|ids| self.paths(ids))
            .unwrap_or_default()
    }

    fn paths(&self, ids: &HashSet<u32>) -> Vec<String> {
        let mut paths: Vec<String> = ids.iter().map(|&id| self.nodes.path(id)).collect();
        paths.sort_unstable();
        paths
    }

    /// Paths of childless containers that were used or waited too long, and of childless nodes
    /// whose time is over.
    pub(crate) fn expired(&self, now_ms: i64, never_used_ms: i64) -> Vec<String> {
        let empty_container = self.containers.iter().filter(|&&id| {
            let node = self.nodes.get(id);
            let unused =
                never_used_ms != 0 && now_ms.saturating_sub(node.stat.mtime) > never_used_ms;
            node.children == 0 && (node.stat.cversion > 0 || unused)
        });
        let over = self.timed.iter().filter(|&&id| {
            let node = self.nodes.get(id);
            let Owner::Ttl(ttl) = Owner::of(node.stat.ephemeral_owner, self.extended) else {
                return false;
            };
            node.children == 0 && ttl != 0 && now_ms.saturating_sub(node.stat.mtime) > ttl
        });
        empty_container
            .chain(over)
            .map(|&id| self.nodes.path(id))
            .collect()
    }

    /// Puts a node in its place and in the lists of its kind.
    pub(crate) fn insert(
        &mut self,
        parent: u32,
        path: &str,
        data: Option<Box<[u8]>>,
        stat: StatPersisted,
        acl: u32,
    ) -> u32 {
        self.data_size += size(path, data.as_ref().map_or(0, |data| data.len()));
        let id = self.nodes.insert(parent, path, data, stat, acl);
        self.digest = self.digest.wrapping_add(self.digest_of(path, id));
        match Owner::of(stat.ephemeral_owner, self.extended) {
            Owner::Nobody => {}
            Owner::Container => {
                self.containers.insert(id);
            }
            Owner::Ttl(_) => {
                self.timed.insert(id);
            }
            Owner::Session(session) => {
                self.ephemerals.entry(session).or_default().insert(id);
            }
        }
        id
    }

    fn digest_of(&self, path: &str, id: u32) -> u64 {
        if !digest::counts(path) {
            return 0;
        }
        let node = self.nodes.get(id);
        digest::of_node(node.content, &node.stat)
    }

    /// Changes a node and keeps the digest right.
    fn change(&mut self, path: &str, id: u32, act: impl FnOnce(&mut Node)) {
        let before = self.digest_of(path, id);
        act(self.nodes.get_mut(id));
        let after = self.digest_of(path, id);
        self.digest = self.digest.wrapping_sub(before).wrapping_add(after);
    }

    /// Replaces a node's data without touching its state, as quota counts are kept.
    pub(crate) fn replace_data(&mut self, path: &str, id: u32, data: Option<Box<[u8]>>) {
        let content = digest::of_content(path, data.as_deref());
        let before = self.nodes.get(id).data_len();
        let after = data.as_ref().map_or(0, |data| data.len());
        self.data_size += after.cast_signed() as i64 - before.cast_signed() as i64;
        self.change(path, id, |node| {
            node.data = data;
            node.content = content;
        });
    }
}

fn size(path: &str, data: usize) -> i64 {
    (path.len() + data).cast_signed() as i64
}
