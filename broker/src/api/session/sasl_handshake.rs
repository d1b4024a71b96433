//! SaslHandshake on a listener without SASL: out of place, and told so.

use protocol::kafka::errors::ErrorCode;
use protocol::messages::SaslHandshakeResponse;

pub(crate) fn answer() -> SaslHandshakeResponse {
    SaslHandshakeResponse::default().with_error_code(ErrorCode::IllegalSaslState.code())
}
