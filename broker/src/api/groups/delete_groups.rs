//! DeleteGroups: groups without members go, with all their offsets.

use std::sync::Arc;

use protocol::messages::delete_groups_response::DeletableGroupResult;
use protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse, GroupId};

use crate::api::groups::code;
use crate::coordination::Groups;

pub(crate) async fn answer(
    groups: &Arc<Groups>,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let mut seen = std::collections::HashSet::new();
    let mut results = Vec::with_capacity(request.groups_names.len());
    for id in request.groups_names {
        let id: GroupId = id;
        // Kafka: each group once, however often it is named.
        if seen.insert(id.clone()) {
            let verdict = groups.delete(&id.0).await;
            results.push(
                DeletableGroupResult::default()
                    .with_group_id(id)
                    .with_error_code(code(verdict)),
            );
        }
    }
    DeleteGroupsResponse::default().with_results(results)
}
