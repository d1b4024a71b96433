//! From the log back to groups: every record of the partition, in order.
//!
//! Kafka: `GroupMetadataManager.doLoadGroupsAndOffsets`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use protocol::ids::TopicPartition;
use protocol::internal::Malformed;
use protocol::internal::groups::GroupValue;
use protocol::internal::offsets::{Key, OffsetKey, OffsetValue};

use crate::config::Config;
use crate::group::{Group, State};
use crate::machine::Machine;
use crate::member::{Member, Protocol};
use crate::offsets::{Committed, Offsets, Stored, Undecided};
use crate::outcome::{Note, Now, Outcome};

/// Where a replayed record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayedBatch {
    /// The offset of the batch's first record.
    pub base_offset: i64,
    /// The producer, if the batch belongs to a transaction.
    pub transaction: Option<i64>,
}

/// A partition being replayed.
#[derive(Debug)]
pub struct Loader {
    config: Arc<Config>,
    now: Now,
    /// Group → its offsets; a group may have offsets and no record of its own.
    offsets: HashMap<Arc<str>, Offsets>,
    groups: HashMap<Arc<str>, Group>,
    /// Topic names, each once.
    topics: HashMap<Arc<str>, Arc<str>>,
    producers: BTreeMap<i64, std::collections::BTreeSet<Arc<str>>>,
    notes: Vec<Note>,
}

impl Loader {
    pub fn new(config: Arc<Config>, now: Now) -> Self {
        Loader {
            config,
            now,
            offsets: HashMap::new(),
            groups: HashMap::new(),
            topics: HashMap::new(),
            producers: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    /// The end of a producer's transaction.
    pub fn replay_marker(&mut self, producer_id: i64, commit: bool) {
        for group in self.producers.remove(&producer_id).unwrap_or_default() {
            if let Some(offsets) = self.offsets.get_mut(&group) {
                offsets.decide(producer_id, commit);
            }
        }
    }

    /// One record. What cannot be read is passed over and noted: one damaged record must not take
    /// the partition's other groups away.
    pub fn replay(&mut self, batch: ReplayedBatch, key: &[u8], value: Option<&[u8]>) {
        let replayed = match Key::read(key) {
            Ok(Key::Offset(key)) => self.replay_offset(batch, key, value),
            Ok(Key::Group(group)) => self.replay_group(group, value),
            Ok(Key::Unknown(version)) => {
                self.notes.push(Note::UnknownRecord { version });
                Ok(())
            }
            Err(why) => Err(why),
        };
        if let Err(why) = replayed {
            self.notes.push(Note::DamagedRecord {
                offset: batch.base_offset,
                why,
            });
        }
    }

    fn replay_offset(
        &mut self,
        batch: ReplayedBatch,
        key: OffsetKey<'_>,
        value: Option<&[u8]>,
    ) -> Result<(), Malformed> {
        let value = value.map(OffsetValue::read).transpose()?;
        let topic = intern(&mut self.topics, key.topic);
        let tp = TopicPartition::new(topic, key.partition);
        let offsets = match self.offsets.get_mut(key.group) {
            Some(offsets) => offsets,
            None => self.offsets.entry(key.group.into()).or_default(),
        };
        let appended_at = batch.base_offset;
        match (batch.transaction, value.map(committed)) {
            (None, Some(committed)) => offsets.put(
                &tp,
                Stored {
                    committed,
                    appended_at,
                },
            ),
            (None, None) => {
                offsets.take(&tp.topic, tp.partition);
            }
            (Some(producer_id), Some(committed)) => {
                let undecided = Undecided {
                    committed,
                    write: None,
                    appended_at: Some(appended_at),
                };
                offsets.note_undecided(producer_id, tp, undecided);
                let groups = self.producers.entry(producer_id).or_default();
                if !groups.contains(key.group) {
                    groups.insert(key.group.into());
                }
            }
            (Some(producer_id), None) => offsets.drop_undecided(producer_id, &tp),
        }
        Ok(())
    }

    fn replay_group(&mut self, id: &str, value: Option<&[u8]>) -> Result<(), Malformed> {
        match value.map(GroupValue::read).transpose()? {
            Some(value) => {
                let group = loaded_group(id, &value, self.now);
                self.groups.insert(Arc::clone(&group.id), group);
            }
            None => {
                self.groups.remove(id);
            }
        }
        Ok(())
    }

    /// All records have been replayed: groups come to life, sessions start.
    pub fn finish(self) -> (Machine, Outcome) {
        let Loader {
            config,
            now,
            offsets,
            mut groups,
            producers,
            notes,
            ..
        } = self;
        for (id, offsets) in offsets {
            if let Some(group) = groups.get_mut(&id) {
                group.offsets = offsets;
            } else if !offsets.is_empty() {
                let mut group = Group::new(Arc::clone(&id), 0, now.wall_ms);
                group.offsets = offsets;
                groups.insert(id, group);
            }
        }
        let mut machine = Machine::new(config);
        machine.producers = producers.into_iter().collect();
        let mut out = Outcome {
            notes,
            ..Outcome::default()
        };
        for (id, mut group) in groups.into_iter().collect::<BTreeMap<_, _>>() {
            machine.incarnations += 1;
            group.incarnation = machine.incarnations;
            machine.groups.insert(Arc::clone(&id), group);
            machine.on(&id, now, &mut out, |group, work| {
                if group.members.len() > work.config.size_max {
                    // So that its consumers can commit what they have read.
                    group.prepare_rebalance("the loaded group is over its size", work);
                }
                for member_id in group.members.keys().cloned().collect::<Vec<_>>() {
                    group.arm(&member_id, None, work);
                }
            });
        }
        (machine, out)
    }
}

/// The one shared copy of a name.
fn intern(names: &mut HashMap<Arc<str>, Arc<str>>, name: &str) -> Arc<str> {
    if let Some(known) = names.get(name) {
        return Arc::clone(known);
    }
    let new: Arc<str> = name.into();
    names.insert(Arc::clone(&new), Arc::clone(&new));
    new
}

fn committed(value: OffsetValue<'_>) -> Committed {
    Committed {
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: value.metadata.into(),
        commit_timestamp: value.commit_timestamp,
        expire_timestamp: Some(value.expire_timestamp).filter(|at| *at != -1),
    }
}

/// A group as its record tells of it: stable if it has members, else empty.
// Kafka: GroupMetadata.loadGroup.
fn loaded_group(id: &str, value: &GroupValue<'_>, now: Now) -> Group {
    let mut group = Group::new(id.into(), 0, now.wall_ms);
    group.state_since = Some(value.current_state_timestamp).filter(|since| *since != -1);
    group.generation = value.generation;
    group.protocol_type = Some(value.protocol_type)
        .filter(|name| !name.is_empty())
        .map(Arc::from);
    group.protocol = value.protocol.map(Arc::from);
    let protocol = group.protocol.clone().unwrap_or_else(|| "".into());
    for member in &value.members {
        let instance_taken = member
            .group_instance_id
            .is_some_and(|id| group.statics.contains_key(id));
        if instance_taken || group.members.contains_key(member.member_id) {
            continue; // Nobody writes such a record; whoever did, one of the two is enough.
        }
        group.add(Member {
            id: member.member_id.into(),
            instance: member.group_instance_id.map(Arc::from),
            client_id: member.client_id.into(),
            client_host: member.client_host.into(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            protocols: vec![Protocol {
                name: Arc::clone(&protocol),
                metadata: Bytes::copy_from_slice(member.subscription),
            }],
            assignment: Bytes::copy_from_slice(member.assignment),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
            session_deadline: None,
            timer_at: None,
        });
    }
    if let Some(leader) = value
        .leader
        .filter(|leader| group.members.contains_key(*leader))
    {
        group.leader = Some(leader.into());
    }
    group.state = if group.members.is_empty() {
        State::Empty
    } else {
        State::Stable
    };
    group.subscribed = group.subscriptions();
    group
}
