//! The coordinator inside this process. The broker reaches it as it would reach any ZooKeeper: by
//! its client protocol, over a socket.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use base::clock::Clock;
use coordinator::Error;

use crate::config::parts;

/// Starts it on the current runtime. `Err` says what kept it from serving.
pub(crate) async fn start(
    wanted: &parts::Coordinator,
    clock: &Clock,
) -> Result<coordinator::Handle, Error> {
    let mut config = coordinator::Config::new(&wanted.data_dir);
    config.address = resolve(&wanted.address, wanted.port);
    config.port = wanted.port;
    config.clock = clock.clone();
    coordinator::start(config).await
}

/// A host name or an address. One that cannot be resolved is tried as it is meant most often, on
/// loopback: nobody from outside gets in by a spelling mistake.
fn resolve(host: &str, port: u16) -> IpAddr {
    let named = (host.trim_matches(['[', ']']), port).to_socket_addrs();
    let first = named
        .ok()
        .and_then(|mut found| found.find(SocketAddr::is_ipv4));
    first.map_or(IpAddr::from([127, 0, 0, 1]), |address| address.ip())
}
