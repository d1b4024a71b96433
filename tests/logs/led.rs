//! Many partitions led by one broker with the descriptors a process gets by default: what they take to be
//! made, how much memory an idle one costs in all rooms together, and how fast they are there again after
//! a stop and after a kill.
//!
//! Prints what it measured; `.ci/long` asks for fifty thousand.

use std::time::{Duration, Instant};

use bytes::Bytes;
use harness::wait;
use protocol::batch::{BatchBuilder, Codec};

use crate::kills::rounds;
use crate::mounts::Broker;
use crate::wire::{LATEST, Wire};

const TOPICS: i32 = 5;
/// What most machines give a process, and less than there are partitions where those are few.
const GRANTED: (&str, usize) = ("--nofile=1024:4096", 4096);
const LITTLE: (&str, usize) = ("--nofile=200:400", 400);
/// So many partitions of each topic are written to, as far apart as can be.
const WRITTEN: i32 = 20;
/// An idle partition in all rooms together: log, replica, metadata, controller, and its znodes.
const IDLE_BYTES_MAX: u64 = 8 * 1024;
/// What a broker takes besides, while it makes many.
const BESIDES_BYTES: u64 = 32 << 20;
const PATIENCE: Duration = Duration::from_secs(300);

fn batch() -> Bytes {
    let mut batch = BatchBuilder::new(Codec::None);
    batch
        .push(wait::began_ms(), Some(b"key"), Some(&[7; 100]), &[])
        .unwrap();
    batch.build().unwrap()
}

fn name(topic: i32) -> String {
    format!("many-{topic}")
}

fn resident_bytes(broker: &Broker) -> u64 {
    let status = format!("/proc/{}/status", broker.process.id());
    let status = std::fs::read_to_string(status).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap() << 10
}

fn open_files(broker: &Broker) -> usize {
    let folder = format!("/proc/{}/fd", broker.process.id());
    std::fs::read_dir(folder).unwrap().count()
}

/// Those that are written to.
fn chosen(each: i32) -> impl Iterator<Item = (String, i32)> {
    let step = usize::try_from((each / WRITTEN).max(1)).unwrap();
    (0..TOPICS).flat_map(move |topic| (0..each).step_by(step).map(move |at| (name(topic), at)))
}

/// One record more in each of them, once it is led.
fn write(wire: &mut Wire, each: i32, before: i64) {
    for (topic, partition) in chosen(each) {
        let offset = wait::until("a partition that is led", PATIENCE, || {
            wire.try_produce(&topic, partition, -1, batch()).ok()
        });
        assert_eq!(offset, before, "{topic}-{partition}");
    }
}

/// The last partition of all is led, which the controller sees to last.
fn await_all(wire: &mut Wire, each: i32) {
    for topic in 0..TOPICS {
        for partition in 0..each {
            let topic = name(topic);
            wait::until("a partition that is led", PATIENCE, || {
                wire.offset_at(&topic, partition, LATEST, 0).ok()
            });
        }
    }
}

#[test]
fn one_broker_leads_many_partitions_with_few_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = ["a", "b"].map(|name| dir.path().join(name));
    let count = i32::try_from(rounds("ROTPETER_PARTITIONS", 500)).unwrap();
    let each = count / TOPICS;
    let (limits, files_max) = if count < 5_000 { LITTLE } else { GRANTED };
    let mut broker = Broker::start(dir.path(), [&dirs[0], &dirs[1]], &["prlimit", limits]);
    let mut wire = Wire::open(broker.port);
    wire.create_topic("first", 1, &[]);
    let alone = resident_bytes(&broker);

    let began = Instant::now();
    for topic in 0..TOPICS {
        wire.create_topic(&name(topic), each, &[]);
    }
    let tell = |what: &str, began: Instant, broker: &Broker| {
        println!(
            "{count} partitions: {what} {:.1} s; {} MiB resident, {} files open",
            began.elapsed().as_secs_f64(),
            resident_bytes(broker) >> 20,
            open_files(broker)
        );
    };
    tell("made and led in", began, &broker);
    let grown = resident_bytes(&broker).saturating_sub(alone);
    println!(
        "{} bytes a partition",
        grown / u64::from(count.unsigned_abs())
    );
    let bound = IDLE_BYTES_MAX * u64::from(count.unsigned_abs()) + BESIDES_BYTES;
    assert!(grown < bound, "{grown} bytes for {count} partitions");
    write(&mut wire, each, 0);
    assert!(open_files(&broker) < files_max);

    let began = Instant::now();
    assert!(broker.process.terminate(PATIENCE).success());
    println!("stopped in {:.1} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    broker.restart();
    wire = Wire::open(broker.port);
    write(&mut wire, each, 1);
    tell("there after a stop in", began, &broker);
    await_all(&mut wire, each);
    tell("all asked after", began, &broker);

    broker.process.kill_9();
    let began = Instant::now();
    broker.restart();
    wire = Wire::open(broker.port);
    write(&mut wire, each, 2);
    tell("there after kill -9 in", began, &broker);
    await_all(&mut wire, each);
    assert!(open_files(&broker) < files_max);
    assert!(broker.process.terminate(PATIENCE).success());
    let log = broker.process.log();
    assert!(
        !log.contains("log directory is offline"),
        "too few descriptors took a directory"
    );
}
