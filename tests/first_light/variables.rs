//! Settings by environment variables, and what a container implies besides.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::time::Duration;

use harness::ports::free_port;
use harness::process::{Process, Single, program};
use harness::tool;
use harness::wait;
use serde_json::Value;

const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Kafka's container scripts hand on whatever bytes the environment has; here they have a name.
#[test]
fn a_variable_that_is_no_utf8_is_told_by_its_name_and_a_foreign_one_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let broken = OsStr::from_bytes(b"caf\xe9");
    let mut command = Command::new(program("broker"));
    command
        .current_dir(dir.path())
        .args(["--override", "num.partitions=none"])
        .env("KAFKA_LOG_DIRS", broken)
        .env("LS_COLORS", broken);
    let output = tool::run(&mut command, "");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    let told = "The environment variable KAFKA_LOG_DIRS is not UTF-8";
    assert!(words.lines().any(|line| line.starts_with(told)), "{words}");
    for absent in ["LS_COLORS", "panicked"] {
        assert!(!words.contains(absent), "{words}");
    }
    let foreign = OsStr::from_bytes(b"\xff\xfe");
    let mut command = Command::new(program("coordinator"));
    command.env("LS_COLORS", broken).env(foreign, broken);
    command.env("SERVER_JVMFLAGS", broken);
    let output = tool::run(&mut command, "");
    let words = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{words}");
    assert!(words.contains("SERVER_JVMFLAGS is not UTF-8"), "{words}");
}

#[test]
fn lines_are_objects_where_that_is_asked_and_an_unreadable_level_is_told() {
    let mut command = Command::new(program("coordinator"));
    command
        .arg("/nowhere/zoo.cfg")
        .env("ROTPETER_LOG_FORMAT", "json")
        .env("ROTPETER_LOG", "coordinator=loud");
    let output = tool::run(&mut command, "");
    let words = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<Value> = words
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect();
    let of = |level: &str| lines.iter().find(|line| line["level"] == level);
    let warning = of("WARN").unwrap_or_else(|| panic!("{words}"));
    assert_eq!(warning["name"], "ROTPETER_LOG", "{words}");
    assert_eq!(warning["value"], "coordinator=loud", "{words}");
    let refused = of("ERROR").unwrap_or_else(|| panic!("{words}"))["message"].to_string();
    assert!(refused.contains("/nowhere/zoo.cfg"), "{words}");
}

/// What a container's entrypoint and its health check are, without a container.
#[test]
fn on_a_volume_it_settles_what_a_container_implies_and_says_that_it_is_well() {
    let dir = tempfile::tempdir().unwrap();
    let zookeeper = Single::start(dir.path(), &[]);
    let volume = dir.path().join("volume");
    let advertised = format!("PLAINTEXT://localhost:{}", free_port());
    let broker = || {
        let mut command = Command::new(program("broker"));
        command
            .current_dir(dir.path())
            .arg("--volume")
            .arg(&volume)
            .env(
                "ZOOKEEPER_HOSTS",
                format!("127.0.0.1:{}", zookeeper.coordinator_port),
            )
            .env("KAFKA_BROKER_ID", "7")
            .env("KAFKA_NUM_PARTITIONS", "")
            .env("KAFKA_ADVERTISED_LISTENERS", &advertised)
            .env("LS_COLORS", OsStr::from_bytes(b"caf\xe9"));
        command
    };
    let well = || tool::run(broker().arg("--healthy"), "");
    assert_eq!(well().status.code(), Some(1), "nobody serves yet");
    let mut second = Process::start(broker(), &dir.path().join("second.log"));
    second.wait_for_log("started (kafka.server.KafkaServer)");
    wait::until("the broker to be well", STOP_LIMIT, || {
        well().status.success().then_some(())
    });
    assert!(
        second.log().contains("listening on 0.0.0.0:"),
        "{}",
        second.log()
    );
    assert_eq!(second.terminate(STOP_LIMIT).code(), Some(0));
    let meta = fs::read_to_string(volume.join("meta.properties")).unwrap();
    assert!(meta.contains("broker.id=7"), "{meta}");
    assert_eq!(well().status.code(), Some(1), "nobody serves any more");
}
