//! What goes back to one client: bytes the pipeline leaves and the connection sends.
//!
//! Bounded twice: a client with many requests unanswered is not read from, and one that lets its
//! replies pile up is dropped.

use parking_lot::Mutex;
use tokio::sync::Notify;

/// More unsent bytes than this, and the client is dropped.
const BYTES_MAX: usize = 64 << 20;

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    closing: bool,
    /// Requests whose fate is settled.
    answered: u64,
}

/// Shared by the pipeline and one connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

/// What there is to send.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) bytes: Vec<u8>,
    pub(crate) closing: bool,
    pub(crate) answered: u64,
}

impl Outbox {
    /// Leaves bytes; takes them out of `bytes`. False where the client must be dropped.
    pub(crate) fn leave(&self, bytes: &mut Vec<u8>, answered: u64) -> bool {
        let mut waiting = self.waiting.lock();
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
