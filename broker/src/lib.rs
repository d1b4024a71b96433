//! The broker: hands for what the crates beneath decide.
//!
//! This list is the floor plan, lowest floor first: a module names only modules listed before it.

/// Settings, checked once and cut into what each room needs.
pub mod config;
/// What is counted where requests run and connections live.
pub mod measures;
/// What strangers can make us warn of as often as they like, said once a minute.
pub mod complaints;
/// The broker's copy of what the controller says about the cluster.
pub mod metadata;
/// How much a client may use.
pub mod quota;
/// Talking to other brokers, and to ourselves when we are one of them.
pub mod peer;
/// Groups hosted on their internal topic.
pub mod coordination;
/// Changes an operator asks for.
pub mod admin;
/// One file an API: read, authorize, call, map errors, answer.
pub mod api;
/// Listeners and connections.
pub mod net;
/// The coordinator inside this process.
pub mod embedded;
/// Puts everything together, floor by floor; starts it and stops it.
pub mod server;
