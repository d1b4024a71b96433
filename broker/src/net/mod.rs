//! Listeners and connections. A connection's life:
//!
//! ```text
//! accept ─ places ─▶ read everything readable ─▶ frames ─▶ api::table ─▶ answers, in order ─▶ write once
//!                        ▲        │ memory from one budget       │ or parked: fetch, produce
//!                        └────────┴──────── idle, slow, stop ◀───┘
//! ```
//!
//! Requests of one connection run one after the other, as Kafka's muted channels make them, with
//! one exception: a produce that waits for its acks does not hold back the next produce.

pub mod budget;
pub mod outbox;
pub mod pace;
pub mod places;
pub mod knocks;
pub mod connection;
pub mod listen;
pub mod gates;
pub mod http;
