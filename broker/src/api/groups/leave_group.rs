//! LeaveGroup: members go, one or many.

use std::sync::Arc;

use groups::leave::Leaver;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::leave_group_response::MemberResponse;
use protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use crate::api::groups::{code, text, text_or_none};
use crate::api::request::Context;
use crate::coordination::Groups;

/// From here on a list of members leaves.
const LIST_FROM: i16 = 3;

pub(crate) fn answer(
    context: &Context,
    groups: &Arc<Groups>,
    request: LeaveGroupRequest,
) -> LeaveGroupResponse {
    let group = &request.group_id.0;
    if context.version < LIST_FROM {
        let leaver = Leaver {
            member_id: text(&request.member_id),
            group_instance_id: None,
            reason: None,
        };
        let verdict = groups
            .leave(group, &[leaver])
            .and_then(|verdicts| verdicts.into_iter().next().unwrap_or(Ok(())));
        return LeaveGroupResponse::default().with_error_code(code(verdict));
    }
    let leavers: Vec<Leaver> = request
        .members
        .iter()
        .map(|member| Leaver {
            member_id: text(&member.member_id),
            group_instance_id: text_or_none(member.group_instance_id.as_ref()),
            reason: text_or_none(member.reason.as_ref()),
        })
        .collect();
    let verdicts = match groups.leave(group, &leavers) {
        Ok(verdicts) => verdicts,
        Err(refusal) => {
            return LeaveGroupResponse::default().with_error_code(code::<()>(Err(refusal)));
        }
    };
    let members = request
        .members
        .into_iter()
        .zip(verdicts)
        .map(|(member, verdict)| {
            MemberResponse::default()
                .with_member_id(member.member_id)
                .with_group_instance_id(member.group_instance_id)
                .with_error_code(code(verdict))
        });
    LeaveGroupResponse::default()
        .with_error_code(ErrorCode::None.code())
        .with_members(members.collect())
}
