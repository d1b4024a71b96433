//! What tools live through, and for how long: brokers that end and come back, that stand still, that
//! advertise what leads nowhere; members that die; topics and partitions that come later.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use harness::ports::free_port;
use harness::process::{Single, program};
use harness::tool;

/// How long anything may take on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(90);

/// Words that look at the cluster often, so that nobody waits long for what is new.
const OFTEN: &str = "--consumer-property metadata.max.age.ms=300";

fn command(line: &str) -> Command {
    let mut command = Command::new(program("kafka"));
    command.args(line.split_whitespace());
    command
}

fn run(line: &str, input: &str) -> Output {
    tool::run(&mut command(line), input)
}

fn done(line: &str, input: &str) -> String {
    tool::done(&mut command(line), input)
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn start(dir: &tempfile::TempDir) -> Single {
    Single::start(dir.path(), &["offsets.topic.replication.factor=1"])
}

/// A tool that runs, its lines heard as they come.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(line: &str) -> Running {
        let mut child = command(line)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = heard(child.stdout.take().unwrap());
        Running { child, lines }
    }

    fn say(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
    }

    /// The next so many lines, in order of the alphabet.
    fn hear(&mut self, count: usize) -> Vec<String> {
        let mut heard = Vec::new();
        while heard.len() < count {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => heard.push(line),
                Err(_) => {
                    self.child.kill().unwrap();
                    let mut said = String::new();
                    let mut stderr = self.child.stderr.take().unwrap();
                    stderr.read_to_string(&mut said).unwrap();
                    panic!("{count} lines were due, there came {heard:?}\n{said}");
                }
            }
        }
        heard.sort();
        heard
    }

    /// How it ended by itself, the end of its input told.
    fn ended(mut self) -> Output {
        drop(self.child.stdin.take());
        self.child.wait_with_output().unwrap()
    }

    fn kill(mut self) -> String {
        self.child.kill().unwrap();
        complaint(&self.ended())
    }
}

fn heard(stdout: ChildStdout) -> Receiver<String> {
    let (to, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

#[test]
fn consumers_read_on_when_their_broker_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = start(&dir);
    let at = format!("--bootstrap-server {}", broker.bootstrap());
    done(&format!("console-producer {at} --topic t"), "one\n");
    let line = format!("console-consumer {at} --topic t --from-beginning");
    let mut consumers = [
        Running::start(&line),
        Running::start(&format!("{line} --group g")),
    ];
    for consumer in &mut consumers {
        assert_eq!(consumer.hear(1), ["one"]);
    }
    broker.process.kill_9();
    broker.restart();
    done(&format!("console-producer {at} --topic t"), "two\n");
    for mut consumer in consumers {
        let mut next = consumer.hear(1);
        // What a group had not committed yet is read again.
        if next == ["one"] {
            next = consumer.hear(1);
        }
        assert_eq!(next, ["two"]);
        let said = consumer.kill();
        let told = said.lines().filter(|line| line.contains("cannot reach"));
        let told = told.count();
        assert!(told <= 1, "{said}");
    }
}

#[test]
fn a_consumer_takes_over_from_a_member_that_died() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(&dir);
    let at = format!("--bootstrap-server {}", broker.bootstrap());
    done(&format!("topics {at} --create --topic t"), "");
    // The shortest session, and answers that are waited for not even half as long.
    let line = format!(
        "console-consumer {at} --topic t --from-beginning --group g --consumer-property session.timeout.ms=6000 --consumer-property request.timeout.ms=2000"
    );
    let mut first = Running::start(&line);
    done(&format!("console-producer {at} --topic t"), "one\n");
    assert_eq!(first.hear(1), ["one"]);
    first.kill();
    let mut second = Running::start(&line);
    assert_eq!(second.hear(1), ["one"]);
    second.kill();
}

#[test]
fn consumers_find_partitions_and_topics_that_come_later() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(&dir);
    let at = format!("--bootstrap-server {}", broker.bootstrap());
    done(&format!("topics {at} --create --topic new.a"), "");
    let line = format!("console-consumer {at} --from-beginning {OFTEN}");
    let whats = [
        "--topic new.a",
        "--include new.*",
        "--topic new.a --group one",
        "--include new.* --group all",
    ];
    let started = whats.map(|what| Running::start(&format!("{line} {what}")));
    let mut consumers = Vec::from(started);
    done(&format!("console-producer {at} --topic new.a"), "first\n");
    for consumer in &mut consumers {
        assert_eq!(consumer.hear(1), ["first"]);
    }
    done(
        &format!("topics {at} --alter --topic new.a --partitions 3"),
        "",
    );
    let keyed: String = (0..20).map(|key| format!("{key}:{key:02}\n")).collect();
    let producer = format!("console-producer {at} --topic new.a");
    let producer = format!("{producer} --property parse.key=true --property key.separator=:");
    done(&producer, &keyed);
    let wanted: Vec<String> = (0..20).map(|key| format!("{key:02}")).collect();
    for (number, consumer) in consumers.iter_mut().enumerate() {
        assert_eq!(consumer.hear(20), wanted, "consumer {number}");
    }
    done(&format!("topics {at} --create --topic new.b"), "");
    done(&format!("console-producer {at} --topic new.b"), "other\n");
    for consumer in consumers.iter_mut().skip(1).step_by(2) {
        assert_eq!(consumer.hear(1), ["other"]);
    }
    for consumer in consumers {
        consumer.kill();
    }
}

#[test]
fn nobody_waits_for_ever_for_a_server_that_says_nothing() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("client.properties");
    std::fs::write(&file, "socket.connection.setup.timeout.ms=500\n").unwrap();
    let file = file.display();
    for line in [
        format!("topics --bootstrap-server {address} --list --command-config {file}"),
        format!("consumer-groups --bootstrap-server {address} --list --timeout 500"),
        format!("console-consumer --bootstrap-server {address} --topic t --consumer.config {file}"),
        format!("console-producer --bootstrap-server {address} --topic t --producer.config {file}"),
    ] {
        let output = run(&line, "one\n");
        let said = complaint(&output) + &String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("within 500 ms"), "{line}: {said}");
        assert!(said.contains(&address), "{line}: {said}");
        // Apache's tool of groups ends well whatever happens.
        let code = i32::from(!line.starts_with("consumer-groups"));
        assert_eq!(output.status.code(), Some(code), "{line}");
    }
}

#[test]
fn a_broker_that_stands_still_is_given_up_and_its_lines_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(&dir);
    let at = format!("--bootstrap-server {}", broker.bootstrap());
    let bounds = "--request-timeout-ms 1000 --timeout 0 --producer-property delivery.timeout.ms=3000 --producer-property socket.connection.setup.timeout.ms=500";
    let mut producer = Running::start(&format!("console-producer {at} --topic t {bounds}"));
    producer.say("one\n");
    let deadline = Instant::now() + PATIENCE;
    // Where the topic is not there yet, that is refused.
    while run(&format!("get-offsets {at} --topic t"), "").stdout != b"t:0:1\n" {
        assert!(Instant::now() < deadline, "the line did not arrive");
    }
    let consumer = format!(
        "console-consumer {at} --topic t --from-beginning --consumer-property request.timeout.ms=1000 --timeout-ms 4000"
    );
    let mut consumer = Running::start(&consumer);
    assert_eq!(consumer.hear(1), ["one"]);
    broker.process.freeze();
    producer.say("two\n");
    let output = producer.ended();
    let said = complaint(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("message of line 2 to topic t with error"),
        "{said}"
    );
    assert!(!said.contains("line 1 "), "{said}");
    let said = complaint(&consumer.ended());
    assert!(
        said.contains("did not answer Fetch within 1000 ms"),
        "{said}"
    );
    broker.process.signal("CONT");
}

#[test]
fn an_address_that_leads_nowhere_is_told_once_with_who_advertises_it() {
    let dir = tempfile::tempdir().unwrap();
    let (inside, outside) = (free_port(), free_port());
    let mut broker = Single::start_on(
        dir.path(),
        outside,
        &[
            "offsets.topic.replication.factor=1",
            "listener.security.protocol.map=IN:PLAINTEXT,OUT:PLAINTEXT",
            "inter.broker.listener.name=IN",
            &format!("listeners=IN://127.0.0.1:{inside},OUT://127.0.0.1:{outside}"),
            &format!("advertised.listeners=IN://127.0.0.1:{inside},OUT://127.0.0.1:1"),
        ],
    );
    broker.process.announce(&["cannot reach itself"]);
    let create = format!("topics --bootstrap-server 127.0.0.1:{inside} --create --topic t");
    done(&create, "");
    let at = format!("--bootstrap-server 127.0.0.1:{outside}");
    let words = format!(
        "cannot reach 127.0.0.1:1 (connection refused); 127.0.0.1:{outside} advertises 127.0.0.1:1 for broker 1"
    );
    for (line, code) in [
        (
            format!("console-consumer {at} --topic t --from-beginning --timeout-ms 3000"),
            0,
        ),
        (
            format!("console-consumer {at} --topic t --group g --timeout-ms 3000"),
            0,
        ),
        (
            format!("console-producer {at} --topic t --producer-property delivery.timeout.ms=3000"),
            1,
        ),
        (format!("get-offsets {at} --topic t"), 1),
    ] {
        let output = run(&line, "one\n");
        let said = complaint(&output);
        assert_eq!(said.matches(&words).count(), 1, "{line}: {said}");
        assert_eq!(output.status.code(), Some(code), "{line}: {said}");
    }
}

#[test]
fn what_is_too_large_is_named_and_all_else_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(&dir);
    let at = format!("--bootstrap-server {}", broker.bootstrap());
    let create = format!("topics {at} --create --topic t --config max.message.bytes=1000");
    done(&create, "");
    let mut lines: Vec<String> = (0..60).map(|at| format!("{at:0100}")).collect();
    let wanted = lines.clone();
    // Line 5 is more than the topic takes, line 9 more than a request holds.
    lines.insert(4, "x".repeat(2_000));
    lines.insert(8, "y".repeat(1_100_000));
    let input = lines.join("\n") + "\n";
    for extra in ["", "--sync", "--request-required-acks 1"] {
        let output = run(&format!("console-producer {at} --topic t {extra}"), &input);
        let said = complaint(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("2 of 62 records were not taken"), "{said}");
        assert_eq!(
            said.matches("Error when sending message").count(),
            2,
            "{said}"
        );
        for line in [5, 9] {
            let words = format!("message of line {line} to topic t with error");
            assert!(said.contains(&words), "{said}");
        }
        assert!(said.contains("The message is 1100088 bytes"), "{said}");
    }
    let read = done(
        &format!("console-consumer {at} --topic t --from-beginning --max-messages 180"),
        "",
    );
    let mut read: Vec<&str> = read.lines().collect();
    // Without idempotence several requests are under way at once, as Java's are: what one of them has to
    // send in parts comes behind what the next one brought.
    read[2 * wanted.len()..].sort_unstable();
    assert_eq!(read, [&wanted[..], &wanted[..], &wanted[..]].concat());
}
