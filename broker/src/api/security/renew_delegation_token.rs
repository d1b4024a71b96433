//! RenewDelegationToken: a token is only given over a connection that proves who asks.

use protocol::messages::RenewDelegationTokenResponse;

use crate::api::security::{NO_TIME, TOKEN_REFUSED};

pub(crate) fn answer() -> RenewDelegationTokenResponse {
    RenewDelegationTokenResponse::default()
        .with_error_code(TOKEN_REFUSED.code())
        .with_expiry_timestamp_ms(NO_TIME)
}
