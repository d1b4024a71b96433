//! One client as the pipeline sees it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use protocol::zookeeper::types::Id;

use crate::auth;
use crate::outbox::Outbox;
use crate::sasl::digest_md5::Exchange;
use crate::stats::ConnectionStats;

/// Why a request is not answered yet. The front of the queue is what all behind it wait for.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// A transaction of this connection that is on its way to the disk.
    Write,
    /// Everything up to this zxid, whoever wrote it.
    Barrier(i64),
    Read {
        frame: Bytes,
        since_us: i64,
        /// How many of the client's names it had shown by then: it is judged by those.
        names: usize,
    },
}

/// Reads that may wait behind one write: their replies are all made when it is done.
const READS_WAITING_MAX: usize = 32;
/// Names one client may have: each request is judged by all of them.
const NAMES_MAX: usize = 100;
/// The same in bytes.
const NAMES_BYTES_MAX: usize = 256 << 10;

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) peer: SocketAddr,
    /// 0 before the handshake.
    pub(crate) session: i64,
    pub(crate) timeout_ms: i32,
    pub(crate) with_read_only: bool,
    /// Its session is told: whatever else it is sent comes after that.
    pub(crate) welcomed: bool,
    /// A question of SASL's that waits for the client's answer.
    pub(crate) sasl: Option<Exchange>,
    /// Who the client is known to be, in the order it came out.
    pub(crate) ids: Vec<Id>,
    pub(crate) waiting: VecDeque<Waiting>,
    /// How many of these are reads.
    pub(crate) reads_waiting: usize,
    /// Requests not looked at yet, with the moment they came: there is no session yet, the client does
    /// not take its replies, or too many would be made at once.
    pub(crate) stalled: VecDeque<(Bytes, i64)>,
    /// Replies and events not yet left in the outbox.
    pub(crate) out: Vec<u8>,
    /// How many of these bytes tell events.
    pub(crate) events: usize,
    pub(crate) answered: u64,
    pub(crate) stats: ConnectionStats,
}

impl Connection {
    pub(crate) fn new(
        outbox: Arc<Outbox>,
        peer: SocketAddr,
        names: Vec<Id>,
        established_ms: i64,
    ) -> Self {
        let mut ids = vec![auth::ip_id(peer.ip())];
        ids.extend(names);
        Connection {
            outbox,
            peer,
            session: 0,
            timeout_ms: 0,
            with_read_only: false,
            welcomed: false,
            sasl: None,
            ids,
            waiting: VecDeque::new(),
            reads_waiting: 0,
            stalled: VecDeque::new(),
            out: Vec::new(),
            events: 0,
            answered: 0,
            stats: ConnectionStats::new(established_ms),
        }
    }

    /// Whether nothing more is to be looked at for now.
    pub(crate) fn is_stuck(&self) -> bool {
        !self.welcomed
            || self.outbox.is_full(self.out.len())
            || self.reads_waiting >= READS_WAITING_MAX
    }

    /// Notes who the client has shown to be; false where it has more names than anybody needs.
    pub(crate) fn learn(&mut self, names: Vec<Id>) -> bool {
        for name in names {
            if !self.ids.contains(&name) {
                self.ids.push(name);
            }
        }
        let bytes: usize = self
            .ids
            .iter()
            .map(|id| id.scheme.len() + id.id.len())
            .sum();
        self.ids.len() <= NAMES_MAX && bytes <= NAMES_BYTES_MAX
    }

    /// Leaves what was written for the client; false where it must be dropped.
    pub(crate) fn leave(&mut self) -> bool {
        let answered = std::mem::take(&mut self.answered);
        let events = std::mem::take(&mut self.events);
        if self.out.is_empty() && answered == 0 {
            return true;
        }
        self.outbox.leave(&mut self.out, events, answered)
    }

    pub(crate) fn note_answer(&mut self, op: i32, xid: i32, zxid: i64, now_us: i64, ms: i64) {
        self.answered += 1;
        let stats = &mut self.stats;
        stats.whole.sent += 1;
        stats.whole.latency.add(ms);
        stats.last_op = op;
        // A ping's number is none.
        if xid >= 0 {
            stats.last_xid = xid;
        }
        stats.last_zxid = zxid;
        stats.last_response_ms = now_us / 1_000;
        stats.last_latency_ms = ms;
    }
}
