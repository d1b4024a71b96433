//! Scripts of requests and answers, played against a fresh server: `tree.txt`, `watches.txt`.

#![allow(
    clippy::unwrap_used,
    reason = "a test program: a panic is its way to fail"
)]

mod raw;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use coordinator::Config;
use protocol::zookeeper::errors::Code;
use protocol::zookeeper::jute::Reader;
use protocol::zookeeper::ops;
use protocol::zookeeper::types::Stat;
use raw::{Client, Reply};

/// The text of an answer: `ok`, an error's name, or what `show` makes of it.
fn told(reply: &Reply, show: impl FnOnce(&Reply) -> String) -> String {
    if reply.code == Code::OK {
        show(reply)
    } else {
        reply.code.to_string()
    }
}

fn data_and_stat(reply: &Reply) -> String {
    let mut reader = Reader::new(&reply.body);
    let data = String::from_utf8(reader.buffer().unwrap().unwrap_or_default().to_vec()).unwrap();
    let stat = Stat::read(&mut reader).unwrap();
    format!("{data} v{} c{}", stat.version, stat.num_children)
}

fn play_request(client: &mut Client, words: &[&str]) -> String {
    let ok = |_: &Reply| "ok".to_owned();
    let version = |reply: &Reply| format!("v{}", reply.stat().version);
    match words {
        ["create", "-e", path, data] => {
            told(&client.create(path, data.as_bytes(), 1), Reply::string)
        }
        ["create", "-s", path, data] => {
            told(&client.create(path, data.as_bytes(), 2), Reply::string)
        }
        ["create", path, data] => told(&client.create(path, data.as_bytes(), 0), Reply::string),
        ["get", "-w", path] => told(&client.get(path, true), data_and_stat),
        ["get", path] => told(&client.get(path, false), data_and_stat),
        ["exists", "-w", path] => told(&client.exists(path, true), version),
        ["ls", "-w", path] => told(&client.children(path, true), |r| r.strings().join(" ")),
        ["ls", path] => told(&client.children(path, false), |r| r.strings().join(" ")),
        ["set", path, data, at] => told(
            &client.set(path, data.as_bytes(), at.parse().unwrap()),
            version,
        ),
        ["delete", path, at] => told(&client.delete(path, at.parse().unwrap()), ok),
        ["watch", path] | ["watch", "-r", path] => {
            let mode = i32::from(words[1] == "-r");
            let reply = client.call(ops::ADD_WATCH, |w| {
                w.string(path).int(mode);
            });
            told(&reply.unwrap(), ok)
        }
        ["unwatch", path] => {
            let reply = client.call(ops::REMOVE_WATCHES, |w| {
                w.string(path).int(3);
            });
            told(&reply.unwrap(), ok)
        }
        ["close"] => told(&client.call(ops::CLOSE_SESSION, |_| {}).unwrap(), ok),
        other => panic!("no such request: {other:?}"),
    }
}

/// Events of all clients so far; a ping's answer comes after them.
fn heard(clients: &mut BTreeMap<String, Client>) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, client) in clients {
        client.send_as(ops::XID_PING, ops::PING, |_| {}).unwrap();
        client.receive().unwrap();
        for (kind, path) in client.events.drain(..) {
            let kind = ["", "created", "deleted", "changed", "children"][kind as usize];
            lines.push(format!("{name} hears {kind} {path}"));
        }
    }
    lines
}

fn play(address: SocketAddr, script: &str) {
    let mut clients: BTreeMap<String, Client> = BTreeMap::new();
    let mut events: Vec<String> = Vec::new();
    for (at, line) in script.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.contains(" hears ") {
            assert!(
                !events.is_empty(),
                "line {}: nothing was heard, not {line:?}",
                at + 1
            );
            assert_eq!(events.remove(0), line, "line {}", at + 1);
            continue;
        }
        assert!(events.is_empty(), "before line {}: {events:?}", at + 1);
        let (request, answer) = line.split_once("=>").unwrap();
        let words: Vec<&str> = request.split_whitespace().collect();
        let name = words[0].to_owned();
        let client = clients
            .entry(name.clone())
            .or_insert_with(|| Client::connect(address).expect("the server listens"));
        assert_eq!(
            play_request(client, &words[1..]),
            answer.trim(),
            "line {}: {line}",
            at + 1
        );
        if words[1] == "close" {
            clients.remove(&name);
        }
        events = heard(&mut clients);
    }
    assert!(events.is_empty(), "at the end: {events:?}");
}

async fn play_fresh(script: &'static str) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path());
    config.port = 0;
    let handle = coordinator::start(config).await.unwrap();
    let address = handle.address();
    tokio::task::spawn_blocking(move || play(address, script))
        .await
        .unwrap();
    handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tree_script_holds() {
    play_fresh(include_str!("tree.txt")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watches_script_holds() {
    play_fresh(include_str!("watches.txt")).await;
}
