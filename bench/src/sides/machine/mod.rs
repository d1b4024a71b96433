//! The machine, made fair for the run and put back as it was: TCP without pacing, memory that the
//! host has given already, cores that do not halt while latency is measured.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::machine::junk::{Junk, Room};
use crate::process::Running;

mod junk;

const CONGESTION: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// Holds the changes; dropping it takes them back.
#[derive(Debug)]
pub(crate) struct Fair {
    congestion: Option<String>,
    junk: Option<Junk>,
    /// What could not be changed, for the report.
    pub(crate) notes: Vec<String>,
}

impl Fair {
    /// BBR paces loopback to a fraction of what it can; `back_memory` in `work`, where asked.
    pub(crate) fn make(work: &Path, back_memory: bool) -> Self {
        let mut notes = Vec::new();
        let before = fs::read_to_string(CONGESTION).unwrap_or_default();
        let congestion = match before.trim() {
            "cubic" | "" => None,
            other => match fs::write(CONGESTION, "cubic") {
                Ok(()) => Some(other.to_owned()),
                Err(error) => {
                    notes.push(format!("TCP stays with {other}: {error}"));
                    None
                }
            },
        };
        if !back_memory {
            notes.push("memory was not backed beforehand".to_owned());
        }
        let junk = back_memory.then(|| Junk::at(work));
        Fair {
            congestion,
            junk,
            notes,
        }
    }

    /// What is free then the host has given.
    pub(crate) fn fill_memory(&self) -> Result<()> {
        self.junk.as_ref().map_or(Ok(()), Junk::fill)
    }

    /// So is what becomes free, as much as is written, for as long as what it returns is held.
    pub(crate) fn make_room(&self) -> Result<Option<Room>> {
        self.junk.as_ref().map(Junk::make_room).transpose()
    }
}

impl Drop for Fair {
    fn drop(&mut self) {
        if let Some(before) = &self.congestion {
            let _reported_by_sysctl = fs::write(CONGESTION, before);
        }
    }
}

/// Loops at idle priority on both cores: virtual processors that halt add 50 µs to every wake-up.
#[derive(Debug)]
pub(crate) struct Awake {
    _spinners: Vec<Running>,
}

impl Awake {
    pub(crate) fn keep(floor: &Path, log: &Path) -> Result<Self> {
        let spin = |core: &str| {
            let mut command = Command::new("taskset");
            command.args(["-c", core, "chrt", "-i", "0"]);
            Running::start(command.arg(floor).arg("spin"), log)
        };
        Ok(Awake {
            _spinners: vec![spin(SERVER_CORE)?, spin(CLIENT_CORE)?],
        })
    }
}

pub(crate) const SERVER_CORE: &str = "0";
pub(crate) const CLIENT_CORE: &str = "1";

/// Pins every thread of a process to the server's core; what it starts later stays there.
pub(crate) fn pin(id: u32, core: &str) -> Result<()> {
    let mut command = Command::new("taskset");
    command.args(["-a", "-c", "-p", core, &id.to_string()]);
    crate::process::output(&mut command, std::time::Duration::from_secs(10))?;
    Ok(())
}

/// Writes out what waits in memory, so that no row pays for the writes of the one before.
pub(crate) fn settle() {
    rustix::fs::sync();
}

/// Puts every file below `dir` on the disk and out of the page cache.
pub(crate) fn forget_files(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            forget_files(&path)?;
        } else if path.is_file() {
            let file = File::open(&path)?;
            file.sync_all()?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
    }
    Ok(())
}

/// A figure of the kernel's about memory.
fn memory_mb(key: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kb| kb >> 10)
}

/// Processor, cores, memory and kernel; no names of hosts.
pub(crate) fn description() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(':'))
        .map_or("unknown processor", |(_, name)| name.trim());
    let cores = cpus
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version = release.trim().split('-').next().unwrap_or_default();
    let gib = (memory_mb("MemTotal:") + 512) >> 10;
    format!("{model}, {cores} cores, {gib} GiB, Linux {version}")
}

/// Ticks since boot that the host gave to others, and all ticks.
pub(crate) fn stolen_ticks() -> (u64, u64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<u64> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    let stolen = ticks.get(7).copied().unwrap_or_default();
    (stolen, ticks.iter().take(8).sum())
}
