//! The records that brokers keep for themselves: committed offsets, groups, transactions, and
//! the markers that end a transaction.
//!
//! A key and a value each begin with their own 16-bit version; what follows is written as in
//! requests of old (`i16` length, `i32` count), from the first *flexible* version on with
//! compact lengths and tagged fields. A missing value is a tombstone.
//!
//! Invariant: reading never panics, and never allocates by a count that the bytes there could
//! not hold. Readers lend from the record, so that loading a partition copies only what stays.

mod fields;

pub mod groups;
pub mod offsets;
pub mod consumer;
pub mod txns;
pub mod markers;

pub use fields::Malformed;
