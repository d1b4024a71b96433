//! The programs: which there are, what each library knows, and talking to one.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use harness::peers;

/// One client library in one release.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Library {
    pub(crate) name: &'static str,
    pub(crate) codecs: &'static [&'static str],
    pub(crate) joins: bool,
    pub(crate) static_members: bool,
    pub(crate) seeks: bool,
    pub(crate) idempotent: bool,
    /// Runs in the everyday form too.
    pub(crate) everyday: bool,
}

/// Longer than any client keeps silent, on a loaded machine: one that hangs fails its test by name.
const SILENCE_MAX: Duration = Duration::from_secs(180);

/// Records carry the times the tests give them, long ago.
pub(crate) const KEPT: &[(&str, &str)] = &[("retention.ms", "-1")];

const ALL_CODECS: &[&str] = &["-", "gzip", "snappy", "lz4", "zstd"];

const PLAIN: Library = Library {
    name: "",
    codecs: ALL_CODECS,
    joins: true,
    static_members: true,
    seeks: true,
    idempotent: true,
    everyday: false,
};

/// The same library once more, giving partitions up one by one; beside that it has been seen already.
const COOPERATIVE: Library = Library {
    codecs: &[],
    static_members: false,
    idempotent: false,
    ..PLAIN
};
/// Where the programs look for how to share partitions out.
const ASSIGNOR: &str = "ROTPETER_ASSIGNOR";

/// What is known of each library is what its own documentation says it can do.
pub(crate) const LIBRARIES: &[Library] = &[
    Library {
        name: "java-3.9",
        everyday: true,
        ..PLAIN
    },
    Library {
        name: "java-3.9-cooperative",
        ..COOPERATIVE
    },
    Library {
        name: "confluent-cooperative",
        ..COOPERATIVE
    },
    Library {
        name: "java-2.0",
        codecs: &["-", "gzip", "snappy", "lz4"],
        static_members: false,
        ..PLAIN
    },
    Library {
        name: "confluent",
        everyday: true,
        ..PLAIN
    },
    Library {
        name: "kafka-python-3.0",
        everyday: true,
        ..PLAIN
    },
    Library {
        name: "kafka-python-2.0",
        static_members: false,
        idempotent: false,
        ..PLAIN
    },
    Library {
        name: "aiokafka",
        everyday: true,
        ..PLAIN
    },
    Library {
        name: "kafkajs",
        static_members: false,
        ..PLAIN
    },
    Library {
        name: "kafka-go",
        static_members: false,
        seeks: false,
        idempotent: false,
        ..PLAIN
    },
    Library {
        name: "rskafka",
        joins: false,
        static_members: false,
        seeks: false,
        idempotent: false,
        ..PLAIN
    },
];

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("clients")
        .join(name)
}

/// Runs a builder to its end; panics with what it said if it fails.
fn build(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

impl Library {
    /// Its program, built where it must be; `None` after having said what is missing. `dir` keeps
    /// what was built, for the next one who asks.
    pub(crate) fn command(&self, dir: &Path, at: &str) -> Option<Command> {
        let mut command = match self.name {
            "java-3.9" => java("kafka-3.9", dir)?,
            "java-3.9-cooperative" => {
                let mut command = java("kafka-3.9", dir)?;
                let assignor = "org.apache.kafka.clients.consumer.CooperativeStickyAssignor";
                command.env(ASSIGNOR, assignor);
                command
            }
            "java-2.0" => java("java-2.0", dir)?,
            "confluent" => python("python", "confluent.py")?,
            "confluent-cooperative" => {
                let mut command = python("python", "confluent.py")?;
                command.env(ASSIGNOR, "cooperative-sticky");
                command
            }
            "kafka-python-3.0" => python("python", "kafka_python.py")?,
            "kafka-python-2.0" => python("python-old", "kafka_python.py")?,
            "aiokafka" => python("python", "aio.py")?,
            "kafkajs" => {
                let home = peers::installed("kafkajs")?;
                let mut command = Command::new(peers::program("node")?);
                command
                    .env("NODE_PATH", home.join("node_modules"))
                    .env("KAFKAJS_NO_PARTITIONER_WARNING", "1")
                    .arg(here("node/client.js"));
                command
            }
            "kafka-go" => {
                peers::installed("kafka-go")?;
                let client = dir.join("go-client");
                if !client.exists() {
                    let mut go = Command::new(peers::program("go")?);
                    build(
                        go.current_dir(here("go"))
                            .args(["build", "-o"])
                            .args([&client, Path::new(".")]),
                    );
                }
                Command::new(client)
            }
            "rskafka" => {
                let target = peers::installed("rskafka")?.join("target");
                build(
                    Command::new("cargo")
                        .args(["build", "--quiet", "--locked"])
                        .arg("--manifest-path")
                        .arg(here("rust/Cargo.toml"))
                        .arg("--target-dir")
                        .arg(&target),
                );
                Command::new(target.join("debug/rskafka-client"))
            }
            other => panic!("no program for {other}"),
        };
        command.arg(at);
        Some(command)
    }

    pub(crate) fn start(&self, dir: &Path, at: &str) -> Option<Program> {
        Some(Program::start(self.name, self.command(dir, at)?))
    }
}

fn java(release: &str, dir: &Path) -> Option<Command> {
    let libs = peers::installed(release)?.join("libs/*");
    let classes = dir.join(format!("classes-{release}"));
    if !classes.exists() {
        build(
            Command::new(peers::program("javac")?)
                .arg("-cp")
                .arg(&libs)
                .arg("-d")
                .args([&classes, &here("java/Client.java")]),
        );
    }
    let mut path = libs.into_os_string();
    path.push(":");
    path.push(&classes);
    let mut command = Command::new(peers::program("java")?);
    command
        .args([
            "-Xmx128m",
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-cp",
        ])
        .arg(path)
        .arg("Client");
    Some(command)
}

fn python(peer: &str, script: &str) -> Option<Command> {
    let mut command = Command::new(peers::installed(peer)?.join("bin/python"));
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(here("python").join(script));
    Some(command)
}

/// A record as all programs tell it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Told {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) timestamp: i64,
    pub(crate) headers: String,
}

impl Told {
    /// Reads one line of a program's.
    pub(crate) fn read(line: &str) -> Told {
        let words: Vec<&str> = line.split('\t').collect();
        let [partition, offset, key, value, timestamp, headers] = words[..] else {
            panic!("not a record: {line:?}");
        };
        Told {
            partition: partition.parse().unwrap(),
            offset: offset.parse().unwrap(),
            key: key.to_owned(),
            value: value.to_owned(),
            timestamp: timestamp.parse().unwrap(),
            headers: headers.to_owned(),
        }
    }

    /// As it is written in an order: without its offset.
    pub(crate) fn order(&self) -> String {
        let Told {
            partition,
            key,
            value,
            timestamp,
            headers,
            ..
        } = self;
        format!("{partition}\t{key}\t{value}\t{timestamp}\t{headers}\n")
    }
}

/// A running program; killed when dropped.
#[derive(Debug)]
pub(crate) struct Program {
    name: &'static str,
    child: Child,
    orders: ChildStdin,
    answers: Receiver<String>,
    errors: File,
}

impl Program {
    pub(crate) fn start(name: &'static str, mut command: Command) -> Program {
        let errors = tempfile::tempfile().unwrap();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors.try_clone().unwrap())
            .spawn()
            .unwrap_or_else(|e| panic!("start {command:?}: {e}"));
        let (said, answers) = channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Ends with the program, or with whom it tells.
        std::thread::spawn(move || {
            let mut lines = lines.map_while(Result::ok);
            lines.all(|line| said.send(line).is_ok())
        });
        Program {
            name,
            orders: child.stdin.take().unwrap(),
            answers,
            errors,
            child,
        }
    }

    /// Gives an order without waiting for its end.
    pub(crate) fn order(&mut self, order: &str) {
        let given = writeln!(self.orders, "{order}").and_then(|()| self.orders.flush());
        if let Err(e) = given {
            panic!("{} takes no orders: {e}\n{}", self.name, self.complaints());
        }
    }

    /// The next line, or `None` once the order is done.
    pub(crate) fn line(&mut self) -> Option<String> {
        let line = match self.answers.recv_timeout(SILENCE_MAX) {
            Ok(line) => line,
            Err(why) => {
                let ended = self.child.try_wait();
                panic!(
                    "{}: no answer, {why}; ended: {ended:?}\n{}",
                    self.name,
                    self.complaints()
                )
            }
        };
        if line.starts_with("error\t") {
            panic!("{}: {line}\n{}", self.name, self.complaints());
        }
        (line != "ok").then_some(line)
    }

    /// The end of what it wrote to its standard error.
    fn complaints(&self) -> String {
        let len = self.errors.metadata().map_or(0, |known| known.len());
        let mut tail = vec![0; 4_000];
        let read = self.errors.read_at(&mut tail, len.saturating_sub(4_000));
        String::from_utf8_lossy(&tail[..read.unwrap_or(0)]).into_owned()
    }

    /// Gives an order and waits for its end.
    pub(crate) fn obey(&mut self, order: &str) -> Vec<String> {
        self.order(order);
        std::iter::from_fn(|| self.line()).collect()
    }

    pub(crate) fn produce(&mut self, topic: &str, codec: &str, records: &[Told]) {
        let lines: String = records.iter().map(Told::order).collect();
        self.obey(&format!(
            "produce\t{topic}\t{codec}\t{}\n{}",
            records.len(),
            lines.trim_end_matches('\n')
        ));
    }

    pub(crate) fn read(
        &mut self,
        topic: &str,
        partition: i32,
        from: i64,
        count: usize,
    ) -> Vec<Told> {
        let lines = self.obey(&format!("read\t{topic}\t{partition}\t{from}\t{count}"));
        lines.iter().map(|line| Told::read(line)).collect()
    }

    pub(crate) fn poll(&mut self, ms: u32) -> Vec<Told> {
        let lines = self.obey(&format!("poll\t{ms}"));
        lines.iter().map(|line| Told::read(line)).collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}
