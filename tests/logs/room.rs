//! A busy log in the durable mode has zeros behind its batches; whoever opens it after a kill goes on
//! where the batches end.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use harness::ports::free_port;
use harness::wait;
use protocol::batch::{BatchBuilder, Codec};

use crate::apache::{Coordinator, settings, start_apache, start_ours};
use crate::wire::{LATEST, Wire};

const NAME: &str = "durable";
const LIMIT: Duration = Duration::from_secs(120);

fn batch() -> Bytes {
    let mut batch = BatchBuilder::new(Codec::None);
    batch
        .push(wait::began_ms(), Some(b"key"), Some(&[7; 1000]), &[])
        .unwrap();
    batch.build().unwrap()
}

fn file(logs: &Path) -> Vec<u8> {
    let folder = logs.join(format!("{NAME}-0"));
    std::fs::read(folder.join("00000000000000000000.log")).unwrap()
}

fn ends_with_zeros(logs: &Path) -> bool {
    let bytes = file(logs);
    bytes.ends_with(&[0; 1000])
}

/// Produces for a while, and kills the broker while the log is busy.
fn busy_and_killed(root: &Path, port: u16, settings: &[String], logs: &Path) {
    // On a machine that stops for seconds the room may be given back before the kill.
    for _ in 0..20 {
        let mut ours = start_ours(root, port, settings);
        let mut wire = Wire::open(port);
        if !logs.join(format!("{NAME}-0")).exists() {
            wire.create_topic(NAME, 1, &[("flush.messages", "1")]);
        }
        wire.await_leader(NAME, 0);
        for _ in 0..200 {
            wire.produce(NAME, 0, batch());
        }
        ours.kill_9();
        if ends_with_zeros(logs) {
            return;
        }
    }
    panic!("no room was made for a busy log");
}

fn seen(port: u16) -> (Wire, i64, Bytes) {
    let mut wire = Wire::open(port);
    wire.await_leader(NAME, 0);
    let end = wire.offset_at(NAME, 0, LATEST, 0).unwrap().1;
    let bytes = wire.read_all(NAME, 0);
    (wire, end, bytes)
}

#[test]
fn after_a_kill_a_busy_durable_log_goes_on_where_its_batches_end() {
    let dir = tempfile::tempdir().unwrap();
    let (root, logs, port) = (dir.path(), dir.path().join("logs"), free_port());
    let coordinator = Coordinator::start(root);
    let settings = settings(&coordinator, &logs, &[]);
    busy_and_killed(root, port, &settings, &logs);
    let mut ours = start_ours(root, port, &settings);
    let (mut wire, end, bytes) = seen(port);
    assert_eq!(end % 200, 0, "every record was acknowledged");
    assert_eq!(wire.produce(NAME, 0, batch()), end);
    assert!(ours.terminate(LIMIT).success());
    let whole = file(&logs);
    assert!(whole.starts_with(&bytes) && whole.len() < bytes.len() + 2000);
    let said = ours.log();
    assert!(!said.contains("torn"), "zeros are no torn tail:\n{said}");
}

#[test]
#[ignore = "starts Apache's broker: with --all"]
fn apache_goes_on_where_the_batches_of_a_killed_durable_log_end() {
    let dir = tempfile::tempdir().unwrap();
    let (root, logs, port) = (dir.path(), dir.path().join("logs"), free_port());
    let coordinator = Coordinator::start(root);
    let settings = settings(&coordinator, &logs, &[]);
    busy_and_killed(root, port, &settings, &logs);
    let Some(mut apache) = start_apache(root, port, &settings) else {
        return;
    };
    let (mut wire, end, before) = seen(port);
    assert_eq!(end % 200, 0, "every record was acknowledged");
    assert_eq!(wire.produce(NAME, 0, batch()), end);
    assert!(apache.terminate(LIMIT).code().is_some());
    let mut ours = start_ours(root, port, &settings);
    let (_, now, bytes) = seen(port);
    assert_eq!(now, end + 1);
    assert!(bytes.starts_with(&before));
    assert!(ours.terminate(LIMIT).success());
}
