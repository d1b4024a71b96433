//! The doors of the security APIs, as a broker without access rules and without tokens answers.
//!
//! Kafka: `AclApis` with no authorizer, and the token APIs on a PLAINTEXT listener, where they are
//! refused before anything else is looked at.

pub mod acls;
pub mod delegation_tokens;
