//! How tools end: at the end of their input, on a closed pipe, on Ctrl-C, with a broker that is gone.
//! Exit codes are those of Apache's tools: 128 and the signal's number where a signal ended them.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use harness::cluster::Cluster;
use harness::process::program;

/// How long anything may take on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    cluster: Cluster,
    server: String,
    dir: tempfile::TempDir,
}

impl World {
    fn start() -> World {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster::start(dir.path(), 1, &["offsets.topic.replication.factor=1"]);
        let server = cluster.members[0].address.to_string();
        World {
            cluster,
            server,
            dir,
        }
    }

    /// A tool with all its ends in our hands.
    fn tool(&self, line: &str) -> Child {
        Command::new(program("kafka"))
            .args(line.split(' '))
            .args(["--bootstrap-server", &self.server])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn said(&self, line: &str) -> String {
        let output = ended(self.tool(line));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Asks until the answer holds the text.
    fn until(&self, line: &str, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.said(line);
            if said.contains(text) {
                return said;
            }
            assert!(Instant::now() < deadline, "{line}: {said}");
        }
    }

    fn produce(&self, topic: &str, lines: &str) {
        let mut child = self.tool(&format!("console-producer --topic {topic}"));
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(lines.as_bytes()).unwrap();
        drop(stdin);
        assert!(ended(child).status.success());
    }
}

fn ended(mut child: Child) -> Output {
    drop(child.stdin.take());
    child.wait_with_output().unwrap()
}

fn signal(child: &Child, name: &str) {
    let done = Command::new("kill")
        .args([&format!("-{name}"), &child.id().to_string()])
        .status();
    assert!(done.unwrap().success());
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether a program is on the path; the shells are not everywhere.
fn there(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

fn numbered(count: usize) -> String {
    (0..count).map(|at| format!("line-{at:09}\n")).collect()
}

#[test]
fn a_consumer_whose_reader_leaves_says_so_and_ends_well() {
    let world = World::start();
    // More than a pipe and the tool's own buffer hold.
    world.produce("long", &numbered(100_000));
    let mut child = world.tool("console-consumer --topic long --from-beginning");
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    assert_eq!(first, "line-000000000\n");
    let output = ended(child);
    let said = complaint(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let mut lines = said.lines();
    assert_eq!(
        lines.next(),
        Some("Unable to write to standard out, closing consumer.")
    );
    assert!(lines.next().unwrap().starts_with("Processed a total of "));
    world.cluster.stop();
}

#[test]
fn a_consumer_that_waits_notices_that_its_reader_left() {
    let world = World::start();
    world.produce("short", "one\n");
    for group in ["", " --group g"] {
        let line = format!("console-consumer --topic short --from-beginning{group}");
        let mut child = world.tool(&line);
        let mut first = [0; 4];
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"one\n");
        // Nothing more comes: there is nothing to write by which it could notice.
        drop(stdout);
        let output = ended(child);
        let said = complaint(&output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert_eq!(
            said,
            "Unable to write to standard out, closing consumer.\nProcessed a total of 1 messages\n"
        );
    }
    world.cluster.stop();
}

#[test]
fn a_full_device_is_said_and_ends_with_1() {
    let world = World::start();
    world.produce("t", "one\n");
    let at = format!("--bootstrap-server {}", world.server);
    // A group, so that there is one to list.
    world.said("console-consumer --topic t --group g --from-beginning --max-messages 1");
    let zookeeper = world.cluster.zookeeper();
    let log = world
        .dir
        .path()
        .join("broker-1/t-0/00000000000000000000.log");
    for line in [
        format!("topics {at} --list"),
        format!("topics {at} --describe"),
        format!("topics {at} --help"),
        format!("topics --zookeeper {zookeeper} --list"),
        format!("configs {at} --describe --entity-type brokers --entity-name 1 --all"),
        format!("configs --zookeeper {zookeeper} --describe --entity-type brokers --entity-name 1"),
        format!("consumer-groups {at} --list"),
        format!("consumer-groups {at} --describe --group none"),
        format!("get-offsets {at}"),
        format!("log-dirs {at} --describe"),
        format!("broker-api-versions {at}"),
        format!("cluster cluster-id {at}"),
        format!("dump-log --files {}", log.display()),
        format!("console-consumer {at} --topic t --from-beginning --max-messages 1"),
        format!("consumer-perf-test {at} --topic t --messages 1"),
        format!(
            "producer-perf-test --topic t --num-records 1 --record-size 1 --throughput -1 --producer-props bootstrap.servers={}",
            world.server
        ),
        format!("verifiable-producer {at} --topic t --max-messages 1"),
        format!("verifiable-consumer {at} --topic t --group-id v --max-messages 1"),
        format!("zookeeper-shell {zookeeper} ls /"),
        "storage random-uuid".to_owned(),
        "completions bash".to_owned(),
        "--help".to_owned(),
    ] {
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let output = Command::new(program("kafka"))
            .args(line.split(' '))
            .stdin(Stdio::null())
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let said = complaint(&output);
        assert_eq!(output.status.code(), Some(1), "{line}: {said}");
        let words = "cannot write to standard output: No space left on device";
        assert_eq!(said.matches(words).count(), 1, "{line}: {said}");
    }
    world.cluster.stop();
}

#[test]
fn a_producer_whose_input_cannot_be_read_says_so() {
    let world = World::start();
    let folder = std::fs::File::open(world.dir.path()).unwrap();
    let output = Command::new(program("kafka"))
        .args(["console-producer", "--topic", "t", "--bootstrap-server"])
        .arg(&world.server)
        .stdin(folder)
        .output()
        .unwrap();
    let said = complaint(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("read standard input: Is a directory"),
        "{said}"
    );
    world.cluster.stop();
}

#[test]
fn a_consumer_that_is_interrupted_commits_leaves_and_counts() {
    let world = World::start();
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        world.produce(name, "one\n");
        let mut child = world.tool(&format!(
            "console-consumer --topic {name} --from-beginning --group g-{name}"
        ));
        let mut first = [0; 4];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut first)
            .unwrap();
        assert_eq!(&first, b"one\n");
        signal(&child, name);
        let output = ended(child);
        let said = complaint(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains("Processed a total of 1 messages"), "{said}");
        let group = world.until(
            &format!("consumer-groups --describe --group g-{name}"),
            "LAG",
        );
        let row: Vec<&str> = group.lines().last().unwrap().split_whitespace().collect();
        // Committed, at the end, and no member left.
        assert_eq!(row[3..7], ["1", "1", "0", "-"], "{group}");
    }
    world.cluster.stop();
}

#[test]
fn a_producer_waits_for_acknowledgements_at_the_end_of_its_input() {
    let world = World::start();
    let count = 50_000;
    // So long a linger that nothing would go out by itself.
    let line = "console-producer --topic t --timeout 600000 --max-partition-memory-bytes 900000";
    let mut child = world.tool(line);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(numbered(count).as_bytes()).unwrap();
    drop(stdin);
    let output = ended(child);
    assert!(output.status.success(), "{}", complaint(&output));
    let read = world.said(&format!(
        "console-consumer --topic t --from-beginning --max-messages {count}"
    ));
    assert!(read == numbered(count), "lines are lost or out of order");
    world.cluster.stop();
}

#[test]
fn a_producer_that_is_interrupted_sends_what_it_took() {
    let world = World::start();
    world.said("topics --create --topic t");
    let mut child = world.tool("console-producer --topic t --timeout 600000");
    let mut stdin = child.stdin.take().unwrap();
    let lines = numbered(200_000);
    // A pipe holds far less: most of it was taken when this comes back.
    stdin.write_all(lines.as_bytes()).unwrap();
    signal(&child, "INT");
    let status = child.wait().unwrap();
    drop(stdin);
    assert_eq!(status.code(), Some(130));
    let offset = world.said("get-offsets --topic t");
    let count: usize = offset.trim().rsplit(':').next().unwrap().parse().unwrap();
    assert!(count > 0, "nothing was sent");
    let read = world.said(&format!(
        "console-consumer --topic t --partition 0 --offset earliest --max-messages {count}"
    ));
    assert!(lines.starts_with(&read), "lines are lost or out of order");
    assert_eq!(read.lines().count(), count);
    // The same where it waits for lines.
    world.said("topics --create --topic quiet");
    let mut child = world.tool("console-producer --topic quiet --timeout 0");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one\ntwo\n").unwrap();
    world.until("get-offsets --topic quiet", "quiet:0:2");
    signal(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(stdin);
    world.cluster.stop();
}

#[test]
fn a_producer_names_the_lines_that_were_not_taken() {
    let world = World::start();
    let line = "console-producer --topic t --timeout 0 --request-timeout-ms 1000 --producer-property delivery.timeout.ms=2000";
    let mut child = world.tool(line);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one\n").unwrap();
    world.until("get-offsets --topic t", "t:0:1");
    world.cluster.stop();
    stdin.write_all(b"two\nthree\n").unwrap();
    drop(stdin);
    let output = ended(child);
    let said = complaint(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for line in [2, 3] {
        let words = format!("Error when sending message of line {line} to topic t");
        assert!(said.contains(&words), "{said}");
    }
    assert!(!said.contains("of line 1 "), "{said}");
}

#[test]
fn a_tool_survives_that_nobody_reads_what_it_complains_of() {
    let mut child = Command::new(program("kafka"))
        .args(["topics", "--nothing"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    // And that it has no input at all.
    let script = "exec \"$0\" topics --bootstrap-server 127.0.0.1:1 --list <&- 2>&1";
    let output = Command::new("bash")
        .args(["-c", script])
        .arg(program("kafka"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("127.0.0.1:1"), "{said}");
}

#[test]
fn what_cannot_be_reached_is_said_with_its_address_and_why() {
    // A label of a name has 63 letters at most: no resolver is asked, and none can know it.
    let nowhere = format!("{}.invalid:2181", "n".repeat(64));
    for (flag, address, why) in [
        ("--bootstrap-server", "127.0.0.1:1", "connection refused"),
        ("--bootstrap-server", nowhere.as_str(), "does not resolve"),
        ("--zookeeper", "127.0.0.1:1", "connection refused"),
        ("--zookeeper", nowhere.as_str(), "does not resolve"),
    ] {
        let mut command = Command::new(program("kafka"));
        command.args(["topics", flag, address, "--list"]);
        let output = harness::tool::run(&mut command, "");
        let said = complaint(&output) + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let words = format!("cannot reach {address} (");
        assert!(said.contains(&words) && said.contains(why), "{said}");
    }
}

#[test]
fn a_shell_without_a_server_does_not_wait_unless_told_to() {
    let began = Instant::now();
    for line in [
        "zkCli -server 127.0.0.1:1 ls /",
        "zookeeper-shell 127.0.0.1:1/chroot ls /",
    ] {
        let mut command = Command::new(program("kafka"));
        let output = harness::tool::run(command.args(line.split(' ')), "");
        let said = complaint(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(
            said,
            "cannot reach 127.0.0.1:1 (connection refused)\nKeeperErrorCode = ConnectionLoss for /\n"
        );
    }
    // Each would have waited for 30 s, a session's length.
    assert!(began.elapsed() < Duration::from_secs(30));
    let began = Instant::now();
    let line = "zkCli -waitforconnection -timeout 1500 -server 127.0.0.1:1 ls /";
    let mut command = Command::new(program("kafka"));
    let output = harness::tool::run(command.args(line.split(' ')), "");
    let said = complaint(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot reach 127.0.0.1:1"), "{said}");
    assert!(began.elapsed() >= Duration::from_millis(1500));
}

#[test]
fn what_is_printed_has_colour_only_on_a_terminal() {
    let plain = Command::new(program("kafka"))
        .arg("nothing-of-the-kind")
        .output()
        .unwrap();
    assert!(!plain.stderr.contains(&0x1b));
    // `script` gives a command a terminal of its own.
    if !there("script") {
        return;
    }
    let line = format!("{} nothing-of-the-kind", program("kafka").display());
    let shown = |name: &str, value: &str| {
        let output = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .env(name, value)
            .output()
            .unwrap();
        output.stdout.contains(&0x1b)
    };
    assert!(shown("COLUMNS", "80"));
    assert!(!shown("NO_COLOR", "1"));
}

#[test]
fn the_shells_offer_names_and_flags() {
    let dir = tempfile::tempdir().unwrap();
    let write = |shell: &str, path: &Path| {
        let output = Command::new(program("kafka"))
            .args(["completions", shell])
            .output()
            .unwrap();
        assert!(output.status.success());
        std::fs::write(path, output.stdout).unwrap();
    };
    let asked = |shell: &str, script: &str| {
        let path = dir.path().join(shell);
        write(shell, &path);
        let script = script.replace("FILE", &path.display().to_string());
        let output = Command::new(shell).args(["-c", &script]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let bash = |line: &str, at: usize| {
        let script = format!(
            "source FILE; COMP_WORDS=({line}); COMP_CWORD={at}; _kafka; echo \"${{COMPREPLY[*]}}\""
        );
        asked("bash", &script)
    };
    assert_eq!(bash("kafka topi", 1), "topics\n");
    assert_eq!(
        bash("kafka-topics.sh --under-r", 1),
        "--under-replicated-partitions\n"
    );
    assert_eq!(
        bash("/opt/bin/kafka topics --exclude", 2),
        "--exclude-internal\n"
    );
    assert_eq!(bash("kafka-topics --vers", 1), "--version\n");
    assert_eq!(bash("kafka-topics --hel", 1), "--help\n");
    assert_eq!(bash("kafka versi", 1), "version\n");
    assert!(bash("kafka-dump-log --index", 1).contains("--index-sanity-check"));
    if there("fish") {
        let offered = asked("fish", "source FILE; complete -C 'kafka-topics --under-r'");
        assert!(
            offered.starts_with("--under-replicated-partitions"),
            "{offered}"
        );
    }
    if there("zsh") {
        let loaded = asked(
            "zsh",
            "autoload -U compinit && compinit -u; source FILE && echo well",
        );
        assert_eq!(loaded, "well\n");
    }
}
