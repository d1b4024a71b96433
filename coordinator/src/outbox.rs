//! What goes back to one client: bytes the pipeline leaves and the connection sends.
//!
//! Bounded thrice: a client that does not take its replies gets no more of its requests answered
//! until it does, one whose events pile up all the same is dropped, and while all clients together
//! have much that is unsent nobody is made a large reply.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// More bytes of events than this that wait to be sent, and the client is dropped. A reply may be of
/// any size, as in ZooKeeper: there is never more than one that is large.
const EVENTS_MAX: usize = 64 << 20;
/// More unsent bytes than this, and nothing more is answered for now.
const FULL: usize = 1 << 20;
/// A reply of more bytes than this is large.
pub(crate) const LARGE: usize = FULL;
/// The same once all clients together have more than [`ALL_FULL`].
const FULL_AMONG_MANY: usize = 64 << 10;
const ALL_FULL: usize = 128 << 20;

/// What all outboxes have in common.
#[derive(Debug, Default)]
pub(crate) struct Unsent {
    bytes: AtomicUsize,
    /// The pipeline holds large replies back until there is room.
    starved: AtomicBool,
}

/// For whom there is room again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// For this client's requests.
    pub(crate) own: bool,
    /// For large replies, to whomever.
    pub(crate) large: bool,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// How many of them tell events.
    events: usize,
    closing: bool,
    /// Requests whose fate is settled.
    answered: u64,
}

/// Shared by the pipeline and one connection.
#[derive(Debug)]
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    wake: Notify,
    /// Bytes left here and not yet sent.
    unsent: AtomicUsize,
    /// The pipeline holds requests back until there is room.
    starved: AtomicBool,
    /// What is unsent in all outboxes.
    all: Arc<Unsent>,
}

/// What there is to send.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) bytes: Vec<u8>,
    pub(crate) closing: bool,
    pub(crate) answered: u64,
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let unsent = self.unsent.load(Ordering::SeqCst);
        self.all.bytes.fetch_sub(unsent, Ordering::SeqCst);
    }
}

impl Outbox {
    /// One of several whose unsent bytes are counted together.
    pub(crate) fn among(all: &Arc<Unsent>) -> Self {
        Outbox {
            waiting: Mutex::default(),
            wake: Notify::new(),
            unsent: AtomicUsize::new(0),
            starved: AtomicBool::new(false),
            all: Arc::clone(all),
        }
    }

    /// Whether enough waits to be sent, with `more` that is still to be left.
    pub(crate) fn is_full(&self, more: usize) -> bool {
        let own = self.unsent.load(Ordering::SeqCst) + more;
        own > FULL || own > FULL_AMONG_MANY && self.are_all_full()
    }

    /// Whether a large reply has to wait until others were taken.
    pub(crate) fn are_all_full(&self) -> bool {
        self.all.bytes.load(Ordering::SeqCst) > ALL_FULL
    }

    /// As [`Outbox::starve`], for a large reply.
    pub(crate) fn starve_for_large(&self) {
        self.all.starved.store(true, Ordering::SeqCst);
    }

    /// Asks to be told of room; whoever says so looks once more whether there is some already.
    pub(crate) fn starve(&self) {
        self.starved.store(true, Ordering::SeqCst);
    }

    /// Bytes have been sent; which room somebody is to be told of.
    pub(crate) fn sent(&self, len: usize) -> Room {
        self.unsent.fetch_sub(len, Ordering::SeqCst);
        self.all.bytes.fetch_sub(len, Ordering::SeqCst);
        Room {
            own: !self.is_full(0) && self.starved.swap(false, Ordering::SeqCst),
            large: !self.are_all_full() && self.all.starved.swap(false, Ordering::SeqCst),
        }
    }

    /// Leaves bytes, of which `events` tell events; takes them out of `bytes`. False where the client
    /// must be dropped.
    pub(crate) fn leave(&self, bytes: &mut Vec<u8>, events: usize, answered: u64) -> bool {
        let mut waiting = self.waiting.lock();
        // Before they can be taken: what is sent was counted.
        self.unsent.fetch_add(bytes.len(), Ordering::SeqCst);
        self.all.bytes.fetch_add(bytes.len(), Ordering::SeqCst);
        if waiting.bytes.is_empty() {
            std::mem::swap(&mut waiting.bytes, bytes);
        } else {
            waiting.bytes.append(bytes);
            // The room that a large reply took is not kept.
            bytes.shrink_to(LARGE);
        }
        waiting.events += events;
        waiting.answered += answered;
        let fits = waiting.events <= EVENTS_MAX;
        drop(waiting);
        self.wake.notify_one();
        fits
    }

    /// The connection ends once it has sent what is here.
    pub(crate) fn close(&self) {
        self.waiting.lock().closing = true;
        self.wake.notify_one();
    }

    /// Waits until something was left; dropping the future early is safe.
    pub(crate) async fn filled(&self) {
        self.wake.notified().await;
    }

    /// Takes what is there; `spare` becomes the next buffer.
    pub(crate) fn take(&self, spare: Vec<u8>) -> Outgoing {
        let mut waiting = self.waiting.lock();
        let bytes = std::mem::replace(&mut waiting.bytes, spare);
        waiting.events = 0;
        let answered = std::mem::take(&mut waiting.answered);
        Outgoing {
            bytes,
            closing: waiting.closing,
            answered,
        }
    }
}
