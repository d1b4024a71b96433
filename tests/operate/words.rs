//! What the log says: little while all is well, and what to do when it is not.

use crate::running::{LIMIT, Running};
use harness::wait;

#[test]
fn an_advertised_address_that_leads_nowhere_is_told_with_what_to_set() {
    // A label of a name has 63 letters at most: no resolver is asked, and none can know it.
    let nowhere = "n".repeat(64);
    let advertised = format!("advertised.listeners=PLAINTEXT://{nowhere}.invalid:9092");
    let mut running = Running::start(&[&advertised]);
    running
        .single
        .process
        .announce(&["does not resolve on this machine"]);
    running
        .single
        .process
        .wait_for_log("does not resolve on this machine");
    let log = running.single.process.log();
    assert!(
        log.contains("Set advertised.listeners=PLAINTEXT://HOST:PORT"),
        "{log}"
    );
    // Told, and started all the same.
    assert_eq!(running.get("/health").0, 200);
}

#[test]
fn a_quiet_life_has_no_warnings_and_few_lines() {
    let running = Running::start(&["num.partitions=20"]);
    running.does(&["topics", "--create", "--topic", "t"]);
    running.pass_through("t", &["a"]);
    wait::until("the group in the log", LIMIT, || {
        running.single.process.log().contains("group").then_some(())
    });
    let log = running.single.process.log();
    // That nothing was said at WARN or ERROR is the harness's law for every test.
    // A topic of twenty partitions, and the offsets' of fifty, are not seventy lines.
    let lines = log.lines().filter(|line| line.contains(" INFO ")).count();
    assert!(lines < 40, "{lines} lines:\n{log}");
    assert!(running.dir.path().exists());
}
