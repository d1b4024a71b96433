//! One connection: bytes to whole frames for the pipeline, its replies back to the socket.
//!
//! Nothing is reserved by a length a client only claims. A client with many unanswered requests is
//! not read from; one that does not take its replies is dropped.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use protocol::zookeeper::requests::ConnectRequest;
use protocol::zookeeper::types::Id;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use tracing::{debug, info};

use crate::outbox::Outbox;
use crate::pipeline::Message;
use crate::pipeline::words::{Visitor, WORDS};
use crate::server::Door;
use crate::watches::ConnectionId;

const READ_BYTES: usize = 16 * 1024;
/// More unanswered requests than this, and nothing more is read until some are answered.
const UNANSWERED_MAX: usize = 1_000;
/// The same in bytes: what waits for a slow disk is bounded for each client.
const UNANSWERED_BYTES_MAX: usize = 8 << 20;
/// A client that takes none of its replies for so long is gone.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// A connection that has not said what it wants within this time is closed. ZooKeeper's default.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

/// Why a connection ends; none of it is a fault of ours.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the client closed it")]
    Eof,
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("a frame of {0} bytes is none that may be sent")]
    Length(i64),
    #[error("the first request cannot be read")]
    Handshake,
    #[error("no first request came in time")]
    Silent,
    #[error("it does not take its replies")]
    Slow,
    #[error("the server ended it")]
    Closed,
}

/// What is done to the socket of a client that may take nothing of it.
async fn patiently<T>(act: impl Future<Output = std::io::Result<T>>) -> Result<T, Ended> {
    let done = tokio::time::timeout(WRITE_PATIENCE, act).await;
    Ok(done.map_err(|_| Ended::Slow)??)
}

/// Speaks with one client to its end.
pub(crate) async fn serve<S>(
    door: &Door,
    id: ConnectionId,
    socket: S,
    peer: SocketAddr,
    names: Vec<Id>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let outbox = Arc::new(Outbox::among(&door.unsent));
    let mut talk = Talk {
        door,
        id,
        socket,
        outbox,
        incoming: BytesMut::new(),
        unanswered: Unanswered::default(),
    };
    let ended = talk.run(peer, names).await;
    if let Err(why) = &ended {
        debug!(%peer, %why, "connection ended");
    }
    // The last hold on what was not sent is the pipeline's then, who may have others wait for the room.
    drop(talk);
    // A pipeline that is gone has forgotten the connection already.
    let _gone = door.messages.send(Message::Closed { id }).await;
}

struct Talk<'a, S> {
    door: &'a Door,
    id: ConnectionId,
    socket: S,
    outbox: Arc<Outbox>,
    incoming: BytesMut,
    unanswered: Unanswered,
}

/// How long the requests are whose fate is open, the oldest first.
#[derive(Default)]
struct Unanswered {
    lens: VecDeque<usize>,
    bytes: usize,
}

impl Unanswered {
    fn add(&mut self, len: usize) {
        self.lens.push_back(len);
        self.bytes += len;
    }

    fn take_off(&mut self, count: u64) {
        for _ in 0..count {
            let Some(len) = self.lens.pop_front() else {
                return;
            };
            self.bytes -= len;
        }
    }

    fn is_full(&self) -> bool {
        self.lens.len() >= UNANSWERED_MAX || self.bytes >= UNANSWERED_BYTES_MAX
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Talk<'_, S> {
    async fn run(&mut self, peer: SocketAddr, names: Vec<Id>) -> Result<(), Ended> {
        let first = self.first_frame(peer);
        let first = tokio::time::timeout(HANDSHAKE_PATIENCE, first).await;
        let Some(first) = first.map_err(|_| Ended::Silent)?? else {
            return Ok(());
        };
        let request = ConnectRequest::read(&first).map_err(|_| Ended::Handshake)?;
        let outbox = Arc::clone(&self.outbox);
        self.send(Message::Opened {
            id: self.id,
            outbox,
            peer,
            names,
        })
        .await?;
        self.send(Message::Connect {
            id: self.id,
            request,
        })
        .await?;
        self.unanswered.add(first.len());
        self.pass_frames().await?;
        let mut spare = Vec::new();
        let door = self.door;
        let stopped = door.stop.stopped();
        tokio::pin!(stopped);
        loop {
            let may_read = !self.unanswered.is_full();
            self.incoming.reserve(READ_BYTES);
            tokio::select! {
                () = self.outbox.filled() => spare = self.write_out(spare).await?,
                read = self.socket.read_buf(&mut self.incoming), if may_read => {
                    if read? == 0 {
                        return Err(Ended::Eof);
                    }
                    self.pass_frames().await?;
                }
                () = &mut stopped => return Err(Ended::Closed),
            }
        }
    }

    async fn send(&self, message: Message) -> Result<(), Ended> {
        self.door
            .messages
            .send(message)
            .await
            .map_err(|_| Ended::Closed)
    }

    async fn read_to(&mut self, len: usize) -> Result<(), Ended> {
        while self.incoming.len() < len {
            self.incoming.reserve(READ_BYTES.min(len));
            let read = tokio::select! {
                read = self.socket.read_buf(&mut self.incoming) => read?,
                () = self.door.stop.stopped() => return Err(Ended::Closed),
            };
            if read == 0 {
                return Err(Ended::Eof);
            }
        }
        Ok(())
    }

    /// The connect request; `None` where a four-letter word came instead and was answered.
    async fn first_frame(&mut self, peer: SocketAddr) -> Result<Option<Bytes>, Ended> {
        self.read_to(4).await?;
        let Some(&head) = self.incoming.first_chunk::<4>() else {
            return Err(Ended::Eof);
        };
        if WORDS.contains(&&head) {
            self.answer_word(head, peer).await?;
            return Ok(None);
        }
        let len = self.frame_len(head)?;
        self.read_to(4 + len).await?;
        self.incoming.advance(4);
        Ok(Some(self.incoming.split_to(len).freeze()))
    }

    async fn answer_word(&mut self, word: [u8; 4], peer: SocketAddr) -> Result<(), Ended> {
        info!(word = %String::from_utf8_lossy(&word), "four-letter word");
        let mut mask = 0;
        if &word == b"stmk" && self.door.takes_mask {
            self.read_to(12).await?;
            mask = self.incoming[4..12]
                .try_into()
                .map_or(0, i64::from_be_bytes);
        }
        let (answer, answered) = oneshot::channel();
        let visitor = Visitor {
            peer,
            connections: self.door.guest_count(),
        };
        self.send(Message::Word {
            word,
            mask,
            visitor,
            answer,
        })
        .await?;
        let text = answered.await.map_err(|_| Ended::Closed)?.into_bytes();
        self.socket.write_all(&text).await?;
        Ok(self.socket.shutdown().await?)
    }

    fn frame_len(&self, head: [u8; 4]) -> Result<usize, Ended> {
        let len = i32::from_be_bytes(head);
        usize::try_from(len)
            .ok()
            .filter(|len| *len <= self.door.frame_max)
            .ok_or(Ended::Length(i64::from(len)))
    }

    /// Hands all whole frames to the pipeline in one message. Hot path.
    async fn pass_frames(&mut self) -> Result<(), Ended> {
        let mut end = 0;
        while let Some(head) = self.incoming[end..].first_chunk::<4>() {
            let next = end + 4 + self.frame_len(*head)?;
            if next > self.incoming.len() {
                break;
            }
            self.unanswered.add(next - end);
            end = next;
        }
        if end > 0 {
            let bytes = self.incoming.split_to(end).freeze();
            self.send(Message::Frames { id: self.id, bytes }).await?;
        }
        Ok(())
    }

    /// Sends what the pipeline left; gives the emptied buffer back.
    async fn write_out(&mut self, spare: Vec<u8>) -> Result<Vec<u8>, Ended> {
        let mut outgoing = self.outbox.take(spare);
        self.unanswered.take_off(outgoing.answered);
        let mut rest = outgoing.bytes.as_slice();
        while !rest.is_empty() {
            let wrote = patiently(self.socket.write(rest)).await?;
            if wrote == 0 {
                return Err(Ended::Eof);
            }
            rest = &rest[wrote..];
        }
        // What TLS has taken may not be on the socket yet.
        patiently(self.socket.flush()).await?;
        let room = self.outbox.sent(outgoing.bytes.len());
        if room.own {
            self.send(Message::Room { id: self.id }).await?;
        }
        if room.large {
            self.send(Message::RoomForLarge).await?;
        }
        if outgoing.closing {
            patiently(self.socket.shutdown()).await?;
            return Err(Ended::Closed);
        }
        outgoing.bytes.clear();
        // A burst's buffer is not kept for ever.
        if outgoing.bytes.capacity() > 1 << 20 {
            outgoing.bytes = Vec::new();
        }
        Ok(outgoing.bytes)
    }
}
