//! The second world: real processes, real peers, and waiting without guessing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "tests fail by panicking and live on the machine's own time"
)]

pub mod wait;
pub mod peers;
pub mod process;
