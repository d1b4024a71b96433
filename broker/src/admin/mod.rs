//! Changes an operator asks for.

/// Overrides below `/config`.
pub mod entities;
/// Settings of brokers and topics.
pub mod configs;
