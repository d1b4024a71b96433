//! In which order a connection's requests take effect, and what each is judged by.

#![allow(
    clippy::unwrap_used,
    reason = "a test program: a panic is its way to fail"
)]

mod raw;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use coordinator::Config;
use protocol::zookeeper::errors::Code;
use protocol::zookeeper::jute::{Reader, Writer};
use protocol::zookeeper::ops;
use protocol::zookeeper::replies::ReplyHeader;
use protocol::zookeeper::types::{Acl, Id, perms};

/// A server, and a thread to speak with it.
async fn with_server(talk: impl FnOnce(SocketAddr) + Send + 'static) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path());
    config.port = 0;
    let handle = coordinator::start(config).await.unwrap();
    let address = handle.address();
    tokio::task::spawn_blocking(move || talk(address))
        .await
        .unwrap();
    handle.stop().await;
}

fn framed(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut body = Vec::new();
    write(&mut Writer(&mut body));
    raw::frame(&body)
}

fn connect_request(session: i64, password: &[u8]) -> Vec<u8> {
    framed(|w| {
        w.int(0).long(0).int(30_000).long(session);
        w.buffer(Some(password)).bool(false);
    })
}

fn auth_request(secret: &[u8]) -> Vec<u8> {
    framed(|w| {
        w.int(-4).int(ops::AUTH).int(0);
        w.string("digest").buffer(Some(secret));
    })
}

fn request(xid: i32, op: i32, body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    framed(|w| {
        w.int(xid).int(op);
        body(w);
    })
}

/// The number and the code of the next reply.
fn next_reply(socket: &mut TcpStream) -> (i32, Code) {
    let frame = raw::read_frame(socket).unwrap();
    let ReplyHeader { xid, code, .. } = ReplyHeader::read(&mut Reader::new(&frame)).unwrap();
    (xid, code)
}

/// The session that a welcome names.
fn welcomed(socket: &mut TcpStream) -> i64 {
    let frame = raw::read_frame(socket).unwrap();
    let mut reader = Reader::new(&frame);
    let (_version, timeout_ms) = (reader.int().unwrap(), reader.int().unwrap());
    assert_eq!(timeout_ms, 30_000);
    reader.long().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_is_told_before_anything_else() {
    with_server(|address| {
        // A session begun, and one taken up again: all of it is sent at once.
        let (mut session, mut password) = (0, vec![0; 16]);
        for _ in 0..2 {
            let mut socket = raw::dial(address).unwrap();
            let mut bytes = connect_request(session, &password);
            bytes.extend(auth_request(b"me:secret"));
            bytes.extend(request(ops::XID_PING, ops::PING, |_| {}));
            bytes.extend(request(1, ops::EXISTS, |w| {
                w.string("/").bool(true);
            }));
            socket.write_all(&bytes).unwrap();
            let told = welcomed(&mut socket);
            assert!(told != 0 && (session == 0 || session == told));
            let mut replies = [(); 3].map(|()| next_reply(&mut socket));
            replies.sort_by_key(|(xid, _)| *xid);
            let expected = [-4, ops::XID_PING, 1].map(|xid| (xid, Code::OK));
            assert_eq!(replies, expected);
            if session == 0 {
                let known = raw::Client::connect(address).unwrap();
                assert_ne!(known.session, told);
                (session, password) = (told, password_of(told));
            }
        }
    })
    .await;
}

/// As the server makes it: Java's `Random` of the session's number.
fn password_of(session: i64) -> Vec<u8> {
    let mut seed = ((session ^ 0xB341_5C00) as u64 ^ 0x5_DEEC_E66D) & ((1 << 48) - 1);
    let mut password = Vec::new();
    for _ in 0..4 {
        seed = seed.wrapping_mul(0x5_DEEC_E66D).wrapping_add(0xB) & ((1 << 48) - 1);
        password.extend(((seed >> 16) as u32).to_le_bytes());
    }
    password
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_is_judged_by_the_names_that_came_before_it() {
    with_server(|address| {
        let mut owner = raw::Client::connect(address).unwrap();
        let alice = Id::new("digest", "alice:aYXlLOpEooaV1cRAvUL1fp9Qt7E=");
        let acl = [Acl {
            perms: perms::ALL,
            id: alice,
        }];
        let made = owner.call(ops::CREATE, |w| raw::create_body(w, "/hers", None, &acl, 0));
        assert_eq!(made.unwrap().code, Code::OK);
        assert_eq!(owner.create("/all", b"", 0).code, Code::OK);

        let mut socket = raw::dial(address).unwrap();
        socket.write_all(&connect_request(0, &[0; 16])).unwrap();
        welcomed(&mut socket);
        let get = |xid, path: &str| {
            request(xid, ops::GET_DATA, |w| {
                w.string(path).bool(false);
            })
        };
        let who_am_i = |xid| request(xid, ops::WHO_AM_I, |_| {});
        // The write keeps all that follows waiting, until long after the names are known.
        let mut bytes = request(1, ops::SET_DATA, |w| {
            w.string("/all").buffer(None).int(-1);
        });
        bytes.extend(get(2, "/hers"));
        bytes.extend(who_am_i(3));
        bytes.extend(auth_request(b"alice:secret"));
        bytes.extend(get(4, "/hers"));
        bytes.extend(who_am_i(5));
        socket.write_all(&bytes).unwrap();
        let mut codes = Vec::new();
        let mut names = Vec::new();
        while names.len() < 2 {
            let frame = raw::read_frame(&mut socket).unwrap();
            let mut reader = Reader::new(&frame);
            let ReplyHeader { xid, code, .. } = ReplyHeader::read(&mut reader).unwrap();
            match xid {
                3 | 5 => names.push(reader.int().unwrap()),
                -4 => assert_eq!(code, Code::OK),
                _ => codes.push((xid, code)),
            }
        }
        assert_eq!(codes, [(1, Code::OK), (2, Code::NO_AUTH), (4, Code::OK)]);
        assert_eq!(names, [1, 2]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_no_more_names_than_it_has_use_for() {
    with_server(|address| {
        let mut client = raw::Client::connect(address).unwrap();
        let mut shown = 0;
        let refused = loop {
            let secret = format!("user{shown}:secret");
            client.send_raw(&auth_request(secret.as_bytes())).unwrap();
            match client.receive().unwrap().code {
                Code::OK => shown += 1,
                code => break code,
            }
            assert!(shown < 1_000, "there is no end of names");
        };
        assert_eq!(refused, Code::AUTH_FAILED);
        assert!(shown >= 50, "{shown}");
        assert!(client.receive().is_err(), "the connection is closed");
        // One long name is as many short ones.
        let mut other = raw::Client::connect(address).unwrap();
        let long = vec![b'a'; 600_000];
        other.send_raw(&auth_request(&long)).unwrap();
        assert_eq!(other.receive().unwrap().code, Code::AUTH_FAILED);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_do_not_multiply_in_one_request() {
    with_server(|address| {
        let mut client = raw::Client::connect(address).unwrap();
        for at in 0..50 {
            let secret = format!("{}{at}:secret", "u".repeat(1_000));
            client.send_raw(&auth_request(secret.as_bytes())).unwrap();
            assert_eq!(client.receive().unwrap().code, Code::OK);
        }
        let auth = [Acl {
            perms: perms::ALL,
            id: Id::new("auth", ""),
        }];
        let reply = client.call(ops::MULTI, |w| {
            for at in 0..10_000 {
                w.int(ops::CREATE).bool(false).int(-1);
                raw::create_body(w, &format!("/n{at}"), None, &auth, 0);
            }
            w.int(-1).bool(true).int(-1);
        });
        let reply = reply.unwrap();
        let mut reader = reply.reader();
        let mut codes = Vec::new();
        while let (Ok(_op), Ok(false), Ok(_err)) = (reader.int(), reader.bool(), reader.int()) {
            codes.push(Code(reader.int().unwrap()));
        }
        assert!(codes.contains(&Code::INVALID_ACL), "{:?}", codes.first());
        assert_eq!(client.exists("/n0", false).code, Code::NO_NODE);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_before_the_end_of_a_session_is_answered() {
    with_server(|address| {
        let mut socket = raw::dial(address).unwrap();
        let mut bytes = connect_request(0, &[0; 16]);
        // The read waits for the write, and the end has come in by then.
        bytes.extend(request(1, ops::SET_DATA, |w| {
            w.string("/").buffer(None).int(-1);
        }));
        bytes.extend(request(2, ops::EXISTS, |w| {
            w.string("/").bool(false);
        }));
        bytes.extend(request(3, ops::CLOSE_SESSION, |_| {}));
        socket.write_all(&bytes).unwrap();
        assert_ne!(welcomed(&mut socket), 0);
        let replies = [(); 3].map(|()| next_reply(&mut socket));
        assert_eq!(replies, [1, 2, 3].map(|xid| (xid, Code::OK)));
    })
    .await;
}
