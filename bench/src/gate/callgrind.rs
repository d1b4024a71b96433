//! Runs cases under callgrind and reads what it counted.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::cases::Case;

/// Counting begins and ends with this function.
const MEASURED: &str = "gate::cases::measured*";

/// Instructions a request of every case, in their order, two at a time.
pub(crate) fn count_all(cases: &[&Case]) -> Result<Vec<(String, u64)>> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, u64)>> {
        let mut mine = Vec::new();
        loop {
            let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some(case) = cases.get(index) else {
                return Ok(mine);
            };
            mine.push((index, count(case)?));
        }
    };
    let mut counts = std::thread::scope(|scope| {
        let both = [scope.spawn(work), scope.spawn(work)];
        let mut counts = Vec::new();
        for one in both {
            match one.join() {
                Ok(mine) => counts.extend(mine?),
                Err(_) => bail!("a thread of the gate panicked"),
            }
        }
        Ok(counts)
    })?;
    counts.sort_unstable();
    let named = |(index, count): (usize, u64)| (cases[index].name.to_owned(), count);
    Ok(counts.into_iter().map(named).collect())
}

fn count(case: &Case) -> Result<u64> {
    let dir = tempfile::tempdir()?;
    let out = dir.path().join("out");
    let ended = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--toggle-collect={MEASURED}"))
        .args(case.thread().map(|run| format!("--toggle-collect={run}")))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe()?)
        .args(["measure", case.name])
        .stdin(Stdio::null())
        .output()
        .context("start valgrind; is it installed?")?;
    if !ended.status.success() {
        bail!(
            "case {} failed:\n{}",
            case.name,
            String::from_utf8_lossy(&ended.stderr)
        );
    }
    let total = collected(&std::fs::read_to_string(&out)?)?;
    ensure!(
        total > 0,
        "case {}: {MEASURED} was never entered",
        case.name
    );
    Ok(total / case.measured_requests())
}

fn collected(text: &str) -> Result<u64> {
    let count = text
        .lines()
        .find_map(|line| line.strip_prefix("summary: "))
        .context("find callgrind's summary")?;
    Ok(count.trim().parse()?)
}
