//! Each server on the directory the other has left: the same tree, the same sessions.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;

use base::chance::Chance;
use protocol::zookeeper::errors::Code;
use protocol::zookeeper::ops;
use tempfile::TempDir;

use crate::raw::{self, Client};
use crate::requests;
use crate::servers::{self, Server};

type Start = fn(&Path) -> Option<Server>;

fn ours(dir: &Path) -> Option<Server> {
    Some(servers::ours(dir))
}

fn ours_gz(dir: &Path) -> Option<Server> {
    let settings = "-Dzookeeper.snapshot.compression.method=gz";
    Some(servers::ours_with(dir, settings))
}

fn apaches_gz(dir: &Path) -> Option<Server> {
    servers::apaches_with(dir, "-Dzookeeper.snapshot.compression.method=gz")
}

fn ours_snappy(dir: &Path) -> Option<Server> {
    let settings = "-Dzookeeper.snapshot.compression.method=snappy";
    Some(servers::ours_with(dir, settings))
}

fn apaches_snappy(dir: &Path) -> Option<Server> {
    servers::apaches_with(dir, "-Dzookeeper.snapshot.compression.method=snappy")
}

/// Snapshots whose names end so.
fn snapshots(dir: &Path, end: &str) -> usize {
    let entries = std::fs::read_dir(dir.join("data/version-2")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.starts_with("snapshot.") && name.ends_with(end))
        .count()
}

/// Every node that alice sees: what the server answers to getData and getACL, Stats and all, to the byte.
fn whole_tree(client: &mut Client) -> BTreeMap<String, [(Code, Vec<u8>); 2]> {
    let (mut tree, mut open) = (BTreeMap::new(), vec!["/".to_owned()]);
    while let Some(path) = open.pop() {
        let data = client.get(&path, false);
        let acl = client.call(ops::GET_ACL, |w| {
            w.string(&path);
        });
        let acl = acl.unwrap();
        if data.code == Code::OK {
            let children = client.children(&path, false).strings();
            let above = path.trim_end_matches('/');
            open.extend(children.iter().map(|child| format!("{above}/{child}")));
        }
        let answers = [data, acl].map(|reply| (reply.code, reply.body));
        tree.insert(path, answers);
    }
    tree
}

/// The sessions that `dump` names, with the second of the day at which each expires.
fn sessions(address: SocketAddr) -> BTreeMap<String, i64> {
    let mut socket = raw::dial(address).unwrap();
    socket.write_all(b"dump").unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    let (mut sessions, mut expires_s) = (BTreeMap::new(), 0);
    let lines = text
        .lines()
        .skip_while(|line| !line.contains("Session Sets"));
    for line in lines.take_while(|line| !line.starts_with("ephemeral nodes")) {
        if let Some((_, date)) = line.split_once(" expire at ") {
            let time = date.split(' ').nth(3).unwrap();
            let parts = time.split(':').map(|part| part.parse::<i64>().unwrap());
            expires_s = parts.fold(0, |sum, part| sum * 60 + part);
        } else if line.trim().starts_with("0x") {
            sessions.insert(line.trim().to_owned(), expires_s);
        }
    }
    sessions
}

/// Opens a session that nobody comes back to; gives what `dump` calls it.
fn leave_session(address: SocketAddr, timeout_ms: i32) -> String {
    let client = Client::resume(address, 0, &[0; 16], timeout_ms).unwrap();
    format!("0x{:x}", client.session)
}

/// Sessions left behind, with their timeouts.
const LEFT_MS: [i32; 2] = [300_000, 500_000];

/// The same sessions; and after a start the left ones have all of their own timeouts before them.
fn compare_sessions(
    before: &BTreeMap<String, i64>,
    after: &BTreeMap<String, i64>,
    left: &[String],
) {
    assert!(before.keys().eq(after.keys()), "{before:?} {after:?}");
    let apart_s = (after[&left[1]] - after[&left[0]]).rem_euclid(86_400);
    let expected_s = i64::from(LEFT_MS[1] - LEFT_MS[0]) / 1_000;
    assert!(apart_s.abs_diff(expected_s) <= 4, "{after:?}");
}

/// Writes with one server, kills it, and looks with the other: twice, so that logs of both meet.
fn hand_over(first: Start, second: Start) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut session, mut password) = (0, vec![0; 16]);
    let (mut before, mut left) = (None, Vec::new());
    for (round, start) in [first, second, first, second].into_iter().enumerate() {
        let Some(mut server) = start(dir.path()) else {
            break;
        };
        // Apache's server notes a snapshot's digest while it writes on: what is in the nodes may be one
        // transaction ahead of it. The trees are compared below.
        server.announce("the tree's digest is not the one in the files");
        let mut client = Client::resume(server.address, session, &password, 600_000).unwrap();
        assert_ne!(client.session, 0, "round {round}: the session is gone");
        let authenticated = client.send_as(-4, ops::AUTH, |w| {
            w.int(0).string("digest").buffer(Some(b"alice:secret"));
        });
        authenticated.unwrap();
        assert_eq!(client.receive().unwrap().code, Code::OK);
        if let Some((tree, there)) = before {
            assert_eq!(tree, whole_tree(&mut client), "round {round}");
            compare_sessions(&there, &sessions(server.address), &left);
            let owned = client.exists("/mine", false);
            assert_eq!(owned.stat().ephemeral_owner, session, "round {round}");
        } else {
            assert_eq!(client.create("/mine", b"", 1).code, Code::OK);
            left.extend(LEFT_MS.map(|ms| leave_session(server.address, ms)));
        }
        let chance = Chance::seeded(round as u64);
        for _ in 0..400 {
            let request = requests::next(&chance);
            if matches!(request.op, ops::CHECK | ops::CLOSE_SESSION) {
                // These end the connection, and there is only this one.
                continue;
            }
            client
                .send(request.op, |w| w.0.extend_from_slice(&request.body))
                .unwrap();
            client.receive().unwrap();
        }
        for at in 0..800 {
            client.set("/mine", format!("{round} {at}").as_bytes(), -1);
        }
        before = Some((whole_tree(&mut client), sessions(server.address)));
        (session, password) = (client.session, client.password.clone());
        server.kill();
    }
    dir
}

#[test]
fn our_directory_opens_in_apaches_server_and_back() {
    hand_over(ours, servers::apaches);
}

#[test]
fn apaches_directory_opens_in_ours_and_back() {
    hand_over(servers::apaches, ours);
}

#[test]
fn snapshots_packed_with_gzip_open_in_both() {
    let dir = hand_over(ours_gz, apaches_gz);
    assert!(snapshots(dir.path(), ".gz") > 0 && snapshots(dir.path(), ".0") == 0);
}

#[test]
fn snapshots_packed_with_snappy_open_in_both() {
    let dir = hand_over(ours_snappy, apaches_snappy);
    assert!(snapshots(dir.path(), ".snappy") > 0 && snapshots(dir.path(), ".0") == 0);
}
