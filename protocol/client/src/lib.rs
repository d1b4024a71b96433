//! A client's side of Kafka's protocol: connections, versions, and one connection a node.
//!
//! What stands on it decides *what* to ask; this crate knows how to reach a broker, which version
//! both sides speak, and who is to blame when it fails. There are no background tasks: an answer
//! is read by whoever waits for it.

pub mod error;
pub mod dial;
pub mod versions;
pub mod connection;
pub mod pool;

pub use connection::Connection;
pub use error::ClientError;
pub use pool::{Node, Pool};
pub use versions::Versions;
