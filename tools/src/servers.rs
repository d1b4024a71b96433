//! Starting and stopping the programs, and asking whether they are up: `kafka-server-start`,
//! `-stop`, `zookeeper-server-start`, `-stop`, `zkServer`, `kafka-storage`, `cub`.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use base::clock::Clock;
use protocol::ids::TopicId;
use znodes::bodies::broker::Broker;
use znodes::paths;
use znodes::store::Store;

use crate::failure::Failure;
use crate::kafka::admin::Admin;
use crate::print::Out;
use crate::properties::Properties;
use crate::say;

/// `kafka-server-start [-daemon] config [--override key=value]*`
pub(crate) async fn server_start(line: &[String], _out: &mut Out) -> Result<(), Failure> {
    start(
        "broker",
        "USAGE: kafka-server-start.sh [-daemon] server.properties [--override property=value]*",
        line,
    )
}

/// `zookeeper-server-start [-daemon] config`
pub(crate) async fn zookeeper_start(line: &[String], _out: &mut Out) -> Result<(), Failure> {
    start(
        "coordinator",
        "USAGE: zookeeper-server-start.sh [-daemon] zookeeper.properties",
        line,
    )
}

/// The server lies beside this program; where it does not, the path is searched.
fn program(name: &str) -> std::path::PathBuf {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|own| own.canonicalize().ok());
    let beside = beside.and_then(|own| own.parent().map(|folder| folder.join(name)));
    beside
        .filter(|path| path.exists())
        .unwrap_or_else(|| name.into())
}

fn start(name: &str, usage: &str, line: &[String]) -> Result<(), Failure> {
    let daemon = line.first().is_some_and(|word| word == "-daemon");
    let rest = if daemon { &line[1..] } else { line };
    if rest.is_empty() {
        return Err(Failure::said(usage));
    }
    let program = program(name);
    let path = program.display().to_string();
    let mut command = Command::new(program);
    command.args(rest);
    if daemon {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        return match command.spawn() {
            Ok(_) => Ok(()),
            Err(cause) => Err(Failure::File {
                act: "start",
                path,
                cause,
            }),
        };
    }
    // On success the server takes this process over and nothing comes back.
    Err(Failure::File {
        act: "start",
        path,
        cause: command.exec(),
    })
}

pub(crate) async fn server_stop(_line: &[String], out: &mut Out) -> Result<(), Failure> {
    stop("broker", "kafka server", out)
}

pub(crate) async fn zookeeper_stop(_line: &[String], out: &mut Out) -> Result<(), Failure> {
    stop("coordinator", "zookeeper server", out)
}

/// Asks every process of the program's name to end.
fn stop(name: &str, label: &str, out: &mut Out) -> Result<(), Failure> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let first = line.split(|byte| *byte == 0).next().unwrap_or_default();
        let first = String::from_utf8_lossy(first);
        if id.bytes().all(|byte| byte.is_ascii_digit()) && first.rsplit('/').next() == Some(name) {
            found.push(id);
        }
    }
    if found.is_empty() {
        say!(out, "No {label} to stop");
        return Err(Failure::Exit(1));
    }
    let done = Command::new("kill").args(&found).status();
    done.map_err(|cause| Failure::File {
        act: "run",
        path: "kill".to_string(),
        cause,
    })?;
    Ok(())
}

/// `zkServer start|start-foreground|stop|status|version`
pub(crate) async fn zk_server(line: &[String], out: &mut Out) -> Result<(), Failure> {
    let config = |out: &mut Out| {
        let path = line.get(1).map_or("zoo.cfg", String::as_str);
        say!(out, "Using config: {path}");
        path.to_string()
    };
    match line.first().map(String::as_str) {
        Some("start") => {
            let path = config(out);
            out.text(format_args!("Starting zookeeper ... "));
            out.flush();
            start("coordinator", "", &["-daemon".to_string(), path])?;
            say!(out, "STARTED");
            Ok(())
        }
        Some("start-foreground") => {
            let path = config(out);
            out.flush();
            start("coordinator", "", &[path])
        }
        Some("stop") => {
            config(out);
            out.text(format_args!("Stopping zookeeper ... "));
            stop("coordinator", "zookeeper", out)?;
            say!(out, "STOPPED");
            Ok(())
        }
        Some("status") => status(&config(out), out),
        Some("version") => {
            say!(out, "Apache ZooKeeper, version 3.9");
            Ok(())
        }
        _ => Err(Failure::said(
            "Usage: zkServer [--config <conf-dir>] {start|start-foreground|stop|version|restart|status|print-cmd}",
        )),
    }
}

fn status(path: &str, out: &mut Out) -> Result<(), Failure> {
    let settings = Properties::load(Some(path)).unwrap_or_default();
    let host = settings
        .get("clientPortAddress")
        .unwrap_or("localhost")
        .to_string();
    let port = settings.get("clientPort").unwrap_or("2181").to_string();
    say!(
        out,
        "Client port found: {port}. Client address: {host}. Client SSL: false."
    );
    match four_letters(&format!("{host}:{port}"), "srvr") {
        Some(answer) if answer.contains("Mode: ") => {
            let mode = answer.lines().find(|line| line.starts_with("Mode: "));
            say!(out, "{}", mode.unwrap_or_default());
            Ok(())
        }
        _ => {
            say!(out, "Error contacting service. It is probably not running.");
            Err(Failure::Exit(1))
        }
    }
}

/// What a ZooKeeper answers to one of its four-letter words.
fn four_letters(address: &str, word: &str) -> Option<String> {
    let patience = Duration::from_secs(5);
    let address = address.to_socket_addrs().ok()?.next()?;
    let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    stream.write_all(word.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.take(64 * 1024).read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// `kafka-storage random-uuid`; the rest belongs to clusters without ZooKeeper.
pub(crate) async fn storage(line: &[String], out: &mut Out) -> Result<(), Failure> {
    match line.first().map(String::as_str) {
        Some("random-uuid") if line.len() > 1 => Err(Failure::said(format!(
            "usage: kafka-storage random-uuid [-h]\nkafka-storage: error: unrecognized arguments: '{}'",
            line[1]
        ))),
        Some("random-uuid") => {
            say!(out, "{}", TopicId::random());
            Ok(())
        }
        Some(other) => Err(Failure::said(format!(
            "kafka-storage {other} prepares the folders of a cluster without ZooKeeper. This one is in ZooKeeper mode: a broker prepares its folders itself when it starts."
        ))),
        None => Err(Failure::said(
            "usage: kafka-storage [-h] {info,format,version-mapping,feature-dependencies,random-uuid} ...",
        )),
    }
}

/// `cub kafka-ready MIN_BROKERS TIMEOUT_SECONDS -b SERVERS | -z ZOOKEEPER`, `cub zk-ready ZOOKEEPER TIMEOUT_SECONDS`
pub(crate) async fn cub(line: &[String], _out: &mut Out) -> Result<(), Failure> {
    let usage = || {
        Failure::said(
            "usage: cub zk-ready CONNECT TIMEOUT_SECONDS | cub kafka-ready MIN_BROKERS TIMEOUT_SECONDS (-b SERVERS | -z CONNECT) [-c FILE]",
        )
    };
    let (mut brokers, mut zookeeper, mut file) = (None, None, None);
    let mut plain = Vec::new();
    let mut words = line.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-b" | "--bootstrap_broker_list" => brokers = Some(words.next().ok_or_else(usage)?),
            "-z" | "--zookeeper_connect" => zookeeper = Some(words.next().ok_or_else(usage)?),
            "-c" | "--config" => file = Some(words.next().ok_or_else(usage)?.as_str()),
            "-s" | "--security" => {
                words.next().ok_or_else(usage)?;
            }
            _ => plain.push(word.as_str()),
        }
    }
    let [what, first, seconds] = plain[..] else {
        return Err(usage());
    };
    let clock = Clock::system();
    let seconds = seconds.parse::<i64>().map_err(|_| usage())?;
    let until = clock
        .monotonic_ms()
        .saturating_add(seconds.saturating_mul(1000));
    match what {
        "zk-ready" => {
            let hosts = first.split('/').next().unwrap_or_default();
            loop {
                let up = hosts.split(',').any(|host| {
                    four_letters(host.trim(), "srvr")
                        .is_some_and(|answer| answer.contains("Mode: "))
                });
                if up {
                    return Ok(());
                }
                late(&clock, until, "ZooKeeper").await?;
            }
        }
        "kafka-ready" => {
            let least = first.parse::<usize>().map_err(|_| usage())?;
            let properties = Properties::load(file)?;
            if brokers.is_none() && zookeeper.is_none() {
                return Err(usage());
            }
            loop {
                let servers = match (brokers, zookeeper) {
                    (Some(servers), _) => Some(servers.clone()),
                    (None, Some(connect)) => registered(connect).await.ok().flatten(),
                    (None, None) => None,
                };
                if let Some(servers) = servers {
                    let admin = Admin::connect(&servers, &properties).await;
                    if admin.is_ok_and(|admin| admin.nodes.len() >= least) {
                        return Ok(());
                    }
                }
                late(&clock, until, "Kafka").await?;
            }
        }
        _ => Err(usage()),
    }
}

/// The first address of each broker registered in ZooKeeper; `None` while there is no broker.
async fn registered(connect: &str) -> Result<Option<String>, Failure> {
    let zk = crate::zookeeper::session(connect).await?;
    let mut addresses = Vec::new();
    for id in zk.list(paths::IDS, None).await?.unwrap_or_default() {
        let path = format!("{}/{id}", paths::IDS);
        let Some(node) = zk.get(&path, None).await? else {
            continue;
        };
        let broker = Broker::decode(&node.data).ok();
        if let Some(one) = broker.as_ref().and_then(|broker| broker.endpoints.first()) {
            addresses.push(format!("{}:{}", one.host, one.port));
        }
    }
    zk.close().await;
    Ok((!addresses.is_empty()).then(|| addresses.join(",")))
}

async fn late(clock: &Clock, until: i64, what: &str) -> Result<(), Failure> {
    if clock.monotonic_ms() >= until {
        return Err(Failure::said(format!("{what} is not ready")));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok(())
}
