//! `/health`: what a probe sees when ZooKeeper goes and comes back, and during a stop.

use std::process::Command;

use harness::loud;
use harness::ports::free_port;
use harness::process::{Process, program};
use harness::wait;

use crate::running::{LIMIT, get};

#[test]
fn a_broker_without_zookeeper_is_degraded_until_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let (port, zookeeper_port, metrics_port) = (free_port(), free_port(), free_port());
    let coordinator = || {
        let mut command = Command::new(program("coordinator"));
        command
            .arg("--data-dir")
            .arg(dir.path().join("coordinator"))
            .args(["--port", &zookeeper_port.to_string()]);
        let mut process = Process::start(command, &dir.path().join("coordinator.log"));
        process.wait_for_port(zookeeper_port);
        process
    };
    let mut zookeeper = coordinator();
    let mut command = Command::new(program("broker"));
    command.arg("--data-dir").arg(dir.path().join("data"));
    for set in [
        format!("listeners=PLAINTEXT://127.0.0.1:{port}"),
        format!("zookeeper.connect=127.0.0.1:{zookeeper_port}"),
        format!("metrics.port={metrics_port}"),
        "broker.id=0".to_owned(),
        "zookeeper.session.timeout.ms=60000".to_owned(),
    ] {
        command.args(["--override", &set]);
    }
    let mut broker = Process::start(command, &dir.path().join("broker.log"));
    broker.announce(&loud::OF_NEIGHBOURS);
    broker.wait_for_port(port);
    let health = |what: &str, status: u16, condition: &str| {
        wait::until(what, LIMIT, || {
            let (found, body) = get(metrics_port, "/health")?;
            let told = format!("\"status\":\"{condition}\"");
            (found == status && body.contains(&told)).then_some(body)
        })
    };
    health("the broker to be well", 200, "ok");
    zookeeper.kill_9();
    let told = health("the loss to be told", 200, "degraded");
    assert!(told.contains("ZooKeeper does not answer"), "{told}");
    drop(zookeeper);
    let _zookeeper = coordinator();
    health("the broker to be well again", 200, "ok");
    let (_, text) = get(metrics_port, "/metrics").unwrap();
    let lost = "kafka_server_sessionexpirelistener_zookeeperdisconnects_total ";
    let line = text.lines().find(|line| line.starts_with(lost)).unwrap();
    assert_ne!(line, format!("{lost}0"));
    assert_eq!(broker.terminate(LIMIT).code(), Some(0));
}
