//! How a client comes in, shows who it is, and goes.

use protocol::zookeeper::errors::Code;
use protocol::zookeeper::ops;
use protocol::zookeeper::replies::{self, ConnectResponse};
use protocol::zookeeper::requests::ConnectRequest;
use protocol::zookeeper::txns::Txn;
use tracing::{debug, info};

use crate::pipeline::Pipeline;
use crate::sessions;
use crate::watches::ConnectionId;

impl Pipeline {
    pub(crate) fn connect(&mut self, id: ConnectionId, request: &ConnectRequest) {
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
        if request.session_id == 0 {
            let session = self.sessions.open(timeout_ms, id);
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
            && self.sessions.touch(session, timeout_ms);
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
    pub(crate) fn welcome(&mut self, id: ConnectionId) {
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
        connection.welcomed = true;
        connection.answered += 1;
        connection.stats.whole.sent += 1;
        self.stats.sent += 1;
        self.dirty.push(id);
    }

    pub(crate) fn is_let_in(&mut self, id: ConnectionId, xid: i32) -> bool {
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

    pub(crate) fn authenticate(
        &mut self,
        id: ConnectionId,
        xid: i32,
        scheme: &str,
        secret: Option<&[u8]>,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        self.dirty.push(id);
        connection.answered += 1;
        let peer = connection.peer.ip();
        let names = self
            .schemes
            .authenticate(scheme, secret, peer, &connection.ids);
        if names.is_some_and(|names| connection.learn(names)) {
            return replies::write_bare(&mut connection.out, xid, 0, Code::OK);
        }
        self.stats.auth_failures += 1;
        debug!(peer = %connection.peer, scheme, "authentication failed");
        replies::write_bare(&mut connection.out, xid, 0, Code::AUTH_FAILED);
        self.close(id);
    }

    pub(crate) fn forget(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        self.detach(id, connection.session);
    }

    /// Ends a connection once what it is owed has been sent.
    pub(crate) fn close(&mut self, id: ConnectionId) {
        let Some(mut connection) = self.connections.remove(&id) else {
            return;
        };
        connection.leave();
        connection.outbox.close();
        self.detach(id, connection.session);
    }

    /// Nobody is told by this connection any more; its session waits for another.
    fn detach(&mut self, id: ConnectionId, session: i64) {
        self.watches.remove_watcher(id);
        let attached = self.sessions.get(session).and_then(|s| s.connection);
        if attached == Some(id) {
            self.sessions.attach(session, None);
        }
    }
}
