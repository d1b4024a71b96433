//! DescribeGroups: state, protocol and members of groups coordinated here.

use groups::Refusal;
use groups::describe::Description;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};

use crate::api::again::Again;
use crate::api::groups::{code, wire};
use crate::api::request::Context;
use crate::coordination::Groups;

/// What a broker without an authorizer lets everybody do to a group: Read, Delete, Describe, as
/// bits.
const GROUP_OPERATIONS: i32 = 328;
/// First version with static members.
const INSTANCES_FROM: i16 = 4;
/// First version that may ask for allowed operations.
const OPERATIONS_FROM: i16 = 3;

pub(crate) fn answer(
    context: &Context,
    groups: &Groups,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let operations = context.version >= OPERATIONS_FROM && request.include_authorized_operations;
    let mut again = Again::new();
    let each = request.groups.into_iter().map(|id| {
        if !again.may_tell(&id) {
            let code = ErrorCode::InvalidRequest.code();
            return DescribedGroup::default()
                .with_group_id(id)
                .with_error_code(code);
        }
        let described = groups.describe(&id.0);
        again.note(id.clone(), described.as_ref().map_or(0, bytes));
        let described = describe(context.version, described, id);
        if operations && described.error_code == 0 {
            described.with_authorized_operations(GROUP_OPERATIONS)
        } else {
            described
        }
    });
    DescribeGroupsResponse::default().with_groups(each.collect())
}

/// What a description takes on the wire, about.
fn bytes(described: &Description) -> usize {
    let members = described.members.iter().map(|member| {
        let instance = member.group_instance_id.as_ref().map_or(0, |id| id.len());
        let names = member.member_id.len() + member.client_id.len() + member.client_host.len();
        names + instance + member.metadata.len() + member.assignment.len()
    });
    described.protocol_type.len() + described.protocol.len() + members.sum::<usize>()
}

fn describe(version: i16, described: Result<Description, Refusal>, id: GroupId) -> DescribedGroup {
    let group = DescribedGroup::default().with_group_id(id);
    let described = match described {
        Ok(described) => described,
        Err(refusal) => return group.with_error_code(code::<()>(Err(refusal))),
    };
    let state = described
        .state
        .map_or_else(|| "Dead".to_owned(), |state| state.to_string());
    let members = described.members.into_iter().map(|member| {
        let instance = member
            .group_instance_id
            .filter(|_| version >= INSTANCES_FROM);
        DescribedGroupMember::default()
            .with_member_id(wire(&member.member_id))
            .with_group_instance_id(instance.map(|id| wire(&id)))
            .with_client_id(wire(&member.client_id))
            .with_client_host(wire(&member.client_host))
            .with_member_metadata(member.metadata)
            .with_member_assignment(member.assignment)
    });
    group
        .with_group_state(wire(&state))
        .with_protocol_type(wire(&described.protocol_type))
        .with_protocol_data(wire(&described.protocol))
        .with_members(members.collect())
}
