//! What tools up to Kafka 2.8 did with `--zookeeper`: the same commands on the znodes themselves.
//!
//! They work with no broker running; whoever runs sees the writes through his watches. Nothing here
//! looks at the controller's epoch: Kafka's old tools did not either. Absent: ACLs of the nodes, and
//! TLS to ZooKeeper.

pub(crate) mod writes;
pub(crate) mod topics;
pub(crate) mod configs;
pub(crate) mod election;

use base::clock::Clock;
use znodes::zookeeper::{Config, ZooKeeper};

use crate::failure::Failure;

const CONNECT_WITHIN_MS: i64 = 30_000;

/// A session with the ZooKeeper a command line names.
pub(crate) async fn session(connect: &str) -> Result<ZooKeeper, Failure> {
    Ok(ZooKeeper::connect(Config::new(connect), Clock::system(), CONNECT_WITHIN_MS).await?)
}
