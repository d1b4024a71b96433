//! The cluster's one decider: which broker leads which partition, and who is told.
//!
//! Decides and writes to ZooKeeper; never opens a socket and never touches a log. What wakes it
//! is listed in [`event`], what it tells brokers in [`sender`]. `assign` and
//! `choose_leader` are pure and serve the admin APIs and the tools as well. Modules are listed
//! lowest first; a module names only those before it.

pub mod assign;
pub mod choose_leader;
pub mod sender;
mod context;
pub mod measures;
mod outbox;
pub mod event;
mod election;
pub mod producer_ids;
mod agreed;
mod features;
pub mod reign;
mod partitions;
mod replicas;
mod topics;
mod deletion;
mod reassignment;
mod balance;
mod isr;
mod shutdown;
mod brokers;
mod failover;
mod next;
pub mod run;

pub use agreed::Agreed;
pub use reign::{Config, RememberedId};
pub use run::{ControllerHandle, Parts, Status, start};
