//! From `host:port` to an open socket. Plain TCP; encryption and authentication come later.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::error::ClientError;

/// Splits `host:port`, with square brackets around an IPv6 host.
pub fn split_address(address: &str) -> Result<(&str, u16), ClientError> {
    let wrong = || ClientError::Address(address.to_string());
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.rsplit_once("://").map_or(host, |(_, host)| host);
    let host = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    if host.is_empty() {
        return Err(wrong());
    }
    Ok((host, port.parse().map_err(|_| wrong())?))
}

/// The inverse of [`split_address`]: the colons of an IPv6 host stand in brackets.
pub fn host_and_port(host: &str, port: impl fmt::Display) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Opens a socket to the first of the name's addresses that accepts one.
pub async fn dial(address: &str, patience: Duration) -> Result<TcpStream, ClientError> {
    let (host, port) = split_address(address)?;
    let waited_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
    let late = |_| ClientError::DialTimeout {
        address: address.to_string(),
        waited_ms,
    };
    timeout(patience, open(address, host, port))
        .await
        .map_err(late)?
}

async fn open(address: &str, host: &str, port: u16) -> Result<TcpStream, ClientError> {
    let unresolved = || ClientError::Unresolved {
        address: address.to_string(),
    };
    let found = lookup_host((host, port)).await.map_err(|_| unresolved())?;
    let mut last = None;
    for one in found {
        match TcpStream::connect(one).await {
            Ok(stream) => {
                // Requests are small and waited for; a refusal costs latency, not correctness.
                stream.set_nodelay(true).ok();
                return Ok(stream);
            }
            Err(cause) => last = Some(cause),
        }
    }
    Err(match last {
        Some(cause) => ClientError::Unreachable {
            address: address.to_string(),
            cause: io::Error::new(cause.kind(), plain(&cause)),
        },
        None => unresolved(),
    })
}

/// An error in words, without the system's number.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_string(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_string(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_string(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_apart() {
        assert_eq!(split_address("kafka:9092").ok(), Some(("kafka", 9092)));
        assert_eq!(split_address("[::1]:9092").ok(), Some(("::1", 9092)));
        assert_eq!(
            split_address("PLAINTEXT://kafka:9092").ok(),
            Some(("kafka", 9092))
        );
        assert!(split_address("kafka").is_err());
        assert!(split_address("kafka:port").is_err());
        assert!(split_address(":9092").is_err());
    }
}
