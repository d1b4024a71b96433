//! What goes back to one client: bytes the pipeline leaves and the connection sends.
//!
//! Bounded twice: a client that does not take its replies gets no more of its requests answered
//! until it does, and one whose events pile up all the same is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// More unsent bytes than this, and the client is dropped.
const BYTES_MAX: usize = 64 << 20;
/// More unsent bytes than this, and nothing more is answered for now.
const FULL: usize = 1 << 20;
/// The same once all clients together have more than [`ALL_FULL`].
const FULL_AMONG_MANY: usize = 64 << 10;
const ALL_FULL: usize = 128 << 20;

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
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
    all: Arc<AtomicUsize>,
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
        self.all.fetch_sub(unsent, Ordering::SeqCst);
    }
}

impl Outbox {
    /// One of several whose unsent bytes are counted together.
    pub(crate) fn among(all: &Arc<AtomicUsize>) -> Self {
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
        own > FULL || own > FULL_AMONG_MANY && self.all.load(Ordering::SeqCst) > ALL_FULL
    }

    /// Asks to be told of room; whoever says so looks once more whether there is some already.
    pub(crate) fn starve(&self) {
        self.starved.store(true, Ordering::SeqCst);
    }

    /// Bytes have been sent; whether somebody is to be told of the room.
    pub(crate) fn sent(&self, len: usize) -> bool {
        self.unsent.fetch_sub(len, Ordering::SeqCst);
        self.all.fetch_sub(len, Ordering::SeqCst);
        !self.is_full(0) && self.starved.swap(false, Ordering::SeqCst)
    }

    /// Leaves bytes; takes them out of `bytes`. False where the client must be dropped.
    pub(crate) fn leave(&self, bytes: &mut Vec<u8>, answered: u64) -> bool {
        let mut waiting = self.waiting.lock();
        // Before they can be taken: what is sent was counted.
        self.unsent.fetch_add(bytes.len(), Ordering::SeqCst);
        self.all.fetch_add(bytes.len(), Ordering::SeqCst);
        if waiting.bytes.is_empty() {
            std::mem::swap(&mut waiting.bytes, bytes);
        } else {
            waiting.bytes.append(bytes);
        }
        waiting.answered += answered;
        let fits = waiting.bytes.len() <= BYTES_MAX;
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
        let answered = std::mem::take(&mut waiting.answered);
        Outgoing {
            bytes,
            closing: waiting.closing,
            answered,
        }
    }
}
