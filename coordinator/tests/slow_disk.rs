//! A disk that hangs: no session ends of it whose client would have been heard.

#![allow(
    clippy::unwrap_used,
    reason = "a test program: a panic is its way to fail"
)]

mod raw;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use base::clock::Clock;
use base::disk::{Disk, DiskFile, DiskLock, Entry, Facts, FileSystem, Open, SystemDisk};
use coordinator::{Config, Handle};
use parking_lot::{Condvar, Mutex};
use protocol::zookeeper::errors::Code;
use protocol::zookeeper::jute::Writer;
use protocol::zookeeper::ops;

/// Shut, it lets no sync through.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock();
        state.1 += 1;
        self.changed.notify_all();
        while state.0 {
            self.changed.wait(&mut state);
        }
        state.1 -= 1;
    }

    fn shut(&self, shut: bool) {
        self.state.lock().0 = shut;
        self.changed.notify_all();
    }

    /// Waits until somebody stands before it.
    fn await_visitor(&self) {
        let mut state = self.state.lock();
        while state.1 == 0 {
            self.changed.wait(&mut state);
        }
    }
}

/// The system's disk behind a gate.
#[derive(Debug)]
struct HangingDisk {
    disk: Arc<dyn Disk>,
    gate: Arc<Gate>,
}

#[derive(Debug)]
struct HangingFile {
    file: Arc<dyn DiskFile>,
    gate: Arc<Gate>,
}

impl DiskFile for HangingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.gate.pass();
        self.file.sync()
    }
    fn set_modified_ms(&self, ms: i64) -> io::Result<()> {
        self.file.set_modified_ms(ms)
    }
    fn real(&self) -> Option<&std::fs::File> {
        self.file.real()
    }
}

impl Disk for HangingDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let (file, gate) = (self.disk.open(path, how)?, Arc::clone(&self.gate));
        Ok(Arc::new(HangingFile { file, gate }))
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }
    fn facts(&self, path: &Path) -> io::Result<Facts> {
        self.disk.facts(path)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir_all(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn file_system(&self, path: &Path) -> io::Result<Arc<dyn FileSystem>> {
        self.disk.file_system(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path)
    }
    fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        self.disk.space(path)
    }
}

/// A server on such a disk, with a clock of its own: its shortest session lasts two seconds.
struct Hanging {
    handle: Handle,
    gate: Arc<Gate>,
    clock: Clock,
    _dir: tempfile::TempDir,
}

const TIMEOUT_MS: i32 = 2_000;

impl Hanging {
    async fn start() -> Hanging {
        let dir = tempfile::tempdir().unwrap();
        let (gate, clock) = (Arc::new(Gate::default()), Clock::by_hand(1_700_000_000_000));
        let mut config = Config::new(dir.path());
        config.port = 0;
        config.tick_ms = 1_000;
        config.clock = clock.clone();
        config.disk = Arc::new(HangingDisk {
            disk: SystemDisk::shared(),
            gate: Arc::clone(&gate),
        });
        let handle = coordinator::start(config).await.unwrap();
        Hanging {
            handle,
            gate,
            clock,
            _dir: dir,
        }
    }
}

fn open(address: SocketAddr) -> raw::Client {
    raw::Client::resume(address, 0, &[0; 16], TIMEOUT_MS).unwrap()
}

fn set_body(w: &mut Writer<'_>) {
    w.string("/").buffer(None).int(-1);
}

fn ping(client: &mut raw::Client) {
    client.send_as(ops::XID_PING, ops::PING, |_| {}).unwrap();
}

async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Moves time in small steps; after each, `each` makes sure that it has passed for the server too.
fn pass_seconds(clock: &Clock, seconds: usize, mut each: impl FnMut()) {
    for _ in 0..4 * seconds {
        clock.advance(250);
        each();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_in_the_server_s_own_hands_ends_no_session() {
    let server = Hanging::start().await;
    let address = server.handle.address();
    let (gate, clock) = (Arc::clone(&server.gate), server.clock.clone());
    off_thread(move || {
        let mut clients = [open(address), open(address)];
        gate.shut(true);
        clients[0].send(ops::SET_DATA, set_body).unwrap();
        gate.await_visitor();
        // Nobody is read from; what they send waits in their sockets for a minute.
        for client in &mut clients {
            ping(client);
        }
        clock.advance(60_000);
        gate.shut(false);
        assert_eq!(clients[0].receive().unwrap().code, Code::OK);
        for client in &mut clients {
            assert_eq!(client.receive().unwrap().code, Code::OK);
            assert_eq!(client.exists("/", false).code, Code::OK);
        }
        // A client that says nothing while it could is gone in time all the same.
        let [mut quiet, mut other] = clients;
        pass_seconds(&clock, 6, || ping_and_hear(&mut other));
        assert!(
            quiet
                .call(ops::EXISTS, |w| {
                    w.string("/").bool(false);
                })
                .is_err()
        );
    })
    .await;
    server.handle.stop().await;
}

fn ping_and_hear(client: &mut raw::Client) {
    ping(client);
    assert_eq!(client.receive().unwrap().code, Code::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_the_log_owes_answers_keeps_its_session() {
    let server = Hanging::start().await;
    let address = server.handle.address();
    let (gate, clock) = (Arc::clone(&server.gate), server.clock.clone());
    off_thread(move || {
        let [mut first, mut busy, mut other] = [(); 3].map(|()| open(address));
        gate.shut(true);
        // The first write is in the server's own hands; let through once slowly, the next ones are the
        // log thread's, and the server goes on.
        first.send(ops::SET_DATA, set_body).unwrap();
        gate.await_visitor();
        clock.advance(500);
        gate.shut(false);
        assert_eq!(first.receive().unwrap().code, Code::OK);
        gate.shut(true);
        // So many requests without an answer that no more are read, pings among them.
        let waiting = 3_000;
        for _ in 0..waiting {
            busy.send(ops::SET_DATA, set_body).unwrap();
        }
        gate.await_visitor();
        pass_seconds(&clock, 30, || {
            ping(&mut busy);
            ping_and_hear(&mut other);
            ping_and_hear(&mut first);
        });
        gate.shut(false);
        for at in 0..waiting {
            assert_eq!(busy.receive().unwrap().code, Code::OK, "request {at}");
        }
    })
    .await;
    server.handle.stop().await;
}
