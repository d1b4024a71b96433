//! A small admin, producer and consumer, written once for every tool.

pub mod murmur2;
pub mod admin;
pub mod offsets;
pub mod producer;
pub mod assignors;
pub mod consumer;


/// Takes an answer's body out of its kind, or fails with the name of the API.
#[macro_export]
macro_rules! body {
    ($answer:expr, $kind:ident) => {
        match $answer {
            protocol::messages::ResponseKind::$kind(body) => body,
            _ => return Err($crate::failure::Failure::Kind(protocol::kafka::apis::Api::$kind)),
        }
    };
}
