//! Clients that were made for ZooKeeper, on our server: Apache's shell with and without SASL and
//! TLS, kazoo's recipes, the crate our tools use, and Apache's own Kafka.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::ports::free_port;
use harness::process::{self, Process};
use harness::{peers, tool, wait};

use crate::raw::Client;
use crate::servers;

/// What one command must answer to.
const SHELL: &str = "create /a one\ncreate -s /a/n- x\ncreate -e /a/e x\nls -R /a\nget /a\nset /a two\n\
    set -v 7 /a three\nstat /none\ndelete /a\naddWatch -m PERSISTENT_RECURSIVE /a\n\
    create /a/w x\nremovewatches /a\nsetquota -n 5 /a\nlistquota /a\ndelquota /a\n\
    addauth digest bob:secret\nsetAcl /a/w auth::cdrwa\ngetAcl /a/w\nwhoami\n\
    getEphemerals /a\ngetAllChildrenNumber /a\nsync /a\ndeleteall /a\nls /\nversion\nquit\n";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../coordinator/tests/golden/tls")
        .join(name)
}

/// Apache's shell, told what to do line by line; what it printed.
fn zk_cli(port: u16, options: &[String], lines: &str) -> Option<String> {
    let home = peers::installed("zookeeper-3.9")?;
    let mut command = Command::new("java");
    command.args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]);
    command.arg(format!(
        "-Dlogback.configurationFile={}",
        home.join("config/logback.xml").display()
    ));
    command.args(options);
    command.args(["-cp", &format!("{}/libs/*", home.display())]);
    command.args(["org.apache.zookeeper.ZooKeeperMain", "-server"]);
    command.arg(format!("127.0.0.1:{port}"));
    let output = tool::run(&mut command, lines);
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Some(text)
}

/// Lines that depend on neither times nor the order in which an event was printed.
fn comparable(text: &str) -> Vec<String> {
    let told = |line: &&str| {
        !line.is_empty()
            && ![
                "time =",
                "INFO",
                "Connecting",
                "WATCHER",
                "WatchedEvent",
                "ERROR",
                "WARN",
            ]
            .iter()
            .any(|noise| line.contains(noise))
    };
    let mut lines: Vec<String> = text.lines().filter(told).map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn apaches_shell_prints_the_same_on_both_servers() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let Some(apaches) = servers::apaches(dirs[0].path()) else {
        return;
    };
    let ours = servers::ours(dirs[1].path());
    let [theirs, own] =
        [apaches.address, ours.address].map(|address| zk_cli(address.port(), &[], SHELL).unwrap());
    assert_eq!(
        comparable(&theirs),
        comparable(&own),
        "{theirs}\n---\n{own}"
    );
    assert!(own.contains("/a/n-0000000000"), "{own}");
    assert!(own.contains("NodeCreated path:/a/w"), "{own}");
}

#[test]
fn apaches_shell_authenticates_by_sasl() {
    let dir = tempfile::tempdir().unwrap();
    let jaas = dir.path().join("jaas.conf");
    std::fs::write(&jaas, servers::jaas("secret")).unwrap();
    let server = servers::ours_with(
        dir.path(),
        &format!(
            "fips-mode=false\njava.security.auth.login.config={}\n\
             authProvider.sasl=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n",
            jaas.display()
        ),
    );
    let options = [
        "-Dzookeeper.fips-mode=false".to_owned(),
        format!("-Djava.security.auth.login.config={}", jaas.display()),
    ];
    let port = server.address.port();
    let lines = "whoami\ncreate /mine x sasl:bob:cdrwa\nget /mine\nquit\n";
    let Some(told) = zk_cli(port, &options, lines) else {
        return;
    };
    assert!(
        told.contains("sasl: bob") && told.contains("Created /mine"),
        "{told}"
    );
    std::fs::write(&jaas, servers::jaas("guessed")).unwrap();
    let refused = zk_cli(port, &options, "get /mine\nquit\n").unwrap();
    assert!(
        refused.contains("AuthFailed") || refused.contains("AuthenticationFailed"),
        "{refused}"
    );
    let mut stranger = Client::connect(server.address).unwrap();
    let denied = stranger.get("/mine", false).code;
    assert_eq!(denied, protocol::zookeeper::errors::Code::NO_AUTH);
}

#[test]
fn apaches_shell_speaks_tls_and_is_known_by_its_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let secure = free_port();
    let settings = format!(
        "secureClientPort={secure}\nclient.portUnification=true\n\
         ssl.keyStore.location={}\nssl.trustStore.location={}\n",
        golden("server.pem").display(),
        golden("ca.pem").display()
    );
    let server = servers::ours_with(dir.path(), &settings);
    let options = [
        "-Dzookeeper.client.secure=true".to_owned(),
        "-Dzookeeper.clientCnxnSocket=org.apache.zookeeper.ClientCnxnSocketNetty".to_owned(),
        format!(
            "-Dzookeeper.ssl.keyStore.location={}",
            golden("client.pem").display()
        ),
        format!(
            "-Dzookeeper.ssl.trustStore.location={}",
            golden("ca.pem").display()
        ),
    ];
    for port in [secure, server.address.port()] {
        let Some(told) = zk_cli(
            port,
            &options,
            "whoami\ncreate /t x auth::r\ngetAcl /t\nquit\n",
        ) else {
            return;
        };
        assert!(
            told.contains("x509: CN=alice,OU=tests,O=Rotpeter\\, Inc.,C=XX"),
            "{told}"
        );
    }
    // A client without a certificate does not get in.
    let without = [&options[..2], &options[3..]].concat();
    let refused = zk_cli(secure, &without, "ls /\nquit\n").unwrap();
    assert!(!refused.contains("zookeeper]"), "{refused}");
}

#[test]
fn kazoos_recipes_run() {
    let Some(home) = peers::installed("python") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let server = servers::ours(dir.path());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("coordinator/clients/recipes.py");
    let mut command = Command::new(home.join("bin/python"));
    command.arg(script).arg(server.address.to_string());
    let output = tool::run(&mut command, "");
    let told = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && told.ends_with("done\n"),
        "{told}{said}"
    );
}

#[test]
fn the_zookeeper_client_crate_is_at_home() {
    let dir = tempfile::tempdir().unwrap();
    let server = servers::ours(dir.path());
    let shell = |words: &[&str]| {
        let mut command = Command::new(process::program("kafka"));
        command
            .arg("zookeeper-shell")
            .arg(server.address.to_string());
        tool::done(command.args(words), "")
    };
    shell(&["create", "/a", "one"]);
    shell(&["set", "/a", "two"]);
    assert!(shell(&["get", "/a"]).contains("two"));
    assert!(shell(&["ls", "/"]).contains("[a, zookeeper]"));
    shell(&["deleteall", "/a"]);
}

fn kcat(port: u16, words: &[&str], lines: &str) -> Option<String> {
    let mut command = Command::new(peers::program("kcat")?);
    command
        .arg("-b")
        .arg(format!("127.0.0.1:{port}"))
        .args(words);
    let output = tool::run(&mut command, lines);
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Produces to a topic that is made for it, and reads that back.
fn round_trip(port: u16, topic: &str) {
    let limit = Duration::from_secs(90);
    wait::until(&format!("{topic} to be written"), limit, || {
        kcat(
            port,
            &["-P", "-t", topic, "-X", "message.timeout.ms=10000"],
            "a\n",
        )
    });
    wait::until(&format!("{topic} to be read"), limit, || {
        let read = ["-C", "-t", topic, "-o", "beginning", "-e", "-q"];
        kcat(port, &read, "").filter(|text| text.starts_with("a\n"))
    });
}

#[test]
#[ignore = "a JVM broker takes its time; part of --all"]
fn apaches_kafka_runs_on_it_and_goes_on_when_it_was_killed() {
    if peers::program("kcat").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let zookeeper = free_port();
    let mut server = servers::ours_at(dir.path(), zookeeper, "");
    let mut brokers = Vec::new();
    for id in 1..=2 {
        let port = free_port();
        let properties = dir.path().join(format!("broker-{id}.properties"));
        let text = format!(
            "broker.id={id}\nlisteners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs={}\n\
             zookeeper.connect=127.0.0.1:{zookeeper}\noffsets.topic.replication.factor=1\n\
             default.replication.factor=2\ngroup.initial.rebalance.delay.ms=0\n",
            dir.path().join(format!("logs-{id}")).display()
        );
        std::fs::write(&properties, text).unwrap();
        let Some(mut command) = peers::apache_tool("kafka-3.9", "kafka-server-start") else {
            return;
        };
        command.arg(&properties);
        let log = dir.path().join(format!("broker-{id}.log"));
        brokers.push((Process::start(command, &log), port));
    }
    for (broker, _) in &mut brokers {
        broker.wait_for_log("started (kafka.server.KafkaServer)");
    }
    let port = brokers[0].1;
    round_trip(port, "before");
    server.kill();
    let server = servers::ours_at(dir.path(), zookeeper, "");
    round_trip(port, "after");
    let mut client = Client::connect(server.address).unwrap();
    // A broker that was slow to come back may have lost its session, and registers again.
    wait::until("both brokers to be there", Duration::from_secs(90), || {
        (client.children("/brokers/ids", false).strings() == ["1", "2"]).then_some(())
    });
    assert_eq!(
        client.children("/brokers/topics", false).strings(),
        ["after", "before"]
    );
}
