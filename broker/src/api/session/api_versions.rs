//! ApiVersions: the list of what we speak, from the one table of all APIs.

use std::sync::LazyLock;

use protocol::StrBytes;
use protocol::kafka::apis::{Api, ROWS};
use protocol::kafka::errors::ErrorCode;
use protocol::messages::api_versions_response::ApiVersion;
use protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};

use crate::api::request::Context;

static ALL: LazyLock<Vec<ApiVersion>> = LazyLock::new(|| {
    let range = |row: &protocol::kafka::apis::Row| {
        ApiVersion::default()
            .with_api_key(row.api.key())
            .with_min_version(row.version_min)
            .with_max_version(row.version_max)
    };
    ROWS.iter().map(range).collect()
});

/// `features_epoch` is the version of the features znode, −1 before it was seen.
pub(crate) fn answer(
    context: &Context,
    features_epoch: i64,
    request: &ApiVersionsRequest,
) -> ApiVersionsResponse {
    if context.version >= 3
        && !(is_software_name(&request.client_software_name)
            && is_software_name(&request.client_software_version))
    {
        return ApiVersionsResponse::default().with_error_code(ErrorCode::InvalidRequest.code());
    }
    ApiVersionsResponse::default()
        .with_api_keys(ALL.clone())
        .with_finalized_features_epoch(features_epoch)
}

/// To a version we do not know: what a client of any age reads, with the versions we do know.
///
/// Kafka: `ApiVersionsRequest.getErrorResponse`, always written in version 0.
pub(crate) fn unsupported() -> ApiVersionsResponse {
    let own = Api::ApiVersions.row();
    ApiVersionsResponse::default()
        .with_error_code(ErrorCode::UnsupportedVersion.code())
        .with_api_keys(vec![
            ApiVersion::default()
                .with_api_key(own.api.key())
                .with_min_version(own.version_min)
                .with_max_version(own.version_max),
        ])
}

/// Kafka: `ApiVersionsRequest.isValid`: letters, digits, dots and dashes, beginning and ending
/// with a letter or digit.
fn is_software_name(name: &StrBytes) -> bool {
    let bytes = name.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_client_software_follow_kafkas_pattern() {
        for good in ["raw", "apache-kafka-java", "1.0", "x"] {
            assert!(is_software_name(&StrBytes::from_static_str(good)), "{good}");
        }
        for bad in ["", "-bad name", "a-", "a b", ".1"] {
            assert!(!is_software_name(&StrBytes::from_static_str(bad)), "{bad}");
        }
    }
}
