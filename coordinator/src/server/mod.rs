//! The door: accepting, counting, one task a connection.

pub(crate) mod connection;
pub(crate) mod metrics;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::clock::Clock;
use base::stop::Stop;
use base::tasks;
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::error::Error;
use crate::pipeline::Message;

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

/// Binds the client port.
pub(crate) fn listen(address: SocketAddr, backlog: u32) -> Result<TcpListener, Error> {
    let bind = || {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket.into())
    };
    bind().map_err(|cause| Error::Listen { address, cause })
}

/// Accepts until stopped.
pub(crate) async fn accept(listener: TcpListener, door: Door) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = door.stop.stopped() => return,
        };
        match accepted {
            Ok((socket, peer)) => door.admit(socket, peer),
            Err(cause) => {
                // Out of file descriptors, most likely: they come back as connections end.
                warn!(%cause, "accept");
                door.clock.sleep_ms(50).await;
            }
        }
    }
}

impl Door {
    fn admit(&self, socket: TcpStream, peer: SocketAddr) {
        let Some(guest) = self.count(peer.ip()) else {
            warn!(%peer, "too many connections; refused");
            return;
        };
        if let Err(cause) = socket.set_nodelay(true) {
            debug!(%peer, %cause, "a connection that was gone at once");
            return;
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let door = self.clone();
        tasks::spawn("zk-connection", async move {
            connection::serve(&door, id, socket, peer).await;
            drop(guest);
        });
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
