//! What goes back to a client: pieces of memory and ranges of files, now or later.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use base::disk::DiskFile;
use bytes::Bytes;
use replication::lanes::Lane;
use smallvec::SmallVec;

use crate::measures::requests::Timing;

/// One piece of an answer.
#[derive(Clone, Debug)]
pub enum Part {
    Bytes(Bytes),
    /// Leaves by `sendfile`, without entering our memory.
    File {
        file: Arc<dyn DiskFile>,
        position: u64,
        len: u64,
        /// The threads of the disk it lies on: should it not be in the page cache.
        lane: Arc<Lane>,
        /// The monotonic millisecond at which its first piece was found there.
        probed_ms: Option<i64>,
    },
}

impl Part {
    pub fn len(&self) -> u64 {
        match self {
            Part::Bytes(bytes) => bytes.len() as u64,
            Part::File { len, .. } => *len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A whole answer, its length prefix and header included. No parts: nothing is sent, as for a
/// produce that asked for no acks.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub parts: SmallVec<[Part; 2]>,
    /// For how long the connection reads nothing more after this: a quota was overdrawn.
    pub mute_ms: i64,
    /// The connection ends after this, as Kafka ends one whose unacknowledged produce failed.
    pub close: bool,
    /// There is no answer: the request could not be read, and here is why.
    pub malformed: Option<Box<str>>,
}

impl Answer {
    pub fn bytes(bytes: Bytes) -> Self {
        Answer {
            parts: SmallVec::from_iter([Part::Bytes(bytes)]),
            ..Answer::default()
        }
    }

    /// For a request that turned out to be none once it was looked at.
    pub fn to_malformed(why: &impl std::fmt::Display) -> Self {
        Answer {
            malformed: Some(why.to_string().into()),
            ..Answer::closing()
        }
    }

    pub fn closing() -> Self {
        Answer {
            close: true,
            ..Answer::default()
        }
    }
}

/// An answer that is not ready yet.
pub struct Later {
    answering: Pin<Box<dyn Future<Output = Answer> + Send>>,
    /// Ends as the answer is there.
    timing: Option<Timing>,
}

impl Later {
    pub fn new(answering: impl Future<Output = Answer> + Send + 'static) -> Self {
        Later {
            answering: Box::pin(answering),
            timing: None,
        }
    }

    pub fn timed(self, timing: Timing) -> Self {
        Later {
            timing: Some(timing),
            ..self
        }
    }
}

impl Future for Later {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let answer = ready!(self.answering.as_mut().poll(context));
        if let Some(timing) = self.timing.take() {
            timing.answered(false, answer.mute_ms);
        }
        Poll::Ready(answer)
    }
}

/// What a request led to.
pub enum Outcome {
    Now(Answer),
    /// Parked. `overlaps` where the next request of the connection need not wait for it, if that
    /// one overlaps as well: produces do, nothing else does.
    Later {
        answer: Later,
        overlaps: bool,
    },
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Now(answer) => f.debug_tuple("Now").field(answer).finish(),
            Outcome::Later { overlaps, .. } => f
                .debug_struct("Later")
                .field("overlaps", overlaps)
                .finish_non_exhaustive(),
        }
    }
}
