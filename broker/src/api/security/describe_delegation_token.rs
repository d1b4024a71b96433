//! DescribeDelegationToken: a token is only given over a connection that proves who asks.

use protocol::messages::DescribeDelegationTokenResponse;

use crate::api::security::TOKEN_REFUSED;

pub(crate) fn answer() -> DescribeDelegationTokenResponse {
    DescribeDelegationTokenResponse::default().with_error_code(TOKEN_REFUSED.code())
}
