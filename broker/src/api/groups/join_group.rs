//! JoinGroup: become a member, or stay one in the next generation.

use std::sync::Arc;

use bytes::Bytes;
use groups::join::JoinRequest;
use groups::member::Protocol;
use groups::outcome::JoinAnswer;
use protocol::StrBytes;
use protocol::messages::join_group_response::JoinGroupResponseMember;
use protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use uuid::Uuid;

use crate::api::groups::{code_of, text, text_or_none, wire};
use crate::api::request::Context;
use crate::coordination::Groups;

/// From here on a newcomer without an instance id is first given a member id.
const KNOWN_MEMBER_ID_FROM: i16 = 4;
/// From here on the protocol may be null.
const NULL_PROTOCOL_FROM: i16 = 7;
/// From here on a leader can be told not to assign.
const SKIP_ASSIGNMENT_FROM: i16 = 9;

pub(crate) async fn answer(
    context: &Context,
    groups: &Arc<Groups>,
    request: JoinGroupRequest,
) -> JoinGroupResponse {
    let version = context.version;
    let answer = groups.join(read(context, request)).await;
    write(version, answer)
}

fn read(context: &Context, request: JoinGroupRequest) -> JoinRequest {
    let protocols = request.protocols.iter().map(|protocol| Protocol {
        name: text(&protocol.name),
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    });
    JoinRequest {
        group: text(&request.group_id.0),
        member_id: text(&request.member_id),
        group_instance_id: text_or_none(request.group_instance_id.as_ref()),
        needs_known_member_id: context.version >= KNOWN_MEMBER_ID_FROM,
        may_skip_assignment: context.version >= SKIP_ASSIGNMENT_FROM,
        client_id: Arc::clone(&context.client_id),
        // Kafka: Java's text of an address, with the slash before it.
        client_host: format!("/{}", context.peer).into(),
        // Kafka: version 0 knows one timeout only.
        rebalance_timeout_ms: if context.version == 0 {
            request.session_timeout_ms
        } else {
            request.rebalance_timeout_ms
        },
        session_timeout_ms: request.session_timeout_ms,
        protocol_type: text(&request.protocol_type),
        protocols: protocols.collect(),
        reason: text_or_none(request.reason.as_ref()),
        fresh_id: Uuid::new_v4().to_string().into(),
    }
}

fn write(version: i16, answer: JoinAnswer) -> JoinGroupResponse {
    // Kafka: an empty protocol is null from version 7 on, and a null one empty before.
    let protocol = answer
        .protocol
        .filter(|name| !name.is_empty())
        .map(|name| wire(&name));
    let protocol = match protocol {
        None if version < NULL_PROTOCOL_FROM => Some(StrBytes::default()),
        protocol => protocol,
    };
    let members = answer.members.into_iter().map(|member| {
        let written = JoinGroupResponseMember::default()
            .with_member_id(wire(&member.member_id))
            .with_metadata(member.metadata);
        match member.group_instance_id {
            // The field is from version 5 on, like the members that have one; a group may hold
            // both kinds of clients, and the old leader need not know.
            Some(instance) if version >= 5 => written.with_group_instance_id(Some(wire(&instance))),
            _ => written,
        }
    });
    JoinGroupResponse::default()
        .with_error_code(code_of(answer.refusal))
        .with_generation_id(answer.generation)
        .with_protocol_type(
            answer
                .protocol_type
                .filter(|_| version >= NULL_PROTOCOL_FROM)
                .map(|name| wire(&name)),
        )
        .with_protocol_name(protocol)
        .with_leader(wire(&answer.leader))
        .with_skip_assignment(answer.skip_assignment)
        .with_member_id(wire(&answer.member_id))
        .with_members(members.collect())
}
