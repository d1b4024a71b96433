//! The seam to ZooKeeper: nodes, versions, watches, transactions, and the state of the session.
//!
//! Every verb waits while the connection is down and goes on when it is back. What is certain is
//! told apart from what is not: [`Error::Unknown`] means that a write may or may not have been
//! done, because the connection broke before the answer; the caller must look. Reads never give
//! it, they are simply asked again. A session that has ended gives [`Error::SessionEnded`].
//!
//! A watch fires at most once, by calling its [`Listener`]; it survives a reconnect of the same
//! session (what changed meanwhile is told then) and is lost with the session.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;

/// The version that matches any.
pub const ANY: i32 = -1;

/// The largest request that ZooKeeper takes unless its `jute.maxbuffer` says otherwise. Whoever
/// sends more gets no answer: his connection is closed, with all that was asked on it.
pub const REQUEST_BYTES_MAX: usize = 0xf_ffff;
/// More than a step takes besides its path and its data.
const STEP_BYTES: usize = 64;

/// What ZooKeeper knows of a node besides its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    pub czxid: i64,
    pub mzxid: i64,
    pub pzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    pub cversion: i32,
    pub ephemeral_owner: i64,
    pub children: i32,
}

/// A node as read. Null data reads as empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub data: Vec<u8>,
    pub stat: Stat,
}

/// How long a new node lives, and whether its name is completed by a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Persistent,
    Ephemeral,
    PersistentSequential,
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Check {
        path: String,
        version: i32,
    },
    Create {
        path: String,
        data: Vec<u8>,
        kind: Kind,
    },
    Set {
        path: String,
        data: Vec<u8>,
        version: i32,
    },
    Delete {
        path: String,
        version: i32,
    },
}

impl Op {
    pub fn check(path: impl Into<String>, version: i32) -> Self {
        Op::Check {
            path: path.into(),
            version,
        }
    }

    /// A persistent node.
    pub fn create(path: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        Op::Create {
            path: path.into(),
            data: data.into(),
            kind: Kind::Persistent,
        }
    }

    pub fn set(path: impl Into<String>, data: impl Into<Vec<u8>>, version: i32) -> Self {
        Op::Set {
            path: path.into(),
            data: data.into(),
            version,
        }
    }

    pub fn delete(path: impl Into<String>, version: i32) -> Self {
        Op::Delete {
            path: path.into(),
            version,
        }
    }

    pub fn path(&self) -> &str {
        match self {
            Op::Check { path, .. }
            | Op::Create { path, .. }
            | Op::Set { path, .. }
            | Op::Delete { path, .. } => path,
        }
    }

    /// About how many bytes the step takes on the wire.
    pub fn size(&self) -> usize {
        let data = match self {
            Op::Create { data, .. } | Op::Set { data, .. } => data.len(),
            Op::Check { .. } | Op::Delete { .. } => 0,
        };
        step_bytes(self.path(), data)
    }
}

/// What a step of a transaction came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    Checked,
    Created(Created),
    Set(Stat),
    Deleted,
}

impl Done {
    /// The stat after the step, where there is one.
    pub fn stat(&self) -> Option<Stat> {
        match self {
            Done::Created(created) => Some(created.stat),
            Done::Set(stat) => Some(*stat),
            Done::Checked | Done::Deleted => None,
        }
    }
}

/// A node just made: its name may have got a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    pub path: String,
    pub stat: Stat,
}

/// What a watch saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    Created,
    Deleted,
    Data,
    Children,
}

/// A watch that fired.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    pub path: String,
    pub change: Change,
}

/// Who is told when a watch fires. Called once; must not block.
#[derive(Clone)]
pub struct Listener(Arc<dyn Fn(Event) + Send + Sync>);

impl Listener {
    pub fn new(tell: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Listener(Arc::new(tell))
    }

    pub fn tell(&self, event: Event) {
        (self.0)(event);
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

/// What the session is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Connected. `session` is ZooKeeper's number, `term` counts our sessions from 1, `joined`
    /// counts connections of all terms: whoever sees it grow reads again what he relies on.
    Alive {
        session: i64,
        term: u64,
        joined: u64,
    },
    /// The connection is down; the session may still be alive.
    Suspended { session: i64, term: u64 },
    /// The session is gone, or this process believes so. Its ephemeral nodes are or will be gone.
    Expired { session: i64, term: u64 },
    /// Closed by us.
    Closed,
}

impl State {
    pub fn is_alive(self) -> bool {
        matches!(self, State::Alive { .. })
    }

    /// Which of our sessions this is; 0 once closed.
    pub fn term(self) -> u64 {
        match self {
            State::Alive { term, .. }
            | State::Suspended { term, .. }
            | State::Expired { term, .. } => term,
            State::Closed => 0,
        }
    }

    pub fn session(self) -> i64 {
        match self {
            State::Alive { session, .. }
            | State::Suspended { session, .. }
            | State::Expired { session, .. } => session,
            State::Closed => 0,
        }
    }
}

/// Why a verb did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("no such node {path}")]
    NoNode { path: String },
    #[error("node {path} exists")]
    NodeExists { path: String },
    #[error("node {path} has another version")]
    BadVersion { path: String },
    #[error("node {path} has children")]
    NotEmpty { path: String },
    #[error("not allowed on node {path}")]
    NoAuth { path: String },
    /// A transaction was refused by its step `index`; nothing of it was done.
    #[error("step {index} of a transaction refused: {cause}")]
    Step { index: usize, cause: Box<Error> },
    /// The connection broke before the answer: a write may have been done or not.
    #[error("outcome of a write to {path} is unknown: {reason}")]
    Unknown { path: String, reason: String },
    #[error("ZooKeeper session ended")]
    SessionEnded,
    /// Nothing was sent: ZooKeeper would only drop the connection.
    #[error(
        "writing {path} takes a request of {bytes} bytes and ZooKeeper accepts {max}; where its \
         jute.maxbuffer is larger, set zookeeper.request.max.bytes to the same"
    )]
    TooLarge {
        path: String,
        bytes: usize,
        max: usize,
    },
    #[error("ZooKeeper refused {path}: {reason}")]
    Refused { path: String, reason: String },
}

impl Error {
    /// The refusal itself, without the step of a transaction around it.
    pub fn root(&self) -> &Error {
        match self {
            Error::Step { cause, .. } => cause.root(),
            other => other,
        }
    }

    /// Which step of a transaction refused.
    pub fn step(&self) -> Option<usize> {
        match self {
            Error::Step { index, .. } => Some(*index),
            _ => None,
        }
    }

    pub fn is_no_node(&self) -> bool {
        matches!(self.root(), Error::NoNode { .. })
    }

    pub fn is_node_exists(&self) -> bool {
        matches!(self.root(), Error::NodeExists { .. })
    }

    pub fn is_bad_version(&self) -> bool {
        matches!(self.root(), Error::BadVersion { .. })
    }
}

/// About how many bytes a write of so much data takes on the wire.
pub(crate) fn step_bytes(path: &str, data: usize) -> usize {
    path.len() + data + STEP_BYTES
}

/// Whether steps, each with its path and its bytes, fit into one request.
pub(crate) fn check_size<'a>(
    steps: impl Iterator<Item = (&'a str, usize)> + Clone,
    max: usize,
) -> Result<(), Error> {
    let bytes = steps.clone().map(|(_, bytes)| bytes).sum();
    if bytes <= max {
        return Ok(());
    }
    let largest = steps.max_by_key(|(_, bytes)| *bytes);
    Err(Error::TooLarge {
        path: largest.map_or("", |(path, _)| path).to_owned(),
        bytes,
        max,
    })
}

/// The future of a verb. Dropping it does not recall what was sent.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// ZooKeeper, or something that behaves like it.
pub trait Store: Send + Sync + fmt::Debug {
    /// Reads a node. The watch is set only where the node exists.
    fn get<'a>(&'a self, path: &'a str, watch: Option<Listener>) -> Answer<'a, Option<Node>>;

    /// Looks for a node. The watch is set in any case and fires on creation too.
    fn exists<'a>(&'a self, path: &'a str, watch: Option<Listener>) -> Answer<'a, Option<Stat>>;

    /// The names below a node, unsorted; `None` where it does not exist (and no watch then).
    fn list<'a>(
        &'a self,
        path: &'a str,
        watch: Option<Listener>,
    ) -> Answer<'a, Option<Vec<String>>>;

    /// Reads many nodes in few round trips; the answers are in the order asked. Watches are set
    /// on those that exist.
    fn get_many(
        &self,
        paths: Vec<String>,
        watch: Option<Listener>,
    ) -> Answer<'_, Vec<Option<Node>>>;

    fn create<'a>(&'a self, path: &'a str, data: &'a [u8], kind: Kind) -> Answer<'a, Created>;

    fn set<'a>(&'a self, path: &'a str, data: &'a [u8], version: i32) -> Answer<'a, Stat>;

    fn delete<'a>(&'a self, path: &'a str, version: i32) -> Answer<'a, ()>;

    /// All steps or none.
    fn multi(&self, ops: Vec<Op>) -> Answer<'_, Vec<Done>>;

    /// Whether one request can carry these steps; [`Error::TooLarge`] where it cannot. Nobody is
    /// asked, and nothing is written.
    fn fits(&self, ops: &[Op]) -> Result<(), Error> {
        let steps = ops.iter().map(|op| (op.path(), op.size()));
        check_size(steps, REQUEST_BYTES_MAX)
    }

    /// Many transactions sent one behind the other, in order, without waiting in between; each is
    /// answered for itself. The outer error is only for a session that has ended.
    fn multi_all(&self, batches: Vec<Vec<Op>>) -> Answer<'_, Vec<Result<Vec<Done>, Error>>>;

    /// The session's state, now and later.
    fn state(&self) -> watch::Receiver<State>;
}

/// Reads a node and watches it, whether it exists or not.
pub async fn get_watched(
    store: &dyn Store,
    path: &str,
    listener: &Listener,
) -> Result<Option<Node>, Error> {
    loop {
        if let Some(node) = store.get(path, Some(listener.clone())).await? {
            return Ok(Some(node));
        }
        if store.exists(path, Some(listener.clone())).await?.is_none() {
            return Ok(None);
        }
    }
}

/// Creates a persistent node, and its missing parents without data.
pub async fn create_with_parents(
    store: &dyn Store,
    path: &str,
    data: &[u8],
) -> Result<Created, Error> {
    match store.create(path, data, Kind::Persistent).await {
        Err(Error::NoNode { .. }) => {}
        other => return other,
    }
    let mut missing = Vec::new();
    let mut next = crate::paths::parent(path);
    while let Some(parent) = next {
        if store.exists(parent, None).await?.is_some() {
            break;
        }
        missing.push(parent);
        next = crate::paths::parent(parent);
    }
    // None is missing any more where another made it since: brokers that start together all come here.
    for parent in missing.into_iter().rev() {
        match store.create(parent, &[], Kind::Persistent).await {
            Ok(_) | Err(Error::NodeExists { .. } | Error::Unknown { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    store.create(path, data, Kind::Persistent).await
}

/// Sets a node, or creates it with its parents where it is missing.
pub async fn set_or_create(store: &dyn Store, path: &str, data: &[u8]) -> Result<(), Error> {
    loop {
        match store.set(path, data, ANY).await {
            Ok(_) => return Ok(()),
            Err(Error::NoNode { .. }) => {}
            // Writing the same bytes twice does no harm.
            Err(Error::Unknown { .. }) => continue,
            Err(error) => return Err(error),
        }
        match create_with_parents(store, path, data).await {
            Ok(_) => return Ok(()),
            Err(Error::NodeExists { .. } | Error::Unknown { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use base::clock::Clock;

    use super::*;
    use crate::memory::{Memory, World};

    /// Whenever this one finds a parent missing, somebody else makes it in the next moment.
    #[derive(Debug)]
    struct Crowded {
        mine: Memory,
        theirs: Memory,
        parent: &'static str,
    }

    impl Store for Crowded {
        fn get<'a>(&'a self, path: &'a str, watch: Option<Listener>) -> Answer<'a, Option<Node>> {
            self.mine.get(path, watch)
        }

        fn exists<'a>(
            &'a self,
            path: &'a str,
            watch: Option<Listener>,
        ) -> Answer<'a, Option<Stat>> {
            self.mine.exists(path, watch)
        }

        fn list<'a>(
            &'a self,
            path: &'a str,
            watch: Option<Listener>,
        ) -> Answer<'a, Option<Vec<String>>> {
            self.mine.list(path, watch)
        }

        fn get_many(
            &self,
            paths: Vec<String>,
            watch: Option<Listener>,
        ) -> Answer<'_, Vec<Option<Node>>> {
            self.mine.get_many(paths, watch)
        }

        fn create<'a>(&'a self, path: &'a str, data: &'a [u8], kind: Kind) -> Answer<'a, Created> {
            Box::pin(async move {
                let answer = self.mine.create(path, data, kind).await;
                if matches!(answer, Err(Error::NoNode { .. })) {
                    let made = self.theirs.create(self.parent, &[], Kind::Persistent);
                    made.await.unwrap();
                }
                answer
            })
        }

        fn set<'a>(&'a self, path: &'a str, data: &'a [u8], version: i32) -> Answer<'a, Stat> {
            self.mine.set(path, data, version)
        }

        fn delete<'a>(&'a self, path: &'a str, version: i32) -> Answer<'a, ()> {
            self.mine.delete(path, version)
        }

        fn multi(&self, ops: Vec<Op>) -> Answer<'_, Vec<Done>> {
            self.mine.multi(ops)
        }

        fn multi_all(&self, batches: Vec<Vec<Op>>) -> Answer<'_, Vec<Result<Vec<Done>, Error>>> {
            self.mine.multi_all(batches)
        }

        fn state(&self) -> watch::Receiver<State> {
            self.mine.state()
        }
    }

    #[tokio::test]
    async fn a_node_is_made_though_another_makes_its_parent_first() {
        let world = World::new(Clock::by_hand(1));
        let store = Crowded {
            mine: world.connect(),
            theirs: world.connect(),
            parent: "/cluster",
        };
        create_with_parents(&store, "/cluster/id", b"an id")
            .await
            .unwrap();
        let node = store.get("/cluster/id", None).await.unwrap();
        assert_eq!(node.unwrap().data, b"an id");
    }
}
