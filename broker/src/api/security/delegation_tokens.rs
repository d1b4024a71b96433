//! The four delegation token APIs: a token is only given over a connection that proves who asks.

use protocol::StrBytes;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::{
    CreateDelegationTokenRequest, CreateDelegationTokenResponse, DescribeDelegationTokenResponse,
    ExpireDelegationTokenResponse, RenewDelegationTokenResponse,
};

use crate::api::request::Context;

const REFUSED: ErrorCode = ErrorCode::DelegationTokenRequestNotAllowed;
/// What Kafka gives for every time of a token that was not made.
const NO_TIME: i64 = -1;

pub(crate) fn create(
    context: &Context,
    request: &CreateDelegationTokenRequest,
) -> CreateDelegationTokenResponse {
    let (kind, name) = context
        .principal
        .split_once(':')
        .unwrap_or(("User", &context.principal));
    let (kind, name) = (owned(kind), owned(name));
    let mut response = CreateDelegationTokenResponse::default()
        .with_error_code(REFUSED.code())
        .with_principal_type(kind.clone())
        .with_principal_name(name.clone())
        .with_issue_timestamp_ms(NO_TIME)
        .with_expiry_timestamp_ms(NO_TIME)
        .with_max_timestamp_ms(NO_TIME);
    if context.version >= 3 {
        response.token_requester_principal_type = kind;
        response.token_requester_principal_name = name;
        // Kafka: an owner may be named who is not the one who asks.
        if let Some(owner) = request
            .owner_principal_name
            .as_ref()
            .filter(|name| !name.is_empty())
        {
            response.principal_name = owner.clone();
            response.principal_type = request.owner_principal_type.clone().unwrap_or_default();
        }
    }
    response
}

pub(crate) fn renew() -> RenewDelegationTokenResponse {
    RenewDelegationTokenResponse::default()
        .with_error_code(REFUSED.code())
        .with_expiry_timestamp_ms(NO_TIME)
}

pub(crate) fn expire() -> ExpireDelegationTokenResponse {
    ExpireDelegationTokenResponse::default()
        .with_error_code(REFUSED.code())
        .with_expiry_timestamp_ms(NO_TIME)
}

pub(crate) fn describe() -> DescribeDelegationTokenResponse {
    DescribeDelegationTokenResponse::default().with_error_code(REFUSED.code())
}

fn owned(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
