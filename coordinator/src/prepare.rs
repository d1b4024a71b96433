//! From a request to a transaction or a refusal. Pure: the tree, what is pending, who asks.
//!
//! The order of the checks is ZooKeeper's; which error a client sees depends on it.

use std::sync::Arc;

use protocol::zookeeper::errors::Code;
use protocol::zookeeper::ops;
use protocol::zookeeper::requests::{Create, Path, Write};
use protocol::zookeeper::txns::{CreateTxn, Txn};
use protocol::zookeeper::types::{Id, StatPersisted, perms};

use crate::auth::Schemes;
use crate::pending::{Pending, State};
use crate::tree::owner::{Owner, TTL_MAX};
use crate::tree::quota::{self, Track};
use crate::tree::{Tree, digest, path};

/// Everything a preparation may look at.
pub(crate) struct Desk<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) pending: &'a mut Pending,
    pub(crate) schemes: &'a Schemes,
    pub(crate) enforce_quota: bool,
    /// How much may stand for `auth` in the access lists of one request.
    pub(crate) names_room: usize,
}

/// The same at the beginning: more than any client has use for.
pub(crate) const NAMES_ROOM: usize = 4 << 20;

/// Who asks, and the transaction it would be.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) ids: &'a [Id],
    pub(crate) session: i64,
    pub(crate) zxid: i64,
    pub(crate) time_ms: i64,
}

/// What the flags of a creation say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Persistent,
    Ephemeral,
    Container,
    Timed,
}

fn mode_of(flags: i32) -> Result<(Mode, bool), Code> {
    Ok(match flags {
        0 => (Mode::Persistent, false),
        1 => (Mode::Ephemeral, false),
        2 => (Mode::Persistent, true),
        3 => (Mode::Ephemeral, true),
        4 => (Mode::Container, false),
        5 => (Mode::Timed, false),
        6 => (Mode::Timed, true),
        _ => return Err(Code::BAD_ARGUMENTS),
    })
}

fn next_version(current: i32, expected: i32) -> Result<i32, Code> {
    if expected != -1 && expected != current {
        return Err(Code::BAD_VERSION);
    }
    Ok(current.wrapping_add(1))
}

/// ZooKeeper: an absent path fails as a request that cannot be read; not so where data or access
/// lists are set, which look at the path first.
fn present<'p>(path: &'p Path<'_>) -> Result<&'p str, Code> {
    path.as_deref().ok_or(Code::MARSHALLING_ERROR)
}

/// The path of the parent, where `path` is one of a node that may be deleted.
fn parent_of_mortal(at: &str) -> Result<&str, Code> {
    match path::split(at) {
        Some((parent, _)) if !at.contains('\0') && !path::is_special(at) => Ok(parent),
        _ => Err(Code::BAD_ARGUMENTS),
    }
}

impl Desk<'_> {
    fn state(&self, path: &str) -> Result<State, Code> {
        self.pending.state(self.tree, path).ok_or(Code::NO_NODE)
    }

    fn check(&self, state: &State, perms: i32, asker: Asker<'_>) -> Result<(), Code> {
        if self.schemes.allows(&state.acl, perms, asker.ids) {
            Ok(())
        } else {
            Err(Code::NO_AUTH)
        }
    }

    /// One change: alone, or within a multi.
    pub(crate) fn write(&mut self, write: &Write<'_>, asker: Asker<'_>) -> Result<Txn, Code> {
        match write {
            Write::Create(create) => self.create(create, asker),
            Write::Delete { path, version } => self.delete(present(path)?, *version, asker),
            Write::DeleteContainer { path } => self.delete_container(present(path)?, asker),
            Write::SetData {
                path,
                data,
                version,
            } => {
                let path = path.as_deref().ok_or(Code::BAD_ARGUMENTS)?;
                self.set_data(path, *data, *version, asker)
            }
            Write::SetAcl { path, acl, version } => {
                let path = path.as_deref().ok_or(Code::BAD_ARGUMENTS)?;
                if !path::is_legal(path) {
                    return Err(Code::BAD_ARGUMENTS);
                }
                let acl = self.schemes.settle(acl, asker.ids, &mut self.names_room)?;
                let before = self.state(path)?;
                self.check(&before, perms::ADMIN, asker)?;
                let version = next_version(before.stat.aversion, *version)?;
                let mut after = before.clone();
                after.stat.aversion = version;
                // ZooKeeper: the list itself takes effect for others when it is applied.
                self.pending
                    .put(self.tree, asker.zxid, path, Some(&before), Some(after));
                Ok(Txn::SetAcl {
                    path: path.into(),
                    acl,
                    version,
                })
            }
            Write::Check { path, version } => {
                let path = present(path)?;
                if !path::is_legal(path) {
                    return Err(Code::BAD_ARGUMENTS);
                }
                let state = self.state(path)?;
                self.check(&state, perms::READ, asker)?;
                let version = next_version(state.stat.version, *version)?;
                Ok(Txn::Check {
                    path: path.into(),
                    version,
                })
            }
        }
    }

    fn create(&mut self, create: &Create<'_>, asker: Asker<'_>) -> Result<Txn, Code> {
        let (mode, sequential) = mode_of(create.flags)?;
        self.check_ttl(create, mode)?;
        let wanted = present(&create.path)?;
        let Some((above, _)) = path::split(wanted).filter(|_| !wanted.contains('\0')) else {
            return Err(Code::BAD_ARGUMENTS);
        };
        let acl = self
            .schemes
            .settle(&create.acl, asker.ids, &mut self.names_room)?;
        let parent = self.state(above)?;
        self.check(&parent, perms::CREATE, asker)?;
        let path: Arc<str> = if sequential {
            // Java's "%010d": the sign of a count that has wrapped takes one of the ten places.
            format!("{wanted}{:010}", parent.stat.cversion).into()
        } else {
            wanted.into()
        };
        if !path::is_legal(&path) {
            return Err(Code::BAD_ARGUMENTS);
        }
        if self.pending.exists(self.tree, &path) {
            return Err(Code::NODE_EXISTS);
        }
        if Owner::of(parent.stat.ephemeral_owner, self.tree.extended()).is_session() {
            return Err(Code::NO_CHILDREN_FOR_EPHEMERALS);
        }
        let len = create.data.map_or(0, <[u8]>::len);
        self.check_quota(&path, len.cast_signed() as i64, 1)?;
        let cversion = parent.stat.cversion.wrapping_add(1);
        let mut after = parent.clone();
        after.children = after.children.saturating_add(1);
        after.stat.cversion = cversion;
        after.stat.pzxid = asker.zxid;
        self.pending
            .put(self.tree, asker.zxid, above, Some(&parent), Some(after));
        let owner = match (create.op, mode) {
            (ops::CREATE_CONTAINER, _) => Owner::Container,
            (ops::CREATE_TTL, Mode::Timed) => Owner::Ttl(create.ttl),
            (_, Mode::Ephemeral) => Owner::Session(asker.session),
            _ => Owner::Nobody,
        };
        let stat = StatPersisted {
            czxid: asker.zxid,
            mzxid: asker.zxid,
            ctime: asker.time_ms,
            mtime: asker.time_ms,
            ephemeral_owner: owner.number(),
            pzxid: asker.zxid,
            ..StatPersisted::default()
        };
        let content = digest::of_content(&path, create.data);
        let state = State {
            stat,
            children: 0,
            acl: Arc::clone(&acl),
            content,
            data_len: len,
        };
        self.pending
            .put(self.tree, asker.zxid, &path, None, Some(state));
        Ok(Txn::Create(CreateTxn {
            path,
            data: create.data.map(Box::from),
            acl,
            ephemeral: mode == Mode::Ephemeral && create.op != ops::CREATE_CONTAINER,
            parent_cversion: cversion,
            ttl: create.ttl,
        }))
    }

    fn check_ttl(&self, create: &Create<'_>, mode: Mode) -> Result<(), Code> {
        let timed = mode == Mode::Timed;
        if timed && !self.tree.extended() {
            return Err(Code::UNIMPLEMENTED);
        }
        let fits = if timed {
            (1..=TTL_MAX).contains(&create.ttl)
        } else {
            create.ttl < 0
        };
        // ZooKeeper breaks down over the operation with a time to live but flags without one.
        if fits && (timed || create.op != ops::CREATE_TTL) {
            Ok(())
        } else {
            Err(Code::BAD_ARGUMENTS)
        }
    }

    fn delete(&mut self, at: &str, version: i32, asker: Asker<'_>) -> Result<Txn, Code> {
        let above = parent_of_mortal(at)?;
        let parent = self.state(above)?;
        self.check(&parent, perms::DELETE, asker)?;
        let node = self.state(at)?;
        next_version(node.stat.version, version)?;
        if node.children > 0 {
            return Err(Code::NOT_EMPTY);
        }
        self.remove(above, &parent, at, &node, asker.zxid);
        Ok(Txn::Delete { path: at.into() })
    }

    fn delete_container(&mut self, at: &str, asker: Asker<'_>) -> Result<Txn, Code> {
        let above = parent_of_mortal(at)?;
        let node = self.state(at)?;
        if node.children > 0 {
            return Err(Code::NOT_EMPTY);
        }
        if Owner::of(node.stat.ephemeral_owner, self.tree.extended()).is_session() {
            return Err(Code::BAD_VERSION);
        }
        let parent = self.state(above)?;
        self.remove(above, &parent, at, &node, asker.zxid);
        Ok(Txn::Delete { path: at.into() })
    }

    fn remove(&mut self, above: &str, parent: &State, at: &str, node: &State, zxid: i64) {
        let mut after = parent.clone();
        after.children = after.children.saturating_sub(1);
        after.stat.pzxid = zxid;
        self.pending
            .put(self.tree, zxid, above, Some(parent), Some(after));
        self.pending.put(self.tree, zxid, at, Some(node), None);
    }

    fn set_data(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        version: i32,
        asker: Asker<'_>,
    ) -> Result<Txn, Code> {
        if !path::is_legal(path) {
            return Err(Code::BAD_ARGUMENTS);
        }
        let before = self.state(path)?;
        self.check(&before, perms::WRITE, asker)?;
        let len = data.map_or(0, <[u8]>::len);
        let grown = len.cast_signed() as i64 - before.data_len.cast_signed() as i64;
        self.check_quota(path, grown, 0)?;
        let version = next_version(before.stat.version, version)?;
        let mut after = before.clone();
        after.stat.version = version;
        after.stat.mtime = asker.time_ms;
        after.stat.mzxid = asker.zxid;
        after.content = digest::of_content(path, data);
        after.data_len = len;
        self.pending
            .put(self.tree, asker.zxid, path, Some(&before), Some(after));
        Ok(Txn::SetData {
            path: path.into(),
            data: data.map(Box::from),
            version,
        })
    }

    /// ZooKeeper: hard limits refuse, against the applied tree.
    fn check_quota(&self, path: &str, bytes: i64, count: i64) -> Result<(), Code> {
        if !self.enforce_quota {
            return Ok(());
        }
        let Some(covering) = self.tree.quotas.covering(path) else {
            return Ok(());
        };
        // ZooKeeper breaks down over a text that is no quota.
        let track = |name: &str| {
            let node = self.tree.node(&format!("{}{covering}/{name}", quota::ROOT));
            node.map(|node| {
                let text = node.data.as_deref().ok_or(Code::MARSHALLING_ERROR)?;
                Track::parse(text).ok_or(Code::MARSHALLING_ERROR)
            })
            .transpose()
        };
        let (Some(limit), Some(used)) = (track(quota::LIMITS)?, track(quota::STATS)?) else {
            return Ok(());
        };
        let over = |hard: i64, used: i64, more: i64| {
            more != 0 && hard > -1 && used.saturating_add(more) > hard
        };
        if over(limit.count_hard, used.count, count) || over(limit.bytes_hard, used.bytes, bytes) {
            return Err(Code::QUOTA_EXCEEDED);
        }
        Ok(())
    }

    /// All or nothing; a failure is a transaction too, that says which part failed. Where
    /// ZooKeeper breaks down over a part, the whole fails as a request that cannot be read.
    pub(crate) fn multi(&mut self, writes: &[Write<'_>], asker: Asker<'_>) -> Result<Txn, Code> {
        self.pending.begin_multi();
        let mut parts = Vec::with_capacity(writes.len());
        let mut failed = false;
        for write in writes {
            if failed {
                parts.push((
                    ops::ERROR,
                    Txn::Error {
                        code: Code::RUNTIME_INCONSISTENCY.0,
                    },
                ));
                continue;
            }
            match self.write(write, asker) {
                Ok(txn) => parts.push((write.op(), txn)),
                Err(Code::MARSHALLING_ERROR) => {
                    self.pending.roll_back();
                    return Err(Code::MARSHALLING_ERROR);
                }
                Err(code) => {
                    self.pending.roll_back();
                    failed = true;
                    parts.push((ops::ERROR, Txn::Error { code: code.0 }));
                }
            }
        }
        self.pending.end_multi();
        Ok(Txn::Multi(parts))
    }

    /// The end of a session takes its nodes with it.
    pub(crate) fn close_session(&mut self, asker: Asker<'_>) -> Txn {
        let owned = self.tree.ephemerals_of(asker.session);
        let paths = self.pending.ephemerals(asker.session, owned);
        for at in &paths {
            let Some((above, _)) = path::split(at) else {
                continue;
            };
            let (Ok(parent), Ok(node)) = (self.state(above), self.state(at)) else {
                continue;
            };
            self.remove(above, &parent, at, &node, asker.zxid);
        }
        Txn::CloseSession { paths: Some(paths) }
    }
}
