//! Several brokers in one cluster: ours on Apache's ZooKeeper and on our coordinator, and ours
//! beside Apache's. Brokers are killed, frozen, cut off and restarted; what the znodes then say
//! and what clients are told is compared with what Kafka leaves.
//!
//! Where a peer is missing (`tests/peers/install`) its tests say SKIPPED; with
//! ROTPETER_REQUIRE_PEERS=1 they fail instead.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test program: a panic is its way to fail, and the machine's time is its time"
)]

mod ask;
mod shell;
mod stage;
mod proxy;
mod trio;
mod neighbours;
mod racks;
mod scenarios;
mod failovers;
mod trees;
mod tools;
