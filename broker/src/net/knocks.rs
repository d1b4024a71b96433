//! Connections that this broker makes to itself, to see whether clients would find it. Whoever accepts
//! one closes it uncounted: it takes nobody's place, and no rate rises for it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

/// How long a door that was reached is waited for; its listener may be full and let nobody in.
const PATIENCE: Duration = Duration::from_secs(1);

/// Those that are on their way, by the port they come from. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Knocks(Arc<Mutex<HashMap<u16, oneshot::Sender<()>>>>);

/// A connection to an address that may be this broker's.
#[derive(Debug)]
pub(crate) struct Knock {
    pub(crate) stream: TcpStream,
    mark: Mark,
}

/// Taken away when this is dropped: the port may be a client's next.
#[derive(Debug)]
struct Mark {
    knocks: Knocks,
    port: u16,
    heard: oneshot::Receiver<()>,
}

impl Knocks {
    /// Connects. The port is known before anybody can accept.
    pub(crate) async fn knock(&self, at: SocketAddr) -> io::Result<Knock> {
        let (socket, any) = match at {
            SocketAddr::V4(_) => (TcpSocket::new_v4()?, IpAddr::from(Ipv4Addr::UNSPECIFIED)),
            SocketAddr::V6(_) => (TcpSocket::new_v6()?, IpAddr::from(Ipv6Addr::UNSPECIFIED)),
        };
        socket.bind(SocketAddr::new(any, 0))?;
        let mark = self.mark(socket.local_addr()?.port());
        let stream = socket.connect(at).await?;
        Ok(Knock { stream, mark })
    }

    fn mark(&self, port: u16) -> Mark {
        let (hear, heard) = oneshot::channel();
        self.0.lock().insert(port, hear);
        Mark {
            knocks: self.clone(),
            port,
            heard,
        }
    }

    /// Whether a connection that was accepted at `here` is one of ours; it is not expected any more.
    pub(crate) fn is_ours(&self, peer: SocketAddr, here: IpAddr) -> bool {
        let peer_ip = peer.ip().to_canonical();
        if !(peer_ip.is_loopback() || peer_ip == here.to_canonical()) {
            return false;
        }
        let known = self.0.lock().remove(&peer.port());
        known.is_some_and(|hear| {
            let _unheard = hear.send(());
            true
        })
    }
}

impl Knock {
    /// Waits until it has been let go of uncounted. Whoever is not heard counts like anybody.
    pub(crate) async fn heard(mut self) {
        let _late = tokio::time::timeout(PATIENCE, &mut self.mark.heard).await;
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.knocks.0.lock().remove(&self.port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn our_own_connection_is_known_once_and_a_strangers_never() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let knocks = Knocks::default();
        let _stranger = TcpStream::connect(at).await.unwrap();
        let (_, stranger) = listener.accept().await.unwrap();
        let ours = knocks.knock(at).await.unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert!(!knocks.is_ours(stranger, at.ip()));
        assert!(!knocks.is_ours(SocketAddr::new([192, 0, 2, 1].into(), peer.port()), at.ip()));
        assert!(knocks.is_ours(peer, at.ip()));
        assert!(!knocks.is_ours(peer, at.ip()));
        ours.heard().await;
    }

    #[tokio::test]
    async fn who_is_not_heard_leaves_no_mark() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let knocks = Knocks::default();
        let knock = knocks.knock(listener.local_addr().unwrap()).await.unwrap();
        assert_eq!(knocks.0.lock().len(), 1);
        drop(knock);
        assert!(knocks.0.lock().is_empty());
    }
}
