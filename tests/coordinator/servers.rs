//! Real processes: Apache's server where it is installed, and our own program.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::loud;
use harness::peers;
use harness::ports::free_port;
use harness::process::{Process, program};
use harness::wait;

/// How long a server may take to serve, on a loaded machine.
const START_LIMIT: Duration = Duration::from_secs(120);
/// A server looks for containers and for nodes whose time is over once a minute, counted from its
/// start; no test waits for that, and on a slow machine none must meet it.
const NEVER_MS: u32 = 86_400_000;

/// A server in its own process; killed when dropped, which also tells the end of its log if the test
/// fails.
pub(crate) struct Server {
    process: Process,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// SIGKILL: nothing is flushed, nothing is said.
    pub(crate) fn kill(&mut self) {
        self.process.kill_9();
    }

    /// What it may say at WARN or ERROR.
    pub(crate) fn announce(&mut self, text: &str) {
        self.process.announce(&[text]);
    }

    fn await_ready(&mut self) {
        wait::until("the server to be ready", START_LIMIT, || {
            assert!(
                !self.process.has_ended(),
                "the server ended:\n{}",
                self.process.log()
            );
            is_ready(self.address).then_some(())
        });
    }
}

fn is_ready(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut socket = TcpStream::connect(address)?;
        // Apache's server may leave one unanswered for good that comes while it starts.
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        socket.write_all(b"srvr")?;
        let mut text = String::new();
        socket.read_to_string(&mut text)?;
        Ok(text)
    };
    ask().is_ok_and(|text| text.contains("Mode: standalone"))
}

/// Settings of which those that begin with `-D` are arguments rather than lines of the file.
fn split(more: &str) -> (Vec<&str>, String) {
    let (arguments, lines): (Vec<&str>, Vec<&str>) =
        more.lines().partition(|line| line.starts_with("-D"));
    (arguments, lines.join("\n"))
}

/// A server that knows bob by the password `secret`, and a client that calls itself bob.
pub(crate) fn jaas(password: &str) -> String {
    let module = "org.apache.zookeeper.server.auth.DigestLoginModule";
    format!(
        "Server {{ {module} required user_bob=\"secret\"; }};\n\
         Client {{ {module} required username=\"bob\" password=\"{password}\"; }};\n"
    )
}

/// The settings both servers run with.
fn zoo_cfg(dir: &Path, port: u16, more: &str) -> PathBuf {
    let path = dir.join("zoo.cfg");
    let text = format!(
        "tickTime=2000\nmaxClientCnxns=0\nadmin.enableServer=false\n4lw.commands.whitelist=*\n\
         extendedTypesEnabled=true\nmaxSessionTimeout=600000\nsnapCount=1000\npreAllocSize=64\n\
         znode.container.checkIntervalMs={NEVER_MS}\n\
         dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n{more}",
        dir.join("data").display()
    );
    std::fs::create_dir_all(dir.join("data")).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

fn spawn(command: Command, dir: &Path, port: u16) -> Server {
    let mut server = Server {
        process: Process::start(command, &dir.join("server.log")),
        address: (Ipv4Addr::LOCALHOST, port).into(),
    };
    server.process.announce(&[
        "no meaning here keys=\"admin.enableServer\"",
        // To clients that are wrong on purpose.
        "SASL authentication failed; closing",
        "a frame too short for a request; closing",
    ]);
    server.process.announce(&loud::AFTER_A_KILL);
    server.await_ready();
    server
}

/// Our program, with more settings than the two share.
pub(crate) fn ours_with(dir: &Path, more: &str) -> Server {
    ours_at(dir, free_port(), more)
}

/// Our program on a port it may have had before.
pub(crate) fn ours_at(dir: &Path, port: u16, more: &str) -> Server {
    let mut command = Command::new(program("coordinator"));
    let (arguments, lines) = split(more);
    command.arg(zoo_cfg(dir, port, &lines)).args(arguments);
    spawn(command, dir, port)
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
    let home = peers::installed("zookeeper-3.9")?;
    peers::program("java")?;
    let port = free_port();
    let logback = home.join("config/logback.xml");
    let mut command = Command::new("java");
    let (arguments, lines) = split(more);
    command
        .args(["-Xmx256m", "-cp"])
        .arg(format!("{}/libs/*", home.display()))
        .arg(format!("-Dlogback.configurationFile={}", logback.display()))
        .arg(format!("-Dznode.container.checkIntervalMs={NEVER_MS}"))
        .args(arguments)
        .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
        .arg(zoo_cfg(dir, port, &lines));
    Some(spawn(command, dir, port))
}
