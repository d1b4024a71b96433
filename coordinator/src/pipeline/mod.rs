//! The one owner of tree, sessions and watches: prepare → log → apply → reply.
//!
//! A request that changes something becomes a transaction at once, against the tree and what is
//! pending, and goes to the log; when the log has synced it, it is applied and answered. A read is
//! answered from the applied tree, behind the writes of its own connection only.
//!
//! Invariants: transactions are applied in the order of their zxids, each after it is on the disk;
//! replies of a connection leave in the order of its requests; an event leaves before any reply
//! that shows the change; after the log has failed nothing is answered.

pub(crate) mod connection;
pub(crate) mod commit;
pub(crate) mod sasl;
pub(crate) mod words;
pub(crate) mod run;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use base::chance::Chance;
use bytes::Bytes;
use hashbrown::HashMap;
use protocol::zookeeper::errors::Code;
use protocol::zookeeper::jute::Reader;
use protocol::zookeeper::ops;
use protocol::zookeeper::replies::{self, ConnectResponse};
use protocol::zookeeper::requests::{ConnectRequest, Request, RequestHeader, Write};
use protocol::zookeeper::txns::{Txn, TxnDigest, TxnHeader};
use protocol::zookeeper::types::Id;
use tokio::sync::Notify;
use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use crate::auth::Schemes;
use crate::config::Config;
use crate::error::Error;
use crate::outbox::Outbox;
use crate::pending::Pending;
use crate::pipeline::connection::{Connection, Waiting};
use crate::prepare::{Asker, Desk};
use crate::reads::Reading;
use crate::sessions::{self, Sessions};
use crate::stats::Stats;
use crate::store::recover::Recovered;
use crate::store::snapshot::Taking;
use crate::store::txn_log;
use crate::store::writer::{LogPlace, LogWriter};
use crate::tree::{Tree, digest};
use crate::watches::{ConnectionId, Watches};

/// What reaches the pipeline from outside.
pub(crate) enum Message {
    Opened {
        id: ConnectionId,
        outbox: Arc<Outbox>,
        peer: SocketAddr,
        /// Who its certificate says it is.
        names: Vec<Id>,
    },
    Connect {
        id: ConnectionId,
        request: ConnectRequest,
    },
    /// Whole frames, each with its length before it.
    Frames {
        id: ConnectionId,
        bytes: Bytes,
    },
    /// A client that had not taken its replies has taken them.
    Room {
        id: ConnectionId,
    },
    Closed {
        id: ConnectionId,
    },
    Word {
        word: [u8; 4],
        /// What `stmk` sets.
        mask: i64,
        visitor: words::Visitor,
        answer: oneshot::Sender<String>,
    },
    Metrics {
        /// All connections there are.
        connections: usize,
        answer: oneshot::Sender<String>,
    },
}

/// A transaction on its way to the disk.
struct InFlight {
    header: TxnHeader,
    txn: Txn,
    /// Whom to answer, and what was asked.
    asked: Option<Asked>,
}

#[derive(Clone, Copy)]
struct Asked {
    connection: ConnectionId,
    xid: i32,
    op: i32,
    since_us: i64,
    code: Code,
}

/// The ports clients use, as they are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) plain: u16,
    pub(crate) secure: Option<u16>,
}

pub(crate) struct Pipeline {
    config: Config,
    schemes: Schemes,
    tree: Tree,
    pending: Pending,
    sessions: Sessions,
    watches: Watches,
    connections: HashMap<ConnectionId, Connection>,
    /// Connections that have bytes to be sent.
    dirty: Vec<ConnectionId>,
    in_flight: VecDeque<InFlight>,
    /// Connections whose `sync` waits for a zxid.
    barriers: VecDeque<(i64, ConnectionId)>,
    zxid: i64,
    log: LogWriter,
    /// Entries made since the last submission, with the zxid of the first.
    log_bytes: Vec<u8>,
    log_first: i64,
    since_snapshot: u64,
    since_snapshot_bytes: u64,
    snapshot_at: u64,
    snapshot: Option<(Taking, commit::SnapshotFile)>,
    progress: Arc<Notify>,
    chance: Chance,
    stats: Stats,
    started_us: i64,
    ports: Ports,
    /// ZooKeeper's mask of what is traced: kept and told, without effect here.
    trace_mask: i64,
    failed: bool,
}

impl Pipeline {
    pub(crate) fn new(
        config: Config,
        recovered: Recovered,
        progress: Arc<Notify>,
        ports: Ports,
    ) -> Result<Self, Error> {
        let now_ms = config.clock.monotonic_ms();
        let mut sessions = Sessions::new(i64::from(config.tick_ms), config.clock.wall_ms());
        for (id, timeout_ms) in &recovered.sessions {
            sessions.restore(*id, *timeout_ms, now_ms);
        }
        let tree = recovered.tree;
        let place = LogPlace {
            dir: config.logs_dir(),
            preallocate: config.log_preallocate,
            force_sync: config.force_sync,
            slow_ms: config.slow_sync_ms,
        };
        let log = LogWriter::start(
            Arc::clone(&config.disk),
            place,
            config.clock.clone(),
            tree.last_zxid,
            Arc::clone(&progress),
        )?;
        let schemes = Schemes {
            super_digest: config.super_digest.clone(),
            digest: config.digest_auth,
            algorithm: config.digest_algorithm,
            sasl: config.sasl_provider,
            x509: config.x509_provider,
            skip: config.skip_acl,
        };
        let mut pipeline = Pipeline {
            schemes,
            zxid: tree.last_zxid,
            tree,
            pending: Pending::default(),
            sessions,
            watches: Watches::default(),
            connections: HashMap::new(),
            dirty: Vec::new(),
            in_flight: VecDeque::new(),
            barriers: VecDeque::new(),
            log,
            log_bytes: Vec::new(),
            log_first: 0,
            since_snapshot: recovered.replayed as u64,
            since_snapshot_bytes: 0,
            snapshot_at: 0,
            snapshot: None,
            progress,
            chance: Chance::from_kernel(),
            stats: Stats::default(),
            started_us: config.clock.monotonic_us(),
            ports,
            trace_mask: 306,
            failed: false,
            config,
        };
        pipeline.choose_snapshot_point();
        Ok(pipeline)
    }

    /// Whether more may be taken in: the log is not too far behind.
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight.len() < 100_000 && self.log.backlog() < (64 << 20)
    }

    pub(crate) fn handle(&mut self, message: Message) {
        match message {
            Message::Opened {
                id,
                outbox,
                peer,
                names,
            } => {
                if self.failed {
                    outbox.close();
                }
                let wall_ms = self.config.clock.wall_ms();
                self.connections
                    .insert(id, Connection::new(outbox, peer, names, wall_ms));
            }
            Message::Connect { id, request } => self.connect(id, &request),
            Message::Frames { id, bytes } => self.frames(id, &bytes),
            Message::Room { id } => self.resume(id),
            Message::Closed { id } => self.forget(id),
            Message::Word {
                word,
                mask,
                visitor,
                answer,
            } => {
                // Whoever asked may be gone.
                let _gone = answer.send(self.word(word, mask, visitor));
            }
            Message::Metrics {
                connections,
                answer,
            } => {
                let _gone = answer.send(self.metrics(connections));
            }
        }
    }

    fn forget(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        self.watches.remove_watcher(id);
        if self
            .sessions
            .get(connection.session)
            .and_then(|s| s.connection)
            == Some(id)
        {
            self.sessions.attach(connection.session, None);
        }
    }

    /// Ends a connection once what it is owed has been sent.
    fn close(&mut self, id: ConnectionId) {
        let Some(mut connection) = self.connections.remove(&id) else {
            return;
        };
        connection.leave();
        connection.outbox.close();
        self.watches.remove_watcher(id);
        if self
            .sessions
            .get(connection.session)
            .and_then(|s| s.connection)
            == Some(id)
        {
            self.sessions.attach(connection.session, None);
        }
    }

    fn connect(&mut self, id: ConnectionId, request: &ConnectRequest) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if request.last_zxid_seen > self.tree.last_zxid {
            info!(peer = %connection.peer, "a client that has seen more than this server is refused");
            return self.close(id);
        }
        self.stats.received += 1;
        self.stats.connect_requests += 1;
        connection.stats.whole.received += 1;
        let (min, max) = (self.config.min_timeout_ms(), self.config.max_timeout_ms());
        let timeout_ms = request.timeout_ms.max(min).min(max);
        connection.timeout_ms = timeout_ms;
        connection.with_read_only = request.read_only.is_some();
        let now_ms = self.config.clock.monotonic_ms();
        if request.session_id == 0 {
            let session = self.sessions.open(timeout_ms, now_ms, id);
            connection.session = session;
            let asked = self.asked(id, 0, ops::CREATE_SESSION);
            self.begin(session, 0, ops::CREATE_SESSION, asked, |_, _| {
                (Txn::CreateSession { timeout_ms }, None)
            });
            return;
        }
        let session = request.session_id;
        // ZooKeeper: whoever spoke for the session is cut off before the password is looked at.
        let before = self.sessions.get(session).and_then(|s| s.connection);
        if let Some(before) = before
            && before != id
        {
            self.close(before);
        }
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let known = request.password == sessions::password(session)
            && self.sessions.touch(session, timeout_ms, now_ms);
        if !known {
            let refused = ConnectResponse::refused(connection.with_read_only);
            refused.write_frame(&mut connection.out);
            return self.close(id);
        }
        connection.session = session;
        self.sessions.attach(session, Some(id));
        self.welcome(id);
    }

    /// Tells a client the session it has.
    fn welcome(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let response = ConnectResponse {
            timeout_ms: connection.timeout_ms,
            session_id: connection.session,
            password: sessions::password(connection.session),
            with_read_only: connection.with_read_only,
        };
        response.write_frame(&mut connection.out);
        connection.answered += 1;
        connection.stats.whole.sent += 1;
        self.stats.sent += 1;
        self.dirty.push(id);
    }

    fn frames(&mut self, id: ConnectionId, bytes: &Bytes) {
        let now_ms = self.config.clock.monotonic_ms();
        if let Some(connection) = self.connections.get(&id) {
            self.sessions
                .touch(connection.session, connection.timeout_ms, now_ms);
        }
        let since_us = self.config.clock.monotonic_us();
        self.stats.bytes_received += bytes.len() as u64;
        let mut at = 0;
        while let Some(len) = bytes.get(at..at + 4).and_then(|len| len.try_into().ok()) {
            let end = at + 4 + u32::from_be_bytes(len) as usize;
            if end > bytes.len() || !self.connections.contains_key(&id) {
                return;
            }
            self.admit(id, bytes.slice(at + 4..end), since_us);
            at = end;
        }
    }

    /// A request at once, or behind those held back.
    fn admit(&mut self, id: ConnectionId, frame: Bytes, since_us: i64) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.stalled.is_empty() && !connection.is_stuck() {
            return self.request(id, frame, since_us);
        }
        connection.stalled.push_back((frame, since_us));
        self.resume(id);
    }

    /// Takes up requests that were held back, as long as there is room for their replies.
    pub(crate) fn resume(&mut self, id: ConnectionId) {
        while let Some(connection) = self.connections.get_mut(&id) {
            if connection.stalled.is_empty() {
                return;
            }
            if connection.is_stuck() {
                connection.outbox.starve();
                // Invariant: room that came before it was asked for is seen here.
                if connection.is_stuck() {
                    return;
                }
            }
            if let Some((frame, since_us)) = connection.stalled.pop_front() {
                self.request(id, frame, since_us);
            }
        }
    }

    /// Hot path: one request.
    fn request(&mut self, id: ConnectionId, frame: Bytes, since_us: i64) {
        self.stats.received += 1;
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.stats.whole.received += 1;
        let mut reader = Reader::new(&frame);
        let Ok(header) = RequestHeader::read(&mut reader) else {
            warn!(peer = %connection.peer, "a frame too short for a request; closing");
            return self.close(id);
        };
        if connection.session == 0 {
            return self.close(id);
        }
        let request = Request::read(header.op, &mut reader);
        match request {
            Ok(Request::Auth { scheme, auth }) => {
                let scheme = scheme.unwrap_or_default();
                return self.authenticate(id, header.xid, &scheme, auth);
            }
            Ok(Request::Sasl { token }) => {
                // ZooKeeper breaks down over an absent token.
                return match token {
                    Some(token) => self.step_sasl(id, header.xid, token),
                    None => self.close(id),
                };
            }
            _ => {}
        }
        // ZooKeeper hangs up on a proof of who one is that cannot be read.
        if request.is_err() && matches!(header.op, ops::AUTH | ops::SASL) {
            return self.close(id);
        }
        if !self.is_let_in(id, header.xid) {
            return;
        }
        let asked = Asked {
            connection: id,
            xid: header.xid,
            op: header.op,
            since_us,
            code: Code::OK,
        };
        match request {
            // ZooKeeper breaks down over these before they take a zxid.
            Ok(Request::Write(Write::DeleteContainer { path: None })) => {
                self.read(id, asked, None, &frame);
            }
            Ok(Request::Write(write)) => {
                self.begin_for(id, asked, |desk, asker| outcome(desk.write(&write, asker)));
            }
            Ok(Request::Multi(writes)) if lacks_acl(&writes) => {
                self.read(id, asked, None, &frame);
            }
            Ok(Request::Multi(writes)) => {
                self.begin_for(id, asked, |desk, asker| multi_outcome(desk, &writes, asker));
            }
            Ok(Request::CloseSession) => {
                self.begin_for(id, asked, |desk, asker| (desk.close_session(asker), None));
                let session = self.connections.get(&id).map_or(0, |c| c.session);
                self.sessions.set_closing(session);
            }
            // ZooKeeper: a session that has begun may be begun again, and is welcomed again.
            Ok(Request::CreateSession { timeout_ms }) => {
                self.begin_for(id, asked, |_, _| (Txn::CreateSession { timeout_ms }, None));
            }
            Ok(Request::Reconfig) => {
                let code = if self.config.reconfig_enabled {
                    Code::UNIMPLEMENTED
                } else {
                    Code::RECONFIG_DISABLED
                };
                self.begin_for(id, asked, |_, _| outcome(Err(code)));
            }
            // ZooKeeper: these take a zxid although they cannot be read, other requests do not.
            Err(_) if matches!(header.op, ops::MULTI | ops::CREATE_SESSION) => {
                self.begin_for(id, asked, |_, _| outcome(Err(Code::MARSHALLING_ERROR)));
            }
            read => self.read(id, asked, read.as_ref().ok(), &frame),
        }
    }

    /// A read: at once, or behind the writes of the same connection.
    fn read(
        &mut self,
        id: ConnectionId,
        asked: Asked,
        request: Option<&Request<'_>>,
        frame: &Bytes,
    ) {
        let waits_for = match request {
            Some(Request::Sync { .. }) => self.in_flight.back().map(|last| last.header.zxid),
            _ => None,
        };
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if let Some(zxid) = waits_for {
            connection.waiting.push_back(Waiting::Barrier(zxid));
            self.barriers.push_back((zxid, id));
        }
        if connection.waiting.is_empty() {
            self.answer_read(asked, request);
        } else {
            connection.reads_waiting += 1;
            connection.waiting.push_back(Waiting::Read {
                frame: frame.clone(),
                since_us: asked.since_us,
            });
        }
    }

    /// Hot path: a read's reply.
    fn answer_read(&mut self, asked: Asked, request: Option<&Request<'_>>) {
        let id = asked.connection;
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.out.is_empty() {
            self.dirty.push(id);
        }
        let closing = self
            .sessions
            .get(connection.session)
            .is_none_or(|session| session.closing);
        match request {
            Some(Request::Unknown) => {
                // ZooKeeper: what is no operation is said so, and ends the connection.
                replies::write_bare(&mut connection.out, asked.xid, -1, Code::UNIMPLEMENTED);
                connection.answered += 1;
                return self.close(id);
            }
            _ if closing => {
                let zxid = self.tree.last_zxid;
                replies::write_bare(&mut connection.out, asked.xid, zxid, Code::SESSION_EXPIRED);
            }
            None | Some(Request::Multi(_) | Request::Write(_)) => {
                let zxid = self.tree.last_zxid;
                replies::write_bare(
                    &mut connection.out,
                    asked.xid,
                    zxid,
                    Code::MARSHALLING_ERROR,
                );
            }
            Some(request) => {
                let mut reading = Reading {
                    tree: &self.tree,
                    watches: &mut self.watches,
                    schemes: &self.schemes,
                    ids: &connection.ids,
                    session: connection.session,
                    connection: id,
                };
                // ZooKeeper: a ping is answered under its own number whatever was sent.
                let xid = if matches!(request, Request::Ping) {
                    ops::XID_PING
                } else {
                    asked.xid
                };
                reading.answer(request, xid, &mut connection.out);
            }
        }
        let latency_ms = self.note_answer(asked);
        self.stats.reads.add(latency_ms);
    }

    /// Counts an answer; how long it took.
    fn note_answer(&mut self, asked: Asked) -> i64 {
        let now_us = self.config.clock.monotonic_us();
        let latency_ms = (now_us - asked.since_us).max(0) / 1_000;
        self.stats.sent += 1;
        self.stats.latency.add(latency_ms);
        if let Some(connection) = self.connections.get_mut(&asked.connection) {
            connection.note_answer(asked.op, asked.xid, self.tree.last_zxid, now_us, latency_ms);
        }
        latency_ms
    }

    fn asked(&self, connection: ConnectionId, xid: i32, op: i32) -> Asked {
        let since_us = self.config.clock.monotonic_us();
        Asked {
            connection,
            xid,
            op,
            since_us,
            code: Code::OK,
        }
    }

    fn begin_for(
        &mut self,
        id: ConnectionId,
        asked: Asked,
        prepare: impl FnOnce(&mut Desk<'_>, Asker<'_>) -> (Txn, Option<Code>),
    ) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let session = connection.session;
        let live = self
            .sessions
            .get(session)
            .is_some_and(|session| !session.closing);
        if live || asked.op == ops::CLOSE_SESSION {
            self.begin(session, asked.xid, asked.op, asked, prepare);
        } else {
            self.begin(session, asked.xid, asked.op, asked, |_, _| {
                outcome(Err(Code::SESSION_EXPIRED))
            });
        }
    }

    /// Prepares a transaction and sends it to the log.
    fn begin(
        &mut self,
        session: i64,
        cxid: i32,
        op: i32,
        asked: Asked,
        prepare: impl FnOnce(&mut Desk<'_>, Asker<'_>) -> (Txn, Option<Code>),
    ) {
        let id = asked.connection;
        let ids = self.connections.get_mut(&id).map(|connection| {
            connection.waiting.push_back(Waiting::Write);
            std::mem::take(&mut connection.ids)
        });
        let ids = ids.unwrap_or_default();
        self.begin_by(session, cxid, op, Some(asked), &ids, prepare);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.ids = ids;
        }
    }

    fn begin_by(
        &mut self,
        session: i64,
        cxid: i32,
        op: i32,
        asked: Option<Asked>,
        ids: &[Id],
        prepare: impl FnOnce(&mut Desk<'_>, Asker<'_>) -> (Txn, Option<Code>),
    ) {
        self.zxid += 1;
        let time_ms = self.config.clock.wall_ms();
        let asker = Asker {
            ids,
            session,
            zxid: self.zxid,
            time_ms,
        };
        let mut desk = Desk {
            tree: &self.tree,
            pending: &mut self.pending,
            schemes: &self.schemes,
            enforce_quota: self.config.enforce_quota,
        };
        let (txn, code) = prepare(&mut desk, asker);
        // A refused request is in the log too; a multi stays one, its parts tell.
        let op = if matches!(txn, Txn::Error { .. }) {
            ops::ERROR
        } else {
            op
        };
        let header = TxnHeader {
            session_id: session,
            cxid,
            zxid: self.zxid,
            time_ms,
            op,
        };
        let digest = (op != ops::ERROR).then(|| TxnDigest {
            version: digest::VERSION,
            tree: self.pending.digest(&self.tree).cast_signed(),
        });
        if self.log_bytes.is_empty() {
            self.log_first = self.zxid;
        }
        let before = self.log_bytes.len();
        txn_log::encode(&mut self.log_bytes, &header, &txn, digest.as_ref());
        self.since_snapshot_bytes += (self.log_bytes.len() - before) as u64;
        let asked = asked.map(|asked| Asked {
            code: code.unwrap_or(Code::OK),
            ..asked
        });
        self.in_flight.push_back(InFlight { header, txn, asked });
        self.since_snapshot += 1;
    }

    fn is_let_in(&mut self, id: ConnectionId, xid: i32) -> bool {
        let wanted = &self.config.enforce_auth_schemes;
        let Some(connection) = self.connections.get_mut(&id) else {
            return false;
        };
        if wanted.is_empty() || connection.ids.iter().any(|id| wanted.contains(&id.scheme)) {
            return true;
        }
        let code = Code::SESSION_CLOSED_REQUIRE_SASL_AUTH;
        replies::write_bare(&mut connection.out, xid, 0, code);
        self.close(id);
        false
    }

    fn authenticate(&mut self, id: ConnectionId, xid: i32, scheme: &str, secret: Option<&[u8]>) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        self.dirty.push(id);
        connection.answered += 1;
        match self
            .schemes
            .authenticate(scheme, secret, connection.peer.ip())
        {
            Some(ids) => {
                for id in ids {
                    if !connection.ids.contains(&id) {
                        connection.ids.push(id);
                    }
                }
                replies::write_bare(&mut connection.out, xid, 0, Code::OK);
            }
            None => {
                self.stats.auth_failures += 1;
                debug!(peer = %connection.peer, scheme, "authentication failed");
                replies::write_bare(&mut connection.out, xid, 0, Code::AUTH_FAILED);
                self.close(id);
            }
        }
    }
}

fn outcome(result: Result<Txn, Code>) -> (Txn, Option<Code>) {
    match result {
        Ok(txn) => (txn, None),
        Err(code) => (Txn::Error { code: code.0 }, Some(code)),
    }
}

/// Whether a part that creates has no access list at all.
fn lacks_acl(writes: &[Write<'_>]) -> bool {
    writes
        .iter()
        .any(|write| matches!(write, Write::Create(create) if create.acl.is_none()))
}

fn multi_outcome(
    desk: &mut Desk<'_>,
    writes: &[Write<'_>],
    asker: Asker<'_>,
) -> (Txn, Option<Code>) {
    // ZooKeeper: an absent path fails the whole as a request that cannot be read.
    if writes.iter().any(|write| write.path().is_none()) {
        return outcome(Err(Code::MARSHALLING_ERROR));
    }
    // What failed is told by the parts; the multi itself is answered as a success.
    (desk.multi(writes, asker).0, None)
}
