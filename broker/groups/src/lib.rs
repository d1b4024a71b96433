//! Consumer groups, as a brain: requests, write results and time in; answers and records out.
//!
//! No tokio, no clock, no disk, no randomness: all of them are arguments, so that every story can
//! be told again. Behaviour is that of Kafka 3.9's classic coordinator (`GroupCoordinator`), the
//! only one it has with ZooKeeper.
//!
//! ```text
//!          join                       all joined, or time is up
//!   Empty ──────▶ PreparingRebalance ───────────────────────────▶ CompletingRebalance
//!     ▲               │      ▲  ▲                                       │      │
//!     └───────────────┘      │  └───────────────────────────────────────┘      │ leader's
//!       nobody is left       │        join, leave, expiry, sync time is up     │ assignment
//!                            │                                                 ▼ is written
//!                            └────────────────────────────────────────────── Stable
//! ```
//!
//! *Dead* is a group that is not there. A *generation* is one completed agreement on who is a
//! member; every later request names it, so that whoever missed the next one is told so. A
//! *static* member names itself (`group.instance.id`) and may come back under a new member id
//! without disturbing the others. A *pending* member has been given an id and asked to join again
//! with it.
//!
//! Invariant: what a client is told to be stored has been written first: an [`outcome::Answer`]
//! that depends on a write is given only when [`machine::Machine::written`] hears of it.

pub mod refusal;
pub mod config;
pub mod outcome;
pub mod member;
pub mod offsets;
mod work;
pub mod group;
pub mod machine;
pub mod rebalance;
pub mod join;
pub mod sync;
pub mod heartbeat;
pub mod leave;
pub mod commit;
pub mod expiry;
pub mod describe;
pub mod delete;
pub mod written;
pub mod load;

pub use config::Config;
pub use machine::Machine;
pub use outcome::{Answer, Now, Outcome, Ticket, WriteId};
pub use refusal::Refusal;
