//! From API key to handler: the only holder of all services.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::api::answer::Outcome;

/// Who a connection belongs to.
#[derive(Debug)]
pub struct Caller {
    peer: IpAddr,
    listener: Arc<str>,
}

impl Caller {
    pub fn new(peer: IpAddr, listener: Arc<str>) -> Self {
        Caller { peer, listener }
    }

    pub fn peer(&self) -> IpAddr {
        self.peer
    }

    pub fn listener(&self) -> &Arc<str> {
        &self.listener
    }
}

/// All services, and which API asks which.
#[derive(Debug)]
pub struct Table {}

/// The frame is not a request we can read; the connection ends, as Kafka ends it.
#[derive(Debug, thiserror::Error)]
#[error("malformed")]
pub struct Malformed;

impl Table {
    /// Whether the request in `frame` may run while others that overlap are not answered yet.
    pub fn overlaps(frame: &[u8]) -> bool {
        frame.first_chunk::<2>() == Some(&[0, 0])
    }

    pub fn run(
        &self,
        _caller: &mut Caller,
        _frame: Bytes,
        _now_ms: i64,
    ) -> Result<Outcome, Malformed> {
        Err(Malformed)
    }
}
