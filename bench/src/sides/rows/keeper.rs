//! The coordinator alone against ZooKeeper alone, on one core each, syncs on.

use std::fs;

use anyhow::Result;
use serde_json::Value;

use crate::contestant::{self, Side, free_port};
use crate::machine::{SERVER_CORE, pin};
use crate::process::Meter;
use crate::rows::{Figures, Look, of};

/// Key, operation, connections, requests in flight on each, and which figure of the answer.
const POINTS: [(&str, &str, &str, &str, &str); 12] = [
    (
        "coordinator.get_8x100",
        "get",
        "8",
        "100",
        "requests_per_second",
    ),
    (
        "coordinator.set_8x100",
        "set",
        "8",
        "100",
        "requests_per_second",
    ),
    (
        "coordinator.create_8x100",
        "create",
        "8",
        "100",
        "requests_per_second",
    ),
    ("coordinator.set_1x1_p50", "set", "1", "1", "p50_us"),
    ("coordinator.get_1x1_p50", "get", "1", "1", "p50_us"),
    ("coordinator.create_1x1_p50", "create", "1", "1", "p50_us"),
    (
        "coordinator.get_16x1",
        "get",
        "16",
        "1",
        "requests_per_second",
    ),
    (
        "coordinator.set_16x1",
        "set",
        "16",
        "1",
        "requests_per_second",
    ),
    (
        "coordinator.create_16x1",
        "create",
        "16",
        "1",
        "requests_per_second",
    ),
    (
        "coordinator.get_256x1",
        "get",
        "256",
        "1",
        "requests_per_second",
    ),
    (
        "coordinator.set_256x1",
        "set",
        "256",
        "1",
        "requests_per_second",
    ),
    (
        "coordinator.create_256x1",
        "create",
        "256",
        "1",
        "requests_per_second",
    ),
];

pub(super) fn coordinator(look: &mut Look<'_>) -> Result<Figures> {
    let mut figures = Vec::new();
    if look.side == Side::Floor {
        let ground = look.ground("keeper", &["--sync"])?;
        points(look, &ground.address, &mut figures)?;
        return Ok(figures);
    }
    let dir = look
        .places
        .work
        .join(format!("keeper-{}", look.side.name()));
    let _never_was = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    let port = free_port()?;
    let address = format!("127.0.0.1:{port}");
    let begin = std::time::Instant::now();
    let running = match look.side {
        Side::Ours => contestant::coordinator(look.places, &dir, port)?,
        Side::Kafka | Side::Floor => contestant::zookeeper(look.places, &dir, port)?,
    };
    let spawned_ms = begin.elapsed().as_secs_f64() * 1e3;
    let made = create_nodes(look, &address)?;
    figures.push((
        "coordinator.start",
        spawned_ms + of(&made, "first_reply_ms")?,
    ));
    let meter = Meter::of(vec![running.id()]);
    figures.push(("coordinator.memory", meter.pss_mb()?));
    pin(running.id(), SERVER_CORE)?;
    if look.side == Side::Kafka {
        // Compiled before it is measured.
        for operation in ["get", "set"] {
            let words = ["zookeeper", &address, operation, "--seconds", "3"];
            look.load(&words)?;
        }
    }
    points(look, &address, &mut figures)?;
    drop(running);
    fs::remove_dir_all(&dir)?;
    Ok(figures)
}

/// 10,000 nodes of 100 bytes; waits for the server first.
fn create_nodes(look: &Look<'_>, address: &str) -> Result<Value> {
    let mut words = vec!["zookeeper", address, "create", "--patience-seconds", "60"];
    words.extend(["--requests-max", "10000", "--seconds", "120"]);
    look.load(&words)
}

fn points(look: &Look<'_>, address: &str, figures: &mut Figures) -> Result<()> {
    let seconds = (look.sizes.seconds / 4).max(1).to_string();
    for (key, operation, connections, in_flight, figure) in POINTS {
        let mut words = vec!["zookeeper", address, operation, "--seconds", &seconds];
        words.extend(["--connections", connections, "--in-flight", in_flight]);
        figures.push((key, of(&look.load(&words)?, figure)?));
    }
    Ok(())
}
