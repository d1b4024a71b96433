//! Our coordinator beside Apache's ZooKeeper 3.9: the same requests, the same answers; each opens
//! the other's directory; and ours is killed again and again without losing what it acknowledged.
//!
//! Where no ZooKeeper is installed (`tests/peers/install`) the comparing tests say SKIPPED, loudly;
//! with ROTPETER_REQUIRE_PEERS=1 they fail instead. ROTPETER_SEED chooses another random run,
//! ROTPETER_KILLS more rounds.

#![allow(
    clippy::unwrap_used,
    reason = "a test program: a panic is its way to fail"
)]

#[path = "../../coordinator/tests/raw/mod.rs"]
mod raw;
mod servers;
mod requests;
mod differential;
mod recorded;
mod shell;
mod secured;
mod directories;
mod kills;
mod refusals;
mod clients;
