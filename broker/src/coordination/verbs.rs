//! What can be asked of groups, with the checks that come before any group is looked at.
//!
//! Kafka: `GroupCoordinator.validateGroupStatus`. A static member that the brokers' agreed version
//! cannot write down is refused first of all. An id that must not be empty comes first, then
//! whether this broker is stopping, loading, or not the coordinator.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::groups::commit::CommitRequest;
use ::groups::describe::{Description, Listed};
use ::groups::join::JoinRequest;
use ::groups::leave::Leaver;
use ::groups::offsets::Committed;
use ::groups::outcome::{JoinAnswer, SyncAnswer};
use ::groups::sync::SyncRequest;
use ::groups::{Answer, Refusal};
use protocol::ids::TopicPartition;

use crate::coordination::groups::{Groups, Waiting};

/// What is said of one partition: its committed offset, if there is one.
pub type FetchedOffset = (TopicPartition, Result<Option<Committed>, Refusal>);

/// Which offsets are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    All,
    Partitions(Vec<TopicPartition>),
}

fn check_named(group: &str) -> Result<(), Refusal> {
    if group.is_empty() {
        Err(Refusal::InvalidGroupId)
    } else {
        Ok(())
    }
}

impl Groups {
    /// The checks of what a member asks for itself, in their order.
    fn check_member(&self, group: &str, instance: Option<&str>) -> Result<(), Refusal> {
        self.check_static(instance)?;
        check_named(group)
    }

    /// Joins a group; waits for its next generation.
    pub async fn join(self: &Arc<Self>, request: JoinRequest) -> JoinAnswer {
        let member_id = Arc::clone(&request.member_id);
        let group = Arc::clone(&request.group);
        let checked = self.check_member(&group, request.group_instance_id.as_deref());
        let asked = checked.and_then(|()| {
            self.ask(&group, |machine, ticket, now, out| {
                *out = machine.join(ticket, request, now)
            })
        });
        match answered(asked).await {
            Ok(Answer::Join(answer)) => answer,
            Ok(_) => JoinAnswer::refused(member_id, Refusal::UnknownServerError),
            Err(refusal) => JoinAnswer::refused(member_id, refusal),
        }
    }

    /// Fetches a member's assignment; waits for the leader's to be written.
    // Kafka: while loading, members are sent back to join, since old clients do not expect to
    // hear of loading here.
    pub async fn sync(self: &Arc<Self>, request: SyncRequest) -> SyncAnswer {
        let group = Arc::clone(&request.group);
        let checked = self.check_member(&group, request.group_instance_id.as_deref());
        let asked = checked.and_then(|()| {
            self.ask(&group, |machine, ticket, now, out| {
                *out = machine.sync(ticket, request, now)
            })
        });
        match answered(asked).await {
            Ok(Answer::Sync(answer)) => answer,
            Ok(_) => SyncAnswer::refused(Refusal::UnknownServerError),
            Err(Refusal::CoordinatorLoadInProgress) => {
                SyncAnswer::refused(Refusal::RebalanceInProgress)
            }
            Err(refusal) => SyncAnswer::refused(refusal),
        }
    }

    /// A sign of life. Never waits.
    // Kafka: while loading, every heartbeat is good.
    pub fn heartbeat(
        self: &Arc<Self>,
        group: &str,
        member_id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(), Refusal> {
        self.check_member(group, instance)?;
        let heard = self.tell(group, |machine, now, _out| {
            machine.heartbeat(group, member_id, instance, generation, now)
        });
        match heard {
            Ok(verdict) => verdict,
            Err(Refusal::CoordinatorLoadInProgress) => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }

    /// Members leave. One verdict for each. Never waits.
    pub fn leave(
        self: &Arc<Self>,
        group: &str,
        leavers: &[Leaver],
    ) -> Result<Vec<Result<(), Refusal>>, Refusal> {
        check_named(group)?;
        self.tell(group, |machine, now, out| {
            machine.leave(group, leavers, now, out)
        })?
    }

    /// Stores offsets, within a transaction or without; waits until they are written. The group's
    /// id may be empty.
    pub async fn commit(self: &Arc<Self>, request: CommitRequest) -> Vec<Result<(), Refusal>> {
        let count = request.offsets.len();
        let group = Arc::clone(&request.group);
        let instance = self.check_static(request.group_instance_id.as_deref());
        let asked = instance.and_then(|()| {
            self.ask(&group, |machine, ticket, now, out| {
                *out = machine.commit(ticket, request, now)
            })
        });
        match self.written(asked, self.commit_timeout_ms()).await {
            Ok(Answer::Commit(verdicts)) => verdicts,
            Ok(_) => vec![Err(Refusal::UnknownServerError); count],
            Err(refusal) => vec![Err(refusal); count],
        }
    }

    /// Stores offsets within a transaction; the group must have an id.
    pub async fn commit_in_transaction(
        self: &Arc<Self>,
        request: CommitRequest,
    ) -> Vec<Result<(), Refusal>> {
        match check_named(&request.group) {
            Ok(()) => self.commit(request).await,
            Err(refusal) => vec![Err(refusal); request.offsets.len()],
        }
    }

    /// Committed offsets. Never waits.
    pub fn fetch(
        &self,
        group: &str,
        asked: Asked,
        require_stable: bool,
    ) -> Result<Vec<FetchedOffset>, Refusal> {
        self.look(group, |machine| match asked {
            Asked::All => {
                let all = machine.offsets(group, require_stable).into_iter();
                all.map(|(tp, found)| (tp, found.map(|found| found.cloned())))
                    .collect()
            }
            Asked::Partitions(partitions) => {
                let each = partitions.into_iter().map(|tp| {
                    let found = machine.offset(group, &tp, require_stable);
                    let found = found.map(|found| found.cloned());
                    (tp, found)
                });
                each.collect()
            }
        })
    }

    /// One group as an operator sees it.
    pub fn describe(&self, group: &str) -> Result<Description, Refusal> {
        self.look(group, |machine| machine.describe(group))
    }

    /// Every group coordinated here; and a refusal beside them while some are still loading.
    pub fn list(&self) -> (Option<Refusal>, Vec<Listed>) {
        let mut listed = Vec::new();
        match self.look_at_all(|machine| listed.extend(machine.list())) {
            Ok(true) => (None, listed),
            Ok(false) => (Some(Refusal::CoordinatorLoadInProgress), listed),
            Err(refusal) => (Some(refusal), Vec::new()),
        }
    }

    /// Deletes groups without members; waits for their tombstones. One verdict for each.
    pub async fn delete(self: &Arc<Self>, groups: &[&str]) -> Vec<Result<(), Refusal>> {
        // All are asked before any is waited for: their logs may lie on different disks.
        let asked = groups.iter().map(|group| {
            let asked = self.ask(group, |machine, ticket, now, out| {
                machine.delete(ticket, group, now, out)
            });
            asked.and_then(|(verdict, waiting)| verdict.map(|()| ((), waiting)))
        });
        let asked: Vec<_> = asked.collect();
        let until_ms = self.now().monotonic_ms + self.commit_timeout_ms();
        let mut verdicts = Vec::with_capacity(asked.len());
        for asked in asked {
            let left_ms = until_ms - self.now().monotonic_ms;
            verdicts.push(self.written(asked, left_ms).await.map(drop));
        }
        verdicts
    }

    /// Deletes offsets nobody reads; waits for their tombstones. One verdict for each.
    pub async fn delete_offsets(
        self: &Arc<Self>,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Result<(), Refusal>>, Refusal> {
        check_named(group)?;
        let asked = self.ask(group, |machine, ticket, now, out| {
            machine.delete_offsets(ticket, group, partitions, now, out)
        })?;
        let (verdicts, waiting) = asked;
        let verdicts = verdicts?;
        let deleted = self.written(Ok(((), waiting)), self.commit_timeout_ms());
        deleted.await.map(|_deleted| verdicts)
    }

    /// The answer of what is written first. What stands behind others who wait for a disk does not do
    /// so for ever.
    async fn written(
        &self,
        asked: Result<((), Waiting), Refusal>,
        patience_ms: i64,
    ) -> Result<Answer, Refusal> {
        tokio::select! { biased;
            answer = answered(asked) => answer,
            () = self.sleep_ms(patience_ms) => Err(Refusal::RequestTimedOut),
        }
    }

    /// Every committed offset of the groups coordinated here.
    pub fn each_offset(&self, mut show: impl FnMut(&str, &Arc<str>, i32, i64)) {
        // A broker that is stopping has none to show.
        let _stopped = self.look_at_all(|machine| machine.each_offset(&mut show));
    }

    /// Groups by state, for metrics: Empty, PreparingRebalance, CompletingRebalance, Stable.
    pub fn states(&self) -> BTreeMap<&'static str, usize> {
        let names = [
            "Empty",
            "PreparingRebalance",
            "CompletingRebalance",
            "Stable",
        ];
        let mut counts = BTreeMap::from(names.map(|name| (name, 0)));
        let looked = self.look_at_all(|machine| {
            for (name, count) in names.into_iter().zip(machine.states()) {
                *counts.entry(name).or_default() += count;
            }
        });
        if looked.is_err() {
            counts.clear();
        }
        counts
    }
}

async fn answered(asked: Result<((), Waiting), Refusal>) -> Result<Answer, Refusal> {
    let ((), waiting) = asked?;
    waiting.answer().await.ok_or(Refusal::NotCoordinator)
}
