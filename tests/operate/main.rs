//! Running it: measurements, health, settings changed while it runs, and what its log says.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test program"
)]

mod running;
mod metrics;
mod health;
mod settings;
mod words;
mod longest;
mod apache;
