//! What tools up to Kafka 2.8 did with `--zookeeper`: the same commands on the znodes themselves.
//!
//! They work with no broker running; whoever runs sees the writes through his watches. Nothing here
//! looks at the controller's epoch: Kafka's old tools did not either. Absent: ACLs of the nodes, and
//! TLS to ZooKeeper.

pub(crate) mod writes;
pub(crate) mod topics;
pub(crate) mod configs;
pub(crate) mod election;

use std::time::Duration;

use base::clock::Clock;
use znodes::store::Error;
use znodes::zookeeper::{Config, ZooKeeper};

use crate::failure::Failure;

const CONNECT_WITHIN_MS: i64 = 30_000;
/// A server that is there has answered by then; after that it is worth asking whether any is.
const DOUBT_AFTER: Duration = Duration::from_millis(300);
/// How long a server may take to accept a connection.
const DIAL_WITHIN: Duration = Duration::from_secs(10);
const PORT: u16 = 2181;

/// A session with the ZooKeeper a command line names. Where none of its servers can be reached, that
/// is said at once, with why; what can be reached and does not answer is waited for.
pub(crate) async fn session(connect: &str) -> Result<ZooKeeper, Failure> {
    let doubting = async {
        tokio::time::sleep(DOUBT_AFTER).await;
        match unreachable(connect).await {
            Some(why) => why,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        connected = ZooKeeper::connect(Config::new(connect), Clock::system(), CONNECT_WITHIN_MS) => {
            connected.map_err(|error| match error {
                Error::SessionEnded => Failure::said(format!(
                    "no answer from ZooKeeper at {connect} within {} s",
                    CONNECT_WITHIN_MS / 1000
                )),
                other => other.into(),
            })
        }
        why = doubting => Err(Failure::said(why)),
    }
}

/// Why no server of `host:port,…/chroot` can be reached; `None` if one can.
async fn unreachable(connect: &str) -> Option<String> {
    let mut reasons = Vec::new();
    for server in servers(connect) {
        match client::dial::dial(&server, DIAL_WITHIN).await {
            Ok(_there) => return None,
            Err(why) => reasons.push(why.to_string()),
        }
    }
    Some(format!("ZooKeeper: {}", reasons.join("; ")))
}

/// The servers, each with its port.
fn servers(connect: &str) -> Vec<String> {
    let hosts = connect.split('/').next().unwrap_or_default();
    let ported = |host: &str| match host.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => host.to_owned(),
        _ => format!("{host}:{PORT}"),
    };
    hosts.split(',').map(str::trim).map(ported).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_ports_and_no_chroot() {
        assert_eq!(
            servers("a, b:1,[::1],[::1]:3/kafka/x"),
            ["a:2181", "b:1", "[::1]:2181", "[::1]:3"]
        );
    }
}
