//! The coordinator alone against ZooKeeper alone, on one core each, syncs on.
//!
//! One operation is a row of its own, so that the sides follow one another within seconds: what a
//! sync takes changes on a shared disk from minute to minute.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::contestant::{self, Side, free_port};
use crate::machine::{Awake, SERVER_CORE, pin};
use crate::metrics::KEEPER_POINTS;
use crate::process::{Meter, Running, pause};
use crate::rows::{Figures, Ground, Look, of};

/// One connection with one request in flight.
const ALONE: (&str, &str) = ("1", "1");

/// One side's coordinator, from its first row to its last.
pub(crate) struct Keeper {
    address: String,
    /// From its start; the floor has none.
    started: Figures,
    _running: Server,
}

#[expect(dead_code, reason = "held so that the server runs until the last row")]
enum Server {
    Own(Running),
    Floor(Ground),
}

pub(super) fn start(look: &mut Look<'_>) -> Result<Figures> {
    *look.keeper = None;
    running(look)?;
    let started = look.keeper.as_mut().map(|keeper| &mut keeper.started);
    Ok(started.map(std::mem::take).unwrap_or_default())
}

pub(super) fn get(look: &mut Look<'_>) -> Result<Figures> {
    points(look, "get", |_| true)
}

pub(super) fn set(look: &mut Look<'_>) -> Result<Figures> {
    points(look, "set", |point| point != ALONE)
}

/// One at a time is one sync at a time, and what those take changes within seconds.
pub(super) fn set_alone(look: &mut Look<'_>) -> Result<Figures> {
    points(look, "set", |point| point == ALONE)
}

pub(super) fn create(look: &mut Look<'_>) -> Result<Figures> {
    points(look, "create", |point| point != ALONE)
}

pub(super) fn create_alone(look: &mut Look<'_>) -> Result<Figures> {
    points(look, "create", |point| point == ALONE)
}

/// The address of this side's coordinator, which is started where it is not there yet.
fn running(look: &mut Look<'_>) -> Result<String> {
    if look.keeper.is_none() {
        let fresh = match look.side {
            Side::Floor => {
                let ground = look.ground("keeper", &["--sync"])?;
                Keeper {
                    address: ground.address.clone(),
                    started: Figures::default(),
                    _running: Server::Floor(ground),
                }
            }
            Side::Ours | Side::Kafka => begin(look)?,
        };
        *look.keeper = Some(fresh);
    }
    let keeper = look.keeper.as_ref().context("find the coordinator")?;
    Ok(keeper.address.clone())
}

fn begin(look: &mut Look<'_>) -> Result<Keeper> {
    let name = format!("keeper-{}", look.side.name());
    let dir = look.places.work.join(name);
    let _never_was = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    let port = free_port()?;
    let address = format!("127.0.0.1:{port}");
    let begin = Instant::now();
    let running = match look.side {
        Side::Ours => contestant::coordinator(look.places, &dir, port)?,
        Side::Kafka | Side::Floor => contestant::zookeeper(look.places, &dir, port)?,
    };
    let spawned_ms = begin.elapsed().as_secs_f64() * 1e3;
    let made = create_nodes(look, &address)?;
    let mut started = Figures::default();
    let first_ms = spawned_ms + of(&made, "first_reply_ms")?;
    started.put("coordinator.start", first_ms);
    let meter = Meter::of(vec![running.id()]);
    // At rest.
    pause(Duration::from_secs(2))?;
    started.put("coordinator.memory", meter.pss_mb()?);
    pin(running.id(), SERVER_CORE)?;
    if look.side == Side::Kafka {
        // Compiled before it is measured.
        for operation in ["get", "set", "create"] {
            let words = ["zookeeper", &address, operation, "--seconds", "2"];
            look.load(&words)?;
        }
    }
    Ok(Keeper {
        address,
        started,
        _running: Server::Own(running),
    })
}

/// 10,000 nodes of 100 bytes; waits for the server first.
fn create_nodes(look: &Look<'_>, address: &str) -> Result<Value> {
    let mut words = vec!["zookeeper", address, "create", "--patience-seconds", "60"];
    words.extend(["--requests-max", "10000", "--seconds", "120"]);
    look.load(&words)
}

fn points(
    look: &mut Look<'_>,
    operation: &str,
    wanted: impl Fn((&str, &str)) -> bool,
) -> Result<Figures> {
    let address = running(look)?;
    let seconds = look.sizes.keeper_seconds.to_string();
    let mut figures = Figures::default();
    // The least load first. What is created stays: after the greatest, the faster side would have more
    // to keep and to save than the other.
    let wanted = KEEPER_POINTS.into_iter().filter(|point| wanted(*point));
    for (connections, in_flight) in wanted.rev() {
        let alone = (connections, in_flight) == ALONE;
        // Alone, one request is two wake-ups and a sync: cores that halt would be most of it.
        let log = look.places.work.join("floor.log");
        let _awake = alone
            .then(|| Awake::keep(&look.places.floor(), &log))
            .transpose()?;
        let mut words = vec!["zookeeper", &address, operation, "--seconds", &seconds];
        words.extend(["--connections", connections, "--in-flight", in_flight]);
        let answer = look.load(&words)?;
        let key = format!("coordinator.{operation}_{connections}x{in_flight}");
        if alone {
            figures.put(format!("{key}_p50"), of(&answer, "p50_us")?);
        }
        figures.put(format!("{key}_p99"), of(&answer, "p99_us")?);
        figures.put(key, of(&answer, "requests_per_second")?);
    }
    Ok(figures)
}
