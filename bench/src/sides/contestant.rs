//! The two sides: Rotpeter as it starts by default, with its coordinator inside, and Apache Kafka
//! 3.9 with ZooKeeper, at the defaults of its own scripts. Each in a fresh folder.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::machine::{self, CLIENT_CORE, SERVER_CORE, pin};
use crate::process::{Meter, Running, pause};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Ours,
    Kafka,
    Floor,
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Side::Ours => "ours",
            Side::Kafka => "Kafka",
            Side::Floor => "floor",
        }
    }
}

/// Programs and folders of the run.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// Where the load clients and the floor lie.
    pub(crate) programs: PathBuf,
    /// Where our broker and coordinator lie, built as they are shipped.
    pub(crate) shipped: PathBuf,
    pub(crate) peers: PathBuf,
    pub(crate) work: PathBuf,
}

impl Places {
    /// A load client on its core.
    pub(crate) fn load(&self) -> Command {
        let mut command = Command::new("taskset");
        command
            .args(["-c", CLIENT_CORE])
            .arg(self.programs.join("load"));
        command
    }

    pub(crate) fn floor(&self) -> PathBuf {
        self.programs.join("floor")
    }
}

/// What both brokers are told beside their addresses; everything else is default.
const SETTINGS: &str = "\
broker.id=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
log.segment.delete.delay.ms=1000
";

/// As bin/kafka-run-class.sh and bin/kafka-server-start.sh of the release have them.
const KAFKA_HEAP: &str = "-Xmx1g -Xms1g";
const ZOOKEEPER_HEAP: &str = "-Xmx512m -Xms512m";
const JVM: &str = "-server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 \
    -XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent";

/// How long a start may take.
const START_LIMIT: Duration = Duration::from_secs(90);
/// How long a clean stop may take; Kafka's with many partitions is slow.
const STOP_LIMIT: Duration = Duration::from_secs(240);

/// A broker with its coordinator, both running.
#[derive(Debug)]
pub(crate) struct Contestant {
    pub(crate) side: Side,
    pub(crate) address: String,
    pub(crate) dir: PathBuf,
    keeper_port: u16,
    port: u16,
    /// Dropped in this order: the meter lets go of them, the broker stops, then its coordinator.
    pub(crate) meter: Meter,
    broker: Running,
    keeper: Option<Running>,
    pub(crate) first_ack_ms: f64,
}

impl Contestant {
    /// Starts both programs at once and waits for the first acknowledged record.
    pub(crate) fn start(places: &Places, side: Side, name: &str) -> Result<Self> {
        let dir = places.work.join(name);
        let _never_was = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir)?;
        let (port, keeper_port) = (free_port()?, free_port()?);
        let address = format!("127.0.0.1:{port}");
        let waiting = first_ack(places, &address, "first", 1)?;
        let keeper = match side {
            Side::Kafka => Some(zookeeper(places, &dir, keeper_port)?),
            Side::Ours | Side::Floor => None,
        };
        let broker = broker(places, side, &dir, port, keeper_port)?;
        let mut started = Contestant {
            side,
            address,
            dir,
            keeper_port,
            port,
            meter: Meter::of(Vec::new()),
            broker,
            keeper,
            first_ack_ms: 0.0,
        };
        started.count();
        started.first_ack_ms = acked(waiting, &mut started)?;
        started.pin()?;
        Ok(started)
    }

    /// To the core where servers are measured.
    pub(crate) fn pin(&self) -> Result<()> {
        for running in [Some(&self.broker), self.keeper.as_ref()]
            .into_iter()
            .flatten()
        {
            pin(running.id(), SERVER_CORE)?;
        }
        Ok(())
    }

    pub(crate) fn alive(&mut self) -> bool {
        self.broker.alive() && self.keeper.as_mut().is_none_or(Running::alive)
    }

    /// Whether the log directory has folders of a topic, deleted ones included.
    pub(crate) fn has_files_of(&self, topic: &str) -> Result<bool> {
        let data = self.dir.join("data");
        let logs = match self.side {
            Side::Ours => data.join("broker"),
            Side::Kafka | Side::Floor => data,
        };
        let begins = format!("{topic}-");
        for entry in fs::read_dir(&logs).with_context(|| format!("list {}", logs.display()))? {
            if entry?.file_name().to_string_lossy().starts_with(&begins) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Ends the broker (ours takes its coordinator along), then measures from exec to the first
    /// acknowledged record with all partitions of `topic` led. An attempt that ends by itself
    /// (Kafka, while its old session lives) is made again; the last one counts.
    pub(crate) fn end_and_return(
        &mut self,
        places: &Places,
        end: End,
        (topic, partitions): (&str, i32),
    ) -> Result<Returned> {
        let asked = std::time::Instant::now();
        match end {
            End::Killed | End::KilledCold => self.broker.kill_hard(),
            End::Stopped => self.broker.stop(STOP_LIMIT)?,
        }
        let gone = std::time::Instant::now();
        let stop_ms = (gone - asked).as_secs_f64() * 1e3;
        if end == End::KilledCold {
            machine::forget_files(&self.dir)?;
        }
        let mut refused = 0;
        loop {
            let waiting = first_ack(places, &self.address, topic, partitions)?;
            self.broker = broker(places, self.side, &self.dir, self.port, self.keeper_port)?;
            self.count();
            let before = self.meter.seconds()?;
            if let Ok(ms) = acked(waiting, self) {
                let total_ms = gone.elapsed().as_secs_f64() * 1e3;
                let cpu_seconds = self.meter.seconds()? - before;
                self.pin()?;
                return Ok(Returned {
                    ms,
                    total_ms,
                    stop_ms,
                    cpu_seconds,
                });
            }
            refused += 1;
            if refused > 30 {
                bail!("the broker did not come back");
            }
            pause(Duration::from_secs(1))?;
        }
    }

    /// The meter counts the processes that run now.
    fn count(&mut self) {
        let ids = [
            Some(self.broker.id()),
            self.keeper.as_ref().map(Running::id),
        ];
        // The old one lets go of them first, or it would take them out of the new one's group.
        self.meter = Meter::of(Vec::new());
        self.meter = Meter::of(ids.into_iter().flatten().collect());
    }
}

/// How a broker ends before it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Stopped,
    Killed,
    /// Killed, and its files are no longer in memory.
    KilledCold,
}

/// How long a broker took to come back: its last start, and all of them with the waits between.
pub(crate) struct Returned {
    pub(crate) ms: f64,
    pub(crate) total_ms: f64,
    /// From the signal to its end.
    pub(crate) stop_ms: f64,
    /// Of the last start.
    pub(crate) cpu_seconds: f64,
}

/// A load client that waits for an acknowledgement, and where its answer will stand.
struct Waiting {
    client: Running,
    answer: PathBuf,
}

fn first_ack(places: &Places, address: &str, topic: &str, partitions: i32) -> Result<Waiting> {
    let answer = places.work.join("first-ack.json");
    let _never_was = fs::remove_file(&answer);
    let mut command = places.load();
    command.args(["first-ack", address, "--topic", topic]);
    command.args(["--partitions", &partitions.to_string()]);
    command.args(["--seconds-max", &START_LIMIT.as_secs().to_string()]);
    let client = Running::start(&mut command, &answer)?;
    Ok(Waiting { client, answer })
}

fn acked(mut waiting: Waiting, contestant: &mut Contestant) -> Result<f64> {
    while waiting.client.alive() {
        if !contestant.broker.alive() {
            bail!(
                "the broker of {} ended; see its log",
                contestant.side.name()
            );
        }
        pause(Duration::from_millis(20))?;
    }
    let said = fs::read_to_string(&waiting.answer)?;
    let answer: Value = serde_json::from_str(said.lines().next().unwrap_or_default())
        .with_context(|| format!("wait for the first acknowledgement: {said}"))?;
    number(&answer, "first_ack_ms")
}

pub(crate) fn number(of: &Value, key: &str) -> Result<f64> {
    of.get(key)
        .and_then(Value::as_f64)
        .with_context(|| format!("find {key} in {of}"))
}

fn broker(places: &Places, side: Side, dir: &Path, port: u16, keeper: u16) -> Result<Running> {
    let file = dir.join("server.properties");
    let listener = format!("listeners=PLAINTEXT://127.0.0.1:{port}\n");
    if side == Side::Ours {
        let own = format!("coordinator.port={keeper}\n");
        fs::write(&file, format!("{SETTINGS}{listener}{own}"))?;
        let mut command = Command::new(places.shipped.join("broker"));
        command.arg(&file).arg("--data-dir").arg(dir.join("data"));
        return Running::start(&mut command, &dir.join("broker.log"));
    }
    let own = format!(
        "zookeeper.connect=127.0.0.1:{keeper}\nlog.dirs={}\n",
        dir.join("data").display()
    );
    fs::write(&file, format!("{SETTINGS}{listener}{own}"))?;
    let mut command = Command::new(places.peers.join("kafka-3.9/bin/kafka-server-start.sh"));
    command.arg(&file).env("KAFKA_HEAP_OPTS", KAFKA_HEAP);
    command.env("KAFKA_JVM_PERFORMANCE_OPTS", JVM);
    Running::start(&mut command, &dir.join("broker.log"))
}

/// Apache ZooKeeper, alone.
pub(crate) fn zookeeper(places: &Places, dir: &Path, port: u16) -> Result<Running> {
    let data = dir.join("zookeeper");
    fs::create_dir_all(&data)?;
    let file = dir.join("zoo.cfg");
    let text = format!(
        "tickTime=2000\nmaxClientCnxns=0\nadmin.enableServer=false\ndataDir={}\nclientPort={port}\n\
         clientPortAddress=127.0.0.1\n",
        data.display()
    );
    fs::write(&file, text)?;
    let mut command = Command::new(places.peers.join("zookeeper-3.9/bin/zkServer.sh"));
    command.arg(&file).env("KAFKA_HEAP_OPTS", ZOOKEEPER_HEAP);
    command.env("KAFKA_JVM_PERFORMANCE_OPTS", "-server");
    Running::start(&mut command, &dir.join("zookeeper.log"))
}

/// Our coordinator, alone.
pub(crate) fn coordinator(places: &Places, dir: &Path, port: u16) -> Result<Running> {
    let file = dir.join("zoo.cfg");
    let data = dir.join("coordinator");
    let text = format!(
        "tickTime=2000\nmaxClientCnxns=0\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n",
        data.display()
    );
    fs::write(&file, text)?;
    let mut command = Command::new(places.shipped.join("coordinator"));
    Running::start(command.arg(&file), &dir.join("coordinator.log"))
}

/// A port below those the kernel gives to clients that nobody listens on.
pub(crate) fn free_port() -> Result<u16> {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 24_000 + (std::process::id() % 4_000) as u16;
    for _ in 0..500 {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 3_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port")
}
