//! The cases: a server in this process, one connection to it, the same request again and again.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;

use anyhow::{Context, Result, bail, ensure};
use bench::keeper;
use bench::member;
use bench::wire::{self, Caller};
use broker::config::{Config, LoadArgs};
use broker::server::Server;
use bytes::BytesMut;
use protocol::batch::Codec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

/// Rounds that are thrown away: buffers grow, tables fill.
const WARM_ROUNDS: u64 = 2;
const ROUNDS: u64 = 6;
/// How long a poll waits: the shortest wait is rounded up to this.
const POLL_MS: i32 = 10;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// In each round.
    requests: u64,
    /// Sent together before answers are read.
    together: u64,
    kind: Kind,
}

impl Case {
    /// In all measured rounds together. The coordinator's thread is counted from its start.
    pub(crate) const fn measured_requests(&self) -> u64 {
        match self.kind {
            Kind::Keeper { .. } => self.requests * (WARM_ROUNDS + ROUNDS),
            _ => self.requests * ROUNDS,
        }
    }

    /// What is counted besides [`measured`]: a server that has a thread of its own.
    pub(crate) const fn thread(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Keeper { .. } => Some("coordinator::OwnRuntime::run*"),
            _ => None,
        }
    }
}

enum Kind {
    Produce {
        records: usize,
    },
    Fetch,
    /// A fetch that finds nothing new, and is parked until its time is over.
    Poll,
    Heartbeat,
    Keeper {
        operation: i32,
    },
}

pub(crate) const CASES: &[Case] = &[
    case("produce_1k", 200, 5, Kind::Produce { records: 1 }),
    case("produce_1m", 10, 1, Kind::Produce { records: 1000 }),
    case("fetch_1m", 50, 1, Kind::Fetch),
    case("poll_idle", 20, 1, Kind::Poll),
    case("heartbeat", 200, 1, Kind::Heartbeat),
    case(
        "coordinator_get",
        400,
        20,
        Kind::Keeper {
            operation: keeper::GET,
        },
    ),
    case(
        "coordinator_set",
        400,
        20,
        Kind::Keeper {
            operation: keeper::SET,
        },
    ),
];

const fn case(name: &'static str, requests: u64, together: u64, kind: Kind) -> Case {
    Case {
        name,
        requests,
        together,
        kind,
    }
}

/// Runs one case to its end; callgrind watches [`measured`].
pub(crate) fn measure(name: &str) -> Result<()> {
    let case = CASES
        .iter()
        .find(|case| case.name == name)
        .with_context(|| format!("find case {name}"))?;
    let dir = tempfile::tempdir()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut asking = runtime.block_on(prepare(case, dir.path(), &runtime))?;
    for _ in 0..WARM_ROUNDS {
        runtime.block_on(round(case, &mut asking))?;
    }
    for _ in 0..ROUNDS {
        measured(&runtime, Box::pin(round(case, &mut asking)))?;
    }
    Ok(())
}

/// What callgrind counts: this function and all it calls, server included.
#[inline(never)]
fn measured(runtime: &Runtime, work: Pin<Box<dyn Future<Output = Result<()>> + '_>>) -> Result<()> {
    runtime.block_on(work)
}

/// A connection, and what is sent on it.
struct Asking {
    stream: TcpStream,
    frames: BytesMut,
    received: Vec<u8>,
    _server: Running,
}

#[expect(dead_code, reason = "held so that the server runs until the case ends")]
enum Running {
    Broker(Box<Server>),
    Coordinator(coordinator::Handle),
}

async fn prepare(case: &Case, dir: &Path, runtime: &Runtime) -> Result<Asking> {
    if let Kind::Keeper { operation } = case.kind {
        return keeper(case, operation, dir).await;
    }
    let server = broker(dir, runtime).await?;
    let (_, address) = server.addresses().first().context("find the address")?;
    let mut caller = Caller::connect(&address.to_string()).await?;
    let frame = match case.kind {
        Kind::Heartbeat => {
            let standing = member::settle(&mut caller, "gate").await?;
            member::heartbeat(&standing)?
        }
        Kind::Produce { records } => {
            caller.make_topic("gate", 1).await?;
            let batch = wire::batch(records, 1024, Codec::None)?;
            wire::produce("gate", 0, batch, 1)?
        }
        Kind::Poll => {
            caller.make_topic("gate", 1).await?;
            wire::fetch("gate", 0, 0, 1 << 20, POLL_MS)?
        }
        Kind::Fetch | Kind::Keeper { .. } => {
            caller.make_topic("gate", 1).await?;
            let batch = wire::batch(1000, 1024, Codec::None)?;
            caller
                .stream
                .write_all(&wire::produce("gate", 0, batch, 1)?)
                .await?;
            wire::read_frame(&mut caller.stream).await?;
            wire::fetch("gate", 0, 0, 1 << 20, 0)?
        }
    };
    Ok(Asking {
        stream: caller.stream,
        frames: repeated(&frame, case.together),
        received: vec![0; 2 << 20],
        _server: Running::Broker(Box::new(server)),
    })
}

async fn broker(dir: &Path, runtime: &Runtime) -> Result<Server> {
    let overrides = [
        "listeners=PLAINTEXT://127.0.0.1:0",
        "coordinator.port=0",
        "offsets.topic.num.partitions=1",
        "group.initial.rebalance.delay.ms=0",
        "log.cleaner.enable=false",
    ];
    let loaded = Config::load(&LoadArgs {
        overrides: overrides.iter().map(|&text| text.to_owned()).collect(),
        data_dir: Some(dir.to_path_buf()),
        ..LoadArgs::default()
    });
    let (config, _warnings) = match loaded {
        Ok(loaded) => loaded,
        Err(faults) => bail!("settings: {faults:?}"),
    };
    match Server::start(config, runtime.handle().clone()).await {
        Ok(server) => Ok(server),
        Err(refused) => bail!("start the broker: {refused}"),
    }
}

async fn keeper(case: &Case, operation: i32, dir: &Path) -> Result<Asking> {
    let mut config = coordinator::Config::new(dir);
    config.port = 0;
    let handle = coordinator::start(config).await?;
    let address: SocketAddr = handle.address();
    let mut stream = keeper::connect(&address.to_string()).await?;
    let mut frame = BytesMut::new();
    keeper::put_request(&mut frame, 1, keeper::CREATE, "/gate", 100);
    stream.write_all(&frame).await?;
    keeper::read_packet(&mut stream).await?;
    frame.clear();
    keeper::put_request(&mut frame, 2, operation, "/gate", 100);
    Ok(Asking {
        stream,
        frames: repeated(&frame, case.together),
        received: vec![0; 2 << 20],
        _server: Running::Coordinator(handle),
    })
}

fn repeated(frame: &[u8], times: u64) -> BytesMut {
    let mut frames = BytesMut::new();
    for _ in 0..times {
        frames.extend_from_slice(frame);
    }
    frames
}

async fn round(case: &Case, asking: &mut Asking) -> Result<()> {
    for _ in 0..case.requests / case.together {
        asking.stream.write_all(&asking.frames).await?;
        for _ in 0..case.together {
            let len = usize::try_from(asking.stream.read_i32().await?)?;
            ensure!(len <= asking.received.len(), "an answer of {len} bytes");
            asking
                .stream
                .read_exact(&mut asking.received[..len])
                .await?;
        }
    }
    Ok(())
}
