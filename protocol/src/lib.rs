//! The two wire languages, Kafka's and ZooKeeper's: bytes to values and back, nothing else.
//!
//! No sockets, no files, no clocks, no tokio. Modules are listed lowest first; a module names
//! only those before it.

pub mod ids;
pub mod names;
pub mod limits;
pub mod batch;
pub mod kafka;
pub mod internal;
pub mod zookeeper;

pub use kafka_protocol::messages;
pub use kafka_protocol::protocol::StrBytes;
