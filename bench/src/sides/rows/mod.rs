//! The rows: each puts the same work on one side and says what it cost.

mod throughput;
mod timing;
mod keeper;
mod lifecycle;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::contestant::{Contestant, Places, Side, free_port, number};
use crate::machine::{SERVER_CORE, pin};
use crate::process::{Meter, Running, json, pause};

pub(crate) use crate::rows::keeper::Keeper;

/// How much work a point is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) bytes: u64,
    pub(crate) seconds: u64,
    pub(crate) latency_seconds: u64,
    /// Of each point of the coordinator's rows, of which there are many.
    pub(crate) keeper_seconds: u64,
    pub(crate) records: u64,
    pub(crate) recovery_bytes: u64,
    /// Members that are restarted one after the other.
    pub(crate) restarts: u64,
}

/// Figures of one row on one side, by the metric's key.
#[derive(Debug, Default)]
pub(crate) struct Figures(pub(crate) Vec<(String, f64)>);

impl Figures {
    fn put(&mut self, key: impl Into<String>, value: f64) {
        self.0.push((key.into(), value));
    }
}

impl<const N: usize> From<[(&str, f64); N]> for Figures {
    fn from(list: [(&str, f64); N]) -> Self {
        Figures(list.map(|(key, value)| (key.to_owned(), value)).into())
    }
}

/// Figures of a round, of sides that ran before.
pub(crate) type Before = BTreeMap<(Side, String), f64>;
/// Points of a latency curve: quantile and microseconds.
pub(crate) type Curve = Vec<(f64, f64)>;

/// What a row may use.
pub(crate) struct Look<'a> {
    pub(crate) places: &'a Places,
    pub(crate) sizes: Sizes,
    pub(crate) side: Side,
    /// The running broker and coordinator; the floor has none.
    pub(crate) contestant: Option<&'a mut Contestant>,
    /// The coordinator that runs alone, once one of its rows has begun.
    pub(crate) keeper: &'a mut Option<Keeper>,
    pub(crate) before: &'a Before,
    pub(crate) curves: &'a mut BTreeMap<(Side, &'static str), Curve>,
}

/// What a row measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    Broker,
    /// A coordinator alone; started by the first of its rows and stopped after the last.
    Keeper,
}

/// How often a row is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Often {
    /// In the first round only: it takes Kafka minutes.
    Once,
    /// So many times in each round: the more, the less a moment's noise decides.
    InEachRound(usize),
}

/// What is written costs most where memory is new: the host must have given it before.
#[derive(Clone, Copy)]
pub(crate) enum Memory {
    AsItIs,
    /// The kernel takes back what it needs.
    Filled,
    /// Filled, and let go of as it is needed: to take much back one by one is work of whoever writes.
    LetGo,
}

/// One row of the benchmark.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// About how long one side takes, at the default sizes.
    pub(crate) seconds: u64,
    pub(crate) floor: bool,
    pub(crate) needs: Needs,
    pub(crate) often: Often,
    pub(crate) memory: Memory,
    pub(crate) run: fn(&mut Look<'_>) -> Result<Figures>,
}

impl Row {
    const fn once(self) -> Self {
        Row {
            often: Often::Once,
            ..self
        }
    }

    const fn times(self, times: usize) -> Self {
        Row {
            often: Often::InEachRound(times),
            ..self
        }
    }

    const fn memory(self, memory: Memory) -> Self {
        Row { memory, ..self }
    }

    /// How many times it is measured in a round.
    pub(crate) fn turns(&self, round: usize) -> usize {
        match self.often {
            Often::Once => usize::from(round == 0),
            Often::InEachRound(times) => times,
        }
    }
}

const fn row(
    name: &'static str,
    seconds: u64,
    floor: bool,
    run: fn(&mut Look<'_>) -> Result<Figures>,
) -> Row {
    Row {
        name,
        seconds,
        floor,
        needs: Needs::Broker,
        often: Often::InEachRound(1),
        memory: Memory::AsItIs,
        run,
    }
}

const fn keeper_row(
    name: &'static str,
    seconds: u64,
    floor: bool,
    run: fn(&mut Look<'_>) -> Result<Figures>,
) -> Row {
    Row {
        needs: Needs::Keeper,
        ..row(name, seconds, floor, run)
    }
}

/// In the order in which they run: quiet ones first, those that leave much behind last. A row is
/// what one side does before the next has its turn, so rows are short.
pub(crate) const ROWS: &[Row] = &[
    row("start", 4, false, lifecycle::start),
    row("memory", 7, false, lifecycle::memory_idle),
    row("warm", 25, false, throughput::warm).memory(Memory::LetGo),
    row("produce_bulk", 8, true, throughput::produce_bulk)
        .memory(Memory::LetGo)
        .times(3),
    row("produce_small", 7, true, throughput::produce_small)
        .memory(Memory::Filled)
        .times(2),
    row("stock_librdkafka", 5, true, throughput::stock_librdkafka)
        .memory(Memory::Filled)
        .times(3),
    row("stock_java", 8, false, throughput::stock_java)
        .memory(Memory::Filled)
        .times(2),
    row("fetch", 12, true, throughput::fetch),
    row("codec", 13, false, throughput::codec).memory(Memory::Filled),
    row("idle", 24, false, timing::idle),
    row("latency", 21, true, timing::latency).memory(Memory::Filled),
    row("end_to_end", 21, false, timing::end_to_end).memory(Memory::Filled),
    row("latency_half", 21, false, timing::latency_half).memory(Memory::Filled),
    row("durable", 13, true, timing::durable),
    row("rebalance", 6, false, timing::rebalance),
    row("loaded", 1, false, lifecycle::memory_loaded),
    keeper_row("coordinator_start", 6, false, keeper::start),
    keeper_row("coordinator_get", 9, true, keeper::get),
    keeper_row("coordinator_set", 7, true, keeper::set),
    keeper_row("coordinator_set_alone", 2, true, keeper::set_alone).times(3),
    keeper_row("coordinator_create_alone", 2, true, keeper::create_alone).times(3),
    keeper_row("coordinator_create", 7, true, keeper::create),
    row("recovery", 14, true, lifecycle::recovery),
    row("recovery_cold", 20, false, lifecycle::recovery_cold),
    row("topic_1k", 5, false, lifecycle::topic_1k).once(),
    row("topic_10k", 20, false, lifecycle::topic_10k).once(),
    row("start_10k", 40, false, lifecycle::start_10k).once(),
];

/// Answers that take longer than this say that something hangs: the row fails, the run goes on.
const LOAD_LIMIT: Duration = Duration::from_secs(240);

/// Apache Kafka begins to delete half a minute after its start.
const DELETION_LIMIT: Duration = Duration::from_secs(60);

/// A floor server on its core, with a folder of its own.
pub(crate) struct Ground {
    address: String,
    meter: Meter,
    _running: Running,
}

impl Look<'_> {
    /// A load client against `address`; its answer.
    fn load(&self, words: &[&str]) -> Result<Value> {
        json(self.places.load().args(words), LOAD_LIMIT)
    }

    fn broker(&mut self) -> Result<&mut Contestant> {
        let contestant = self.contestant.as_mut();
        Ok(contestant.context("this row needs a broker")?)
    }

    fn ground(&self, speech: &str, words: &[&str]) -> Result<Ground> {
        let dir = self.places.work.join("floor");
        let _never_was = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(self.places.floor());
        command.args([speech, &address]).arg(&dir).args(words);
        let running = Running::start(&mut command, &self.places.work.join("floor.log"))?;
        pin(running.id(), SERVER_CORE)?;
        for _ in 0..200 {
            if std::net::TcpStream::connect(&address).is_ok() {
                return Ok(Ground {
                    address,
                    meter: Meter::of(vec![running.id()]),
                    _running: running,
                });
            }
            pause(Duration::from_millis(50))?;
        }
        anyhow::bail!("the floor does not listen")
    }

    /// Runs one load client against this side and returns its answer and the side's processor
    /// seconds. `words[0]` is the load's command; the address is put behind it.
    fn costed(&mut self, ground: Option<&Ground>, words: &[&str]) -> Result<(Value, f64)> {
        let address = match (ground, &self.contestant) {
            (Some(ground), _) => ground.address.clone(),
            (None, Some(contestant)) => contestant.address.clone(),
            (None, None) => anyhow::bail!("this row has no server"),
        };
        let mut all = vec![words[0], &address];
        all.extend(&words[1..]);
        let used = |look: &Self| match (ground, &look.contestant) {
            (Some(ground), _) => ground.meter.seconds(),
            (None, Some(contestant)) => contestant.meter.seconds(),
            (None, None) => Ok(0.0),
        };
        let before = used(self)?;
        let answer = self.load(&all)?;
        let spent = used(self)? - before;
        Ok((answer, spent))
    }

    /// Looks at `topic`, made for this and deleted afterwards; the floor gets a server of its own
    /// with `ground` as its arguments, and knows no topics.
    fn on_topic<T>(
        &mut self,
        topic: &str,
        (partitions, settings): (i32, &[&str]),
        ground: &[&str],
        look_at: impl FnOnce(&mut Self, Option<&Ground>) -> Result<T>,
    ) -> Result<T> {
        if self.side == Side::Floor {
            let ground = self.ground("kafka", ground)?;
            return look_at(self, Some(&ground));
        }
        self.make_topic(topic, partitions, settings)?;
        let found = look_at(self, None)?;
        self.drop_topic(topic)?;
        Ok(found)
    }

    /// Produces to `topic` as `words` say; what the load answers, and what it cost.
    fn produce(
        &mut self,
        ground: Option<&Ground>,
        topic: &str,
        words: &[&str],
    ) -> Result<(Value, f64)> {
        let mut all = vec!["produce", "--topic", topic];
        all.extend(words);
        if ground.is_some() {
            all.push("--no-topic");
        }
        self.costed(ground, &all)
    }

    /// Makes a topic of this row's own; gone again with [`Look::drop_topic`].
    fn make_topic(&mut self, name: &str, partitions: i32, settings: &[&str]) -> Result<()> {
        let address = self.broker()?.address.clone();
        let partitions = partitions.to_string();
        let mut words = vec!["topic", &address, "--topic", name];
        words.extend(["--partitions", &partitions]);
        for setting in settings {
            words.extend(["--topic-config", setting]);
        }
        self.load(&words).map(drop)
    }

    /// Deletes a topic and waits until its files are gone: gigabytes that are let go of would
    /// otherwise be on the bill of what is measured next.
    fn drop_topic(&mut self, name: &str) -> Result<()> {
        let address = self.broker()?.address.clone();
        self.load(&["topic", &address, "--topic", name, "--delete"])?;
        let since = Instant::now();
        while self.broker()?.has_files_of(name)? {
            ensure!(
                since.elapsed() < DELETION_LIMIT,
                "the files of {name} are still there"
            );
            pause(Duration::from_millis(50))?;
        }
        Ok(())
    }
}

/// A quotient that says what was wrong where nothing was done.
fn per(cost: f64, amount: f64) -> Result<f64> {
    ensure!(amount > 0.0, "nothing was done");
    Ok(cost / amount)
}

fn of(answer: &Value, key: &str) -> Result<f64> {
    number(answer, key)
}
