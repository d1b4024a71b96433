//! The gate: how many instructions a request costs, counted under callgrind and compared with the
//! committed baseline.
//!
//! `gate` runs every case in a callgrind of its own; `gate measure CASE` is what runs there. Broker
//! and client share one thread, so that no scheduling enters the count, and the coordinator's own is
//! counted with the client's; what other threads do (a sync, a snapshot) is not counted, nor is the
//! kernel's share. Two runs differ by 0.1 %; the
//! fetch of 1 MiB by 1 %, as the socket takes it in larger or smaller pieces, and the idle poll, which
//! pays for whatever wakes while it waits, by as much.

#![allow(
    clippy::disallowed_methods,
    reason = "a measuring program lives on the machine's own time"
)]

mod baseline;
mod cases;
mod callgrind;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};

/// As in the programs that are shipped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(name = "gate", about = "Instruction counts of the hot paths")]
struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    /// The committed counts.
    #[arg(long, default_value = "bench/gate.baseline")]
    baseline: PathBuf,
    /// Writes what was measured as the new baseline.
    #[arg(long)]
    bless: bool,
    /// Only these cases.
    #[arg(long, value_delimiter = ',')]
    cases: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Runs one case; to be started under callgrind.
    Measure { case: String },
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(What::Measure { case }) = &arguments.what {
        cases::measure(case)?;
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = |case: &&cases::Case| {
        arguments.cases.is_empty() || arguments.cases.iter().any(|name| name == case.name)
    };
    let chosen: Vec<_> = cases::CASES.iter().filter(wanted).collect();
    ensure!(!chosen.is_empty(), "no such case");
    let counted = callgrind::count_all(&chosen)?;
    if arguments.bless {
        baseline::write(&arguments.baseline, &counted)?;
    }
    let known = baseline::read(&arguments.baseline)?;
    let (table, passed) = baseline::compare(&known, &counted);
    print!("{table}");
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
