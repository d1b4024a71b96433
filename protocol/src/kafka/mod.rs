//! Kafka's protocol: frame → header → body.
//!
//! ```text
//! length i32 │ key i16 │ version i16 │ correlation i32 │ client id │ tagged │ body …   a request
//! length i32 │ correlation i32 │ tagged │ body …                                      an answer
//! ```
//!
//! `frame` cuts the stream, `header` reads who asks what, `shape` compares every count and length
//! with the bytes that are there, `codec` turns the body into `kafka-protocol`'s types. Produce
//! and Fetch have decoders and encoders of their own in `data`; answers with holes for file ranges
//! are `reply`.

pub mod apis;
pub mod errors;
pub mod frame;
pub mod shape;
pub mod header;
pub mod reply;
pub mod codec;
pub mod data;
