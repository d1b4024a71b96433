//! File systems that lose power, fill up, freeze: real ones, in files, mounted for the test.
//!
//! Mounting needs rights that not every machine grants; a test that cannot have them says so.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base::chance::Chance;
use base::disk::{Disk, Open, SystemDisk};
use bytes::Bytes;
use harness::peers::skipped;
use harness::ports::free_port;
use harness::process::{Process, program};
use harness::tool;
use harness::wait;
use protocol::batch::{BatchBuilder, Codec};

use crate::kills::{Acknowledged, WriterProgram, check, rounds};
use crate::wire::{LATEST, Refused, Wire};

/// Reached by failures only.
const LIMIT: Duration = Duration::from_secs(90);

/// A file system in a file. Unmounted when dropped.
struct Mount {
    image: PathBuf,
    at: PathBuf,
}

fn succeeds(program: &str, words: &[&str]) -> bool {
    let output = Command::new(program).args(words).output();
    output.is_ok_and(|output| output.status.success())
}

impl Mount {
    /// `None`, after having said so, where this machine does not let us.
    fn new(dir: &Path, kind: &str, name: &str, megabytes: u64) -> Option<Mount> {
        let mount = Mount {
            image: dir.join(format!("{name}.img")),
            at: dir.join(name),
        };
        let file = std::fs::File::create(&mount.image).unwrap();
        file.set_len(megabytes << 20).unwrap();
        std::fs::create_dir(&mount.at).unwrap();
        let image = mount.image.to_str().unwrap();
        let made = succeeds(&format!("mkfs.{kind}"), &["-q", image]);
        if !(made && mount.mount()) {
            skipped(&format!(
                "this machine does not let us mount {kind} from a file"
            ));
            return None;
        }
        // Apache, and we, refuse a directory among the logs that is no partition's.
        let _only_on_ext4 = std::fs::remove_dir(mount.at.join("lost+found"));
        Some(mount)
    }

    fn mount(&self) -> bool {
        let (image, at) = (self.image.to_str().unwrap(), self.at.to_str().unwrap());
        succeeds("mount", &["-o", "loop", image, at])
    }

    fn unmount(&self) {
        let at = self.at.to_str().unwrap();
        // Whoever had files open here was killed a moment ago.
        wait::until("the mount to be free", LIMIT, || {
            succeeds("umount", &[at]).then_some(())
        });
    }

    /// What has not reached the disk never will; whoever writes gets errors.
    fn cut_power(&self) {
        let at = self.at.to_str().unwrap();
        assert!(succeeds("xfs_io", &["-x", "-c", "shutdown", at]));
    }

    /// Takes all the room that is left, with the file it gives.
    fn fill(&self) -> PathBuf {
        let filler = self.at.join("filler");
        let _full = std::io::copy(
            &mut std::io::Read::take(std::io::repeat(1), 64 << 20),
            &mut std::fs::File::create(&filler).unwrap(),
        );
        filler
    }

    /// Until what it gives is dropped: who waits for a frozen file system cannot even be killed.
    fn freeze(&self) -> Frozen<'_> {
        assert!(succeeds("fsfreeze", &["-f", self.at.to_str().unwrap()]));
        Frozen(self)
    }
}

struct Frozen<'a>(&'a Mount);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let at = self.0.at.to_str().unwrap();
        let thawed = succeeds("fsfreeze", &["-u", at]);
        assert!(thawed || std::thread::panicking(), "{at} stays frozen");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let at = self.at.to_str().unwrap();
        let _unmounted = succeeds("umount", &["-l", at]);
    }
}

#[test]
fn a_power_cut_leaves_what_was_flushed_and_cuts_only_tails() {
    if !succeeds("xfs_io", &["-V"]) {
        return skipped("xfs_io, of xfsprogs, is missing: nothing here can cut the power");
    }
    let rounds = rounds("ROTPETER_POWER_CUTS", 3);
    for kind in ["ext4", "xfs"] {
        let dir = tempfile::tempdir().unwrap();
        // One of the logs keeps all that is written in all rounds.
        let Some(mount) = Mount::new(dir.path(), kind, "disk", 400 + 5 * rounds) else {
            continue;
        };
        let logs = mount.at.join("logs");
        let mut acknowledged = Acknowledged::new();
        let (mut lost, began) = (0, Instant::now());
        for round in 0..rounds {
            let run = Duration::from_millis(150 + Chance::seeded(round).below(800));
            WriterProgram::start(&logs).cut_after(run, &mut acknowledged, || mount.cut_power());
            mount.unmount();
            assert!(mount.mount(), "the journal replays");
            if logs.exists() {
                lost += check(&logs, &mut acknowledged, true, round % 3 == 0).lost;
            }
        }
        println!(
            "{kind}: {rounds} power cuts in {:?}: nothing flushed lost; {lost} records of logs that \
             are not flushed; {acknowledged:?}",
            began.elapsed()
        );
        assert!(acknowledged["durable"] > 0);
    }
}

/// How often the device below a mount was asked to empty its cache.
fn flushes(mount: &Mount) -> u64 {
    let at = mount.at.to_str().unwrap();
    let device = tool::done(Command::new("findmnt").args(["-no", "SOURCE", at]), "");
    let name = device.trim().trim_start_matches("/dev/");
    let stat = std::fs::read_to_string(format!("/sys/block/{name}/stat")).unwrap();
    // Documentation/block/stat.rst: the sixteenth of its words.
    stat.split_whitespace().nth(15).unwrap().parse().unwrap()
}

#[test]
fn a_sync_of_a_file_system_empties_the_cache_of_its_device_even_of_blocks_written_over() {
    for kind in ["ext4", "xfs"] {
        let dir = tempfile::tempdir().unwrap();
        let Some(mount) = Mount::new(dir.path(), kind, "disk", 400) else {
            continue;
        };
        let file_system = SystemDisk.file_system(&mount.at).unwrap();
        assert!(file_system.is_thorough());
        let file = SystemDisk
            .open(&mount.at.join("log"), Open::Create)
            .unwrap();
        file.write_at(&[0; 1 << 18], 0).unwrap();
        file.sync().unwrap();
        let before = flushes(&mount);
        // One after the other within a tick of the clock by which files are dated.
        for block in 0..64 {
            file.write_at(&[1; 4096], block * 4096).unwrap();
            file_system.sync().unwrap();
        }
        let came = flushes(&mount) - before;
        assert!(came >= 64, "{kind}: {came}");
    }
}

/// One batch of one record of `bytes`.
fn batch(bytes: usize) -> Bytes {
    let mut batch = BatchBuilder::new(Codec::None);
    batch
        .push(wait::began_ms(), Some(b"key"), Some(&vec![7; bytes]), &[])
        .unwrap();
    batch.build().unwrap()
}

/// A broker over two directories.
pub(crate) struct Broker {
    pub(crate) process: Process,
    pub(crate) port: u16,
    /// The same at each start: by it a broker knows the ZooKeeper that holds its former session.
    coordinator_port: u16,
    metrics_port: u16,
    root: PathBuf,
    dirs: [PathBuf; 2],
    limits: Vec<String>,
}

/// What a broker rightly says of a disk that is full, fails or was cut off, and without descriptors.
const FAILING: [&str; 8] = [
    "log directory is offline",
    "replicas lie on a failed log directory",
    "order not applied",
    "no leader",
    "leader to follow is not alive",
    "cut a torn tail",
    "cannot accept connections; raise the limit of open files",
    "a log did not close cleanly",
];

impl Broker {
    pub(crate) fn start(root: &Path, dirs: [&Path; 2], limits: &[&str]) -> Broker {
        let mut broker = Broker {
            process: Process::start(Command::new("true"), &root.join("nobody.log")),
            port: free_port(),
            coordinator_port: free_port(),
            metrics_port: free_port(),
            root: root.to_path_buf(),
            dirs: dirs.map(Path::to_path_buf),
            limits: limits.iter().map(|&word| word.to_owned()).collect(),
        };
        broker.restart();
        broker
    }

    pub(crate) fn restart(&mut self) {
        let broker = program("broker");
        let mut command = match self.limits.split_first() {
            None => Command::new(broker),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(broker);
                command
            }
        };
        let dirs = format!("{},{}", self.dirs[0].display(), self.dirs[1].display());
        command.current_dir(&self.root);
        for set in [
            format!("listeners=PLAINTEXT://127.0.0.1:{}", self.port),
            format!("coordinator.port={}", self.coordinator_port),
            format!("metrics.port={}", self.metrics_port),
            format!(
                "coordinator.data.dir={}",
                self.root.join("coordinator").display()
            ),
            format!("log.dirs={dirs}"),
            "zookeeper.session.timeout.ms=6000".to_owned(),
        ] {
            command.args(["--override", &set]);
        }
        self.process = Process::start(command, &self.root.join("broker.log"));
        self.process.announce(&FAILING);
        self.process.wait_for_port(self.port);
    }

    /// A topic with a partition in each directory: gives the partition in the first, and in the second.
    fn spread(&self, wire: &mut Wire, topic: &str, configs: &[(&str, &str)]) -> (i32, i32) {
        wire.create_topic(topic, 2, configs);
        let zero_is_first = self.dirs[0].join(format!("{topic}-0")).exists();
        if zero_is_first { (0, 1) } else { (1, 0) }
    }
}

#[test]
fn a_start_on_a_full_disk_ends_at_once_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let Some(small) = Mount::new(dir.path(), "ext4", "small", 48) else {
        return;
    };
    let data = small.at.join("data");
    let ports = [free_port(), free_port()];
    let command = || {
        let mut command = Command::new(program("broker"));
        command.current_dir(dir.path()).arg("--data-dir").arg(&data);
        for set in [
            format!("listeners=PLAINTEXT://127.0.0.1:{}", ports[0]),
            format!("coordinator.port={}", ports[1]),
        ] {
            command.args(["--override", &set]);
        }
        command
    };
    let refused = || {
        let began = Instant::now();
        let output = tool::run(&mut command(), "");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        // Not for as long as a ZooKeeper is waited for that does not answer.
        assert!(began.elapsed() < Duration::from_secs(15), "{said}");
        said
    };
    let filler = small.fill();
    let said = refused();
    assert!(said.contains("No space left on device"), "{said}");
    std::fs::remove_file(filler).unwrap();

    let mut first = Process::start(command(), &dir.path().join("broker.log"));
    first.wait_for_log("started (kafka.server.KafkaServer)");
    assert!(first.terminate(LIMIT).success());
    let filler = small.fill();
    let said = refused();
    assert!(said.contains("Make room there"), "{said}");
    std::fs::remove_file(filler).unwrap();

    let mut again = Process::start(command(), &dir.path().join("broker.log"));
    again.wait_for_log("started (kafka.server.KafkaServer)");
}

#[test]
fn a_full_disk_takes_only_its_own_directory_offline_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(small) = Mount::new(dir.path(), "ext4", "small", 48) else {
        return;
    };
    let (full, healthy) = (small.at.join("logs"), dir.path().join("healthy"));
    let mut broker = Broker::start(dir.path(), [&full, &healthy], &[]);
    let mut wire = Wire::open(broker.port);
    let (there, elsewhere) = broker.spread(&mut wire, "t", &[]);
    for _ in 0..20 {
        wire.produce("t", there, batch(1000));
        wire.produce("t", elsewhere, batch(1000));
    }
    let filler = small.fill();
    let mut acknowledged = 20;
    let refused = loop {
        match wire.try_produce("t", there, 1, batch(100_000)) {
            Ok(offset) => acknowledged = offset + 1,
            Err(refused) => break refused,
        }
        assert!(acknowledged < 2000, "the disk does not fill");
    };
    // KAFKA_STORAGE_ERROR, or NOT_LEADER_OR_FOLLOWER where the controller was quicker.
    assert!(
        matches!(refused, Refused::Code(56 | 6)),
        "a full disk is answered with {refused:?}"
    );
    for _ in 0..50 {
        wire.produce("t", elsewhere, batch(1000));
    }
    assert!(!broker.process.has_ended());
    assert!(broker.process.terminate(LIMIT).success());
    assert!(
        !full.join(".kafka_cleanshutdown").exists(),
        "a false clean marker"
    );
    assert!(healthy.join(".kafka_cleanshutdown").exists());

    std::fs::remove_file(&filler).unwrap();
    broker.restart();
    let mut wire = Wire::open(broker.port);
    wire.await_leader("t", there);
    wire.await_leader("t", elsewhere);
    let (_, end, _) = wire.offset_at("t", there, LATEST, 0).unwrap();
    assert!(
        end >= acknowledged,
        "{acknowledged} acknowledged, {end} there"
    );
    assert_eq!(wire.offset_at("t", elsewhere, LATEST, 0).unwrap().1, 70);
    wire.read_all("t", there);
    wire.produce("t", there, batch(1000));
}

#[test]
fn a_disk_that_fails_takes_only_its_own_directory_offline_and_comes_back_with_all_it_promised() {
    if !succeeds("xfs_io", &["-V"]) {
        return skipped("xfs_io, of xfsprogs, is missing: nothing here can make a disk fail");
    }
    let dir = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::new(dir.path(), "ext4", "failing", 64) else {
        return;
    };
    let (failing, healthy) = (mount.at.join("logs"), dir.path().join("healthy"));
    let mut broker = Broker::start(dir.path(), [&failing, &healthy], &[]);
    let mut wire = Wire::open(broker.port);
    let (there, elsewhere) = broker.spread(&mut wire, "t", &[("flush.messages", "1")]);
    for _ in 0..20 {
        wire.produce("t", there, batch(1000));
        wire.produce("t", elsewhere, batch(1000));
    }
    // From here on every call of that file system ends with EIO.
    mount.cut_power();
    let refused = wire.try_produce("t", there, 1, batch(1000)).unwrap_err();
    // KAFKA_STORAGE_ERROR, or NOT_LEADER_OR_FOLLOWER where the controller was quicker.
    assert!(
        matches!(refused, Refused::Code(56 | 6)),
        "a failing disk is answered with {refused:?}"
    );
    for _ in 0..50 {
        wire.produce("t", elsewhere, batch(1000));
    }
    let log = broker.process.log();
    let offline = log
        .lines()
        .filter(|line| line.contains("the log directory is offline"))
        .count();
    assert_eq!(offline, 1, "one directory, said once");
    assert!(!broker.process.has_ended());
    assert!(broker.process.terminate(LIMIT).success());
    assert!(healthy.join(".kafka_cleanshutdown").exists());

    mount.unmount();
    assert!(mount.mount(), "the journal replays");
    broker.restart();
    let mut wire = Wire::open(broker.port);
    wire.await_leader("t", there);
    wire.await_leader("t", elsewhere);
    let (_, end, _) = wire.offset_at("t", there, LATEST, 0).unwrap();
    assert!(end >= 20, "20 acknowledged and on the disk, {end} there");
    assert_eq!(wire.offset_at("t", elsewhere, LATEST, 0).unwrap().1, 70);
    wire.read_all("t", there);
    wire.produce("t", there, batch(1000));
}

#[test]
fn too_few_descriptors_take_no_directory_offline() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = ["a", "b"].map(|name| dir.path().join(name));
    let limits = ["prlimit", "--nofile=160:160"];
    let mut broker = Broker::start(dir.path(), [&dirs[0], &dirs[1]], &limits);
    let mut wire = Wire::open(broker.port);
    wire.create_topic("many", 120, &[]);
    // Strangers take what descriptors there are.
    let address = format!("127.0.0.1:{}", broker.port);
    let mut strangers = Vec::new();
    for round in 0..3 {
        while strangers.len() < 60 * (round + 1) {
            let Ok(stranger) = std::net::TcpStream::connect(&address) else {
                break;
            };
            strangers.push(stranger);
        }
        for partition in 0..120 {
            wait::until("a produce to get through", LIMIT, || {
                wire.try_produce("many", partition, 1, batch(200)).ok()
            });
        }
    }
    drop(strangers);
    let log = broker.process.log();
    assert!(
        !log.contains("log directory is offline"),
        "EMFILE took a directory"
    );
    assert!(!broker.process.has_ended());
    let mut wire = Wire::open(broker.port);
    for partition in 0..120 {
        wire.await_leader("many", partition);
        assert!(wire.offset_at("many", partition, LATEST, 0).unwrap().1 >= 3);
    }
    assert!(broker.process.terminate(LIMIT).success());
}

/// Produces to one partition until told to stop; gives how long each took, sorted.
fn latencies(port: u16, partition: i32, stop: &AtomicBool) -> Vec<Duration> {
    let mut wire = Wire::open(port);
    let mut took = Vec::new();
    let records = batch(1000);
    while !stop.load(Ordering::Acquire) {
        let began = Instant::now();
        if wire.try_produce("t", partition, 1, records.clone()).is_ok() {
            took.push(began.elapsed());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    took.sort_unstable();
    took
}

fn p99(sorted: &[Duration]) -> Duration {
    assert!(!sorted.is_empty(), "not one produce was answered");
    sorted[sorted.len() * 99 / 100]
}

/// Latencies of `partition` over `time`.
fn measure(port: u16, partition: i32, time: Duration) -> Vec<Duration> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| latencies(port, partition, &stop));
        std::thread::sleep(time);
        stop.store(true, Ordering::Release);
        running.join().unwrap()
    })
}

#[test]
fn a_frozen_file_system_holds_up_its_own_directory_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let Some(frozen) = Mount::new(dir.path(), "ext4", "frozen", 200) else {
        return;
    };
    let (cold, warm) = (frozen.at.join("logs"), dir.path().join("warm"));
    let mut broker = Broker::start(dir.path(), [&cold, &warm], &[]);
    let port = broker.port;
    let mut wire = Wire::open(port);
    let (there, elsewhere) = broker.spread(&mut wire, "t", &[]);
    let time = Duration::from_secs(rounds("ROTPETER_FREEZE_SECONDS", 4));
    let normal = measure(port, elsewhere, time);
    let freeze = frozen.freeze();
    let stop = AtomicBool::new(false);
    let (during, stuck) = std::thread::scope(|scope| {
        // Several at once, more than there are workers.
        let stuck: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| latencies(port, there, &stop)))
            .collect();
        let during = measure(port, elsewhere, time);
        drop(freeze);
        // The frozen one goes on; a moment later everybody stops.
        std::thread::sleep(Duration::from_millis(500));
        stop.store(true, Ordering::Release);
        let stuck: usize = stuck
            .into_iter()
            .map(|running| running.join().unwrap().len())
            .sum();
        (during, stuck)
    });
    println!(
        "healthy directory: p99 {:?} (n {}) before, p99 {:?}, worst {:?} (n {}) during; the frozen one \
         took {stuck} after the thaw",
        p99(&normal),
        normal.len(),
        p99(&during),
        during.last().unwrap(),
        during.len(),
    );
    // The bound is far from the figures: other tests share the machine. Stuck would be all the time.
    assert!(
        p99(&during) < p99(&normal) * 2 + time / 2,
        "the healthy directory was held up"
    );
    assert!(stuck > 0, "the frozen directory does not come back");
    wire.produce("t", there, batch(1000));
    assert!(broker.process.terminate(LIMIT).success());
}

#[test]
fn a_stop_while_a_file_system_is_frozen_ends_the_other_directory_cleanly_and_leaves_the_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let Some(frozen) = Mount::new(dir.path(), "ext4", "frozen", 200) else {
        return;
    };
    let (cold, warm) = (frozen.at.join("logs"), dir.path().join("warm"));
    let mut broker = Broker::start(dir.path(), [&cold, &warm], &[]);
    broker
        .process
        .announce(&["takes long to close", "some clients did not take"]);
    let mut wire = Wire::open(broker.port);
    let (there, elsewhere) = broker.spread(&mut wire, "t", &[]);
    for partition in [there, elsewhere] {
        wire.produce("t", partition, batch(1000));
    }
    let metrics = format!("127.0.0.1:{}", broker.metrics_port);
    let freeze = frozen.freeze();
    let port = broker.port;
    // Hangs in its write, and holds what whoever measures would ask.
    let stuck = std::thread::spawn(move || {
        let answer = Wire::open(port).try_produce("t", there, 1, batch(1000));
        answer.is_ok()
    });
    wait::until("a call to hang", LIMIT, || {
        let said = scrape(&metrics);
        let slow = said
            .lines()
            .any(|line| line.starts_with("rotpeter_log_directory_slow{") && line.ends_with(" 1"));
        slow.then_some(())
    });
    let began = Instant::now();
    let said = scrape(&metrics);
    let end = format!("kafka_log_log_logendoffset{{partition=\"{elsewhere}\",topic=\"t\"}} 1");
    assert!(said.contains(&end), "{said}");
    // Where everything lies is told too, to whoever wants to move it away.
    assert_eq!(wire.log_dirs("t"), 2);
    assert!(began.elapsed() < Duration::from_secs(5));
    broker.process.signal("TERM");
    wait::until("the other directory's clean end", LIMIT, || {
        warm.join(".kafka_cleanshutdown").exists().then_some(())
    });
    wait::until("the broker to leave the cluster", LIMIT, || {
        // Its coordinator goes last.
        std::net::TcpStream::connect(("127.0.0.1", broker.coordinator_port))
            .is_err()
            .then_some(())
    });
    assert!(!broker.process.has_ended());
    println!("the rest of the broker took {:?} to stop", began.elapsed());
    drop(freeze);
    assert!(broker.process.wait_for_exit(LIMIT).success());
    let _cut_off = stuck.join();
    assert!(cold.join(".kafka_cleanshutdown").exists());
}

/// What is told by `/metrics`.
fn scrape(at: &str) -> String {
    let mut stream = std::net::TcpStream::connect(at).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said
}
