//! One client's socket: frames in, answers out, in the order they were asked.
//!
//! Hot path: everything readable is read, every complete frame is run to its end on this worker,
//! and the answers leave in one write. What must wait (a parked fetch, acks of followers) waits as
//! a future at the head of a queue; behind a waiting produce further produces run on.
//!
//! Invariant: answers leave in the order of their requests.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use base::clock::Clock;
use base::stop::Stop;
use bytes::{Buf, BufMut, BytesMut};
use replication::cold::ColdPiece;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tracing::debug;

use crate::api::answer::{Answer, Later, Outcome};
use crate::api::table::{Caller, Table};
use crate::net::budget::{OWN_BYTES, Share};
use crate::net::outbox::{Outbox, Written};
use crate::net::pace::Pace;

/// The first read of a connection, and the step its buffer begins with.
const READ_BYTES: usize = 16 * 1024;
/// A buffer is never asked to grow by more than what has already arrived, or by this.
const GROW_BYTES_MIN: usize = 64 * 1024;
/// How many answers may wait behind one another before nothing more is read.
const WAITING_MAX: usize = 128;
/// No request is run while more than this of earlier answers waits in memory for its client: sixteen
/// kilobytes can ask for a thousand descriptions of the whole cluster.
const UNTAKEN_BYTES_MAX: usize = 1 << 20;
/// How often an otherwise quiet connection looks at its deadlines.
const DEADLINE_TICK_MS: i64 = 10_000;
/// The same where connections may be idle only shortly; and what all looks are rounded up to, so that
/// hundreds of quiet connections wake the broker twenty times a second at most.
const DEADLINE_TICK_MS_MIN: i64 = 50;
/// From this length on a frame is read to its end and no further: what came of the next one would
/// have to be copied to the front.
const EXACT_BYTES_MIN: usize = 64 * 1024;
/// How much a connection may be given at once because its last frame was as large; of a frame larger
/// than this the room is not kept, as nothing is drawn for what is kept.
const TRUSTED_BYTES_MAX: usize = 4 << 20;
/// An empty buffer larger than this is given back when the connection goes quiet.
const IDLE_BUFFER_BYTES_MAX: usize = 32 * 1024;
/// What stopping grants to answers that are under way.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// What all connections of a listener share.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) frame_bytes_max: usize,
    pub(crate) idle_ms: i64,
    pub(crate) clock: Clock,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("client closed the connection")]
    ByClient,
    #[error("idle for longer than connections.max.idle.ms")]
    Idle,
    #[error("a request was begun and comes too slowly")]
    Slow,
    #[error("request of {0} bytes is larger than socket.request.max.bytes or not a length at all")]
    FrameLength(i64),
    #[error("request cannot be read: {0}")]
    Malformed(String),
    #[error("closed after its last answer")]
    Answered,
    #[error("broker is stopping")]
    Stopping,
    #[error(transparent)]
    Socket(#[from] io::Error),
}

impl Rules {
    /// How long until the next look: soon enough that nobody stays idle for much longer than he may.
    fn next_look(&self) -> Duration {
        let tick_ms = (self.idle_ms / 4).clamp(DEADLINE_TICK_MS_MIN, DEADLINE_TICK_MS);
        let now_ms = self.clock.monotonic_ms();
        let shared = (now_ms + tick_ms).div_euclid(DEADLINE_TICK_MS_MIN) + 1;
        Duration::from_millis((shared * DEADLINE_TICK_MS_MIN - now_ms).unsigned_abs())
    }
}

enum Waiting {
    Ready(Answer),
    Later { answer: Later, overlaps: bool },
}

/// Owner of the socket and of everything that is under way on it.
pub(crate) struct Connection {
    stream: TcpStream,
    table: Arc<Table>,
    caller: Caller,
    rules: Rules,
    share: Share,
    buffer: BytesMut,
    /// The last whole frame with its prefix: the next is likely to be as large.
    last_frame_bytes: usize,
    waiting: VecDeque<Waiting>,
    outbox: Outbox,
    /// What is written next is being brought from its disk.
    warming: Option<Pin<Box<dyn Future<Output = io::Result<ColdPiece>> + Send>>>,
    /// Monotonic; nothing is read before it.
    muted_until_ms: i64,
    /// Monotonic; others look at it, to find out who was quiet for longest.
    heard_ms: Arc<AtomicI64>,
    /// All that ever came.
    heard_bytes: u64,
    /// All that had left at the last look.
    sent_bytes: u64,
    frames: u64,
    pace: Pace,
    closing: bool,
    /// Why nothing more will be read. What was read before is still run: a producer that wants no
    /// answer closes right behind its last request.
    over: Option<Ended>,
    /// One timer a connection, armed anew only when it rang: cheaper than one a turn.
    tick: Pin<Box<Sleep>>,
}

impl Connection {
    pub(crate) fn new(
        stream: TcpStream,
        peer: SocketAddr,
        listener: Arc<str>,
        table: Arc<Table>,
        rules: Rules,
        share: Share,
        heard_ms: Arc<AtomicI64>,
    ) -> Self {
        let tick = rules.next_look();
        Connection {
            stream,
            caller: Caller::new(peer.ip(), listener),
            table,
            rules,
            share,
            buffer: BytesMut::new(),
            last_frame_bytes: 0,
            waiting: VecDeque::new(),
            outbox: Outbox::default(),
            warming: None,
            muted_until_ms: 0,
            heard_ms,
            heard_bytes: 0,
            sent_bytes: 0,
            frames: 0,
            pace: Pace::default(),
            closing: false,
            over: None,
            tick: Box::pin(tokio::time::sleep(tick)),
        }
    }

    /// Serves until the client, a deadline or the broker ends it.
    pub(crate) async fn serve(mut self, stop: Stop) -> Ended {
        let ended = tokio::select! {
            ended = self.turns() => ended,
            () = stop.stopped() => {
                // What was asked is answered, if that takes no longer than the grace.
                self.closing = true;
                match tokio::time::timeout(STOP_GRACE, self.turns()).await {
                    Ok(ended) => ended,
                    Err(_late) => Ended::Stopping,
                }
            }
        };
        let (peer, listener) = (self.caller.peer(), self.caller.listener());
        debug!(%peer, %listener, reason = %ended, "connection ended");
        ended
    }

    /// One turn after another: run what is there, write, wait for more. Dropping the future
    /// between turns loses nothing: all state lies in `self`.
    async fn turns(&mut self) -> Ended {
        loop {
            if let Err(ended) = self.turn().await {
                return ended;
            }
        }
    }

    async fn turn(&mut self) -> Result<(), Ended> {
        let held_back = !self.closing && self.run_frames()?;
        self.collect_ready();
        let written = match self.write() {
            // Nobody takes answers any more; what was asked is done all the same.
            Err(_) if self.over.is_some() && self.has_frame() => {
                self.outbox.clear();
                return Ok(());
            }
            written => written?,
        };
        if (self.closing || !self.has_frame())
            && let Some(over) = self.over.take()
        {
            return Err(over);
        }
        if self.waiting.is_empty() && written {
            if self.closing {
                return Err(Ended::Answered);
            }
            if self.buffer.is_empty() {
                self.share.release();
                let room = match self.last_frame_bytes.max(self.buffer.capacity()) {
                    0..=OWN_BYTES => 0,
                    room => room,
                };
                if self.last_frame_bytes > TRUSTED_BYTES_MAX || !self.share.keep_room(room) {
                    self.give_back_room();
                }
            }
        }
        if held_back && written {
            // The answers are gone, and complete frames may be left in the buffer.
            return Ok(());
        }
        self.wait(written).await
    }

    /// Writes what can be written without waiting; true when all is gone.
    fn write(&mut self) -> io::Result<bool> {
        if self.warming.is_some() {
            return Ok(false);
        }
        Ok(match self.outbox.write_to(&self.stream)? {
            Written::All => true,
            Written::Blocked => false,
            Written::Cold(piece) => {
                self.warming = Some(Box::pin(piece.warm()));
                false
            }
        })
    }

    /// Waits for whatever can move this connection on.
    async fn wait(&mut self, written: bool) -> Result<(), Ended> {
        let muted_ms = self.muted_for_ms();
        let reads = !self.closing
            && self.over.is_none()
            && written
            && muted_ms <= 0
            && self.waiting.len() < WAITING_MAX
            && self.waiting.iter().all(Waiting::lets_others_by)
            && !self.holds_back_a_frame();
        let room = if reads { self.make_room().await } else { 0 };
        let reads = room > 0;
        let head = self.waiting.front_mut().and_then(|first| match first {
            Waiting::Later { answer, .. } => Some(answer),
            Waiting::Ready(_) => None,
        });
        let (mut finished, mut warmed) = (None, None);
        let warming = self.warming.as_mut();
        let is_warming = warming.is_some();
        let (mut reader, writer) = self.stream.split();
        let mut space = (&mut self.buffer).limit(room);
        // In this order, so that no client starves its own answers by asking more.
        tokio::select! { biased;
            answer = async { match head { Some(answer) => answer.await, None => std::future::pending().await } } => {
                finished = Some(answer);
            }
            // A read that leaves room has emptied the socket, and is not followed by another.
            read = reader.read_buf(&mut space), if reads => match read {
                Ok(0) => self.over = Some(Ended::ByClient),
                Ok(bytes) => {
                    self.heard_bytes += bytes as u64;
                    let now_ms = self.rules.clock.monotonic_ms();
                    self.heard_ms.store(now_ms, Ordering::Relaxed);
                }
                Err(e) => self.over = Some(e.into()),
            },
            ready = writer.writable(), if !written && !is_warming => ready?,
            piece = async { match warming { Some(piece) => piece.await, None => std::future::pending().await } } => {
                warmed = Some(piece);
            }
            () = async { tokio::time::sleep(Duration::from_millis(muted_ms.max(0).cast_unsigned())).await }, if muted_ms > 0 => {}
            () = self.tick.as_mut() => {
                let next = tokio::time::Instant::now() + self.rules.next_look();
                self.tick.as_mut().reset(next);
                self.check_deadlines(reads, written)?;
            }
        }
        if let Some(answer) = finished
            && let Some(first) = self.waiting.front_mut()
        {
            *first = Waiting::Ready(answer);
        }
        if let Some(piece) = warmed {
            self.warming = None;
            self.outbox.note_warm(&piece?);
        }
        Ok(())
    }

    /// For how long nothing is read; the clock is asked only where somebody was muted.
    fn muted_for_ms(&self) -> i64 {
        match self.muted_until_ms {
            0 => 0,
            until_ms => until_ms - self.rules.clock.monotonic_ms(),
        }
    }

    /// A complete frame that has to wait for an earlier answer: reading on would only fill memory.
    fn holds_back_a_frame(&self) -> bool {
        !self.waiting.is_empty() && self.has_frame()
    }

    fn has_frame(&self) -> bool {
        matches!(self.frame_len(), Ok(Some(len)) if self.buffer.len() >= 4 + len)
    }

    /// The length of the frame at the head of the buffer, once its four bytes are there.
    fn frame_len(&self) -> Result<Option<usize>, Ended> {
        let Some(prefix) = self.buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let claimed = i32::from_be_bytes(*prefix);
        match usize::try_from(claimed) {
            Ok(len) if len <= self.rules.frame_bytes_max => Ok(Some(len)),
            _ => Err(Ended::FrameLength(i64::from(claimed))),
        }
    }

    /// Runs every complete frame whose turn it is; true where it stopped because the client has to
    /// take its answers first.
    fn run_frames(&mut self) -> Result<bool, Ended> {
        while self.muted_for_ms() <= 0 && !self.closing && self.waiting.len() < WAITING_MAX {
            if self.outbox.held_bytes() > UNTAKEN_BYTES_MAX {
                return Ok(true);
            }
            let Some(len) = self.frame_len()? else {
                return Ok(false);
            };
            if self.buffer.len() < 4 + len {
                return Ok(false);
            }
            let overlapping = Table::overlaps(&self.buffer[4..4 + len]);
            if !self
                .waiting
                .iter()
                .all(|before| before.lets_by(overlapping))
            {
                return Ok(false);
            }
            self.last_frame_bytes = 4 + len;
            self.frames += 1;
            self.buffer.advance(4);
            let frame = self.share.hold(self.buffer.split_to(len).freeze());
            match self.table.run(&mut self.caller, frame) {
                Ok(Outcome::Now(answer)) => self.accept(answer),
                Ok(Outcome::Later { answer, overlaps }) => {
                    self.waiting.push_back(Waiting::Later { answer, overlaps });
                }
                Err(malformed) => return Err(Ended::Malformed(malformed.to_string())),
            }
        }
        Ok(false)
    }

    /// An answer that is there at once waits only for those before it.
    fn accept(&mut self, answer: Answer) {
        if self.waiting.is_empty() {
            self.send(answer);
        } else {
            self.waiting.push_back(Waiting::Ready(answer));
        }
    }

    fn collect_ready(&mut self) {
        while let Some(Waiting::Ready(_)) = self.waiting.front() {
            if let Some(Waiting::Ready(answer)) = self.waiting.pop_front() {
                self.send(answer);
            }
        }
    }

    fn send(&mut self, answer: Answer) {
        for part in answer.parts {
            self.outbox.push(part);
        }
        if answer.mute_ms > 0 {
            let until = self
                .rules
                .clock
                .monotonic_ms()
                .saturating_add(answer.mute_ms);
            self.muted_until_ms = self.muted_until_ms.max(until);
        }
        self.closing |= answer.close;
        if let Some(why) = answer.malformed {
            self.over = Some(Ended::Malformed(why.into()));
        }
    }

    /// How many bytes the next read may bring; there is room for them. A little for a stranger, the
    /// rest of the frame for one whose bytes come, never more at once than has come already or than
    /// the frame before had. 0 where memory must be waited for while earlier answers are still under
    /// way: those give it back.
    async fn make_room(&mut self) -> usize {
        let arrived = self.buffer.len();
        let trusted = self.last_frame_bytes.min(TRUSTED_BYTES_MAX);
        let begun = self.frame_len().ok().flatten();
        let end = begun.map_or(trusted, |len| 4 + len);
        let wanted = end.saturating_sub(arrived);
        let step = match arrived {
            0..READ_BYTES => READ_BYTES,
            arrived => arrived.max(GROW_BYTES_MIN),
        };
        let mut growth = wanted.min(step.max(trusted)).max(READ_BYTES / 2);
        let lacks_room =
            self.buffer.capacity() - arrived < growth && !self.buffer.try_reclaim(growth);
        let bytes = arrived + growth;
        // A frame that has begun draws for the room that an earlier one left, too.
        let draws = lacks_room || begun.is_some();
        if draws && !self.share.try_cover(bytes) {
            if begun.is_none() {
                // Nobody waits for memory that nobody has asked for yet.
                growth = READ_BYTES;
            } else if !self.waiting.is_empty() {
                return 0;
            } else {
                self.share.cover(bytes).await;
                // Nothing was read meanwhile: that is no slowness of the client's.
                self.pace.rest();
            }
        }
        if lacks_room {
            self.buffer.reserve(growth.max(READ_BYTES));
        }
        let room = self.buffer.capacity() - arrived;
        if wanted > 0 && arrived + wanted >= EXACT_BYTES_MIN {
            room.min(wanted)
        } else {
            room
        }
    }

    fn check_deadlines(&mut self, reads: bool, written: bool) -> Result<(), Ended> {
        let now_ms = self.rules.clock.monotonic_ms();
        // Kafka: who takes bytes is heard as who sends some is, however long an answer takes him.
        let sent_bytes = self.outbox.sent_bytes();
        if sent_bytes != self.sent_bytes {
            self.sent_bytes = sent_bytes;
            self.heard_ms.store(now_ms, Ordering::Relaxed);
        }
        let quiet_ms = now_ms - self.heard_ms.load(Ordering::Relaxed);
        if !reads || self.buffer.is_empty() {
            self.pace.rest();
        } else if !self.pace.look(self.frames, self.heard_bytes, now_ms) {
            return Err(Ended::Slow);
        }
        // A client that does not take its answer is as idle as one that asks nothing.
        let busy = !self.waiting.is_empty() && written;
        if !busy && quiet_ms > self.rules.idle_ms {
            return Err(Ended::Idle);
        }
        if reads && self.buffer.is_empty() && self.buffer.capacity() > IDLE_BUFFER_BYTES_MAX {
            self.give_back_room();
        }
        Ok(())
    }

    /// The connection begins anew, as a stranger. The buffer is empty.
    fn give_back_room(&mut self) {
        self.buffer = BytesMut::new();
        self.last_frame_bytes = 0;
        self.share.keep_room(0);
    }
}

impl Waiting {
    /// Whether a request that overlaps (or not) may run before this one is answered.
    fn lets_by(&self, overlapping: bool) -> bool {
        match self {
            Waiting::Ready(_) => true,
            Waiting::Later { overlaps, .. } => *overlaps && overlapping,
        }
    }

    fn lets_others_by(&self) -> bool {
        self.lets_by(true)
    }
}
