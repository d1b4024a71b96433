//! What all programs of the benchmark share: frames that are encoded once and sent many times.

#![allow(
    clippy::disallowed_methods,
    reason = "a load program lives on the machine's own time"
)]

/// Kafka's protocol, as a client that replays speaks it.
pub mod wire;
/// A member of a consumer group.
pub mod member;
/// ZooKeeper's protocol, the same way.
pub mod keeper;
