//! Rows that look at the clock: latency, waiting consumers, syncs, groups.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::contestant::Side;
use crate::machine::Awake;
use crate::process::{Running, pause};
use crate::rows::{Curve, Figures, Look, of};

pub(super) fn latency(look: &mut Look<'_>) -> Result<Figures> {
    at_rate(look, "latency", 2000, &[])
}

/// From the moment a record should have left to the moment its consumer has it.
pub(super) fn end_to_end(look: &mut Look<'_>) -> Result<Figures> {
    at_rate(look, "end_to_end", 2000, &["--end-to-end"])
}

pub(super) fn latency_half(look: &mut Look<'_>) -> Result<Figures> {
    // Without the row that finds it: about half of what was found before.
    let key = (Side::Kafka, "produce_small.rate".to_owned());
    let most = look.before.get(&key);
    let rate = most.map_or(5_000, |most| (most / 2.0) as u32);
    at_rate(look, "latency_half", rate, &[])
}

fn at_rate(look: &mut Look<'_>, row: &'static str, rate: u32, more: &[&str]) -> Result<Figures> {
    let _awake = Awake::keep(&look.places.floor(), &look.places.work.join("floor.log"))?;
    let rate = rate.to_string();
    let seconds = look.sizes.latency_seconds.to_string();
    let answer = look.on_topic(row, (16, &[]), &[], |look, ground| {
        let mut words = vec!["latency", "--topic", row];
        words.extend(["--rate", &rate, "--seconds", &seconds]);
        words.extend(more);
        if ground.is_some() {
            words.push("--no-topic");
        }
        Ok(look.costed(ground, &words)?.0)
    })?;
    look.curves.insert((look.side, row), curve(&answer));
    let mut figures = Figures::default();
    for figure in ["p50", "p99", "p999", "max"] {
        figures.put(
            format!("{row}.{figure}"),
            of(&answer, &format!("{figure}_us"))?,
        );
    }
    Ok(figures)
}

fn curve(answer: &Value) -> Curve {
    let points = answer.get("curve").and_then(Value::as_array);
    let point = |pair: &Value| Some((pair.get(0)?.as_f64()?, pair.get(1)?.as_f64()?));
    points.into_iter().flatten().filter_map(point).collect()
}

/// 500 consumers wait on 100 partitions; then 1,000 records a second come.
pub(super) fn idle(look: &mut Look<'_>) -> Result<Figures> {
    let seconds = look.sizes.seconds.max(5);
    let (quiet, tail) = look.on_topic("quiet", (100, &[]), &[], |look, _| {
        let quiet = waiting(look, seconds, false)?;
        Ok((quiet, waiting(look, seconds, true)?))
    })?;
    Ok(Figures::from([
        ("idle.cpu", quiet),
        ("idle.cpu_tail", tail),
    ]))
}

/// Percent of a core while the consumers wait; their coming and going is left out.
fn waiting(look: &mut Look<'_>, seconds: u64, traffic: bool) -> Result<f64> {
    let log = look.places.work.join("load.log");
    let address = look.broker()?.address.clone();
    let start = |words: &[&str], seconds: u64| {
        let mut command = look.places.load();
        command.arg(words[0]).arg(&address).args(&words[1..]);
        command.args(["--topic", "quiet", "--partitions", "100"]);
        Running::start(command.args(["--seconds", &seconds.to_string()]), &log)
    };
    let mut consumers = start(&["idle"], seconds + 4)?;
    let _producer = traffic
        .then(|| start(&["latency", "--rate", "1000"], seconds + 4))
        .transpose()?;
    pause(Duration::from_secs(3))?;
    let begin = Instant::now();
    let before = look.broker()?.meter.seconds()?;
    pause(Duration::from_secs(seconds))?;
    let used = look.broker()?.meter.seconds()? - before;
    let passed = begin.elapsed().as_secs_f64();
    if !consumers.alive() {
        bail!("the consumers ended early; see load.log");
    }
    Ok(used / passed * 100.0)
}

/// Every record is on the disk before its acknowledgement.
pub(super) fn durable(look: &mut Look<'_>) -> Result<Figures> {
    let seconds = look.sizes.seconds.to_string();
    let settings = (16, &["flush.messages=1"][..]);
    let (many, one) = look.on_topic("durable", settings, &["--sync"], |look, ground| {
        let synced = |look: &mut Look<'_>, producers: &str| {
            let mut words = vec!["--in-flight", "1", "--connections", producers];
            words.extend(["--seconds", &seconds]);
            anyhow::Ok(look.produce(ground, "durable", &words)?.0)
        };
        let many = synced(look, "64")?;
        Ok((many, synced(look, "1")?))
    })?;
    Ok(Figures::from([
        ("durable.rate_64", of(&many, "requests_per_second")?),
        ("durable.p99_64", of(&many, "p99_us")?),
        ("durable.p50_1", of(&one, "p50_us")?),
    ]))
}

pub(super) fn rebalance(look: &mut Look<'_>) -> Result<Figures> {
    // The first storm makes the offsets topic and warms the code up.
    look.costed(None, &["rebalance", "--group", "warm"])?;
    let restarts = look.sizes.restarts.to_string();
    let words = ["rebalance", "--group", "storm", "--restarts", &restarts];
    let (answer, _) = look.costed(None, &words)?;
    Ok(Figures::from([
        (
            "rebalance.storm",
            of(&answer, "first_join_to_last_sync_ms")?,
        ),
        ("rebalance.rolling", of(&answer, "restart_p50_ms")?),
    ]))
}
