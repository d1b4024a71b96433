//! Talking to other brokers.
