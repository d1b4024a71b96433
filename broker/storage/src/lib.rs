//! The log on disk: Apache Kafka 3.9's format, byte for byte, written fast and recovered whole.
//!
//! Words: a *log* is one partition's records here; it lies in *segments*, files named after the first
//! offset they may hold; only the last, the *active* one, is appended to. *Start* is the first
//! offset that may be read, *end* the next to be written.
//!
//! Blocking code, nothing async; no network, no replicas, no access rules. No file is ever
//! memory-mapped. Modules are listed lowest first; a module names only those before it.

pub mod files;
pub mod error;
pub mod config;
pub mod offsets;
pub mod identity;
pub mod inspect;
pub mod checkpoint;
pub(crate) mod side_by_side;
pub(crate) mod handles;
pub mod scan;
pub(crate) mod index;
pub(crate) mod producers;
pub(crate) mod producer_snapshot;
pub(crate) mod epochs;
pub(crate) mod crew;
pub(crate) mod group_commit;
pub(crate) mod vetting;
pub mod directory;
pub mod segment;
pub(crate) mod trash;
pub(crate) mod retention;
pub mod log;
pub mod store;
pub(crate) mod writeback;
pub mod compaction;
pub(crate) mod housekeeping;
