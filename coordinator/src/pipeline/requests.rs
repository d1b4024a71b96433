//! From frames to what each asks for: a transaction on its way, a read answered or made to wait.

use bytes::Bytes;
use protocol::zookeeper::errors::Code;
use protocol::zookeeper::jute::Reader;
use protocol::zookeeper::ops;
use protocol::zookeeper::replies;
use protocol::zookeeper::requests::{Request, RequestHeader, Write};
use protocol::zookeeper::txns::Txn;
use tracing::warn;

use crate::outbox::LARGE;
use crate::pipeline::connection::{Connection, Waiting};
use crate::pipeline::{Asked, Pipeline, outcome};
use crate::prepare::{Asker, Desk};
use crate::reads::{self, Reading};
use crate::tree::Tree;
use crate::watches::ConnectionId;

impl Pipeline {
    pub(crate) fn frames(&mut self, id: ConnectionId, bytes: &Bytes) {
        if let Some(connection) = self.connections.get(&id) {
            self.sessions
                .touch(connection.session, connection.timeout_ms);
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
        if connection.stalled.is_empty()
            && !connection.is_stuck()
            && !waits_for_room(&self.tree, connection, &frame)
        {
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
            let next = connection.stalled.front();
            if next.is_some_and(|(frame, _)| waits_for_room(&self.tree, connection, frame)) {
                if !self.hungry.contains(&id) {
                    self.hungry.push_back(id);
                }
                return;
            }
            if let Some((frame, since_us)) = connection.stalled.pop_front() {
                self.request(id, frame, since_us);
            }
        }
    }

    /// Takes up requests for what is large, as long as there is room.
    pub(super) fn resume_large(&mut self) {
        for id in std::mem::take(&mut self.hungry) {
            self.resume(id);
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
        let names = connection.ids.len();
        if connection.waiting.is_empty() {
            self.answer_read(asked, request, names);
        } else {
            connection.reads_waiting += 1;
            connection.waiting.push_back(Waiting::Read {
                frame: frame.clone(),
                since_us: asked.since_us,
                names,
            });
        }
    }

    /// Hot path: a read's reply, for one who had shown the first `names` of its names.
    pub(super) fn answer_read(
        &mut self,
        asked: Asked,
        request: Option<&Request<'_>>,
        names: usize,
    ) {
        let id = asked.connection;
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.out.is_empty() {
            self.dirty.push(id);
        }
        // One that is about to end is still there for what was asked before its end.
        let is_over = self.sessions.get(connection.session).is_none();
        match request {
            Some(Request::Unknown) => {
                // ZooKeeper: what is no operation is said so, and ends the connection.
                replies::write_bare(&mut connection.out, asked.xid, -1, Code::UNIMPLEMENTED);
                connection.answered += 1;
                return self.close(id);
            }
            _ if is_over => {
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
                    ids: &connection.ids[..names],
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
        let is_large = connection.out.len() > LARGE;
        let latency_ms = self.note_answer(asked);
        self.stats.reads.add(latency_ms);
        // It counts before another such is begun.
        if is_large {
            self.flush();
        }
    }
}

/// Whether what `frame` asks for is large, and others have to take theirs first, or the client itself is
/// owed answers: several such would be made at once when those have come.
fn waits_for_room(tree: &Tree, connection: &Connection, frame: &[u8]) -> bool {
    if connection.waiting.is_empty() && !connection.outbox.are_all_full() {
        return false;
    }
    let mut reader = Reader::new(frame);
    let Ok(header) = RequestHeader::read(&mut reader) else {
        return false;
    };
    let Ok(request) = Request::read(header.op, &mut reader) else {
        return false;
    };
    if reads::weight(tree, connection.session, &request, LARGE) <= LARGE {
        return false;
    }
    if !connection.waiting.is_empty() {
        return true;
    }
    connection.outbox.starve_for_large();
    // Invariant: room that came before it was asked for is seen here.
    connection.outbox.are_all_full()
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
    // A part that failed is told by the parts; the multi itself is answered as a success.
    outcome(desk.multi(writes, asker))
}
