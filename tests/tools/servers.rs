//! The programs started and stopped by Kafka's names for that, as a quickstart does: in a folder `bin`
//! of their own, for those that stop servers stop all of their installation.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use harness::ports::free_port;
use harness::process::program_copied;
use harness::{tool, wait};

const LIMIT: Duration = Duration::from_secs(60);

struct Installation {
    dir: tempfile::TempDir,
    /// What was started and is to be taken away, however the test ends.
    stops: Vec<&'static str>,
}

impl Installation {
    fn new() -> Installation {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        for name in ["kafka", "broker", "coordinator"] {
            program_copied(name, &dir.path().join("bin"));
        }
        let made = Installation {
            dir,
            stops: Vec::new(),
        };
        made.well("kafka link bin");
        made
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A line as it is typed in the installation's folder, the tool in `bin`.
    fn run(&self, line: &str) -> Output {
        let mut words = line.split(' ');
        let mut command = Command::new(self.dir.path().join("bin").join(words.next().unwrap()));
        command
            .args(words)
            .current_dir(self.dir.path())
            .env_remove("LOG_DIR")
            .env_remove("ZOO_LOG_DIR")
            .env_remove("SIGNAL");
        tool::run(&mut command, "")
    }

    fn said(&self, line: &str, code: i32) -> String {
        let output = self.run(line);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(
            output.status.code(),
            Some(code),
            "{line}: {stdout}\n{stderr}\n{}",
            self.logs()
        );
        stdout + &stderr
    }

    fn well(&self, line: &str) -> String {
        self.said(line, 0)
    }

    fn logs(&self) -> String {
        let entries = std::fs::read_dir(self.path("logs")).into_iter().flatten();
        let texts = entries.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
        texts.collect()
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        for stop in std::mem::take(&mut self.stops) {
            // There may be nothing left of it, which is as good.
            let _stopped = self.run(stop);
        }
    }
}

#[test]
fn a_quickstart_is_started_waited_for_and_stopped_by_the_usual_names() {
    let mut here = Installation::new();
    let (port, zookeeper) = (free_port(), free_port());
    here.file(
        "zookeeper.properties",
        &format!("dataDir=zookeeper\nclientPort={zookeeper}\nclientPortAddress=127.0.0.1\n"),
    );
    here.file(
        "server.properties",
        &format!("broker.id=7\nlisteners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs=kafka\nzookeeper.connect=127.0.0.1:{zookeeper}\n"),
    );
    assert_eq!(
        here.said("kafka-server-stop.sh", 1),
        "No kafka server to stop\n"
    );
    assert_eq!(
        here.said("zookeeper-server-stop", 1),
        "No zookeeper server to stop\n"
    );
    here.stops = vec!["zookeeper-server-stop.sh"];
    assert_eq!(
        here.well("zookeeper-server-start.sh -daemon zookeeper.properties"),
        ""
    );
    here.well(&format!("cub zk-ready 127.0.0.1:{zookeeper} 60"));
    here.stops.insert(0, "kafka-server-stop.sh");
    assert_eq!(
        here.well("kafka-server-start -daemon server.properties --override num.partitions=3"),
        ""
    );
    here.well(&format!("cub kafka-ready 1 60 -b 127.0.0.1:{port}"));
    let at = format!("--bootstrap-server 127.0.0.1:{port}");
    here.well(&format!("kafka-topics.sh {at} --create --topic t"));
    let described = here.well(&format!("kafka-topics {at} --describe --topic t"));
    assert!(described.contains("PartitionCount: 3"), "{described}");
    let log = std::fs::read_to_string(here.path("logs/kafkaServer.out")).unwrap();
    assert!(log.contains("started (kafka.server.KafkaServer)"), "{log}");

    for other in ["--node-id=8", "--process-role=controller"] {
        let said = here.said(&format!("kafka-server-stop {other}"), 1);
        assert_eq!(said, "No kafka server to stop\n", "{other}");
    }
    assert_eq!(here.well("kafka-server-stop --node-id=7"), "");
    wait::until("the broker to end", LIMIT, || {
        let log = std::fs::read_to_string(here.path("logs/kafkaServer.out")).unwrap();
        log.contains("shut down completed").then_some(())
    });
    assert_eq!(here.well("zookeeper-server-stop.sh"), "");
    wait::until("the coordinator to end", LIMIT, || {
        let gone = here.run("zookeeper-server-stop.sh");
        (gone.status.code() == Some(1)).then_some(())
    });
    assert!(here.path("logs/zookeeper.out").exists());
}

#[test]
fn zk_server_keeps_note_of_whom_it_started() {
    let mut here = Installation::new();
    let port = free_port();
    here.file(
        "zoo.cfg",
        &format!("dataDir=data\nclientPort={port}\nclientPortAddress=127.0.0.1\n"),
    );
    let using = "Using config: zoo.cfg\n";
    let down = format!(
        "Client port found: {port}. Client address: 127.0.0.1. Client SSL: false.\nError contacting service. It is probably not running.\n{using}"
    );
    let nothing = format!(
        "Stopping zookeeper ... no zookeeper to stop (could not find file data/zookeeper_server.pid)\n{using}"
    );
    assert_eq!(here.said("zkServer.sh status", 1), down);
    assert_eq!(here.well("zkServer.sh stop"), nothing);
    here.stops = vec!["zkServer.sh stop"];
    assert_eq!(
        here.well("zkServer.sh start"),
        format!("Starting zookeeper ... STARTED\n{using}")
    );
    let note = || std::fs::read_to_string(here.path("data/zookeeper_server.pid")).unwrap();
    let first = note();
    assert_eq!(
        here.said("zkServer.sh start zoo.cfg", 1),
        format!("Starting zookeeper ... already running as process {first}.\n{using}")
    );
    let up = format!(
        "Client port found: {port}. Client address: 127.0.0.1. Client SSL: false.\nMode: standalone\n{using}"
    );
    wait::until("it to serve", LIMIT, || {
        (here.run("zkServer.sh status").status.code() == Some(0)).then_some(())
    });
    assert_eq!(here.well("zkServer status"), up);
    let again = here.well("zkServer --config . restart");
    assert!(
        again.contains("Stopping zookeeper ... STOPPED\nStarting zookeeper ... STARTED\n"),
        "{again}"
    );
    assert_ne!(note(), first);
    assert_eq!(
        here.well("zkServer.sh stop"),
        format!("Stopping zookeeper ... STOPPED\n{using}")
    );
    assert_eq!(here.said("zkServer.sh status", 1), down);
    assert_eq!(here.well("zkServer.sh stop"), nothing);
    here.file("zoo.cfg", "dataDir=data\nclientPort=nonsense\n");
    let failed = here.said("zkServer.sh start", 1);
    assert!(failed.contains("FAILED TO START"), "{failed}");
    assert!(here.said("zkServer.sh", 1).starts_with("Usage: zkServer"));
}

#[test]
fn a_class_runs_under_a_name_and_in_the_background() {
    let here = Installation::new();
    let usage = here.said("kafka-run-class.sh -name", 1);
    assert!(usage.starts_with("USAGE: kafka-run-class.sh"), "{usage}");
    let said = here.said(
        "kafka-run-class -name any kafka.tools.StorageTool random-uuid",
        0,
    );
    assert_eq!(said.trim().len(), 22, "{said}");
    let said = here.said("kafka-run-class -Xmx1g kafka.Kafka", 1);
    assert_eq!(said, "Java's option -Xmx1g is not there yet\n");
    let said = here.said(
        "kafka-run-class -daemon kafka.tools.StorageTool random-uuid",
        1,
    );
    assert!(said.starts_with("-daemon needs -name NAME"), "{said}");
    let line = "kafka-run-class -daemon -name drawn -loggc kafka.tools.StorageTool random-uuid";
    assert_eq!(here.well(line), "");
    wait::until("the id in the log", LIMIT, || {
        let log = std::fs::read_to_string(here.path("logs/drawn.out")).ok()?;
        (log.trim().len() == 22).then_some(())
    });
}

#[test]
fn names_that_are_not_here_say_so_and_end_with_1() {
    let here = Installation::new();
    for name in [
        "kafka-acls",
        "kafka-reassign-partitions",
        "connect-standalone",
        "kafka-jmx",
    ] {
        for called in [name.to_owned(), format!("{name}.sh")] {
            let said = here.said(&format!("{called} --help"), 1);
            assert!(
                said.starts_with(&format!("{called} is not there: ")),
                "{said}"
            );
        }
    }
    assert_eq!(
        here.said("kafka nonsense", 1),
        "nonsense is not there yet\n"
    );
    let version = here.well("kafka --version");
    assert!(version.starts_with("3.9.2-rotpeter-"), "{version}");
    assert_eq!(here.well("kafka-server-start.sh --version"), version);
    assert_eq!(here.well("kafka-topics --version"), version);
    assert_eq!(here.well("kafka --help"), here.said("kafka", 1));
    let tools = here.well("kafka link more");
    assert!(tools.contains("more/kafka-topics.sh\n") && tools.contains("more/kafka-topics\n"));
}
