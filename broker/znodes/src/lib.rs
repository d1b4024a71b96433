//! The cluster's facts in ZooKeeper: which lie where, who may write which, and how they are spelled.
//!
//! Reads and writes facts; decides nothing. [`store::Store`] is the seam: the real thing over the
//! `zookeeper-client` crate, and one in memory with the same versions and watches for the tests
//! of whoever decides. Modules are listed lowest first; a module names only those before it.
//!
//! Words: a *node* is a znode; its *version* counts the writes of its data; a *watch* fires once;
//! a *session* keeps the ephemeral nodes of one process alive.

pub mod paths;
pub mod bodies;
pub mod store;
pub mod memory;
pub mod bare;
pub mod zookeeper;
pub mod session;
pub mod fence;
pub mod changes;
pub mod registration;
pub mod isr;
pub mod belonging;
