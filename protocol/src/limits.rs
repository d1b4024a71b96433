//! Bounds of the wire: how large a thing from the network may be before anyone looks inside.

/// The largest request a listener takes by default (`socket.request.max.bytes`).
pub const REQUEST_BYTES_MAX_DEFAULT: usize = 100 * 1024 * 1024;

/// The largest request before the other side has said who it is.
/// Kafka: the same 512 KiB (`sasl.server.max.receive.size`).
pub const UNAUTHENTICATED_BYTES_MAX: usize = 512 * 1024;

/// The shortest request header: key, version, correlation id.
pub const REQUEST_HEADER_BYTES_MIN: usize = 8;

/// The largest answer a client of ours takes in one frame.
pub const ANSWER_BYTES_MAX: usize = i32::MAX as usize;

/// The longest string outside compact encoding, and, as in Java, inside it.
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// A frame's length prefix.
pub const LENGTH_PREFIX_BYTES: usize = 4;

const _: () = assert!(UNAUTHENTICATED_BYTES_MAX <= REQUEST_BYTES_MAX_DEFAULT);
const _: () = assert!(REQUEST_HEADER_BYTES_MIN < UNAUTHENTICATED_BYTES_MAX);
