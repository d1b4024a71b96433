//! The two brokers that are asked the same: Apache's on its ZooKeeper, ours on its coordinator. Both alone, both fresh.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::asker::Asker;
use harness::loud;
use harness::peers::apache_tool;
use harness::ports::free_port;
use harness::process::{Process, Single};

/// What both are told beyond their addresses and folders.
const SETTINGS: &[&str] = &[
    "broker.id=1",
    "offsets.topic.replication.factor=1",
    "offsets.topic.num.partitions=1",
    "transaction.state.log.replication.factor=1",
    "transaction.state.log.num.partitions=1",
    "transaction.state.log.min.isr=1",
    "group.initial.rebalance.delay.ms=0",
    "group.min.session.timeout.ms=1000",
    "log.retention.ms=-1",
    "auto.leader.rebalance.enable=false",
];

/// A broker that is asked.
pub(crate) struct Side {
    pub(crate) is_ours: bool,
    pub(crate) port: u16,
    pub(crate) coordinator_port: u16,
    /// Where its logs are, as it names them itself.
    pub(crate) logs: PathBuf,
    pub(crate) broker: Process,
    _zookeeper: Option<Process>,
    _folder: tempfile::TempDir,
}

/// What a broker rightly says of the bad requests among those it is asked.
const PROVOKED: [&str; 4] = [
    "Set, and not obeyed yet",
    "closed a connection that does not speak Kafka's protocol",
    "topic not made",
    "LeaderAndIsr not carried out",
];

pub(crate) fn ours() -> Side {
    let folder = tempfile::tempdir().unwrap();
    let mut single = Single::start(folder.path(), SETTINGS);
    single.process.announce(&PROVOKED);
    // It is told of brokers that are not there, in orders that no controller gave.
    single.process.announce(&loud::OF_NEIGHBOURS);
    Side {
        is_ours: true,
        port: single.port,
        coordinator_port: single.coordinator_port,
        logs: folder.path().join("data/broker"),
        broker: single.process,
        _zookeeper: None,
        _folder: folder,
    }
}

/// `None`, loudly, where it is not installed.
pub(crate) fn apache() -> Option<Side> {
    let folder = tempfile::tempdir().unwrap();
    let (port, coordinator_port) = (free_port(), free_port());
    let zookeeper = zookeeper(folder.path(), coordinator_port)?;
    let logs = folder.path().join("logs");
    let mut text = format!(
        "listeners=PLAINTEXT://127.0.0.1:{port}\nzookeeper.connect=127.0.0.1:{coordinator_port}\nlog.dirs={}\n",
        logs.display()
    );
    for line in SETTINGS {
        text += &format!("{line}\n");
    }
    fs::write(folder.path().join("server.properties"), text).unwrap();
    let mut command = apache_tool("kafka-3.9", "kafka-server-start")?;
    command.arg(folder.path().join("server.properties"));
    let mut broker = Process::start(command, &folder.path().join("kafka.log"));
    broker.wait_for_log("started (kafka.server.KafkaServer)");
    // It says so before it has heard of itself.
    Asker::connect(&format!("127.0.0.1:{port}"), "wire").await_brokers(1);
    Some(Side {
        is_ours: false,
        port,
        coordinator_port,
        logs,
        broker,
        _zookeeper: Some(zookeeper),
        _folder: folder,
    })
}

fn zookeeper(folder: &Path, port: u16) -> Option<Process> {
    let mut command = apache_tool("zookeeper-3.9", "zkServer")?;
    let file = folder.join("zoo.cfg");
    fs::create_dir_all(folder.join("zookeeper")).unwrap();
    let text = format!(
        "tickTime=2000\nadmin.enableServer=false\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n",
        folder.join("zookeeper").display()
    );
    fs::write(&file, text).unwrap();
    command.arg(file);
    let mut process = Process::start(command, &folder.join("zookeeper.log"));
    process.wait_for_port(port);
    Some(process)
}

impl Side {
    /// When the broker's registration was written: its epoch, which only ZooKeeper tells.
    pub(crate) fn broker_epoch(&self) -> i64 {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.coordinator_port)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        // A new session: version, last zxid, timeout, id, empty password.
        let hello = [
            &[0; 12][..],
            &10_000i32.to_be_bytes(),
            &[0; 8],
            &16i32.to_be_bytes(),
            &[0; 16],
        ]
        .concat();
        exchange(&mut socket, &hello);
        let path = b"/brokers/ids/1";
        // xid 1, operation exists, path, no watch.
        let ask = [
            &[0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, path.len() as u8][..],
            path,
            &[0],
        ]
        .concat();
        let answer = exchange(&mut socket, &ask);
        i64::from_be_bytes(answer[16..24].try_into().unwrap())
    }
}

fn exchange(socket: &mut TcpStream, body: &[u8]) -> Vec<u8> {
    socket
        .write_all(&(body.len() as i32).to_be_bytes())
        .unwrap();
    socket.write_all(body).unwrap();
    let mut length = [0; 4];
    socket.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    socket.read_exact(&mut answer).unwrap();
    answer
}
