//! ZooKeeper in memory: the same versions, zxids, watches, transactions and sessions.
//!
//! For the tests of whoever decides. [`World`] is the tree; [`World::connect`] opens a session on
//! it, and the handle it gives is a [`Store`]. A session can be cut (its verbs wait), expired (its
//! ephemeral nodes go) or closed. Nothing here takes time: a verb is done when it is polled, and
//! watches fire before the verb that caused them returns, as ZooKeeper's do.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use base::clock::Clock;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::bodies::broker::{Broker, Endpoint, VERSION};
use crate::paths;
use crate::store::{
    ANY, Answer, Change, Created, Done, Error, Event, Kind, Listener, Node, Op, Stat, State, Store,
};

/// One tree and its sessions. Clones share them.
#[derive(Clone, Debug)]
pub struct World(Arc<Mutex<Tree>>);

#[derive(Debug)]
struct Tree {
    clock: Clock,
    zxid: i64,
    nodes: BTreeMap<String, Held>,
    sessions: HashMap<i64, watch::Sender<State>>,
    next_session: i64,
    watches: BTreeMap<(String, Sort), Vec<(i64, Listener)>>,
    writes: u64,
    forbidden: BTreeSet<(String, Access)>,
}

/// What a broker of a test says of itself.
pub fn broker_body(port: i32) -> Broker {
    let endpoint = Endpoint {
        listener: "PLAINTEXT".to_owned(),
        protocol: "PLAINTEXT".to_owned(),
        host: "h".to_owned(),
        port,
    };
    Broker {
        version: VERSION,
        endpoints: vec![endpoint],
        rack: None,
        features: vec![],
        jmx_port: -1,
        timestamp: 1,
    }
}

/// What an access list may keep others from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    Read,
    /// Setting a node, or creating one of this path.
    Write,
    Delete,
    /// Looking whether a node exists; ZooKeeper 3.9.5 keeps that from others, older ones did not.
    Look,
}

/// Data watches fire on data and deletion, existence watches on creation too, child watches on
/// a change of the names below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Data,
    Children,
}

#[derive(Clone, Debug)]
struct Held {
    data: Vec<u8>,
    stat: Stat,
    names: BTreeSet<String>,
}

/// One session on a [`World`].
#[derive(Clone, Debug)]
pub struct Memory {
    world: World,
    session: i64,
    state: watch::Receiver<State>,
}

impl World {
    pub fn new(clock: Clock) -> Self {
        let mut nodes = BTreeMap::new();
        nodes.insert(
            "/".to_owned(),
            Held {
                data: vec![],
                stat: Stat::default(),
                names: BTreeSet::new(),
            },
        );
        World(Arc::new(Mutex::new(Tree {
            clock,
            zxid: 0,
            nodes,
            sessions: HashMap::new(),
            next_session: 0x1000,
            watches: BTreeMap::new(),
            writes: 0,
            forbidden: BTreeSet::new(),
        })))
    }

    /// A new session, alive at once.
    pub fn connect(&self) -> Memory {
        let mut tree = self.0.lock();
        tree.next_session += 1;
        let session = tree.next_session;
        let (sender, state) = watch::channel(State::Alive {
            session,
            term: 1,
            joined: 1,
        });
        tree.sessions.insert(session, sender);
        Memory {
            world: self.clone(),
            session,
            state,
        }
    }

    /// Cuts the connection of a session: its verbs wait until [`World::rejoin`] or expiry.
    pub fn cut(&self, session: i64) {
        let tree = self.0.lock();
        if let Some(state) = tree.sessions.get(&session) {
            state.send_replace(State::Suspended { session, term: 1 });
        }
    }

    pub fn rejoin(&self, session: i64) {
        let tree = self.0.lock();
        if let Some(state) = tree.sessions.get(&session) {
            state.send_modify(|now| {
                if let State::Suspended { session, term } = *now {
                    *now = State::Alive {
                        session,
                        term,
                        joined: 2,
                    };
                }
            });
        }
    }

    /// Ends a session as a missed heartbeat does: its ephemeral nodes go, its watches with it.
    pub fn expire(&self, session: i64) {
        self.end(session, State::Expired { session, term: 1 });
    }

    fn end(&self, session: i64, last: State) {
        let fired = {
            let mut tree = self.0.lock();
            let Some(state) = tree.sessions.remove(&session) else {
                return;
            };
            for listeners in tree.watches.values_mut() {
                listeners.retain(|(owner, _)| *owner != session);
            }
            let mut mine: Vec<String> = tree
                .nodes
                .iter()
                .filter(|(_, held)| held.stat.ephemeral_owner == session)
                .map(|(path, _)| path.clone())
                .collect();
            mine.sort_by_key(|path| std::cmp::Reverse(path.len()));
            tree.zxid += 1;
            let mut fired = Vec::new();
            for path in mine {
                // An ephemeral node has no children, so its deletion cannot be refused.
                let _gone = tree.delete(&path, ANY, &mut fired);
            }
            state.send_replace(last);
            fired
        };
        tell(fired);
    }

    /// How many changes were made so far; for bounds in tests.
    pub fn writes(&self) -> u64 {
        self.0.lock().writes
    }

    /// Nobody may do that with the node any more.
    pub fn forbid(&self, path: &str, access: Access) {
        self.0.lock().forbidden.insert((path.to_owned(), access));
    }

    /// Everybody may again.
    pub fn allow(&self, path: &str, access: Access) {
        self.0.lock().forbidden.remove(&(path.to_owned(), access));
    }

    /// Every path with its data, sorted; for comparing whole trees.
    pub fn dump(&self) -> Vec<(String, String)> {
        let tree = self.0.lock();
        tree.nodes
            .iter()
            .map(|(path, held)| {
                (
                    path.clone(),
                    String::from_utf8_lossy(&held.data).into_owned(),
                )
            })
            .collect()
    }
}

fn tell(fired: Vec<(Listener, Event)>) {
    for (listener, event) in fired {
        listener.tell(event);
    }
}

impl Tree {
    fn check_access(&self, path: &str, access: Access) -> Result<(), Error> {
        let path = path.to_owned();
        match self.forbidden.contains(&(path.clone(), access)) {
            true => Err(Error::NoAuth { path }),
            false => Ok(()),
        }
    }

    /// What is not there has no access list.
    fn check_readable(&self, path: &str) -> Result<(), Error> {
        match self.nodes.contains_key(path) {
            true => self.check_access(path, Access::Read),
            false => Ok(()),
        }
    }

    fn check_seen(&self, path: &str) -> Result<(), Error> {
        match self.nodes.contains_key(path) {
            true => self.check_access(path, Access::Look),
            false => Ok(()),
        }
    }

    fn check(&self, path: &str, version: i32) -> Result<&Held, Error> {
        let held = self.nodes.get(path).ok_or_else(|| Error::NoNode {
            path: path.to_owned(),
        })?;
        if version != ANY && held.stat.version != version {
            return Err(Error::BadVersion {
                path: path.to_owned(),
            });
        }
        Ok(held)
    }

    fn fire(&mut self, path: &str, change: Change, fired: &mut Vec<(Listener, Event)>) {
        let sorts: &[Sort] = match change {
            Change::Created | Change::Data => &[Sort::Data],
            Change::Children => &[Sort::Children],
            Change::Deleted => &[Sort::Data, Sort::Children],
        };
        for sort in sorts {
            for (_, listener) in self
                .watches
                .remove(&(path.to_owned(), *sort))
                .unwrap_or_default()
            {
                fired.push((
                    listener,
                    Event {
                        path: path.to_owned(),
                        change,
                    },
                ));
            }
        }
    }

    fn create(
        &mut self,
        session: i64,
        path: &str,
        data: &[u8],
        kind: Kind,
        fired: &mut Vec<(Listener, Event)>,
    ) -> Result<Created, Error> {
        let parent_path = paths::parent(path).unwrap_or("/").to_owned();
        let zxid = self.zxid;
        let now = self.clock.wall_ms();
        let parent = self
            .nodes
            .get_mut(&parent_path)
            .ok_or_else(|| Error::NoNode {
                path: path.to_owned(),
            })?;
        let path = match kind {
            Kind::PersistentSequential => format!("{path}{:010}", parent.stat.cversion),
            Kind::Persistent | Kind::Ephemeral => path.to_owned(),
        };
        if !parent.names.insert(paths::name(&path).to_owned()) {
            return Err(Error::NodeExists { path });
        }
        parent.stat.cversion += 1;
        parent.stat.pzxid = zxid;
        parent.stat.children += 1;
        let stat = Stat {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: now,
            mtime: now,
            ephemeral_owner: if kind == Kind::Ephemeral { session } else { 0 },
            ..Stat::default()
        };
        self.nodes.insert(
            path.clone(),
            Held {
                data: data.to_vec(),
                stat,
                names: BTreeSet::new(),
            },
        );
        self.fire(&path, Change::Created, fired);
        self.fire(&parent_path, Change::Children, fired);
        Ok(Created { path, stat })
    }

    fn set(
        &mut self,
        path: &str,
        data: &[u8],
        version: i32,
        fired: &mut Vec<(Listener, Event)>,
    ) -> Result<Stat, Error> {
        self.check(path, version)?;
        let (zxid, now) = (self.zxid, self.clock.wall_ms());
        let held = self.nodes.get_mut(path).ok_or_else(|| Error::NoNode {
            path: path.to_owned(),
        })?;
        held.data = data.to_vec();
        held.stat.version += 1;
        held.stat.mzxid = zxid;
        held.stat.mtime = now;
        let stat = held.stat;
        self.fire(path, Change::Data, fired);
        Ok(stat)
    }

    fn delete(
        &mut self,
        path: &str,
        version: i32,
        fired: &mut Vec<(Listener, Event)>,
    ) -> Result<(), Error> {
        if !self.check(path, version)?.names.is_empty() {
            return Err(Error::NotEmpty {
                path: path.to_owned(),
            });
        }
        let parent_path = paths::parent(path).unwrap_or("/").to_owned();
        let zxid = self.zxid;
        self.nodes.remove(path);
        if let Some(parent) = self.nodes.get_mut(&parent_path) {
            parent.names.remove(paths::name(path));
            parent.stat.cversion += 1;
            parent.stat.pzxid = zxid;
            parent.stat.children -= 1;
        }
        self.fire(path, Change::Deleted, fired);
        self.fire(&parent_path, Change::Children, fired);
        Ok(())
    }

    fn apply(
        &mut self,
        session: i64,
        op: &Op,
        fired: &mut Vec<(Listener, Event)>,
    ) -> Result<Done, Error> {
        match op {
            Op::Check { .. } => {}
            Op::Create { .. } | Op::Set { .. } => self.check_access(op.path(), Access::Write)?,
            Op::Delete { .. } => self.check_access(op.path(), Access::Delete)?,
        }
        match op {
            Op::Check { path, version } => self.check(path, *version).map(|_| Done::Checked),
            Op::Create { path, data, kind } => self
                .create(session, path, data, *kind, fired)
                .map(Done::Created),
            Op::Set {
                path,
                data,
                version,
            } => self.set(path, data, *version, fired).map(Done::Set),
            Op::Delete { path, version } => {
                self.delete(path, *version, fired).map(|()| Done::Deleted)
            }
        }
    }
}

impl Memory {
    pub fn session(&self) -> i64 {
        self.session
    }

    pub fn world(&self) -> &World {
        &self.world
    }

    /// Closes the session: its ephemeral nodes go at once.
    pub fn close(&self) {
        self.world.end(self.session, State::Closed);
    }

    async fn ready(&self) -> Result<(), Error> {
        let mut state = self.state.clone();
        loop {
            match *state.borrow_and_update() {
                State::Alive { .. } => return Ok(()),
                State::Suspended { .. } => {}
                State::Expired { .. } | State::Closed => return Err(Error::SessionEnded),
            }
            state
                .changed()
                .await
                .map_err(|_closed| Error::SessionEnded)?;
        }
    }

    fn read<T>(
        &self,
        path: &str,
        watch: Option<(Listener, Sort, bool)>,
        take: impl FnOnce(&Held) -> T,
    ) -> Option<T> {
        let mut tree = self.world.0.lock();
        let found = tree.nodes.get(path).map(take);
        if let Some((listener, sort, missing_too)) = watch
            && (found.is_some() || missing_too)
        {
            tree.watches
                .entry((path.to_owned(), sort))
                .or_default()
                .push((self.session, listener));
        }
        found
    }

    fn write(&self, ops: &[Op]) -> Result<Vec<Done>, Error> {
        self.fits(ops)?;
        let mut fired = Vec::new();
        let outcome = {
            let mut tree = self.world.0.lock();
            tree.zxid += 1;
            let before = (ops.len() > 1).then(|| (tree.nodes.clone(), tree.watches.clone()));
            let mut done = Vec::with_capacity(ops.len());
            let mut refused = None;
            for (index, op) in ops.iter().enumerate() {
                match tree.apply(self.session, op, &mut fired) {
                    Ok(one) => done.push(one),
                    Err(cause) => {
                        refused = Some((index, cause));
                        break;
                    }
                }
            }
            match refused {
                None => {
                    tree.writes += 1;
                    Ok(done)
                }
                Some((index, cause)) => {
                    fired.clear();
                    if let Some((nodes, watches)) = before {
                        tree.nodes = nodes;
                        tree.watches = watches;
                    }
                    Err(Error::Step {
                        index,
                        cause: Box::new(cause),
                    })
                }
            }
        };
        tell(fired);
        outcome
    }

    async fn one(&self, op: Op) -> Result<Done, Error> {
        self.ready().await?;
        match self.write(&[op]) {
            Ok(mut done) => done.pop().ok_or(Error::SessionEnded),
            Err(Error::Step { cause, .. }) => Err(*cause),
            Err(error) => Err(error),
        }
    }
}

impl Store for Memory {
    fn get<'a>(&'a self, path: &'a str, watch: Option<Listener>) -> Answer<'a, Option<Node>> {
        Box::pin(async move {
            self.ready().await?;
            self.world.0.lock().check_readable(path)?;
            let watch = watch.map(|listener| (listener, Sort::Data, false));
            Ok(self.read(path, watch, |held| Node {
                data: held.data.clone(),
                stat: held.stat,
            }))
        })
    }

    fn exists<'a>(&'a self, path: &'a str, watch: Option<Listener>) -> Answer<'a, Option<Stat>> {
        Box::pin(async move {
            self.ready().await?;
            self.world.0.lock().check_seen(path)?;
            let watch = watch.map(|listener| (listener, Sort::Data, true));
            Ok(self.read(path, watch, |held| held.stat))
        })
    }

    fn list<'a>(
        &'a self,
        path: &'a str,
        watch: Option<Listener>,
    ) -> Answer<'a, Option<Vec<String>>> {
        Box::pin(async move {
            self.ready().await?;
            let watch = watch.map(|listener| (listener, Sort::Children, false));
            Ok(self.read(path, watch, |held| held.names.iter().cloned().collect()))
        })
    }

    fn get_many(
        &self,
        paths: Vec<String>,
        watch: Option<Listener>,
    ) -> Answer<'_, Vec<Option<Node>>> {
        Box::pin(async move {
            self.ready().await?;
            // One that may not be read fails the whole request.
            for path in &paths {
                self.world.0.lock().check_readable(path)?;
            }
            Ok(paths
                .iter()
                .map(|path| {
                    let watch = watch.clone().map(|listener| (listener, Sort::Data, false));
                    self.read(path, watch, |held| Node {
                        data: held.data.clone(),
                        stat: held.stat,
                    })
                })
                .collect())
        })
    }

    fn create<'a>(&'a self, path: &'a str, data: &'a [u8], kind: Kind) -> Answer<'a, Created> {
        Box::pin(async move {
            let op = Op::Create {
                path: path.to_owned(),
                data: data.to_vec(),
                kind,
            };
            match self.one(op).await? {
                Done::Created(created) => Ok(created),
                _ => Err(Error::SessionEnded),
            }
        })
    }

    fn set<'a>(&'a self, path: &'a str, data: &'a [u8], version: i32) -> Answer<'a, Stat> {
        Box::pin(async move {
            match self.one(Op::set(path, data, version)).await? {
                Done::Set(stat) => Ok(stat),
                _ => Err(Error::SessionEnded),
            }
        })
    }

    fn delete<'a>(&'a self, path: &'a str, version: i32) -> Answer<'a, ()> {
        Box::pin(async move { self.one(Op::delete(path, version)).await.map(|_| ()) })
    }

    fn multi(&self, ops: Vec<Op>) -> Answer<'_, Vec<Done>> {
        Box::pin(async move {
            self.ready().await?;
            self.write(&ops)
        })
    }

    fn multi_all(&self, batches: Vec<Vec<Op>>) -> Answer<'_, Vec<Result<Vec<Done>, Error>>> {
        Box::pin(async move {
            self.ready().await?;
            Ok(batches.iter().map(|ops| self.write(ops)).collect())
        })
    }

    fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{create_with_parents, get_watched};

    fn noting() -> (Listener, Arc<Mutex<Vec<Event>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        (Listener::new(move |event| sink.lock().push(event)), seen)
    }

    #[tokio::test]
    async fn a_refused_step_undoes_the_whole_transaction() {
        let store = World::new(Clock::by_hand(1)).connect();
        store.create("/a", b"1", Kind::Persistent).await.unwrap();
        let (listener, seen) = noting();
        store.get("/a", Some(listener)).await.unwrap();
        let refused = store
            .multi(vec![Op::set("/a", "2", 0), Op::check("/a", 7)])
            .await
            .unwrap_err();
        assert_eq!(refused.step(), Some(1));
        assert!(refused.is_bad_version() && seen.lock().is_empty());
        assert_eq!(store.get("/a", None).await.unwrap().unwrap().data, b"1");
        store
            .multi(vec![Op::check("/a", 0), Op::set("/a", "2", 0)])
            .await
            .unwrap();
        assert_eq!(seen.lock().len(), 1);
    }

    #[tokio::test]
    async fn an_expired_session_takes_its_ephemeral_nodes_along() {
        let world = World::new(Clock::by_hand(1));
        let (mine, other) = (world.connect(), world.connect());
        create_with_parents(&mine, "/brokers/ids", &[])
            .await
            .unwrap();
        mine.create("/brokers/ids/1", b"x", Kind::Ephemeral)
            .await
            .unwrap();
        let (listener, seen) = noting();
        assert!(
            get_watched(&other, "/brokers/ids/1", &listener)
                .await
                .unwrap()
                .is_some()
        );
        other
            .list("/brokers/ids", Some(listener.clone()))
            .await
            .unwrap();
        world.expire(mine.session());
        let changes: Vec<Change> = seen.lock().iter().map(|event| event.change).collect();
        assert_eq!(changes, [Change::Deleted, Change::Children]);
        assert_eq!(mine.get("/", None).await, Err(Error::SessionEnded));
    }

    #[tokio::test]
    async fn sequential_names_count_up() {
        let store = World::new(Clock::by_hand(1)).connect();
        store.create("/c", b"", Kind::Persistent).await.unwrap();
        for number in 0..2 {
            let made = store
                .create("/c/n_", b"", Kind::PersistentSequential)
                .await
                .unwrap();
            assert_eq!(made.path, format!("/c/n_{number:010}"));
        }
    }
}
