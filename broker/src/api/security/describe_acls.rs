//! DescribeAcls: there are no rules, and nobody to keep them.

use protocol::StrBytes;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::DescribeAclsResponse;

pub(crate) fn answer() -> DescribeAclsResponse {
    let words = StrBytes::from_static_str("No Authorizer is configured on the broker");
    DescribeAclsResponse::default()
        .with_error_code(ErrorCode::SecurityDisabled.code())
        .with_error_message(Some(words))
}
