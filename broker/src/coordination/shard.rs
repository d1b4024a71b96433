//! One partition of `__consumer_offsets` and the brain of its groups, behind one lock.
//!
//! ```text
//!   Away ──begin_load──▶ Loading ──install──▶ Here
//!    ▲                      │                  │
//!    └────────unload────────┴──────unload──────┘
//! ```
//!
//! What an event wants written goes through two queues, both in the order of the log:
//!
//! ```text
//!   event ─▶ decided ─▶ one appends, without the lock ─▶ awaited ─▶ one drains ─▶ result
//! ```
//!
//! Invariant: no log is called under the lock. A disk that sleeps holds up who appends, and
//! nobody's heartbeat.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ::groups::outcome::{Batch, Note, Write};
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
/// Whoever appends does it for others too, but not for ever: his own client waits.
const APPENDS_IN_A_ROW_MAX: usize = 32;

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
        markers: Vec<Marker>,
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
    /// What is to be appended. Bounded, as is the next, by what waits for it: one write a request,
    /// and a few a group.
    decided: VecDeque<Decided>,
    /// Somebody appends, and what was decided meanwhile is his.
    appending: bool,
    /// Results not there yet, in log order.
    awaited: VecDeque<Awaited>,
    draining: bool,
}

/// A step that has its place in the log.
#[derive(Debug)]
enum Decided {
    Write(Write),
    Marker(Marker),
}

#[derive(Debug)]
enum Awaited {
    Write(WriteId, Appending),
    Marker(Marker),
}

/// A transaction's end that lies in the log already.
#[derive(Clone, Copy, Debug)]
struct Marker {
    producer_id: i64,
    commit: bool,
}

/// What whoever appends does next.
enum Next {
    Append {
        write: Write,
        log: Arc<dyn HostLog>,
        codec: Codec,
    },
    /// More is left than one should do for others.
    Enough,
    Nothing,
}

/// What is done once the lock is free.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Aftermath {
    answers: Vec<(oneshot::Sender<Answer>, Answer)>,
    notes: Vec<Note>,
    /// There is something to write: somebody has to run [`Shard::append`] with this turn.
    pub(crate) append: Option<u64>,
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
    ) -> Option<Aftermath> {
        let mut state = self.state.lock();
        if state.turn != turn {
            return None;
        }
        let Phase::Loading { markers } = &mut state.phase else {
            return None;
        };
        let mut machine = loaded.machine;
        for marker in std::mem::take(markers) {
            machine.complete_transaction(marker.producer_id, marker.commit);
        }
        let mut here = Box::new(Here {
            machine,
            log,
            codec,
            tickets: HashMap::new(),
            next_ticket: 0,
            decided: VecDeque::new(),
            appending: false,
            awaited: VecDeque::new(),
            draining: false,
        });
        let mut after = Aftermath::default();
        here.take_up(loaded.outcome, &mut after);
        self.leave(&mut here, turn, &mut after);
        state.phase = Phase::Here(here);
        Some(after)
    }

    /// Whether somebody still waits for this load.
    pub(crate) fn is_loading(&self, turn: u64) -> bool {
        let state = self.state.lock();
        state.turn == turn && matches!(state.phase, Phase::Loading { .. })
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
        event: impl FnOnce(&mut Machine, &mut Outcome) -> T,
    ) -> Result<(T, Aftermath), Refusal> {
        let mut state = self.state.lock();
        let turn = state.turn;
        let here = state.here()?;
        let mut outcome = Outcome::default();
        let result = event(&mut here.machine, &mut outcome);
        let mut after = Aftermath::default();
        here.take_up(outcome, &mut after);
        self.leave(here, turn, &mut after);
        Ok((result, after))
    }

    /// Runs an event whose answer may come later.
    pub(crate) fn ask<T>(
        &self,
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
        here.take_up(outcome, &mut after);
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
        let marker = Marker {
            producer_id,
            commit,
        };
        let mut state = self.state.lock();
        match &mut state.phase {
            Phase::Away => {}
            Phase::Loading { markers } => markers.push(marker),
            Phase::Here(here) if here.appending => here.decided.push_back(Decided::Marker(marker)),
            Phase::Here(here) => here.place_marker(marker),
        }
    }

    /// Appends what was decided, in order, on this thread and without the lock; `false` where
    /// more is left than one should do for others: it has to be called again. Calls `settle` after
    /// each.
    pub(crate) fn append(
        &self,
        turn: u64,
        now: impl Fn() -> Now,
        settle: impl Fn(Aftermath),
    ) -> bool {
        let mut appended = None;
        let mut row = 0;
        loop {
            let mut after = Aftermath::default();
            let next = self.with_turn(turn, |here| {
                if let Some((id, appending)) = appended.take() {
                    here.take_appended(id, appending, now(), &mut after);
                }
                let next = here.next_append(row < APPENDS_IN_A_ROW_MAX);
                self.leave(here, turn, &mut after);
                next
            });
            settle(after);
            let (write, log, codec) = match next {
                Some(Next::Append { write, log, codec }) => (write, log, codec),
                Some(Next::Enough) => return false,
                // Nothing is left, or others coordinate these groups.
                Some(Next::Nothing) | None => return true,
            };
            let replicated = write.batch != Batch::Tombstones;
            let appending = match batch::build(&write, codec) {
                Ok(batch) => log.append(batch, replicated),
                Err(failure) => Appending::Done(Err(failure)),
            };
            appended = Some((write.id, appending));
            row += 1;
        }
    }

    /// Waits for results, in order, until none is outstanding. Calls `settle` after each.
    pub(crate) async fn drain(&self, turn: u64, now: impl Fn() -> Now, settle: impl Fn(Aftermath)) {
        while let Some(awaited) = self.next_awaited(turn) {
            let (id, result) = match awaited {
                Awaited::Marker(Marker {
                    producer_id,
                    commit,
                }) => {
                    self.with_turn(turn, |here| {
                        here.machine.complete_transaction(producer_id, commit)
                    });
                    continue;
                }
                Awaited::Write(id, Appending::Done(written)) => (id, written),
                Awaited::Write(id, Appending::Later(later)) => (id, later.await),
            };
            let mut after = Aftermath::default();
            self.with_turn(turn, |here| {
                here.take_result(id, result, now(), &mut after);
                self.leave(here, turn, &mut after);
            });
            settle(after);
        }
    }

    fn next_awaited(&self, turn: u64) -> Option<Awaited> {
        self.with_turn(turn, |here| {
            let next = here.awaited.pop_front();
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
        if !here.decided.is_empty() && !here.appending {
            here.appending = true;
            after.append = Some(turn);
        }
        if !here.awaited.is_empty() && !here.draining {
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
    /// Puts what is to be written in its place and gathers the answers.
    fn take_up(&mut self, outcome: Outcome, after: &mut Aftermath) {
        self.decided
            .extend(outcome.writes.into_iter().map(Decided::Write));
        for (ticket, answer) in outcome.answers {
            after.answers.extend(
                self.tickets
                    .remove(&ticket)
                    .map(|waiting| (waiting, answer)),
            );
        }
        after.notes.extend(outcome.notes);
    }

    /// What to append now, if whoever asks may do more. Without anything nobody appends.
    fn next_append(&mut self, may_more: bool) -> Next {
        while let Some(decided) = self.decided.pop_front() {
            match decided {
                Decided::Marker(marker) => self.place_marker(marker),
                Decided::Write(write) if may_more => {
                    return Next::Append {
                        write,
                        log: Arc::clone(&self.log),
                        codec: self.codec,
                    };
                }
                write @ Decided::Write(_) => {
                    self.decided.push_front(write);
                    return Next::Enough;
                }
            }
        }
        self.appending = false;
        Next::Nothing
    }

    /// Everything decided before the marker is appended: it counts behind the results of that.
    fn place_marker(&mut self, marker: Marker) {
        if self.has_results_to_come() {
            self.awaited.push_back(Awaited::Marker(marker));
        } else {
            self.machine
                .complete_transaction(marker.producer_id, marker.commit);
        }
    }

    /// A result that is there at once counts at once, unless earlier ones are still to come.
    fn take_appended(
        &mut self,
        id: WriteId,
        appending: Appending,
        now: Now,
        after: &mut Aftermath,
    ) {
        match appending {
            Appending::Done(result) if !self.has_results_to_come() => {
                self.take_result(id, result, now, after);
            }
            appending => self.awaited.push_back(Awaited::Write(id, appending)),
        }
    }

    fn take_result(&mut self, id: WriteId, result: Written, now: Now, after: &mut Aftermath) {
        let outcome = self.machine.written(id, result, now);
        // What follows from a result stands behind all that was decided before.
        self.take_up(outcome, after);
    }

    fn has_results_to_come(&self) -> bool {
        !self.awaited.is_empty() || self.draining
    }
}
