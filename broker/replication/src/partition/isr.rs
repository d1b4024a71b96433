//! Who is in sync: who should join or leave the ISR, and the one proposal in flight.
//!
//! The controller decides; a leader proposes and waits. While a proposal is in flight the leader
//! acts on the *maximal* ISR, the union of what is committed and what is proposed, so that
//! whichever of the two the controller has stored, no acknowledged record can be lost.
//!
//! Invariant: I-4. At most one proposal is in flight a partition.
//! Pure: `now` is handed in, nothing is locked, woken or sent.

use protocol::ids::{BrokerId, LeaderEpoch, Offset};

use crate::partition::leader::Followers;

/// The ISR as its leader knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Isr {
    committed: Vec<BrokerId>,
    maximal: Vec<BrokerId>,
    proposed: Option<Vec<BrokerId>>,
}

/// What the controller said to a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IsrAnswer {
    /// It is written. The ISR may differ from what was asked, where the controller knew better.
    Committed {
        leader_epoch: LeaderEpoch,
        partition_epoch: i32,
        isr: Vec<BrokerId>,
    },
    /// Nothing was written and nothing else changed: a member may not join now.
    Reverted,
    /// The leader's own view is old; the next order from the controller will tell.
    Outdated,
    /// Something else went wrong; the same proposal should be sent again.
    TryAgain,
}

/// What a leader does with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterAnswer {
    /// The committed ISR changed; the watermark may move.
    Changed,
    /// The proposal is dropped, the committed ISR stands.
    Dropped,
    /// Nothing to do until the controller speaks.
    Wait,
    /// Propose the same once more.
    Again,
    /// The answer belongs to an earlier leadership.
    Ignored,
}

impl Isr {
    pub fn new(committed: Vec<BrokerId>) -> Self {
        Isr {
            maximal: committed.clone(),
            committed,
            proposed: None,
        }
    }

    /// What the controller has confirmed.
    pub fn committed(&self) -> &[BrokerId] {
        &self.committed
    }

    /// Committed and proposed members together.
    pub fn maximal(&self) -> &[BrokerId] {
        &self.maximal
    }

    /// The proposal in flight, if there is one.
    pub fn proposed(&self) -> Option<&[BrokerId]> {
        self.proposed.as_deref()
    }

    /// The ISR without those who have lagged for longer than `lag_ms_max`, where any have.
    pub fn choose_shrink(
        &self,
        followers: &Followers,
        leader_end: Offset,
        now_ms: i64,
        lag_ms_max: i64,
    ) -> Option<Vec<BrokerId>> {
        if self.proposed.is_some() {
            return None;
        }
        let lags = |id: &BrokerId| {
            followers
                .get(*id)
                .is_some_and(|follower| !follower.is_caught_up(leader_end, now_ms, lag_ms_max))
        };
        let stay: Vec<_> = self
            .committed
            .iter()
            .copied()
            .filter(|id| !lags(id))
            .collect();
        (stay.len() < self.committed.len()).then_some(stay)
    }

    /// The ISR with `id`, where that follower has reached the watermark and the leader's epoch.
    pub fn choose_expand(
        &self,
        followers: &Followers,
        id: BrokerId,
        watermark: Offset,
        epoch_start: Offset,
        may_join: impl Fn(BrokerId) -> bool,
    ) -> Option<Vec<BrokerId>> {
        if self.proposed.is_some() || self.committed.contains(&id) {
            return None;
        }
        let end = followers.get(id)?.end?;
        // Kafka: reaching the watermark alone is not enough. Records of this epoch that are not
        // committed yet could be missing from a member otherwise (KIP-207).
        if end < watermark || end < epoch_start || !may_join(id) {
            return None;
        }
        let mut isr = self.committed.clone();
        isr.push(id);
        Some(isr)
    }

    /// A proposal leaves for the controller.
    pub fn note_proposed(&mut self, isr: Vec<BrokerId>) {
        debug_assert!(self.proposed.is_none(), "one proposal in flight");
        for id in &isr {
            if !self.maximal.contains(id) {
                self.maximal.push(*id);
            }
        }
        self.proposed = Some(isr);
        self.check();
    }

    /// The controller's answer arrives, for a leader at these epochs.
    pub fn note_answer(
        &mut self,
        answer: &IsrAnswer,
        leader_epoch: LeaderEpoch,
        partition_epoch: &mut i32,
    ) -> AfterAnswer {
        if self.proposed.is_none() {
            return AfterAnswer::Ignored;
        }
        let after = match answer {
            IsrAnswer::Committed {
                leader_epoch: theirs,
                partition_epoch: epoch,
                isr,
            } => {
                // Kafka: the partition epoch may equal ours, when the order overtook the answer
                // (Partition.handleAlterPartitionUpdate, 3.9).
                if *theirs != leader_epoch || *epoch < *partition_epoch {
                    return AfterAnswer::Ignored;
                }
                *partition_epoch = *epoch;
                *self = Isr::new(isr.clone());
                AfterAnswer::Changed
            }
            IsrAnswer::Reverted => {
                *self = Isr::new(std::mem::take(&mut self.committed));
                AfterAnswer::Dropped
            }
            IsrAnswer::Outdated => AfterAnswer::Wait,
            IsrAnswer::TryAgain => AfterAnswer::Again,
        };
        self.check();
        after
    }

    fn check(&self) {
        debug_assert!(
            self.committed.iter().all(|id| self.maximal.contains(id)),
            "{self:?}"
        );
        debug_assert!(
            self.proposed.is_some() || self.maximal == self.committed,
            "{self:?}"
        );
    }
}
