//! Starting, stopping, being killed; and what is said when it cannot start.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::loud;
use harness::peers;
use harness::ports::free_port;
use harness::process::{Process, Single, program, program_copied};
use harness::tool;

use crate::programs::kcat;
use crate::run;

const STOP_LIMIT: Duration = Duration::from_secs(60);

#[test]
fn acknowledged_records_and_topics_survive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut single = Single::start(dir.path(), &[]);
    let mut lines = String::new();
    for round in 0..3 {
        let more: String = (0..200).map(|n| format!("{round}-{n}\n")).collect();
        let Some(producer) = kcat(&single.bootstrap(), &["-P", "-t", "kept", "-X", "acks=all"])
        else {
            return;
        };
        run(producer, &more);
        lines += &more;
        single.process.kill_9();
        single.restart();
        let words = ["-C", "-t", "kept", "-o", "beginning", "-e", "-q"];
        assert_eq!(
            run(kcat(&single.bootstrap(), &words).unwrap(), ""),
            lines,
            "round {round}"
        );
    }
}

#[test]
fn sigterm_and_ctrl_c_end_it_cleanly_and_data_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut single = Single::start(dir.path(), &[]);
    for signal in ["TERM", "INT", "HUP"] {
        let Some(producer) = kcat(&single.bootstrap(), &["-P", "-t", "kept"]) else {
            return;
        };
        run(producer, &format!("before {signal}\n"));
        single.process.signal(signal);
        assert_eq!(
            single.process.wait_for_exit(STOP_LIMIT).code(),
            Some(0),
            "{signal}"
        );
        assert!(
            dir.path().join("data/broker/.kafka_cleanshutdown").exists(),
            "{signal}"
        );
        single.restart();
    }
    let words = ["-C", "-t", "kept", "-o", "beginning", "-e", "-q"];
    assert_eq!(
        run(kcat(&single.bootstrap(), &words).unwrap(), ""),
        "before TERM\nbefore INT\nbefore HUP\n"
    );
}

/// What waits for ZooKeeper inside the broker must not keep it from ending.
#[test]
fn it_ends_cleanly_though_its_zookeeper_has_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Single::start(dir.path(), &[]);
    let (port, logs) = (free_port(), dir.path().join("second"));
    let mut command = Command::new(program("broker"));
    for setting in [
        "broker.id=2".to_owned(),
        format!("listeners=PLAINTEXT://127.0.0.1:{port}"),
        format!("zookeeper.connect=127.0.0.1:{}", first.coordinator_port),
        format!("log.dirs={}", logs.display()),
    ] {
        command.args(["--override", &setting]);
    }
    let mut second = Process::start(command, &dir.path().join("second.log"));
    second.wait_for_log("started (kafka.server.KafkaServer)");
    second.announce(&loud::OF_NEIGHBOURS);
    first.process.kill_9();
    second.wait_for_log("connection to ZooKeeper lost");
    second.signal("TERM");
    let ended = second.wait_for_exit(Duration::from_secs(60));
    assert_eq!(ended.code(), Some(0), "{}", second.log());
    assert!(logs.join(".kafka_cleanshutdown").exists());
}

/// Whoever changes his mind while it starts is left with no broker that seems to live.
#[test]
fn a_start_that_is_stopped_leaves_no_session_behind() {
    let dir = tempfile::tempdir().unwrap();
    let zookeeper = free_port();
    let text = "4lw.commands.whitelist=mntr\nclientPort=PORT\ndataDir=coordinator\n";
    let text = text.replace("PORT", &zookeeper.to_string());
    fs::write(dir.path().join("zoo.cfg"), text).unwrap();
    let mut command = Command::new(program("coordinator"));
    command.current_dir(dir.path()).arg("zoo.cfg");
    let mut coordinator = Process::start(command, &dir.path().join("coordinator.log"));
    coordinator.wait_for_port(zookeeper);
    let sessions = || {
        let mut asked = TcpStream::connect((Ipv4Addr::LOCALHOST, zookeeper)).unwrap();
        asked.write_all(b"mntr").unwrap();
        let mut told = String::new();
        asked.read_to_string(&mut told).unwrap();
        let count = |line: &str| line.strip_prefix("zk_global_sessions\t")?.parse().ok();
        told.lines().find_map(count)
    };
    let broker = |name: &str| {
        let mut command = Command::new(program("broker"));
        for setting in [
            "broker.id=1".to_owned(),
            format!("listeners=PLAINTEXT://127.0.0.1:{}", free_port()),
            format!("zookeeper.connect=127.0.0.1:{zookeeper}"),
            format!("log.dirs={}", dir.path().join(name).display()),
        ] {
            command.args(["--override", &setting]);
        }
        Process::start(command, &dir.path().join(format!("{name}.log")))
    };
    let mut owner = broker("owner");
    owner.wait_for_log("started (kafka.server.KafkaServer)");
    let mut waiting = broker("waiting");
    let held = "broker id is held by another ZooKeeper session";
    waiting.announce(&[held]);
    waiting.wait_for_log(held);
    assert_eq!(sessions(), Some(2));
    assert_eq!(waiting.terminate(STOP_LIMIT).code(), Some(0));
    assert_eq!(sessions(), Some(1));
    assert!(!dir.path().join("waiting/zookeeper.session").exists());
    assert_eq!(owner.terminate(STOP_LIMIT).code(), Some(0));
    assert_eq!(sessions(), Some(0));
}

#[test]
fn with_no_configuration_it_is_a_kafka_on_9092_beside_a_zookeeper_on_2181() {
    for port in [9092, 2181] {
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
            peers::skipped(&format!("port {port} is in use on this machine"));
            return;
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(program("broker"));
    command.current_dir(dir.path());
    let mut broker = Process::start(command, &dir.path().join("broker.log"));
    broker.wait_for_log("Rotpeter is running.");
    let kafka = |words: &[&str], input: &str| {
        let mut command = Command::new(program("kafka"));
        command.args(words);
        run(command, input)
    };
    let at = ["--bootstrap-server", "localhost:9092", "--topic", "t"];
    kafka(&[&["console-producer"], &at[..]].concat(), "a record\n");
    let from = ["--from-beginning", "--max-messages", "1"];
    let read = kafka(&[&["console-consumer"], &at[..], &from].concat(), "");
    assert_eq!(read, "a record\n");
    let state = "/brokers/topics/t/partitions/0/state";
    let state = kafka(&["zk", "-server", "localhost:2181", "get", state], "");
    assert!(state.contains(r#""isr":[1]"#), "{state}");
    assert!(broker.terminate(STOP_LIMIT).success());
    for made in [
        "broker/t-0",
        "broker/meta.properties",
        "coordinator/version-2",
    ] {
        assert!(dir.path().join("data").join(made).exists(), "{made}");
    }
}

/// A start that must fail: its exit code and its last words.
fn refused(dir: &std::path::Path, overrides: &[String]) -> (Option<i32>, String) {
    let mut command = Command::new(program("broker"));
    command.current_dir(dir);
    for set in overrides {
        command.args(["--override", set]);
    }
    let output = tool::run(&mut command, "");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn a_taken_port_is_told_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let single = Single::start(dir.path(), &[]);
    let other = tempfile::tempdir().unwrap();
    let free = free_port();
    let (code, words) = refused(
        other.path(),
        &[
            format!("listeners=PLAINTEXT://127.0.0.1:{}", single.port),
            format!("coordinator.port={free}"),
        ],
    );
    assert_eq!(code, Some(1), "{words}");
    assert!(
        words.contains(&single.port.to_string()) && words.contains("listeners"),
        "{words}"
    );
    let (code, words) = refused(
        other.path(),
        &[
            format!("listeners=PLAINTEXT://127.0.0.1:{free}"),
            format!("coordinator.port={}", single.coordinator_port),
        ],
    );
    assert_eq!(code, Some(1), "{words}");
    assert!(
        words.contains("--zookeeper") && words.contains("coordinator.port"),
        "{words}"
    );
}

#[test]
fn a_data_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let single = Single::start(dir.path(), &[]);
    let (code, words) = refused(
        dir.path(),
        &[
            format!("listeners=PLAINTEXT://127.0.0.1:{}", free_port()),
            format!("coordinator.port={}", free_port()),
        ],
    );
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("in use"), "{words}");
    drop(single);
}

/// The session noted in a directory belongs to the broker at work there, and so does its note.
#[test]
fn a_start_on_a_directory_in_use_leaves_the_session_of_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut single = Single::start(dir.path(), &[]);
    single.process.wait_for_log("Rotpeter is running.");
    let logs = dir.path().join("data/broker");
    let session = || std::fs::read_to_string(logs.join("zookeeper.session")).unwrap();
    let before = session();
    let (code, words) = refused(
        dir.path(),
        &[
            format!("listeners=PLAINTEXT://127.0.0.1:{}", free_port()),
            format!("zookeeper.connect=127.0.0.1:{}", single.coordinator_port),
            format!("log.dirs={}", logs.display()),
        ],
    );
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("in use"), "{words}");
    assert_eq!(session(), before);
}

#[test]
fn an_unwritable_data_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("data"), "a file where a folder should be").unwrap();
    let (code, words) = refused(
        dir.path(),
        &[
            format!("listeners=PLAINTEXT://127.0.0.1:{}", free_port()),
            format!("coordinator.port={}", free_port()),
        ],
    );
    assert_eq!(code, Some(1), "{words}");
    for expected in ["cannot make", "Not a directory", "--data-dir"] {
        assert!(words.contains(expected), "{expected}: {words}");
    }
}

/// A user without rights of his own, on every Linux.
const NOBODY: u32 = 65_534;

/// The broker for somebody whom permissions bind: root is made nobody, who needs a copy he may reach.
fn without_privileges(dir: &Path) -> Command {
    fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    let mut command;
    if fs::metadata(dir).unwrap().uid() == 0 {
        command = Command::new(program_copied("broker", dir));
        command.uid(NOBODY).gid(NOBODY);
    } else {
        command = Command::new(program("broker"));
    }
    command.current_dir(dir);
    command
}

/// A folder below `dir` with this mode; whoever is made nobody may own it no more.
fn folder(dir: &Path, name: &str, mode: u32) -> PathBuf {
    let path = dir.join(name);
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

/// A place of the data that the broker may read and not write is told with its name and what to do.
#[test]
fn a_directory_this_user_may_not_write_is_told_by_its_name() {
    // Nothing there yet below a closed folder; the logs' own closed; the coordinator's own closed.
    for (closed, logs, coordinator) in [
        ("closed", "closed/logs", "open"),
        ("closed", "closed", "open"),
        ("closed", "open", "closed/coordinator"),
        ("closed", "open", "closed"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        folder(dir.path(), closed, 0o555);
        folder(dir.path(), "open", 0o777);
        let mut command = without_privileges(dir.path());
        for set in [
            format!("listeners=PLAINTEXT://127.0.0.1:{}", free_port()),
            format!("coordinator.port={}", free_port()),
            format!("log.dirs={logs}"),
            format!("coordinator.data.dir={coordinator}"),
        ] {
            command.args(["--override", &set]);
        }
        let output = tool::run(&mut command, "");
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{logs}: {words}");
        let told = words
            .lines()
            .find(|line| line.contains("Permission denied"));
        let told = told.unwrap_or_else(|| panic!("{logs}, {coordinator}: {words}"));
        for expected in [closed, "--data-dir"] {
            assert!(told.contains(expected), "{expected}: {told}");
        }
    }
}

#[test]
fn a_file_of_settings_that_cannot_be_read_is_told_by_its_name() {
    for (name, text) in [
        ("server.yaml", "log: {dirs"),
        ("list.yml", "- log.dirs"),
        ("server.properties", "log.dirs=\\u12"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), text).unwrap();
        let mut command = Command::new(program("broker"));
        command.current_dir(dir.path()).arg(name);
        let output = tool::run(&mut command, "");
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(words.lines().any(|line| line.starts_with(name)), "{words}");
    }
}

#[test]
fn all_bad_settings_are_told_at_once_and_unknown_ones_with_their_neighbour() {
    let dir = tempfile::tempdir().unwrap();
    let set = [
        "num.partitions=none",
        "log.retention.ms=soon",
        "num.partition=3",
    ]
    .map(str::to_owned);
    let (code, words) = refused(dir.path(), &set);
    assert_eq!(code, Some(1), "{words}");
    for expected in [
        "num.partitions",
        "none",
        "log.retention.ms",
        "soon",
        "did you mean `num.partitions`",
    ] {
        assert!(words.contains(expected), "{expected}: {words}");
    }
}

#[test]
fn a_zookeeper_that_cannot_be_reached_is_told_with_the_name_that_does_not_resolve() {
    let dir = tempfile::tempdir().unwrap();
    // A label of a name has 63 letters at most: no resolver is asked, and none can know it.
    let nowhere = format!("{}.invalid", "n".repeat(64));
    let (code, words) = refused(
        dir.path(),
        &[
            format!("listeners=PLAINTEXT://127.0.0.1:{}", free_port()),
            format!("zookeeper.connect={nowhere}:2181/kafka"),
            "zookeeper.connection.timeout.ms=500".to_owned(),
        ],
    );
    assert_eq!(code, Some(1), "{words}");
    for expected in [
        format!("{nowhere} does not resolve").as_str(),
        "--zookeeper",
    ] {
        assert!(words.contains(expected), "{expected}: {words}");
    }
}

#[test]
fn a_properties_file_and_the_same_as_yaml_start_the_same_broker() {
    for (name, text) in [
        (
            "server.properties",
            "broker.id=7\nlisteners=PLAINTEXT://127.0.0.1:PORT\nlog.dirs=logs\ncoordinator.port=ZOOKEEPER\n",
        ),
        (
            "server.yaml",
            "broker.id: 7\nlisteners: PLAINTEXT://127.0.0.1:PORT\nlog.dirs: logs\ncoordinator.port: ZOOKEEPER\n",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (port, zookeeper) = (free_port(), free_port());
        let text = text
            .replace("PORT", &port.to_string())
            .replace("ZOOKEEPER", &zookeeper.to_string());
        std::fs::write(dir.path().join(name), text).unwrap();
        let mut command = Command::new(program("broker"));
        command.current_dir(dir.path()).arg(name);
        let mut process = Process::start(command, &dir.path().join("log"));
        process.wait_for_port(port);
        let identity = harness::wait::until("meta.properties", STOP_LIMIT, || {
            std::fs::read_to_string(dir.path().join("logs/meta.properties")).ok()
        });
        assert!(identity.contains("broker.id=7"), "{identity}");
        assert_eq!(process.terminate(STOP_LIMIT).code(), Some(0));
    }
}

#[test]
fn programs_ask_the_loader_for_nothing_but_glibc() {
    for name in ["broker", "coordinator", "kafka"] {
        let Some(ldd) = peers::program("ldd") else {
            return;
        };
        let told = Command::new(ldd).arg(program(name)).output().unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        let foreign = told.lines().filter(|line| {
            let file = line.split_whitespace().next().unwrap_or_default();
            let of_glibc = [
                "linux-vdso.",
                "libc.",
                "libm.",
                "libpthread.",
                "libdl.",
                "librt.",
            ];
            let loader = file.contains("/ld-linux") || file.contains("/ld64");
            !loader && !of_glibc.iter().any(|known| file.starts_with(known))
        });
        let foreign: Vec<&str> = foreign.collect();
        assert!(
            told.contains("libc.") && foreign.is_empty(),
            "{name}: {told}"
        );
    }
}

/// `localhost` is both of its addresses, where the machine has both.
#[test]
fn localhost_is_listened_on_by_both_protocols_of_the_internet() {
    let addresses = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let there = |address: &IpAddr| TcpListener::bind((*address, 0)).is_ok();
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut command = Command::new(program("broker"));
    command.current_dir(dir.path());
    for set in [
        format!("listeners=PLAINTEXT://localhost:{port}"),
        format!("coordinator.port={}", free_port()),
    ] {
        command.args(["--override", &set]);
    }
    let mut broker = Process::start(command, &dir.path().join("broker.log"));
    broker.wait_for_port(port);
    for address in addresses.into_iter().filter(there) {
        TcpStream::connect((address, port)).unwrap_or_else(|e| panic!("{address}: {e}"));
    }
    assert!(dir.path().join("data/broker").is_dir());
    assert!(dir.path().join("data/coordinator").is_dir());
}
