//! Who failed: the network, the other side, or we ourselves; and whether to try again.

use protocol::kafka::apis::Api;
use protocol::kafka::codec::CodecError;
use protocol::kafka::errors::ErrorCode;
use protocol::kafka::frame::FrameError;
use protocol::kafka::shape::Malformed;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The text is not `host:port`.
    #[error("invalid address {0}: it has the form host:port")]
    Address(String),
    #[error("cannot reach {address} (name does not resolve)")]
    Unresolved { address: String },
    #[error("cannot reach {address} ({cause})")]
    Unreachable {
        address: String,
        cause: std::io::Error,
    },
    #[error("cannot reach {address} (no answer within {waited_ms} ms)")]
    DialTimeout { address: String, waited_ms: u64 },
    #[error("lost the connection to {address}: {cause}")]
    Broken {
        address: String,
        cause: std::io::Error,
    },
    #[error("{address} closed the connection")]
    Closed { address: String },
    #[error("{address} did not answer {api:?} within {waited_ms} ms")]
    Timeout {
        address: String,
        api: Api,
        waited_ms: u64,
    },
    #[error("{address} does not speak {api:?} in any version known here")]
    NoVersion { address: String, api: Api },
    #[error("{address} refused to say what it speaks: {error}")]
    Refused { address: String, error: ErrorCode },
    #[error("answer of {address}: {cause}")]
    Header { address: String, cause: Malformed },
    #[error("answer of {address}: {cause}")]
    Frame { address: String, cause: FrameError },
    #[error("answer of {address}: correlation id {got} where {due} was due")]
    Correlation { address: String, due: i32, got: i32 },
    #[error("answer of {address} for {api:?} is of another kind")]
    Kind { address: String, api: Api },
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("no connection: {0} requests are unanswered already")]
    TooManyInFlight(usize),
    #[error("cannot reach any of {addresses}: {last}")]
    NoneReachable {
        addresses: String,
        last: Box<ClientError>,
    },
}

impl ClientError {
    /// Whether another try, maybe elsewhere, may succeed.
    pub fn is_retriable(&self) -> bool {
        matches!(
            self,
            ClientError::Unresolved { .. }
                | ClientError::Unreachable { .. }
                | ClientError::DialTimeout { .. }
                | ClientError::Broken { .. }
                | ClientError::Closed { .. }
                | ClientError::Timeout { .. }
                | ClientError::NoneReachable { .. }
        )
    }

    /// Who cannot be reached or does not answer, as long as it lasts. A connection that ended says
    /// nothing yet: the next one may be opened at once.
    pub fn unreached(&self) -> Option<&str> {
        match self {
            ClientError::Unresolved { address }
            | ClientError::Unreachable { address, .. }
            | ClientError::DialTimeout { address, .. }
            | ClientError::Timeout { address, .. } => Some(address),
            ClientError::NoneReachable { last, .. } => last.unreached(),
            _ => None,
        }
    }
}
