//! Which replicas are being copied to another directory, and whose turn it is.
//!
//! Kafka: `ReplicaAlterLogDirsManager`: the least partition first, and on with it until it is done,
//! so that what is begun ends soon.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use base::io_pool::IoPool;
use parking_lot::Mutex;
use protocol::ids::TopicPartition;
use storage::log::Log;
use tokio::sync::Notify;

use crate::config::MovesConfig;
use crate::pace::Pace;

/// A pause after failures doubles up to so many times the first.
const BACKOFFS_MAX: u32 = 6;

#[derive(Debug)]
pub(crate) struct Moves {
    table: Mutex<BTreeMap<TopicPartition, Moving>>,
    pace: Mutex<Pace>,
    /// Whoever copies has something new to look at.
    changed: Notify,
    threads: OnceLock<Option<IoPool>>,
    config: MovesConfig,
}

#[derive(Debug)]
struct Moving {
    future: Arc<Log>,
    /// A thread has it in hand.
    busy: bool,
    not_before_ms: i64,
    failures: u32,
}

/// Whose turn it is.
#[derive(Debug)]
pub(crate) enum Turn {
    Of(TopicPartition, Arc<Log>),
    /// Nobody's for so many milliseconds.
    NotFor(i64),
    Nobody,
}

impl Moves {
    pub(crate) fn new(config: &MovesConfig, now_ms: i64) -> Self {
        Moves {
            table: Mutex::default(),
            pace: Mutex::new(Pace::new(config, now_ms)),
            changed: Notify::new(),
            threads: OnceLock::new(),
            config: *config,
        }
    }

    /// How much is copied at once.
    pub(crate) fn copy_bytes(&self) -> usize {
        self.config.copy_bytes.max(1)
    }

    pub(crate) fn backoff_ms(&self) -> i64 {
        self.config.backoff_ms.max(1)
    }

    /// The threads that copy, made when first needed.
    pub(crate) fn threads(&self) -> Option<&IoPool> {
        let count = self.config.threads.max(1);
        let made = || IoPool::new("move", count, count * 2).ok();
        self.threads.get_or_init(made).as_ref()
    }

    pub(crate) fn changed(&self) -> &Notify {
        &self.changed
    }

    pub(crate) fn wake(&self) {
        self.changed.notify_waiters();
    }

    pub(crate) fn set_limit(&self, bytes_per_second: u64) {
        self.pace.lock().set_limit(bytes_per_second);
        self.wake();
    }

    pub(crate) fn add(&self, id: &TopicPartition, future: Arc<Log>) {
        let moving = Moving {
            future,
            busy: false,
            not_before_ms: i64::MIN,
            failures: 0,
        };
        self.table.lock().insert(id.clone(), moving);
        self.wake();
    }

    /// Also where a thread has it in hand: that one finds out.
    pub(crate) fn remove(&self, id: &TopicPartition, future: &Arc<Log>) {
        let mut table = self.table.lock();
        if table
            .get(id)
            .is_some_and(|moving| Arc::ptr_eq(&moving.future, future))
        {
            table.remove(id);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.table.lock().is_empty()
    }

    /// How many failed at their last turn.
    pub(crate) fn failing(&self) -> usize {
        let table = self.table.lock();
        table.values().filter(|moving| moving.failures > 0).count()
    }

    /// What is copied, and the copies.
    pub(crate) fn all(&self) -> Vec<(TopicPartition, Arc<Log>)> {
        let table = self.table.lock();
        let each = table.iter();
        each.map(|(id, moving)| (id.clone(), Arc::clone(&moving.future)))
            .collect()
    }

    /// Takes the next one in hand.
    pub(crate) fn take(&self, now_ms: i64) -> Turn {
        let mut table = self.table.lock();
        if table.is_empty() {
            return Turn::Nobody;
        }
        if self.pace.lock().is_too_fast(now_ms) {
            return Turn::NotFor(self.backoff_ms());
        }
        let mut soonest_ms: Option<i64> = None;
        for (id, moving) in table.iter_mut().filter(|(_, moving)| !moving.busy) {
            if moving.not_before_ms <= now_ms {
                moving.busy = true;
                return Turn::Of(id.clone(), Arc::clone(&moving.future));
            }
            let wait_ms = moving.not_before_ms - now_ms;
            soonest_ms = Some(soonest_ms.map_or(wait_ms, |soonest| soonest.min(wait_ms)));
        }
        soonest_ms.map_or(Turn::Nobody, Turn::NotFor)
    }

    /// Back from a turn that copied so many bytes.
    pub(crate) fn copied(&self, id: &TopicPartition, future: &Arc<Log>, bytes: u64, now_ms: i64) {
        self.pace.lock().note(bytes, now_ms);
        self.change(id, future, |moving| {
            moving.busy = false;
            moving.failures = 0;
        });
    }

    /// Its next turn does not come before that time.
    pub(crate) fn rest(&self, id: &TopicPartition, future: &Arc<Log>, not_before_ms: i64) {
        self.change(id, future, |moving| moving.not_before_ms = not_before_ms);
    }

    /// Back from a turn that failed: the next one comes later. True the first time.
    pub(crate) fn failed(&self, id: &TopicPartition, future: &Arc<Log>, now_ms: i64) -> bool {
        let mut is_first = false;
        self.change(id, future, |moving| {
            let pause_ms = self.backoff_ms() << moving.failures.min(BACKOFFS_MAX);
            is_first = moving.failures == 0;
            moving.busy = false;
            moving.failures = moving.failures.saturating_add(1);
            moving.not_before_ms = now_ms.saturating_add(pause_ms);
        });
        is_first
    }

    /// Nothing where another move of the partition has begun since.
    fn change(&self, id: &TopicPartition, future: &Arc<Log>, change: impl FnOnce(&mut Moving)) {
        let mut table = self.table.lock();
        let known = table.get_mut(id);
        if let Some(moving) = known.filter(|moving| Arc::ptr_eq(&moving.future, future)) {
            change(moving);
        }
    }
}
