//! The disk stops, tears, fails and fills up: what was acknowledged is there afterwards, and
//! nothing is acknowledged after a failure.

#![allow(
    clippy::unwrap_used,
    reason = "a test program: a panic is its way to fail"
)]

mod raw;

use std::net::SocketAddr;
use std::path::Path;

use base::disk::Open;
use base::faulty_disk::{Fault, FaultyDisk, Operation, Restart};
use coordinator::{Config, Handle};
use protocol::zookeeper::errors::Code;

fn config(disk: &FaultyDisk) -> Config {
    let mut config = Config::new("/data");
    config.port = 0;
    config.snapshot_count = 16;
    config.disk = disk.shared();
    config
}

/// Creates `/n0`, `/n1` … until the server stops answering; gives how many were acknowledged.
fn create_on(address: SocketAddr, from: usize, most: usize) -> usize {
    let Ok(mut client) = raw::Client::connect(address) else {
        return from;
    };
    for at in from..from + most {
        let path = format!("/n{at}");
        let open = protocol::zookeeper::types::Acl::open();
        let reply = client.call(protocol::zookeeper::ops::CREATE, |w| {
            raw::create_body(w, &path, Some(path.as_bytes()), &[open], 0);
        });
        match reply {
            Ok(reply) => assert_eq!(reply.code, Code::OK, "{path}"),
            Err(_) => return at,
        }
    }
    from + most
}

async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// How many of `/n0`, `/n1` … are there without a gap.
async fn count(handle: &Handle) -> usize {
    let address = handle.address();
    off_thread(move || {
        let mut client = raw::Client::connect(address).unwrap();
        let mut names = client.children("/", false).strings();
        names.retain(|name| name != "zookeeper");
        for at in 0..names.len() {
            let path = format!("/n{at}");
            assert_eq!(client.get(&path, false).code, Code::OK, "a gap at {path}");
        }
        names.len()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_moment_of_a_power_cut_nothing_acknowledged_is_lost() {
    for (seed, how) in [
        (1, Restart::Process),
        (2, Restart::Power),
        (3, Restart::Power),
        (4, Restart::PowerLosingAll),
    ] {
        for stop_at in (1..160).step_by(3) {
            let disk = FaultyDisk::new(seed * 1_000 + stop_at);
            disk.stop_at(stop_at);
            let mut acknowledged = 0;
            if let Ok(handle) = coordinator::start(config(&disk)).await {
                let address = handle.address();
                acknowledged = off_thread(move || create_on(address, 0, 60)).await;
                handle.stop().await;
            }
            disk.restart(how);
            let handle = match coordinator::start(config(&disk)).await {
                Ok(handle) => handle,
                Err(why) => panic!("seed {seed}, stopped at {stop_at}, {how:?}: {why}"),
            };
            let there = count(&handle).await;
            assert!(
                there >= acknowledged,
                "{how:?} at {stop_at}: {there} of {acknowledged}"
            );
            handle.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_that_a_dead_start_has_made_stay_once_something_in_them_is_acknowledged() {
    for stop_at in 1..20 {
        let disk = FaultyDisk::new(stop_at);
        let deep = || Config {
            data_dir: "/srv/keeper/data".into(),
            data_log_dir: Some("/srv/logs/keeper".into()),
            ..config(&disk)
        };
        disk.stop_at(stop_at);
        if let Ok(handle) = coordinator::start(deep()).await {
            handle.stop().await;
        }
        disk.restart(Restart::Process);
        let handle = coordinator::start(deep()).await.unwrap();
        let address = handle.address();
        assert_eq!(off_thread(move || create_on(address, 0, 3)).await, 3);
        handle.stop().await;
        disk.restart(Restart::PowerLosingAll);
        let handle = coordinator::start(deep()).await.unwrap();
        assert_eq!(count(&handle).await, 3, "stopped at {stop_at}");
        handle.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_sync_nothing_is_acknowledged_and_the_server_says_so() {
    let disk = FaultyDisk::new(5);
    let mut handle = coordinator::start(config(&disk)).await.unwrap();
    let address = handle.address();
    let before = off_thread(move || create_on(address, 0, 5)).await;
    assert_eq!(before, 5);
    disk.plan(Operation::Sync, "log.", Fault::Eio, 0, true);
    let after = off_thread(move || create_on(address, 5, 5)).await;
    assert_eq!(
        after, 5,
        "a write was acknowledged after the disk had failed"
    );
    handle.failed().await;
    // The fault was for once: but the server must not trust that disk again.
    assert_eq!(off_thread(move || create_on(address, 5, 5)).await, 5);
    handle.stop().await;
    disk.restart(Restart::PowerLosingAll);
    let handle = coordinator::start(config(&disk)).await.unwrap();
    assert_eq!(count(&handle).await, 5);
    handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_the_serving_and_space_brings_it_back() {
    let disk = FaultyDisk::new(6);
    let mut roomy = config(&disk);
    roomy.log_preallocate = 0;
    let mut handle = coordinator::start(roomy.clone()).await.unwrap();
    let address = handle.address();
    disk.limit_space(Some(4_000));
    let acknowledged = off_thread(move || create_on(address, 0, 200)).await;
    assert!(acknowledged < 200);
    handle.failed().await;
    handle.stop().await;
    disk.limit_space(None);
    disk.restart(Restart::Process);
    let handle = coordinator::start(roomy).await.unwrap();
    assert!(count(&handle).await >= acknowledged);
    handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_snapshot_is_removed_when_it_fails_and_at_the_next_start() {
    let disk = FaultyDisk::new(9);
    let named = |prefix: &str| {
        let entries = disk.shared().list(Path::new("/data/version-2")).unwrap();
        let names = entries.iter().map(|entry| &entry.name);
        names.filter(|name| name.starts_with(prefix)).count()
    };
    disk.plan(Operation::Write, "new-", Fault::Eio, 0, true);
    let handle = coordinator::start(config(&disk)).await.unwrap();
    let address = handle.address();
    // A later snapshot than that of the beginning says that the one that failed is over.
    let mut created = 0;
    while named("snapshot.") < 2 || named("new-") > 0 {
        assert!(created < 10_000, "the failed snapshot stays");
        created = off_thread(move || create_on(address, created, 10)).await;
    }
    handle.stop().await;
    let left = Path::new("/data/version-2/new-snapshot.5.gz");
    disk.shared().open(left, Open::CreateNew).unwrap();
    let handle = coordinator::start(config(&disk)).await.unwrap();
    assert_eq!(named("new-"), 0);
    handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_takes_nothing_after_a_start_that_wrote_nothing() {
    for seed in 0..20 {
        let disk = FaultyDisk::new(700 + seed);
        let handle = coordinator::start(config(&disk)).await.unwrap();
        handle.stop().await;
        disk.restart(Restart::Process);
        let handle = coordinator::start(config(&disk)).await.unwrap();
        let address = handle.address();
        assert_eq!(off_thread(move || create_on(address, 0, 5)).await, 5);
        disk.stop_at(disk.operations() + 1);
        handle.stop().await;
        let how = if seed % 2 == 0 {
            Restart::Power
        } else {
            Restart::PowerLosingAll
        };
        disk.restart(how);
        let handle = coordinator::start(config(&disk)).await.unwrap();
        assert_eq!(count(&handle).await, 5, "seed {seed}, {how:?}");
        handle.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_from_the_first_transaction_on_need_no_snapshot_and_later_ones_do() {
    let disk = FaultyDisk::new(8);
    let mut large = config(&disk);
    large.snapshot_count = 100_000;
    let handle = coordinator::start(large.clone()).await.unwrap();
    let address = handle.address();
    assert_eq!(off_thread(move || create_on(address, 0, 20)).await, 20);
    handle.stop().await;
    let dir = std::path::Path::new("/data/version-2");
    let files = disk.shared();
    files.remove_file(&dir.join("snapshot.0")).unwrap();
    let handle = coordinator::start(large.clone()).await.unwrap();
    assert_eq!(count(&handle).await, 20);
    handle.stop().await;

    let names = |prefix: &str| -> Vec<String> {
        let names = files.list(dir).unwrap().into_iter().map(|entry| entry.name);
        names.filter(|name| name.starts_with(prefix)).collect()
    };
    let snapshots = names("snapshot.");
    assert_eq!(snapshots.len(), 1, "one was written anew: {snapshots:?}");
    for name in snapshots {
        files.remove_file(&dir.join(name)).unwrap();
    }
    files.remove_file(&dir.join("log.1")).unwrap();
    assert!(!names("log.").is_empty());
    let refused = coordinator::start(large).await.map(drop).unwrap_err();
    assert!(
        refused.to_string().contains("no readable snapshot"),
        "{refused}"
    );
}
