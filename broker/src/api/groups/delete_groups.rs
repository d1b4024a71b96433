//! DeleteGroups: groups without members go, with all their offsets.

use std::collections::HashSet;
use std::sync::Arc;

use protocol::messages::delete_groups_response::DeletableGroupResult;
use protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse, GroupId};

use crate::api::groups::code;
use crate::coordination::Groups;

pub(crate) async fn answer(
    groups: &Arc<Groups>,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let mut seen = HashSet::new();
    let mut ids: Vec<GroupId> = request.groups_names;
    // Kafka: each group once, however often it is named.
    ids.retain(|id| seen.insert(id.clone()));
    let names: Vec<&str> = ids.iter().map(|id| id.0.as_str()).collect();
    let verdicts = groups.delete(&names).await;
    let results = ids.iter().zip(verdicts).map(|(id, verdict)| {
        DeletableGroupResult::default()
            .with_group_id(id.clone())
            .with_error_code(code(verdict))
    });
    DeleteGroupsResponse::default().with_results(results.collect())
}
