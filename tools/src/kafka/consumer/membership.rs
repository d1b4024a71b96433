//! A member of a group: it joins, beats, gives out partitions where it leads, and leaves.
//!
//! The classic protocol, eagerly, as the mix of range and cooperative-sticky makes Apache's consumer
//! speak it: before a rebalance everything is committed and let go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;
use protocol::messages::join_group_request::JoinGroupRequestProtocol;
use protocol::messages::leave_group_request::MemberIdentity;
use protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, RequestKind,
    ResponseKind, SyncGroupRequest,
};

use crate::body;
use crate::failure::Failure;
use crate::kafka::admin::text;
use crate::kafka::assignors::{self, Subscription};
use crate::kafka::consumer::{AUTO_COMMIT_MS, Change, Consumer, LOOK_AGAIN_MS, Wanted};
use crate::kafka::offsets::{self, LATEST, Place};

const HEARTBEAT_MS: i64 = 3_000;

impl Consumer {
    /// Joins, beats, commits, and notices that the group rebalances.
    pub(super) async fn group_duties(&mut self, now: i64) -> Result<(), Failure> {
        let Some(group) = &self.group else {
            return Ok(());
        };
        if !group.joined {
            return self.join().await;
        }
        if group.auto_commit && now >= group.commit_at_ms {
            self.commit().await?;
        }
        let Some(group) = &self.group else {
            return Ok(());
        };
        if now < group.beat_at_ms {
            return Ok(());
        }
        let request = HeartbeatRequest::default()
            .with_group_id(GroupId(text(&group.id)))
            .with_generation_id(group.generation)
            .with_member_id(text(&group.member))
            .with_group_instance_id(group.instance.as_deref().map(text));
        let id = group.id.clone();
        let codes = |answer: &ResponseKind| match answer {
            ResponseKind::Heartbeat(body) => vec![body.error_code],
            _ => Vec::new(),
        };
        let answer = self
            .ask_group(&id, Api::Heartbeat, request.into(), codes)
            .await?;
        self.figures.heartbeats += 1;
        let code = body!(answer, Heartbeat).error_code;
        let Some(group) = &mut self.group else {
            return Ok(());
        };
        group.beat_at_ms = now + HEARTBEAT_MS;
        match ErrorCode::of(code) {
            ErrorCode::None => {}
            ErrorCode::RebalanceInProgress => self.leave_round(false).await?,
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
                self.leave_round(true).await?
            }
            error => {
                return Err(Failure::Refused {
                    code: error,
                    message: None,
                });
            }
        }
        Ok(())
    }

    /// The coordinator's connection is kept apart from the fetches: their answers would come
    /// between. What the pool reads for a fetch meanwhile is taken in by the next turn.
    pub(super) async fn ask_group(
        &mut self,
        id: &str,
        api: Api,
        request: RequestKind,
        codes: impl Fn(&ResponseKind) -> Vec<i16>,
    ) -> Result<ResponseKind, Failure> {
        self.settle_fetches().await?;
        self.admin.ask_coordinator(id, api, request, codes).await
    }

    /// Takes in the answers of fetches that are on their way, so that a connection owes nothing.
    async fn settle_fetches(&mut self) -> Result<(), Failure> {
        while !self.admin.pool.busy().is_empty() {
            let patience = Duration::from_millis(30_000);
            let Ok((address, answer)) =
                tokio::time::timeout(patience, self.admin.pool.receive_any()).await
            else {
                return Ok(());
            };
            match answer {
                Ok((_, ResponseKind::Fetch(answer))) => self.answered(&address, answer)?,
                Ok(_) => {}
                Err(_) => self.lost(&address),
            }
        }
        Ok(())
    }

    /// Lets go of everything before the next generation.
    async fn leave_round(&mut self, forgotten: bool) -> Result<(), Failure> {
        self.settle_fetches().await?;
        if !forgotten && self.group.as_ref().is_some_and(|group| group.auto_commit) {
            self.commit().await?;
        }
        self.round_since_ms = self.admin.clock.monotonic_ms();
        let revoked = std::mem::take(&mut self.positions).into_keys().collect();
        self.changes.push(Change::Revoked(revoked));
        self.taken.clear();
        if let Some(group) = &mut self.group {
            group.joined = false;
            if forgotten {
                group.member.clear();
                group.generation = -1;
            }
        }
        Ok(())
    }

    async fn join(&mut self) -> Result<(), Failure> {
        self.settle_fetches().await?;
        let there = self.wanted_partitions().await?;
        let topics: BTreeSet<String> = match &self.wanted {
            Wanted::Topics(names) => names.iter().cloned().collect(),
            _ => there.keys().map(|place| place.0.clone()).collect(),
        };
        let Some(group) = &self.group else {
            return Ok(());
        };
        let metadata = assignors::write_subscription(&Subscription {
            topics: topics.into_iter().collect(),
            owned: Vec::new(),
        });
        let protocols = group.assignors.iter().map(|name| {
            JoinGroupRequestProtocol::default()
                .with_name(text(name))
                .with_metadata(metadata.clone())
        });
        let request = JoinGroupRequest::default()
            .with_group_id(GroupId(text(&group.id)))
            .with_session_timeout_ms(group.session_timeout_ms)
            .with_rebalance_timeout_ms(group.rebalance_timeout_ms)
            .with_member_id(text(&group.member))
            .with_group_instance_id(group.instance.as_deref().map(text))
            .with_protocol_type(text("consumer"))
            .with_protocols(protocols.collect());
        let (id, instance) = (group.id.clone(), group.instance.clone());
        let codes = |answer: &ResponseKind| match answer {
            ResponseKind::JoinGroup(body) => vec![body.error_code],
            _ => Vec::new(),
        };
        let answer = self
            .ask_group(&id, Api::JoinGroup, request.into(), codes)
            .await?;
        let joined = body!(answer, JoinGroup);
        let Some(group) = &mut self.group else {
            return Ok(());
        };
        match ErrorCode::of(joined.error_code) {
            ErrorCode::None => {}
            ErrorCode::MemberIdRequired => {
                group.member = joined.member_id.to_string();
                return Ok(());
            }
            ErrorCode::UnknownMemberId => {
                group.member.clear();
                return Ok(());
            }
            error if error.is_retriable() => return Ok(()),
            error => {
                return Err(Failure::Refused {
                    code: error,
                    message: None,
                });
            }
        }
        group.member = joined.member_id.to_string();
        group.generation = joined.generation_id;
        let plan = if joined.leader == joined.member_id {
            plan(&joined, &there)
        } else {
            Vec::new()
        };
        let request = SyncGroupRequest::default()
            .with_group_id(GroupId(text(&id)))
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id.clone())
            .with_group_instance_id(instance.as_deref().map(text))
            .with_protocol_type(joined.protocol_type.clone())
            .with_protocol_name(joined.protocol_name.clone())
            .with_assignments(plan);
        let codes = |answer: &ResponseKind| match answer {
            ResponseKind::SyncGroup(body) => vec![body.error_code],
            _ => Vec::new(),
        };
        let answer = self
            .ask_group(&id, Api::SyncGroup, request.into(), codes)
            .await?;
        let synced = body!(answer, SyncGroup);
        match ErrorCode::of(synced.error_code) {
            ErrorCode::None => {}
            ErrorCode::RebalanceInProgress => return Ok(()),
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
                return self.leave_round(true).await;
            }
            error => {
                return Err(Failure::Refused {
                    code: error,
                    message: None,
                });
            }
        }
        let places = assignors::read_assignment(&synced.assignment).unwrap_or_default();
        self.begin(&id, places, &there).await
    }

    /// Starts the partitions of a new generation.
    async fn begin(
        &mut self,
        id: &str,
        places: Vec<Place>,
        there: &BTreeMap<Place, i32>,
    ) -> Result<(), Failure> {
        let now = self.admin.clock.monotonic_ms();
        if let Some(group) = &mut self.group {
            group.joined = true;
            group.beat_at_ms = now + HEARTBEAT_MS;
            group.commit_at_ms = now + AUTO_COMMIT_MS;
        }
        self.rebalances += 1;
        let now = self.admin.clock.monotonic_ms();
        self.joining_ms += now - self.round_since_ms;
        self.figures.joins += 1;
        self.changes.push(Change::Assigned(places.clone()));
        let committed = offsets::committed(&mut self.admin, id).await?;
        if self.reset_to.is_none() && places.iter().any(|place| !committed.contains_key(place)) {
            return Err(Failure::said(
                "Undefined offset with no reset policy for partitions",
            ));
        }
        let from = self.reset_to.unwrap_or(LATEST);
        self.start(places, &committed, from, there).await?;
        self.look_at_ms = now + LOOK_AGAIN_MS;
        Ok(())
    }

    /// Commits where it should and leaves the group.
    pub(crate) async fn close(&mut self) -> Result<(), Failure> {
        if self
            .group
            .as_ref()
            .is_some_and(|group| group.auto_commit && group.joined)
        {
            self.commit().await?;
        }
        let Some(group) = &self.group else {
            return Ok(());
        };
        if group.joined {
            let revoked = self.positions.keys().cloned().collect();
            self.changes.push(Change::Revoked(revoked));
        }
        if group.member.is_empty() || group.instance.is_some() {
            return Ok(());
        }
        let id = group.id.clone();
        let member = MemberIdentity::default().with_member_id(text(&group.member));
        let coordinator = self.admin.coordinator(&id).await?;
        let address = self.admin.address(coordinator)?;
        let version = self
            .admin
            .pool
            .connection(&address)
            .await?
            .versions()
            .pick(Api::LeaveGroup);
        let mut request = LeaveGroupRequest::default().with_group_id(GroupId(text(&id)));
        match version.unwrap_or(0) {
            3.. => request.members = vec![member],
            _ => request.member_id = member.member_id,
        }
        self.settle_fetches().await?;
        self.admin
            .node(coordinator, Api::LeaveGroup, request.into())
            .await?;
        Ok(())
    }
}

/// The leader's work: everyone's partitions by the assignor the group chose.
fn plan(
    joined: &JoinGroupResponse,
    there: &BTreeMap<Place, i32>,
) -> Vec<SyncGroupRequestAssignment> {
    let members: BTreeMap<String, Subscription> = joined
        .members
        .iter()
        .map(|member| {
            let subscription = assignors::read_subscription(&member.metadata).unwrap_or_default();
            (member.member_id.to_string(), subscription)
        })
        .collect();
    let mut counts: BTreeMap<String, i32> = BTreeMap::new();
    for place in there.keys() {
        *counts.entry(place.0.clone()).or_default() += 1;
    }
    let plan = match joined.protocol_name.as_deref() {
        Some("cooperative-sticky") => assignors::cooperative_sticky(&members, &counts),
        Some("roundrobin") => assignors::round_robin(&members, &counts),
        _ => assignors::range(&members, &counts),
    };
    let assignment = |(member, places): (String, Vec<Place>)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(&member))
            .with_assignment(assignors::write_assignment(&places))
    };
    plan.into_iter().map(assignment).collect()
}
