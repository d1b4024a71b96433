//! A client that says by SASL who it is: question, answer, proof.

use protocol::zookeeper::errors::Code;
use protocol::zookeeper::jute::Writer;
use protocol::zookeeper::replies::Frame;
use protocol::zookeeper::types::Id;
use tracing::{info, warn};

use crate::pipeline::Pipeline;
use crate::sasl::digest_md5::Exchange;
use crate::watches::ConnectionId;

/// The token of the reply; `Err`: the client has not shown who it is.
type Step = Result<Option<Vec<u8>>, ()>;

impl Pipeline {
    pub(crate) fn step_sasl(&mut self, id: ConnectionId, xid: i32, token: &[u8]) {
        let step = self.sasl_step(id, token);
        let step_failed = step.is_err();
        let required = self.config.enforce_auth_schemes.iter().any(|s| s == "sasl");
        let may_stay = self.config.sasl.failed_may_stay && !required;
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        self.dirty.push(id);
        connection.answered += 1;
        let (code, token) = match step {
            Ok(token) => (Code::OK, token),
            Err(()) if may_stay => (Code::OK, None),
            Err(()) if required => (Code::SESSION_CLOSED_REQUIRE_SASL_AUTH, None),
            Err(()) => (Code::AUTH_FAILED, None),
        };
        let frame = Frame::reply(&mut connection.out, xid, 0, code);
        Writer(&mut connection.out).buffer(token.as_deref());
        frame.end(&mut connection.out);
        self.stats.auth_failures += u64::from(step_failed);
        if code != Code::OK {
            warn!(peer = %connection.peer, "SASL authentication failed; closing");
            self.close(id);
        }
    }

    fn sasl_step(&mut self, id: ConnectionId, token: &[u8]) -> Step {
        let settings = &self.config.sasl;
        // ZooKeeper: a server without SASL answers with no token and no error.
        let (Some(users), Some(connection)) = (&settings.users, self.connections.get_mut(&id))
        else {
            return Ok(None);
        };
        if !settings.allowed {
            return Err(());
        }
        let Some(exchange) = connection.sasl.take() else {
            if !token.is_empty() {
                return Err(());
            }
            let exchange = Exchange::begin(self.chance.bytes());
            let challenge = exchange.challenge();
            connection.sasl = Some(exchange);
            return Ok(Some(challenge));
        };
        let accepted = exchange.judge(token, users).ok_or(())?;
        info!(peer = %connection.peer, user = accepted.user, "authenticated by SASL");
        let is_super = settings.super_users.contains(&accepted.user);
        let mut names = vec![Id::new("sasl", &accepted.user)];
        if is_super {
            names.push(Id::new("super", ""));
        }
        if !connection.learn(names) {
            return Err(());
        }
        Ok(Some(accepted.proof))
    }
}
