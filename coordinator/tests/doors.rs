//! Where the server listens, and as whom it knows those who come.

#![allow(
    clippy::unwrap_used,
    reason = "a test program: a panic is its way to fail"
)]

mod raw;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use coordinator::{ClientAuth, Config, Secret, Store, TlsSettings};
use protocol::zookeeper::errors::Code;
use protocol::zookeeper::ops;

/// Who the client is by the scheme `ip`, after it has asked for that scheme once more.
fn addresses(client: &mut raw::Client) -> Vec<String> {
    let asked = client.send_as(-4, ops::AUTH, |w| {
        w.int(0).string("ip").buffer(None);
    });
    asked.unwrap();
    assert_eq!(client.receive().unwrap().code, Code::OK);
    let reply = client.call(ops::WHO_AM_I, |_| {}).unwrap();
    let mut reader = reply.reader();
    let count = reader.int().unwrap();
    let mut string = || reader.string().unwrap().unwrap().into_owned();
    let ids = (0..count).map(|_| [string(), string()]);
    let by_ip = ids.filter(|[scheme, _]| scheme == "ip");
    by_ip.map(|[_, id]| id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everywhere_is_by_ipv4_and_by_ipv6() {
    let dir = tempfile::tempdir().unwrap();
    let handle = coordinator::start(Config {
        address: Ipv6Addr::UNSPECIFIED.into(),
        port: 0,
        ..Config::new(dir.path())
    })
    .await
    .unwrap();
    let listening = handle.address();
    tokio::task::spawn_blocking(move || {
        let known_as = |host: IpAddr| {
            let address = SocketAddr::new(host, listening.port());
            addresses(&mut raw::Client::connect(address).unwrap())
        };
        assert_eq!(known_as(Ipv4Addr::LOCALHOST.into()), ["127.0.0.1"]);
        // A machine without IPv6 has IPv4 alone.
        if listening.is_ipv6() {
            assert_eq!(known_as(Ipv6Addr::LOCALHOST.into()), ["0:0:0:0:0:0:0:1"]);
        }
    })
    .await
    .unwrap();
    handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_connects_without_tls_where_there_is_a_secure_port_alone() {
    let dir = tempfile::tempdir().unwrap();
    // Whoever listened there as well would be refused.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let key_store = Store {
        path: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tls/server.p12"),
        password: Secret("secret".to_owned()),
    };
    let handle = coordinator::start(Config {
        port: taken.local_addr().unwrap().port(),
        secure_address: Some("127.0.0.1:0".parse().unwrap()),
        secure_only: true,
        tls: Some(TlsSettings {
            client_auth: ClientAuth::None,
            key_store,
            ..TlsSettings::default()
        }),
        ..Config::new(dir.path())
    })
    .await
    .unwrap();
    assert!(TcpStream::connect(handle.address()).is_ok());
    assert_eq!(Some(handle.address()), handle.secure_address());
    handle.stop().await;
}

/// What the server says it has received and sent so far.
fn counted(address: SocketAddr) -> [u64; 2] {
    let mut socket = raw::dial(address).unwrap();
    socket.write_all(b"srvr").unwrap();
    let mut said = String::new();
    socket.read_to_string(&mut said).unwrap();
    ["Received: ", "Sent: "].map(|name| {
        let line = said.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().parse().unwrap()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_a_word_is_counted_as_who_asks_for_a_node() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        port: 0,
        ..Config::new(dir.path())
    };
    let handle = coordinator::start(config).await.unwrap();
    let address = handle.address();
    tokio::task::spawn_blocking(move || {
        // As with ZooKeeper, an answer is counted once it was sent.
        assert_eq!(counted(address), [1, 0]);
        assert_eq!(counted(address), [2, 1]);
        raw::Client::connect(address).unwrap().close();
        assert_eq!(counted(address), [5, 4]);
    })
    .await
    .unwrap();
    handle.stop().await;
}
