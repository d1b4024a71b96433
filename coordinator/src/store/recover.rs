//! From the files back to the tree and the sessions: the newest snapshot that is whole, then every
//! transaction after it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use base::disk::{Disk, Open};
use protocol::zookeeper::txns::Txn;
use tracing::{info, warn};

use crate::error::Error;
use crate::store::snapshot::{self, Loaded, Unusable};
use crate::store::txn_log::{LogEntry, LogFile};
use crate::store::{LOG_PREFIX, SNAPSHOT_PREFIX, files};
use crate::tree::{Tree, ZxidDigest, digest};

/// ZooKeeper tries no more snapshots than this.
const SNAPSHOTS_TRIED: usize = 100;

/// What the files held.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) tree: Tree,
    pub(crate) sessions: HashMap<i64, i32>,
    /// Sessions that are nowhere, but own nodes: a server died between the two.
    pub(crate) dead_sessions: Vec<i64>,
    pub(crate) replayed: usize,
    /// Snapshots that could not be used.
    pub(crate) refused: Vec<PathBuf>,
    /// There was none: all began with the logs, or nothing was there at all.
    pub(crate) without_snapshot: bool,
}

/// Where to look, and what to put up with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places<'a> {
    pub(crate) snapshots: &'a Path,
    pub(crate) logs: &'a Path,
    pub(crate) extended: bool,
    /// Logs without any snapshot are replayed from an empty tree.
    pub(crate) trust_empty_snapshot: bool,
}

pub(crate) fn recover(disk: &dyn Disk, places: Places<'_>) -> Result<Recovered, Error> {
    refuse_misplaced(disk, places)?;
    let logs = files(disk, places.logs, LOG_PREFIX)?;
    let mut refused = Vec::new();
    let found = newest_snapshot(disk, places, &mut refused)?;
    let without_snapshot = found.is_none();
    // Logs from the very first transaction on are the whole history.
    let begins_late = logs.first().is_some_and(|(first, _)| *first != 1);
    if without_snapshot && begins_late && !places.trust_empty_snapshot {
        return Err(Error::NoSnapshot {
            dir: places.snapshots.to_path_buf(),
        });
    }
    let (zxid, loaded) = found.unwrap_or_else(|| {
        let tree = Tree::new(places.extended);
        (
            0,
            Loaded {
                tree,
                sessions: HashMap::new(),
                digest: None,
            },
        )
    });
    let mut replay = Replay {
        tree: loaded.tree,
        sessions: loaded.sessions,
        awaited: loaded.digest,
        last: zxid,
        replayed: 0,
        mismatch: false,
        suspected: None,
    };
    replay.tree.last_zxid = zxid;
    replay.compare_snapshot(zxid)?;
    let wanted = wanted_logs(logs, zxid);
    let count = wanted.len();
    for (at, path) in wanted.into_iter().enumerate() {
        replay.file(disk, &path, at + 1 == count)?;
    }
    let dead_sessions = replay.dead_sessions();
    Ok(Recovered {
        dead_sessions,
        tree: replay.tree,
        sessions: replay.sessions,
        replayed: replay.replayed,
        refused,
        without_snapshot,
    })
}

/// Files that nobody would look at where they are. As ZooKeeper: a server that passed them over would
/// begin a second history.
fn refuse_misplaced(disk: &dyn Disk, places: Places<'_>) -> Result<(), Error> {
    let Places {
        snapshots, logs, ..
    } = places;
    if snapshots == logs {
        return Ok(());
    }
    for (prefix, what, dir, belongs) in [
        (LOG_PREFIX, "transaction logs (log.*)", snapshots, logs),
        (SNAPSHOT_PREFIX, "snapshots (snapshot.*)", logs, snapshots),
    ] {
        if let Some((_, path)) = files(disk, dir, prefix)?.pop() {
            return Err(Error::Misplaced {
                path,
                what,
                belongs: belongs.to_path_buf(),
            });
        }
    }
    Ok(())
}

/// The newest that is whole; those passed over on the way come into `refused`.
fn newest_snapshot(
    disk: &dyn Disk,
    places: Places<'_>,
    refused: &mut Vec<PathBuf>,
) -> Result<Option<(i64, Loaded)>, Error> {
    let snapshots = files(disk, places.snapshots, SNAPSHOT_PREFIX)?;
    // The one before all transactions holds nothing; a crash may have torn it.
    let mut lost = false;
    for (zxid, path) in snapshots.into_iter().rev().take(SNAPSHOTS_TRIED) {
        match snapshot::load(disk, &path, places.extended) {
            Ok(loaded) => {
                info!(path = %path.display(), "snapshot read");
                return Ok(Some((zxid, loaded)));
            }
            Err(Unusable::File(error)) => return Err(error),
            Err(why) => {
                warn!(path = %path.display(), %why, "this snapshot is not used");
                lost |= zxid != 0;
                refused.push(path);
            }
        }
    }
    if lost {
        return Err(Error::NoSnapshot {
            dir: places.snapshots.to_path_buf(),
        });
    }
    Ok(None)
}

/// The file in which `zxid + 1` would be, and all after it.
fn wanted_logs(logs: Vec<(i64, PathBuf)>, zxid: i64) -> Vec<PathBuf> {
    let first = logs
        .iter()
        .rposition(|(begin, _)| *begin <= zxid.saturating_add(1))
        .unwrap_or(0);
    logs.into_iter().skip(first).map(|(_, path)| path).collect()
}

struct Replay {
    tree: Tree,
    sessions: HashMap<i64, i32>,
    /// The snapshot's digest, until the replay has come so far.
    awaited: Option<ZxidDigest>,
    last: i64,
    replayed: usize,
    mismatch: bool,
    /// A number that a file skips: transactions are lost there, or ZooKeeper has counted one that it
    /// could not read and never logged.
    suspected: Option<Error>,
}

impl Replay {
    fn file(&mut self, disk: &dyn Disk, path: &Path, is_last: bool) -> Result<(), Error> {
        let mut log = LogFile::open(disk, path)?;
        if is_last && log.is_unfinished() {
            warn!(path = %path.display(), "an empty log is removed: its server died making it");
            return disk.remove_file(path).map_err(|cause| Error::Write {
                path: path.to_path_buf(),
                cause,
            });
        }
        let (mut first, mut offset) = (true, log.end());
        while let Some(entry) = log.next_entry()? {
            let gap = self.gap(path, offset, entry.header.zxid);
            if std::mem::take(&mut first) {
                gap.map_or(Ok(()), Err)?;
            } else if self.suspected.is_none() {
                self.suspected = gap;
            }
            self.entry(entry)?;
            offset = log.end();
        }
        match log.torn() {
            Some(what) if is_last => cut(disk, &log, &what.to_string()),
            Some(what) => {
                // What follows in the next file tells whether anything was lost here.
                warn!(path = %path.display(), offset = log.end(), %what, "a torn end is passed over");
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Within an epoch zxids follow each other; a file that begins later follows a lost one.
    fn gap(&self, path: &Path, offset: u64, found: i64) -> Option<Error> {
        let expected = self.last.saturating_add(1);
        let skips = found > expected && found >> 32 == expected >> 32;
        skips.then(|| Error::Gap {
            path: path.to_path_buf(),
            offset,
            expected,
            found,
        })
    }

    fn entry(&mut self, entry: LogEntry) -> Result<(), Error> {
        let header = entry.header;
        if header.zxid <= self.last {
            return Ok(());
        }
        self.last = header.zxid;
        self.replayed += 1;
        match &entry.txn {
            Txn::CreateSession { timeout_ms } => {
                self.sessions.insert(header.session_id, *timeout_ms);
            }
            Txn::CloseSession { .. } => {
                self.sessions.remove(&header.session_id);
            }
            _ => {}
        }
        self.tree.apply(&header, entry.txn, &mut Vec::new());
        self.compare_snapshot(header.zxid)?;
        match entry.digest {
            Some(logged) if self.awaited.is_none() && logged.version == digest::VERSION => {
                self.compare(header.zxid, logged.tree)
            }
            _ => Ok(()),
        }
    }

    fn compare_snapshot(&mut self, zxid: i64) -> Result<(), Error> {
        match self.awaited.take_if(|awaited| zxid >= awaited.zxid) {
            Some(awaited) if zxid == awaited.zxid => self.compare(zxid, awaited.digest),
            _ => Ok(()),
        }
    }

    /// What is suspected is true where the digests differ from there on, and else it was nothing.
    fn compare(&mut self, zxid: i64, expected: i64) -> Result<(), Error> {
        if self.mismatch {
            return Ok(());
        }
        let suspected = self.suspected.take();
        if self.tree.digest().cast_signed() == expected {
            return Ok(());
        }
        self.mismatch = true;
        warn!(
            zxid = format_args!("0x{zxid:x}"),
            "the tree's digest is not the one in the files"
        );
        suspected.map_or(Ok(()), Err)
    }

    fn dead_sessions(&self) -> Vec<i64> {
        let owners = self.tree.ephemerals().map(|(session, _)| session);
        let dead: Vec<i64> = owners
            .filter(|session| !self.sessions.contains_key(session))
            .collect();
        for session in &dead {
            warn!(
                session = format_args!("0x{session:x}"),
                "nodes of a dead session are removed"
            );
        }
        dead
    }
}

fn cut(disk: &dyn Disk, log: &LogFile, what: &str) -> Result<(), Error> {
    let path = log.path();
    warn!(path = %path.display(), offset = log.end(), what, "the torn end of the log is cut off");
    let act = || {
        let file = disk.open(path, Open::Write)?;
        file.truncate(log.end())?;
        file.sync()
    };
    act().map_err(|cause| Error::Write {
        path: path.to_path_buf(),
        cause,
    })
}
