//! Envelope: a request wrapped for the controller.
//!
//! Kafka: without forwarding, which only a migration to KRaft turns on, the connection is closed.

/// There is nothing to answer.
pub(crate) const fn answer() -> Option<std::convert::Infallible> {
    None
}
