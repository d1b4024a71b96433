//! Ctrl-C and the request to end, heard from the tool's start on: one that comes while the tool is busy
//! is there when it looks next.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    pub(crate) fn listen() -> Result<Interrupts, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|cause| Failure::File {
                act: "listen for",
                path: "signals".to_owned(),
                cause,
            })
        };
        Ok(Interrupts {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Waits for one; gives the exit code that goes with it. May be dropped while waiting.
    ///
    /// Kafka: a JVM ends with 128 and the signal's number.
    pub(crate) async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
        }
    }
}
