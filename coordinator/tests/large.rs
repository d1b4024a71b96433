//! Replies that are larger than anything a server would keep for one client: they are sent whole, and
//! neither memory nor the others suffer.

#![allow(
    clippy::unwrap_used,
    reason = "a test program: a panic is its way to fail"
)]

mod raw;

use std::net::SocketAddr;

use coordinator::Config;
use protocol::zookeeper::errors::Code;
use protocol::zookeeper::ops;
use protocol::zookeeper::types::Acl;

/// Children with names so long that together they are more than 70 MB.
const CHILDREN: usize = 300_000;
const NAME: usize = 240;
/// How many of them one request makes.
const AT_ONCE: usize = 3_000;
const READERS: usize = 10;

fn resident_mib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<usize>().unwrap() >> 10
}

fn fill(client: &mut raw::Client) {
    assert_eq!(client.create("/large", b"", 0).code, Code::OK);
    for from in (0..CHILDREN).step_by(AT_ONCE) {
        let reply = client.call(ops::MULTI, |w| {
            for at in from..from + AT_ONCE {
                w.int(ops::CREATE).bool(false).int(-1);
                let path = format!("/large/{at:0NAME$}");
                raw::create_body(w, &path, None, &[Acl::open()], 0);
            }
            w.int(-1).bool(true).int(-1);
        });
        assert_eq!(reply.unwrap().code, Code::OK);
    }
}

fn ask(address: SocketAddr) {
    let mut other = raw::Client::connect(address).unwrap();
    fill(&mut other);
    let before = resident_mib();
    let mut readers: Vec<raw::Client> = (0..READERS)
        .map(|_| {
            let mut reader = raw::Client::connect(address).unwrap();
            assert_eq!(reader.exists("/flag", true).code, Code::NO_NODE);
            let path_and_watch = |w: &mut protocol::zookeeper::jute::Writer<'_>| {
                w.string("/large").bool(false);
            };
            reader.send(ops::GET_CHILDREN, path_and_watch).unwrap();
            reader
        })
        .collect();
    // Nobody has read anything yet; whoever asks for little is answered, and what happens is told.
    assert_eq!(other.create("/flag", b"", 0).code, Code::OK);
    for at in 0..100 {
        assert_eq!(other.exists("/large", false).code, Code::OK, "{at}");
    }
    let grown = resident_mib().saturating_sub(before);
    assert!(grown < 320, "{grown} MiB for replies that nobody has taken");
    for reader in &mut readers {
        let reply = reader.receive().unwrap();
        assert_eq!(reply.code, Code::OK);
        assert_eq!(reply.body.len(), 4 + CHILDREN * (4 + NAME));
        assert_eq!(reader.exists("/flag", false).code, Code::OK);
        assert_eq!(reader.events.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_replies_are_made_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path());
    config.port = 0;
    config.force_sync = false;
    let handle = coordinator::start(config).await.unwrap();
    let address = handle.address();
    tokio::task::spawn_blocking(move || ask(address))
        .await
        .unwrap();
    handle.stop().await;
}
