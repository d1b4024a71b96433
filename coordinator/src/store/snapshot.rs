//! Snapshots: the whole tree and the sessions in one file, readable and written in pieces.
//!
//! A snapshot may be taken while writes go on: its name says from where the log must be replayed
//! over it, and replay tolerates what is already there.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use base::disk::{Disk, Open};
use protocol::zookeeper::jute::{Malformed, Reader, Writer};
use protocol::zookeeper::types::{Acl, StatPersisted};

use crate::error::Error;
use crate::packing::Packing;
use crate::store::checksum::{Adler, adler};
use crate::tree::node::ROOT;
use crate::tree::{Tree, ZxidDigest, acl, digest, quota};

const MAGIC: &[u8; 4] = b"ZKSN";

/// What a snapshot holds besides the tree.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) tree: Tree,
    pub(crate) sessions: HashMap<i64, i32>,
    pub(crate) digest: Option<ZxidDigest>,
}

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error(transparent)]
    File(#[from] Error),
    #[error("it is no snapshot")]
    Magic,
    #[error("it cannot be read: {0}")]
    Malformed(#[from] Malformed),
    #[error("it cannot be unpacked: {0}")]
    Packed(#[from] protocol::batch::Fault),
    #[error("its checksum does not match")]
    Checksum,
    #[error("the node {0:?} stands before its parent")]
    Orphan(String),
}

/// Reads a snapshot.
pub(crate) fn load(disk: &dyn Disk, path: &Path, extended: bool) -> Result<Loaded, Unusable> {
    let bytes = read_from(disk, path, |_| 0)?;
    decode(&Packing::of(path).unpack(bytes)?, extended)
}

/// What every snapshot ends with: the path of a seal.
const END: &[u8] = b"\0\0\0\x01/";

/// Whether a snapshot has been written to its end, which is quicker told than whether it is good.
pub(crate) fn is_sealed(disk: &dyn Disk, path: &Path) -> bool {
    let packing = Packing::of(path);
    let end = |len: u64| match packing {
        Packing::Plain => len.saturating_sub(END.len() as u64),
        _ => 0,
    };
    let read = read_from(disk, path, end).map_err(Unusable::from);
    let whole = read.and_then(|bytes| Ok(packing.unpack(bytes)?));
    whole.is_ok_and(|bytes| bytes.ends_with(END))
}

/// The bytes from the place on that `begin` finds for the file's length.
fn read_from(
    disk: &dyn Disk,
    path: &Path,
    begin: impl FnOnce(u64) -> u64,
) -> Result<Vec<u8>, Error> {
    let read = || {
        let file = disk.open(path, Open::Read)?;
        let len = file.len()?;
        let from = begin(len);
        let mut bytes = vec![0; usize::try_from(len - from).unwrap_or(usize::MAX)];
        let got = file.read_at(&mut bytes, from)?;
        bytes.truncate(got);
        Ok(bytes)
    };
    read().map_err(|cause| Error::Read {
        path: path.to_path_buf(),
        cause,
    })
}

fn decode(bytes: &[u8], extended: bool) -> Result<Loaded, Unusable> {
    let mut reader = Reader::new(bytes);
    if reader.take(4)? != MAGIC {
        return Err(Unusable::Magic);
    }
    reader.int()?;
    reader.long()?;
    let sessions = read_sessions(&mut reader)?;
    let lists = read_lists(&mut reader)?;
    let tree = read_nodes(&mut reader, &lists, extended)?;
    check_seal(&mut reader, bytes)?;
    let mut loaded = Loaded {
        tree,
        sessions,
        digest: None,
    };
    // Older servers end here.
    if reader.remaining() >= 20 {
        let (zxid, version) = (reader.long()?, reader.int()?);
        // Version 1 was a text, and is not compared.
        if version >= digest::VERSION {
            let sum = reader.long()?;
            check_seal(&mut reader, bytes)?;
            let known = zxid > 0 && version == digest::VERSION;
            loaded.digest = known.then_some(ZxidDigest { zxid, digest: sum });
        }
    }
    Ok(loaded)
}

fn check_seal(reader: &mut Reader<'_>, bytes: &[u8]) -> Result<(), Unusable> {
    let sum = adler(&bytes[..bytes.len() - reader.remaining()]);
    let sealed = reader.long()?;
    let whole = sealed == sum && reader.string()?.as_deref() == Some("/");
    if whole {
        Ok(())
    } else {
        Err(Unusable::Checksum)
    }
}

fn read_sessions(reader: &mut Reader<'_>) -> Result<HashMap<i64, i32>, Malformed> {
    let count = reader.count(12)?.unwrap_or(0);
    let mut sessions = HashMap::with_capacity(count);
    for _ in 0..count {
        sessions.insert(reader.long()?, reader.int()?);
    }
    Ok(sessions)
}

fn read_lists(reader: &mut Reader<'_>) -> Result<HashMap<i64, Arc<[Acl]>>, Malformed> {
    let count = reader.count(12)?.unwrap_or(0);
    let mut lists = HashMap::with_capacity(count);
    for _ in 0..count {
        lists.insert(reader.long()?, Acl::read_list(reader)?.into());
    }
    Ok(lists)
}

fn read_nodes(
    reader: &mut Reader<'_>,
    lists: &HashMap<i64, Arc<[Acl]>>,
    extended: bool,
) -> Result<Tree, Unusable> {
    let mut tree: Option<Tree> = None;
    loop {
        let path = reader.string()?.ok_or(Malformed::Length(-1))?;
        if path == "/" {
            break;
        }
        let data: Option<Box<[u8]>> = reader.buffer()?.map(Box::from);
        let list = lists.get(&reader.long()?);
        let stat = StatPersisted::read(reader)?;
        let Some((above, _)) = path.rsplit_once('/') else {
            let mut fresh = Tree::bare(extended, stat);
            fresh.replace_data("", ROOT, data);
            if let Some(list) = list {
                fresh.nodes.get_mut(ROOT).acl = fresh.acls.acquire(list);
            }
            tree = Some(fresh);
            continue;
        };
        let Some(tree) = &mut tree else {
            return Err(Unusable::Orphan(path.into_owned()));
        };
        let Some(parent) = tree.nodes.find(above) else {
            return Err(Unusable::Orphan(path.into_owned()));
        };
        // A node twice would be one that moved while the snapshot was taken; the first stands.
        if tree.nodes.find(&path).is_none() {
            let acl = list.map_or(acl::OPEN, |list| tree.acls.acquire(list));
            tree.youngest_loaded = tree.youngest_loaded.max(stat.czxid);
            tree.insert(parent, &path, data, stat, acl);
        }
    }
    let mut tree = tree.ok_or(Unusable::Orphan("/".to_owned()))?;
    set_up_quotas(&mut tree);
    if let Some(own) = tree.nodes.find("/zookeeper")
        && tree.nodes.find("/zookeeper/config").is_none()
    {
        tree.add_config_node(own);
    }
    Ok(tree)
}

fn set_up_quotas(tree: &mut Tree) {
    let mut open: Vec<u32> = tree.nodes.find(quota::ROOT).into_iter().collect();
    let mut targets = Vec::new();
    while let Some(id) = open.pop() {
        open.extend(tree.nodes.children(id).map(|(child, _)| child));
        if &*tree.nodes.get(id).name == quota::LIMITS {
            let path = tree.nodes.path(id);
            let target = path[quota::ROOT.len()..].trim_end_matches(quota::LIMITS);
            targets.push(target.trim_end_matches('/').to_owned());
        }
    }
    for target in targets.iter().filter(|target| !target.is_empty()) {
        tree.quotas.add(target);
        tree.count_quota_anew(target);
    }
}

/// A snapshot being made. [`Taking::next_piece`] is called between transactions, so that none has
/// to wait for the whole.
#[derive(Debug)]
pub(crate) struct Taking {
    /// Nodes still to be written: their numbers, and the zxid that made them, because a number
    /// may serve another node meanwhile.
    open: Vec<(u32, i64)>,
    /// Younger nodes are left to the log, which makes them with the ACL they were made with: the table of
    /// ACLs at the head is older than they are.
    until: i64,
    sum: Adler,
    begun: bool,
    done: bool,
}

impl Taking {
    pub(crate) fn begin(tree: &Tree) -> Self {
        Taking {
            open: vec![(ROOT, tree.nodes.get(ROOT).stat.czxid)],
            until: tree.last_zxid.max(tree.youngest_loaded),
            sum: Adler::new(),
            begun: false,
            done: false,
        }
    }

    /// Whether all has been given.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// The next bytes of the file: of `nodes` nodes at most, and of none where those are gone.
    pub(crate) fn next_piece(
        &mut self,
        tree: &Tree,
        sessions: impl ExactSizeIterator<Item = (i64, i32)>,
        nodes: usize,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        if self.done {
            return out;
        }
        if !self.begun {
            self.begun = true;
            write_head(&mut out, tree, sessions);
        }
        for _ in 0..nodes {
            let Some((id, czxid)) = self.open.pop() else {
                self.sum.update(&out);
                self.write_end(&mut out, tree);
                self.done = true;
                return out;
            };
            let node = tree.nodes.get(id);
            if node.stat.czxid != czxid || czxid > self.until {
                continue;
            }
            let mut writer = Writer(&mut out);
            let acl = if node.acl == acl::OPEN {
                -1
            } else {
                i64::from(node.acl) + 1
            };
            writer
                .string(&tree.nodes.path(id))
                .buffer(node.data.as_deref())
                .long(acl);
            node.stat.write(&mut writer);
            self.open.extend(
                tree.nodes
                    .children(id)
                    .map(|(child, node)| (child, node.stat.czxid)),
            );
        }
        self.sum.update(&out);
        out
    }

    fn write_end(&mut self, out: &mut Vec<u8>, tree: &Tree) {
        let mut from = out.len();
        Writer(out).string("/");
        self.seal(out, &mut from);
        let digest = tree.digest().cast_signed();
        Writer(out)
            .long(tree.last_zxid)
            .int(digest::VERSION)
            .long(digest);
        self.seal(out, &mut from);
        Writer(out).long(tree.last_zxid);
        self.seal(out, &mut from);
    }

    /// Writes the sum of all before it; `from` is where the sum had got to.
    fn seal(&mut self, out: &mut Vec<u8>, from: &mut usize) {
        self.sum.update(&out[*from..]);
        let value = self.sum.value();
        let at = out.len();
        Writer(out).long(value).string("/");
        self.sum.update(&out[at..]);
        *from = out.len();
    }
}

fn write_head(out: &mut Vec<u8>, tree: &Tree, sessions: impl ExactSizeIterator<Item = (i64, i32)>) {
    out.extend_from_slice(MAGIC);
    let mut writer = Writer(out);
    writer.int(2).long(-1).len(sessions.len());
    for (id, timeout_ms) in sessions {
        writer.long(id).int(timeout_ms);
    }
    writer.len(tree.acls.len());
    for (id, list) in tree.acls.iter() {
        writer.long(i64::from(id) + 1);
        Acl::write_list(list, &mut writer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::chance::Chance;
    use protocol::zookeeper::ops;
    use protocol::zookeeper::txns::{Txn, TxnHeader};

    fn sample() -> Vec<u8> {
        let tree = Tree::new(true);
        let sessions = HashMap::from([(5_i64, 4_000_i32), (6, 9_000)]);
        Taking::begin(&tree).next_piece(&tree, sessions.into_iter(), usize::MAX)
    }

    #[test]
    fn what_was_written_is_read() {
        let loaded = decode(&sample(), true).unwrap();
        assert_eq!(loaded.sessions, HashMap::from([(5, 4_000), (6, 9_000)]));
        assert_eq!(loaded.tree.count(), Tree::new(true).count());
        assert_eq!(loaded.tree.digest(), Tree::new(true).digest());
    }

    #[test]
    fn nodes_that_go_while_it_is_taken_do_not_end_it() {
        let mut tree = Tree::new(true);
        let stat = StatPersisted::default();
        for at in 0..100 {
            let path = format!("/n{at}");
            tree.insert(
                ROOT,
                &path,
                None,
                StatPersisted { czxid: 1, ..stat },
                acl::OPEN,
            );
        }
        let mut taking = Taking::begin(&tree);
        let mut bytes = Vec::new();
        while !taking.is_done() {
            bytes.extend(taking.next_piece(&tree, [].into_iter(), 2));
            for at in 0..100 {
                let header = TxnHeader {
                    session_id: 1,
                    cxid: 1,
                    zxid: 2,
                    time_ms: 0,
                    op: ops::DELETE,
                };
                let path = format!("/n{at}").into();
                tree.apply(&header, Txn::Delete { path }, &mut Vec::new());
            }
        }
        let loaded = decode(&bytes, true).unwrap();
        assert!(loaded.tree.node("/zookeeper/config").is_some());
    }

    /// Their ACL's number may have stood for another list when the table was written.
    #[test]
    fn nodes_that_come_while_it_is_taken_are_left_to_the_log() {
        let mut tree = Tree::new(true);
        tree.last_zxid = 1;
        let made_by = |czxid| StatPersisted {
            czxid,
            ..StatPersisted::default()
        };
        tree.insert(ROOT, "/early", None, made_by(1), acl::OPEN);
        let mut taking = Taking::begin(&tree);
        tree.insert(ROOT, "/late", None, made_by(2), acl::OPEN);
        let bytes = taking.next_piece(&tree, [].into_iter(), usize::MAX);
        let loaded = decode(&bytes, true).unwrap();
        assert!(loaded.tree.node("/early").is_some());
        assert!(loaded.tree.node("/late").is_none());
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let whole = sample();
        for at in 16..whole.len() - 21 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert!(decode(&bytes, true).is_err(), "byte {at}");
        }
    }

    #[test]
    fn random_bytes_never_panic() {
        let chance = Chance::seeded(12);
        let whole = sample();
        for _ in 0..5_000 {
            let mut bytes = whole.clone();
            for _ in 0..=chance.below(8) {
                let at = chance.below(bytes.len() as u64) as usize;
                bytes[at] = chance.next_u64() as u8;
            }
            bytes.truncate(chance.below(bytes.len() as u64 + 1) as usize);
            let _outcome = decode(&bytes, true);
        }
    }
}
