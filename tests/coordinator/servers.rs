//! Real processes: Apache's server where it is installed, and our own program.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server in its own process; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    /// SIGKILL: nothing is flushed, nothing is said.
    pub(crate) fn kill(&mut self) {
        // A child that has ended by itself is as dead as it should be.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }

    fn await_ready(&mut self) {
        for _ in 0..600 {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended: {status}");
            }
            if is_ready(self.address) {
                return;
            }
            nap();
        }
        panic!("the server is not ready after a minute");
    }
}

fn is_ready(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.write_all(b"srvr")?;
        let mut text = String::new();
        socket.read_to_string(&mut text)?;
        Ok(text)
    };
    ask().is_ok_and(|text| text.contains("Mode: standalone"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "another process is waited for; there is no event"
)]
fn nap() {
    std::thread::sleep(Duration::from_millis(20));
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Settings of which those that begin with `-D` are arguments rather than lines of the file.
fn split(more: &str) -> (Vec<&str>, String) {
    let (arguments, lines): (Vec<&str>, Vec<&str>) =
        more.lines().partition(|line| line.starts_with("-D"));
    (arguments, lines.join("\n"))
}

/// The settings both servers run with.
fn zoo_cfg(dir: &Path, port: u16, more: &str) -> PathBuf {
    let path = dir.join("zoo.cfg");
    let text = format!(
        "tickTime=2000\nmaxClientCnxns=0\nadmin.enableServer=false\n4lw.commands.whitelist=*\n\
         extendedTypesEnabled=true\nmaxSessionTimeout=600000\nsnapCount=1000\npreAllocSize=64\n\
         dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n{more}",
        dir.join("data").display()
    );
    std::fs::create_dir_all(dir.join("data")).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

fn spawn(mut command: Command, port: u16) -> Server {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let child = command.spawn().unwrap();
    let mut server = Server {
        child,
        address: (Ipv4Addr::LOCALHOST, port).into(),
    };
    server.await_ready();
    server
}

/// Our program, with more settings than the two share.
pub(crate) fn ours_with(dir: &Path, more: &str) -> Server {
    ours_at(dir, harness::process::free_port(), more)
}

/// Our program on a port it may have had before.
pub(crate) fn ours_at(dir: &Path, port: u16, more: &str) -> Server {
    let mut command = Command::new(harness::process::program("coordinator"));
    let (arguments, lines) = split(more);
    command.arg(zoo_cfg(dir, port, &lines)).args(arguments);
    spawn(command, port)
}

/// Our program.
pub(crate) fn ours(dir: &Path) -> Server {
    ours_with(dir, "")
}

/// Apache's server; `None`, loudly, where it is not installed.
pub(crate) fn apaches(dir: &Path) -> Option<Server> {
    apaches_with(dir, "")
}

/// Apache's server, with more settings than the two share.
pub(crate) fn apaches_with(dir: &Path, more: &str) -> Option<Server> {
    let Some(home) = apaches_home() else {
        let why = "no ZooKeeper 3.9 is installed (tests/peers/install)";
        assert!(
            std::env::var_os("ROTPETER_REQUIRE_PEERS").is_none_or(|set| set.is_empty()),
            "{why}"
        );
        eprintln!("SKIPPED: {why}");
        return None;
    };
    let port = free_port();
    let jars = format!("{}/libs/*", home.display());
    let mut command = Command::new("java");
    let (arguments, lines) = split(more);
    command.args(arguments).args([
        "-Xmx256m",
        "-cp",
        &jars,
        "org.apache.zookeeper.server.quorum.QuorumPeerMain",
    ]);
    command.arg(zoo_cfg(dir, port, &lines));
    Some(spawn(command, port))
}

fn apaches_home() -> Option<PathBuf> {
    let peers = std::env::var_os("ROTPETER_PEERS")
        .map(PathBuf::from)
        .or_else(|| {
            std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/rotpeter/peers"))
        })?;
    let home = peers.join("zookeeper-3.9");
    let java = Command::new("java")
        .arg("-version")
        .stderr(Stdio::null())
        .status();
    (home.join("libs").is_dir() && java.is_ok_and(|status| status.success())).then_some(home)
}
