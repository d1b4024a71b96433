//! `kafka-producer-perf-test` and `kafka-consumer-perf-test`: how fast records go in and out.

mod metrics;
mod payloads;
mod stats;
pub(crate) mod producer;
pub(crate) mod consumer;
