//! Files that Apache's server left open here as the same tree; ours survive our own restart.

#![allow(
    clippy::unwrap_used,
    reason = "a test program: a panic is its way to fail"
)]

mod raw;

use std::io::Read;
use std::path::Path;

use base::disk::SystemDisk;
use coordinator::Config;
use flate2::read::GzDecoder;
use protocol::zookeeper::errors::Code;
use protocol::zookeeper::jute::Reader;
use protocol::zookeeper::ops;
use protocol::zookeeper::types::{Acl, Stat};

const VERSION_2: &[u8] = include_bytes!("golden/version-2.tar.gz");
const TREE: &str = include_str!("golden/tree.json");

/// Unpacks the plain files of a tar archive.
fn unpack(archive: &[u8], into: &Path) {
    let mut tar = Vec::new();
    GzDecoder::new(archive).read_to_end(&mut tar).unwrap();
    let mut at = 0;
    while at + 512 <= tar.len() && tar[at] != 0 {
        let field = |from: usize, len: usize| {
            let bytes = &tar[at + from..at + from + len];
            let end = bytes
                .iter()
                .position(|b| *b == 0 || *b == b' ')
                .unwrap_or(len);
            String::from_utf8(bytes[..end].to_vec()).unwrap()
        };
        let (name, size) = (field(0, 100), field(124, 12));
        let size = usize::from_str_radix(&size, 8).unwrap_or(0);
        let path = into.join(&name);
        if name.ends_with('/') {
            std::fs::create_dir_all(path).unwrap();
        } else {
            std::fs::write(path, &tar[at + 512..at + 512 + size]).unwrap();
        }
        at += 512 + size.div_ceil(512) * 512;
    }
}

fn config(dir: &Path) -> Config {
    let mut config = Config::new(dir);
    config.port = 0;
    config.extended_types = true;
    config.max_session_timeout_ms = Some(600_000);
    config.skip_acl = true;
    config
}

fn read_acl(client: &mut raw::Client, path: &str) -> Vec<Acl> {
    let reply = client.call(ops::GET_ACL, |w| {
        w.string(path);
    });
    Acl::read_list(&mut reply.unwrap().reader()).unwrap()
}

fn compare_tree(client: &mut raw::Client) {
    let expected: serde_json::Value = serde_json::from_str(TREE).unwrap();
    for node in expected["nodes"].as_array().unwrap() {
        let path = node["path"].as_str().unwrap();
        let reply = client.get(path, false);
        assert_eq!(reply.code, Code::OK, "{path}");
        let mut reader = Reader::new(&reply.body);
        let data = reader.buffer().unwrap().map(<[u8]>::to_vec);
        let stat = Stat::read(&mut reader).unwrap();
        if !path.ends_with("zookeeper_stats") {
            let want = node["data"].as_str().map(|text| text.as_bytes().to_vec());
            assert_eq!(data, want, "{path}");
        }
        let want = |key: &str| node["stat"][key].as_i64().unwrap();
        let got = [
            ("czxid", stat.czxid),
            ("mzxid", stat.mzxid),
            ("pzxid", stat.pzxid),
            ("ctime", stat.ctime),
            ("mtime", stat.mtime),
            ("version", stat.version.into()),
            ("cversion", stat.cversion.into()),
            ("aversion", stat.aversion.into()),
            ("ephemeralOwner", stat.ephemeral_owner),
            ("dataLength", stat.data_length.into()),
            ("numChildren", stat.num_children.into()),
        ];
        for (key, value) in got {
            assert_eq!(value, want(key), "{path}: {key}");
        }
        let acl: Vec<(i64, String, String)> = node["acl"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| {
                let text = |key: &str| entry[key].as_str().unwrap().to_owned();
                (entry["perms"].as_i64().unwrap(), text("scheme"), text("id"))
            })
            .collect();
        let got: Vec<_> = read_acl(client, path)
            .into_iter()
            .map(|acl| (i64::from(acl.perms), acl.id.scheme, acl.id.id))
            .collect();
        // Whoever may not administer sees a digest without its secret; the capture was such a one.
        let masked = |(perms, scheme, id): &(i64, String, String)| {
            let id = if scheme == "digest" {
                id.split(':').next().unwrap()
            } else {
                id
            };
            (*perms, scheme.clone(), id.to_owned())
        };
        let (got, acl): (Vec<_>, Vec<_>) = (
            got.iter().map(masked).collect(),
            acl.iter().map(masked).collect(),
        );
        assert_eq!(got, acl, "{path}: acl");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_apaches_server_is_the_same_tree_here() {
    let dir = tempfile::tempdir().unwrap();
    unpack(VERSION_2, dir.path());
    for _restart in 0..2 {
        let handle = coordinator::start(config(dir.path())).await.unwrap();
        let address = handle.address();
        tokio::task::spawn_blocking(move || {
            let mut client = raw::Client::connect(address).unwrap();
            compare_tree(&mut client);
            client.close();
        })
        .await
        .unwrap();
        handle.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_their_nodes_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let handle = coordinator::start(config(dir.path())).await.unwrap();
    let address = handle.address();
    let (session, password) = tokio::task::spawn_blocking(move || {
        let mut client = raw::Client::connect(address).unwrap();
        assert_eq!(client.create("/e", b"mine", 1).code, Code::OK);
        (client.session, client.password)
    })
    .await
    .unwrap();
    handle.stop().await;
    let handle = coordinator::start(config(dir.path())).await.unwrap();
    let address = handle.address();
    tokio::task::spawn_blocking(move || {
        let mut client = raw::Client::resume(address, session, &password, 30_000).unwrap();
        assert_eq!(client.session, session);
        assert_eq!(client.exists("/e", false).stat().ephemeral_owner, session);
        client.close();
        let mut other = raw::Client::connect(address).unwrap();
        assert_eq!(other.exists("/e", false).code, Code::NO_NODE);
    })
    .await
    .unwrap();
    handle.stop().await;
}

/// What a server leaves that died after it had forgotten a session and before it removed its nodes: `/e`,
/// whose session is nowhere.
async fn leave_node_of_a_dead_session(dir: &Path) {
    let handle = coordinator::start(config(dir)).await.unwrap();
    let address = handle.address();
    tokio::task::spawn_blocking(move || {
        let mut client = raw::Client::connect(address).unwrap();
        assert_eq!(client.create("/e", b"dead", 1).code, Code::OK);
    })
    .await
    .unwrap();
    handle.stop().await;
    let version_2 = dir.join("version-2");
    let log = std::fs::read(version_2.join("log.1")).unwrap();
    let (header, first) = (&log[..16], offsets(&log)[1]);
    std::fs::write(version_2.join("log.2"), [header, &log[first..]].concat()).unwrap();
    std::fs::remove_file(version_2.join("log.1")).unwrap();
    let snapshot = |zxid: u32| version_2.join(format!("snapshot.{zxid}"));
    base::durable::rename(&SystemDisk, &snapshot(0), &snapshot(1)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_start_removes_stays_removed_and_its_place_may_be_taken() {
    let dir = tempfile::tempdir().unwrap();
    leave_node_of_a_dead_session(dir.path()).await;
    let mut root = None;
    for restart in 0..3 {
        let handle = coordinator::start(config(dir.path())).await.unwrap();
        let address = handle.address();
        let stat = tokio::task::spawn_blocking(move || {
            let mut client = raw::Client::connect(address).unwrap();
            if restart == 0 {
                assert_eq!(client.exists("/e", false).code, Code::NO_NODE);
                assert_eq!(client.create("/e", b"kept", 0).code, Code::OK);
            }
            let reply = client.get("/e", false);
            assert_eq!(reply.code, Code::OK, "restart {restart}");
            assert_eq!(reply.reader().buffer().unwrap(), Some(b"kept".as_slice()));
            client.exists("/", false).stat()
        })
        .await
        .unwrap();
        assert_eq!(*root.get_or_insert(stat), stat, "restart {restart}");
        handle.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_taken_during_writes_and_the_logs_after_them_give_everything_back() {
    let dir = tempfile::tempdir().unwrap();
    let small = || {
        let mut config = config(dir.path());
        config.snapshot_count = 50;
        config
    };
    for round in 0..4 {
        let handle = coordinator::start(small()).await.unwrap();
        let address = handle.address();
        tokio::task::spawn_blocking(move || {
            let mut client = raw::Client::connect(address).unwrap();
            for at in 0..100 * round {
                let reply = client.get(&format!("/n{at}"), false);
                assert_eq!(reply.code, Code::OK, "/n{at} in round {round}");
            }
            for at in 100 * round..100 * (round + 1) {
                let path = format!("/n{at}");
                assert_eq!(client.create(&path, path.as_bytes(), 0).code, Code::OK);
                client.set(&path, b"again", 0);
            }
            client.close();
        })
        .await
        .unwrap();
        handle.stop().await;
    }
    let snapshots = std::fs::read_dir(dir.path().join("version-2"))
        .unwrap()
        .filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with("snapshot.")
        });
    assert!(snapshots.count() > 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_directory_set_later_is_refused_until_the_logs_are_moved_there() {
    let dir = tempfile::tempdir().unwrap();
    let together = config(&dir.path().join("data"));
    let apart = Config {
        data_log_dir: Some(dir.path().join("logs")),
        ..together.clone()
    };
    let handle = coordinator::start(together.clone()).await.unwrap();
    let address = handle.address();
    tokio::task::spawn_blocking(move || {
        let mut client = raw::Client::connect(address).unwrap();
        assert_eq!(client.create("/kept", b"", 0).code, Code::OK);
    })
    .await
    .unwrap();
    handle.stop().await;
    let version_2 = |name: &str| dir.path().join(name).join("version-2");
    let why = coordinator::start(apart.clone()).await.unwrap_err();
    let (log, logs) = (version_2("data").join("log.1"), version_2("logs"));
    for part in [log.to_str().unwrap(), logs.to_str().unwrap(), "dataLogDir"] {
        assert!(why.to_string().contains(part), "{part} is not in: {why}");
    }
    base::durable::rename(&SystemDisk, &log, &logs.join("log.1")).unwrap();
    let handle = coordinator::start(apart.clone()).await.unwrap();
    let address = handle.address();
    tokio::task::spawn_blocking(move || {
        let mut client = raw::Client::connect(address).unwrap();
        assert_eq!(client.exists("/kept", false).code, Code::OK);
    })
    .await
    .unwrap();
    handle.stop().await;
    std::fs::copy(
        version_2("data").join("snapshot.0"),
        logs.join("snapshot.0"),
    )
    .unwrap();
    let why = coordinator::start(apart).await.unwrap_err().to_string();
    assert!(why.contains("move all of them to"), "{why}");
}

/// Where the transactions of a log begin, and where the last ends.
fn offsets(log: &[u8]) -> Vec<usize> {
    let mut offsets = vec![16];
    while let Some(at) = offsets.last()
        && let Some(len) = log.get(at + 8..).and_then(<[u8]>::first_chunk::<4>)
        && *len != [0; 4]
    {
        offsets.push(at + 13 + u32::from_be_bytes(*len) as usize);
    }
    offsets
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_inside_a_log_is_told_with_its_place_where_it_has_taken_something() {
    let dir = tempfile::tempdir().unwrap();
    let handle = coordinator::start(config(dir.path())).await.unwrap();
    let address = handle.address();
    tokio::task::spawn_blocking(move || {
        let mut client = raw::Client::connect(address).unwrap();
        for path in ["/a", "/b", "/c"] {
            assert_eq!(client.create(path, b"", 0).code, Code::OK);
        }
        assert_eq!(client.create("/a", b"", 0).code, Code::NODE_EXISTS);
        assert_eq!(client.create("/d", b"", 0).code, Code::OK);
    })
    .await
    .unwrap();
    handle.stop().await;
    let path = dir.path().join("version-2/log.1");
    let whole = std::fs::read(&path).unwrap();
    // The session, three nodes, what was refused, the fourth node.
    let at = offsets(&whole);
    assert_eq!(at.len(), 7);
    std::fs::write(&path, [&whole[..at[2]], &whole[at[4]..]].concat()).unwrap();
    let why = coordinator::start(config(dir.path())).await.unwrap_err();
    let place = format!("log.1 at offset {}: zxid 0x5 stands where 0x3", at[2]);
    assert!(why.to_string().contains(&place), "{why}");
    // A number that changed nothing may be missing: ZooKeeper skips some.
    std::fs::write(&path, [&whole[..at[4]], &whole[at[5]..]].concat()).unwrap();
    let handle = coordinator::start(config(dir.path())).await.unwrap();
    handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let handle = coordinator::start(config(dir.path())).await.unwrap();
    let second = coordinator::start(config(dir.path())).await;
    let why = second.err().unwrap().to_string();
    assert!(why.contains("another server"), "{why}");
    handle.stop().await;
}
