//! The doors of security, as a Kafka without an authorizer and without SASL has them.

pub mod describe_acls;
pub mod create_acls;
pub mod delete_acls;
pub mod create_delegation_token;
pub mod renew_delegation_token;
pub mod expire_delegation_token;
pub mod describe_delegation_token;

use protocol::kafka::errors::ErrorCode;

const NO_AUTHORIZER: &str = "No Authorizer is configured.";
const TOKEN_REFUSED: ErrorCode = ErrorCode::DelegationTokenRequestNotAllowed;
/// What Kafka gives for every time of a token that was not made.
const NO_TIME: i64 = -1;
