//! Changes an operator asks for.

/// Overrides below `/config`.
pub mod entities;
/// Passwords among overrides.
pub mod secrets;
/// Settings of brokers and topics.
pub mod configs;
/// Log levels.
pub mod loggers;
/// Limits of users, clients and addresses.
pub mod quotas;
/// Credentials of users.
pub mod scram;
/// What others wrote below `/config`.
pub mod changes;
/// Topics: created, grown, deleted.
pub mod topics;
/// Topics made on first mention.
pub mod auto_create;
