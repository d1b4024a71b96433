//! Bytes no client would send: the connection ends or an error comes back, and the server goes on.

#![allow(
    clippy::unwrap_used,
    reason = "a test program: a panic is its way to fail"
)]

mod raw;

use std::io::{Read, Write};
use std::net::SocketAddr;

use base::chance::Chance;
use coordinator::Config;
use protocol::zookeeper::errors::Code;
use protocol::zookeeper::jute::Reader;
use protocol::zookeeper::ops;
use protocol::zookeeper::requests::{ConnectRequest, Request};
use protocol::zookeeper::txns::Txn;

const OPS: &[i32] = &[
    1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 100, 101, 102, 103,
    104, 105, 106, 107, -10, -11, -1, 0, 99, 1_000,
];

fn noise(chance: &Chance, len_max: u64) -> Vec<u8> {
    let mut bytes = vec![0; chance.below(len_max) as usize];
    for byte in &mut bytes {
        // Small numbers and all-ones are what lengths and counts are made of.
        *byte = match chance.below(4) {
            0 => 0,
            1 => chance.below(8) as u8,
            2 => 0xff,
            _ => chance.next_u64() as u8,
        };
    }
    bytes
}

#[test]
fn decoders_take_any_bytes() {
    let chance = Chance::seeded(21);
    for _ in 0..200_000 {
        let bytes = noise(&chance, 80);
        let op = OPS[chance.below(OPS.len() as u64) as usize];
        let _outcome = Request::read(op, &mut Reader::new(&bytes));
        let _outcome = Txn::read(op, &mut Reader::new(&bytes));
        let _outcome = ConnectRequest::read(&bytes);
    }
}

fn expect_alive(address: SocketAddr) {
    let mut client = raw::Client::connect(address).unwrap();
    assert_eq!(client.exists("/", false).code, Code::OK);
    client.close();
}

/// Sends bytes and reads whatever comes until the end or silence.
fn shout(address: SocketAddr, bytes: &[u8]) {
    let mut socket = raw::dial(address).unwrap();
    // The server may hang up at any byte.
    let _sent = socket
        .write_all(bytes)
        .and_then(|()| socket.shutdown(std::net::Shutdown::Write));
    let _read = socket.read_to_end(&mut Vec::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_goes_on_whatever_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path());
    config.port = 0;
    config.max_client_connections = 0;
    let handle = coordinator::start(config).await.unwrap();
    let address = handle.address();
    tokio::task::spawn_blocking(move || {
        let chance = Chance::seeded(22);
        for len in [-1_i32, -2, i32::MIN, i32::MAX, 0xf_ffff + 1, 0, 3] {
            let mut bytes = len.to_be_bytes().to_vec();
            bytes.extend_from_slice(&[0; 60]);
            shout(address, &bytes);
        }
        for _ in 0..100 {
            shout(address, &noise(&chance, 200));
        }
        for _ in 0..400 {
            let mut client = raw::Client::connect(address).unwrap();
            for _ in 0..chance.below(8) {
                let op = OPS[chance.below(OPS.len() as u64) as usize];
                let body = noise(&chance, 100);
                let _gone = client.send(op, |w| w.0.extend_from_slice(&body));
            }
            // Half of them leave without a word.
            if chance.below(2) == 0 {
                let _gone = client.send(ops::CLOSE_SESSION, |_| {});
                while client.receive().is_ok() {}
            }
        }
        expect_alive(address);
    })
    .await
    .unwrap();
    assert_eq!(base::tasks::panics(), 0);
    handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_connections_from_one_address_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path());
    config.port = 0;
    config.max_client_connections = 3;
    let handle = coordinator::start(config).await.unwrap();
    let address = handle.address();
    tokio::task::spawn_blocking(move || {
        let held: Vec<_> = (0..3)
            .map(|_| raw::Client::connect(address).unwrap())
            .collect();
        assert!(raw::Client::connect(address).is_err());
        drop(held);
    })
    .await
    .unwrap();
    handle.stop().await;
}

/// The most memory this process has had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() * 1_024
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_costs_bounded_memory_and_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path());
    config.port = 0;
    let handle = coordinator::start(config).await.unwrap();
    let address = handle.address();
    tokio::task::spawn_blocking(move || {
        let mut greedy = raw::Client::connect(address).unwrap();
        greedy.create("/big", &vec![7; 500_000], 0);
        let before = peak();
        // 400 MB of replies are asked for, and none is read.
        let mut batch = Vec::new();
        for xid in 0..800_i32 {
            if xid == 400 {
                let mut body = 400_i32.to_be_bytes().to_vec();
                body.extend_from_slice(&ops::SYNC.to_be_bytes());
                body.extend_from_slice(&4_i32.to_be_bytes());
                body.extend_from_slice(b"/big");
                batch.extend_from_slice(&raw::frame(&body));
                continue;
            }
            let mut body = xid.to_be_bytes().to_vec();
            body.extend_from_slice(&ops::GET_DATA.to_be_bytes());
            body.extend_from_slice(&4_i32.to_be_bytes());
            body.extend_from_slice(b"/big\0");
            batch.extend_from_slice(&raw::frame(&body));
        }
        greedy.send_raw(&batch).unwrap();
        expect_alive(address);
        // Once it reads, it gets everything, in order.
        for xid in 0..800 {
            let reply = greedy.receive().unwrap();
            assert_eq!((reply.xid, reply.code), (xid, Code::OK));
        }
        let grown = peak() - before;
        assert!(grown < 100 << 20, "{} MB for one client", grown >> 20);
    })
    .await
    .unwrap();
    handle.stop().await;
}
