//! `cub`: waits until Kafka or ZooKeeper is ready, as the scripts of Confluent's images do.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use base::clock::Clock;
use coordinator::Dialler;
use znodes::bodies::broker::Broker;
use znodes::paths;
use znodes::store::Store;

use crate::failure::Failure;
use crate::kafka::admin::Admin;
use crate::print::Out;
use crate::properties::Properties;
use crate::zk_shell::line::Line;

/// More than this no word is answered with.
const ANSWER_MAX: usize = 64 * 1024;

/// What a ZooKeeper answers to one of its four-letter words; with a dialler, on its secure port.
pub(super) fn four_letters(address: &str, word: &str, dialler: Option<&Dialler>) -> Option<String> {
    let patience = Duration::from_secs(5);
    let (host, _port) = address.rsplit_once(':')?;
    let at = address.to_socket_addrs().ok()?.next()?;
    let socket = TcpStream::connect_timeout(&at, patience).ok()?;
    socket.set_read_timeout(Some(patience)).ok()?;
    let line = match dialler {
        None => Line::Open(socket),
        Some(dialler) => Line::Secure(Box::new(dialler.connect(host, socket).ok()?)),
    };
    line.write_all(word.as_bytes()).ok()?;
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    while answer.len() < ANSWER_MAX {
        match line.read(&mut piece).ok()? {
            0 => break,
            got => answer.extend_from_slice(&piece[..got]),
        }
    }
    String::from_utf8(answer).ok()
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
                    four_letters(host.trim(), "srvr", None)
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
