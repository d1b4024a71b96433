//! Looking: offsets, descriptions, lists. Nothing here changes anything.

use std::sync::Arc;

use bytes::Bytes;
use protocol::ids::TopicPartition;

use crate::group::{Group, State};
use crate::machine::Machine;
use crate::offsets::Committed;
use crate::refusal::Refusal;

/// A group as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// `None` for a group that is not there: Dead.
    pub state: Option<State>,
    pub protocol_type: Arc<str>,
    /// Empty unless the group is stable.
    pub protocol: Arc<str>,
    pub members: Vec<DescribedMember>,
}

/// A member as an operator sees it; metadata and assignment only in a stable group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    pub member_id: Arc<str>,
    pub group_instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub group: Arc<str>,
    pub protocol_type: Arc<str>,
    pub state: State,
}

impl Machine {
    /// One group; a group that is not there is described as dead.
    pub fn describe(&self, group: &str) -> Description {
        let nothing: Arc<str> = "".into();
        let Some(group) = self.groups.get(group) else {
            return Description {
                state: None,
                protocol_type: Arc::clone(&nothing),
                protocol: nothing,
                members: Vec::new(),
            };
        };
        let stable = group.state == State::Stable;
        let protocol = group.protocol.clone().filter(|_| stable);
        let members = group.members.values().map(|member| DescribedMember {
            member_id: Arc::clone(&member.id),
            group_instance_id: member.instance.clone(),
            client_id: Arc::clone(&member.client_id),
            client_host: Arc::clone(&member.client_host),
            metadata: protocol
                .as_ref()
                .map(|name| member.metadata(name))
                .unwrap_or_default(),
            assignment: if stable {
                member.assignment.clone()
            } else {
                Bytes::new()
            },
        });
        Description {
            state: Some(group.state),
            protocol_type: group
                .protocol_type
                .clone()
                .unwrap_or_else(|| Arc::clone(&nothing)),
            members: members.collect(),
            protocol: protocol.unwrap_or(nothing),
        }
    }

    /// Every group, in no order.
    pub fn list(&self) -> impl Iterator<Item = Listed> {
        self.groups.values().map(|group| Listed {
            group: Arc::clone(&group.id),
            protocol_type: group.protocol_type.clone().unwrap_or_else(|| "".into()),
            state: group.state,
        })
    }

    /// The committed offset of one partition, if there is one.
    // Kafka: GroupMetadataManager.getOffsets; whoever asks need not be a member.
    pub fn offset(
        &self,
        group: &str,
        tp: &TopicPartition,
        require_stable: bool,
    ) -> Result<Option<&Committed>, Refusal> {
        let Some(group) = self.groups.get(group) else {
            return Ok(None);
        };
        if require_stable && group.offsets.is_unstable(tp) {
            return Err(Refusal::UnstableOffsetCommit);
        }
        Ok(group.offsets.get(&tp.topic, tp.partition))
    }

    /// Every partition with a committed offset.
    pub fn offsets(
        &self,
        group: &str,
        require_stable: bool,
    ) -> Vec<(TopicPartition, Result<Option<&Committed>, Refusal>)> {
        let Some(group) = self.groups.get(group) else {
            return Vec::new();
        };
        let look = |(topic, number, committed): (&Arc<str>, i32, _)| {
            let tp = TopicPartition::new(Arc::clone(topic), number);
            let unstable = require_stable && group.offsets.is_unstable(&tp);
            (
                tp,
                if unstable {
                    Err(Refusal::UnstableOffsetCommit)
                } else {
                    Ok(Some(committed))
                },
            )
        };
        group.offsets.iter().map(look).collect()
    }

    /// How many groups are in each state: Empty, PreparingRebalance, CompletingRebalance, Stable.
    pub fn states(&self) -> [usize; 4] {
        let count = |state| {
            self.groups
                .values()
                .filter(|group: &&Group| group.state == state)
                .count()
        };
        [
            State::Empty,
            State::PreparingRebalance,
            State::CompletingRebalance,
            State::Stable,
        ]
        .map(count)
    }
}
