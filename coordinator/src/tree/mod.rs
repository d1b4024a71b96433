//! The tree of nodes. [`Tree::apply`] is the only way it changes.
//!
//! Absences: no clock, no disk, no connections. What watchers should hear is handed back as
//! [`Happened`]; who may do what is checked by others, before.

pub(crate) mod acl;
pub(crate) mod path;
pub(crate) mod digest;
pub(crate) mod owner;
pub(crate) mod node;
pub(crate) mod quota;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use protocol::zookeeper::errors::Code;
use protocol::zookeeper::ops;
use protocol::zookeeper::txns::{CreateTxn, Txn, TxnHeader};
use protocol::zookeeper::types::{Acl, Stat, StatPersisted, perms};

use crate::tree::acl::AclTable;
use crate::tree::node::{Node, Nodes, ROOT};
use crate::tree::owner::Owner;
use crate::tree::quota::{Quotas, Track};

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

    /// Applies one transaction. Refusals are possible only while a log is replayed over a
    /// snapshot that was taken during writes; they are part of ZooKeeper's recovery.
    pub(crate) fn apply(
        &mut self,
        header: &TxnHeader,
        txn: Txn,
        happened: &mut Vec<Happened>,
    ) -> Applied {
        let applied = match txn {
            Txn::Multi(parts) => self.apply_multi(header, parts, happened),
            txn => self.apply_one(header, header.op, txn, happened),
        };
        self.last_zxid = self.last_zxid.max(header.zxid);
        if header.zxid % 128 == 0 {
            if self.digest_log.len() == 1024 {
                self.digest_log.pop_front();
            }
            let digest = self.digest.cast_signed();
            self.digest_log.push_back(ZxidDigest {
                zxid: header.zxid,
                digest,
            });
        }
        applied
    }

    fn apply_multi(
        &mut self,
        header: &TxnHeader,
        parts: Vec<(i32, Txn)>,
        happened: &mut Vec<Happened>,
    ) -> Applied {
        let mut whole = Applied::new(ops::MULTI, Code::OK);
        let failed = parts.iter().any(|(op, _)| *op == ops::ERROR);
        let mut after_failure = false;
        for (op, txn) in parts {
            let part = match txn {
                Txn::Error { code } => {
                    after_failure = true;
                    Applied::new(ops::ERROR, Code(code))
                }
                // What stood before the failure says it would have gone well; it was not done.
                _ if failed && after_failure => {
                    Applied::new(ops::ERROR, Code::RUNTIME_INCONSISTENCY)
                }
                _ if failed => Applied::new(ops::ERROR, Code::OK),
                txn => self.apply_one(header, op, txn, happened),
            };
            if part.code != Code::OK && whole.code == Code::OK {
                whole.code = part.code;
            }
            whole.parts.push(part);
        }
        whole
    }

    fn apply_one(
        &mut self,
        header: &TxnHeader,
        op: i32,
        txn: Txn,
        happened: &mut Vec<Happened>,
    ) -> Applied {
        let mut applied = Applied::new(op, Code::OK);
        match txn {
            Txn::Create(create) => self.create(header, op, create, happened, &mut applied),
            Txn::Delete { path } => {
                applied.code = self.delete(&path, header.zxid, happened);
                applied.path = Some(path);
            }
            Txn::SetData {
                path,
                data,
                version,
            } => match self.nodes.find(&path) {
                None => applied.code = Code::NO_NODE,
                Some(id) => {
                    self.set_data(header, &path, id, data, version);
                    let node = self.nodes.get(id);
                    applied.stat = Some(self.stat(node));
                    let acl = Arc::clone(self.acl(node));
                    happened.push(Happened::DataChanged { path, acl });
                }
            },
            Txn::SetAcl { path, acl, version } => match self.nodes.find(&path) {
                None => applied.code = Code::NO_NODE,
                Some(id) => {
                    let acl = self.acls.acquire(&acl);
                    let before = self.nodes.get(id).acl;
                    self.change(&path, id, |node| {
                        node.stat.aversion = version;
                        node.acl = acl;
                    });
                    self.acls.release(before);
                    applied.stat = Some(self.stat(self.nodes.get(id)));
                }
            },
            Txn::CloseSession { paths } => {
                self.close_session(header.session_id, header.zxid, paths, happened);
            }
            Txn::Error { code } => applied.code = Code(code),
            Txn::Check { path, .. } => applied.path = Some(path),
            Txn::CreateSession { .. } | Txn::Multi(_) => {}
        }
        applied
    }

    fn create(
        &mut self,
        header: &TxnHeader,
        op: i32,
        txn: CreateTxn,
        happened: &mut Vec<Happened>,
        applied: &mut Applied,
    ) {
        applied.path = Some(Arc::clone(&txn.path));
        let above = path::split(&txn.path)
            .and_then(|(above, _)| self.nodes.find(above).map(|id| (above.to_owned(), id)));
        let Some((above, parent)) = above else {
            applied.code = Code::NO_NODE;
            return;
        };
        let cversion = match txn.parent_cversion {
            -1 => self.nodes.get(parent).stat.cversion.wrapping_add(1),
            known => known,
        };
        self.change(&above, parent, |node| {
            // A log may be replayed over a snapshot that is already further.
            if cversion > node.stat.cversion {
                node.stat.cversion = cversion;
                node.stat.pzxid = header.zxid;
            }
        });
        let acl = self.acls.acquire(&txn.acl);
        if let Some(id) = self.nodes.find(&txn.path) {
            let before = std::mem::replace(&mut self.nodes.get_mut(id).acl, acl);
            self.acls.release(before);
            applied.code = Code::NODE_EXISTS;
            return;
        }
        let owner = match op {
            ops::CREATE_CONTAINER => Owner::Container,
            ops::CREATE_TTL => Owner::Ttl(txn.ttl),
            _ if txn.ephemeral => Owner::Session(header.session_id),
            _ => Owner::Nobody,
        };
        let stat = StatPersisted {
            czxid: header.zxid,
            mzxid: header.zxid,
            ctime: header.time_ms,
            mtime: header.time_ms,
            ephemeral_owner: owner.number(),
            pzxid: header.zxid,
            ..StatPersisted::default()
        };
        let len = txn.data.as_ref().map_or(0, |data| data.len());
        let id = self.insert(parent, &txn.path, txn.data, stat, acl);
        if op != ops::CREATE {
            applied.stat = Some(self.stat(self.nodes.get(id)));
        }
        self.count_quota_of_new(&txn.path, &above, len);
        happened.push(Happened::Created {
            path: txn.path,
            acl: txn.acl,
            parent_acl: Arc::clone(self.acl(self.nodes.get(parent))),
        });
    }

    fn set_data(
        &mut self,
        header: &TxnHeader,
        path: &str,
        id: u32,
        data: Option<Box<[u8]>>,
        version: i32,
    ) {
        let before = self.nodes.get(id).data_len();
        let after = data.as_ref().map_or(0, |data| data.len());
        let content = digest::of_content(path, data.as_deref());
        let grown = after.cast_signed() as i64 - before.cast_signed() as i64;
        self.data_size += grown;
        self.change(path, id, |node| {
            node.data = data;
            node.content = content;
            node.stat.mtime = header.time_ms;
            node.stat.mzxid = header.zxid;
            node.stat.version = version;
        });
        if let Some(covering) = self.quotas.covering(path) {
            self.count_quota(covering, grown, 0);
        }
    }

    fn delete(&mut self, path: &Arc<str>, zxid: i64, happened: &mut Vec<Happened>) -> Code {
        let Some((above, name)) = path::split(path) else {
            return Code::NO_NODE;
        };
        let Some(parent) = self.nodes.find(above) else {
            return Code::NO_NODE;
        };
        self.change(above, parent, |node| {
            node.stat.pzxid = node.stat.pzxid.max(zxid)
        });
        let Some(id) = self.nodes.find(path).filter(|&id| id != ROOT) else {
            return Code::NO_NODE;
        };
        // Only a replay over a snapshot taken during writes finds children here; they come again.
        let children: Vec<u32> = self.nodes.children(id).map(|(child, _)| child).collect();
        for child in children {
            let path = Arc::from(self.nodes.path(child));
            self.delete(&path, zxid, happened);
        }
        self.digest = self.digest.wrapping_sub(self.digest_of(path, id));
        let node = self.nodes.remove(id);
        self.data_size -= size(path, node.data_len());
        self.forget(id, node.stat.ephemeral_owner);
        let acl = Arc::clone(self.acls.get(node.acl));
        self.acls.release(node.acl);
        if let Some(target) = Quotas::target(above, name, quota::LIMITS) {
            self.quotas.remove(target);
        }
        if let Some(covering) = self.quotas.covering(path) {
            self.count_quota(covering, -(node.data_len().cast_signed() as i64), -1);
        }
        let parent_acl = Arc::clone(self.acl(self.nodes.get(parent)));
        happened.push(Happened::Deleted {
            path: Arc::clone(path),
            acl,
            parent_acl,
        });
        Code::OK
    }

    fn forget(&mut self, id: u32, owner: i64) {
        match Owner::of(owner, self.extended) {
            Owner::Nobody => {}
            Owner::Container => {
                self.containers.remove(&id);
            }
            Owner::Ttl(_) => {
                self.timed.remove(&id);
            }
            Owner::Session(session) => {
                if let Some(ids) = self.ephemerals.get_mut(&session) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        self.ephemerals.remove(&session);
                    }
                }
            }
        }
    }

    /// Takes away what a session owned: what the transaction lists, then whatever is left.
    pub(crate) fn close_session(
        &mut self,
        session: i64,
        zxid: i64,
        listed: Option<Vec<Arc<str>>>,
        happened: &mut Vec<Happened>,
    ) {
        for path in listed.into_iter().flatten() {
            self.delete(&path, zxid, happened);
        }
        for path in self.ephemerals_of(session) {
            self.delete(&Arc::from(path), zxid, happened);
        }
    }

    fn count_quota_of_new(&mut self, path: &str, above: &str, len: usize) {
        let name = path::split(path).map_or("", |(_, name)| name);
        if let Some(target) = Quotas::target(above, name, quota::LIMITS) {
            self.quotas.add(target);
        }
        if let Some(target) = Quotas::target(above, name, quota::STATS) {
            self.count_quota_anew(target);
        }
        if let Some(covering) = self.quotas.covering(path) {
            self.count_quota(covering, len.cast_signed() as i64, 1);
        }
    }

    fn count_quota(&mut self, covering: &str, bytes: i64, count: i64) {
        let stats = format!("{}{covering}/{}", quota::ROOT, quota::STATS);
        let Some(id) = self.nodes.find(&stats) else {
            return;
        };
        let mut used = Track::read(self.nodes.get(id).data.as_deref().unwrap_or_default());
        used.count = used.count.saturating_add(count);
        used.bytes = used.bytes.saturating_add(bytes);
        self.replace_data(&stats, id, Some(used.text().into_bytes().into()));
    }

    /// Counts what lies at and beneath a path from the beginning.
    pub(crate) fn count_quota_anew(&mut self, target: &str) {
        let (mut count, mut bytes) = (0_i64, 0_i64);
        let mut open: Vec<u32> = self.nodes.find(target).into_iter().collect();
        while let Some(id) = open.pop() {
            count += 1;
            bytes += self.nodes.get(id).data_len().cast_signed() as i64;
            open.extend(self.nodes.children(id).map(|(child, _)| child));
        }
        let stats = format!("{}{target}/{}", quota::ROOT, quota::STATS);
        if let Some(id) = self.nodes.find(&stats) {
            let used = Track {
                count,
                bytes,
                count_hard: -1,
                bytes_hard: -1,
            };
            self.replace_data(&stats, id, Some(used.text().into_bytes().into()));
        }
    }
}

fn size(path: &str, data: usize) -> i64 {
    (path.len() + data).cast_signed() as i64
}
