//! Transactions, applied one after the other.

use std::sync::Arc;

use protocol::zookeeper::errors::Code;
use protocol::zookeeper::ops;
use protocol::zookeeper::txns::{CreateTxn, Txn, TxnHeader};
use protocol::zookeeper::types::StatPersisted;

use crate::tree::node::ROOT;
use crate::tree::owner::Owner;
use crate::tree::quota::{self, Quotas};
use crate::tree::{Applied, Happened, Tree, ZxidDigest, digest, path, size};

impl Tree {
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
        let path = Arc::clone(&txn.path);
        applied.path = Some(Arc::clone(&path));
        let above =
            path::split(&path).and_then(|(above, _)| self.nodes.find(above).map(|id| (above, id)));
        let Some((above, parent)) = above else {
            applied.code = Code::NO_NODE;
            return;
        };
        let cversion = match txn.parent_cversion {
            -1 => self.nodes.get(parent).stat.cversion.wrapping_add(1),
            known => known,
        };
        self.change(above, parent, |node| {
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
        self.count_quota_of_new(&path, above, len);
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
    fn close_session(
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
}
