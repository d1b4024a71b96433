//! Requests that change nothing, answered from the applied tree; and those that set watches.

use protocol::zookeeper::errors::Code;
use protocol::zookeeper::jute::Writer;
use protocol::zookeeper::ops;
use protocol::zookeeper::replies::{self, Frame};
use protocol::zookeeper::requests::{Path, Read, Request, SetWatches};
use protocol::zookeeper::types::{Acl, EventKind, Id, perms};

use crate::auth::{self, Schemes};
use crate::tree::Tree;
use crate::tree::node::Node;
use crate::watches::{ConnectionId, Kind, Watches};

/// Everything a read may look at, and the watches it may set.
pub(crate) struct Reading<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) watches: &'a mut Watches,
    pub(crate) schemes: &'a Schemes,
    pub(crate) ids: &'a [Id],
    pub(crate) session: i64,
    pub(crate) connection: ConnectionId,
}

/// A list of results longer than this is refused: a small request may name a large node often.
const MULTI_READ_MAX: usize = 32 << 20;

/// No client could read the length of a reply that is longer.
const REPLY_MAX: usize = i32::MAX as usize;

/// About how many bytes the answer to `request` has, where names or data make it long; no more are
/// counted than it takes to be more than `enough`.
pub(crate) fn weight(tree: &Tree, session: i64, request: &Request<'_>, enough: usize) -> usize {
    let children = |path: &Path<'_>, enough: usize| {
        let id = path.as_deref().and_then(|path| tree.nodes.find(path));
        let names = id.into_iter().flat_map(|id| tree.nodes.children(id));
        sum_to(enough, names.map(|(_, child)| 4 + child.name.len()))
    };
    let data = |path: &Path<'_>| {
        let node = path.as_deref().and_then(|path| tree.node(path));
        node.map_or(0, Node::data_len)
    };
    match request {
        Request::GetData { path, .. } => data(path),
        Request::GetChildren { path, .. } => children(path, enough),
        Request::GetEphemerals { .. } => {
            let paths = tree.ephemerals_of(session);
            sum_to(enough, paths.iter().map(|path| 4 + path.len()))
        }
        Request::MultiRead(reads) => sum_to(
            enough,
            reads.iter().map(|read| match read {
                Read::Data(path) => data(path),
                Read::Children(path) => children(path, enough),
                Read::None => 0,
            }),
        ),
        _ => 0,
    }
}

fn sum_to(enough: usize, mut parts: impl Iterator<Item = usize>) -> usize {
    let mut sum = 0;
    while sum <= enough
        && let Some(part) = parts.next()
    {
        sum += part;
    }
    sum
}

fn present<'p>(path: &'p Path<'_>) -> Result<&'p str, Code> {
    path.as_deref().ok_or(Code::MARSHALLING_ERROR)
}

impl<'a> Reading<'a> {
    /// Appends the reply to `request`, and before it the events that setting watches brings.
    /// Hot path: nothing is allocated for a plain get.
    pub(crate) fn answer(&mut self, request: &Request<'_>, xid: i32, out: &mut Vec<u8>) {
        if let Request::SetWatches(wanted) = request {
            self.set_watches(wanted, out);
        }
        let zxid = self.tree.last_zxid;
        let start = out.len();
        let frame = Frame::reply(out, xid, zxid, Code::OK);
        let outcome = self.body(request, &mut Writer(out));
        let fits = out.len() - start <= REPLY_MAX;
        match outcome.and_then(|()| fits.then_some(()).ok_or(Code::MARSHALLING_ERROR)) {
            Ok(()) => frame.end(out),
            Err(code) if matches!(request, Request::MultiRead(_)) => {
                // ZooKeeper: a list of no results comes with the refusal.
                out.truncate(start);
                let frame = Frame::reply(out, xid, zxid, code);
                replies::write_multi_header(&mut Writer(out), ops::ERROR, true, -1);
                frame.end(out);
            }
            Err(code) => {
                out.truncate(start);
                replies::write_bare(out, xid, zxid, code);
            }
        }
    }

    fn node(&self, path: &str) -> Result<&'a Node, Code> {
        self.tree.node(path).ok_or(Code::NO_NODE)
    }

    fn check(&self, node: &Node, perms: i32) -> Result<(), Code> {
        if self.schemes.allows(self.tree.acl(node), perms, self.ids) {
            Ok(())
        } else {
            Err(Code::NO_AUTH)
        }
    }

    fn readable(&self, path: &str) -> Result<&'a Node, Code> {
        let node = self.node(path)?;
        self.check(node, perms::READ)?;
        Ok(node)
    }

    fn body(&mut self, request: &Request<'_>, out: &mut Writer<'_>) -> Result<(), Code> {
        match request {
            Request::Exists { path, watch } => self.exists(present(path)?, *watch, out)?,
            Request::GetData { path, watch } => {
                let path = present(path)?;
                self.data(path, out)?;
                if *watch {
                    self.watches.add_data(path, self.connection);
                }
            }
            Request::GetChildren { path, watch, stat } => {
                let path = present(path)?;
                let node = self.children(path, out)?;
                if *stat {
                    self.tree.stat(node).write(out);
                }
                if *watch {
                    self.watches.add_child(path, self.connection);
                }
            }
            Request::GetAcl { path } => self.acl(present(path)?, out)?,
            Request::GetAllChildrenNumber { path } => {
                let path = present(path)?;
                self.readable(path)?;
                let id = self.tree.nodes.find(path).ok_or(Code::NO_NODE)?;
                // ZooKeeper: under this name the root counts as a child of its own.
                let itself = usize::from(path.is_empty());
                out.len(self.tree.nodes.count_beneath(id) + itself);
            }
            Request::GetEphemerals { prefix } => {
                let prefix = prefix.as_deref().unwrap_or_default();
                // Java's trim takes off everything up to the space, control characters too.
                let bare = prefix.trim_matches(|c: char| c <= ' ');
                let all = matches!(bare, "" | "/");
                let mut paths = self.tree.ephemerals_of(self.session);
                paths.retain(|path| all || path.starts_with(prefix));
                out.strings(&paths);
            }
            Request::MultiRead(reads) => self.multi_read(reads, out)?,
            Request::Sync { path } => match path {
                Some(path) => {
                    out.string(path);
                }
                None => {
                    out.buffer(None);
                }
            },
            Request::CheckWatches { path, kind } => {
                let (path, kind) = (watched(path), kind_of(*kind)?);
                if !self.watches.contains(path, self.connection, kind) {
                    return Err(Code::NO_WATCHER);
                }
            }
            Request::RemoveWatches { path, kind } => {
                let (path, kind) = (watched(path), kind_of(*kind)?);
                if !self.watches.remove(path, self.connection, kind) {
                    return Err(Code::NO_WATCHER);
                }
            }
            Request::AddWatch { path, mode } => {
                let path = watched(path);
                match mode {
                    0 => self.watches.add_persistent(path, self.connection),
                    1 => self.watches.add_recursive(path, self.connection),
                    _ => return Err(Code::MARSHALLING_ERROR),
                }
                out.int(0);
            }
            Request::WhoAmI => {
                out.len(self.ids.len());
                for id in self.ids {
                    out.string(&id.scheme).string(auth::shown_user(id));
                }
            }
            Request::Ping | Request::SetWatches(_) => {}
            _ => return Err(Code::UNIMPLEMENTED),
        }
        Ok(())
    }

    fn exists(&mut self, path: &str, watch: bool, out: &mut Writer<'_>) -> Result<(), Code> {
        if path.contains('\0') {
            return Err(Code::BAD_ARGUMENTS);
        }
        let node = self.tree.node(path);
        if let Some(node) = node {
            self.check(node, perms::READ)?;
        }
        // ZooKeeper: the watch stays also where there is no node yet.
        if watch {
            self.watches.add_data(path, self.connection);
        }
        self.tree.stat(node.ok_or(Code::NO_NODE)?).write(out);
        Ok(())
    }

    fn data(&self, path: &str, out: &mut Writer<'_>) -> Result<(), Code> {
        let node = self.readable(path)?;
        out.buffer(node.data.as_deref());
        self.tree.stat(node).write(out);
        Ok(())
    }

    fn children(&self, path: &str, out: &mut Writer<'_>) -> Result<&'a Node, Code> {
        let node = self.readable(path)?;
        let id = self.tree.nodes.find(path).ok_or(Code::NO_NODE)?;
        out.int(node.children.cast_signed());
        for (_, child) in self.tree.nodes.children(id) {
            out.string(&child.name);
        }
        Ok(node)
    }

    fn acl(&self, path: &str, out: &mut Writer<'_>) -> Result<(), Code> {
        let node = self.node(path)?;
        self.check(node, perms::READ | perms::ADMIN)?;
        let list = self.tree.acl(node);
        if self.check(node, perms::ADMIN).is_ok() {
            Acl::write_list(list, out);
        } else {
            Acl::write_list(&auth::masked(list), out);
        }
        self.tree.stat(node).write(out);
        Ok(())
    }

    fn multi_read(&self, reads: &[Read<'_>], out: &mut Writer<'_>) -> Result<(), Code> {
        let unreadable = |read: &Read<'_>| match read {
            Read::Data(path) | Read::Children(path) => path.is_none(),
            Read::None => true,
        };
        if reads.iter().any(unreadable) {
            return Err(Code::MARSHALLING_ERROR);
        }
        let begun = out.0.len();
        for read in reads {
            let start = out.0.len();
            let outcome = match read {
                Read::Data(path) => {
                    replies::write_multi_header(out, ops::GET_DATA, false, 0);
                    self.data(present(path)?, out)
                }
                Read::Children(path) => {
                    replies::write_multi_header(out, ops::GET_CHILDREN, false, 0);
                    self.children(present(path)?, out).map(|_| ())
                }
                Read::None => Err(Code::MARSHALLING_ERROR),
            };
            if out.0.len() - begun > MULTI_READ_MAX {
                return Err(Code::MARSHALLING_ERROR);
            }
            if let Err(code) = outcome {
                out.0.truncate(start);
                replies::write_multi_header(out, ops::ERROR, false, code.0);
                out.int(code.0);
            }
        }
        replies::write_multi_header(out, ops::ERROR, true, -1);
        Ok(())
    }

    /// Watches of a client that is back: what it missed is said at once, the rest is watched.
    fn set_watches(&mut self, wanted: &SetWatches<'_>, out: &mut Vec<u8>) {
        let since = wanted.relative_zxid;
        let missed =
            |out: &mut Vec<u8>, kind, path: &str| replies::write_event(out, -1, kind, path);
        for path in &wanted.data {
            match self.tree.node(path) {
                None => missed(out, EventKind::Deleted, path),
                Some(node) if node.stat.mzxid > since => missed(out, EventKind::DataChanged, path),
                Some(_) => self.watches.add_data(path, self.connection),
            }
        }
        for path in &wanted.exist {
            match self.tree.node(path) {
                Some(_) => missed(out, EventKind::Created, path),
                None => self.watches.add_data(path, self.connection),
            }
        }
        for path in &wanted.child {
            match self.tree.node(path) {
                None => missed(out, EventKind::Deleted, path),
                Some(node) if node.stat.pzxid > since => {
                    missed(out, EventKind::ChildrenChanged, path);
                }
                Some(_) => self.watches.add_child(path, self.connection),
            }
        }
        for path in &wanted.persistent {
            self.watches.add_persistent(path, self.connection);
        }
        for path in &wanted.recursive {
            self.watches.add_recursive(path, self.connection);
        }
    }
}

/// ZooKeeper keeps also a watch on no path; nothing can happen to one that no node may have.
fn watched<'p>(path: &'p Path<'_>) -> &'p str {
    path.as_deref().unwrap_or("\0")
}

/// ZooKeeper: a number that is no kind fails as a request that cannot be read.
fn kind_of(number: i32) -> Result<Kind, Code> {
    Kind::of(number).ok_or(Code::MARSHALLING_ERROR)
}
