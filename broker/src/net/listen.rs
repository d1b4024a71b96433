//! Listeners: binding, accepting, and how many connections may come from where.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use base::stop::Stop;
use base::tasks;
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinError;
use tracing::{debug, error, warn};

use crate::api::table::Table;
use crate::config::parts::Network;
use crate::measures::{Door, Doors};
use crate::net::budget::Budget;
use crate::net::connection::{Connection, Ended, Rules};

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
    #[error("listen on {host}:{port}: the port is taken, perhaps by another broker")]
    Taken { host: String, port: u16 },
    #[error(
        "listen on {host}:{port}: the host name does not resolve to an address of this machine"
    )]
    NoAddress { host: String, port: u16 },
    #[error("listen on {host}:{port}: {source}")]
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

/// How many connections there are, by address and in all.
#[derive(Debug)]
pub(crate) struct Limits {
    open: Mutex<Open>,
    /// Rung whenever a place is given back.
    freed: Notify,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    /// `max.connections`: the next one waits until another ends.
    Broker,
    /// `max.connections.per.ip`: the connection is closed.
    Address,
}

#[derive(Debug)]
struct Open {
    total_max: usize,
    per_address_max: usize,
    overrides: HashMap<IpAddr, usize>,
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Held as long as its connection lives.
#[derive(Debug)]
pub(crate) struct Place {
    limits: Arc<Limits>,
    address: IpAddr,
}

impl Limits {
    pub(crate) fn new(
        total_max: usize,
        per_address_max: usize,
        overrides: HashMap<IpAddr, usize>,
    ) -> Self {
        let open = Open {
            total_max,
            per_address_max,
            overrides,
            total: 0,
            by_address: HashMap::new(),
        };
        Limits {
            open: Mutex::new(open),
            freed: Notify::new(),
        }
    }

    /// A place as soon as the broker has one; `None` where the address has as many as it may.
    ///
    /// Kafka: a broker that is full accepts nobody until a connection ends
    /// (`ConnectionQuotas.waitForConnectionSlot`); dropping the future early is safe.
    async fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            match self.take(address) {
                Ok(place) => return Some(place),
                Err(Full::Address) => return None,
                Err(Full::Broker) => freed.await,
            }
        }
    }

    /// Other bounds from now on. Connections beyond them stay until they end.
    fn set(&self, total_max: usize, per_address_max: usize, overrides: HashMap<IpAddr, usize>) {
        let mut open = self.open.lock();
        open.total_max = total_max;
        open.per_address_max = per_address_max;
        open.overrides = overrides;
        drop(open);
        // Whoever waits for a place looks again: there may be one now.
        self.freed.notify_waiters();
    }

    /// A place, unless the address or the broker has as many as it may.
    fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let mut open = self.open.lock();
        let own = open.overrides.get(&address).copied();
        let max = own.unwrap_or(open.per_address_max);
        if open.total >= open.total_max {
            return Err(Full::Broker);
        }
        let here = open.by_address.entry(address).or_default();
        if *here >= max {
            if *here == 0 {
                open.by_address.remove(&address);
            }
            return Err(Full::Address);
        }
        *here += 1;
        open.total += 1;
        Ok(Place {
            limits: Arc::clone(self),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.limits.open.lock();
        open.total = open.total.saturating_sub(1);
        if let Some(here) = open.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                open.by_address.remove(&self.address);
            }
        }
        drop(open);
        self.limits.freed.notify_waiters();
    }
}

/// What every accepted connection is given.
#[derive(Clone, Debug)]
pub(crate) struct Reception {
    pub(crate) table: Arc<Table>,
    pub(crate) rules: Rules,
    pub(crate) limits: Arc<Limits>,
    pub(crate) budget: Budget,
    pub(crate) doors: Arc<Doors>,
    /// `socket.send.buffer.bytes` and `socket.receive.buffer.bytes`; none lets the kernel tune.
    pub(crate) send_buffer: Option<usize>,
    pub(crate) receive_buffer: Option<usize>,
}

impl Reception {
    /// The bounds on connections, as they are set now. Resolves names, so it may block shortly.
    pub(crate) fn obey(&self, network: &Network) {
        self.limits.set(
            network.connections_max,
            network.connections_per_address_max,
            addresses(&network.connections_per_address),
        );
    }
}

/// `max.connections.per.ip.overrides` by address.
pub(crate) fn addresses(named: &BTreeMap<String, usize>) -> HashMap<IpAddr, usize> {
    let mut by_address = HashMap::new();
    for (host, max) in named {
        let Ok(found) = (host.as_str(), 0).to_socket_addrs() else {
            warn!(
                host,
                "max.connections.per.ip.overrides names a host that does not resolve"
            );
            continue;
        };
        by_address.extend(found.map(|address| (address.ip(), *max)));
    }
    by_address
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
        for socket in self.sockets {
            let socket = TcpListener::from_std(socket)?;
            let (listener, reception, stop) =
                (Arc::clone(&self.listener), reception.clone(), stop.clone());
            accepting.push(tasks::spawn(
                "listener",
                accept_all(socket, listener, reception, stop),
            ));
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
                let early_ms = reception.early_ms(peer.ip());
                if early_ms > 0 {
                    connections.spawn(hold(stream, early_ms, stop.clone()));
                    continue;
                }
                let place = tokio::select! {
                    () = stop.stopped() => break,
                    place = reception.limits.enter(peer.ip()) => place,
                };
                let Some(place) = place else {
                    warn!(%peer, %listener, "refused a connection: max.connections.per.ip is reached");
                    door.refuse();
                    continue;
                };
                let entered = (place, &door);
                if let Some(serving) = receive(stream, peer, &listener, entered, &reception, &stop)
                {
                    connections.spawn(serving);
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
    );
    let stop = stop.clone();
    let (door, inside) = (Arc::clone(door), door.enter());
    Some(async move {
        if let Ended::Idle = connection.serve(stop).await {
            door.close_idle();
        }
        drop((place, inside));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_as_many_places_as_it_may_and_no_more() {
        let limits = Arc::new(Limits::new(3, 2, HashMap::new()));
        let (a, b) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let held = [limits.take(a).unwrap(), limits.take(a).unwrap()];
        assert_eq!(limits.take(a).unwrap_err(), Full::Address);
        let third = limits.take(b).unwrap();
        assert_eq!(limits.take(b).unwrap_err(), Full::Broker, "three in all");
        drop((held, third));
        assert_eq!(limits.open.lock().total, 0);
        assert!(limits.take(a).is_ok());
    }

    #[tokio::test]
    async fn a_full_broker_lets_the_next_one_in_when_one_ends() {
        let limits = Arc::new(Limits::new(1, 5, HashMap::new()));
        let address = IpAddr::from([127, 0, 0, 1]);
        let first = limits.take(address).unwrap();
        let next = limits.enter(address);
        tokio::pin!(next);
        let early = std::future::poll_fn(|cx| std::task::Poll::Ready(next.as_mut().poll(cx)));
        assert!(early.await.is_pending());
        drop(first);
        assert!(next.await.is_some());
    }

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
