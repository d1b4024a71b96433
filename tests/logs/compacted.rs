//! What compaction leaves of keys and tombstones is what Apache's leaves, batch for batch.
//!
//! `tests/golden/logs/compacted.txt` holds what Apache Kafka 3.9.2 left of the same records, after
//! one pass and after a second that may remove tombstones. Ours is held against it; with --all so is
//! Apache's broker, and `BLESS=1` writes down anew what that leaves.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use harness::ports::free_port;
use harness::process::Process;

use crate::apache::{Coordinator, settings, start_apache, start_ours};
use crate::both_ways::{LIMIT, await_cleaned, survivors};
use crate::wire::Wire;
use crate::written::{Sender, Writer};

const NOW_MS: i64 = 1_700_000_000_000;
const TOPIC: &str = "compacted";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/logs/compacted.txt")
}

/// Writes and compacts twice, each time with a broker that cleans nothing while it writes; `None`
/// where there is no such broker.
fn left_by(start: impl Fn(&Path, u16, &[String]) -> Option<Process>) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let coordinator = Coordinator::start(root);
    let (logs, port) = (root.join("logs"), free_port());
    let quiet = settings(&coordinator, &logs, &["log.cleaner.enable=false"]);
    let cleaning = settings(&coordinator, &logs, &[]);
    let mut writer = Writer::new(17, NOW_MS);
    let mut left = String::new();
    for pass in 1..=2 {
        let mut writes = start(root, port, &quiet)?;
        let mut wire = Wire::open(port);
        if pass == 1 {
            let configs = [
                ("cleanup.policy", "compact"),
                ("segment.bytes", "8192"),
                ("min.cleanable.dirty.ratio", "0.01"),
                ("delete.retention.ms", "0"),
            ];
            wire.create_topic(TOPIC, 1, &configs);
        }
        wire.await_leader(TOPIC, 0);
        for _ in 0..20 {
            // Half of the keys come again, so that some tombstones are not superseded.
            let keys = if pass == 1 { 60 } else { 30 };
            wire.produce(TOPIC, 0, writer.keyed(25, keys, Sender::NOBODY));
        }
        let _code = writes.terminate(LIMIT);
        let mut cleans = start(root, port, &cleaning)?;
        let mut wire = Wire::open(port);
        wire.await_leader(TOPIC, 0);
        await_cleaned(&logs);
        writeln!(left, "pass {pass}").unwrap();
        for line in survivors(&wire.read_all(TOPIC, 0)) {
            writeln!(left, "{line}").unwrap();
        }
        let _code = cleans.terminate(LIMIT);
    }
    Some(left)
}

fn same(whose: &str, left: &str, expected: &str) {
    for (number, (left, expected)) in (1..).zip(left.lines().zip(expected.lines())) {
        assert_eq!(left, expected, "line {number} of what {whose} leaves");
    }
    assert_eq!(left.lines().count(), expected.lines().count());
}

#[test]
fn of_keys_and_tombstones_as_much_is_left_as_apache_leaves() {
    let expected = std::fs::read_to_string(golden()).unwrap();
    let tombstones = expected.lines().filter(|line| line.ends_with(" None"));
    assert!(tombstones.count() > 0, "it shows nothing of tombstones");
    let ours = left_by(|root, port, settings| Some(start_ours(root, port, settings))).unwrap();
    same("ours", &ours, &expected);
}

#[test]
#[ignore = "starts Apache's broker four times: with --all"]
fn apache_leaves_what_was_written_down() {
    let Some(left) = left_by(start_apache) else {
        return;
    };
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(golden(), left).unwrap();
        return;
    }
    same("Apache", &left, &std::fs::read_to_string(golden()).unwrap());
}
