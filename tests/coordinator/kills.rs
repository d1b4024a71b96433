//! kill -9 under load, again and again: what was acknowledged is there, a multi is whole, and an
//! ephemeral node has one owner at a time, the one that was told so.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base::chance::Chance;
use harness::wait;
use protocol::zookeeper::errors::Code;
use protocol::zookeeper::jute::Reader;
use protocol::zookeeper::ops;
use protocol::zookeeper::types::Acl;

use crate::raw::{Client, create_body};
use crate::servers;

const LIMIT: Duration = Duration::from_secs(60);

/// What one writer knows: the last number it was told of, and the last one it sent.
#[derive(Clone, Copy, Default)]
struct Known {
    acknowledged: u64,
    sent: u64,
}

fn number_at(client: &mut Client, path: &str) -> u64 {
    let reply = client.get(path, false);
    assert_eq!(reply.code, Code::OK, "{path}");
    let mut reader = Reader::new(&reply.body);
    std::str::from_utf8(reader.buffer().unwrap().unwrap())
        .unwrap()
        .parse()
        .unwrap()
}

/// Sets two nodes in one multi.
fn set_both(client: &mut Client, writer: usize, number: u64) -> std::io::Result<Code> {
    let text = number.to_string();
    let reply = client.call(ops::MULTI, |w| {
        for side in ["left", "right"] {
            w.int(ops::SET_DATA).bool(false).int(-1);
            w.string(&format!("/{side}{writer}"))
                .buffer(Some(text.as_bytes()))
                .int(-1);
        }
        w.int(-1).bool(true).int(-1);
    })?;
    Ok(reply.code)
}

/// Something that happened to `/lock`, an ephemeral node all writers want.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    zxid: i64,
    taken: bool,
    session: i64,
}

/// What one writer did until the server died under it.
#[derive(Default)]
struct Written {
    known: Known,
    session: i64,
    turns: Vec<Turn>,
}

/// Asks for the lock once, and gives it back where it was given.
fn take_turn(client: &mut Client, turns: &mut Vec<Turn>) -> std::io::Result<()> {
    let session = client.session;
    let taken = client.call(ops::CREATE, |w| {
        create_body(w, "/lock", Some(b""), &[Acl::open()], 1);
    })?;
    if taken.code != Code::OK {
        assert_eq!(taken.code, Code::NODE_EXISTS);
        return Ok(());
    }
    let turn = |zxid, taken| Turn {
        zxid,
        taken,
        session,
    };
    turns.push(turn(taken.zxid, true));
    let freed = client.call(ops::DELETE, |w| {
        w.string("/lock").int(-1);
    })?;
    assert_eq!(freed.code, Code::OK, "only its owner frees the lock");
    turns.push(turn(freed.zxid, false));
    Ok(())
}

/// Writes until the server dies under it; `writing` counts who was acknowledged for the first time.
fn write_on(address: SocketAddr, writer: usize, known: Known, writing: &AtomicUsize) -> Written {
    let mut written = Written {
        known,
        ..Written::default()
    };
    let Ok(mut client) = Client::connect(address) else {
        return written;
    };
    written.session = client.session;
    let known = &mut written.known;
    loop {
        known.sent += 1;
        match set_both(&mut client, writer, known.sent) {
            Ok(code) => assert_eq!(code, Code::OK),
            Err(_) => return written,
        }
        known.acknowledged = known.sent;
        if known.acknowledged == 1 {
            writing.fetch_add(1, Ordering::AcqRel);
        }
        if take_turn(&mut client, &mut written.turns).is_err() {
            return written;
        }
    }
}

/// The lock is free between two owners: where one follows another, the first was giving it back
/// when the server died. What is there after the kill belongs to somebody who asked for it.
fn check_turns(client: &mut Client, written: &[Written]) {
    let mut turns: Vec<Turn> = written.iter().flat_map(|one| one.turns.clone()).collect();
    turns.sort_unstable();
    for pair in turns.windows(2) {
        let was_freeing =
            turns.iter().rfind(|turn| turn.session == pair[0].session) == Some(&pair[0]);
        assert!(
            pair[0].taken != pair[1].taken || pair[0].taken && was_freeing,
            "two owners: {pair:?}"
        );
    }
    let found = client.exists("/lock", false);
    if found.code == Code::OK {
        let owner = found.stat().ephemeral_owner;
        assert!(written.iter().any(|one| one.session == owner));
        client.delete("/lock", -1);
    }
}

fn check(client: &mut Client, writer: usize, known: &mut Known) {
    let numbers = ["left", "right"].map(|side| number_at(client, &format!("/{side}{writer}")));
    assert_eq!(numbers[0], numbers[1], "half a multi");
    assert!(
        numbers[0] >= known.acknowledged,
        "{} was acknowledged, {} is there",
        known.acknowledged,
        numbers[0]
    );
    assert!(numbers[0] <= known.sent, "a number nobody wrote");
    *known = Known {
        acknowledged: numbers[0],
        sent: numbers[0],
    };
}

#[expect(
    clippy::disallowed_methods,
    reason = "the load runs for a random real time"
)]
fn let_run(ms: u64) {
    let until = Instant::now() + Duration::from_millis(ms);
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    const WRITERS: usize = 4;
    let rounds = std::env::var("ROTPETER_KILLS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(20);
    let dir = tempfile::tempdir().unwrap();
    let mut known = [Known::default(); WRITERS];
    let mut owner: Option<i64> = None;
    let mut written: Vec<Written> = Vec::new();
    for round in 0..rounds {
        let mut server = servers::ours(dir.path());
        let mut client = Client::connect(server.address).unwrap();
        for (writer, known) in known.iter_mut().enumerate() {
            if round == 0 {
                for side in ["left", "right"] {
                    client.create(&format!("/{side}{writer}"), b"0", 0);
                }
            }
            check(&mut client, writer, known);
        }
        check_turns(&mut client, &written);
        if let Some(owner) = owner {
            assert_eq!(client.exists("/owned", false).stat().ephemeral_owner, owner);
            client.delete("/owned", -1);
        }
        assert_eq!(client.create("/owned", b"", 1).code, Code::OK);
        owner = Some(client.session);
        let ms = 20 + Chance::seeded(round).below(100);
        let (address, writing) = (server.address, AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let (known, writing) = (known[writer], &writing);
                    scope.spawn(move || write_on(address, writer, known, writing))
                })
                .collect();
            if round == 0 {
                // However slow the disk: the first kill finds everybody writing.
                wait::until("all writers to write", LIMIT, || {
                    (writing.load(Ordering::Acquire) == WRITERS).then_some(())
                });
            }
            let_run(ms);
            server.kill();
            written = writers.into_iter().map(|one| one.join().unwrap()).collect();
            for (known, one) in known.iter_mut().zip(&written) {
                *known = one.known;
            }
        });
    }
    assert!(
        known.iter().all(|known| known.acknowledged > 0),
        "nothing was written at all"
    );
}
