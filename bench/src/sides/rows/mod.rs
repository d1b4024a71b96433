//! The rows: each puts the same work on one side and says what it cost.

mod throughput;
mod timing;
mod keeper;
mod lifecycle;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::contestant::{Contestant, Places, Side, free_port, number};
use crate::machine::{SERVER_CORE, pin};
use crate::process::{Meter, Running, json, pause};

/// How much work a point is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) bytes: u64,
    pub(crate) seconds: u64,
    pub(crate) latency_seconds: u64,
    pub(crate) records: u64,
    pub(crate) recovery_bytes: u64,
}

/// Figures of one row on one side, by the metric's key.
pub(crate) type Figures = Vec<(&'static str, f64)>;
/// Points of a latency curve: quantile and microseconds.
pub(crate) type Curve = Vec<(f64, f64)>;

/// What a row may use.
pub(crate) struct Look<'a> {
    pub(crate) places: &'a Places,
    pub(crate) sizes: Sizes,
    pub(crate) side: Side,
    /// The running broker and coordinator; the floor has none.
    pub(crate) contestant: Option<&'a mut Contestant>,
    /// Figures of this round, of sides that ran before.
    pub(crate) before: &'a BTreeMap<(Side, &'static str), f64>,
    pub(crate) curves: &'a mut BTreeMap<(Side, &'static str), Curve>,
}

/// One row of the benchmark.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// About how long one side takes, at the default sizes.
    pub(crate) seconds: u64,
    pub(crate) floor: bool,
    /// Whether it is the broker that is measured; the coordinator's row starts its own programs.
    pub(crate) broker: bool,
    pub(crate) run: fn(&mut Look<'_>) -> Result<Figures>,
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
        broker: true,
        run,
    }
}

/// In the order in which they run: quiet ones first, those that leave much behind last.
pub(crate) const ROWS: &[Row] = &[
    row("start", 4, false, lifecycle::start),
    row("memory", 8, false, lifecycle::memory_idle),
    row("warm", 15, false, throughput::warm),
    row("produce_bulk", 12, true, throughput::produce_bulk),
    row("produce_small", 8, true, throughput::produce_small),
    row("stock_librdkafka", 8, true, throughput::stock_librdkafka),
    row("stock_java", 12, false, throughput::stock_java),
    row("fetch", 18, true, throughput::fetch),
    row("codec", 25, false, throughput::codec),
    row("idle", 24, false, timing::idle),
    row("latency", 22, true, timing::latency),
    row("latency_half", 22, false, timing::latency_half),
    row("durable", 14, true, timing::durable),
    row("rebalance", 6, false, timing::rebalance),
    row("loaded", 2, false, lifecycle::memory_loaded),
    Row {
        broker: false,
        ..row("coordinator", 34, true, keeper::coordinator)
    },
    row("recovery", 25, true, lifecycle::recovery),
    row("topic_10k", 20, false, lifecycle::topic_10k),
];

/// Answers that take longer than this say that something hangs: the row fails, the run goes on.
const LOAD_LIMIT: Duration = Duration::from_secs(420);

/// A floor server on its core, with a folder of its own.
struct Ground {
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
        match &mut self.contestant {
            Some(contestant) => Ok(contestant),
            None => anyhow::bail!("this row needs a broker"),
        }
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

    /// Makes a topic of this row's own; gone again with [`Look::drop_topic`].
    fn make_topic(&mut self, name: &str, partitions: i32, settings: &[&str]) -> Result<()> {
        let address = self.broker()?.address.clone();
        let partitions = partitions.to_string();
        let mut words = vec!["topic", &address, name, "--partitions", &partitions];
        for setting in settings {
            words.extend(["--topic-config", setting]);
        }
        self.load(&words).map(drop)
    }

    fn drop_topic(&mut self, name: &str) -> Result<()> {
        let address = self.broker()?.address.clone();
        self.load(&["topic", &address, name, "--delete"]).map(drop)
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
