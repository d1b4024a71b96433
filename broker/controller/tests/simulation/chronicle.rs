//! What the writes to ZooKeeper say, checked as they go through.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::ids::{TopicId, TopicPartition};
use znodes::bodies::partition::PartitionState;
use znodes::bodies::topic::{Assignment, Topic};
use znodes::paths;
use znodes::store::Op;

/// A topic whose nodes are gone, with the replicas it had.
pub(crate) struct Gone {
    pub(crate) name: Arc<str>,
    pub(crate) topic: Topic,
}

#[derive(Default)]
pub(crate) struct Chronicle {
    controller: Option<i32>,
    /// Brokers of old protocol versions are among them.
    pub(crate) leaders_write: bool,
    pub(crate) elections: usize,
    leaders: BTreeMap<(TopicPartition, i32), i32>,
    pub(crate) states: BTreeMap<TopicPartition, PartitionState>,
    pub(crate) leader_changes: usize,
    pub(crate) isr_changes: usize,
    /// Every topic's node as it is now, whoever wrote it.
    pub(crate) topics: BTreeMap<Arc<str>, Topic>,
    /// Topics somebody asked to delete.
    pub(crate) marked: BTreeSet<Arc<str>>,
    /// The id a name was last known by: what brokers remember of it.
    pub(crate) last_ids: BTreeMap<Arc<str>, TopicId>,
    /// Ids of deleted topics; none of them may come back.
    buried: BTreeSet<TopicId>,
    /// Deleted, and the brokers not looked at yet.
    pub(crate) gone: Vec<Gone>,
    pub(crate) moves: usize,
    pub(crate) deletions: usize,
}

impl Chronicle {
    /// A transaction of a broker went through.
    pub(crate) fn note(&mut self, broker: i32, ops: &[Op]) {
        if ops
            .iter()
            .any(|op| matches!(op, Op::Create { path, .. } if path == paths::CONTROLLER))
        {
            self.controller = Some(broker);
            self.elections += 1;
        }
        for op in ops {
            let path = op.path();
            let of_controllers = (path.starts_with("/brokers/topics/")
                || path.starts_with("/admin/"))
                && !matches!(op, Op::Check { .. });
            assert!(
                !of_controllers || self.controller == Some(broker) || self.is_own_isr(broker, op),
                "broker {broker} wrote {path} while {:?} had been elected after it",
                self.controller
            );
            match op {
                Op::Set { data, .. } | Op::Create { data, .. } => self.note_body(path, data),
                Op::Delete { .. } => self.note_deleted(path),
                Op::Check { .. } => {}
            }
        }
    }

    /// A leader of an old protocol version writes the ISR of its partition, and nothing else.
    fn is_own_isr(&self, broker: i32, op: &Op) -> bool {
        let Op::Set { path, data, .. } = op else {
            return false;
        };
        let tp = paths::partition_of_state(path);
        let Some(held) = tp.and_then(|tp| self.states.get(&tp)) else {
            return false;
        };
        let mut written = PartitionState::decode(data).unwrap();
        written.isr.clone_from(&held.isr);
        self.leaders_write && held.leader == broker && written == *held
    }

    fn note_body(&mut self, path: &str, data: &[u8]) {
        if let Some(tp) = paths::partition_of_state(path) {
            self.note_state(tp, PartitionState::decode(data).unwrap());
        } else if let Some(name) = child_of(path, paths::TOPICS) {
            self.note_topic(&name, Topic::decode(data).unwrap());
        }
    }

    fn note_deleted(&mut self, path: &str) {
        if let Some(tp) = paths::partition_of_state(path) {
            // A topic of the same name may begin with the same epochs.
            self.leaders.retain(|(of, _), _| *of != tp);
            self.states.remove(&tp);
        } else if let Some(name) = child_of(path, paths::TOPICS) {
            assert!(
                self.marked.contains(&name),
                "{name} was deleted, and nobody had asked for it"
            );
            let topic = self.topics.remove(&name).unwrap();
            self.buried.extend(topic.id);
            self.deletions += 1;
            self.gone.push(Gone { name, topic });
        } else if let Some(name) = child_of(path, paths::DELETE_TOPICS) {
            self.marked.remove(&name);
            assert!(
                !self.topics.contains_key(&name),
                "{name} is there still, and nobody remembers that it should go"
            );
        }
    }

    fn note_state(&mut self, tp: TopicPartition, state: PartitionState) {
        if state.leader >= 0 {
            let epoch = (tp.clone(), state.leader_epoch);
            let known = *self.leaders.entry(epoch).or_insert(state.leader);
            assert_eq!(
                known, state.leader,
                "two leaders of {tp} in epoch {}",
                state.leader_epoch
            );
        }
        if let Some(before) = self.states.get(&tp) {
            self.leader_changes += usize::from(before.leader != state.leader);
            self.isr_changes += usize::from(before.isr != state.isr);
            assert!(
                before.leader_epoch <= state.leader_epoch,
                "the epoch of {tp} went back"
            );
        }
        self.states.insert(tp, state);
    }

    fn note_topic(&mut self, name: &Arc<str>, now: Topic) {
        let before = self.topics.insert(Arc::clone(name), now.clone()).unwrap();
        if before.id.is_some() && self.states.keys().any(|tp| tp.topic == *name) {
            // Until somebody leads, nobody was told of an id.
            assert_eq!(before.id, now.id, "{name} got another id");
        } else if let Some(id) = now.id {
            assert!(!self.buried.contains(&id), "{name} rose from the dead");
            self.last_ids.insert(Arc::clone(name), id);
        }
        for (index, was) in &before.partitions {
            let tp = TopicPartition::new(Arc::clone(name), *index);
            match now.partitions.get(index) {
                Some(is) => self.note_assignment(&tp, was, is),
                // Partitions added to a topic that is being deleted are taken back.
                None => assert!(self.marked.contains(name), "{tp} was lost"),
            }
        }
    }

    /// A move ends with exactly the replicas that it was to lead to, or where it began.
    fn note_assignment(&mut self, tp: &TopicPartition, was: &Assignment, is: &Assignment) {
        let without = |but: &[i32]| -> BTreeSet<i32> {
            let kept = was.replicas.iter().filter(|id| !but.contains(id));
            kept.copied().collect()
        };
        if is.is_reassigning() {
            return;
        }
        let ended: BTreeSet<i32> = is.replicas.iter().copied().collect();
        let (target, origin) = (without(&was.removing), without(&was.adding));
        assert!(
            ended == target || ended == origin,
            "the move of {tp} ended elsewhere: {was:?} became {is:?}"
        );
        if was.is_reassigning() {
            self.moves += 1;
            let isr = self.states.get(tp).map(|state| &state.isr);
            assert!(
                ended == origin || isr.into_iter().flatten().all(|id| ended.contains(id)),
                "the move of {tp} to {ended:?} ended while others were in sync: {isr:?}"
            );
        }
    }
}

fn child_of(path: &str, parent: &str) -> Option<Arc<str>> {
    let name = path.strip_prefix(parent)?.strip_prefix('/')?;
    (!name.contains('/')).then(|| Arc::from(name))
}
