//! The coordinator inside this process. The broker reaches it as it would reach any ZooKeeper: by
//! its client protocol, over a socket.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use base::clock::Clock;
use coordinator::{Error, Fault};

use crate::config::parts;

/// Starts it on the current runtime. `Err` says what kept it from serving.
pub(crate) async fn start(
    wanted: &parts::Coordinator,
    clock: &Clock,
) -> Result<coordinator::Handle, Error> {
    let mut config = coordinator::Config::new(&wanted.data_dir);
    config.address = resolve(&wanted.address, wanted.port).ok_or_else(|| no_address(wanted))?;
    config.port = wanted.port;
    config.clock = clock.clone();
    coordinator::start(config).await
}

/// A host name or an address; of a name with addresses of both families, the first of IPv4.
fn resolve(host: &str, port: u16) -> Option<IpAddr> {
    let named = (host.trim_matches(['[', ']']), port).to_socket_addrs();
    let found: Vec<SocketAddr> = named.ok()?.collect();
    let chosen = found.iter().find(|at| at.is_ipv4()).or(found.first())?;
    Some(chosen.ip())
}

fn no_address(wanted: &parts::Coordinator) -> Error {
    let key = "coordinator.address";
    Error::Settings {
        origin: PathBuf::new(),
        faults: vec![Fault {
            key: key.to_owned(),
            value: Some(wanted.address.clone()),
            why: "no address has this name".to_owned(),
        }],
    }
}
