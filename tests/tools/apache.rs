//! Apache's tools, brokers and ZooKeeper inside two JVMs, one for each release: `apache/Driver.java`.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use harness::asker::Asker;
use harness::peers;
use harness::ports::free_port;
use serde_json::{Value, json};

use crate::run::Place;
use crate::scenario::{Answer, Scenario, Step, sentence};

/// One JVM that runs what it is asked.
struct Driver {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    home: PathBuf,
    log: PathBuf,
}

/// Both releases, and the ZooKeeper their brokers share.
pub(crate) struct Apache {
    new: Driver,
    old: Driver,
    zookeeper: u16,
    started: u32,
    _dir: tempfile::TempDir,
}

impl Driver {
    fn start(home: PathBuf, classes: &Path) -> Driver {
        let log4j = home.join("config/tools-log4j.properties");
        let log = classes.join(format!("{}.log", home.file_name().unwrap().display()));
        let mut child = Command::new("java")
            .args([
                "-Xmx600m",
                "-XX:TieredStopAtLevel=1",
                "-XX:+UseSerialGC",
                "-Djava.security.manager=allow",
                "--add-opens=java.base/java.lang=ALL-UNNAMED",
            ])
            .arg(format!("-Dlog4j.configuration=file:{}", log4j.display()))
            .arg("-cp")
            .arg(format!("{}:{}/libs/*", classes.display(), home.display()))
            .arg("Driver")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Driver {
            to: child.stdin.take().unwrap(),
            from: BufReader::new(child.stdout.take().unwrap()),
            child,
            home,
            log,
        }
    }

    fn ask(&mut self, request: &Value) -> Value {
        let mut line = String::new();
        let told = writeln!(self.to, "{request}").and_then(|()| self.from.read_line(&mut line));
        let said = || std::fs::read_to_string(&self.log).unwrap_or_default();
        let answer: Value = serde_json::from_str(&line)
            .unwrap_or_else(|e| panic!("{request}: {told:?}, {e}: {line:?}\n{}", said()));
        assert!(
            answer.get("failed").is_none(),
            "{request}: {answer}\n{}",
            said()
        );
        answer
    }

    /// The class a release's script starts.
    fn class(&self, tool: &str) -> String {
        if matches!(tool, "zkCli" | "zookeeper-shell") {
            return "org.apache.zookeeper.ZooKeeperMain".to_owned();
        }
        let script = self.home.join("bin").join(format!("{tool}.sh"));
        let text =
            std::fs::read_to_string(&script).unwrap_or_else(|_| panic!("{tool} has no script"));
        let before = text.split("\"$@\"").next().unwrap();
        before.split_whitespace().next_back().unwrap().to_owned()
    }

    fn run(&mut self, step: &Step, place: &Place) -> Answer {
        let mut words = step.words();
        let mut tool = words.remove(0);
        if tool == "kafka-run-class" {
            tool = words.remove(0);
        } else {
            if tool == "zookeeper-shell" {
                words.insert(0, "-server".to_owned());
            }
            tool = self.class(&tool);
        }
        let args: Vec<String> = words.iter().map(|word| place.filled(word)).collect();
        let answer =
            self.ask(&json!({"main": tool, "args": args, "stdin": place.filled(&step.stdin)}));
        Answer {
            stdout: place.emptied(answer["stdout"].as_str().unwrap()),
            stderr: sentence(&place.emptied(answer["stderr"].as_str().unwrap())),
            code: i32::try_from(answer["code"].as_i64().unwrap()).unwrap(),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

impl Apache {
    /// `None` where a peer is missing, which was said.
    pub(crate) fn start() -> Option<Apache> {
        let (new, old) = (
            peers::installed("kafka-3.9")?,
            peers::installed("kafka-2.8")?,
        );
        peers::program("javac")?;
        let dir = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/apache/Driver.java");
        let compiled = Command::new("javac")
            .arg("-cp")
            .arg(format!("{}/libs/*", new.display()))
            .arg("-d")
            .arg(dir.path())
            .arg(source)
            .status()
            .unwrap();
        assert!(compiled.success());
        let mut apache = Apache {
            new: Driver::start(new, dir.path()),
            old: Driver::start(old, dir.path()),
            zookeeper: free_port(),
            started: 0,
            _dir: dir,
        };
        let data = apache._dir.path().join("zookeeper");
        std::fs::create_dir(&data).unwrap();
        apache
            .new
            .ask(&json!({"zookeeper": apache.zookeeper, "dir": data}));
        Some(apache)
    }

    /// Fresh brokers for a scenario, in a chroot of their own.
    pub(crate) fn brokers(&mut self, scenario: &Scenario, dir: &Path) -> Place {
        self.started += 1;
        let zookeeper = format!("127.0.0.1:{}/run{}", self.zookeeper, self.started);
        let mut addresses = Vec::new();
        for id in 1..=scenario.brokers {
            let address = format!("127.0.0.1:{}", free_port());
            let mut set = json!({
                "broker.id": id.to_string(),
                "listeners": format!("PLAINTEXT://{address}"),
                "zookeeper.connect": zookeeper,
                "log.dirs": dir.join(format!("broker-{id}")),
                "offsets.topic.replication.factor": "1",
                // The default is 128 MiB of heap, for each broker of the one JVM.
                "log.cleaner.dedupe.buffer.size": "4194304",
                "transaction.state.log.replication.factor": "1",
                "transaction.state.log.min.isr": "1",
            });
            for pair in &scenario.overrides {
                let (name, value) = pair.split_once('=').unwrap();
                set[name] = Value::String(value.to_owned());
            }
            self.new.ask(&json!({"broker": set}));
            addresses.push(address);
        }
        for address in &addresses {
            Asker::connect(address, "tools").await_brokers(addresses.len());
        }
        Place::new(dir, &addresses, &zookeeper, &dir.join("broker-1"))
    }

    pub(crate) fn stop_brokers(&mut self) {
        self.new.ask(&json!({"stop": true}));
    }

    pub(crate) fn answer(&mut self, step: &Step, place: &Place) -> Answer {
        match step.release {
            "2.8" => self.old.run(step, place),
            _ => self.new.run(step, place),
        }
    }
}
