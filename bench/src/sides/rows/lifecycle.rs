//! Rows about a broker's life: start, memory, kill -9, many partitions.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::contestant::{End, Side};
use crate::machine::SERVER_CORE;
use crate::process::{json, pause};
use crate::rows::{Figures, LOAD_LIMIT, Look, of, per};

const RECOVERED_PARTITIONS: i32 = 10;
const MANY: i32 = 10_000;
const GB: f64 = 1e9;

/// Measured when the side was started.
pub(super) fn start(look: &mut Look<'_>) -> Result<Figures> {
    let first_ack = look.broker()?.first_ack_ms;
    Ok(Figures::from([("start.first_ack", first_ack)]))
}

/// With nobody connected.
pub(super) fn memory_idle(look: &mut Look<'_>) -> Result<Figures> {
    // What a start leaves to do is done by then.
    pause(Duration::from_secs(1))?;
    let seconds = look.sizes.seconds.min(10);
    let before = look.broker()?.meter.seconds()?;
    pause(Duration::from_secs(seconds))?;
    let used = look.broker()?.meter.seconds()? - before;
    Ok(Figures::from([
        ("memory.idle", look.broker()?.meter.pss_mb()?),
        ("memory.cpu", used / seconds as f64 * 100.0),
    ]))
}

/// Whatever the rows before have left: the bytes of all that were asked for.
pub(super) fn memory_loaded(look: &mut Look<'_>) -> Result<Figures> {
    Ok(Figures::from([(
        "memory.loaded",
        look.broker()?.meter.pss_mb()?,
    )]))
}

/// The floor reads and sums what our side has recovered.
pub(super) fn recovery(look: &mut Look<'_>) -> Result<Figures> {
    if look.side == Side::Floor {
        let dir = look.places.work.join("ours");
        let mut command = std::process::Command::new("taskset");
        command.args(["-c", SERVER_CORE]).arg(look.places.floor());
        let answer = json(command.arg("recover").arg(&dir), LOAD_LIMIT)?;
        let seconds = of(&answer, "seconds")?;
        return Ok(Figures::from([
            ("recovery.first_ack", seconds * 1e3),
            (
                "recovery.cpu",
                per(of(&answer, "cpu_seconds")?, of(&answer, "bytes")? / GB)?,
            ),
        ]));
    }
    let (bytes, returned) = crash(look, "recover", End::Killed)?;
    Ok(Figures::from([
        ("recovery.first_ack", returned.ms),
        ("recovery.outage", returned.total_ms),
        ("recovery.cpu", per(returned.cpu_seconds, bytes / GB)?),
    ]))
}

/// The same with the segments written out and forgotten by the page cache before the start.
pub(super) fn recovery_cold(look: &mut Look<'_>) -> Result<Figures> {
    let (_, returned) = crash(look, "recover_cold", End::KilledCold)?;
    Ok(Figures::from([("recovery_cold.first_ack", returned.ms)]))
}

/// Fills a topic, kills the broker, starts it again, and reads all that was acknowledged. Gives
/// how many bytes lay there; they stay, for the floor to read.
fn crash(look: &mut Look<'_>, topic: &str, end: End) -> Result<(f64, crate::contestant::Returned)> {
    let bytes = look.sizes.recovery_bytes.to_string();
    look.make_topic(topic, RECOVERED_PARTITIONS, &[])?;
    let mut fill = vec!["--partitions", "10", "--records", "1000"];
    fill.extend(["--seconds", "200", "--bytes-max", &bytes]);
    let (filled, _) = look.produce(None, topic, &fill)?;
    let places = look.places;
    let returned = look
        .broker()?
        .end_and_return(places, end, (topic, RECOVERED_PARTITIONS))?;
    let all = ["fetch", "--topic", topic, "--partitions", "10"];
    let (read, _) = look.costed(None, &all)?;
    ensure!(
        of(&read, "bytes")? >= of(&filled, "wire_bytes")?,
        "acknowledged bytes are gone: {filled} before, {read} after"
    );
    Ok((of(&read, "bytes")?, returned))
}

pub(super) fn topic_1k(look: &mut Look<'_>) -> Result<Figures> {
    make_many(look, "some", 1_000)?;
    let after = look.broker()?.meter.pss_mb()?;
    Ok(Figures::from([("topic_1k.memory", after)]))
}

pub(super) fn topic_10k(look: &mut Look<'_>) -> Result<Figures> {
    let before = look.broker()?.meter.pss_mb()?;
    let made = make_many(look, "many", MANY)?;
    let after = look.broker()?.meter.pss_mb()?;
    let mut figures = Figures::from([
        ("topic_10k.created", of(&made, "led_ms")?),
        ("topic_10k.memory", after),
    ]);
    if look.side == Side::Ours {
        let each = (after - before).max(0.0) * 1024.0 / f64::from(MANY);
        figures.put("topic_10k.each", each);
    }
    Ok(figures)
}

fn make_many(look: &mut Look<'_>, topic: &str, partitions: i32) -> Result<Value> {
    let address = look.broker()?.address.clone();
    let mut words = vec!["topic", &address, "--topic", topic];
    let partitions = partitions.to_string();
    words.extend(["--partitions", &partitions]);
    let made = look.load(&words)?;
    pause(Duration::from_secs(2))?;
    Ok(made)
}

/// A clean stop and the next start, with the partitions of the row before.
pub(super) fn start_10k(look: &mut Look<'_>) -> Result<Figures> {
    make_many(look, "many", MANY)?;
    let places = look.places;
    let returned = look
        .broker()?
        .end_and_return(places, End::Stopped, ("many", MANY))?;
    Ok(Figures::from([
        ("start_10k.first_ack", returned.ms),
        ("start_10k.stop", returned.stop_ms),
    ]))
}
