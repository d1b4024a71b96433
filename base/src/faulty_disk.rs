//! A disk in memory that lies on request: for crash tests of the crates above. No program
//! uses it, so none contains it.
//!
//! It keeps two states of everything, what a program sees and what a power cut leaves. A file's
//! unsynced writes may be lost, torn or kept in any combination; a directory's unsynced entries
//! survive as a prefix of the changes made to it. Every changing call counts as one operation, so
//! that a test can stop the world at each of them in turn.
//!
//! Not modelled: a rename from one directory to another is two changes here, one in each.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::chance::Chance;
use crate::disk::{Disk, DiskFile, DiskLock, Entry, Facts, FileSystem, Open};

type Id = usize;
const ROOT: Id = 0;

/// What a restart finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// The process died, the machine did not: all that was written is there.
    Process,
    /// The power failed: unsynced writes are lost, torn or reordered, as chance has it.
    Power,
    /// The power failed and nothing unsynced survived.
    PowerLosingAll,
}

/// Kinds of changing calls, to aim failures at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Create,
    Write,
    Truncate,
    Sync,
    SyncDir,
    Rename,
    Remove,
}

/// Errors to inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Eio,
    NoSpace,
    TooManyFiles,
}

/// The lying disk. Clones share it.
#[derive(Clone, Debug)]
pub struct FaultyDisk(Arc<Mutex<World>>, Arc<Frost>);

/// Which paths hang, and who waits there.
#[derive(Debug, Default)]
struct Frost {
    state: Mutex<Frozen>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Frozen {
    path_part: Option<String>,
    waiting: usize,
}

impl Frozen {
    fn holds(&self, path: &Path) -> bool {
        let part = self.path_part.as_ref();
        part.is_some_and(|part| path.to_string_lossy().contains(part))
    }
}

#[derive(Debug)]
struct World {
    nodes: Vec<Node>,
    chance: Chance,
    locks: HashSet<PathBuf>,
    /// Raised by a restart: files opened before it are dead.
    life: u64,
    off: bool,
    operations: u64,
    stop_at: Option<u64>,
    faults: Vec<Planned>,
    space_max: Option<u64>,
    now_ms: i64,
    /// How often bytes were lost behind everybody's back, and of how many of these somebody was told.
    losses: u64,
    losses_told: u64,
    /// A sync of the whole file system reaches nothing from here on downwards.
    remote: Option<PathBuf>,
}

#[derive(Debug)]
struct Planned {
    operation: Operation,
    /// Only paths that contain this.
    path_part: String,
    fault: Fault,
    /// How many matching calls go well before it strikes.
    after: u64,
    /// Strikes once, or from then on.
    once: bool,
}

#[derive(Debug)]
enum Node {
    File(FileNode),
    Dir(DirNode),
}

#[derive(Debug, Default)]
struct FileNode {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    modified_ms: i64,
}

#[derive(Clone, Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate(usize),
}

#[derive(Debug, Default)]
struct DirNode {
    now: BTreeMap<String, Id>,
    durable: BTreeMap<String, Id>,
    /// Names and what they came to mean, in order; the entries of one call stand together.
    unsynced: Vec<Vec<(String, Option<Id>)>>,
}

impl FaultyDisk {
    pub fn new(seed: u64) -> Self {
        let world = World {
            nodes: vec![Node::Dir(DirNode::default())],
            chance: Chance::seeded(seed),
            locks: HashSet::new(),
            life: 0,
            off: false,
            operations: 0,
            stop_at: None,
            faults: Vec::new(),
            space_max: None,
            now_ms: 0,
            losses: 0,
            losses_told: 0,
            remote: None,
        };
        FaultyDisk(Arc::new(Mutex::new(world)), Arc::default())
    }

    pub fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// Changing calls made so far.
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// The `n`-th changing call from the beginning (counted from 1) is cut short, and everything
    /// after it fails until [`FaultyDisk::restart`].
    pub fn stop_at(&self, n: u64) {
        self.0.lock().stop_at = Some(n);
    }

    /// Whether the stop has come.
    pub fn is_off(&self) -> bool {
        self.0.lock().off
    }

    /// The kernel could not write something out: every file system that is watched tells it once, and one
    /// that is watched later only if none has told it yet.
    pub fn lose_in_writeback(&self) {
        self.0.lock().losses += 1;
    }

    /// From now on what lies there is kept by somebody else, who hears only of files that are synced
    /// themselves; the folder is a link.
    pub fn be_remote_at(&self, path: &str) {
        self.0.lock().remote = Some(path.into());
    }

    /// After `after` good calls of this kind on paths containing `path_part`, one (or, unless
    /// `once`, every) further call fails.
    pub fn plan(
        &self,
        operation: Operation,
        path_part: &str,
        fault: Fault,
        after: u64,
        once: bool,
    ) {
        let path_part = path_part.to_owned();
        self.0.lock().faults.push(Planned {
            operation,
            path_part,
            fault,
            after,
            once,
        });
    }

    pub fn forget_plans(&self) {
        self.0.lock().faults.clear();
    }

    /// Changing calls on paths containing `path_part`, and reads of such files, hang until
    /// [`FaultyDisk::thaw`], as those of a disk do that does not answer.
    pub fn freeze(&self, path_part: &str) {
        self.1.state.lock().path_part = Some(path_part.to_owned());
    }

    pub fn thaw(&self) {
        self.1.state.lock().path_part = None;
        self.1.changed.notify_all();
    }

    /// Returns once so many calls hang.
    pub fn await_hanging(&self, count: usize) {
        let mut frozen = self.1.state.lock();
        while frozen.waiting < count {
            self.1.changed.wait(&mut frozen);
        }
    }

    fn hang_if_frozen(&self, path: &Path) {
        let mut frozen = self.1.state.lock();
        if !frozen.holds(path) {
            return;
        }
        frozen.waiting += 1;
        self.1.changed.notify_all();
        while frozen.holds(path) {
            self.1.changed.wait(&mut frozen);
        }
        frozen.waiting -= 1;
    }

    /// The files together may hold so many bytes.
    pub fn limit_space(&self, bytes_max: Option<u64>) {
        self.0.lock().space_max = bytes_max;
    }

    /// What files written from now on carry as their time.
    pub fn set_now_ms(&self, now_ms: i64) {
        self.0.lock().now_ms = now_ms;
    }

    /// Turns the machine off and on again.
    pub fn restart(&self, how: Restart) {
        let mut world = self.0.lock();
        world.off = false;
        world.stop_at = None;
        world.life += 1;
        world.locks.clear();
        if how != Restart::Process {
            world.lose(how == Restart::PowerLosingAll);
        }
    }

    /// A copy of what is there, as another disk: to try several restarts from one moment.
    pub fn copy(&self, seed: u64) -> FaultyDisk {
        let world = self.0.lock();
        let nodes = world.nodes.iter().map(|node| match node {
            Node::File(f) => Node::File(FileNode {
                now: f.now.clone(),
                durable: f.durable.clone(),
                unsynced: f.unsynced.clone(),
                modified_ms: f.modified_ms,
            }),
            Node::Dir(d) => Node::Dir(DirNode {
                now: d.now.clone(),
                durable: d.durable.clone(),
                unsynced: d.unsynced.clone(),
            }),
        });
        let copy = FaultyDisk::new(seed);
        {
            let mut other = copy.0.lock();
            other.nodes = nodes.collect();
            other.off = world.off;
            other.now_ms = world.now_ms;
            other.remote.clone_from(&world.remote);
        }
        copy
    }

    /// Changes bytes behind everybody's back, as a decaying medium does.
    pub fn corrupt(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut world = self.0.lock();
        let id = world.find(path)?;
        let Node::File(file) = &mut world.nodes[id] else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        change(&mut file.now);
        file.durable = file.now.clone();
        file.unsynced.clear();
        Ok(())
    }

    /// Every file with its length, sorted: to choose a victim or to see that nothing vanished.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let world = self.0.lock();
        let mut found = Vec::new();
        world.walk(ROOT, Path::new("/"), &mut found);
        found
    }

    fn change<T>(
        &self,
        operation: Operation,
        path: &Path,
        life: Option<u64>,
        act: impl FnOnce(&mut World, bool) -> io::Result<T>,
    ) -> io::Result<T> {
        self.hang_if_frozen(path);
        let mut world = self.0.lock();
        world.check_alive(life)?;
        world.operations += 1;
        if world.stop_at.is_some_and(|at| world.operations >= at) {
            // The call under way may have reached the disk in part; the caller never learns.
            let _ = act(&mut world, true);
            world.off = true;
            return Err(power_is_off());
        }
        if let Some(fault) = world.strike(operation, path) {
            if operation == Operation::Sync || operation == Operation::SyncDir {
                world.forget_unsynced(path);
            }
            return Err(fault);
        }
        act(&mut world, false)
    }

    fn look<T>(
        &self,
        life: Option<u64>,
        act: impl FnOnce(&World) -> io::Result<T>,
    ) -> io::Result<T> {
        let world = self.0.lock();
        world.check_alive(life)?;
        act(&world)
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

fn parts(path: &Path) -> Vec<String> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            _ => None,
        })
        .collect()
}

impl World {
    fn check_alive(&self, life: Option<u64>) -> io::Result<()> {
        if self.off || life.is_some_and(|life| life != self.life) {
            Err(power_is_off())
        } else {
            Ok(())
        }
    }

    fn strike(&mut self, operation: Operation, path: &Path) -> Option<io::Error> {
        let path = path.to_string_lossy();
        let at = self.faults.iter().position(|planned| {
            planned.operation == operation && path.contains(&planned.path_part)
        })?;
        let planned = &mut self.faults[at];
        if planned.after > 0 {
            planned.after -= 1;
            return None;
        }
        let fault = planned.fault;
        if planned.once {
            self.faults.remove(at);
        }
        Some(os_error(fault))
    }

    /// Linux: pages that could not be written are clean afterwards, so a later sync that succeeds
    /// says nothing about them.
    fn forget_unsynced(&mut self, path: &Path) {
        if let Ok(id) = self.find(path) {
            match &mut self.nodes[id] {
                Node::File(file) => file.unsynced.clear(),
                Node::Dir(_) => {}
            }
        }
    }

    fn dir(&self, id: Id) -> io::Result<&DirNode> {
        match &self.nodes[id] {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn dir_mut(&mut self, id: Id) -> io::Result<&mut DirNode> {
        match &mut self.nodes[id] {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn find(&self, path: &Path) -> io::Result<Id> {
        let mut id = ROOT;
        for part in parts(path) {
            id = *self
                .dir(id)?
                .now
                .get(&part)
                .ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(id)
    }

    fn find_parent(&self, path: &Path) -> io::Result<(Id, String)> {
        let mut parts = parts(path);
        let name = parts.pop().ok_or(io::ErrorKind::InvalidInput)?;
        let mut id = ROOT;
        for part in parts {
            id = *self
                .dir(id)?
                .now
                .get(&part)
                .ok_or(io::ErrorKind::NotFound)?;
        }
        self.dir(id)?;
        Ok((id, name))
    }

    fn enter(&mut self, dir: Id, entries: Vec<(String, Option<Id>)>) -> io::Result<()> {
        let dir = self.dir_mut(dir)?;
        for (name, id) in &entries {
            match id {
                Some(id) => dir.now.insert(name.clone(), *id),
                None => dir.now.remove(name),
            };
        }
        dir.unsynced.push(entries);
        Ok(())
    }

    fn used(&self) -> u64 {
        let file_len = |node: &Node| match node {
            Node::File(file) => file.now.len() as u64,
            Node::Dir(_) => 0,
        };
        let mut used = 0;
        let mut open = vec![ROOT];
        while let Some(id) = open.pop() {
            if let Node::Dir(dir) = &self.nodes[id] {
                open.extend(dir.now.values());
            }
            used += file_len(&self.nodes[id]);
        }
        used
    }

    fn write(&mut self, id: Id, bytes: &[u8], at: usize, cut: bool) -> io::Result<()> {
        let mut bytes = bytes;
        let mut full = false;
        if let Some(max) = self.space_max {
            let len = if let Node::File(file) = &self.nodes[id] {
                file.now.len()
            } else {
                0
            };
            let grows = (at + bytes.len()).saturating_sub(len) as u64;
            let free = max.saturating_sub(self.used());
            if grows > free {
                let over = usize::try_from(grows - free).unwrap_or(usize::MAX);
                bytes = &bytes[..bytes.len().saturating_sub(over)];
                full = true;
            }
        }
        if cut {
            let keep = self.chance.below(bytes.len() as u64 + 1);
            bytes = &bytes[..usize::try_from(keep).unwrap_or(0)];
        }
        let now_ms = self.now_ms;
        let Node::File(file) = &mut self.nodes[id] else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        if !bytes.is_empty() {
            let change = Change::Write {
                at,
                bytes: bytes.to_vec(),
            };
            change.apply(&mut file.now);
            file.unsynced.push(change);
            file.modified_ms = now_ms;
        }
        if full {
            Err(os_error(Fault::NoSpace))
        } else {
            Ok(())
        }
    }

    fn sync_within_reach(&mut self, id: Id, path: &Path) {
        if self.remote.as_deref() == Some(path) {
            return;
        }
        self.sync(id);
        let entries = self.dir(id).map(|dir| dir.now.clone()).unwrap_or_default();
        for (name, id) in entries {
            self.sync_within_reach(id, &path.join(name));
        }
    }

    fn sync(&mut self, id: Id) {
        match &mut self.nodes[id] {
            Node::File(file) => {
                for change in file.unsynced.drain(..) {
                    change.apply(&mut file.durable);
                }
            }
            Node::Dir(dir) => {
                for (name, id) in dir.unsynced.drain(..).flatten() {
                    match id {
                        Some(id) => dir.durable.insert(name, id),
                        None => dir.durable.remove(&name),
                    };
                }
            }
        }
    }

    fn lose(&mut self, all: bool) {
        let World { nodes, chance, .. } = self;
        for node in nodes {
            match node {
                Node::File(file) => {
                    for change in file.unsynced.drain(..) {
                        match (all, chance.below(3), change) {
                            (true, _, _) | (_, 0, _) => {}
                            (_, 1, Change::Write { at, bytes }) => {
                                let keep = chance.below(bytes.len() as u64 + 1);
                                let keep = usize::try_from(keep).unwrap_or(0);
                                Change::Write {
                                    at,
                                    bytes: bytes[..keep].to_vec(),
                                }
                                .apply(&mut file.durable);
                            }
                            (_, _, change) => change.apply(&mut file.durable),
                        }
                    }
                    file.now = file.durable.clone();
                }
                Node::Dir(dir) => {
                    let count = dir.unsynced.len() as u64;
                    let keep = if all { 0 } else { chance.below(count + 1) };
                    let keep = usize::try_from(keep).unwrap_or(0);
                    for (name, id) in dir.unsynced.drain(..).take(keep).flatten() {
                        match id {
                            Some(id) => dir.durable.insert(name, id),
                            None => dir.durable.remove(&name),
                        };
                    }
                    dir.now = dir.durable.clone();
                }
            }
        }
    }

    fn walk(&self, id: Id, at: &Path, found: &mut Vec<(PathBuf, u64)>) {
        match &self.nodes[id] {
            Node::File(file) => found.push((at.to_path_buf(), file.now.len() as u64)),
            Node::Dir(dir) => {
                for (name, child) in &dir.now {
                    self.walk(*child, &at.join(name), found);
                }
            }
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write { at, bytes: new } => {
                if new.is_empty() {
                    return;
                }
                let end = at + new.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*at..end].copy_from_slice(new);
            }
            Change::Truncate(len) => bytes.resize(*len, 0),
        }
    }
}

fn os_error(fault: Fault) -> io::Error {
    use rustix::io::Errno;
    io::Error::from_raw_os_error(match fault {
        Fault::Eio => Errno::IO.raw_os_error(),
        Fault::NoSpace => Errno::NOSPC.raw_os_error(),
        Fault::TooManyFiles => Errno::MFILE.raw_os_error(),
    })
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    id: Id,
    life: u64,
    path: PathBuf,
}

impl FaultyFile {
    fn file<'w>(&self, world: &'w World) -> io::Result<&'w FileNode> {
        match &world.nodes[self.id] {
            Node::File(file) => Ok(file),
            Node::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }
}

fn as_index(at: u64) -> io::Result<usize> {
    usize::try_from(at).map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl DiskFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.disk.look(Some(self.life), |world| {
            Ok(self.file(world)?.now.len() as u64)
        })
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.hang_if_frozen(&self.path);
        self.disk.look(Some(self.life), |world| {
            let now = &self.file(world)?.now;
            let rest = now
                .get(as_index(offset)?.min(now.len())..)
                .unwrap_or_default();
            let got = rest.len().min(buf.len());
            buf[..got].copy_from_slice(&rest[..got]);
            Ok(got)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let at = as_index(offset)?;
        self.disk.change(
            Operation::Write,
            &self.path,
            Some(self.life),
            |world, cut| world.write(self.id, bytes, at, cut),
        )
    }

    fn write_vectored_at(&self, parts: &mut [io::IoSlice<'_>], offset: u64) -> io::Result<()> {
        let whole: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.write_at(&whole, offset)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let len = as_index(len)?;
        self.disk.change(
            Operation::Truncate,
            &self.path,
            Some(self.life),
            |world, cut| {
                if cut {
                    return Ok(());
                }
                let now_ms = world.now_ms;
                if let Node::File(file) = &mut world.nodes[self.id] {
                    let change = Change::Truncate(len);
                    change.apply(&mut file.now);
                    file.unsynced.push(change);
                    file.modified_ms = now_ms;
                }
                Ok(())
            },
        )
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.change(
            Operation::Sync,
            &self.path,
            Some(self.life),
            |world, cut| {
                if !cut {
                    world.sync(self.id);
                }
                Ok(())
            },
        )
    }

    fn set_modified_ms(&self, ms: i64) -> io::Result<()> {
        let mut world = self.disk.0.lock();
        world.check_alive(Some(self.life))?;
        if let Node::File(file) = &mut world.nodes[self.id] {
            file.modified_ms = ms;
        }
        Ok(())
    }

    fn real(&self) -> Option<&File> {
        None
    }

    fn read_cached(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.disk.1.state.lock().holds(&self.path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.read_at(buf, offset)
    }

    fn is_cached(&self, _offset: u64) -> bool {
        !self.disk.1.state.lock().holds(&self.path)
    }
}

#[derive(Debug)]
struct FaultyLock {
    disk: FaultyDisk,
    path: PathBuf,
    life: u64,
}

impl DiskLock for FaultyLock {
    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for FaultyLock {
    fn drop(&mut self) {
        let mut world = self.disk.0.lock();
        if world.life == self.life {
            world.locks.remove(&self.path);
        }
    }
}

impl FaultyDisk {
    fn make_file(&self, path: &Path) -> io::Result<Id> {
        self.change(Operation::Create, path, None, |world, cut| {
            let (dir, name) = world.find_parent(path)?;
            if cut {
                return Ok(ROOT);
            }
            let id = world.nodes.len();
            let modified_ms = world.now_ms;
            world.nodes.push(Node::File(FileNode {
                modified_ms,
                ..FileNode::default()
            }));
            world.enter(dir, vec![(name, Some(id))])?;
            Ok(id)
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(Operation::Remove, path, None, |world, cut| {
            let (dir, name) = world.find_parent(path)?;
            if !world.dir(dir)?.now.contains_key(&name) {
                return Err(io::ErrorKind::NotFound.into());
            }
            if cut {
                Ok(())
            } else {
                world.enter(dir, vec![(name, None)])
            }
        })
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let (found, life) = self.look(None, |world| Ok((world.find(path), world.life)))?;
        if let Some(fault) = self.0.lock().strike_open(path) {
            return Err(fault);
        }
        let id = match (found, how) {
            (Ok(_), Open::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Ok(id), _) => id,
            (Err(_), Open::Create | Open::CreateNew) => self.make_file(path)?,
            (Err(e), _) => return Err(e),
        };
        if matches!(self.0.lock().nodes[id], Node::Dir(_)) && how != Open::Read {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Arc::new(FaultyFile {
            disk: self.clone(),
            id,
            life,
            path: path.to_path_buf(),
        }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.look(None, |world| {
            let entries = world.dir(world.find(dir)?)?.now.iter();
            Ok(entries
                .map(|(name, id)| Entry {
                    name: name.clone(),
                    is_dir: matches!(world.nodes[*id], Node::Dir(_)),
                    is_link: world.remote == Some(dir.join(name)),
                })
                .collect())
        })
    }

    fn facts(&self, path: &Path) -> io::Result<Facts> {
        self.look(None, |world| {
            Ok(match &world.nodes[world.find(path)?] {
                Node::File(file) => Facts {
                    len: file.now.len() as u64,
                    is_dir: false,
                    modified_ms: file.modified_ms,
                },
                Node::Dir(_) => Facts {
                    len: 0,
                    is_dir: true,
                    modified_ms: 0,
                },
            })
        })
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut at = PathBuf::from("/");
        for part in parts(path) {
            at.push(part);
            if self.exists(&at)? {
                continue;
            }
            self.change(Operation::Create, &at, None, |world, cut| {
                let (dir, name) = world.find_parent(&at)?;
                if cut {
                    return Ok(());
                }
                let id = world.nodes.len();
                world.nodes.push(Node::Dir(DirNode::default()));
                world.enter(dir, vec![(name, Some(id))])
            })?;
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(Operation::Rename, to, None, |world, cut| {
            let (from_dir, from_name) = world.find_parent(from)?;
            let (to_dir, to_name) = world.find_parent(to)?;
            let id = *world
                .dir(from_dir)?
                .now
                .get(&from_name)
                .ok_or(io::ErrorKind::NotFound)?;
            if cut {
                return Ok(());
            }
            if from_dir == to_dir {
                return world.enter(from_dir, vec![(from_name, None), (to_name, Some(id))]);
            }
            world.enter(to_dir, vec![(to_name, Some(id))])?;
            world.enter(from_dir, vec![(from_name, None)])
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.remove(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(Operation::SyncDir, dir, None, |world, cut| {
            let id = world.find(dir)?;
            if !cut {
                world.sync(id);
            }
            Ok(())
        })
    }

    fn file_system(&self, path: &Path) -> io::Result<Arc<dyn FileSystem>> {
        Ok(Arc::new(FaultyFileSystem {
            disk: self.clone(),
            path: path.to_path_buf(),
            heard: Mutex::new(self.0.lock().losses_told),
        }))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        if !self.exists(path)? {
            self.make_file(path)?;
        }
        let mut world = self.0.lock();
        if !world.locks.insert(path.to_path_buf()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let life = world.life;
        Ok(Box::new(FaultyLock {
            disk: self.clone(),
            path: path.to_path_buf(),
            life,
        }))
    }

    fn space(&self, _path: &Path) -> io::Result<(u64, u64)> {
        let world = self.0.lock();
        let total = world.space_max.unwrap_or(1 << 40);
        Ok((total, total.saturating_sub(world.used())))
    }
}

#[derive(Debug)]
struct FaultyFileSystem {
    disk: FaultyDisk,
    path: PathBuf,
    /// The losses that were told here, or to others before this was opened.
    heard: Mutex<u64>,
}

impl FileSystem for FaultyFileSystem {
    fn sync(&self) -> io::Result<()> {
        self.disk
            .change(Operation::Sync, &self.path, None, |world, cut| {
                let mut heard = self.heard.lock();
                if *heard < world.losses {
                    *heard = world.losses;
                    world.losses_told = world.losses;
                    return Err(rustix::io::Errno::IO.into());
                }
                if !cut {
                    world.sync_within_reach(ROOT, Path::new("/"));
                }
                Ok(())
            })
    }

    fn is_thorough(&self) -> bool {
        let world = self.disk.0.lock();
        let remote = world.remote.as_ref();
        remote.is_none_or(|remote| !self.path.starts_with(remote))
    }
}

impl World {
    /// Opening is no change, but it may find the process out of descriptors.
    fn strike_open(&mut self, path: &Path) -> Option<io::Error> {
        let any = self.faults.iter().any(|planned| {
            planned.operation == Operation::Create && planned.fault == Fault::TooManyFiles
        });
        if any {
            self.strike(Operation::Create, path)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable;

    #[test]
    fn a_power_cut_takes_what_was_not_synced_and_leaves_the_rest() {
        let disk = FaultyDisk::new(1);
        disk.create_dir_all(Path::new("/d")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let file = disk.open(Path::new("/d/f"), Open::Create).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.write_at(b"kept", 0).unwrap();
        file.sync().unwrap();
        file.write_at(b"lost", 4).unwrap();
        disk.restart(Restart::PowerLosingAll);
        assert!(file.len().is_err(), "a file of the last life is dead");
        assert_eq!(disk.read_small(Path::new("/d/f"), 100).unwrap(), b"kept");
    }

    #[test]
    fn after_a_failed_sync_a_good_one_does_not_save_the_bytes() {
        let disk = FaultyDisk::new(1);
        let file = disk.open(Path::new("/f"), Open::Create).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        file.write_at(b"gone", 0).unwrap();
        disk.plan(Operation::Sync, "f", Fault::Eio, 0, true);
        assert!(file.sync().is_err());
        file.sync().unwrap();
        disk.restart(Restart::Power);
        assert_eq!(disk.read_small(Path::new("/f"), 100).unwrap(), b"");
    }

    #[test]
    fn a_file_replaced_durably_is_old_or_new_wherever_the_power_fails() {
        for stop in 1.. {
            let disk = FaultyDisk::new(stop);
            let path = Path::new("/f");
            durable::replace(&disk, path, b"old").unwrap();
            disk.stop_at(disk.operations() + stop);
            let done = durable::replace(&disk, path, b"new").is_ok();
            disk.restart(Restart::Power);
            let found = disk.read_small(path, 100).unwrap();
            assert!(
                found == b"new" || (!done && found == b"old"),
                "{stop}: {found:?}"
            );
            if done {
                break;
            }
        }
    }

    #[test]
    fn a_full_disk_takes_what_fits() {
        let disk = FaultyDisk::new(1);
        disk.limit_space(Some(3));
        let file = disk.open(Path::new("/f"), Open::Create).unwrap();
        assert!(file.write_at(b"12345", 0).is_err());
        assert_eq!(file.len().unwrap(), 3);
    }
}
