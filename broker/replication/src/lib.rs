//! Replicas of a log: who leads, who follows, what is committed.
//!
//! Words: a *replica* is one broker's copy of a partition. One replica is the *leader*, which takes
//! appends; the others *follow* by fetching from it. The *ISR* are those in sync: the leader and
//! every follower that keeps up. The *watermark* (high watermark) is the offset beneath which
//! every member of the ISR has every record. A partition of one replica is an ISR of one and takes
//! the same road as any other.
//!
//! Five invariants:
//! - I-1. One leader a partition and leader epoch; an order with an older epoch changes nothing.
//! - I-2. What was acknowledged to `acks=all` lies beneath the watermark of every later leader.
//! - I-3. The watermark never passes the end of a member of the maximal ISR, and never falls while
//!   this broker leads.
//! - I-4. At most one proposal for the ISR is in flight a partition.
//! - I-5. A consumer reads beneath the watermark only (beneath the stable offset, if it asks for
//!   committed records); a follower reads to the end.
//!
//! No sockets and no ZooKeeper here: whoever decides about the ISR is behind
//! [`endpoint::IsrKeeper`]. Modules are listed lowest first; a module names only those before it.

pub mod config;
pub mod error;
pub mod endpoint;
pub mod waiting;
mod gathering;
pub mod lanes;
mod hangs;
pub mod traffic;
pub mod partition;
pub mod pace;
pub mod moves;
pub mod replicas;
pub mod asking;
pub mod append;
pub mod sessions;
pub mod read;
pub mod cold;
pub mod move_dir;
pub mod role;
pub mod offline;
pub mod checkpoints;
