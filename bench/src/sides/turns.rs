//! Whose turn it is: rounds of rows, in each row one side after the other, in alternating order.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::contestant::{Contestant, Places, Side};
use crate::machine::{self, Fair};
use crate::process::STOP;
use crate::result::{Failure, Outcome, Sample};
use crate::rows::{Before, Curve, Figures, Keeper, Look, Memory, Needs, Row, Sizes};

/// Seconds a round takes beside its rows: starts, stops, memory.
const ROUND_SECONDS: u64 = 60;

/// What runs between rows.
#[derive(Default)]
struct Servers {
    brokers: BTreeMap<Side, Contestant>,
    keepers: BTreeMap<Side, Keeper>,
}

pub(crate) struct Run {
    places: Places,
    sizes: Sizes,
    rounds: usize,
    rounds_done: usize,
    /// No round is begun that would end later.
    limit: Option<Duration>,
    rows: Vec<&'static Row>,
    samples: Vec<Sample>,
    failures: Vec<Failure>,
    curves: BTreeMap<(Side, &'static str), Curve>,
    /// What each row took on each side, all rounds together.
    times: BTreeMap<(&'static str, Side), Duration>,
    begun: Instant,
    ticks: (u64, u64),
    /// Planned seconds of what is done, and of everything.
    done: u64,
    planned: u64,
}

impl Run {
    pub(crate) fn new(
        places: Places,
        sizes: Sizes,
        rounds: usize,
        limit: Option<Duration>,
        rows: Vec<&'static Row>,
    ) -> Self {
        let planned: u64 = rows
            .iter()
            .map(|row| {
                let turns: usize = (0..rounds).map(|round| row.turns(round)).sum();
                row.seconds * sides(row, 0).len() as u64 * turns as u64
            })
            .sum();
        Run {
            places,
            sizes,
            rounds,
            rounds_done: 0,
            limit,
            rows,
            samples: Vec::new(),
            failures: Vec::new(),
            curves: BTreeMap::new(),
            times: BTreeMap::new(),
            begun: Instant::now(),
            ticks: machine::stolen_ticks(),
            done: 0,
            planned: planned + ROUND_SECONDS * rounds as u64,
        }
    }

    /// All rounds. An error ends the run; a row that fails does not.
    pub(crate) fn all(&mut self, fair: &Fair) -> Result<()> {
        for round in 0..self.rounds {
            self.done += ROUND_SECONDS;
            let mut servers = Servers::default();
            let ended = self.round(round, &mut servers, fair);
            drop(servers);
            self.clean()?;
            ended?;
            self.rounds_done += 1;
            if !self.has_time_for_another() {
                break;
            }
        }
        Ok(())
    }

    /// Whether a round as long as those before ends within the limit.
    fn has_time_for_another(&self) -> bool {
        let passed = self.begun.elapsed();
        let more = self.rounds_done < self.rounds;
        let a_round = passed / u32::try_from(self.rounds_done.max(1)).unwrap_or(u32::MAX);
        let fits = self.limit.is_none_or(|limit| passed + a_round <= limit);
        if more && !fits {
            eprintln!("no time for another round");
        }
        fits
    }

    fn round(&mut self, round: usize, servers: &mut Servers, fair: &Fair) -> Result<()> {
        let mut before = Before::new();
        for row in self.rows.clone() {
            let turns = row.turns(round);
            for turn in round * turns..(round + 1) * turns {
                if row.needs != Needs::Keeper {
                    servers.keepers.clear();
                }
                for side in sides(row, turn) {
                    self.tell(round, &format!("{} {}", row.name, side.name()));
                    machine::settle();
                    let room = match row.memory {
                        Memory::AsItIs => None,
                        Memory::Filled => {
                            fair.fill_memory().map(|()| None).context("fill memory")?
                        }
                        Memory::LetGo => fair.make_room().context("make room")?,
                    };
                    let begun = Instant::now();
                    let measured = self.turn(row, side, servers, &before);
                    drop(room);
                    self.done += row.seconds;
                    self.took(row, side, begun.elapsed());
                    let failed = |why| Failure {
                        round,
                        side,
                        row: row.name,
                        why,
                    };
                    match measured {
                        Ok(figures) => self.note(turn, side, figures, &mut before),
                        Err(error) => self.note_failed(failed(format!("{error:#}")))?,
                    }
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, turn: usize, side: Side, Figures(found): Figures, before: &mut Before) {
        for (key, value) in found {
            before.insert((side, key.clone()), value);
            self.samples.push(Sample {
                turn,
                side,
                key,
                value,
            });
        }
    }

    /// A row that fails is passed over, but not a run that is to end.
    fn note_failed(&mut self, failure: Failure) -> Result<()> {
        if STOP.load(std::sync::atomic::Ordering::Relaxed) {
            bail!("interrupted");
        }
        let Failure { side, row, why, .. } = &failure;
        eprintln!("  FAILED {row} {}: {why}", side.name());
        self.failures.push(failure);
        Ok(())
    }

    /// One row on one side; a broker that is not there, or no longer, is started first.
    fn turn(
        &mut self,
        row: &Row,
        side: Side,
        servers: &mut Servers,
        before: &Before,
    ) -> Result<Figures> {
        let running = &mut servers.brokers;
        if side != Side::Floor && row.needs == Needs::Broker {
            let there = running.get_mut(&side).is_some_and(Contestant::alive);
            if !there {
                running.remove(&side);
                let started = Contestant::start(&self.places, side, side.name())
                    .with_context(|| format!("start {}", side.name()))?;
                running.insert(side, started);
            }
        }
        let mut keeper = servers.keepers.remove(&side);
        let mut look = Look {
            places: &self.places,
            sizes: self.sizes,
            side,
            contestant: running.get_mut(&side),
            keeper: &mut keeper,
            before,
            curves: &mut self.curves,
        };
        let figures = (row.run)(&mut look);
        if let Some(keeper) = keeper {
            servers.keepers.insert(side, keeper);
        }
        figures
    }

    fn took(&mut self, row: &Row, side: Side, time: Duration) {
        let entry = self.times.entry((row.name, side)).or_default();
        *entry += time;
    }

    /// Data of this round; the sparse file that backs memory stays.
    fn clean(&self) -> Result<()> {
        for entry in fs::read_dir(&self.places.work)? {
            let path = entry?.path();
            if path.is_dir() {
                fs::remove_dir_all(&path)?;
            }
        }
        Ok(())
    }

    /// One line: time so far, time left as the plan and the pace so far say, what is done now.
    fn tell(&self, round: usize, what: &str) {
        let passed = self.begun.elapsed();
        let left = self.planned.saturating_sub(self.done) as f64;
        // The plan is believed until a tenth of it is behind us.
        let pace = if self.done * 10 > self.planned {
            passed.as_secs_f64() / self.done as f64
        } else {
            1.0
        };
        let left = Duration::from_secs_f64(left * pace);
        eprintln!(
            "[{} left {}] round {} of {}: {what}",
            clock(passed),
            clock(left),
            round + 1,
            self.rounds
        );
    }

    /// How much of the machine strangers took meanwhile.
    pub(crate) fn steal_note(&self) -> Option<String> {
        let (stolen, total) = machine::stolen_ticks();
        let share = (stolen - self.ticks.0) as f64 / (total - self.ticks.1).max(1) as f64 * 100.0;
        (share > 0.5).then(|| format!("the host took {share:.1} % of the processor time meanwhile"))
    }

    pub(crate) fn finish(self, notes: Vec<String>) -> Outcome {
        let _left_behind = fs::remove_dir_all(&self.places.work);
        Outcome {
            rounds: self.rounds_done.max(1),
            times: self.times,
            minutes: self.begun.elapsed().as_secs_f64() / 60.0,
            machine: machine::description(),
            notes,
            samples: self.samples,
            failures: self.failures,
            curves: self.curves,
        }
    }
}

/// A B F, then B A F: who comes first changes from turn to turn.
fn sides(row: &Row, turn: usize) -> Vec<Side> {
    let mut sides = vec![Side::Ours, Side::Kafka];
    if turn % 2 == 1 {
        sides.reverse();
    }
    if row.floor {
        sides.push(Side::Floor);
    }
    sides
}

fn clock(time: Duration) -> String {
    format!("{:02}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}
