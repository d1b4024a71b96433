//! ListGroups: every group coordinated here, filtered by state and type.

use protocol::messages::list_groups_response::ListedGroup;
use protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};

use crate::api::groups::{code_of, wire};
use crate::api::request::Context;
use crate::coordination::Groups;

/// First version with states.
const STATES_FROM: i16 = 4;
/// First version with types.
const TYPES_FROM: i16 = 5;
/// The only type this coordinator has.
const CLASSIC: &str = "classic";

pub(crate) fn answer(
    context: &Context,
    groups: &Groups,
    request: &ListGroupsRequest,
) -> ListGroupsResponse {
    let (refusal, listed) = groups.list();
    let wanted = |asked: &[protocol::StrBytes], mine: &str| {
        asked.is_empty() || asked.iter().any(|name| name.eq_ignore_ascii_case(mine))
    };
    let version = context.version;
    let each = listed
        .into_iter()
        .filter(|group| {
            wanted(&request.states_filter, &group.state.to_string())
                && wanted(&request.types_filter, CLASSIC)
        })
        .map(|group| {
            let written = ListedGroup::default()
                .with_group_id(GroupId(wire(&group.group)))
                .with_protocol_type(wire(&group.protocol_type));
            let written = match version {
                STATES_FROM.. => written.with_group_state(wire(&group.state.to_string())),
                _ => written,
            };
            if version >= TYPES_FROM {
                written.with_group_type(wire(CLASSIC))
            } else {
                written
            }
        });
    ListGroupsResponse::default()
        .with_error_code(code_of(refusal))
        .with_groups(each.collect())
}
