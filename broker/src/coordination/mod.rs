//! Hosts the group brain on the partitions of `__consumer_offsets` that this broker leads.
//!
//! A *shard* is one partition with its brain behind one lock. Whoever brings an event runs it to
//! the end on his own thread: lock, ask the brain, unlock, append what it wants written, hand out
//! answers. One at a time appends in a shard; who finds another at it leaves his own writes to him
//! and waits for his answer. Where the partition has no other replica the append is acknowledged at
//! once and so is the request; otherwise results are taken up in log order by one task a shard. A
//! heartbeat is a lock, two lookups, an unlock, whatever the disk does.
//!
//! Invariant: the order of a shard's appends is the order of its brain's events, and their results
//! come back to it in that order.

pub mod route;
pub mod log;
pub mod batch;
pub mod load;
pub mod shard;
pub mod groups;
pub mod verbs;

pub use crate::coordination::groups::{Groups, Settings};

#[cfg(test)]
mod tests;
