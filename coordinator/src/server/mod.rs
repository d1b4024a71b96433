//! The door: accepting, counting, one task a connection.

pub(crate) mod connection;
pub(crate) mod metrics;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::clock::Clock;
use base::stop::Stop;
use base::tasks;
use parking_lot::Mutex;
use protocol::zookeeper::types::Id;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;
use tracing::{debug, info, warn};

use crate::config::Config;
use crate::error::Error;
use crate::outbox::Unsent;
use crate::pipeline::Message;
use crate::tls::{Stores, subject};
use crate::watches::ConnectionId;

/// A client that has not finished its handshake within this time is closed.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// The first byte of a TLS connection.
const TLS_HANDSHAKE: u8 = 0x16;

/// What every connection needs to know.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) messages: mpsc::Sender<Message>,
    pub(crate) stop: Stop,
    pub(crate) clock: Clock,
    pub(crate) frame_max: usize,
    pub(crate) per_address_max: usize,
    pub(crate) total_max: usize,
    pub(crate) guests: Arc<Mutex<Guests>>,
    pub(crate) next_id: Arc<AtomicU64>,
    /// Whether `stmk` is heard: eight bytes follow it then.
    pub(crate) takes_mask: bool,
    /// What waits to be sent, over all connections.
    pub(crate) unsent: Arc<Unsent>,
}

/// What a listener takes.
#[derive(Clone)]
pub(crate) enum Way {
    Plain,
    Tls(Arc<Stores>),
    /// ZooKeeper's port unification: a first byte that begins a handshake tells.
    Either(Arc<Stores>),
}

/// How many connections there are, from where.
#[derive(Debug, Default)]
pub(crate) struct Guests {
    total: usize,
    from: HashMap<IpAddr, usize>,
}

/// One counted connection; dropping it takes it off the count.
pub(crate) struct Guest {
    guests: Arc<Mutex<Guests>>,
    address: IpAddr,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut guests = self.guests.lock();
        guests.total -= 1;
        if let Some(count) = guests.from.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                guests.from.remove(&self.address);
            }
        }
    }
}

/// The encrypted socket, and who the client's certificate says it is.
async fn shake_hands(
    stores: &Stores,
    socket: TcpStream,
) -> std::io::Result<(TlsStream<TcpStream>, Vec<Id>)> {
    let socket = stores.acceptor().accept(socket).await?;
    let shown = socket.get_ref().1.peer_certificates();
    let Some(certificate) = shown.and_then(<[_]>::first) else {
        return Ok((socket, Vec::new()));
    };
    let name = subject::name(certificate)
        .ok_or_else(|| std::io::Error::other("the certificate has no readable subject"))?;
    let mut names = Vec::new();
    if stores.super_user() == Some(&name) {
        names.push(Id::new("super", &name));
    }
    names.push(Id::new("x509", &name));
    Ok((socket, names))
}

/// Binds a port. On a machine without IPv6, everywhere is everywhere by IPv4.
pub(crate) fn listen(address: SocketAddr, backlog: u32) -> Result<TcpListener, Error> {
    let bound = match bind(address, backlog) {
        Err(cause) if address.ip() == Config::EVERYWHERE && has_no_ipv6(&cause) => {
            let by_v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
            bind(by_v4, backlog)
        }
        bound => bound,
    };
    bound.map_err(|cause| Error::Listen { address, cause })
}

fn bind(address: SocketAddr, backlog: u32) -> std::io::Result<TcpListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// The kernel knows none, or it is switched off.
fn has_no_ipv6(cause: &std::io::Error) -> bool {
    let unknown = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    cause.kind() == ErrorKind::AddrNotAvailable || cause.raw_os_error() == Some(unknown)
}

/// Accepts until stopped.
pub(crate) async fn accept(listener: TcpListener, door: Door, way: Way) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = door.stop.stopped() => return,
        };
        match accepted {
            Ok((socket, peer)) => {
                // One that came by IPv4 to a listener of both is counted, named and shown as such.
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                door.admit(socket, peer, &way);
            }
            Err(cause) => {
                // Out of file descriptors, most likely: they come back as connections end.
                warn!(%cause, "accept");
                door.clock.sleep_ms(50).await;
            }
        }
    }
}

impl Door {
    fn admit(&self, socket: TcpStream, peer: SocketAddr, way: &Way) {
        let Some(guest) = self.count(peer.ip()) else {
            warn!(%peer, "too many connections; refused");
            return;
        };
        if let Err(cause) = socket.set_nodelay(true) {
            debug!(%peer, %cause, "a connection that was gone at once");
            return;
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (door, way) = (self.clone(), way.clone());
        tasks::spawn("zk-connection", async move {
            door.serve(id, socket, peer, way).await;
            drop(guest);
        });
    }

    async fn serve(&self, id: ConnectionId, socket: TcpStream, peer: SocketAddr, way: Way) {
        let shaken = match way {
            Way::Plain => return connection::serve(self, id, socket, peer, Vec::new()).await,
            Way::Tls(tls) => {
                tokio::time::timeout(HANDSHAKE_PATIENCE, shake_hands(&tls, socket)).await
            }
            Way::Either(tls) => {
                let mut first = [0];
                match tokio::time::timeout(HANDSHAKE_PATIENCE, socket.peek(&mut first)).await {
                    Ok(Ok(1)) if first[0] == TLS_HANDSHAKE => {
                        tokio::time::timeout(HANDSHAKE_PATIENCE, shake_hands(&tls, socket)).await
                    }
                    Ok(Ok(1)) => {
                        return connection::serve(self, id, socket, peer, Vec::new()).await;
                    }
                    _ => return,
                }
            }
        };
        match shaken {
            Ok(Ok((socket, names))) => connection::serve(self, id, socket, peer, names).await,
            Ok(Err(cause)) => info!(%peer, %cause, "a TLS handshake failed"),
            Err(_) => info!(%peer, "a TLS handshake took too long"),
        }
    }

    /// All connections there are.
    pub(crate) fn guest_count(&self) -> usize {
        self.guests.lock().total
    }

    fn count(&self, address: IpAddr) -> Option<Guest> {
        let mut guests = self.guests.lock();
        let from_there = guests.from.get(&address).copied().unwrap_or(0);
        let full = |max: usize, count: usize| max != 0 && count >= max;
        if full(self.per_address_max, from_there) || full(self.total_max, guests.total) {
            return None;
        }
        guests.total += 1;
        *guests.from.entry(address).or_default() += 1;
        drop(guests);
        Some(Guest {
            guests: Arc::clone(&self.guests),
            address,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_ipv6_is_told_from_a_port_that_is_taken() {
        use rustix::io::Errno;
        for (errno, without) in [
            (Errno::AFNOSUPPORT, true),
            (Errno::ADDRNOTAVAIL, true),
            (Errno::ADDRINUSE, false),
            (Errno::ACCESS, false),
        ] {
            assert_eq!(has_no_ipv6(&errno.into()), without, "{errno}");
        }
    }
}
