//! Every key Kafka knows: what it may hold, where it may be set, what this broker does with it.
//!
//! A *row* says all about a key ([`row::Row`]); the *tables* are in [`keys`]. A file or the
//! environment gives *texts* ([`read`], [`environment`]); texts lie in *layers*
//! ([`layers::Layers`]), the highest counts; parsed against the table they are *values*.
//!
//! Absent on purpose: behaviour. Whoever obeys a key lives elsewhere and sees plain structs.
//! Modules are listed lowest first; a module names only those before it.

/// What a key may hold, and Kafka's words for what it may not.
pub mod value;
/// The versions that two keys may name.
pub mod versions;
/// One key's row.
pub mod row;
/// THE tables.
pub mod keys;
/// Which of several texts counts.
pub mod layers;
/// A topic's overrides.
pub mod topics;
/// The known name a mistyped one resembles.
pub mod nearest;
/// Files of settings.
pub mod read;
/// Settings from environment variables.
pub mod environment;
