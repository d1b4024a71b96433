//! The two wire languages, Kafka's and ZooKeeper's: bytes to values and back, nothing else.
//!
//! No sockets, no files, no clocks, no tokio. Modules are listed lowest first; a module names
//! only those before it.

pub mod ids;
pub mod names;
<<<<<<< HEAD
pub mod internal;
=======
pub mod limits;
pub mod kafka;

pub use kafka_protocol::messages;
pub use kafka_protocol::protocol::StrBytes;
>>>>>>> 75c0c47 (Kafka's wire: apis, frames, headers, shapes, codec, Produce and Fetch)
