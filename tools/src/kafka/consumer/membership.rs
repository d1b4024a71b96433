//! A member of a group: it joins, beats, gives out partitions where it leads, and leaves.
//!
//! The classic protocol, eagerly, as the mix of range and cooperative-sticky makes Apache's consumer
//! speak it: before a rebalance everything is committed and let go.
//!
//! A join is answered when all members have come or have been given up, which takes a dead member's
//! session: its answer is waited for in turns, so that whoever waits for records is not kept from
//! leaving.

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
use crate::kafka::admin::{Keys, text};
use crate::kafka::assignors::{self, Subscription};
use crate::kafka::consumer::{Change, Consumer, Wanted};
use crate::kafka::offsets::{self, LATEST, Place};
use crate::properties::Properties;
use crate::warn;

/// Kafka: a join is given so much longer than the rebalance it waits for.
const JOIN_MORE_MS: i64 = 5_000;

pub(super) struct Group {
    pub(super) id: String,
    instance: Option<String>,
    member: String,
    generation: i32,
    pub(super) joined: bool,
    /// Since when the coordinator owes an answer to a join.
    joining_since_ms: Option<i64>,
    /// What the group gave, until it is known where it stands there.
    given: Option<Vec<Place>>,
    coordinator: Option<(i32, String)>,
    /// Not before this is anything tried again that failed.
    pub(super) again_at_ms: i64,
    beat_at_ms: i64,
    pub(super) commit_at_ms: i64,
    pub(super) auto_commit: bool,
    pub(super) commit_every_ms: i64,
    beat_every_ms: i64,
    session_timeout_ms: i32,
    rebalance_timeout_ms: i32,
    assignors: Vec<&'static str>,
    /// The topics it told the group of.
    told: BTreeSet<String>,
    /// Where it leads: all members' topics, and how many partitions of each it gave out.
    led: BTreeMap<String, i32>,
}

impl Group {
    pub(super) fn new(id: &str, properties: &Properties) -> Result<Group, Failure> {
        let number = |key, default| -> Result<i32, Failure> {
            Ok(i32::try_from(properties.number(key, default)?).unwrap_or(i32::MAX))
        };
        Ok(Group {
            id: id.to_string(),
            instance: properties.get("group.instance.id").map(str::to_string),
            member: String::new(),
            generation: -1,
            joined: false,
            joining_since_ms: None,
            given: None,
            coordinator: None,
            again_at_ms: 0,
            beat_at_ms: 0,
            commit_at_ms: 0,
            auto_commit: properties.is_true("enable.auto.commit", true),
            commit_every_ms: properties.number("auto.commit.interval.ms", 5_000)?,
            beat_every_ms: properties.number("heartbeat.interval.ms", 3_000)?,
            session_timeout_ms: number("session.timeout.ms", 45_000)?,
            rebalance_timeout_ms: number("max.poll.interval.ms", 300_000)?,
            assignors: assignors::named(properties.get("partition.assignment.strategy"))?,
            told: BTreeSet::new(),
            led: BTreeMap::new(),
        })
    }

    /// When it is to do something next.
    pub(super) fn due_ms(&self) -> i64 {
        let next = match self.joined && self.given.is_none() {
            true => self.beat_at_ms,
            false => 0,
        };
        next.max(self.again_at_ms)
    }

    pub(super) fn generation(&self) -> i32 {
        self.generation
    }

    pub(super) fn member(&self) -> &str {
        &self.member
    }

    pub(super) fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }
}

impl Consumer {
    /// Joins, beats, commits, and notices that the group rebalances. A join is waited for so long.
    pub(super) async fn group_duties(&mut self, now: i64, wait_ms: i64) -> Result<(), Failure> {
        let Some(group) = &self.group else {
            return Ok(());
        };
        if now < group.again_at_ms {
            return Ok(());
        }
        if group.joining_since_ms.is_some() {
            return self.await_join(wait_ms).await;
        }
        if !group.joined {
            return self.join().await;
        }
        if group.given.is_some() {
            self.begin().await?;
        }
        self.beat(now).await?;
        match &self.group {
            Some(group) if group.joined && group.auto_commit && now >= group.commit_at_ms => {
                self.commit().await
            }
            _ => Ok(()),
        }
    }

    async fn beat(&mut self, now: i64) -> Result<(), Failure> {
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
        let codes = |answer: &ResponseKind| match answer {
            ResponseKind::Heartbeat(body) => vec![body.error_code],
            _ => Vec::new(),
        };
        let answer = self
            .ask_group(Api::Heartbeat, request.into(), codes)
            .await?;
        self.figures.heartbeats += 1;
        let code = body!(answer, Heartbeat).error_code;
        if let Some(group) = &mut self.group {
            group.beat_at_ms = now.saturating_add(group.beat_every_ms);
        }
        match ErrorCode::of(code) {
            ErrorCode::None => Ok(()),
            ErrorCode::RebalanceInProgress => self.leave_round(false).await,
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
                self.leave_round(true).await
            }
            code => Err(Failure::Refused {
                code,
                message: None,
            }),
        }
    }

    /// Where the group's coordinator listens; looked up when it is not known or no longer right.
    async fn coordinator(&mut self) -> Result<(i32, String), Failure> {
        let Some(group) = &self.group else {
            return Err(Failure::said("there is no group"));
        };
        if let Some(known) = &group.coordinator {
            return Ok(known.clone());
        }
        let id = group.id.clone();
        let node = self.admin.look_up(Keys::Groups, &id).await?;
        let found = (node, self.admin.address(node)?);
        if let Some(group) = &mut self.group {
            group.coordinator = Some(found.clone());
        }
        Ok(found)
    }

    /// The coordinator will be looked up again: it could not be asked, or said that it is none.
    fn forget_coordinator(&mut self) {
        if let Some(group) = &mut self.group {
            group.coordinator = None;
        }
    }

    /// Asks the coordinator once. That it is another one by now, or not ready, is a failure that passes.
    pub(super) async fn ask_group(
        &mut self,
        api: Api,
        request: RequestKind,
        codes: impl Fn(&ResponseKind) -> Vec<i16>,
    ) -> Result<ResponseKind, Failure> {
        let (id, address) = self.coordinator().await?;
        match self.admin.pool.ask(&address, api, request).await {
            Ok(answer) => {
                self.admin.heard(&address);
                self.check_coordinator(&codes(&answer))?;
                Ok(answer)
            }
            Err(cause) => {
                self.forget_coordinator();
                Err(self.admin.explain(id, address, cause))
            }
        }
    }

    fn check_coordinator(&mut self, codes: &[i16]) -> Result<(), Failure> {
        let mut codes = codes.iter().map(|code| ErrorCode::of(*code));
        let Some(code) = codes.find(|code| {
            matches!(
                code,
                ErrorCode::NotCoordinator
                    | ErrorCode::CoordinatorNotAvailable
                    | ErrorCode::CoordinatorLoadInProgress
            )
        }) else {
            return Ok(());
        };
        if code != ErrorCode::CoordinatorLoadInProgress {
            self.forget_coordinator();
        }
        Err(Failure::Refused {
            code,
            message: None,
        })
    }

    /// Lets go of everything before the next generation.
    async fn leave_round(&mut self, forgotten: bool) -> Result<(), Failure> {
        let begun = |group: &Group| group.auto_commit && group.given.is_none();
        if !forgotten && self.group.as_ref().is_some_and(begun) {
            // Who cannot commit now reads again what he has read: no reason to miss the next round.
            let done = self.commit().await;
            self.bear(done)?;
        }
        self.round_since_ms = self.admin.clock.monotonic_ms();
        let mut revoked: Vec<Place> = std::mem::take(&mut self.positions).into_keys().collect();
        self.taken.clear();
        if let Some(group) = &mut self.group {
            revoked.extend(group.given.take().unwrap_or_default());
            group.joined = false;
            if forgotten {
                group.member.clear();
                group.generation = -1;
            }
        }
        self.changes.push(Change::Revoked(revoked));
        Ok(())
    }

    /// Joins again where there is something to give out that was not there before. What is gone does
    /// not count: a broker that has only just started may not know of everything yet.
    pub(super) async fn rejoin_for_news(&mut self) -> Result<(), Failure> {
        let Some(group) = self.group.as_ref().filter(|group| group.joined) else {
            return Ok(());
        };
        let topics = self.topics();
        let unheard = matches!(self.wanted, Wanted::Pattern(_)) && !topics.is_subset(&group.told);
        let led = group.led.clone();
        let counts = self.counts(&led.keys().cloned().collect()).await?;
        let grown = counts
            .iter()
            .any(|(topic, count)| led.get(topic) != Some(count));
        if unheard || grown {
            self.leave_round(false).await?;
        }
        Ok(())
    }

    /// How many partitions topics have; those that are not there are left out.
    async fn counts(
        &mut self,
        topics: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, i32>, Failure> {
        let mut made: BTreeMap<String, i32> = BTreeMap::new();
        for (topic, _) in self.there.keys() {
            if topics.contains(topic) {
                *made.entry(topic.clone()).or_default() += 1;
            }
        }
        let others: Vec<String> = topics
            .iter()
            .filter(|topic| !made.contains_key(*topic))
            .cloned()
            .collect();
        if others.is_empty() {
            return Ok(made);
        }
        // Other members may read what this one does not.
        for topic in self.admin.metadata(Some(&others)).await?.topics {
            if let Some(name) = topic.name.filter(|_| !topic.partitions.is_empty()) {
                let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
                made.insert(name.0.to_string(), count);
            }
        }
        Ok(made)
    }

    async fn join(&mut self) -> Result<(), Failure> {
        self.learn().await?;
        self.look_at_ms = self.admin.clock.monotonic_ms() + self.look_every_ms;
        let topics: BTreeSet<String> = match &self.wanted {
            Wanted::Topics(names) => names.iter().cloned().collect(),
            _ => self.topics(),
        };
        let Some(group) = &mut self.group else {
            return Ok(());
        };
        group.told.clone_from(&topics);
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
        let (id, address) = self.coordinator().await?;
        let sent = match self.admin.pool.connection(&address).await {
            Ok(connection) => connection.send(Api::JoinGroup, request.into()).await,
            Err(cause) => Err(cause),
        };
        match sent {
            Ok(_) => {
                let now = self.admin.clock.monotonic_ms();
                if let Some(group) = &mut self.group {
                    group.joining_since_ms = Some(now);
                }
                Ok(())
            }
            Err(cause) => {
                self.forget_coordinator();
                Err(self.admin.explain(id, address, cause))
            }
        }
    }

    async fn await_join(&mut self, wait_ms: i64) -> Result<(), Failure> {
        let now = self.admin.clock.monotonic_ms();
        let (id, address) = self.coordinator().await?;
        let Some(group) = &mut self.group else {
            return Ok(());
        };
        let Some(since_ms) = group.joining_since_ms else {
            return Ok(());
        };
        let Some(connection) = self.admin.pool.open_connection(&address) else {
            group.joining_since_ms = None;
            group.coordinator = None;
            return Ok(());
        };
        let wait = Duration::from_millis(wait_ms.max(1).unsigned_abs());
        let Ok(answer) = tokio::time::timeout(wait, connection.receive()).await else {
            let limit_ms = i64::from(group.rebalance_timeout_ms).saturating_add(JOIN_MORE_MS);
            if now - since_ms > limit_ms {
                self.admin.pool.close(&address);
            }
            return Ok(());
        };
        match answer {
            Ok((_, ResponseKind::JoinGroup(answer))) => {
                group.joining_since_ms = None;
                self.admin.heard(&address);
                self.joined(answer).await
            }
            // An answer that somebody did not wait for any more.
            Ok(_) => Ok(()),
            Err(cause) => {
                group.joining_since_ms = None;
                self.forget_coordinator();
                Err(self.admin.explain(id, address, cause))
            }
        }
    }

    async fn joined(&mut self, joined: JoinGroupResponse) -> Result<(), Failure> {
        self.check_coordinator(&[joined.error_code])?;
        let Some(group) = &mut self.group else {
            return Ok(());
        };
        match ErrorCode::of(joined.error_code) {
            ErrorCode::None => {}
            ErrorCode::RebalanceInProgress => return Ok(()),
            ErrorCode::MemberIdRequired => {
                group.member = joined.member_id.to_string();
                return Ok(());
            }
            ErrorCode::UnknownMemberId => {
                group.member.clear();
                return Ok(());
            }
            code => {
                return Err(Failure::Refused {
                    code,
                    message: None,
                });
            }
        }
        group.member = joined.member_id.to_string();
        group.generation = joined.generation_id;
        group.led.clear();
        let mut assignments = Vec::new();
        if joined.leader == joined.member_id {
            let members = members(&joined);
            let topics = members
                .values()
                .flat_map(|member| member.topics.iter().cloned());
            let topics: BTreeSet<String> = topics.collect();
            let counts = self.counts(&topics).await?;
            assignments = plan(joined.protocol_name.as_deref(), &members, &counts);
            if let Some(group) = &mut self.group {
                let led = |topic: String| (topic.clone(), counts.get(&topic).copied().unwrap_or(0));
                group.led = topics.into_iter().map(led).collect();
            }
        }
        self.sync(&joined, assignments).await
    }

    async fn sync(
        &mut self,
        joined: &JoinGroupResponse,
        assignments: Vec<SyncGroupRequestAssignment>,
    ) -> Result<(), Failure> {
        let Some(group) = &self.group else {
            return Ok(());
        };
        let request = SyncGroupRequest::default()
            .with_group_id(GroupId(text(&group.id)))
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id.clone())
            .with_group_instance_id(group.instance.as_deref().map(text))
            .with_protocol_type(joined.protocol_type.clone())
            .with_protocol_name(joined.protocol_name.clone())
            .with_assignments(assignments);
        let codes = |answer: &ResponseKind| match answer {
            ResponseKind::SyncGroup(body) => vec![body.error_code],
            _ => Vec::new(),
        };
        let answer = self
            .ask_group(Api::SyncGroup, request.into(), codes)
            .await?;
        let synced = body!(answer, SyncGroup);
        match ErrorCode::of(synced.error_code) {
            ErrorCode::None => {}
            ErrorCode::RebalanceInProgress => return Ok(()),
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
                if let Some(group) = &mut self.group {
                    group.member.clear();
                    group.generation = -1;
                }
                return Ok(());
            }
            code => {
                return Err(Failure::Refused {
                    code,
                    message: None,
                });
            }
        }
        let places = assignors::read_assignment(&synced.assignment).unwrap_or_default();
        let now = self.admin.clock.monotonic_ms();
        if let Some(group) = &mut self.group {
            group.joined = true;
            group.given = Some(places.clone());
            group.beat_at_ms = now.saturating_add(group.beat_every_ms);
            group.commit_at_ms = now.saturating_add(group.commit_every_ms);
        }
        self.rebalances += 1;
        self.joining_ms += now - self.round_since_ms;
        self.figures.joins += 1;
        self.changes.push(Change::Assigned(places));
        self.begin().await
    }

    /// Starts the partitions of a new generation where the group stands.
    async fn begin(&mut self) -> Result<(), Failure> {
        let Some(group) = &self.group else {
            return Ok(());
        };
        let id = group.id.clone();
        let (_, address) = self.coordinator().await?;
        let connection = self.admin.pool.connection(&address).await?;
        let version = connection.versions().pick(Api::OffsetFetch).unwrap_or(0);
        let request = offsets::committed_request(&id, version);
        let answer = self
            .ask_group(Api::OffsetFetch, request.into(), offsets::committed_codes)
            .await?;
        let committed = offsets::committed_in(&body!(answer, OffsetFetch))?;
        let given = self.group.as_mut().and_then(|group| group.given.take());
        let places = given.unwrap_or_default();
        if self.reset_to.is_none() && places.iter().any(|place| !committed.contains_key(place)) {
            return Err(Failure::said(
                "Undefined offset with no reset policy for partitions",
            ));
        }
        self.start(places, &committed, self.reset_to.unwrap_or(LATEST));
        Ok(())
    }

    /// Commits where it should and leaves the group. Who cannot is said so: the group will notice.
    pub(crate) async fn close(&mut self) -> Result<(), Failure> {
        let Some(group) = &self.group else {
            return Ok(());
        };
        // A join that waits for other members would keep all else waiting behind it.
        if let Some((_, address)) = &group.coordinator
            && self.admin.pool.busy().contains(address)
        {
            self.admin.pool.close(address);
        }
        if group.joined && group.auto_commit && group.given.is_none() {
            let done = self.commit().await;
            if let Err(failure) = &done {
                warn!("What was read last was not committed: {failure}");
            }
            self.bear(done)?;
        }
        let done = self.leave().await;
        self.bear(done).map(|_| ())
    }

    async fn leave(&mut self) -> Result<(), Failure> {
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
        let (_, address) = self.coordinator().await?;
        let connection = self.admin.pool.connection(&address).await?;
        let version = connection.versions().pick(Api::LeaveGroup);
        let mut request = LeaveGroupRequest::default().with_group_id(GroupId(text(&id)));
        match version.unwrap_or(0) {
            3.. => request.members = vec![member],
            _ => request.member_id = member.member_id,
        }
        // What it answers changes nothing: an unknown member has left already.
        self.ask_group(Api::LeaveGroup, request.into(), |_| Vec::new())
            .await?;
        Ok(())
    }
}

fn members(joined: &JoinGroupResponse) -> BTreeMap<String, Subscription> {
    let members = joined.members.iter().map(|member| {
        let subscription = assignors::read_subscription(&member.metadata).unwrap_or_default();
        (member.member_id.to_string(), subscription)
    });
    members.collect()
}

/// The leader's work: everyone's partitions by the assignor the group chose.
fn plan(
    protocol: Option<&str>,
    members: &BTreeMap<String, Subscription>,
    counts: &BTreeMap<String, i32>,
) -> Vec<SyncGroupRequestAssignment> {
    let plan = match protocol {
        Some("cooperative-sticky") => assignors::cooperative_sticky(members, counts),
        Some("roundrobin") => assignors::round_robin(members, counts),
        _ => assignors::range(members, counts),
    };
    let assignment = |(member, places): (String, Vec<Place>)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(&member))
            .with_assignment(assignors::write_assignment(&places))
    };
    plan.into_iter().map(assignment).collect()
}
