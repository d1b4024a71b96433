//! Our programs as real processes: started, waited for, killed without mercy.

use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

pub use crate::ports::free_port;
use crate::{loud, wait};

/// How long a program may take to serve, a Java machine among them, where all others want the
/// processors too.
const START_LIMIT: Duration = Duration::from_secs(120);

/// One of the workspace's programs, as `tests/run` built it.
pub fn program(name: &str) -> PathBuf {
    let mut dir = std::env::current_exe().unwrap();
    dir.pop();
    if dir.ends_with("deps") {
        dir.pop();
    }
    let file = dir.join(name);
    assert!(
        file.exists(),
        "{} is missing: build it first, as tests/run does",
        file.display()
    );
    file
}

/// A copy of it in the folder. Written by `cp`: what this process itself had open for writing could
/// not be run while a child that was forked meanwhile has not become another program.
pub fn program_copied(name: &str, folder: &Path) -> PathBuf {
    let copy = folder.join(name);
    let copied = Command::new("cp").arg(program(name)).arg(&copy).status();
    assert!(copied.unwrap().success(), "cp to {}", copy.display());
    copy
}

/// A running program; killed when dropped. Its test fails if it said anything at WARN or ERROR that
/// was not announced.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    /// How much of the log those before it wrote.
    before: usize,
    announced: Vec<String>,
}

impl Process {
    /// Starts `command` with both outputs in `log`, which is appended to.
    pub fn start(mut command: Command, log: &Path) -> Process {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let before = usize::try_from(file.metadata().unwrap().len()).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file);
        Process {
            child: command
                .spawn()
                .unwrap_or_else(|e| panic!("start {command:?}: {e}")),
            log: log.to_path_buf(),
            before,
            announced: Vec::new(),
        }
    }

    /// Warnings and errors that hold one of these texts are what its test provokes.
    pub fn announce(&mut self, texts: &[&str]) {
        let texts = texts.iter().map(|&text| text.to_owned());
        self.announced.extend(texts);
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// What it said itself, not those who wrote to the same file before it.
    fn own_log(&self) -> String {
        let log = std::fs::read(&self.log).unwrap();
        String::from_utf8_lossy(log.get(self.before..).unwrap_or_default()).into_owned()
    }

    /// Waits until the port answers; panics with the log if the program ends first.
    pub fn wait_for_port(&mut self, port: u16) {
        let what = format!("port {port}; its log is {}", self.log.display());
        wait::until(&what, START_LIMIT, || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("ended with {status} before it served:\n{}", self.log());
            }
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
        });
    }

    /// Waits until it has said `text` itself; panics with the log if the program ends first.
    pub fn wait_for_log(&mut self, text: &str) {
        wait::until(&format!("{text:?} in the log"), START_LIMIT, || {
            if self.own_log().contains(text) {
                return Some(());
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!(
                    "ended with {status} before it said {text:?}:\n{}",
                    self.log()
                );
            }
            None
        });
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Whoever is started again in its place may find what it left half done.
    pub fn kill_9(&mut self) {
        self.announce(&loud::AFTER_A_KILL);
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by name, as `kill -NAME`.
    pub fn signal(&self, name: &str) {
        // The shell's own: not every machine has it as a program.
        let status = Command::new("sh")
            .args(["-c", "kill -\"$0\" \"$1\"", name])
            .arg(self.id().to_string())
            .status()
            .unwrap();
        assert!(status.success(), "SIG{name} was not sent");
    }

    /// SIGSTOP, and waits until every thread stands still: the signal alone is answered before that.
    /// `signal("CONT")` lets it go on.
    pub fn freeze(&self) {
        self.signal("STOP");
        let tasks = format!("/proc/{}/task", self.id());
        wait::until("all threads to stand still", START_LIMIT, || {
            std::fs::read_dir(&tasks)
                .unwrap()
                .all(|task| stands_still(&task.unwrap().path()))
                .then_some(())
        });
    }

    /// SIGTERM, and the status it ended with.
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.signal("TERM");
        wait::until("the program to end after SIGTERM", limit, || {
            self.child.try_wait().unwrap()
        })
    }

    pub fn wait_for_exit(&mut self, limit: Duration) -> ExitStatus {
        wait::until("the program to end", limit, || {
            self.child.try_wait().unwrap()
        })
    }
}

/// Whether a thread is stopped, or gone: the state stands behind the name, which is in brackets.
fn stands_still(task: &Path) -> bool {
    let stat = std::fs::read_to_string(task.join("stat"));
    stat.map_or(true, |stat| {
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with(['T', 't']))
    })
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails where it has ended already, which is as good.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.len().saturating_sub(6_000);
            let from = (tail..log.len())
                .find(|at| log.is_char_boundary(*at))
                .unwrap_or(log.len());
            eprintln!("--- {}\n{}", self.log.display(), &log[from..]);
            return;
        }
        let said = self.own_log();
        let loud = loud::unannounced(&said, &self.announced);
        assert!(
            loud.is_empty(),
            "{} said, unannounced:\n{}",
            self.log.display(),
            loud.join("\n")
        );
    }
}

/// A broker with its embedded coordinator, in a folder of its own, on ports of its own.
#[derive(Debug)]
pub struct Single {
    pub process: Process,
    pub port: u16,
    pub coordinator_port: u16,
    dir: PathBuf,
    overrides: Vec<String>,
}

impl Single {
    pub fn start(dir: &Path, overrides: &[&str]) -> Single {
        Self::start_on(dir, free_port(), overrides)
    }

    /// On a port that was chosen before.
    pub fn start_on(dir: &Path, port: u16, overrides: &[&str]) -> Single {
        let coordinator_port = free_port();
        let overrides = overrides.iter().map(|&text| text.to_owned()).collect();
        let process = Self::launch(dir, port, coordinator_port, &overrides);
        Single {
            process,
            port,
            coordinator_port,
            dir: dir.to_path_buf(),
            overrides,
        }
    }

    /// Again on the same folder and ports; what was announced stays so.
    pub fn restart(&mut self) {
        let announced = self.process.announced.clone();
        self.process = Self::launch(&self.dir, self.port, self.coordinator_port, &self.overrides);
        self.process.announced = announced;
    }

    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn launch(dir: &Path, port: u16, coordinator_port: u16, overrides: &Vec<String>) -> Process {
        let mut command = Command::new(program("broker"));
        command
            .current_dir(dir)
            .arg("--data-dir")
            .arg(dir.join("data"));
        for set in [
            format!("listeners=PLAINTEXT://127.0.0.1:{port}"),
            format!("coordinator.port={coordinator_port}"),
        ] {
            command.args(["--override", &set]);
        }
        for set in overrides {
            command.args(["--override", set]);
        }
        let mut process = Process::start(command, &dir.join("broker.log"));
        // It says so of itself: a port may be answered by a stranger.
        process.wait_for_log("started (kafka.server.KafkaServer)");
        process.wait_for_port(port);
        process
    }
}
