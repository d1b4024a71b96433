//! The groups of one partition of `__consumer_offsets`, and how events reach them.
//!
//! One owner calls it, with the time, and carries out what it returns. Verbs live in the files
//! named after them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::config::Config;
use crate::group::Group;
use crate::outcome::{Answer, JoinAnswer, Now, Outcome, SyncAnswer};
use crate::refusal::Refusal;
use crate::work::{Pending, Timers, Work, Writes};

/// All groups of a partition.
#[derive(Debug)]
pub struct Machine {
    pub(crate) config: Arc<Config>,
    pub(crate) groups: HashMap<Arc<str>, Group>,
    /// Which groups have undecided offsets of a producer: where its marker leads.
    pub(crate) producers: HashMap<i64, BTreeSet<Arc<str>>>,
    pub(crate) timers: Timers,
    pub(crate) writes: Writes,
    pub(crate) incarnations: u64,
}

impl Machine {
    /// A partition without records.
    pub fn new(config: Arc<Config>) -> Self {
        Machine {
            config,
            groups: HashMap::new(),
            producers: HashMap::new(),
            timers: Timers::default(),
            writes: Writes::default(),
            incarnations: 0,
        }
    }

    /// When [`Machine::expire`] has something to do: monotonic milliseconds. May come early,
    /// never late.
    pub fn next_deadline(&self) -> Option<i64> {
        let waits = [self.timers.next_at(), self.writes.next_at()];
        waits.into_iter().flatten().min()
    }

    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    pub fn offset_count(&self) -> usize {
        self.groups.values().map(|group| group.offsets.len()).sum()
    }

    /// Shows every committed offset: group, topic, partition, offset.
    pub fn each_offset(&self, mut show: impl FnMut(&str, &Arc<str>, i32, i64)) {
        for (id, group) in &self.groups {
            for (topic, partition, committed) in group.offsets.iter() {
                show(id, topic, partition, committed.offset);
            }
        }
    }

    /// Somebody else coordinates these groups now: everyone waiting is told to look for him.
    pub fn unload(mut self, now: Now) -> Outcome {
        let mut out = Outcome::default();
        let refusal = Refusal::NotCoordinator;
        let under_way: BTreeMap<_, _> = std::mem::take(&mut self.writes.under_way)
            .into_iter()
            .collect();
        for under_way in under_way.into_values() {
            match under_way.pending {
                Pending::Offsets {
                    ticket, verdicts, ..
                }
                | Pending::Transactional {
                    ticket, verdicts, ..
                } => {
                    let verdicts = verdicts
                        .into_iter()
                        .map(|verdict| verdict.and(Err(refusal)));
                    out.answers
                        .push((ticket, Answer::Commit(verdicts.collect())));
                }
                Pending::Tombstones {
                    ticket: Some(ticket),
                } => {
                    out.answers.push((ticket, Answer::Deleted));
                }
                // Their members wait in joins and syncs, which are answered below.
                Pending::Tombstones { ticket: None }
                | Pending::Assignment { .. }
                | Pending::StaticMember { .. }
                | Pending::Empty => {}
            }
        }
        let Machine {
            config,
            groups,
            timers,
            writes,
            ..
        } = &mut self;
        for group in groups.values_mut() {
            let mut work = Work {
                config,
                now,
                timers,
                writes,
                out: &mut out,
            };
            for id in group.members.keys().cloned().collect::<Vec<_>>() {
                group.answer_join(
                    &id,
                    JoinAnswer::refused(Arc::clone(&id), refusal),
                    &mut work,
                );
                group.answer_sync(&id, SyncAnswer::refused(refusal), &mut work);
            }
        }
        out
    }

    /// Runs `step` on a group that is there.
    pub(crate) fn on<T>(
        &mut self,
        group: &str,
        now: Now,
        out: &mut Outcome,
        step: impl FnOnce(&mut Group, &mut Work<'_>) -> T,
    ) -> Option<T> {
        let Machine {
            config,
            groups,
            timers,
            writes,
            ..
        } = self;
        let group = groups.get_mut(group)?;
        let result = step(
            group,
            &mut Work {
                config,
                now,
                timers,
                writes,
                out,
            },
        );
        if cfg!(debug_assertions) {
            group.check();
        }
        if timers.are_crowded() {
            timers.keep_awaited(|timer| {
                let group = groups.get(&timer.group);
                group.is_some_and(|group| group.awaits(timer))
            });
        }
        Some(result)
    }

    /// Every group's id, in order, so that the same events lead to the same log.
    pub(crate) fn ids(&self) -> BTreeSet<Arc<str>> {
        self.groups.keys().cloned().collect()
    }

    /// Makes a group if it is not there.
    pub(crate) fn ensure(&mut self, group: &str, now: Now) {
        if !self.groups.contains_key(group) {
            let id: Arc<str> = group.into();
            self.incarnations += 1;
            let made = Group::new(Arc::clone(&id), self.incarnations, now.wall_ms);
            self.groups.insert(id, made);
        }
    }

    /// Every invariant; for tests.
    pub fn check(&self) {
        self.groups.values().for_each(Group::check);
    }
}
