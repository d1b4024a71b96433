//! A group of one member, over the bare protocol.

use std::time::Duration;

use bytes::Bytes;
use protocol::StrBytes;
use protocol::kafka::apis::Api;
use protocol::messages::join_group_request::JoinGroupRequestProtocol;
use protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use protocol::messages::{
    GroupId, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest, ResponseKind,
    SyncGroupRequest,
};

use crate::asker::Asker;
use crate::wait;

/// Longer than a coordinator takes to load.
const LIMIT: Duration = Duration::from_secs(120);

/// The member.
#[derive(Clone, Debug)]
pub struct Alone {
    group: GroupId,
    generation: i32,
    member_id: StrBytes,
}

impl Alone {
    /// Joins, with these timeouts, once the coordinator serves, and gives itself something.
    pub fn join(
        asker: &mut Asker,
        group: GroupId,
        (session_ms, rebalance_ms): (i32, i32),
        (metadata, assignment): (Bytes, Bytes),
    ) -> Alone {
        let range = JoinGroupRequestProtocol::default()
            .with_name(StrBytes::from_static_str("range"))
            .with_metadata(metadata);
        let join = JoinGroupRequest::default()
            .with_group_id(group.clone())
            .with_session_timeout_ms(session_ms)
            .with_rebalance_timeout_ms(rebalance_ms)
            .with_protocol_type(StrBytes::from_static_str("consumer"))
            .with_protocols(vec![range]);
        let joined = wait::until("the coordinator to serve", LIMIT, || {
            let ResponseKind::JoinGroup(answer) = asker.ask_as(Api::JoinGroup, 2, join.clone())
            else {
                panic!("another answer than was asked for");
            };
            (answer.error_code == 0).then_some(answer)
        });
        let share = SyncGroupRequestAssignment::default()
            .with_member_id(joined.member_id.clone())
            .with_assignment(assignment);
        let sync = SyncGroupRequest::default()
            .with_group_id(group.clone())
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id.clone())
            .with_assignments(vec![share]);
        let ResponseKind::SyncGroup(answer) = asker.ask_as(Api::SyncGroup, 1, sync) else {
            panic!("another answer than was asked for");
        };
        assert_eq!(answer.error_code, 0, "{answer:?}");
        Alone {
            group,
            generation: joined.generation_id,
            member_id: joined.member_id,
        }
    }

    /// Commits what is said, of one topic, all of which must succeed.
    pub fn commit(&self, asker: &mut Asker, version: i16, said: OffsetCommitRequest) {
        let commit = said
            .with_group_id(self.group.clone())
            .with_generation_id_or_member_epoch(self.generation)
            .with_member_id(self.member_id.clone());
        let count = commit.topics[0].partitions.len();
        let ResponseKind::OffsetCommit(answer) = asker.ask_as(Api::OffsetCommit, version, commit)
        else {
            panic!("another answer than was asked for");
        };
        let told = answer.topics[0].partitions.iter();
        let codes: Vec<i16> = told.map(|one| one.error_code).collect();
        assert_eq!(codes, vec![0; count], "{answer:?}");
    }

    pub fn leave(self, asker: &mut Asker) {
        let leave = LeaveGroupRequest::default()
            .with_group_id(self.group)
            .with_member_id(self.member_id);
        asker.ask_as(Api::LeaveGroup, 1, leave);
    }
}
