//! Talking to other brokers, and to ourselves when we are one of them.
//!
//! [`orders`] carries what the controller decided, [`link`] asks the controller, [`isr`] proposes
//! ISRs through it ([`proposals`]), or at old protocol versions writes them by [`writing`]. Orders
//! for this very broker do not pass a socket: they are handed to [`LocalBroker`] as the same request
//! values, one at a time, answered before the next, so that nothing but the bytes is saved.

pub mod versions;
pub mod spelling;
pub mod orders;
pub mod proposals;
pub mod link;
pub mod writing;
pub mod isr;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use protocol::messages::{RequestKind, ResponseKind};

/// Obeys orders inside this process: the same handlers that serve the wire.
pub trait LocalBroker: Send + Sync + fmt::Debug {
    /// Answers in the same version; `None` where the request is not an order.
    fn obey(
        &self,
        version: i16,
        request: RequestKind,
    ) -> Pin<Box<dyn Future<Output = Option<ResponseKind>> + Send + '_>>;
}
