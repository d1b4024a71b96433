//! The program: arguments, logging, runtimes, exit code.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use base::logging;
use base::signals::Signals;
use broker::admin::loggers::DEFAULT_FILTER;
use broker::config::load::{LoadArgs, Loaded, Refused, load};
use broker::config::{Config, Warning, container};
use broker::server::error::StartError;
use broker::server::{Server, health};
use clap::Parser;
use settings::value::Fault;
use tokio::runtime::{Builder, Runtime};

/// Cross-thread frees are cheap and a large claim costs nothing until bytes arrive.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A signal that comes sooner after the first is the same wish.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// As `eprintln`, which ends the program where nobody takes its words: a full disk, a closed pipe.
macro_rules! say {
    ($($words:tt)*) => {
        let _nobody_listens = writeln!(std::io::stderr(), $($words)*);
    };
}

/// Apache Kafka as it was with ZooKeeper: a broker that needs nothing but itself.
///
/// Without arguments: a broker on localhost:9092, its ZooKeeper-compatible coordinator on
/// 127.0.0.1:2181, data under ./data. Every key may also be a variable, as in containers:
/// KAFKA_NUM_PARTITIONS is num.partitions, and counts over the file.
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
    /// In a container: keep everything on the volume mounted there, and settle what a container implies.
    #[arg(long, value_name = "DIR")]
    volume: Option<PathBuf>,
    /// A container's health check: exit code 0 if the broker that the container runs serves clients.
    #[arg(long)]
    healthy: bool,
}

impl Arguments {
    fn load(self) -> Result<Loaded, Refused> {
        load(&LoadArgs {
            file: self.config,
            environment: settings::environment::read(std::env::vars_os()),
            overrides: self.overrides,
            zookeeper: self.zookeeper,
            data_dir: self.data_dir,
            volume: self.volume,
        })
    }
}

fn main() -> ExitCode {
    // A program that touches a little of many buffers pays two megabytes for each where the kernel
    // backs them with huge pages: 16 MB of 28 at rest. An old kernel that refuses changes nothing.
    let _refused = rustix::thread::disable_transparent_huge_pages(true);
    let arguments = Arguments::parse();
    if arguments.healthy {
        return healthy(arguments);
    }
    logging::start(DEFAULT_FILTER);
    let in_container = arguments.volume.is_some();
    let config = match arguments.load() {
        Ok(loaded) => {
            warn_of(loaded.warnings);
            for notice in loaded.notices {
                say!("{notice}");
            }
            loaded.config
        }
        Err(refused) => {
            warn_of(refused.warnings);
            return refuse(&refused.faults);
        }
    };
    if in_container {
        let unwritable = container::unwritable(&config);
        if !unwritable.is_empty() {
            return refuse(&unwritable);
        }
    }
    let runtimes = data_runtime(&config).and_then(|data| Ok((data, control_runtime()?)));
    let (data, control) = match runtimes {
        Ok(runtimes) => runtimes,
        Err(e) => {
            say!("cannot start threads: {e}");
            return ExitCode::FAILURE;
        }
    };
    let ended = control.block_on(serve(config, data.handle().clone()));
    // What is still parked on the data runtime has been answered or cut off by now.
    data.shutdown_background();
    control.shutdown_background();
    ended
}

fn refuse(faults: &[Fault]) -> ExitCode {
    for fault in faults {
        say!("{fault}");
    }
    ExitCode::FAILURE
}

fn warn_of(warnings: Vec<Warning>) {
    for warning in warnings {
        tracing::warn!("{}", warning.0);
    }
}

/// Settings are read as the running broker has read them, so that its ports are known.
fn healthy(asked: Arguments) -> ExitCode {
    let volume = asked.volume.clone();
    let words = health::words_of_the_first_process();
    // Without any, there is no container around it: who asks says which broker is meant.
    let running = (!words.is_empty()).then(|| Arguments::try_parse_from(words));
    let mut running = running.and_then(Result::ok).unwrap_or(asked);
    running.volume = running.volume.or(volume);
    let config = match running.load() {
        Ok(loaded) => loaded.config,
        Err(refused) => return refuse(&refused.faults),
    };
    let runtime = Builder::new_current_thread().enable_all().build();
    let asked = runtime.map(|runtime| runtime.block_on(health::ask(&config.listeners.bound)));
    match asked {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(unwell)) => {
            say!("{unwell}");
            ExitCode::FAILURE
        }
        Err(cause) => {
            say!("cannot start a thread: {cause}");
            ExitCode::FAILURE
        }
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

/// Somebody asks once more, having seen that it takes its time. A program that hands signals on may
/// send one twice at once; that is no second wish.
async fn again(signals: &mut Signals) {
    let first = tokio::time::Instant::now();
    while first.elapsed() < AGAIN_AFTER {
        signals.next().await;
    }
}

fn at_once() -> ExitCode {
    say!("stopped at once, as asked twice; the next start recovers the logs");
    ExitCode::FAILURE
}

async fn serve(config: Config, data: tokio::runtime::Handle) -> ExitCode {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(e) => {
            say!("cannot listen for signals: {e}");
            return ExitCode::FAILURE;
        }
    };
    let (unwanted, stop) = base::stop::pair();
    let starting = Server::start_unless(config, data, async move { stop.stopped().await });
    tokio::pin!(starting);
    let started = tokio::select! {
        started = &mut starting => started,
        () = signals.next() => {
            unwanted.stop();
            tokio::select! {
                started = &mut starting => started,
                () = again(&mut signals) => return at_once(),
            }
        }
    };
    let mut server = match started {
        Ok(server) => server,
        Err(StartError::Unwanted) => return ExitCode::SUCCESS,
        Err(refused) => {
            say!("{refused}");
            return ExitCode::FAILURE;
        }
    };
    say!("{}", server.greeting());
    let failed = tokio::select! {
        () = signals.next() => None,
        failed = server.failed() => Some(failed),
    };
    // A disk that hangs would hold the stop up for as long; whoever asks twice does not wait for it.
    tokio::select! {
        () = server.stop() => {}
        () = again(&mut signals) => return at_once(),
    }
    match failed {
        None => ExitCode::SUCCESS,
        Some(reason) => {
            say!("{reason}");
            ExitCode::FAILURE
        }
    }
}
