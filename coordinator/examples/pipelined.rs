//! A pipelining client against any ZooKeeper server: `pipelined HOST:PORT OP CLIENTS DEPTH SECONDS`.
//!
//! OP is `get`, `set` or `create`. Prints operations a second and the latencies of batches; the
//! same program measures Apache's server and ours.

#![allow(
    clippy::unwrap_used,
    reason = "a measuring program: a panic is its way to fail"
)]
#![allow(clippy::disallowed_methods, reason = "it measures real time")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use protocol::zookeeper::jute::Writer;
use protocol::zookeeper::ops;
use protocol::zookeeper::types::Acl;

fn frame(out: &mut Vec<u8>, body: impl FnOnce(&mut Writer<'_>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(&mut Writer(out));
    let len = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}

fn read_frame(socket: &mut impl Read) -> Vec<u8> {
    let mut len = [0; 4];
    socket.read_exact(&mut len).unwrap();
    let mut body = vec![0; u32::from_be_bytes(len) as usize];
    socket.read_exact(&mut body).unwrap();
    body
}

fn create(out: &mut Vec<u8>, xid: i32, path: &str) {
    frame(out, |w| {
        w.int(xid)
            .int(ops::CREATE)
            .string(path)
            .buffer(Some(&[b'x'; 100]));
        Acl::write_list(&[Acl::open()], w);
        w.int(0);
    });
}

fn request(out: &mut Vec<u8>, op: &str, xid: i32, path: &str, run: u128) {
    match op {
        "get" => frame(out, |w| {
            w.int(xid).int(ops::GET_DATA).string(path).bool(false);
        }),
        "set" => frame(out, |w| {
            w.int(xid)
                .int(ops::SET_DATA)
                .string(path)
                .buffer(Some(&[b'y'; 100]))
                .int(-1);
        }),
        _ => create(out, xid, &format!("{path}/{run}-{xid}")),
    }
}

fn client(
    address: &str,
    op: &str,
    at: usize,
    depth: usize,
    until: Instant,
    run: u128,
) -> (u64, Vec<u64>) {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    let mut out = Vec::new();
    frame(&mut out, |w| {
        w.int(0)
            .long(0)
            .int(30_000)
            .long(0)
            .buffer(Some(&[0; 16]))
            .bool(false);
    });
    let path = format!("/bench{at}");
    create(&mut out, 1, &path);
    socket.write_all(&out).unwrap();
    let mut reader = std::io::BufReader::with_capacity(256 * 1024, socket.try_clone().unwrap());
    read_frame(&mut reader);
    read_frame(&mut reader);
    let (mut xid, mut done, mut waits) = (1, 0, Vec::new());
    while Instant::now() < until {
        out.clear();
        for _ in 0..depth {
            xid += 1;
            request(&mut out, op, xid, &path, run);
        }
        let begun = Instant::now();
        socket.write_all(&out).unwrap();
        for _ in 0..depth {
            let reply = read_frame(&mut reader);
            assert_eq!(reply[12..16], [0; 4], "an error reply");
        }
        waits.push(begun.elapsed().as_micros() as u64);
        done += depth as u64;
    }
    (done, waits)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, op, clients, depth, seconds] = arguments.as_slice() else {
        panic!("pipelined HOST:PORT get|set|create CLIENTS DEPTH SECONDS");
    };
    let (clients, depth): (usize, usize) = (clients.parse().unwrap(), depth.parse().unwrap());
    let seconds: f64 = seconds.parse().unwrap();
    let run = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let begun = Instant::now();
    let until = begun + Duration::from_secs_f64(seconds);
    let results: Vec<(u64, Vec<u64>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|at| scope.spawn(move || client(address, op, at, depth, until, run)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let took = begun.elapsed().as_secs_f64();
    let done: u64 = results.iter().map(|(done, _)| done).sum();
    let mut waits: Vec<u64> = results.into_iter().flat_map(|(_, waits)| waits).collect();
    waits.sort_unstable();
    let at = |part: f64| waits[((waits.len() - 1) as f64 * part) as usize];
    println!(
        "{op} {clients}x{depth}: {:.0}/s, batch p50 {} us, p99 {} us",
        done as f64 / took,
        at(0.5),
        at(0.99)
    );
}
