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
pub(crate) mod welcome;
pub(crate) mod sasl;
pub(crate) mod requests;
pub(crate) mod commit;
pub(crate) mod words;
pub(crate) mod run;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use base::chance::Chance;
use bytes::Bytes;
use hashbrown::HashMap;
use protocol::zookeeper::errors::Code;
use protocol::zookeeper::ops;
use protocol::zookeeper::requests::ConnectRequest;
use protocol::zookeeper::txns::{Txn, TxnDigest, TxnHeader};
use protocol::zookeeper::types::Id;
use tokio::sync::Notify;
use tokio::sync::oneshot;

use crate::auth::Schemes;
use crate::config::Config;
use crate::error::Error;
use crate::outbox::Outbox;
use crate::pending::Pending;
use crate::pipeline::connection::{Connection, Waiting};
use crate::prepare::{Asker, Desk, NAMES_ROOM};
use crate::sessions::Sessions;
use crate::stats::Stats;
use crate::store::recover::Recovered;
use crate::store::snapshot::Taking;
use crate::store::txn_log;
use crate::store::writer::{LogPlace, LogWriter, Unsynced};
use crate::tree::{Happened, Tree, digest};
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
    /// Large replies may be made again.
    RoomForLarge,
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
    pub(crate) plain: Option<u16>,
    pub(crate) secure: Option<u16>,
}

pub(crate) struct Pipeline {
    config: Config,
    schemes: Schemes,
    tree: Tree,
    pending: Pending,
    sessions: Sessions,
    /// Sessions that are over and have left nodes in the files.
    dead_sessions: Vec<i64>,
    watches: Watches,
    connections: HashMap<ConnectionId, Connection>,
    /// Connections that have bytes to be sent.
    dirty: Vec<ConnectionId>,
    /// Connections whose next reply is large and waits for others to be taken.
    hungry: VecDeque<ConnectionId>,
    in_flight: VecDeque<InFlight>,
    /// What a transaction has brought about while watchers are told; empty otherwise.
    happened: Vec<Happened>,
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
    /// Not before this is the next piece of it due while writes wait.
    snapshot_goes_on_us: i64,
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
        unsynced: Vec<Unsynced>,
        progress: Arc<Notify>,
        ports: Ports,
    ) -> Result<Self, Error> {
        let (now_ms, wall_ms) = (config.clock.monotonic_ms(), config.clock.wall_ms());
        let mut sessions = Sessions::new(i64::from(config.tick_ms), now_ms, wall_ms);
        for (id, timeout_ms) in &recovered.sessions {
            sessions.restore(*id, *timeout_ms);
        }
        let tree = recovered.tree;
        let place = LogPlace {
            dir: config.logs_dir(),
            unsynced,
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
            dead_sessions: recovered.dead_sessions,
            watches: Watches::default(),
            connections: HashMap::new(),
            dirty: Vec::new(),
            hungry: VecDeque::new(),
            in_flight: VecDeque::new(),
            happened: Vec::new(),
            barriers: VecDeque::new(),
            log,
            log_bytes: Vec::new(),
            log_first: 0,
            since_snapshot: recovered.replayed as u64,
            since_snapshot_bytes: 0,
            snapshot_at: 0,
            snapshot: None,
            snapshot_goes_on_us: 0,
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

    /// Sessions grow older, where clients were listened to meanwhile.
    pub(crate) fn pass_time(&mut self, listened: bool) {
        let now_ms = self.config.clock.monotonic_ms();
        self.sessions.pass_time(now_ms, listened);
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
            Message::RoomForLarge => self.resume_large(),
            Message::Closed { id } => {
                self.forget(id);
                // What it had not taken is nobody's now.
                self.resume_large();
            }
            Message::Word {
                word,
                mask,
                visitor,
                answer,
            } => {
                self.stats.received += 1;
                self.stats.bytes_received += word.len() as u64;
                // Whoever asked may be gone.
                let _gone = answer.send(self.word(word, mask, visitor));
                self.stats.sent += 1;
            }
            Message::Metrics {
                connections,
                answer,
            } => {
                let _gone = answer.send(self.metrics(connections));
            }
        }
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
            names_room: NAMES_ROOM,
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
}

fn outcome(result: Result<Txn, Code>) -> (Txn, Option<Code>) {
    match result {
        Ok(txn) => (txn, None),
        Err(code) => (Txn::Error { code: code.0 }, Some(code)),
    }
}
