//! The machines of the play: a ZooKeeper of either make, brokers of either make.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::loud;
use harness::peers;
use harness::ports::free_port;
use harness::process::{Process, program};
use harness::wait;

use crate::ask;

/// Long enough that a loaded machine does not lose sessions by itself, short enough to wait for.
pub(crate) const SESSION_MS: u32 = 6_000;
const LIMIT: Duration = Duration::from_secs(120);

/// Whose ZooKeeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Make {
    Apache,
    Ours,
}

/// A ZooKeeper in a process of its own, on a port it finds again after a restart.
pub(crate) struct ZooKeeper {
    make: Make,
    dir: PathBuf,
    pub(crate) port: u16,
    pub(crate) process: Process,
}

impl ZooKeeper {
    /// `None`, loudly, where Apache's is not installed.
    pub(crate) fn start(make: Make, dir: &Path) -> Option<ZooKeeper> {
        let port = free_port();
        let process = Self::launch(make, dir, port)?;
        Some(ZooKeeper {
            make,
            dir: dir.to_path_buf(),
            port,
            process,
        })
    }

    pub(crate) fn restart(&mut self) {
        self.process = Self::launch(self.make, &self.dir, self.port).unwrap();
    }

    /// Everything it knew is gone at its next start.
    pub(crate) fn forget(&self) {
        std::fs::remove_dir_all(self.dir.join("zookeeper")).unwrap();
    }

    fn launch(make: Make, dir: &Path, port: u16) -> Option<Process> {
        let data = dir.join("zookeeper");
        std::fs::create_dir_all(&data).unwrap();
        let file = dir.join("zoo.cfg");
        let text = format!(
            "tickTime=1000\nmaxClientCnxns=0\nadmin.enableServer=false\n4lw.commands.whitelist=*\n\
             dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n",
            data.display()
        );
        std::fs::write(&file, text).unwrap();
        let mut command = match make {
            Make::Ours => Command::new(program("coordinator")),
            Make::Apache => {
                let home = peers::installed("zookeeper-3.9")?;
                let mut command = Command::new(home.join("bin/zkServer.sh"));
                command.env("KAFKA_HEAP_OPTS", "-Xmx256m").env(
                    "KAFKA_JVM_PERFORMANCE_OPTS",
                    "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
                );
                command
            }
        };
        command.current_dir(dir).arg(&file);
        let mut process = Process::start(command, &dir.join("zookeeper.log"));
        process.announce(&["no meaning here keys=\"admin.enableServer\""]);
        process.wait_for_port(port);
        Some(process)
    }
}

/// What else a broker rightly says in these scenarios.
const TROUBLES: [&str; 2] = [
    "Set, and not obeyed yet",
    "the data of this broker belongs to cluster",
];

/// A broker, ours or Apache's.
pub(crate) struct Broker {
    make: Make,
    pub(crate) id: i32,
    pub(crate) port: u16,
    pub(crate) dir: PathBuf,
    connect: String,
    settings: Vec<String>,
    pub(crate) process: Process,
}

impl Broker {
    /// Starts it and waits until it serves. `connect` is ZooKeeper's port.
    pub(crate) fn start(
        make: Make,
        root: &Path,
        id: i32,
        connect: u16,
        settings: &[&str],
    ) -> Option<Broker> {
        let dir = root.join(format!("broker-{id}"));
        std::fs::create_dir_all(&dir).unwrap();
        let (port, connect) = (free_port(), format!("127.0.0.1:{connect}"));
        let settings: Vec<String> = settings.iter().map(|&text| text.to_owned()).collect();
        let process = launch(make, &dir, id, port, &connect, &settings)?;
        let mut broker = Broker {
            make,
            id,
            port,
            dir,
            connect,
            settings,
            process,
        };
        broker.wait_until_it_serves();
        Some(broker)
    }

    /// Again, on the same data and port.
    pub(crate) fn restart(&mut self) {
        self.launch_again();
        self.wait_until_it_serves();
    }

    pub(crate) fn launch_again(&mut self) {
        self.process = launch(
            self.make,
            &self.dir,
            self.id,
            self.port,
            &self.connect,
            &self.settings,
        )
        .unwrap();
    }

    pub(crate) fn wait_until_it_serves(&mut self) {
        let deadline = Instant::now() + LIMIT;
        let mut last = String::new();
        while Instant::now() < deadline {
            match ask::cluster(self.port) {
                Ok((controller, brokers)) if controller >= 0 && brokers.contains(&self.id) => {
                    return;
                }
                Ok(told) => last = format!("{told:?}"),
                Err(error) => last = error,
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!(
            "broker {} does not serve: {last}\n{}",
            self.id,
            self.process.log()
        );
    }

    pub(crate) fn log_dir(&self, topic: &str, index: i32) -> PathBuf {
        self.dir.join("data").join(format!("{topic}-{index}"))
    }
}

fn launch(
    make: Make,
    dir: &Path,
    id: i32,
    port: u16,
    connect: &str,
    settings: &[String],
) -> Option<Process> {
    let mut all = vec![
        format!("broker.id={id}"),
        format!("listeners=PLAINTEXT://127.0.0.1:{port}"),
        format!("zookeeper.connect={connect}"),
        format!("log.dirs={}", dir.join("data").display()),
        format!("zookeeper.session.timeout.ms={SESSION_MS}"),
        "offsets.topic.replication.factor=1".to_owned(),
        "transaction.state.log.replication.factor=1".to_owned(),
        "transaction.state.log.min.isr=1".to_owned(),
        "auto.create.topics.enable=false".to_owned(),
        // No election of its own in the middle of a scenario.
        "auto.leader.rebalance.enable=false".to_owned(),
    ];
    all.extend(settings.iter().cloned());
    let file = dir.join("server.properties");
    std::fs::write(&file, all.join("\n")).unwrap();
    let mut command = match make {
        Make::Ours => Command::new(program("broker")),
        Make::Apache => peers::apache_tool("kafka-3.9", "kafka-server-start")?,
    };
    command.current_dir(dir).arg(&file);
    let mut process = Process::start(command, &dir.join("broker.log"));
    process.announce(&TROUBLES);
    process.announce(&loud::OF_NEIGHBOURS);
    process.announce(&loud::AFTER_A_KILL);
    Some(process)
}

/// Asks until the answer fits; panics with the last one.
pub(crate) fn eventually<T: std::fmt::Debug>(
    what: &str,
    mut ask: impl FnMut() -> Result<T, String>,
    fits: impl Fn(&T) -> bool,
) -> T {
    let mut last = String::new();
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        match ask() {
            Ok(answer) if fits(&answer) => return answer,
            other => last = format!("{other:?}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("waited {LIMIT:?} in vain: {what}; last was {last}");
}

/// Waits for a fact that is only true or not.
pub(crate) fn soon(what: &str, mut fact: impl FnMut() -> bool) {
    wait::until(what, LIMIT, || fact().then_some(()));
}
