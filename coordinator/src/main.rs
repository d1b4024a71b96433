//! The separate program: `coordinator zoo.cfg`, and arguments that overrule the file.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use base::descriptors;
use base::logging;
use base::signals::Signals;
use clap::Parser;
use coordinator::{Config, Error, Handle, zoo_cfg};
use tracing::{error, info, warn};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A server that speaks ZooKeeper 3.9's client protocol and keeps its files.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// ZooKeeper's configuration file.
    #[arg(value_name = "ZOO_CFG")]
    file: Option<PathBuf>,
    /// The same, by name.
    #[arg(long, value_name = "ZOO_CFG", conflicts_with = "file")]
    config: Option<PathBuf>,
    /// Where the data lies; overrules `dataDir`.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where to listen; overrules `clientPort`. 0 takes any free port.
    #[arg(long)]
    port: Option<u16>,
    /// A system property of ZooKeeper's, as in -Dzookeeper.snapCount=1000. May be repeated.
    #[arg(short = 'D', value_name = "zookeeper.KEY=VALUE", value_parser = definition)]
    define: Vec<String>,
}

fn definition(text: &str) -> Result<String, &'static str> {
    match text.split_once('=') {
        Some((key, _)) if !key.is_empty() => Ok(text.to_owned()),
        _ => Err("a property is written KEY=VALUE"),
    }
}

/// The allocator would commit its first arena whole: four megabytes of ten at rest. It reads its
/// settings before `main` begins, so the program starts itself anew with this one in place.
fn keep_memory_small() {
    const SETTING: &str = "MIMALLOC_ARENA_EAGER_COMMIT";
    if std::env::var_os(SETTING).is_some() {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        let mut words = std::env::args_os();
        let mut command = Command::new(program);
        if let Some(name) = words.next() {
            command.arg0(name);
        }
        // It comes back only where it failed; then the memory is spent and nothing else is lost.
        let _cause = command.args(words).env(SETTING, "0").exec();
    }
}

fn main() -> ExitCode {
    keep_memory_small();
    // A program that touches a little of many buffers pays two megabytes for each where the kernel
    // backs them with huge pages: 16 MB of 28 at rest. An old kernel that refuses changes nothing.
    let _refused = rustix::thread::disable_transparent_huge_pages(true);
    let arguments = Arguments::parse();
    logging::start("info");
    let _granted = descriptors::take_all();
    let outcome = match configure(&arguments) {
        Ok(config) => run(config).map_err(|why| (exit_code(&why), why)),
        Err(why) => Err((BAD_SETTINGS, why)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, why)) => {
            error!("{why:#}");
            ExitCode::from(code)
        }
    }
}

/// With what the program ends, as ZooKeeper does: scripts and supervisors tell a mistake of theirs from
/// a misfortune by it.
const UNEXPECTED: u8 = 1;
const BAD_SETTINGS: u8 = 2;
const NO_ACCESS: u8 = 3;

fn exit_code(why: &anyhow::Error) -> u8 {
    match why.downcast_ref() {
        Some(Error::Settings { .. } | Error::Tls { .. }) => BAD_SETTINGS,
        Some(Error::Write { .. } | Error::InUse { .. } | Error::Misplaced { .. }) => NO_ACCESS,
        _ => UNEXPECTED,
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    // The pipeline has a thread of its own; only TLS is work for more than one beside it.
    let mut runtime = match config.tls {
        Some(_) => tokio::runtime::Builder::new_multi_thread(),
        None => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.enable_all().build()?;
    runtime.block_on(serve(config))
}

fn configure(arguments: &Arguments) -> anyhow::Result<Config> {
    let mut properties = zoo_cfg::Properties::default();
    if let Some(file) = arguments.config.as_ref().or(arguments.file.as_ref()) {
        properties.read_file(file)?;
    }
    if let Some(flags) = std::env::var_os("SERVER_JVMFLAGS") {
        let Some(flags) = flags.to_str() else {
            anyhow::bail!("the environment variable SERVER_JVMFLAGS is not UTF-8: {flags:?}");
        };
        properties.define_all(
            flags
                .split_whitespace()
                .filter_map(|flag| flag.strip_prefix("-D")),
        );
    }
    properties.define_all(arguments.define.iter().map(String::as_str));
    if let Some(dir) = &arguments.data_dir {
        properties.set("dataDir", &dir.to_string_lossy());
    }
    if let Some(port) = arguments.port {
        properties.set("clientPort", &port.to_string());
    }
    let (config, meaningless) = properties.config()?;
    if !meaningless.is_empty() {
        warn!(
            keys = meaningless.join(", "),
            "these settings have no meaning here"
        );
    }
    Ok(config)
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let mut handle: Handle = coordinator::start(config).await?;
    tokio::select! {
        () = signals.next() => info!("stopping"),
        () = handle.failed() => anyhow::bail!("the transaction log cannot be written; see above"),
    }
    handle.stop().await;
    Ok(())
}
