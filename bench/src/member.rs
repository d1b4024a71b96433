//! A member of a consumer group that speaks only to its coordinator: join, sync, heartbeat.

use anyhow::{Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use protocol::StrBytes;
use protocol::kafka::apis::Api;
use protocol::messages::join_group_request::JoinGroupRequestProtocol;
use protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use protocol::messages::{
    FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, RequestKind, ResponseKind, SyncGroupRequest,
};

use crate::wire::{self, Caller};

const FIND_VERSION: i16 = 1;
const JOIN_VERSION: i16 = 2;
const SYNC_VERSION: i16 = 1;
const HEARTBEAT_VERSION: i16 = 1;
const LEAVE_VERSION: i16 = 1;

fn text(from: &str) -> StrBytes {
    StrBytes::from_string(from.to_owned())
}

/// Where a member stands after it has joined.
#[derive(Clone, Debug)]
pub struct Standing {
    pub group: String,
    pub member: String,
    pub generation: i32,
    pub members: Vec<String>,
}

/// Waits until the group's coordinator answers; the offsets topic is made on the way.
pub async fn find(caller: &mut Caller, group: &str) -> Result<()> {
    loop {
        let asked = FindCoordinatorRequest::default().with_key(text(group));
        let answer = caller
            .ask(
                Api::FindCoordinator,
                FIND_VERSION,
                &RequestKind::FindCoordinator(asked),
            )
            .await?;
        let ResponseKind::FindCoordinator(answer) = answer else {
            bail!("not an answer to FindCoordinator");
        };
        if answer.error_code == 0 {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Joins, trying again while the coordinator loads its part of the offsets topic.
pub async fn join(
    caller: &mut Caller,
    group: &str,
    member: &str,
    metadata: &Bytes,
) -> Result<Standing> {
    let mut member = member.to_owned();
    loop {
        let answer = join_once(caller, group, &member, metadata).await?;
        member = answer.member_id.to_string();
        // 14, 15, 16: loading, not available, moved; 79: come again with this id.
        match answer.error_code {
            0 => {
                return Ok(Standing {
                    group: group.to_owned(),
                    member,
                    generation: answer.generation_id,
                    members: answer
                        .members
                        .iter()
                        .map(|one| one.member_id.to_string())
                        .collect(),
                });
            }
            79 => {}
            14..=16 => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            error => bail!("a join was answered with error {error}"),
        }
    }
}

async fn join_once(
    caller: &mut Caller,
    group: &str,
    member: &str,
    metadata: &Bytes,
) -> Result<JoinGroupResponse> {
    let range = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(metadata.clone());
    let asked = JoinGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_session_timeout_ms(60_000)
        .with_rebalance_timeout_ms(60_000)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![range]);
    let asked = RequestKind::JoinGroup(asked);
    match caller.ask(Api::JoinGroup, JOIN_VERSION, &asked).await? {
        ResponseKind::JoinGroup(answer) => Ok(answer),
        _ => bail!("not an answer to JoinGroup"),
    }
}

/// Syncs; the leader, who was told the members, gives each `assignment`. Returns the error code.
pub async fn sync(caller: &mut Caller, standing: &Standing, assignment: &Bytes) -> Result<i16> {
    let assignments = standing.members.iter().map(|member| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(member))
            .with_assignment(assignment.clone())
    });
    let asked = SyncGroupRequest::default()
        .with_group_id(GroupId(text(&standing.group)))
        .with_generation_id(standing.generation)
        .with_member_id(text(&standing.member))
        .with_assignments(assignments.collect());
    let asked = RequestKind::SyncGroup(asked);
    match caller.ask(Api::SyncGroup, SYNC_VERSION, &asked).await? {
        ResponseKind::SyncGroup(answer) => Ok(answer.error_code),
        _ => bail!("not an answer to SyncGroup"),
    }
}

pub async fn leave(caller: &mut Caller, group: &str, member: &str) -> Result<()> {
    let asked = LeaveGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_member_id(text(member));
    let asked = RequestKind::LeaveGroup(asked);
    match caller.ask(Api::LeaveGroup, LEAVE_VERSION, &asked).await? {
        ResponseKind::LeaveGroup(answer) if answer.error_code == 0 => Ok(()),
        ResponseKind::LeaveGroup(answer) => {
            bail!("a leave was answered with error {}", answer.error_code)
        }
        _ => bail!("not an answer to LeaveGroup"),
    }
}

pub fn heartbeat(standing: &Standing) -> Result<BytesMut> {
    let asked = HeartbeatRequest::default()
        .with_group_id(GroupId(text(&standing.group)))
        .with_generation_id(standing.generation)
        .with_member_id(text(&standing.member));
    wire::frame(
        Api::Heartbeat,
        HEARTBEAT_VERSION,
        &RequestKind::Heartbeat(asked),
    )
}

/// The error code in the answer to a heartbeat: after number and throttle time.
pub fn heartbeat_error(answer: &[u8]) -> Result<i16> {
    match answer.get(8..10) {
        Some(&[high, low]) => Ok(i16::from_be_bytes([high, low])),
        _ => bail!("a heartbeat's answer of {} bytes", answer.len()),
    }
}

/// Joins and syncs alone in a group.
pub async fn settle(caller: &mut Caller, group: &str) -> Result<Standing> {
    find(caller, group).await?;
    let standing = join(caller, group, "", &Bytes::from_static(&[0; 10])).await?;
    let error = sync(caller, &standing, &Bytes::from_static(&[0; 10])).await?;
    ensure!(error == 0, "a sync was answered with error {error}");
    Ok(standing)
}
