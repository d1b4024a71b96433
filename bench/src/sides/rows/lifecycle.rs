//! Rows about a broker's life: start, memory, kill -9, many partitions.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::contestant::Side;
use crate::machine::SERVER_CORE;
use crate::process::{json, pause};
use crate::rows::{Figures, LOAD_LIMIT, Look, of};

const RECOVERED_PARTITIONS: i32 = 10;
const MANY: i32 = 10_000;

/// Measured when the side was started.
pub(super) fn start(look: &mut Look<'_>) -> Result<Figures> {
    Ok(vec![("start.first_ack", look.broker()?.first_ack_ms)])
}

pub(super) fn memory_idle(look: &mut Look<'_>) -> Result<Figures> {
    pause(Duration::from_secs(look.sizes.seconds.min(10)))?;
    Ok(vec![("memory.idle", look.broker()?.meter.pss_mb()?)])
}

/// Whatever the rows before have left: the bytes of all that were asked for.
pub(super) fn memory_loaded(look: &mut Look<'_>) -> Result<Figures> {
    Ok(vec![("memory.loaded", look.broker()?.meter.pss_mb()?)])
}

/// The floor reads and sums what our side has recovered.
pub(super) fn recovery(look: &mut Look<'_>) -> Result<Figures> {
    if look.side == Side::Floor {
        let dir = look.places.work.join("ours");
        let mut command = std::process::Command::new("taskset");
        command.args(["-c", SERVER_CORE]).arg(look.places.floor());
        let answer = json(command.arg("recover").arg(&dir), LOAD_LIMIT)?;
        return Ok(vec![("recovery.first_ack", of(&answer, "seconds")? * 1e3)]);
    }
    let bytes = look.sizes.recovery_bytes.to_string();
    look.make_topic("recover", RECOVERED_PARTITIONS, &[])?;
    let mut fill = vec!["produce", "--topic", "recover", "--partitions", "10"];
    fill.extend([
        "--records",
        "1000",
        "--seconds",
        "600",
        "--bytes-max",
        &bytes,
    ]);
    let (filled, _) = look.costed(None, &fill)?;
    let places = look.places;
    let returned = look
        .broker()?
        .crash_and_return(places, "recover", RECOVERED_PARTITIONS)?;
    let all = ["fetch", "--topic", "recover", "--partitions", "10"];
    let (read, _) = look.costed(None, &all)?;
    ensure!(
        of(&read, "bytes")? >= of(&filled, "wire_bytes")?,
        "acknowledged bytes are gone: {filled} before, {read} after"
    );
    Ok(vec![
        ("recovery.first_ack", returned.ms),
        ("recovery.outage", returned.total_ms),
    ])
}

pub(super) fn topic_10k(look: &mut Look<'_>) -> Result<Figures> {
    let before = look.broker()?.meter.pss_mb()?;
    let (address, many) = (look.broker()?.address.clone(), MANY.to_string());
    let made = look.load(&["topic", &address, "many", "--partitions", &many])?;
    pause(Duration::from_secs(3))?;
    let after = look.broker()?.meter.pss_mb()?;
    let mut figures = vec![
        ("topic_10k.created", of(&made, "led_ms")?),
        ("topic_10k.memory", after),
    ];
    if look.side == Side::Ours {
        figures.push((
            "topic_10k.each",
            (after - before).max(0.0) * 1024.0 / f64::from(MANY),
        ));
    }
    Ok(figures)
}
