//! DeleteAcls: there are no rules.

use protocol::StrBytes;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use protocol::messages::{DeleteAclsRequest, DeleteAclsResponse};

use crate::api::security::NO_AUTHORIZER;

pub(crate) fn answer(request: &DeleteAclsRequest) -> DeleteAclsResponse {
    let refused = DeleteAclsFilterResult::default()
        .with_error_code(ErrorCode::SecurityDisabled.code())
        .with_error_message(Some(StrBytes::from_static_str(NO_AUTHORIZER)));
    DeleteAclsResponse::default().with_filter_results(vec![refused; request.filters.len()])
}
