//! Settings changed while the broker runs: at once in effect, kept in ZooKeeper, there after a
//! restart.

use std::net::{Ipv4Addr, TcpStream};

use harness::asker::Asker;
use harness::ports::free_port;
use harness::wait;
use protocol::StrBytes;
use protocol::kafka::apis::Api;
use protocol::messages::IncrementalAlterConfigsRequest;
use protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};

use crate::running::{LIMIT, Running};

fn alter(running: &Running, entity: &[&str], change: &[&str]) -> (bool, String) {
    let mut words = vec!["configs", "--alter"];
    words.extend_from_slice(entity);
    words.extend_from_slice(change);
    running.tool(&words, "")
}

const BROKER: [&str; 4] = ["--entity-type", "brokers", "--entity-name", "1"];
const CLUSTER: [&str; 3] = ["--entity-type", "brokers", "--entity-default"];

fn answers(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[test]
fn a_listener_comes_and_goes_while_the_broker_runs() {
    let running =
        Running::start(&["listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECOND:PLAINTEXT"]);
    let (port, second) = (running.single.port, free_port());
    let both = format!("listeners=[PLAINTEXT://127.0.0.1:{port},SECOND://127.0.0.1:{second}]");
    let (content, said) = alter(&running, &BROKER, &["--add-config", &both]);
    assert!(content, "{said}");
    wait::until("the new listener", LIMIT, || answers(second).then_some(()));
    let registered = |wanted: bool| {
        wait::until("the registration to follow", LIMIT, || {
            let at = format!("127.0.0.1:{}", running.single.coordinator_port);
            let mut command = std::process::Command::new(harness::process::program("kafka"));
            let output = command
                .args(["zk", "-server", &at, "get", "/brokers/ids/1"])
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let there = text.contains(&format!("SECOND://127.0.0.1:{second}"));
            (text.contains("PLAINTEXT://") && there == wanted).then_some(())
        });
    };
    registered(true);
    let (content, said) = alter(&running, &BROKER, &["--delete-config", "listeners"]);
    assert!(content, "{said}");
    wait::until("the listener to close", LIMIT, || {
        (!answers(second)).then_some(())
    });
    registered(false);
    assert!(answers(port));
    // An existing listener keeps its protocol.
    let map = "listener.security.protocol.map=[PLAINTEXT:SSL,SECOND:PLAINTEXT]";
    let (content, said) = alter(&running, &BROKER, &["--add-config", map]);
    assert!(!content, "{said}");
}

#[test]
fn a_broker_that_stops_while_its_settings_change_opens_nothing_any_more() {
    let mut running = Running::start(&[]);
    for round in 0..30 {
        let change = AlterableConfig::default()
            .with_name(StrBytes::from_static_str("log.cleaner.backoff.ms"))
            .with_value(Some(StrBytes::from_string((15_000 + round).to_string())));
        let broker = AlterConfigsResource::default()
            .with_resource_type(4)
            .with_resource_name(StrBytes::from_static_str("1"))
            .with_configs(vec![change]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![broker]);
        let mut asker = Asker::connect(&running.single.bootstrap(), "operator");
        asker.ask(Api::IncrementalAlterConfigs, request);
        // What it says that nobody announced fails the test.
        assert!(running.single.process.terminate(LIMIT).success());
        running.single.restart();
    }
}

#[test]
fn what_was_changed_while_running_is_in_effect_and_outlives_a_restart() {
    let mut running = Running::start(&[]);
    running
        .single
        .process
        .announce(&["refused a connection: max.connections.per.ip is reached"]);
    let set = [
        "--add-config",
        "log.cleaner.threads=2,max.connections.per.ip=7",
    ];
    let (content, said) = alter(&running, &CLUSTER, &set);
    assert!(content, "{said}");
    let cleaners = |running: &Running| {
        let tasks = format!("/proc/{}/task", running.single.process.id());
        let names = std::fs::read_dir(tasks)
            .unwrap()
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.starts_with("cleaner-")).count()
    };
    wait::until("a second cleaner", LIMIT, || {
        (cleaners(&running) == 2).then_some(())
    });
    // The limit follows the cleaners, if only by a moment: comers knock until one is refused.
    let mut held = Vec::new();
    wait::until("connections to be refused", LIMIT, || {
        held.extend(TcpStream::connect((
            Ipv4Addr::LOCALHOST,
            running.single.port,
        )));
        let (_, text) = running.get("/metrics");
        let refused = "rotpeter_connections_refused_total{listener=\"PLAINTEXT\"} ";
        let line = text.lines().find(|line| line.starts_with(refused))?;
        (!line.ends_with(" 0")).then_some(())
    });
    drop(held);
    assert!(running.single.process.terminate(LIMIT).success());
    running.single.restart();
    wait::until("both cleaners after the restart", LIMIT, || {
        (cleaners(&running) == 2).then_some(())
    });
    let mut words = vec!["configs", "--describe", "--all"];
    words.extend_from_slice(&BROKER);
    let told = running.does(&words);
    assert!(
        told.contains("log.cleaner.threads=2")
            && told.contains("DYNAMIC_DEFAULT_BROKER_CONFIG:log.cleaner.threads=2"),
        "{told}"
    );
}

#[test]
fn a_log_level_changes_while_the_broker_runs_and_is_told() {
    let mut running = Running::start(&[]);
    running.single.process.announce(&["changed a log level"]);
    let logger = ["--entity-type", "broker-loggers", "--entity-name", "1"];
    let (content, said) = alter(
        &running,
        &logger,
        &["--add-config", "state.change.logger=INFO"],
    );
    assert!(content, "{said}");
    running.does(&["topics", "--create", "--topic", "t", "--partitions", "1"]);
    running.single.process.wait_for_log("became leader");
    let mut words = vec!["configs", "--describe"];
    words.extend_from_slice(&logger);
    let told = running.does(&words);
    assert!(told.contains("state.change.logger=INFO"), "{told}");
    let (content, said) = alter(&running, &logger, &["--add-config", "no.such.Logger=INFO"]);
    assert!(!content && said.contains("no.such.Logger"), "{said}");
}
