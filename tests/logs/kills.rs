//! A program that writes logs is killed again and again: what it was told is safe is there.
//!
//! The writer is this test program, started anew. Every record's value is its own offset, so a log
//! tells by itself whether it is whole; what was acknowledged comes through a pipe.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base::chance::Chance;
use base::clock::Clock;
use base::disk::SystemDisk;
use bytes::Bytes;
use harness::wait;
use protocol::batch::{BatchBuilder, Codec, split};
use protocol::ids::{LeaderEpoch, Offset, TopicPartition};
use storage::compaction::{CompactionConfig, Compactor, Halt};
use storage::config::{LogConfig, StoreConfig};
use storage::log::{Log, Origin, ReadRequest, Upto};
use storage::store::Store;

/// Where the writer writes; set for that program alone.
const WRITE_TO: &str = "ROTPETER_WRITE_UNTIL_KILLED";
const TOPICS: [&str; 4] = ["durable", "plain", "rolling", "compacted-durable"];
const START_LIMIT: Duration = Duration::from_secs(60);
const KEYS: i64 = 50;
/// Beyond so many records the older ones are deleted.
const KEPT_MAX: i64 = 20_000;

fn is_durable(topic: &str) -> bool {
    topic.ends_with("durable")
}

fn is_compacted(topic: &str) -> bool {
    topic.starts_with("compacted")
}

fn config_of(topic: &str) -> Arc<LogConfig> {
    let small = topic != "plain";
    Arc::new(LogConfig {
        segment_bytes: if small { 32 << 10 } else { 1 << 30 },
        index_interval_bytes: 512,
        flush_messages: if is_durable(topic) { 1 } else { i64::MAX },
        compact: is_compacted(topic),
        delete: !is_compacted(topic),
        min_cleanable_dirty_ratio: 0.1,
        file_delete_delay_ms: 0,
        ..LogConfig::default()
    })
}

fn open(dir: &Path) -> Store {
    let config = StoreConfig {
        dirs: vec![dir.to_path_buf()],
        recovery_checkpoint_ms: 30,
        start_checkpoint_ms: 30,
        retention_check_ms: 0,
        ..StoreConfig::default()
    };
    Store::open(SystemDisk::shared(), config, Clock::system(), &config_of).unwrap()
}

fn log_of(store: &Store, topic: &str) -> Arc<Log> {
    let tp = TopicPartition::new(topic, 0);
    store
        .log(&tp)
        .unwrap_or_else(|| store.create(&tp, None, config_of(topic), None).unwrap())
}

/// A batch whose records' values are their offsets, from `next` on.
fn batch(next: i64, chance: &mut Chance) -> Bytes {
    let codec = [Codec::None, Codec::Lz4][usize::try_from(chance.below(2)).unwrap()];
    let mut batch = BatchBuilder::new(codec);
    for offset in next..=next + i64::try_from(chance.below(6)).unwrap() {
        let key = format!("{}", offset % KEYS);
        let filler = usize::try_from(chance.below(120)).unwrap();
        let value = format!("{offset} {}", "x".repeat(filler));
        let pushed = batch.push(
            Clock::system().wall_ms(),
            Some(key.as_bytes()),
            Some(value.as_bytes()),
            &[],
        );
        pushed.unwrap();
    }
    batch.build().unwrap()
}

/// Not a test of anything by itself: the program the others start and kill.
#[test]
fn writes_until_it_is_killed_where_it_is_told_to() {
    let Some(dir) = std::env::var_os(WRITE_TO) else {
        return;
    };
    let store = open(Path::new(&dir));
    let compactor = Compactor::new(
        SystemDisk::shared(),
        Clock::system(),
        Chance::seeded(1).into(),
        CompactionConfig::default(),
    );
    std::thread::scope(|scope| {
        for topic in TOPICS {
            let log = log_of(&store, topic);
            scope.spawn(move || write_on(&log, topic));
        }
        // Upkeep goes on after a disk has failed, as it does in a broker.
        loop {
            store.housekeep();
            store.compact(&compactor, &Halt::default());
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}

/// Until the disk refuses.
fn write_on(log: &Log, topic: &str) {
    let mut chance = Chance::seeded(log.offsets().end.0.unsigned_abs() + 1);
    loop {
        let next = log.offsets().end.0;
        let set = batch(next, &mut chance);
        let Ok(appended) = log.append_as_leader(&set, LeaderEpoch(0), Origin::Client, None) else {
            return;
        };
        assert_eq!(appended.first_offset, Offset(next));
        if appended.flush_due && log.flush().is_err() {
            return;
        }
        log.set_high_watermark(appended.end);
        let told = writeln!(std::io::stdout(), "ack {topic} {}", appended.last_offset.0);
        if told.is_err() {
            return;
        }
        if !is_compacted(topic) && next - log.offsets().start.0 > KEPT_MAX {
            let before = Offset(next - KEPT_MAX / 2);
            if log.delete_records_before(before).is_err() {
                return;
            }
        }
    }
}

/// The last offset acknowledged, by topic.
pub(crate) type Acknowledged = HashMap<String, i64>;

/// A writer under way.
pub(crate) struct WriterProgram(Child);

impl WriterProgram {
    pub(crate) fn start(dir: &Path) -> WriterProgram {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "--exact",
                "kills::writes_until_it_is_killed_where_it_is_told_to",
            ])
            .arg("--nocapture")
            .env(WRITE_TO, dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        WriterProgram(command.spawn().unwrap())
    }

    /// Lets it write for `run`, kills it, and notes all it acknowledged.
    pub(crate) fn kill_after(self, run: Duration, acknowledged: &mut Acknowledged) {
        self.end_after(run, acknowledged, None::<fn()>);
    }

    /// Lets it write for `run`, then cuts the power, and notes what it had acknowledged until then: a
    /// sync that meets a forced shutdown of XFS may return as if all were well, and where real power
    /// goes nobody hears of that any more.
    pub(crate) fn cut_after(
        self,
        run: Duration,
        acknowledged: &mut Acknowledged,
        cut_power: impl FnOnce(),
    ) {
        self.end_after(run, acknowledged, Some(cut_power));
    }

    fn end_after(
        mut self,
        run: Duration,
        acknowledged: &mut Acknowledged,
        cut_power: Option<impl FnOnce()>,
    ) {
        let said = BufReader::new(self.0.stdout.take().unwrap());
        let heard = Arc::new(Mutex::new(Acknowledged::new()));
        let hearing = Arc::clone(&heard);
        let reading = std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                let mut words = line.split(' ');
                // A line the writer died in has no end that can be trusted; there is one at most,
                // and a shorter number only promises less.
                if let (Some("ack"), Some(topic), Some(Ok(offset))) =
                    (words.next(), words.next(), words.next().map(str::parse))
                {
                    hearing.lock().unwrap().insert(topic.to_owned(), offset);
                }
            }
        });
        // The first life of all is counted from when every topic was written to, however slow the
        // machine; the others from their start, so that they end there too.
        if acknowledged.is_empty() {
            wait::until("every topic to be written to", START_LIMIT, || {
                (heard.lock().unwrap().len() == TOPICS.len()).then_some(())
            });
        }
        std::thread::sleep(run);
        let before_the_cut = cut_power.map(|cut_power| {
            let before = heard.lock().unwrap().clone();
            cut_power();
            before
        });
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        reading.join().unwrap();
        let all = heard.lock().unwrap().clone();
        acknowledged.extend(before_the_cut.unwrap_or(all));
    }
}

/// What a check found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) records: u64,
    /// Acknowledged but not durable, and gone.
    pub(crate) lost: i64,
}

/// Opens the directory after a stop without mercy and holds it against what was acknowledged.
/// Where the `page_cache_died`, logs that are not durable may have lost their tails.
pub(crate) fn check(
    dir: &Path,
    acknowledged: &mut Acknowledged,
    page_cache_died: bool,
    stop_cleanly: bool,
) -> Found {
    let store = open(dir);
    assert!(store.set_aside().is_empty(), "{:?}", store.set_aside());
    let mut found = Found::default();
    for topic in TOPICS {
        let Some(log) = store.log(&TopicPartition::new(topic, 0)) else {
            assert!(!acknowledged.contains_key(topic), "{topic} is gone");
            continue;
        };
        let offsets = log.offsets();
        log.set_high_watermark(offsets.end);
        let newest = whole(&log, topic, &mut found);
        let last = acknowledged.get(topic).copied().unwrap_or(-1);
        if page_cache_died && !is_durable(topic) {
            found.lost += (last + 1 - offsets.end.0).max(0);
        } else {
            assert!(
                offsets.end.0 > last,
                "{topic}: {last} was acknowledged, {offsets:?}; on the disk: {:#?}",
                folder(&dir.join(format!("{topic}-0")))
            );
            if is_compacted(topic) {
                keys_are_there(&newest, last);
            }
        }
        acknowledged.insert(topic.to_owned(), offsets.end.0 - 1);
    }
    if stop_cleanly {
        let closed = store.close();
        assert!(closed.is_ok(), "{closed:?} {:?}", store.directories());
    }
    found
}

/// Names and sizes of what lies there.
fn folder(at: &Path) -> Vec<(String, u64)> {
    let files = std::fs::read_dir(at).unwrap().map(Result::unwrap);
    let mut files: Vec<_> = files
        .map(|file| {
            let name = file.file_name().to_string_lossy().into_owned();
            (name, file.metadata().unwrap().len())
        })
        .collect();
    files.sort_unstable();
    files
}

/// Every record is where it belongs; gives the newest offset of each key.
fn whole(log: &Log, topic: &str, found: &mut Found) -> HashMap<i64, i64> {
    let offsets = log.offsets();
    let mut next = offsets.start;
    let mut newest = HashMap::new();
    let mut is_first = true;
    while next < offsets.end {
        let request = ReadRequest {
            from: next,
            bytes_max: 1 << 20,
            min_one: true,
            upto: Upto::End,
        };
        let bytes = log.read(request).unwrap().read().unwrap();
        let before = next;
        for batch in split(&bytes) {
            let batch = batch.unwrap();
            batch.check_crc().unwrap();
            let base = batch.header().base_offset;
            // The first batch may begin below the start, which lies inside it.
            let follows = base == next || is_compacted(topic) || (is_first && base < next);
            assert!(follows, "{topic}: {base:?} follows {next:?}");
            is_first = false;
            for record in batch.records(1 << 20).unwrap() {
                let record = record.unwrap();
                let value = record.value.unwrap();
                let number = String::from_utf8_lossy(&value);
                let number: i64 = number.split(' ').next().unwrap().parse().unwrap();
                assert_eq!(number, record.offset.0, "{topic}");
                newest.insert(number % KEYS, number);
                found.records += 1;
            }
            next = batch.next_offset();
        }
        if next == before {
            assert!(
                is_compacted(topic),
                "{topic} ends at {next:?} before {offsets:?}"
            );
            break;
        }
    }
    newest
}

fn keys_are_there(newest: &HashMap<i64, i64>, last: i64) {
    for key in 0..KEYS.min(last + 1) {
        // The last acknowledged record of this key.
        let due = last - (last - key).rem_euclid(KEYS);
        let there = newest.get(&key).copied().unwrap_or(-1);
        assert!(
            there >= due,
            "key {key}: {due} was acknowledged, {there} is there"
        );
    }
}

/// A number from the environment, for the long forms.
pub(crate) fn rounds(name: &str, usual: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Acknowledged::new();
    let mut records = 0;
    let began = Instant::now();
    let rounds = rounds("ROTPETER_KILLS", 20);
    for round in 0..rounds {
        let run = Duration::from_millis(30 + Chance::seeded(round).below(170));
        WriterProgram::start(dir.path()).kill_after(run, &mut acknowledged);
        let found = check(dir.path(), &mut acknowledged, false, round % 3 == 0);
        records = found.records;
    }
    println!(
        "{rounds} kills in {:?}: 0 lost; {acknowledged:?}, {records} records at the end",
        began.elapsed()
    );
    for topic in TOPICS {
        assert!(acknowledged[topic] > 0, "nothing was written to {topic}");
    }
}
