//! One partition of `__consumer_offsets` and the brain of its groups, behind one lock.
//!
//! ```text
//!   Away ──begin_load──▶ Loading ──install──▶ Here
//!    ▲                      │                  │
//!    └────────unload────────┴──────unload──────┘
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ::groups::outcome::{Batch, Note};
use ::groups::{Answer, Machine, Now, Outcome, Refusal, Ticket, WriteId};
use parking_lot::Mutex;
use protocol::batch::Codec;
use protocol::ids::LeaderEpoch;
use tokio::sync::oneshot;

use crate::coordination::batch;
use crate::coordination::load::Loaded;
use crate::coordination::log::{Appending, HostLog, Written};

/// No deadline at all.
pub(crate) const NEVER: i64 = i64::MAX;

/// A partition that may or may not be led here. The lock is its one owner; nothing waits under it.
#[derive(Debug)]
pub(crate) struct Shard {
    number: i32,
    state: Mutex<State>,
    /// The brain's next deadline, readable without the lock; [`NEVER`] if there is none.
    deadline: AtomicI64,
}

#[derive(Debug)]
struct State {
    /// The newest leader epoch heard of.
    epoch: LeaderEpoch,
    /// Counts loads and unloads: tells a late loader or drainer that its time has passed.
    turn: u64,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Away,
    /// Markers that arrive while loading; the load may or may not have read them, and deciding
    /// twice does no harm.
    Loading {
        markers: Vec<(i64, bool)>,
    },
    Here(Box<Here>),
}

#[derive(Debug)]
struct Here {
    machine: Machine,
    log: Arc<dyn HostLog>,
    codec: Codec,
    tickets: HashMap<Ticket, oneshot::Sender<Answer>>,
    next_ticket: u64,
    /// Results not there yet, in log order. Bounded by what waits for them: one write a request,
    /// and a few a group.
    queue: VecDeque<Queued>,
    draining: bool,
}

#[derive(Debug)]
enum Queued {
    Write(WriteId, Appending),
    Marker { producer_id: i64, commit: bool },
}

/// What is done once the lock is free.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Aftermath {
    answers: Vec<(oneshot::Sender<Answer>, Answer)>,
    notes: Vec<Note>,
    /// Results are to be waited for: somebody has to run [`Shard::drain`] with this turn.
    pub(crate) drain: Option<u64>,
}

impl Aftermath {
    /// Hands out answers and returns what is worth a log line.
    pub(crate) fn settle(self) -> Vec<Note> {
        for (waiting, answer) in self.answers {
            // Who has gone away does not hear it; the group goes on all the same.
            let _unheard = waiting.send(answer);
        }
        self.notes
    }
}

impl Shard {
    pub(crate) fn new(number: i32) -> Self {
        Shard {
            number,
            state: Mutex::new(State {
                epoch: LeaderEpoch::NONE,
                turn: 0,
                phase: Phase::Away,
            }),
            deadline: AtomicI64::new(NEVER),
        }
    }

    pub(crate) fn number(&self) -> i32 {
        self.number
    }

    pub(crate) fn deadline(&self) -> i64 {
        self.deadline.load(Ordering::SeqCst)
    }

    /// This broker leads now, in `epoch`. The turn for [`Shard::install`], or `None` if the
    /// groups are here or coming already.
    // Kafka: a new epoch of the same leader loads nothing again.
    pub(crate) fn begin_load(&self, epoch: LeaderEpoch) -> Option<u64> {
        let mut state = self.state.lock();
        if epoch < state.epoch {
            return None;
        }
        state.epoch = epoch;
        if !matches!(state.phase, Phase::Away) {
            return None;
        }
        state.turn += 1;
        state.phase = Phase::Loading {
            markers: Vec::new(),
        };
        Some(state.turn)
    }

    /// The loaded groups go to work, unless leadership has gone meanwhile.
    pub(crate) fn install(
        &self,
        turn: u64,
        loaded: Loaded,
        log: Arc<dyn HostLog>,
        codec: Codec,
        now: Now,
    ) -> Option<Aftermath> {
        let mut state = self.state.lock();
        if state.turn != turn {
            return None;
        }
        let Phase::Loading { markers } = &mut state.phase else {
            return None;
        };
        let mut machine = loaded.machine;
        for (producer_id, commit) in std::mem::take(markers) {
            machine.complete_transaction(producer_id, commit);
        }
        let mut here = Box::new(Here {
            machine,
            log,
            codec,
            tickets: HashMap::new(),
            next_ticket: 0,
            queue: VecDeque::new(),
            draining: false,
        });
        let mut after = Aftermath::default();
        here.carry_out(loaded.outcome, now, &mut after);
        self.leave(&mut here, turn, &mut after);
        state.phase = Phase::Here(here);
        Some(after)
    }

    /// The load has failed: nothing is coordinated here until the next leadership.
    pub(crate) fn give_up(&self, turn: u64) {
        let mut state = self.state.lock();
        if state.turn == turn {
            state.phase = Phase::Away;
        }
    }

    /// This broker leads no more, or `epoch` says so; everybody waiting is sent away.
    pub(crate) fn unload(&self, epoch: Option<LeaderEpoch>, now: Now) -> Option<Aftermath> {
        let mut state = self.state.lock();
        if let Some(epoch) = epoch {
            if epoch < state.epoch {
                return None;
            }
            state.epoch = epoch;
        }
        if matches!(state.phase, Phase::Away) {
            return None;
        }
        state.turn += 1;
        self.deadline.store(NEVER, Ordering::SeqCst);
        let mut after = Aftermath::default();
        if let Phase::Here(here) = std::mem::replace(&mut state.phase, Phase::Away) {
            let Here {
                machine,
                mut tickets,
                ..
            } = *here;
            let outcome = machine.unload(now);
            after.notes = outcome.notes;
            for (ticket, answer) in outcome.answers {
                after
                    .answers
                    .extend(tickets.remove(&ticket).map(|waiting| (waiting, answer)));
            }
        }
        Some(after)
    }

    /// Runs an event that is answered at once.
    pub(crate) fn run<T>(
        &self,
        now: Now,
        event: impl FnOnce(&mut Machine, &mut Outcome) -> T,
    ) -> Result<(T, Aftermath), Refusal> {
        let mut state = self.state.lock();
        let turn = state.turn;
        let here = state.here()?;
        let mut outcome = Outcome::default();
        let result = event(&mut here.machine, &mut outcome);
        let mut after = Aftermath::default();
        here.carry_out(outcome, now, &mut after);
        self.leave(here, turn, &mut after);
        Ok((result, after))
    }

    /// Runs an event whose answer may come later.
    pub(crate) fn ask<T>(
        &self,
        now: Now,
        event: impl FnOnce(&mut Machine, Ticket, &mut Outcome) -> T,
    ) -> Result<(T, oneshot::Receiver<Answer>, Aftermath), Refusal> {
        let (tell, heard) = oneshot::channel();
        let mut state = self.state.lock();
        let turn = state.turn;
        let here = state.here()?;
        let ticket = Ticket(here.next_ticket);
        here.next_ticket += 1;
        here.tickets.insert(ticket, tell);
        let mut outcome = Outcome::default();
        let result = event(&mut here.machine, ticket, &mut outcome);
        let mut after = Aftermath::default();
        here.carry_out(outcome, now, &mut after);
        self.leave(here, turn, &mut after);
        Ok((result, heard, after))
    }

    /// Looks without changing anything.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Machine) -> T) -> Result<T, Refusal> {
        let mut state = self.state.lock();
        Ok(look(&state.here()?.machine))
    }

    /// A marker lies in the log: it takes effect after everything written before it.
    pub(crate) fn note_marker(&self, producer_id: i64, commit: bool) {
        let mut state = self.state.lock();
        match &mut state.phase {
            Phase::Away => {}
            Phase::Loading { markers } => markers.push((producer_id, commit)),
            Phase::Here(here) if here.queue.is_empty() && !here.draining => {
                here.machine.complete_transaction(producer_id, commit);
            }
            Phase::Here(here) => here.queue.push_back(Queued::Marker {
                producer_id,
                commit,
            }),
        }
    }

    /// Waits for results, in order, until none is outstanding. Calls `settle` after each.
    pub(crate) async fn drain(&self, turn: u64, now: impl Fn() -> Now, settle: impl Fn(Aftermath)) {
        while let Some(queued) = self.next_queued(turn) {
            let (id, result) = match queued {
                Queued::Marker {
                    producer_id,
                    commit,
                } => {
                    self.with_turn(turn, |here| {
                        here.machine.complete_transaction(producer_id, commit)
                    });
                    continue;
                }
                Queued::Write(id, Appending::Done(written)) => (id, written),
                Queued::Write(id, Appending::Later(later)) => (id, later.await),
            };
            let mut after = Aftermath::default();
            self.with_turn(turn, |here| {
                here.take_result(id, result, now(), &mut after);
                self.leave(here, turn, &mut after);
            });
            settle(after);
        }
    }

    fn next_queued(&self, turn: u64) -> Option<Queued> {
        self.with_turn(turn, |here| {
            let next = here.queue.pop_front();
            here.draining = next.is_some();
            next
        })
        .flatten()
    }

    fn with_turn<T>(&self, turn: u64, step: impl FnOnce(&mut Here) -> T) -> Option<T> {
        let mut state = self.state.lock();
        let same = state.turn == turn;
        match &mut state.phase {
            Phase::Here(here) if same => Some(step(here)),
            _ => None,
        }
    }

    /// The last thing before the lock is given back.
    fn leave(&self, here: &mut Here, turn: u64, after: &mut Aftermath) {
        self.deadline.store(
            here.machine.next_deadline().unwrap_or(NEVER),
            Ordering::SeqCst,
        );
        if !here.queue.is_empty() && !here.draining {
            here.draining = true;
            after.drain = Some(turn);
        }
    }
}

impl State {
    fn here(&mut self) -> Result<&mut Here, Refusal> {
        match &mut self.phase {
            Phase::Here(here) => Ok(here),
            Phase::Loading { .. } => Err(Refusal::CoordinatorLoadInProgress),
            Phase::Away => Err(Refusal::NotCoordinator),
        }
    }
}

impl Here {
    /// Appends what is to be written and gathers the answers; results that are there at once
    /// lead to more of both.
    fn carry_out(&mut self, outcome: Outcome, now: Now, after: &mut Aftermath) {
        let mut outcomes = VecDeque::from([outcome]);
        while let Some(outcome) = outcomes.pop_front() {
            for write in outcome.writes {
                let replicated = write.batch != Batch::Tombstones;
                let appending = match batch::build(&write, self.codec) {
                    Ok(batch) => self.log.append(batch, replicated),
                    Err(failure) => Appending::Done(Err(failure)),
                };
                match appending {
                    Appending::Done(result) if self.queue.is_empty() && !self.draining => {
                        outcomes.push_back(self.machine.written(write.id, result, now));
                    }
                    appending => self.queue.push_back(Queued::Write(write.id, appending)),
                }
            }
            for (ticket, answer) in outcome.answers {
                after.answers.extend(
                    self.tickets
                        .remove(&ticket)
                        .map(|waiting| (waiting, answer)),
                );
            }
            after.notes.extend(outcome.notes);
        }
    }

    fn take_result(&mut self, id: WriteId, result: Written, now: Now, after: &mut Aftermath) {
        let outcome = self.machine.written(id, result, now);
        // What follows from a result stands behind the results that are still to come.
        self.carry_out(outcome, now, after);
    }
}
