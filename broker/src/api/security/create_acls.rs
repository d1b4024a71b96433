//! CreateAcls: there is nobody to keep rules.

use protocol::StrBytes;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::create_acls_response::AclCreationResult;
use protocol::messages::{CreateAclsRequest, CreateAclsResponse};

use crate::api::security::NO_AUTHORIZER;

pub(crate) fn answer(request: &CreateAclsRequest) -> CreateAclsResponse {
    let refused = AclCreationResult::default()
        .with_error_code(ErrorCode::SecurityDisabled.code())
        .with_error_message(Some(StrBytes::from_static_str(NO_AUTHORIZER)));
    CreateAclsResponse::default().with_results(vec![refused; request.creations.len()])
}
