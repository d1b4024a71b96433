//! Programs of the comparison: started in process groups of their own, stopped when dropped; what
//! they used of the processor and of memory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Set once somebody asks the whole run to end.
pub(crate) static STOP: AtomicBool = AtomicBool::new(false);

static GROUPS: AtomicU64 = AtomicU64::new(0);
const POLL: Duration = Duration::from_millis(20);
const STOP_PATIENCE: Duration = Duration::from_secs(15);
/// The kernel's clock tick, in which /proc tells processor time.
const TICKS_PER_SECOND: f64 = 100.0;

/// Sleeps, unless the run is to end.
pub(crate) fn pause(time: Duration) -> Result<()> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        ensure!(!STOP.load(Ordering::Relaxed), "interrupted");
        std::thread::sleep(POLL.min(time));
    }
    Ok(())
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts it; what it says goes to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        use std::os::unix::process::CommandExt;
        let said = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        Ok(Running { child })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub(crate) fn kill_hard(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(&mut self, patience: Duration) -> Result<()> {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _gone = kill_process(pid, Signal::TERM);
        }
        let begin = Instant::now();
        while self.alive() {
            ensure!(
                begin.elapsed() < patience,
                "the program did not stop within {patience:?}"
            );
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.alive() {
            return;
        }
        if self.stop(STOP_PATIENCE).is_err() {
            self.kill_hard();
        }
    }
}

/// Runs a program to its end and returns what it printed.
pub(crate) fn output(command: &mut Command, limit: Duration) -> Result<String> {
    let out = tempfile::NamedTempFile::new()?;
    let err = tempfile::NamedTempFile::new()?;
    let mut child = {
        use std::os::unix::process::CommandExt;
        command
            .stdin(Stdio::null())
            .stdout(out.reopen()?)
            .stderr(err.reopen()?)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {command:?}"))?
    };
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let stop = STOP.load(Ordering::Relaxed);
        if stop || begin.elapsed() > limit {
            let _gone = child.kill();
            let _gone = child.wait();
            ensure!(!stop, "interrupted");
            bail!("{command:?} did not end within {limit:?}");
        }
        std::thread::sleep(POLL);
    };
    let said = fs::read_to_string(err.path()).unwrap_or_default();
    let last = said.lines().take(3).collect::<Vec<_>>().join(" | ");
    ensure!(status.success(), "{command:?} failed: {last}");
    Ok(fs::read_to_string(out.path())? + &said)
}

/// The same for a program whose first line is JSON.
pub(crate) fn json(command: &mut Command, limit: Duration) -> Result<Value> {
    let text = output(command, limit)?;
    let line = text.lines().next().context("read the answer")?;
    Ok(serde_json::from_str(line)?)
}

/// Counts the processor time of a set of processes: by a control group to the nanosecond where one
/// can be made, else from /proc in ticks of 10 ms.
#[derive(Debug)]
pub(crate) struct Meter {
    group: Option<PathBuf>,
    ids: Vec<u32>,
}

impl Meter {
    /// Of none where there are no ids.
    pub(crate) fn of(ids: Vec<u32>) -> Self {
        if ids.is_empty() {
            return Meter { group: None, ids };
        }
        let number = GROUPS.fetch_add(1, Ordering::Relaxed);
        let name = format!("rotpeter-bench-{}-{number}", std::process::id());
        let group = Path::new("/sys/fs/cgroup/cpuacct").join(name);
        let made = fs::create_dir(&group).and_then(|()| {
            ids.iter()
                .try_for_each(|id| fs::write(group.join("cgroup.procs"), id.to_string()))
        });
        if made.is_err() {
            let _never_was = fs::remove_dir(&group);
        }
        Meter {
            group: made.is_ok().then_some(group),
            ids,
        }
    }

    /// Processor seconds used since the meter was made; only differences mean something.
    pub(crate) fn seconds(&self) -> Result<f64> {
        if let Some(group) = &self.group {
            let nanos = fs::read_to_string(group.join("cpuacct.usage"))?;
            return Ok(nanos.trim().parse::<f64>()? / 1e9);
        }
        self.ids.iter().map(|id| proc_seconds(*id)).sum()
    }

    /// Memory that is theirs, shared pages divided among sharers, in MiB.
    pub(crate) fn pss_mb(&self) -> Result<f64> {
        self.ids.iter().map(|id| proc_pss_mb(*id)).sum()
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(group) = &self.group {
            // Processes that still run go back to where all are.
            for id in &self.ids {
                let _gone = fs::write("/sys/fs/cgroup/cpuacct/cgroup.procs", id.to_string());
            }
            let _busy = fs::remove_dir(group);
        }
    }
}

fn proc_seconds(id: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let rest = text.rsplit(')').next().context("read the processor time")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // Fields 14 and 15 of the line; the two before the last bracket are gone.
    let at = |index: usize| -> Result<f64> {
        let field = fields.get(index).context("read the processor time")?;
        Ok(field.parse::<f64>()?)
    };
    Ok((at(11)? + at(12)?) / TICKS_PER_SECOND)
}

fn proc_pss_mb(id: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .context("find Pss")?;
    let kb = line.split_whitespace().next().context("find Pss")?;
    Ok(kb.parse::<f64>()? / 1024.0)
}
