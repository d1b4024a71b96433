//! Heartbeat: a member says that it lives.
//!
//! Hot path: runs to its end on the thread that read it; no allocation but the answer's.

use std::sync::Arc;

use protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use crate::api::groups::code;
use crate::coordination::Groups;

pub(crate) fn answer(groups: &Arc<Groups>, request: &HeartbeatRequest) -> HeartbeatResponse {
    let verdict = groups.heartbeat(
        &request.group_id.0,
        &request.member_id,
        request.group_instance_id.as_deref(),
        request.generation_id,
    );
    HeartbeatResponse::default().with_error_code(code(verdict))
}
