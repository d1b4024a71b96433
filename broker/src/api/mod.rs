//! One file an API, each a thin door: decode, authorize, call one service, map errors, answer.
//!
//! A handler is `answer(context, named services…, request) -> response`: its signature lists all
//! it may touch. Only `table` holds the bag of all services, and only `errors` knows both our
//! errors and Kafka's codes.

pub mod slow_lane;
pub mod request;
pub mod answer;
pub mod toll;
pub mod errors;
pub mod legal;
mod weight;
mod again;
pub mod session;
pub mod data;
pub mod groups;
pub mod transactions;
pub mod topics;
pub mod cluster;
pub mod configs;
pub mod security;
pub mod peers;
pub mod table;
