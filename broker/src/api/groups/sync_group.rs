//! SyncGroup: the leader's assignment in, each member's own part out.

use std::sync::Arc;

use bytes::Bytes;
use groups::Refusal;
use groups::outcome::SyncAnswer;
use groups::sync::SyncRequest;
use protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use crate::api::groups::{code_of, text, text_or_none, wire};
use crate::api::request::Context;
use crate::coordination::Groups;

/// From here on the client says which protocol it believes to be chosen.
const PROTOCOL_FROM: i16 = 5;

pub(crate) async fn answer(
    context: &Context,
    groups: &Arc<Groups>,
    request: SyncGroupRequest,
) -> SyncGroupResponse {
    let says_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
    let answer = if context.version >= PROTOCOL_FROM && !says_protocol {
        SyncAnswer::refused(Refusal::InconsistentGroupProtocol)
    } else {
        groups.sync(read(request)).await
    };
    let written = SyncGroupResponse::default()
        .with_error_code(code_of(answer.refusal))
        .with_assignment(answer.assignment);
    if context.version < PROTOCOL_FROM {
        return written;
    }
    written
        .with_protocol_type(answer.protocol_type.map(|name| wire(&name)))
        .with_protocol_name(answer.protocol.map(|name| wire(&name)))
}

fn read(request: SyncGroupRequest) -> SyncRequest {
    let assignments = request.assignments.iter().map(|given| {
        (
            text(&given.member_id),
            Bytes::copy_from_slice(&given.assignment),
        )
    });
    SyncRequest {
        group: text(&request.group_id.0),
        generation: request.generation_id,
        member_id: text(&request.member_id),
        group_instance_id: text_or_none(request.group_instance_id.as_ref()),
        protocol_type: text_or_none(request.protocol_type.as_ref()),
        protocol: text_or_none(request.protocol_name.as_ref()),
        assignments: assignments.collect(),
    }
}
