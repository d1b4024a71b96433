//! Clients of many hands, unmodified: what they write, read, join and survive.
//!
//! `tests/clients/README.md` tells how a client's thin program is spoken to.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test program"
)]

mod programs;
mod records;
mod members;
mod cuts;
mod kills;
mod many_groups;
mod partings;
mod limits;
