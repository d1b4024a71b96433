//! What is counted where requests run and connections live.
//!
//! Everything here is added to in hot paths and read by whoever serves `/metrics`
//! ([`crate::server`] builds that text). Hot path: a request costs two looks at the clock and some
//! uncontended additions; nothing is looked up by name, locked or allocated, but for an API's first
//! request ever and a listener's start.

/// Requests: how many, how long, with which outcome.
pub mod requests;
/// Connections, by listener.
pub mod doors;
/// Waiting for what hangs.
pub mod patience;

pub use doors::{Door, Doors};
pub use patience::Patience;
pub use requests::{Parked, Requests, Waits};
