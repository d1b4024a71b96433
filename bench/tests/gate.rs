//! The gate as a test: no hot path costs over 5 % more instructions than its committed baseline.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Said past the test runner, which keeps to itself what a passing test prints.
fn skipped(why: &str) {
    let _nobody_listens = writeln!(std::io::stderr(), "\nSKIPPED gate: {why}");
}

#[test]
fn no_hot_path_costs_more_instructions_than_its_baseline_allows() {
    if cfg!(debug_assertions) {
        skipped("instruction counts mean something on the release profile only");
        return;
    }
    let there = Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|ended| ended.success());
    if !there {
        let required = std::env::var("ROTPETER_REQUIRE_PEERS").is_ok_and(|word| !word.is_empty());
        assert!(!required, "valgrind is not installed");
        skipped("valgrind is not installed");
        return;
    }
    let baseline = Path::new(env!("CARGO_MANIFEST_DIR")).join("gate.baseline");
    let ended = Command::new(env!("CARGO_BIN_EXE_gate"))
        .arg("--baseline")
        .arg(baseline)
        .output()
        .expect("the gate was built beside this test");
    let shown = String::from_utf8_lossy(&ended.stdout);
    println!("{shown}");
    assert!(
        ended.status.success(),
        "{shown}{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}
