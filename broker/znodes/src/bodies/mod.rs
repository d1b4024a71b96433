//! Node bodies: JSON spelled as Kafka 3.9 spells it, byte for byte.
//!
//! Writing keeps Kafka's key order and puts no blanks. Reading is as strict as Kafka's decoders:
//! a number where a text is expected is refused, and the reverse; unknown keys are passed over.

pub mod json;
pub mod broker;
pub mod topic;
pub mod partition;
pub mod controller;
pub mod cluster;
pub mod config;
pub mod reassign;
pub mod notices;
pub mod producer_ids;
pub mod features;
pub mod acl;
pub mod scram;
pub mod secret;
pub mod token;

pub use json::BodyError;

#[cfg(test)]
mod tests;
