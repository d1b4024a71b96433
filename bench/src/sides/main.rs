//! Side by side: Rotpeter, Apache Kafka 3.9 with ZooKeeper and the floor do the same work in turn,
//! row by row, round by round, on pinned cores. A table, JSON and drawings come out.
//!
//! What fails is told and passed over; Ctrl-C ends the run and puts the machine back.

#![allow(
    clippy::disallowed_methods,
    reason = "a measuring program lives on the machine's own time"
)]

mod process;
mod machine;
mod contestant;
mod metrics;
mod rows;
mod result;
mod figures;
mod draw;
mod report;
mod turns;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::contestant::Places;
use crate::machine::Fair;
use crate::rows::{ROWS, Row, Sizes};
use crate::turns::Run;

#[derive(Debug, Parser)]
#[command(
    name = "bench/run",
    about = "Rotpeter beside Apache Kafka and the floor"
)]
struct Arguments {
    /// Only these rows; `--list` names them.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    #[arg(long)]
    list: bool,
    /// A look: one round of short points; nothing is written to the docs.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// The method as written: five rounds, 20 GB, minutes a point. Takes hours.
    #[arg(long)]
    full: bool,
    #[arg(long)]
    rounds: Option<usize>,
    /// No round is begun that would end after so many minutes; by default 40, and none with --full.
    #[arg(long)]
    minutes: Option<u64>,
    /// Where results are written.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Where data lies while it runs; removed at the end.
    #[arg(long, default_value = "target/bench")]
    work: PathBuf,
}

const GB: u64 = 1_000_000_000;

impl Arguments {
    fn rounds(&self) -> usize {
        let usual = match (self.quick, self.full) {
            (true, _) => 1,
            (_, true) => 5,
            _ => 3,
        };
        self.rounds.unwrap_or(usual)
    }

    fn sizes(&self) -> Sizes {
        match (self.quick, self.full) {
            (true, _) => Sizes {
                bytes: GB / 2,
                seconds: 3,
                latency_seconds: 4,
                keeper_seconds: 1,
                records: 500_000,
                recovery_bytes: GB / 2,
                restarts: 3,
            },
            (_, true) => Sizes {
                bytes: 20 * GB,
                seconds: 60,
                latency_seconds: 300,
                keeper_seconds: 30,
                records: 20_000_000,
                recovery_bytes: 10 * GB,
                restarts: 100,
            },
            _ => Sizes {
                bytes: 2 * GB,
                seconds: 6,
                latency_seconds: 20,
                keeper_seconds: 2,
                records: 2_000_000,
                recovery_bytes: 2 * GB,
                restarts: 10,
            },
        }
    }

    fn chosen(&self) -> Result<Vec<&'static Row>> {
        for name in &self.rows {
            let known = ROWS.iter().any(|row| row.name == name);
            ensure!(known, "no row {name}; --list names them");
        }
        let wanted = |row: &&Row| {
            self.rows.is_empty()
                || self.rows.iter().any(|name| name == row.name)
                // What runs cold measures the compiler.
                || row.name == "warm" && self.rows.iter().any(|name| needs_warm(name))
        };
        Ok(ROWS.iter().filter(wanted).collect())
    }
}

fn needs_warm(name: &str) -> bool {
    const COLD: [&str; 5] = ["start", "memory", "topic_1k", "topic_10k", "start_10k"];
    !COLD.contains(&name) && !name.starts_with("coordinator")
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.list {
        for row in ROWS {
            println!("{}", row.name);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = arguments.chosen()?;
    listen_for_interrupts();
    let places = places(&arguments.work)?;
    let out = arguments.out.clone().unwrap_or_else(|| {
        let looks = arguments.quick || !arguments.rows.is_empty();
        PathBuf::from(if looks {
            "target/bench-look"
        } else {
            "docs/benchmarks"
        })
    });
    let fair = Fair::make(&places.work, !arguments.quick);
    let limit = arguments.minutes.or((!arguments.full).then_some(40));
    let limit = limit.map(|minutes| Duration::from_secs(60 * minutes));
    let (sizes, rounds) = (arguments.sizes(), arguments.rounds());
    let mut run = Run::new(places, sizes, rounds, limit, chosen);
    let ended = run.all(&fair);
    let mut notes = fair.notes.clone();
    drop(fair);
    if let Err(error) = &ended {
        notes.push(format!("the run ended early: {error:#}"));
    }
    notes.extend(run.steal_note());
    let result = run.finish(notes);
    print!("{}", report::table(&result));
    std::fs::create_dir_all(&out).with_context(|| format!("create {}", out.display()))?;
    report::write(&result, &out)?;
    println!("\nwritten to {}", out.display());
    let whole = ended.is_ok() && result.failures.is_empty();
    Ok(if whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The first interrupt ends the run in order, the second at once.
fn listen_for_interrupts() {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut interrupt), Ok(mut terminate)) = (
                signal(SignalKind::interrupt()),
                signal(SignalKind::terminate()),
            ) else {
                return;
            };
            loop {
                tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
                if process::STOP.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
                eprintln!("\nending; the machine is put back first");
            }
        });
    });
}

fn places(work: &Path) -> Result<Places> {
    std::fs::create_dir_all(work)?;
    let work = work.canonicalize()?;
    let own = std::env::current_exe()?;
    let programs = own.parent().context("find our own folder")?.to_path_buf();
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let peers = set("ROTPETER_PEERS").map_or_else(
        || {
            let cache = set("XDG_CACHE_HOME").map_or_else(
                || PathBuf::from(set("HOME").unwrap_or_default()).join(".cache"),
                PathBuf::from,
            );
            cache.join("rotpeter/peers")
        },
        PathBuf::from,
    );
    ensure!(
        peers.join("kafka-3.9/complete").exists(),
        "Kafka is not installed; run tests/peers/install kafka-3.9 zookeeper-3.9"
    );
    let shipped = programs.with_file_name("dist");
    ensure!(
        shipped.join("broker").exists(),
        "our programs are missing in {}; bench/run builds them",
        shipped.display()
    );
    Ok(Places {
        programs,
        shipped,
        peers,
        work,
    })
}
