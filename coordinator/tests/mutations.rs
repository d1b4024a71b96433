//! Twenty thousand damaged directories and a hundred thousand damaged requests, from fixed seeds:
//! what cannot be read is refused, and nothing panics or takes memory for a count it only claims.

#![allow(
    clippy::unwrap_used,
    reason = "a test program: a panic is its way to fail"
)]

mod raw;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base::chance::Chance;
use base::faulty_disk::FaultyDisk;
use coordinator::Config;
use protocol::zookeeper::errors::Code;
use protocol::zookeeper::jute::{Reader, Writer};
use protocol::zookeeper::ops;
use protocol::zookeeper::requests::Request;
use protocol::zookeeper::types::Acl;

const VERSION_2: &str = "/data/version-2";

/// Numbers that lengths, counts and versions go wrong by.
const EDGES: [i32; 8] = [0, 1, -1, -2, i32::MAX, i32::MIN, 0x00ff_ffff, 0x0100_0000];

/// One to four changes: a bit, a byte, a number, a cut, a piece twice.
fn damage(chance: &Chance, bytes: &mut Vec<u8>) {
    for _ in 0..=chance.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = chance.below(bytes.len() as u64) as usize;
        let len = (chance.below(32) as usize).min(bytes.len() - at);
        match chance.below(6) {
            0 => bytes[at] ^= 1 << chance.below(8),
            1 => bytes[at] = chance.next_u64() as u8,
            2 => {
                let edge = EDGES[chance.below(EDGES.len() as u64) as usize].to_be_bytes();
                let end = (at + 4).min(bytes.len());
                bytes[at..end].copy_from_slice(&edge[..end - at]);
            }
            3 if chance.below(4) == 0 => bytes.truncate(at),
            4 => bytes.extend_from_within(at..at + len),
            _ => {
                bytes.drain(at..at + len);
            }
        }
    }
}

/// A small directory: snapshots, and logs with every kind of transaction. The last log is long
/// whenever the snapshots came to be taken: a second run takes none.
async fn written() -> FaultyDisk {
    let disk = FaultyDisk::new(1);
    for (run, snapshot_count) in [20, 100_000].into_iter().enumerate() {
        let mut config = Config::new("/data");
        config.port = 0;
        config.snapshot_count = snapshot_count;
        config.log_preallocate = 4_096;
        config.extended_types = true;
        config.disk = disk.shared();
        let handle = coordinator::start(config).await.unwrap();
        let address = handle.address();
        let writing = tokio::task::spawn_blocking(move || write(address, run));
        writing.await.unwrap();
        handle.stop().await;
    }
    disk
}

fn write(address: SocketAddr, run: usize) {
    let mut client = raw::Client::connect(address).unwrap();
    for at in 0..30 {
        let path = format!("/{run}n{at}");
        assert_eq!(client.create(&path, b"some bytes", at % 4).code, Code::OK);
    }
    let first = format!("/{run}n0");
    client.set(&first, b"other", -1);
    client
        .call(ops::SET_ACL, |w| {
            w.string(&first);
            Acl::write_list(&[Acl::open()], w);
            w.int(-1);
        })
        .unwrap();
    client
        .call(ops::MULTI, |w| {
            w.int(ops::CHECK).bool(false).int(-1);
            w.string(&first).int(-1);
            w.int(ops::DELETE).bool(false).int(-1);
            w.string(&format!("/{run}n4")).int(-1);
            w.int(-1).bool(true).int(-1);
        })
        .unwrap();
    client.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_logs_and_snapshots_are_loaded_or_refused() {
    let whole = written().await;
    let dir = Path::new(VERSION_2);
    let last = coordinator::last_zxid_in(&*whole.shared(), dir).unwrap();
    let files: Vec<PathBuf> = whole
        .files()
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| !path.ends_with(".lock"))
        .collect();
    assert!(files.len() >= 3, "{files:?}");
    let chance = Chance::seeded(3_496);
    let (mut loaded, mut refused) = (0, 0);
    for round in 0..20_000 {
        let disk = whole.copy(round);
        let file = &files[chance.below(files.len() as u64) as usize];
        disk.corrupt(file, |bytes| damage(&chance, bytes)).unwrap();
        match coordinator::last_zxid_in(&*disk.shared(), dir) {
            Ok(zxid) => {
                assert!(zxid <= last, "round {round}: a zxid nobody wrote");
                loaded += 1;
            }
            Err(_) => refused += 1,
        }
    }
    // Older snapshots and torn ends are overcome; damage in the middle is not.
    assert!(loaded > 1_000 && refused > 500, "{loaded} {refused}");
}

/// A valid request of each shape.
fn requests() -> Vec<(i32, Vec<u8>)> {
    let mut all = Vec::new();
    let mut add = |op: i32, write: &dyn Fn(&mut Writer<'_>)| {
        let mut body = Vec::new();
        write(&mut Writer(&mut body));
        all.push((op, body));
    };
    for op in [ops::CREATE, ops::CREATE2, ops::CREATE_CONTAINER] {
        add(op, &|w| {
            raw::create_body(w, "/a/b", Some(b"data"), &[Acl::open()], 1)
        });
    }
    add(ops::SET_WATCHES2, &|w| {
        w.long(7);
        for _ in 0..5 {
            w.strings(["/a", "/b"]);
        }
    });
    add(ops::MULTI, &|w| {
        w.int(ops::CREATE).bool(false).int(-1);
        raw::create_body(w, "/a", None, &[Acl::open()], 0);
        w.int(ops::SET_DATA)
            .bool(false)
            .int(-1)
            .string("/a")
            .buffer(Some(b"x"))
            .int(3);
        w.int(-1).bool(true).int(-1);
    });
    add(ops::MULTI_READ, &|w| {
        w.int(ops::GET_DATA)
            .bool(false)
            .int(-1)
            .string("/a")
            .bool(false);
        w.int(-1).bool(true).int(-1);
    });
    add(ops::AUTH, &|w| {
        w.int(0).string("digest").buffer(Some(b"a:b"));
    });
    add(ops::RECONFIG, &|w| {
        w.buffer(Some(b"x")).buffer(None).buffer(None).long(-1);
    });
    all
}

#[test]
fn damaged_requests_are_read_or_refused() {
    let requests = requests();
    let chance = Chance::seeded(2_701);
    let mut refused = 0;
    for round in 0..100_000 {
        let (op, body) = &requests[round % requests.len()];
        let mut body = body.clone();
        damage(&chance, &mut body);
        refused += usize::from(Request::read(*op, &mut Reader::new(&body)).is_err());
    }
    assert!(refused > 10_000, "{refused}");
}
