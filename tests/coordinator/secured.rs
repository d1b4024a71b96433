//! `kafka zk` where a server wants TLS or SASL, ours or Apache's; stores of keys are PEM, PKCS12 and
//! JKS.

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::ports::free_port;
use harness::{process, tool};

use crate::servers::{self, Server};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../coordinator/tests/golden/tls")
        .join(name)
}

/// Starts our server, or Apache's where it is installed; settings are lines of the file or `-D` words.
type Start = fn(&Path, &str) -> Option<Server>;

fn ours(dir: &Path, settings: &str) -> Option<Server> {
    Some(servers::ours_with(dir, settings))
}

fn apaches(dir: &Path, settings: &str) -> Option<Server> {
    let netty = "-Dzookeeper.serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory";
    servers::apaches_with(dir, &format!("{settings}{netty}\n"))
}

/// What our shell says to one command, on both channels.
fn zk(port: u16, options: &[&str], flags: &str, words: &str) -> String {
    let mut command = Command::new(process::program("kafka"));
    command.args(["zk", "-timeout", "20000", "-waitforconnection", "-server"]);
    command.arg(format!("127.0.0.1:{port}")).args(options);
    command.args(words.split(' ')).env("CLIENT_JVMFLAGS", flags);
    let output = tool::run(&mut command, "");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    text
}

/// The settings of a secure port, with the server's key in this store.
fn secure_port(port: u16, key_store: &str, trust_store: &str) -> String {
    format!(
        "secureClientPort={port}\nssl.keyStore.location={}\nssl.keyStore.password=secret\n\
         ssl.trustStore.location={}\nssl.trustStore.password=secret\n",
        golden(key_store).display(),
        golden(trust_store).display()
    )
}

fn speaks_tls(start: Start) {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let Some(_server) = start(dir.path(), &secure_port(port, "server.p12", "ca.jks")) else {
        return;
    };
    let properties = dir.path().join("client.properties");
    let file = ["-client-configuration", properties.to_str().unwrap()];
    let hasty = [&file[..], &["-timeout", "3000"]].concat();
    let secure = "zookeeper.client.secure=true\n";
    let store = |kind: &str, name: &str| {
        format!(
            "zookeeper.ssl.{kind}.location={}\nzookeeper.ssl.{kind}.password=secret\n",
            golden(name).display()
        )
    };
    let (trust, own) = (
        store("trustStore", "ca.p12"),
        store("keyStore", "client.pem"),
    );
    let whole = format!("{secure}{trust}{own}");
    std::fs::write(&properties, &whole).unwrap();
    let told = zk(port, &file, "", "whoami");
    assert!(told.contains("x509: CN=alice"), "{told}");
    // The same by a variable, as Apache's scripts hand it on.
    let flags = format!("-D{}", whole.trim_end().replace('\n', " -D"));
    let told = zk(port, &[], &flags, "ls /");
    assert!(told.contains("[zookeeper]"), "{told}");
    // Nobody gets in without a certificate.
    std::fs::write(&properties, format!("{secure}{trust}")).unwrap();
    let told = zk(port, &hasty, "", "ls /");
    assert!(!told.contains("[zookeeper]"), "{told}");
    // Nor is a server believed whose authority is not trusted.
    let other = store("trustStore", "client.pem");
    std::fs::write(&properties, format!("{secure}{other}{own}")).unwrap();
    let told = zk(port, &hasty, "", "ls /");
    assert!(
        told.contains("UnknownIssuer") && !told.contains("[zookeeper]"),
        "{told}"
    );
}

#[test]
fn our_shell_speaks_tls_with_our_server() {
    speaks_tls(ours);
}

#[test]
fn our_shell_speaks_tls_with_apaches_server() {
    speaks_tls(apaches);
}

#[test]
fn the_status_of_a_server_with_a_secure_port_alone_is_asked_there() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let secure = secure_port(port, "server.p12", "ca.jks");
    let _server = servers::ours_with(dir.path(), &secure);
    let settings = dir.path().join("status.cfg");
    let alone = format!("dataDir=data\nsecureClientPortAddress=127.0.0.1\n{secure}");
    std::fs::write(&settings, alone).unwrap();
    let status = |flags: &str| {
        let mut command = Command::new(process::program("kafka"));
        command.args(["zkServer", "status"]).arg(&settings);
        let output = tool::run(command.env("CLIENT_JVMFLAGS", flags), "");
        let (out, err) = (output.stdout, output.stderr);
        [out, err].map(|text| String::from_utf8_lossy(&text).into_owned())
    };
    let [_out, told] = status("");
    assert!(told.contains("-Dzookeeper.client.secure=true"), "{told}");
    let flags = format!(
        "-Dzookeeper.client.secure=true -Dzookeeper.ssl.trustStore.location={} \
         -Dzookeeper.ssl.trustStore.password=secret -Dzookeeper.ssl.keyStore.location={} \
         -Dzookeeper.ssl.keyStore.password=secret",
        golden("ca.p12").display(),
        golden("client.pem").display()
    );
    let [told, _err] = status(&flags);
    let expected = format!(
        "Client port found: {port}. Client address: 127.0.0.1. Client SSL: true.\nMode: standalone\n"
    );
    assert_eq!(told, expected);
}

fn speaks_sasl(start: Start) {
    let dir = tempfile::tempdir().unwrap();
    let jaas = dir.path().join("jaas.conf");
    std::fs::write(&jaas, servers::jaas("secret")).unwrap();
    let login = format!("-Djava.security.auth.login.config={}", jaas.display());
    let allowed = "-Dzookeeper.fips-mode=false";
    let settings = format!(
        "authProvider.sasl=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n\
         {allowed}\n{login}\n"
    );
    let Some(server) = start(dir.path(), &settings) else {
        return;
    };
    let port = server.address.port();
    let flags = format!("{allowed} {login}");
    let told = zk(port, &[], &flags, "create /mine x sasl:bob:cdrwa");
    assert!(told.contains("Created /mine"), "{told}");
    let told = zk(port, &[], &flags, "get /mine");
    assert!(told.contains("\nx\n"), "{told}");
    let told = zk(port, &[], "", "get /mine");
    assert!(told.contains("Insufficient permission"), "{told}");
    // Whoever guesses is told so, and nothing else.
    std::fs::write(&jaas, servers::jaas("guessed")).unwrap();
    let told = zk(port, &["-timeout", "3000"], &flags, "get /mine");
    assert!(
        told.contains("state:AuthFailed") && !told.contains("\nx\n"),
        "{told}"
    );
    let told = zk(port, &[], &login, "get /mine");
    assert!(told.contains("fips-mode"), "{told}");
}

#[test]
fn our_shell_shows_by_sasl_who_it_is_to_our_server() {
    speaks_sasl(ours);
}

#[test]
fn our_shell_shows_by_sasl_who_it_is_to_apaches_server() {
    speaks_sasl(apaches);
}
