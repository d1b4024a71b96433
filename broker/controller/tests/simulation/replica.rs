//! One replica as a model: the rules of a leader and of a follower, without disk or socket.

use std::collections::BTreeMap;

use controller::event::IsrState;
use controller::sender::PartitionOrder;
use protocol::ids::TopicId;
use protocol::kafka::errors::ErrorCode;

/// A record: the epoch of the leader that took it, and a number of its own.
pub(crate) type Record = (i32, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Leader,
    Follower,
    /// Told nothing since the start, or to stop.
    Stopped,
}

/// A new ISR on its way to the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposed {
    pub(crate) isr: Vec<i32>,
    /// Sent, and the answer still out.
    pub(crate) in_flight: bool,
    /// Refused for good: waits for the next order.
    pub(crate) stuck: bool,
}

/// What survives a crash.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) id: TopicId,
    /// In which of the broker's two directories it lies.
    pub(crate) second: bool,
    pub(crate) log: Vec<Record>,
}

#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) id: TopicId,
    pub(crate) second: bool,
    pub(crate) log: Vec<Record>,
    /// Its directory failed.
    pub(crate) offline: bool,
    pub(crate) role: Role,
    pub(crate) leader: i32,
    pub(crate) epoch: i32,
    /// Of the controller that gave the leadership.
    pub(crate) controller_epoch: i32,
    pub(crate) partition_epoch: i32,
    pub(crate) isr: Vec<i32>,
    pub(crate) replicas: Vec<i32>,
    pub(crate) watermark: usize,
    pub(crate) epoch_start: usize,
    pub(crate) followers: BTreeMap<i32, usize>,
    pub(crate) proposed: Option<Proposed>,
}

impl Replica {
    pub(crate) fn on_disk(kept: Kept) -> Replica {
        Replica {
            id: kept.id,
            second: kept.second,
            log: kept.log,
            offline: false,
            role: Role::Stopped,
            leader: -1,
            epoch: -1,
            controller_epoch: 0,
            partition_epoch: -1,
            isr: vec![],
            replicas: vec![],
            watermark: 0,
            epoch_start: 0,
            followers: BTreeMap::new(),
            proposed: None,
        }
    }

    pub(crate) fn kept(self) -> Kept {
        Kept {
            id: self.id,
            second: self.second,
            log: self.log,
        }
    }

    /// Its directory fails: what lies there is neither read nor written before the next start.
    pub(crate) fn fail(&mut self) {
        self.offline = true;
        self.role = Role::Stopped;
    }

    /// One entry of a LeaderAndIsr. Kafka: `becomeLeaderOrFollower`.
    pub(crate) fn obey(&mut self, me: i32, id: TopicId, order: &PartitionOrder) -> ErrorCode {
        if self.offline {
            return ErrorCode::KafkaStorageError;
        }
        if self.id != id {
            return ErrorCode::InconsistentTopicId;
        }
        if order.leader_epoch <= self.epoch {
            return ErrorCode::StaleControllerEpoch;
        }
        if !order.replicas.contains(&me) {
            return ErrorCode::UnknownTopicOrPartition;
        }
        if order.leader < 0 {
            // Kafka: without a living leader neither state nor epoch change.
            return ErrorCode::None;
        }
        self.epoch = order.leader_epoch;
        self.controller_epoch = order.controller_epoch;
        self.partition_epoch = order.partition_epoch;
        self.leader = order.leader;
        self.replicas.clone_from(&order.replicas);
        self.proposed = None;
        self.followers.clear();
        if order.leader == me {
            self.role = Role::Leader;
            self.isr.clone_from(&order.isr);
            self.epoch_start = self.log.len();
        } else {
            self.role = Role::Follower;
            self.isr.clear();
        }
        ErrorCode::None
    }

    /// The ISR together with whoever is proposed to join it.
    fn maximal_isr(&self) -> Vec<i32> {
        let mut all = self.isr.clone();
        if let Some(proposed) = &self.proposed {
            for id in &proposed.isr {
                if !all.contains(id) {
                    all.push(*id);
                }
            }
        }
        all
    }

    /// Moves the watermark; the records that are committed by it.
    pub(crate) fn advance(&mut self, me: i32) -> &[Record] {
        let end = self.log.len();
        let slowest = self
            .maximal_isr()
            .into_iter()
            .map(|id| match id == me {
                true => end,
                false => self.followers.get(&id).copied().unwrap_or(0),
            })
            .min()
            .unwrap_or(0);
        let from = self.watermark.min(slowest);
        self.watermark = self.watermark.max(slowest);
        &self.log[from..self.watermark]
    }

    /// What a leader does when a follower asks for records: who has caught up may join.
    pub(crate) fn note_fetch(&mut self, id: i32, from: usize) {
        self.followers.insert(id, from);
        let joins = self.proposed.is_none()
            && !self.isr.contains(&id)
            && self.replicas.contains(&id)
            && from >= self.watermark
            && from >= self.epoch_start;
        if joins {
            let mut isr = self.isr.clone();
            isr.push(id);
            self.propose(isr);
        }
    }

    /// Somebody lags for too long.
    pub(crate) fn shrink(&mut self, me: i32, id: i32) {
        let lags = self.followers.get(&id).copied().unwrap_or(0) < self.log.len();
        if self.proposed.is_none() && id != me && self.isr.contains(&id) && lags {
            let isr = self.isr.iter().copied().filter(|one| *one != id).collect();
            self.propose(isr);
        }
    }

    fn propose(&mut self, isr: Vec<i32>) {
        self.proposed = Some(Proposed {
            isr,
            in_flight: false,
            stuck: false,
        });
    }

    /// The controller's answer. Kafka: `Partition.handleAlterPartitionUpdate` and its errors.
    pub(crate) fn answered(&mut self, epoch: i32, outcome: Result<IsrState, ErrorCode>) {
        if epoch != self.epoch || self.role != Role::Leader {
            return;
        }
        match outcome {
            Ok(state) => {
                if state.leader_epoch == self.epoch && state.partition_epoch >= self.partition_epoch
                {
                    self.partition_epoch = state.partition_epoch;
                    self.isr = state.isr;
                    self.proposed = None;
                }
            }
            Err(ErrorCode::OperationNotAttempted | ErrorCode::IneligibleReplica) => {
                self.proposed = None;
            }
            Err(
                ErrorCode::UnknownTopicOrPartition
                | ErrorCode::UnknownTopicId
                | ErrorCode::FencedLeaderEpoch
                | ErrorCode::InvalidUpdateVersion
                | ErrorCode::InvalidRequest
                | ErrorCode::NewLeaderElected,
            ) => {
                if let Some(proposed) = &mut self.proposed {
                    proposed.stuck = true;
                }
            }
            Err(_) => {
                if let Some(proposed) = &mut self.proposed {
                    proposed.in_flight = false;
                }
            }
        }
    }

    /// Cuts what the leader has not, and copies some of what it has. Kafka finds the place by
    /// epochs and offsets; the longest common beginning is the same place.
    pub(crate) fn truncate_to(&mut self, leader: &[Record]) {
        let common = self
            .log
            .iter()
            .zip(leader)
            .take_while(|(mine, theirs)| mine == theirs)
            .count();
        self.log.truncate(common);
    }
}
