//! ZooKeeper's client protocol: frame, header, operation, reply; and the records of its files.
//!
//! A frame is a four-byte length and a body. The first body of a connection is a connect request;
//! each later one is a header (`xid`, operation) and a record. Everything is *jute*: big-endian
//! integers, strings and buffers after a length (−1: none), vectors after a count. Nothing here
//! trusts a length or a count: all are compared with the bytes that are there.

pub mod jute;
pub mod errors;
pub mod ops;
pub mod types;
pub mod requests;
pub mod replies;
pub mod txns;
