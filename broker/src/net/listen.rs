//! Listeners: binding and accepting.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use base::clock::Clock;
use base::stop::Stop;
use base::tasks;
use client::dial::host_and_port;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinError;
use tracing::{debug, error};

use crate::api::table::Table;
use crate::complaints::Complaint;
use crate::measures::{Door, Doors};
use crate::net::budget::Budget;
use crate::net::connection::{Connection, Ended, Rules};
use crate::net::knocks::Knocks;
use crate::net::places::{Denied, Place, Places};

/// After an accept fails for want of file handles or memory: the pause before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One name and the sockets that answer for it: `localhost` has two, one for each family.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) listener: Arc<str>,
    pub(crate) addresses: Vec<SocketAddr>,
    sockets: Vec<std::net::TcpListener>,
}

/// Why a listener could not be bound, with the address it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("listen on {}: the port is taken, perhaps by another broker", host_and_port(host, *port))]
    Taken { host: String, port: u16 },
    #[error(
        "listen on {}: the host name does not resolve to an address of this machine",
        host_and_port(host, *port)
    )]
    NoAddress { host: String, port: u16 },
    #[error("listen on {}: {source}", host_and_port(host, *port))]
    Socket {
        host: String,
        port: u16,
        source: io::Error,
    },
}

/// Binds every address `host` stands for; an empty host is all addresses of the machine.
///
/// Where a name has an IPv4 and an IPv6 address and the machine knows only one family, the other
/// is left out; a port that is taken on either is refused, or clients would meet two programs.
pub(crate) fn bind(
    listener: &str,
    host: &str,
    port: u16,
    backlog: i32,
) -> Result<Bound, BindError> {
    let fail = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken {
            host: host.to_owned(),
            port,
        },
        _ => BindError::Socket {
            host: host.to_owned(),
            port,
            source,
        },
    };
    let mut wanted: Vec<SocketAddr> = match host {
        "" => vec![SocketAddr::new(IpAddr::from([0_u16; 8]), port)],
        _ => match (host.trim_matches(['[', ']']), port).to_socket_addrs() {
            Ok(found) => found.collect(),
            Err(_unresolved) => Vec::new(),
        },
    };
    if host == "localhost" {
        // Many hosts files name only one family; both are this machine.
        for loopback in [
            IpAddr::from([127, 0, 0, 1]),
            IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16]),
        ] {
            wanted.push(SocketAddr::new(loopback, port));
        }
    }
    wanted.sort();
    wanted.dedup();
    let mut bound = Bound {
        listener: listener.into(),
        addresses: Vec::new(),
        sockets: Vec::new(),
    };
    let mut last = None;
    for mut address in wanted {
        if let (0, Some(first)) = (port, bound.addresses.first()) {
            // Asked for any port: the other families take the one the first got.
            address.set_port(first.port());
        }
        match bind_one(address, host.is_empty(), backlog) {
            Ok(socket) => {
                bound.addresses.push(socket.local_addr().map_err(fail)?);
                bound.sockets.push(socket);
            }
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => return Err(fail(e)),
            Err(e) => last = Some(e),
        }
    }
    match (bound.sockets.is_empty(), last) {
        (false, _) => Ok(bound),
        (true, Some(e)) if e.kind() != io::ErrorKind::AddrNotAvailable => Err(fail(e)),
        (true, _) => Err(BindError::NoAddress {
            host: host.to_owned(),
            port,
        }),
    }
}

fn bind_one(address: SocketAddr, dual: bool, backlog: i32) -> io::Result<std::net::TcpListener> {
    let open = |address: SocketAddr| -> io::Result<std::net::TcpListener> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(!dual)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(backlog)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    match open(address) {
        // A machine without IPv6 still has all its IPv4 addresses.
        Err(e) if dual && address.is_ipv6() && e.kind() != io::ErrorKind::AddrInUse => {
            open(SocketAddr::new(IpAddr::from([0, 0, 0, 0]), address.port()))
        }
        other => other,
    }
}

/// What every accepted connection is given.
#[derive(Clone, Debug)]
pub(crate) struct Reception {
    pub(crate) table: Arc<Table>,
    pub(crate) rules: Rules,
    pub(crate) places: Arc<Places>,
    pub(crate) knocks: Knocks,
    pub(crate) complaints: Complaints,
    pub(crate) budget: Budget,
    pub(crate) doors: Arc<Doors>,
    /// `socket.send.buffer.bytes` and `socket.receive.buffer.bytes`; none lets the kernel tune.
    pub(crate) send_buffer: Option<usize>,
    pub(crate) receive_buffer: Option<usize>,
}

/// What strangers can make us say again and again.
#[derive(Clone, Debug)]
pub(crate) struct Complaints {
    not_kafka: Arc<Complaint>,
    address_full: Arc<Complaint>,
}

impl Complaints {
    pub(crate) fn new(clock: &Clock) -> Self {
        Complaints {
            not_kafka: Complaint::new(
                "closed a connection that does not speak Kafka's protocol",
                clock,
            ),
            address_full: Complaint::new(
                "refused a connection: max.connections.per.ip is reached",
                clock,
            ),
        }
    }
}

impl Bound {
    /// Accepts on the current runtime until stopped. The returned tasks end when the last
    /// connection has.
    pub(crate) fn accept(
        self,
        reception: &Reception,
        stop: &Stop,
    ) -> io::Result<Vec<tokio::task::JoinHandle<()>>> {
        let mut accepting = Vec::with_capacity(self.sockets.len());
        let entrance = Arc::new(reception.places.open(&self.listener));
        for socket in self.sockets {
            let socket = TcpListener::from_std(socket)?;
            let (listener, reception, stop) =
                (Arc::clone(&self.listener), reception.clone(), stop.clone());
            let entrance = Arc::clone(&entrance);
            accepting.push(tasks::spawn("listener", async move {
                accept_all(socket, listener, reception, stop).await;
                drop(entrance);
            }));
        }
        Ok(accepting)
    }
}

impl Reception {
    /// For how long a connection comes too early by its address's `connection_creation_rate`.
    fn early_ms(&self, address: IpAddr) -> i64 {
        let quotas = &self.table.services.quotas;
        if !quotas.is_limiting() {
            return 0;
        }
        let now_ms = self.rules.clock.monotonic_ms();
        quotas.record_connection(&address.to_string(), now_ms)
    }
}

/// Kafka: a connection that came too early is closed without a word, once its delay is over, so
/// that its client does not come again at once (`Acceptor.throttledSockets`).
async fn hold(stream: TcpStream, early_ms: i64, stop: Stop) {
    let delay = Duration::from_millis(early_ms.unsigned_abs());
    tokio::select! { () = stop.stopped() => {} () = tokio::time::sleep(delay) => {} }
    drop(stream);
}

/// Java: a client that comes by IPv4 has its IPv4 address, also where the listener takes both kinds
/// and the system tells it as an IPv6 one. Quotas, limits and members' hosts go by it.
fn plain(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

async fn accept_all(socket: TcpListener, listener: Arc<str>, reception: Reception, stop: Stop) {
    let mut connections = tokio::task::JoinSet::new();
    let door = reception.doors.of(&listener);
    loop {
        let accepted = tokio::select! {
            () = stop.stopped() => break,
            accepted = socket.accept() => accepted,
            Some(ended) = connections.join_next() => {
                count_panic(&ended);
                continue;
            }
        };
        match accepted {
            Ok((stream, peer)) => {
                let peer = plain(peer);
                let here = stream.local_addr().map(|here| here.ip());
                if here.is_ok_and(|here| reception.knocks.is_ours(peer, here)) {
                    continue;
                }
                let early_ms = |address| reception.early_ms(address);
                let entered = tokio::select! {
                    () = stop.stopped() => break,
                    entered = reception.places.enter(&listener, peer.ip(), early_ms) => entered,
                };
                let place = match entered {
                    Ok(place) => place,
                    Err(Denied::TooEarly(early_ms)) => {
                        connections.spawn(hold(stream, early_ms, stop.clone()));
                        continue;
                    }
                    Err(Denied::AddressFull) => {
                        let complaint = &reception.complaints.address_full;
                        complaint.note(|| format!("{peer} on {listener}"));
                        door.refuse();
                        continue;
                    }
                };
                let seat = place.seat();
                let entered = (place, &door);
                if let Some(serving) = receive(stream, peer, &listener, entered, &reception, &stop)
                {
                    let end = connections.spawn(serving);
                    reception.places.served(seat, end);
                }
            }
            Err(e) => {
                // Out of file handles or memory: connections that end make room again.
                error!(%listener, error = %e, "cannot accept connections; raise the limit of open files if this stays");
                tokio::select! { () = stop.stopped() => break, () = tokio::time::sleep(ACCEPT_PAUSE) => {} }
            }
        }
    }
    drop(socket);
    while let Some(ended) = connections.join_next().await {
        count_panic(&ended);
    }
}

/// A connection that ended by a defect takes nobody along, and is not overlooked.
fn count_panic(ended: &Result<(), JoinError>) {
    if ended.as_ref().is_err_and(|error| error.is_panic()) {
        tasks::panicked("connection");
    }
}

fn receive(
    stream: TcpStream,
    peer: SocketAddr,
    listener: &Arc<str>,
    (place, door): (Place, &Arc<Door>),
    reception: &Reception,
    stop: &Stop,
) -> Option<impl Future<Output = ()> + Send + 'static> {
    let socket = socket2::SockRef::from(&stream);
    let tuned = stream
        .set_nodelay(true)
        .and_then(|()| socket.set_keepalive(true))
        .and_then(|()| {
            reception
                .send_buffer
                .map_or(Ok(()), |bytes| socket.set_send_buffer_size(bytes))
        })
        .and_then(|()| {
            reception
                .receive_buffer
                .map_or(Ok(()), |bytes| socket.set_recv_buffer_size(bytes))
        });
    if let Err(e) = tuned {
        debug!(%peer, error = %e, "the connection was gone before it was served");
        return None;
    }
    let (table, rules) = (Arc::clone(&reception.table), reception.rules.clone());
    let connection = Connection::new(
        stream,
        peer,
        Arc::clone(listener),
        table,
        rules,
        reception.budget.share(),
        place.heard_ms(),
    );
    let (stop, listener) = (stop.clone(), Arc::clone(listener));
    let not_kafka = Arc::clone(&reception.complaints.not_kafka);
    let (door, inside) = (Arc::clone(door), door.enter());
    Some(async move {
        match connection.serve(stop).await {
            Ended::Idle => door.close_idle(),
            ended @ (Ended::FrameLength(_) | Ended::Malformed(_)) => {
                not_kafka.note(|| format!("{peer} on {listener}: {ended}"));
            }
            _ => {}
        }
        drop((place, inside));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_by_ipv4_is_known_by_its_ipv4_address_on_a_listener_for_both() {
        let told = |text: &str| plain(text.parse().unwrap()).to_string();
        assert_eq!(told("[::ffff:172.20.0.3]:50000"), "172.20.0.3:50000");
        assert_eq!(told("[2001:db8::1]:50000"), "[2001:db8::1]:50000");
    }

    #[test]
    fn a_taken_port_is_told_as_such() {
        let first = bind("PLAINTEXT", "localhost", 0, 50).unwrap();
        let port = first.addresses[0].port();
        assert!(first.addresses.iter().all(|address| address.port() == port));
        assert!(matches!(
            bind("PLAINTEXT", "localhost", port, 50),
            Err(BindError::Taken { .. })
        ));
        assert!(matches!(
            bind("X", "no.such.host.invalid", 0, 50),
            Err(BindError::NoAddress { .. })
        ));
    }
}
