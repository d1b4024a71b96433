//! SaslAuthenticate on a listener without SASL: out of place, and told so.

use protocol::StrBytes;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::SaslAuthenticateResponse;

/// Kafka's words for it, though nobody was authenticated: clients show them.
const OUT_OF_PLACE: &str = "SaslAuthenticate request received after successful authentication";

pub(crate) fn answer() -> SaslAuthenticateResponse {
    SaslAuthenticateResponse::default()
        .with_error_code(ErrorCode::IllegalSaslState.code())
        .with_error_message(Some(StrBytes::from_static_str(OUT_OF_PLACE)))
}
