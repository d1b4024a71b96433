//! The real thing: [`Store`] over the `zookeeper-client` crate, with a session that is renewed.
//!
//! The crate sends a request when its method is called, queues without bound while it is cut off,
//! never makes a new session after an expiry, and doubles its waits between reconnects without a
//! cap. So every verb here waits until the connection is up before it calls, holds one of a few
//! permits while it is in flight, and gives up its answer when the session changes; and one task
//! (the keeper) watches the client's state, replaces a client whose session is gone or has been
//! cut off for a whole session timeout, and tells all of it through [`State`].
//!
//! Invariant: at most one client is current; a term's number is never used twice.

mod reads;

use std::sync::Arc;
use std::time::Duration;

use base::backoff::Backoff;
use base::chance::Chance;
use base::clock::Clock;
use base::metrics::Timings;
use base::stop::{Stop, Stopper};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tracing::{debug, info, warn};
use zookeeper_client as zk;

use crate::paths;
use crate::store::{
    Answer, Change, Created, Done, Error, Event, Kind, Listener, Node, Op, REQUEST_BYTES_MAX, Stat,
    State, Store, check_size, step_bytes,
};

/// Waits between tries for a new session.
const RETRY_FIRST_MS: i64 = 50;
const RETRY_MAX_MS: i64 = 1_000;
/// How long a clean close may take before we stop waiting for it.
const CLOSE_WAIT_MS: i64 = 2_000;
/// Below these, a secured tree lets only its creator read. Kafka: `ZkData.SensitiveRootPaths`.
const SENSITIVE: [&str; 3] = ["/config/users", "/config/brokers", paths::TOKENS];

/// How to reach ZooKeeper.
#[derive(Clone, Debug)]
pub struct Config {
    /// `host:port[,host:port…][/chroot]`.
    pub connect: String,
    pub session_timeout_ms: i64,
    /// Requests in flight at once; transactions and multi-reads count as one.
    pub in_flight_max: usize,
    /// The largest request that the server takes.
    pub request_bytes_max: usize,
    /// `zookeeper.set.acl`: nodes belong to their creator, the world may read most of them.
    pub secure: bool,
    /// Identities shown to the server: scheme and secret.
    pub auth: Vec<(String, Vec<u8>)>,
}

impl Config {
    pub fn new(connect: impl Into<String>) -> Self {
        Config {
            connect: connect.into(),
            session_timeout_ms: 18_000,
            in_flight_max: 10,
            request_bytes_max: REQUEST_BYTES_MAX,
            secure: false,
            auth: vec![],
        }
    }

    /// The hosts without the chroot, and the chroot (empty for none).
    pub fn hosts_and_chroot(&self) -> (&str, &str) {
        match self.connect.find('/') {
            Some(at) => (
                &self.connect[..at],
                self.connect[at..].trim_end_matches('/'),
            ),
            None => (&self.connect, ""),
        }
    }
}

/// A renewed session on a ZooKeeper. Clones share it.
#[derive(Clone, Debug)]
pub struct ZooKeeper(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: Config,
    clock: Clock,
    current: Mutex<Option<zk::Client>>,
    past: Mutex<Vec<i64>>,
    state: watch::Sender<State>,
    permits: Semaphore,
    runtime: Handle,
    stopper: Stopper,
    latency: Timings,
}

impl ZooKeeper {
    /// Opens the first session; fails with [`Error::SessionEnded`] after `within_ms`. Runs its
    /// keeper on the current runtime.
    pub async fn connect(config: Config, clock: Clock, within_ms: i64) -> Result<Self, Error> {
        let (stopper, stop) = base::stop::pair();
        let in_flight = config.in_flight_max.max(1);
        let client = tokio::select! {
            client = connect_until(&config, &clock, &stop) => client,
            () = clock.sleep_ms(within_ms) => None,
        };
        let client = client.ok_or(Error::SessionEnded)?;
        let session = client.session_id().0;
        let (state, _) = watch::channel(State::Alive {
            session,
            term: 1,
            joined: 1,
        });
        let shared = Arc::new(Shared {
            config,
            clock,
            current: Mutex::new(Some(client.clone())),
            past: Mutex::new(vec![]),
            state,
            permits: Semaphore::new(in_flight),
            runtime: Handle::current(),
            stopper,
            latency: Timings::default(),
        });
        info!(session = format!("{session:#x}"), "connected to ZooKeeper");
        base::tasks::spawn("zookeeper keeper", keep(shared.clone(), client, stop));
        Ok(ZooKeeper(shared))
    }

    /// How long requests take, in microseconds.
    pub fn latency(&self) -> &Timings {
        &self.0.latency
    }

    /// The current session's number.
    pub fn session(&self) -> i64 {
        self.0.state.borrow().session()
    }

    /// Sessions this process had before the current one.
    pub fn past_sessions(&self) -> Vec<i64> {
        self.0.past.lock().clone()
    }

    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Closes the session: its ephemeral nodes are gone when this returns, unless the server could
    /// not be reached.
    pub async fn close(&self) {
        self.0.stopper.stop();
        let client = self.0.current.lock().take();
        self.0.state.send_replace(State::Closed);
        let Some(client) = client else { return };
        let mut watcher = client.state_watcher();
        drop(client);
        tokio::select! {
            _last = watcher.changed() => {}
            () = self.0.clock.sleep_ms(CLOSE_WAIT_MS) => {
                warn!("ZooKeeper did not confirm the end of the session; it will expire by itself");
            }
        }
    }
}

/// Tries until it works or stop is said.
async fn connect_until(config: &Config, clock: &Clock, stop: &Stop) -> Option<zk::Client> {
    let chance = Chance::from_kernel();
    let mut backoff = Backoff::new(RETRY_FIRST_MS, RETRY_MAX_MS);
    let mut told = false;
    loop {
        let refused = match stop.unless_said(connect_once(config)).await? {
            Ok(client) => return Some(client),
            Err(refused) => refused,
        };
        if told {
            debug!(connect = config.connect, %refused, "ZooKeeper not reached");
        } else {
            warn!(connect = config.connect, %refused, "ZooKeeper not reached; trying on");
            told = true;
        }
        let rest = clock.sleep_ms(backoff.next_ms(&chance));
        stop.unless_said(rest).await?;
    }
}

async fn connect_once(config: &Config) -> Result<zk::Client, zk::Error> {
    let timeout = u64::try_from(config.session_timeout_ms).unwrap_or(18_000);
    let mut connector = zk::Client::connector()
        .with_session_timeout(Duration::from_millis(timeout))
        .with_fail_eagerly();
    for (scheme, secret) in &config.auth {
        connector = connector.with_auth(scheme, secret);
    }
    let (hosts, chroot) = config.hosts_and_chroot();
    let client = connector.connect(hosts).await?;
    if chroot.is_empty() {
        return Ok(client);
    }
    // Kafka creates a missing chroot (`KafkaZkClient.apply`).
    let options = zk::CreateMode::Persistent.with_acls(zk::Acls::anyone_all());
    let mut at = 0;
    while let Some(next) = chroot[at + 1..]
        .find('/')
        .map(|found| at + 1 + found)
        .or_else(|| (at < chroot.len() - 1).then_some(chroot.len()))
    {
        match client.create(&chroot[..next], &[], &options).await {
            Ok(_) | Err(zk::Error::NodeExists) => {}
            Err(error) => return Err(error),
        }
        if next == chroot.len() {
            break;
        }
        at = next;
    }
    client
        .chroot(chroot)
        .map_err(|_| zk::Error::BadArguments(&"chroot is not a path"))
}

/// Watches the client's state and replaces it when its session is over.
async fn keep(shared: Arc<Shared>, first: zk::Client, stop: Stop) {
    let mut client = first;
    let mut term = 1;
    let mut joined = 1;
    loop {
        let session = client.session_id().0;
        let mut watcher = client.state_watcher();
        // The watcher only tells of later changes, so a break before it was made is looked up.
        let mut now = client.state();
        drop(client);
        loop {
            match now {
                zk::SessionState::SyncConnected | zk::SessionState::ConnectedReadOnly => {
                    if !shared.state.borrow().is_alive() {
                        joined += 1;
                        info!(
                            session = format!("{session:#x}"),
                            "connected to ZooKeeper again"
                        );
                        shared.tell(State::Alive {
                            session,
                            term,
                            joined,
                        });
                    }
                }
                zk::SessionState::Disconnected => {
                    warn!(
                        session = format!("{session:#x}"),
                        "connection to ZooKeeper lost"
                    );
                    shared.tell(State::Suspended { session, term });
                }
                _ => break,
            }
            let suspended = now == zk::SessionState::Disconnected;
            let changed = async {
                let patience = shared.config.session_timeout_ms;
                tokio::select! {
                    changed = watcher.changed() => changed,
                    () = shared.clock.sleep_ms(patience), if suspended => zk::SessionState::Expired,
                }
            };
            // A session that is being closed changes its state as well: that is no news.
            let Some(changed) = stop.unless_said(changed).await else {
                return;
            };
            now = changed;
        }
        warn!(
            session = format!("{session:#x}"),
            "ZooKeeper session is over; opening a new one"
        );
        shared.past.lock().push(session);
        shared.current.lock().take();
        shared.tell(State::Expired { session, term });
        let Some(next) = connect_until(&shared.config, &shared.clock, &stop).await else {
            return;
        };
        term += 1;
        joined += 1;
        let session = next.session_id().0;
        {
            let mut current = shared.current.lock();
            // A close that found no client to wait for leaves none behind.
            if stop.is_stopped() {
                return;
            }
            *current = Some(next.clone());
        }
        info!(session = format!("{session:#x}"), "new ZooKeeper session");
        shared.tell(State::Alive {
            session,
            term,
            joined,
        });
        client = next;
    }
}

impl Shared {
    /// The new state, unless the session was closed: that is the last one.
    fn tell(&self, new: State) {
        self.state.send_if_modified(|now| {
            let goes_on = !matches!(now, State::Closed);
            if goes_on {
                *now = new;
            }
            goes_on
        });
    }

    /// A client that is connected, once there is one; only a close ends the waiting.
    async fn client(&self) -> Result<(zk::Client, u64), Error> {
        let mut state = self.state.subscribe();
        loop {
            let now = *state.borrow_and_update();
            match now {
                State::Alive { term, .. } => {
                    if let Some(client) = self.current.lock().clone() {
                        return Ok((client, term));
                    }
                }
                State::Closed => return Err(Error::SessionEnded),
                State::Suspended { .. } | State::Expired { .. } => {}
            }
            state
                .changed()
                .await
                .map_err(|_closed| Error::SessionEnded)?;
        }
    }

    /// Leave to send one more request, and the client to send it with.
    async fn turn(&self) -> Result<(SemaphorePermit<'_>, zk::Client, u64), Error> {
        let permit = self.permits.acquire().await;
        let permit = permit.map_err(|_closed| Error::SessionEnded)?;
        let (client, term) = self.client().await?;
        Ok((permit, client, term))
    }

    /// The answer, or nothing once the session it was asked under is over.
    async fn within_term<T>(&self, term: u64, answer: impl Future<Output = T>) -> Option<T> {
        let mut state = self.state.subscribe();
        let over = state.wait_for(|now| {
            now.term() != term || matches!(now, State::Expired { .. } | State::Closed)
        });
        tokio::select! {
            biased;
            answer = answer => Some(answer),
            _over = over => None,
        }
    }

    /// Asks a question until it is answered for certain.
    async fn read<T, F>(&self, path: &str, ask: impl Fn(zk::Client) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, zk::Error>>,
    {
        loop {
            let (permit, client, term) = self.turn().await?;
            let began_us = self.clock.monotonic_us();
            let answer = self.within_term(term, ask(client)).await;
            self.latency.note(self.clock.monotonic_us() - began_us);
            drop(permit);
            match answer {
                Some(Ok(found)) => return Ok(found),
                Some(Err(error)) => {
                    if let Some(definite) = definite(path, &error) {
                        return Err(definite);
                    }
                    debug!(path, %error, "read again");
                    // A client that fails without being cut off must not make this spin.
                    self.clock.sleep_ms(10).await;
                }
                None => {}
            }
        }
    }

    /// Sends a change once.
    async fn write<T, F>(&self, path: &str, ask: impl FnOnce(zk::Client) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, zk::Error>>,
    {
        let (_permit, client, term) = self.turn().await?;
        let began_us = self.clock.monotonic_us();
        let answer = self.within_term(term, ask(client)).await;
        self.latency.note(self.clock.monotonic_us() - began_us);
        match answer {
            Some(Ok(done)) => Ok(done),
            Some(Err(error)) => {
                Err(definite(path, &error).unwrap_or_else(|| unknown(path, &error)))
            }
            None => Err(Error::Unknown {
                path: path.to_owned(),
                reason: "session ended".to_owned(),
            }),
        }
    }

    fn watch(&self, watcher: zk::OneshotWatcher, listener: Listener) {
        base::tasks::spawn_on(&self.runtime, "znode watch", async move {
            let event = watcher.changed().await;
            let change = match event.event_type {
                zk::EventType::NodeCreated => Change::Created,
                zk::EventType::NodeDeleted => Change::Deleted,
                zk::EventType::NodeDataChanged => Change::Data,
                zk::EventType::NodeChildrenChanged => Change::Children,
                // The session is over; whoever watches hears that from its state.
                _ => return,
            };
            listener.tell(Event {
                path: event.path,
                change,
            });
        });
    }

    fn check_size<'a>(
        &self,
        steps: impl Iterator<Item = (&'a str, usize)> + Clone,
    ) -> Result<(), Error> {
        let chroot = self.config.hosts_and_chroot().1.len();
        let steps = steps.map(|(path, bytes)| (path, bytes + chroot));
        check_size(steps, self.config.request_bytes_max)
    }

    fn acls(&self, path: &str) -> Vec<zk::Acl> {
        if !self.config.secure || path == "/consumers" {
            return vec![zk::Acl::new(zk::Permission::ALL, zk::AuthId::anyone())];
        }
        let mut acls = vec![zk::Acl::new(zk::Permission::ALL, zk::AuthId::authed())];
        if !SENSITIVE.iter().any(|root| path.starts_with(root)) {
            acls.push(zk::Acl::new(zk::Permission::READ, zk::AuthId::anyone()));
        }
        acls
    }

    fn add_ops(&self, writer: &mut zk::MultiWriter<'_>, ops: &[Op]) -> Result<(), Error> {
        for op in ops {
            let added = match op {
                Op::Check { path, version } => writer.add_check_version(path, *version),
                Op::Create { path, data, kind } => {
                    let acls = self.acls(path);
                    let options = mode(*kind).with_acls(zk::Acls::new(&acls));
                    writer.add_create(path, data, &options)
                }
                Op::Set {
                    path,
                    data,
                    version,
                } => writer.add_set_data(path, data, Some(*version)),
                Op::Delete { path, version } => writer.add_delete(path, Some(*version)),
            };
            added.map_err(|error| refused(op.path(), &error))?;
        }
        Ok(())
    }
}

fn mode(kind: Kind) -> zk::CreateMode {
    match kind {
        Kind::Persistent => zk::CreateMode::Persistent,
        Kind::Ephemeral => zk::CreateMode::Ephemeral,
        Kind::PersistentSequential => zk::CreateMode::PersistentSequential,
    }
}

fn stat_of(stat: &zk::Stat) -> Stat {
    Stat {
        czxid: stat.czxid,
        mzxid: stat.mzxid,
        pzxid: stat.pzxid,
        ctime: stat.ctime,
        mtime: stat.mtime,
        version: stat.version,
        cversion: stat.cversion,
        ephemeral_owner: stat.ephemeral_owner,
        children: stat.num_children,
    }
}

fn refused(path: &str, error: &zk::Error) -> Error {
    Error::Refused {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

fn unknown(path: &str, error: &zk::Error) -> Error {
    Error::Unknown {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

/// What the server surely said; `None` where nobody knows what became of the request.
fn definite(path: &str, error: &zk::Error) -> Option<Error> {
    let path = path.to_owned();
    match error {
        zk::Error::NoNode => Some(Error::NoNode { path }),
        zk::Error::NodeExists => Some(Error::NodeExists { path }),
        zk::Error::BadVersion => Some(Error::BadVersion { path }),
        zk::Error::NotEmpty => Some(Error::NotEmpty { path }),
        zk::Error::NoAuth => Some(Error::NoAuth { path }),
        zk::Error::BadArguments(_)
        | zk::Error::NoChildrenForEphemerals
        | zk::Error::InvalidAcl
        | zk::Error::NotReadOnly
        | zk::Error::QuotaExceeded
        | zk::Error::MarshallingError
        | zk::Error::Unimplemented => Some(refused(&path, error)),
        _ => None,
    }
}

fn multi_error(ops: &[Op], error: zk::MultiWriteError) -> Error {
    match error {
        zk::MultiWriteError::OperationFailed { index, source } => {
            let path = ops.get(index).map_or("", Op::path);
            let cause = definite(path, &source).unwrap_or_else(|| refused(path, &source));
            Error::Step {
                index,
                cause: Box::new(cause),
            }
        }
        zk::MultiWriteError::RequestFailed { source } => {
            let path = ops.first().map_or("", Op::path);
            definite(path, &source).unwrap_or_else(|| unknown(path, &source))
        }
    }
}

fn results(done: Vec<zk::MultiWriteResult>) -> Vec<Done> {
    done.into_iter()
        .map(|one| match one {
            zk::MultiWriteResult::Create { path, stat } => Done::Created(Created {
                path,
                stat: stat_of(&stat),
            }),
            zk::MultiWriteResult::SetData { stat } => Done::Set(stat_of(&stat)),
            zk::MultiWriteResult::Delete => Done::Deleted,
            _ => Done::Checked,
        })
        .collect()
}

impl Store for ZooKeeper {
    fn get<'a>(&'a self, path: &'a str, watch: Option<Listener>) -> Answer<'a, Option<Node>> {
        Box::pin(async move {
            let shared = &self.0;
            let read = if let Some(listener) = watch {
                let answer = shared
                    .read(path, |client| async move {
                        client.get_and_watch_data(path).await
                    })
                    .await;
                answer.map(|(data, stat, watcher)| {
                    shared.watch(watcher, listener);
                    (data, stat)
                })
            } else {
                shared
                    .read(path, |client| async move { client.get_data(path).await })
                    .await
            };
            match read {
                Ok((data, stat)) => Ok(Some(Node {
                    data,
                    stat: stat_of(&stat),
                })),
                Err(Error::NoNode { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn exists<'a>(&'a self, path: &'a str, watch: Option<Listener>) -> Answer<'a, Option<Stat>> {
        Box::pin(async move {
            let shared = &self.0;
            let stat = if let Some(listener) = watch {
                let (stat, watcher) = shared
                    .read(path, |client| async move {
                        client.check_and_watch_stat(path).await
                    })
                    .await?;
                shared.watch(watcher, listener);
                stat
            } else {
                shared
                    .read(path, |client| async move { client.check_stat(path).await })
                    .await?
            };
            Ok(stat.as_ref().map(stat_of))
        })
    }

    fn list<'a>(
        &'a self,
        path: &'a str,
        watch: Option<Listener>,
    ) -> Answer<'a, Option<Vec<String>>> {
        Box::pin(async move {
            let shared = &self.0;
            let read = if let Some(listener) = watch {
                let answer = shared
                    .read(path, |client| async move {
                        client.list_and_watch_children(path).await
                    })
                    .await;
                answer.map(|(names, watcher)| {
                    shared.watch(watcher, listener);
                    names
                })
            } else {
                shared
                    .read(
                        path,
                        |client| async move { client.list_children(path).await },
                    )
                    .await
            };
            match read {
                Ok(names) => Ok(Some(names)),
                Err(Error::NoNode { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn get_many(
        &self,
        paths: Vec<String>,
        watch: Option<Listener>,
    ) -> Answer<'_, Vec<Option<Node>>> {
        Box::pin(async move {
            let mut found = Vec::with_capacity(paths.len());
            for window in paths.chunks(reads::WINDOW) {
                found.extend(self.read_window(window, watch.as_ref()).await?);
            }
            Ok(found)
        })
    }

    fn create<'a>(&'a self, path: &'a str, data: &'a [u8], kind: Kind) -> Answer<'a, Created> {
        Box::pin(async move {
            let bytes = step_bytes(path, data.len());
            self.0.check_size(std::iter::once((path, bytes)))?;
            let acls = self.0.acls(path);
            let acls = &acls;
            let (stat, sequence) = self
                .0
                .write(path, |client| async move {
                    let options = mode(kind).with_acls(zk::Acls::new(acls));
                    client.create(path, data, &options).await
                })
                .await?;
            let path = match kind {
                Kind::PersistentSequential => format!("{path}{sequence}"),
                Kind::Persistent | Kind::Ephemeral => path.to_owned(),
            };
            Ok(Created {
                path,
                stat: stat_of(&stat),
            })
        })
    }

    fn set<'a>(&'a self, path: &'a str, data: &'a [u8], version: i32) -> Answer<'a, Stat> {
        Box::pin(async move {
            let bytes = step_bytes(path, data.len());
            self.0.check_size(std::iter::once((path, bytes)))?;
            let stat = self
                .0
                .write(path, |client| async move {
                    client.set_data(path, data, Some(version)).await
                })
                .await?;
            Ok(stat_of(&stat))
        })
    }

    fn delete<'a>(&'a self, path: &'a str, version: i32) -> Answer<'a, ()> {
        Box::pin(self.0.write(path, move |client| async move {
            client.delete(path, Some(version)).await
        }))
    }

    fn multi(&self, ops: Vec<Op>) -> Answer<'_, Vec<Done>> {
        Box::pin(async move {
            match self.multi_all(vec![ops]).await?.pop() {
                Some(outcome) => outcome,
                None => Ok(vec![]),
            }
        })
    }

    fn fits(&self, ops: &[Op]) -> Result<(), Error> {
        let steps = ops.iter().map(|op| (op.path(), op.size()));
        self.0.check_size(steps)
    }

    fn multi_all(&self, batches: Vec<Vec<Op>>) -> Answer<'_, Vec<Result<Vec<Done>, Error>>> {
        Box::pin(async move {
            let shared = &self.0;
            let mut outcomes = Vec::with_capacity(batches.len());
            for window in batches.chunks(shared.config.in_flight_max.max(1)) {
                let _permit = shared
                    .permits
                    .acquire()
                    .await
                    .map_err(|_closed| Error::SessionEnded)?;
                let (client, term) = shared.client().await?;
                let mut sent = Vec::with_capacity(window.len());
                for ops in window {
                    let mut writer = client.new_multi_writer();
                    let added = self
                        .fits(ops)
                        .and_then(|()| shared.add_ops(&mut writer, ops));
                    // The crate sends here, at the call; the answers are awaited below.
                    sent.push(added.map(|()| writer.commit()));
                }
                for (ops, sent) in window.iter().zip(sent) {
                    outcomes.push(match sent {
                        Err(refused) => Err(refused),
                        Ok(answer) => match shared.within_term(term, answer).await {
                            Some(Ok(done)) => Ok(results(done)),
                            Some(Err(error)) => Err(multi_error(ops, error)),
                            None => Err(Error::Unknown {
                                path: ops.first().map_or("", Op::path).to_owned(),
                                reason: "session ended".to_owned(),
                            }),
                        },
                    });
                }
            }
            Ok(outcomes)
        })
    }

    fn state(&self) -> watch::Receiver<State> {
        self.0.state.subscribe()
    }
}
