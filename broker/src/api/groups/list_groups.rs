//! ListGroups: every group coordinated here, filtered by state and type.

use std::collections::HashSet;

use protocol::StrBytes;
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
    let set = |asked: &[StrBytes]| -> HashSet<String> {
        asked.iter().map(|name| name.to_ascii_lowercase()).collect()
    };
    let (states, types) = (set(&request.states_filter), set(&request.types_filter));
    let wanted = |asked: &HashSet<String>, mine: &str| {
        asked.is_empty() || asked.contains(&mine.to_ascii_lowercase())
    };
    let version = context.version;
    let each = listed
        .into_iter()
        .filter(|group| wanted(&states, &group.state.to_string()) && wanted(&types, CLASSIC))
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
