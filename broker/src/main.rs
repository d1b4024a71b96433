//! The program: arguments, logging, runtimes, exit code.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use base::logging;
use broker::admin::loggers::DEFAULT_FILTER;
use broker::config::{Config, LoadArgs, Warning};
use broker::server::Server;
use clap::Parser;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Cross-thread frees are cheap and a large claim costs nothing until bytes arrive.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A signal that comes sooner after the first is the same wish.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Apache Kafka as it was with ZooKeeper: a broker that needs nothing but itself.
///
/// Without arguments: a broker on localhost:9092, its ZooKeeper-compatible coordinator on
/// 127.0.0.1:2181, data under ./data.
#[derive(Debug, Parser)]
#[command(name = "broker", version, max_term_width = 100)]
struct Arguments {
    /// Kafka's server.properties, or the same keys as YAML (by the ending .yaml or .yml).
    config: Option<PathBuf>,
    /// Sets one key; overrules the file. May be given again.
    #[arg(long = "override", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Use this ZooKeeper instead of the embedded coordinator.
    #[arg(long, value_name = "HOST:PORT[,…][/CHROOT]")]
    zookeeper: Option<String>,
    /// Where everything is kept: ./data unless told.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    // A program that touches a little of many buffers pays two megabytes for each where the kernel
    // backs them with huge pages: 16 MB of 28 at rest. An old kernel that refuses changes nothing.
    let _refused = rustix::thread::disable_transparent_huge_pages(true);
    let arguments = Arguments::parse();
    logging::start(DEFAULT_FILTER, logging::Format::Text);
    let (environment, idle) = settings::environment::read(std::env::vars());
    let loaded = Config::load(&LoadArgs {
        file: arguments.config,
        environment,
        overrides: arguments.overrides,
        zookeeper: arguments.zookeeper,
        data_dir: arguments.data_dir,
    });
    let (config, warnings) = match loaded {
        Ok(loaded) => loaded,
        Err(refused) => {
            warn_of(idle, refused.warnings);
            for fault in refused.faults {
                eprintln!("{fault}");
            }
            return ExitCode::FAILURE;
        }
    };
    warn_of(idle, warnings);
    let runtimes = data_runtime(&config).and_then(|data| Ok((data, control_runtime()?)));
    let (data, control) = match runtimes {
        Ok(runtimes) => runtimes,
        Err(e) => {
            eprintln!("cannot start threads: {e}");
            return ExitCode::FAILURE;
        }
    };
    let ended = control.block_on(serve(config, data.handle().clone()));
    // What is still parked on the data runtime has been answered or cut off by now.
    data.shutdown_background();
    control.shutdown_background();
    ended
}

fn warn_of(idle: Vec<Warning>, warnings: Vec<Warning>) {
    for warning in idle.into_iter().chain(warnings) {
        tracing::warn!("{}", warning.0);
    }
}

/// Connections live here, one worker more than there are cores: a worker that sleeps on a disk
/// leaves the cores busy.
fn data_runtime(config: &Config) -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(config.threads.data())
        .max_blocking_threads(4)
        .thread_name("data")
        .enable_all()
        .build()
}

/// ZooKeeper, controller and peers live here, where no disk can hold them up.
fn control_runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(4)
        .thread_name("control")
        .enable_all()
        .build()
}

/// SIGTERM and Ctrl-C.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next time somebody asks to stop. Dropping the future early is safe.
    async fn next(&mut self) {
        tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
    }

    /// Somebody asks once more, having seen that it takes its time. A program that hands signals
    /// on may send one twice at once; that is no second wish.
    async fn again(&mut self) {
        let first = tokio::time::Instant::now();
        while first.elapsed() < AGAIN_AFTER {
            self.next().await;
        }
    }
}

async fn serve(config: Config, data: tokio::runtime::Handle) -> ExitCode {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(e) => {
            eprintln!("cannot listen for signals: {e}");
            return ExitCode::FAILURE;
        }
    };
    let mut server = tokio::select! {
        started = Server::start(config, data) => match started {
            Ok(server) => server,
            Err(refused) => {
                eprintln!("{refused}");
                return ExitCode::FAILURE;
            }
        },
        () = signals.next() => return ExitCode::SUCCESS,
    };
    eprintln!("{}", server.greeting());
    let failed = tokio::select! {
        () = signals.next() => None,
        failed = server.failed() => Some(failed),
    };
    // A disk that hangs would hold the stop up for as long; whoever asks twice does not wait for it.
    tokio::select! {
        () = server.stop() => {}
        () = signals.again() => {
            eprintln!("stopped at once, as asked twice; the next start recovers the logs");
            return ExitCode::FAILURE;
        }
    }
    match failed {
        None => ExitCode::SUCCESS,
        Some(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}
