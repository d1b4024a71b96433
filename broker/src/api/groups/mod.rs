//! The doors of groups: who coordinates, membership, offsets, what operators ask.
//!
//! Without an authorizer everybody may do everything; what such a broker says about allowed
//! operations is a constant.

pub mod find_coordinator;
pub mod join_group;
pub mod sync_group;
pub mod heartbeat;
pub mod leave_group;
pub mod zookeeper_offsets;
pub mod offset_commit;
pub mod offset_fetch;
pub mod offset_delete;
pub mod describe_groups;
pub mod list_groups;
pub mod delete_groups;
pub mod consumer_group_heartbeat;
pub mod consumer_group_describe;

use std::sync::Arc;

use groups::Refusal;
use protocol::StrBytes;
use protocol::kafka::errors::ErrorCode;

use crate::api::errors;

/// A text of our own: what the brain keeps must not hold on to a request's frame.
fn text(text: &StrBytes) -> Arc<str> {
    Arc::from(&**text)
}

fn text_or_none(text: Option<&StrBytes>) -> Option<Arc<str>> {
    text.map(|text| Arc::from(&**text))
}

/// A text for the wire.
fn wire(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn code<T>(result: Result<T, Refusal>) -> i16 {
    result.map_or_else(
        |refusal| errors::of_group(refusal).code(),
        |_fine| ErrorCode::None.code(),
    )
}

fn code_of(refusal: Option<Refusal>) -> i16 {
    refusal.map_or(ErrorCode::None, errors::of_group).code()
}
