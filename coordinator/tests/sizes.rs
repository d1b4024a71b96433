//! What the program takes of memory: small at rest, and little for each znode.

#![allow(
    clippy::unwrap_used,
    reason = "a test program: a panic is its way to fail"
)]

mod raw;

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use protocol::zookeeper::errors::Code;
use protocol::zookeeper::ops;
use protocol::zookeeper::types::Acl;

/// The program itself; killed when dropped.
struct Server(Child, SocketAddr);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended on its own.
        let _gone = self.0.kill().and_then(|()| self.0.wait());
    }
}

impl Server {
    fn start(dir: &Path) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coordinator"));
        let data = dir.to_str().unwrap();
        command.args([
            "--port",
            "0",
            "--data-dir",
            data,
            "-Dzookeeper.forceSync=no",
        ]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        let mut lines = said.lines().map(|line| line.unwrap());
        let serving = lines.find(|line| line.contains("serving")).unwrap();
        // What it says later is nobody's; it must not wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        let port = serving.rsplit(':').next().unwrap();
        let port = port.trim_end_matches(|c: char| !c.is_ascii_digit());
        Server(child, (Ipv4Addr::LOCALHOST, port.parse().unwrap()).into())
    }

    fn resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.unwrap().split_whitespace().nth(1).unwrap();
        kib.parse::<usize>().unwrap() << 10
    }
}

/// Small znodes, a thousand in a folder.
fn create(client: &mut raw::Client, from: usize, to: usize) {
    for at in (from..to).step_by(100) {
        let reply = client.call(ops::MULTI, |w| {
            let mut part = |path: &str, data: &[u8]| {
                w.int(ops::CREATE).bool(false).int(-1);
                raw::create_body(w, path, Some(data), &[Acl::open()], 0);
            };
            if at.is_multiple_of(1_000) {
                part(&format!("/folder{}", at / 1_000), b"");
            }
            for at in at..at + 100 {
                let path = format!("/folder{}/node-{at:07}", at / 1_000);
                part(&path, b"sixteen bytes.. ");
            }
            w.int(-1).bool(true).int(-1);
        });
        assert_eq!(reply.unwrap().code, Code::OK);
    }
}

#[test]
fn ten_thousand_znodes_are_less_than_ten_megabytes_and_each_is_small() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = raw::Client::connect(server.1).unwrap();
    create(&mut client, 0, 10_000);
    let few = server.resident_bytes();
    create(&mut client, 10_000, 210_000);
    let each = (server.resident_bytes() - few) / 200_000;
    println!("{few} bytes with 10,000 znodes, {each} for each more");
    assert!(each < 400, "{each} bytes for each znode");
    // Code that is not optimised is larger than all the rest.
    assert!(few < 10_000_000 || cfg!(debug_assertions), "{few} bytes");
}
