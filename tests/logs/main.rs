//! The log's files under Apache's eyes, and under failing machines.
//!
//! `dumped`: Apache's dump tool reads what we write. `both_ways`: each broker opens the other's
//! directories. `compacted`: what compaction leaves is what Apache's does. `moves`: replicas change directories. `room`: zeros behind a busy durable log. `kills`, `mounts`: what is left after kill -9, a power cut, a full or frozen disk.
//! `scale`, `led`: very many partitions.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test program"
)]

mod wire;
mod apache;
mod written;
mod dumped;
mod both_ways;
mod compacted;
mod moves;
mod room;
mod kills;
mod mounts;
mod scale;
mod led;
