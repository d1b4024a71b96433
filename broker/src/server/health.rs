//! A container's health check: the broker's own program asks the broker that the container runs.
//!
//! Healthy is who answers on a port that clients use and knows of a broker: by then itself has
//! registered, and its controller has told it about the cluster.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::Duration;

use client::ClientError;
use client::connection::Connection;
use client::dial::{dial, host_and_port};
use protocol::kafka::apis::Api;
use protocol::messages::{MetadataRequest, RequestKind, ResponseKind};

use crate::config::{Endpoint, Protocol};

/// Health checks are repeated; one of them need not wait.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why a broker counts as ill.
#[derive(Debug, thiserror::Error)]
pub enum Unwell {
    #[error("no listener for clients is set")]
    NoListener,
    #[error(transparent)]
    Silent(#[from] ClientError),
    #[error("{0} answers, and knows of no broker yet")]
    Alone(String),
}

/// The words that the container's broker was started with, its own name first. Before it may stand
/// what a container starts it by: its script, or an `init`.
pub fn words_of_the_first_process() -> Vec<OsString> {
    let line = fs::read("/proc/1/cmdline").unwrap_or_default();
    words_of_the_broker(&line)
}

fn words_of_the_broker(line: &[u8]) -> Vec<OsString> {
    let is_it = |word: &OsString| {
        let name = Path::new(word).file_name();
        name.is_some_and(|name| name == "broker" || name == "broker.sh")
    };
    let line = line.strip_suffix(&[0]).unwrap_or(line);
    line.split(|byte| *byte == 0)
        .map(|word| OsString::from_vec(word.to_vec()))
        .skip_while(|word| !is_it(word))
        .collect()
}

/// Asks by the first of `listeners`. One that wants a password is asked only what it speaks; one
/// with TLS only has to accept, because whom it would trust is not known here.
pub async fn ask(listeners: &[Endpoint]) -> Result<(), Unwell> {
    let listener = listeners.first().ok_or(Unwell::NoListener)?;
    let address = own_address(listener);
    if matches!(listener.protocol, Protocol::Ssl | Protocol::SaslSsl) {
        dial(&address, PATIENCE).await?;
        return Ok(());
    }
    let mut connection = Connection::open(&address, "health", PATIENCE).await?;
    if listener.protocol == Protocol::SaslPlaintext {
        return Ok(());
    }
    let nothing = MetadataRequest::default().with_topics(Some(Vec::new()));
    let asked = RequestKind::Metadata(nothing);
    match connection.ask(Api::Metadata, asked, PATIENCE).await? {
        ResponseKind::Metadata(answer) if !answer.brokers.is_empty() => Ok(()),
        _ => Err(Unwell::Alone(address)),
    }
}

/// As seen from inside.
fn own_address(listener: &Endpoint) -> String {
    let host = match listener.host.as_str() {
        "" | "0.0.0.0" | "::" => "localhost",
        host => host,
    };
    host_and_port(host, listener.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brokers_words_are_found_behind_whatever_started_it() {
        for line in [
            "/opt/kafka/bin/broker\0--volume\0/v\0",
            "/sbin/docker-init\0--\0/opt/kafka/docker/broker.sh\0--volume\0/v\0",
        ] {
            let words = words_of_the_broker(line.as_bytes());
            assert_eq!(words[1..], ["--volume", "/v"], "{line}");
        }
        let shell = words_of_the_broker(b"bash\0-c\0sleep 1\0");
        assert_eq!(shell, [""; 0]);
    }

    #[test]
    fn one_asks_where_one_listens() {
        let address = |host: &str| {
            own_address(&Endpoint {
                name: "PLAINTEXT".to_owned(),
                host: host.to_owned(),
                port: 9092,
                protocol: Protocol::Plaintext,
            })
        };
        assert_eq!(address(""), "localhost:9092");
        assert_eq!(address("0.0.0.0"), "localhost:9092");
        assert_eq!(address("kafka-server"), "kafka-server:9092");
        assert_eq!(address("::1"), "[::1]:9092");
    }
}
