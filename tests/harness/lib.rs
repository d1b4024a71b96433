//! The second world: brokers in this process and real ones, real peers, waiting without guessing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "tests fail by panicking and live on the machine's own time"
)]

pub mod wait;
pub mod loud;
pub mod ports;
pub mod tool;
pub mod peers;
pub mod process;
pub mod asker;
pub mod alone;
pub mod cluster;
pub mod proxy;
