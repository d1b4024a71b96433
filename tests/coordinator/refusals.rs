//! What keeps our program from starting is said in one line, with what to do about it.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use harness::process::program;
use harness::tool;

/// The one line on standard error of a start that must fail.
fn refused(zoo_cfg: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(program("coordinator"));
    let output = tool::run(command.arg(zoo_cfg).args(arguments), "");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let errors: Vec<&str> = said.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{said}");
    errors[0].to_owned()
}

#[test]
fn all_wrong_settings_are_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let zoo_cfg = dir.path().join("zoo.cfg");
    std::fs::write(&zoo_cfg, "clientPort=65536\ntickTime=-1\nsnapCount=many\n").unwrap();
    let said = refused(&zoo_cfg, &["-Dzookeeper.preAllocSize=x"]);
    for part in [
        &zoo_cfg.display().to_string(),
        "dataDir is not set: name a directory in zoo.cfg or with --data-dir",
        "clientPort = 65536: not a port",
        "tickTime = -1: must be positive",
        "snapCount = many",
        "preAllocSize = x",
    ] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
}

#[test]
fn a_taken_port_and_a_directory_in_use_are_told_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    let zoo_cfg = dir.path().join("zoo.cfg");
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let data = dir.path().join("data");
    let text = format!(
        "dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n",
        data.display()
    );
    std::fs::write(&zoo_cfg, text).unwrap();
    let said = refused(&zoo_cfg, &[]);
    assert!(
        said.contains("another ZooKeeper or coordinator holds it"),
        "{said}"
    );
    assert!(said.contains("clientPort"), "{said}");

    let server = crate::servers::ours(dir.path());
    std::fs::write(
        &zoo_cfg,
        format!("dataDir={}\nclientPort=0\n", data.display()),
    )
    .unwrap();
    let said = refused(&zoo_cfg, &[]);
    assert!(
        said.contains("another server uses this directory"),
        "{said}"
    );
    drop(server);
}

#[test]
fn a_property_without_a_value_is_refused() {
    let mut command = Command::new(program("coordinator"));
    let output = tool::run(command.args(["-D", "zookeeper.snapCount"]), "");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("KEY=VALUE"), "{said}");
}
