//! CreateDelegationToken: a token is only given over a connection that proves who asks.

use protocol::StrBytes;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::{CreateDelegationTokenRequest, CreateDelegationTokenResponse};

use crate::api::request::Context;
use crate::api::security::{NO_TIME, TOKEN_REFUSED};

pub(crate) fn answer(
    context: &Context,
    request: &CreateDelegationTokenRequest,
) -> CreateDelegationTokenResponse {
    let (kind, name) = context
        .principal
        .split_once(':')
        .unwrap_or(("User", &context.principal));
    let (kind, name) = (owned(kind), owned(name));
    let mut response = CreateDelegationTokenResponse::default()
        .with_error_code(TOKEN_REFUSED.code())
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
            match &request.owner_principal_type {
                Some(kind) => {
                    response.principal_name = owner.clone();
                    response.principal_type = kind.clone();
                }
                // Kafka: nobody has no type, and it trips over who is asked for.
                None => response.error_code = ErrorCode::UnknownServerError.code(),
            }
        }
    }
    response
}

fn owned(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
