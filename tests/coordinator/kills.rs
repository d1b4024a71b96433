//! kill -9 under load, again and again: what was acknowledged is there, a multi is whole, and an
//! ephemeral node has the owner that was told so.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base::chance::Chance;
use protocol::zookeeper::errors::Code;
use protocol::zookeeper::jute::Reader;
use protocol::zookeeper::ops;

use crate::raw::Client;
use crate::servers;

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

/// Writes until the server dies under it.
fn write_on(address: SocketAddr, writer: usize, mut known: Known) -> Known {
    let Ok(mut client) = Client::connect(address) else {
        return known;
    };
    loop {
        known.sent += 1;
        match set_both(&mut client, writer, known.sent) {
            Ok(code) => assert_eq!(code, Code::OK),
            Err(_) => return known,
        }
        known.acknowledged = known.sent;
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
        if let Some(owner) = owner {
            assert_eq!(client.exists("/owned", false).stat().ephemeral_owner, owner);
            client.delete("/owned", -1);
        }
        assert_eq!(client.create("/owned", b"", 1).code, Code::OK);
        owner = Some(client.session);
        let ms = 20 + Chance::seeded(round).below(100);
        let address = server.address;
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let known = known[writer];
                    scope.spawn(move || write_on(address, writer, known))
                })
                .collect();
            let_run(ms);
            server.kill();
            for (writer, running) in writers.into_iter().enumerate() {
                known[writer] = running.join().unwrap();
            }
        });
    }
    assert!(
        known.iter().all(|known| known.acknowledged > 0),
        "nothing was written at all"
    );
}
