//! The committed counts: one line a case, name and instructions a request.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

/// A case may cost this much more than its baseline.
const SLACK_PERCENT: u64 = 5;

const HEAD: &str = "\
# Instructions a request, counted by `bench/gate`; written by `bench/gate --bless`.
# A case that costs over 5 % more fails. Explain a new baseline in its commit.
";

pub(crate) fn read(path: &Path) -> Result<BTreeMap<String, u64>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (name, count) = line
                .split_once(' ')
                .with_context(|| format!("read the line {line:?}"))?;
            Ok((name.to_owned(), count.trim().parse()?))
        })
        .collect()
}

/// Keeps the lines of cases that were not counted this time.
pub(crate) fn write(path: &Path, counted: &[(String, u64)]) -> Result<()> {
    let mut all = if path.exists() {
        read(path)?
    } else {
        BTreeMap::new()
    };
    all.extend(counted.iter().cloned());
    let mut text = HEAD.to_owned();
    for (name, count) in all {
        writeln!(text, "{name:<24} {count}")?;
    }
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// The table to show, and whether nothing has become too dear. A case without a baseline fails.
pub(crate) fn compare(known: &BTreeMap<String, u64>, counted: &[(String, u64)]) -> (String, bool) {
    let mut table = format!(
        "{:<24} {:>14} {:>14} {:>8}\n",
        "case", "instructions", "baseline", "change"
    );
    let mut passed = true;
    for (name, count) in counted {
        let Some(&before) = known.get(name) else {
            passed = false;
            table += &format!(
                "{name:<24} {count:>14} {:>14} {:>8}  NO BASELINE\n",
                "-", "-"
            );
            continue;
        };
        let change = (*count as f64 / before as f64 - 1.0) * 100.0;
        let slack = before.saturating_mul(SLACK_PERCENT) / 100;
        let dearer = *count > before.saturating_add(slack);
        passed &= !dearer;
        let verdict = match *count {
            _ if dearer => "  TOO DEAR",
            count if count < before - slack => "  cheaper: bless it",
            _ => "",
        };
        table += &format!("{name:<24} {count:>14} {before:>14} {change:>+7.1}%{verdict}\n");
    }
    (table, passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> BTreeMap<String, u64> {
        BTreeMap::from([("produce".to_owned(), 1_000)])
    }

    #[test]
    fn five_percent_more_is_let_through_and_six_are_not() {
        assert!(compare(&known(), &[("produce".to_owned(), 1_050)]).1);
        assert!(!compare(&known(), &[("produce".to_owned(), 1_060)]).1);
    }

    #[test]
    fn a_case_without_a_baseline_fails() {
        assert!(!compare(&known(), &[("fetch".to_owned(), 1)]).1);
    }
}
