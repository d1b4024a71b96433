//! Rows that look at the clock: latency, waiting consumers, syncs, a join storm.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::contestant::Side;
use crate::machine::Awake;
use crate::process::{Running, pause};
use crate::rows::{Curve, Figures, Ground, Look, of};

pub(super) fn latency(look: &mut Look<'_>) -> Result<Figures> {
    let answer = at_rate(look, 2000)?;
    look.curves.insert((look.side, "latency"), curve(&answer));
    Ok(vec![
        ("latency.p50", of(&answer, "p50_us")?),
        ("latency.p99", of(&answer, "p99_us")?),
        ("latency.p999", of(&answer, "p999_us")?),
        ("latency.max", of(&answer, "max_us")?),
    ])
}

pub(super) fn latency_half(look: &mut Look<'_>) -> Result<Figures> {
    // Without the row that finds it: about half of what was found before.
    let most = look.before.get(&(Side::Kafka, "produce_small.rate"));
    let rate = most.map_or(5_000, |most| (most / 2.0) as u32);
    let answer = at_rate(look, rate)?;
    look.curves
        .insert((look.side, "latency_half"), curve(&answer));
    Ok(vec![
        ("latency_half.p50", of(&answer, "p50_us")?),
        ("latency_half.p99", of(&answer, "p99_us")?),
        ("latency_half.p999", of(&answer, "p999_us")?),
        ("latency_half.max", of(&answer, "max_us")?),
    ])
}

fn at_rate(look: &mut Look<'_>, rate: u32) -> Result<Value> {
    let _awake = Awake::keep(&look.places.floor(), &look.places.work.join("floor.log"))?;
    let rate = rate.to_string();
    let seconds = look.sizes.latency_seconds.to_string();
    let mut words = vec!["latency", "--rate", &rate, "--seconds", &seconds];
    let ground = (look.side == Side::Floor)
        .then(|| look.ground("kafka", &[]))
        .transpose()?;
    if ground.is_some() {
        words.push("--no-topic");
    }
    Ok(look.costed(ground.as_ref(), &words)?.0)
}

fn curve(answer: &Value) -> Curve {
    let points = answer.get("curve").and_then(Value::as_array);
    let point = |pair: &Value| Some((pair.get(0)?.as_f64()?, pair.get(1)?.as_f64()?));
    points.into_iter().flatten().filter_map(point).collect()
}

/// 500 consumers wait on 100 partitions; then 1,000 records a second come.
pub(super) fn idle(look: &mut Look<'_>) -> Result<Figures> {
    look.make_topic("quiet", 100, &[])?;
    let seconds = look.sizes.seconds.max(5);
    let quiet = waiting(look, seconds, false)?;
    let tail = waiting(look, seconds, true)?;
    look.drop_topic("quiet")?;
    Ok(vec![("idle.cpu", quiet), ("idle.cpu_tail", tail)])
}

/// Percent of a core while the consumers wait; their coming and going is left out.
fn waiting(look: &mut Look<'_>, seconds: u64, traffic: bool) -> Result<f64> {
    let log = look.places.work.join("load.log");
    let address = look.broker()?.address.clone();
    let start = |words: &[&str], seconds: u64| {
        let mut command = look.places.load();
        command.arg(words[0]).arg(&address).args(&words[1..]);
        Running::start(command.args(["--seconds", &seconds.to_string()]), &log)
    };
    let mut consumers = start(&["idle", "--topic", "quiet"], seconds + 4)?;
    let _producer = traffic
        .then(|| {
            let words = [
                "latency",
                "--topic",
                "quiet",
                "--partitions",
                "100",
                "--rate",
                "1000",
            ];
            start(&words, seconds + 4)
        })
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
    let ground = (look.side == Side::Floor)
        .then(|| look.ground("kafka", &["--sync"]))
        .transpose()?;
    if ground.is_none() {
        look.make_topic("durable", 16, &["flush.messages=1"])?;
    }
    let many = produce_synced(look, ground.as_ref(), "64", &seconds)?;
    let one = produce_synced(look, ground.as_ref(), "1", &seconds)?;
    if ground.is_none() {
        look.drop_topic("durable")?;
    }
    Ok(vec![
        ("durable.rate_64", of(&many, "requests_per_second")?),
        ("durable.p50_1", of(&one, "p50_us")?),
    ])
}

fn produce_synced(
    look: &mut Look<'_>,
    ground: Option<&Ground>,
    producers: &str,
    seconds: &str,
) -> Result<Value> {
    let mut words = vec!["produce", "--topic", "durable", "--in-flight", "1"];
    words.extend(["--connections", producers, "--seconds", seconds]);
    if ground.is_some() {
        words.push("--no-topic");
    }
    Ok(look.costed(ground, &words)?.0)
}

pub(super) fn rebalance(look: &mut Look<'_>) -> Result<Figures> {
    // The first storm makes the offsets topic and warms the code up.
    look.costed(None, &["rebalance", "--group", "warm"])?;
    let group = format!("storm-{}", look.before.len());
    let (answer, _) = look.costed(None, &["rebalance", "--group", &group])?;
    Ok(vec![(
        "rebalance.storm",
        of(&answer, "first_join_to_last_sync_ms")?,
    )])
}
