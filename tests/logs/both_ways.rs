//! Each broker opens the other's directories, healthy, killed and in the middle of a compaction, and
//! shows every byte, offset, time and epoch as the other did; and both compact to the same.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use harness::ports::free_port;
use harness::wait;
use protocol::batch::split;

use crate::apache::{Coordinator, copy, settings, start_apache, start_ours};
use crate::wire::{EARLIEST, LATEST, Wire};
use crate::written::{Sender, Writer};

/// Everything a broker says of one partition.
#[derive(PartialEq)]
struct Told {
    earliest: i64,
    latest: i64,
    stable: i64,
    /// Producer and first offset.
    aborted: Vec<(i64, i64)>,
    /// What ListOffsets gives for moments all over the log.
    by_time: Vec<(i64, (i64, i64, i32))>,
    /// Where each epoch that has records ends.
    epochs: Vec<(i32, (i32, i64))>,
    batches: Bytes,
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let heads = split(&self.batches).map(|batch| {
            let batch = batch.unwrap();
            (batch.header().base_offset.0, batch.last_offset().0)
        });
        f.debug_struct("Told")
            .field("earliest", &self.earliest)
            .field("latest", &self.latest)
            .field("stable", &self.stable)
            .field("aborted", &self.aborted)
            .field("by_time", &self.by_time)
            .field("epochs", &self.epochs)
            .field("batches", &heads.collect::<Vec<_>>())
            .finish()
    }
}

/// Reached by failures only.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

const PARTITIONS: [(&str, i32); 8] = [
    ("plain", 0),
    ("plain", 1),
    ("stamped", 0),
    ("trimmed", 0),
    ("transactions", 0),
    ("old-v0", 0),
    ("old-v1", 0),
    ("compacted", 0),
];

fn told(wire: &mut Wire, name: &str, partition: i32) -> Told {
    wire.await_leader(name, partition);
    let batches = wire.read_all(name, partition);
    let (mut moments, mut epochs) = (vec![0, -3], Vec::new());
    for batch in split(&batches) {
        let batch = batch.unwrap();
        let header = batch.header();
        moments.extend([header.max_timestamp_ms, header.max_timestamp_ms + 1]);
        if header.magic >= 2 && epochs.last() != Some(&header.leader_epoch.0) {
            epochs.push(header.leader_epoch.0);
        }
    }
    moments.sort_unstable();
    moments.dedup();
    // A few dozen are enough, and the last ones the most telling.
    let step = moments.len() / 40 + 1;
    let last = moments.len().saturating_sub(3);
    let chosen = moments.iter().enumerate();
    let chosen = chosen.filter(|(at, _)| at % step == 0 || *at >= last);
    let by_time = chosen
        .map(|(_, &at)| (at, wire.offset_at(name, partition, at, 0).unwrap()))
        .collect();
    let start = earliest(wire, name, partition);
    let aborted = aborted(wire, name, partition, &batches);
    let epochs = epochs
        .into_iter()
        .map(|epoch| (epoch, wire.epoch_end(name, partition, epoch)))
        .collect();
    Told {
        earliest: start,
        latest: wire.offset_at(name, partition, LATEST, 0).unwrap().1,
        stable: wire.offset_at(name, partition, LATEST, 1).unwrap().1,
        aborted,
        by_time,
        epochs,
        batches,
    }
}

/// All aborted transactions a reader of the whole log is told of. How far one answer reaches is the
/// broker's own affair, so it is asked again from many places.
fn aborted(wire: &mut Wire, name: &str, partition: i32, batches: &Bytes) -> Vec<(i64, i64)> {
    let mut all = Vec::new();
    for batch in split(batches).step_by(5) {
        let from = batch.unwrap().header().base_offset.0;
        let from = from.max(earliest(wire, name, partition));
        let fetched = wire.fetch(name, partition, from, 1).unwrap();
        for one in fetched.aborted_transactions.unwrap_or_default() {
            all.push((one.producer_id.0, one.first_offset));
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

fn earliest(wire: &mut Wire, name: &str, partition: i32) -> i64 {
    wire.offset_at(name, partition, EARLIEST, 0).unwrap().1
}

fn tell_all(wire: &mut Wire, besides: &[&str]) -> Vec<(String, Told)> {
    PARTITIONS
        .iter()
        .filter(|(name, _)| !besides.contains(name))
        .map(|(name, partition)| (format!("{name}-{partition}"), told(wire, name, *partition)))
        .collect()
}

fn same(what: &str, expected: &[(String, Told)], found: &[(String, Told)]) {
    assert_eq!(expected.len(), found.len());
    for ((name, expected), (_, found)) in expected.iter().zip(found) {
        let same_bytes = expected.batches == found.batches;
        assert_eq!(expected, found, "{what}: {name}; bytes equal: {same_bytes}");
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn create_topics(wire: &mut Wire) {
    let small = [
        ("segment.bytes", "24000"),
        ("index.interval.bytes", "500"),
        ("retention.ms", "-1"),
    ];
    let with = |more: &[(&'static str, &'static str)]| [&small[..], more].concat();
    wire.create_topic("plain", 2, &with(&[]));
    let stamped = [
        ("message.timestamp.type", "LogAppendTime"),
        ("compression.type", "lz4"),
    ];
    wire.create_topic("stamped", 1, &with(&stamped));
    for name in ["trimmed", "transactions", "old-v0", "old-v1"] {
        wire.create_topic(name, 1, &with(&[]));
    }
    // Never dirty enough, until it is told otherwise.
    let compacted = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "1.0"),
    ];
    wire.create_topic("compacted", 1, &with(&compacted));
}

/// One more helping of everything; `round` keeps sequences apart.
fn write_all(wire: &mut Wire, seed: u64, round: i16) {
    let mut writer = Writer::new(seed, now_ms() - 3_600_000 + i64::from(round) * 600_000);
    for number in 0..60usize {
        let sender = Sender {
            producer: 500,
            epoch: round,
            sequence: i32::try_from(number).unwrap() * 20,
            transactional: false,
        };
        wire.produce("plain", 0, writer.any(20, sender));
        wire.produce("plain", 1, writer.any(1 + number % 9, Sender::NOBODY));
        wire.produce("stamped", 0, writer.any(1 + number % 5, Sender::NOBODY));
        wire.produce("trimmed", 0, writer.any(1 + number % 30, Sender::NOBODY));
        wire.produce("compacted", 0, writer.keyed(25, 60, Sender::NOBODY));
    }
    transact(wire, &mut writer, round);
}

/// Interleaved transactions of three producers, each third one aborted; the last stays open.
fn transact(wire: &mut Wire, writer: &mut Writer, round: i16) {
    for topic in ["transactions", "compacted"] {
        let mut sequences = [0; 3];
        for number in 0..30usize {
            let at = number % 3;
            let sender = Sender {
                producer: 600 + at as i64,
                epoch: round,
                sequence: sequences[at],
                transactional: true,
            };
            sequences[at] += 4;
            wire.produce(topic, 0, writer.keyed(4, 40, sender));
            let ends = (number + 1) % 3;
            if number > 5 && number < 27 {
                wire.mark(topic, 600 + ends as i64, round, number % 9 > 2);
            }
        }
        // Whatever is open ends, but of one producer.
        for producer in [600, 602] {
            wire.mark(topic, producer, round, true);
        }
        if topic == "compacted" {
            wire.mark(topic, 601, round, false);
        }
    }
}

/// The segments Apache of old left behind; whoever opens them must find their indexes again.
fn plant_old_formats(logs: &Path) {
    for (name, set) in protocol::batch::corpus::logs(21) {
        if !name.starts_with('v') {
            continue;
        }
        let folder = logs.join(format!("old-{name}-0"));
        for kind in ["index", "timeindex"] {
            std::fs::remove_file(folder.join(format!("{:020}.{kind}", 0))).unwrap();
        }
        std::fs::write(folder.join(format!("{:020}.log", 0)), &set).unwrap();
    }
}

/// Waits until the cleaner has cleaned "compacted" up to its active segment.
pub(crate) fn await_cleaned(logs: &Path) {
    let bases = std::fs::read_dir(logs.join("compacted-0")).unwrap();
    let bases = bases.filter_map(|file| {
        let name = file.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".log")?.parse::<i64>().ok()
    });
    let active = bases.max().unwrap();
    await_noted(
        logs,
        "cleaner-offset-checkpoint",
        &format!("compacted 0 {active}"),
    );
}

/// Waits until a checkpoint has this line.
fn await_noted(logs: &Path, checkpoint: &str, line: &str) {
    let what = format!("{line:?} in {checkpoint}");
    wait::until(&what, LIMIT, || {
        let text = std::fs::read_to_string(logs.join(checkpoint)).ok()?;
        text.lines().any(|found| found == line).then_some(())
    });
}

/// A killed cleaner may have put cleaned segments in place already: what is left are records that were
/// there, and of each key the newest, where no transaction has a say in it.
fn same_but_for_what_was_cleaned(before: &Told, after: &Told) {
    assert_eq!(
        (before.earliest, before.latest, before.stable),
        (after.earliest, after.latest, after.stable)
    );
    let (before, after) = (keyed(&before.batches), keyed(&after.batches));
    for (offset, record) in &after {
        assert_eq!(before.get(offset), Some(record), "offset {offset}");
    }
    let newest: HashMap<_, _> = before
        .iter()
        .map(|(offset, record)| (&record.key, (offset, record)))
        .collect();
    for (offset, record) in newest.into_values() {
        if !record.transactional {
            assert_eq!(after.get(offset), Some(record), "offset {offset}");
        }
    }
}

/// A record of "compacted", as the cleaner sees it.
#[derive(Debug, PartialEq)]
struct Keyed {
    key: Option<Bytes>,
    value: Option<Bytes>,
    timestamp_ms: i64,
    transactional: bool,
}

/// All records but transaction markers, by offset.
fn keyed(batches: &Bytes) -> BTreeMap<i64, Keyed> {
    let mut all = BTreeMap::new();
    for batch in split(batches) {
        let batch = batch.unwrap();
        if batch.header().is_control() {
            continue;
        }
        for record in batch.records(1 << 24).unwrap() {
            let record = record.unwrap();
            let one = Keyed {
                key: record.key,
                value: record.value,
                timestamp_ms: record.timestamp_ms,
                transactional: batch.header().is_transactional(),
            };
            all.insert(record.offset.0, one);
        }
    }
    all
}

/// What compaction left: heads without the times that say when it ran, and every record.
pub(crate) fn survivors(batches: &Bytes) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in split(batches) {
        let batch = batch.unwrap();
        let header = batch.header();
        lines.push(format!(
            "batch {:?} {:?} producer {:?} {:?} {} control {} count {} horizon {}",
            header.base_offset,
            batch.last_offset(),
            header.producer_id,
            header.producer_epoch,
            header.base_sequence,
            header.is_control(),
            header.count,
            header.delete_horizon_ms().is_some(),
        ));
        for record in batch.records(1 << 24).unwrap() {
            let record = record.unwrap();
            lines.push(format!(
                "{:?} {} {:?} {:?}",
                record.offset, record.timestamp_ms, record.key, record.value
            ));
        }
    }
    lines
}

#[test]
#[ignore = "starts Apache's broker four times: with --all"]
fn each_broker_opens_the_others_directories_and_shows_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let coordinator = Coordinator::start(root);
    let (logs, port) = (root.join("logs"), free_port());
    let quiet = settings(&coordinator, &logs, &["log.cleaner.enable=false"]);

    // Apache writes, and dies in the middle of a compaction.
    let slowly = settings(
        &coordinator,
        &logs,
        &["log.cleaner.io.max.bytes.per.second=60000"],
    );
    let Some(mut apache) = start_apache(root, port, &slowly) else {
        return;
    };
    let mut wire = Wire::open(port);
    create_topics(&mut wire);
    write_all(&mut wire, 1, 0);
    wire.delete_records("trimmed", 333);
    await_noted(&logs, "log-start-offset-checkpoint", "trimmed 0 333");
    let mut before = tell_all(&mut wire, &["old-v0", "old-v1"]);
    wire.set_config("compacted", "min.cleanable.dirty.ratio", "0.01");
    wait::until("Apache to be compacting", LIMIT, || {
        let folder = std::fs::read_dir(logs.join("compacted-0")).unwrap();
        let mut names = folder.map(|file| file.unwrap().file_name().into_string().unwrap());
        names
            .any(|name| name.ends_with(".log.cleaned"))
            .then_some(())
    });
    apache.kill_9();
    plant_old_formats(&logs);
    copy(&logs, &root.join("killed"));

    // Ours on what is left; nothing may be missing. And it compacts.
    let mut ours = start_ours(root, port, &quiet);
    let mut wire = Wire::open(port);
    let mut found = tell_all(&mut wire, &["old-v0", "old-v1"]);
    let (compacted, cleaned) = (before.pop().unwrap(), found.pop().unwrap());
    assert_eq!(compacted.0, "compacted-0");
    same_but_for_what_was_cleaned(&compacted.1, &cleaned.1);
    same("Apache's killed directory in ours", &before, &found);
    for (name, set) in protocol::batch::corpus::logs(21) {
        if name.starts_with('v') {
            assert!(
                wire.read_all(&format!("old-{name}"), 0) == set,
                "old-{name}"
            );
        }
    }
    let old = tell_all(
        &mut wire,
        &["plain", "stamped", "trimmed", "transactions", "compacted"],
    );
    assert!(ours.terminate(LIMIT).success());
    let cleaning = settings(&coordinator, &logs, &[]);
    let mut ours = start_ours(root, port, &cleaning);
    await_cleaned(&logs);
    let mut wire = Wire::open(port);
    let ours_compacted = told(&mut wire, "compacted", 0);
    ours.kill_9();

    // Apache on the same wreck: the same old formats, the same survivors.
    std::fs::rename(&logs, root.join("compacted-by-ours")).unwrap();
    copy(&root.join("killed"), &logs);
    let mut apache = start_apache(root, port, &cleaning).unwrap();
    await_cleaned(&logs);
    let mut wire = Wire::open(port);
    let found = tell_all(
        &mut wire,
        &["plain", "stamped", "trimmed", "transactions", "compacted"],
    );
    same("old formats in Apache and in ours", &found, &old);
    let apaches_compacted = told(&mut wire, "compacted", 0);
    let (theirs, mine) = (
        survivors(&apaches_compacted.batches),
        survivors(&ours_compacted.batches),
    );
    for (at, (theirs, mine)) in theirs.iter().zip(&mine).enumerate() {
        assert_eq!(
            theirs, mine,
            "line {at} of what compaction left (Apache's, ours)"
        );
    }
    assert_eq!(theirs.len(), mine.len());
    write_all(&mut wire, 2, 1);
    await_cleaned(&logs);
    let healthy = tell_all(&mut wire, &["compacted"]);
    assert!(apache.terminate(LIMIT).code().is_some());

    // Ours on Apache's healthy directory; then ours writes, compacts, and stops.
    let mut ours = start_ours(root, port, &quiet);
    let mut wire = Wire::open(port);
    let found = tell_all(&mut wire, &["compacted"]);
    same("Apache's healthy directory in ours", &healthy, &found);
    assert!(ours.terminate(LIMIT).success());
    let mut ours = start_ours(root, port, &cleaning);
    let mut wire = Wire::open(port);
    write_all(&mut wire, 3, 2);
    wire.delete_records("trimmed", 700);
    await_cleaned(&logs);
    assert!(ours.terminate(LIMIT).success());
    let mut ours = start_ours(root, port, &quiet);
    let mut wire = Wire::open(port);
    let written = tell_all(&mut wire, &[]);
    assert!(ours.terminate(LIMIT).success());

    // Apache on ours, stopped well.
    let mut apache = start_apache(root, port, &quiet).unwrap();
    let mut wire = Wire::open(port);
    let found = tell_all(&mut wire, &[]);
    same("our healthy directory in Apache", &written, &found);
    assert!(apache.terminate(LIMIT).code().is_some());

    // And killed.
    let mut ours = start_ours(root, port, &quiet);
    let mut wire = Wire::open(port);
    write_all(&mut wire, 4, 3);
    let written = tell_all(&mut wire, &[]);
    ours.kill_9();
    let mut apache = start_apache(root, port, &quiet).unwrap();
    let mut wire = Wire::open(port);
    let found = tell_all(&mut wire, &[]);
    same("our killed directory in Apache", &written, &found);
    apache.kill_9();
}
