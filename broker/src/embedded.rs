//! The coordinator inside this process. The broker reaches it as it would reach any ZooKeeper: by
//! its client protocol, over a socket.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use base::clock::Clock;

use crate::config::parts;

/// What kept it from serving.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no address has this name")]
    NoAddress,
    #[error(transparent)]
    Start(#[from] coordinator::Error),
}

/// Starts it on the current runtime.
pub(crate) async fn start(
    wanted: &parts::Coordinator,
    clock: &Clock,
) -> Result<coordinator::Handle, Error> {
    let mut config = coordinator::Config::new(&wanted.data_dir);
    config.address = resolve(&wanted.address, wanted.port).ok_or(Error::NoAddress)?;
    config.port = wanted.port;
    config.clock = clock.clone();
    Ok(coordinator::start(config).await?)
}

/// A host name or an address; of a name with addresses of both families, the first of IPv4.
fn resolve(host: &str, port: u16) -> Option<IpAddr> {
    let named = (host.trim_matches(['[', ']']), port).to_socket_addrs();
    let found: Vec<SocketAddr> = named.ok()?.collect();
    let chosen = found.iter().find(|at| at.is_ipv4()).or(found.first())?;
    Some(chosen.ip())
}
