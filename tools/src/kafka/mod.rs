//! A small admin, producer and consumer, written once for every tool.

pub(crate) mod murmur2;
pub(crate) mod stickiness;
pub(crate) mod admin;
pub(crate) mod offsets;
pub(crate) mod producer;
pub(crate) mod assignors;
pub(crate) mod consumer;

/// Takes an answer's body out of its kind, or fails with the name of the API.
#[macro_export]
macro_rules! body {
    ($answer:expr, $kind:ident) => {
        match $answer {
            protocol::messages::ResponseKind::$kind(body) => body,
            _ => {
                return Err($crate::failure::Failure::Kind(
                    protocol::kafka::apis::Api::$kind,
                ))
            }
        }
    };
}
