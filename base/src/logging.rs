//! Log lines: levels by target, text or JSON, on standard error; levels may change while running.

use std::io::IsTerminal;
use std::sync::OnceLock;

use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// What the process began with, and how to change it.
struct Started {
    filter: String,
    replace: Box<dyn Fn(EnvFilter) -> bool + Send + Sync>,
    /// One change at a time.
    changing: Mutex<()>,
}

static STARTED: OnceLock<Started> = OnceLock::new();

/// Starts logging for the whole process; `filter` is overruled by the variable `ROTPETER_LOG`.
/// A second call changes nothing, so that several servers in one process may each ask for it.
pub fn start(filter: &str, format: Format) {
    let asked = std::env::var("ROTPETER_LOG").ok();
    let readable = asked.filter(|text| EnvFilter::try_new(text).is_ok());
    let filter = readable.unwrap_or_else(|| filter.to_owned());
    let lines = fmt::Subscriber::builder()
        .with_env_filter(EnvFilter::new(&filter))
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let (begun, replace): (_, Box<dyn Fn(EnvFilter) -> bool + Send + Sync>) = match format {
        Format::Text => {
            let lines = lines.with_filter_reloading();
            let handle = lines.reload_handle();
            let begun = tracing::subscriber::set_global_default(lines.finish());
            (begun, Box::new(move |filter| handle.reload(filter).is_ok()))
        }
        Format::Json => {
            let lines = lines.json().with_filter_reloading();
            let handle = lines.reload_handle();
            let begun = tracing::subscriber::set_global_default(lines.finish());
            (begun, Box::new(move |filter| handle.reload(filter).is_ok()))
        }
    };
    if begun.is_ok() {
        let _first = STARTED.set(Started {
            filter,
            replace,
            changing: Mutex::new(()),
        });
    }
}

/// Puts `levels` (target and level, later ones counting) over what the process was started with.
/// False where logging was not started here, or a level is none.
pub fn set_levels<'a>(levels: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
    let Some(started) = STARTED.get() else {
        return false;
    };
    let mut filter = started.filter.clone();
    for (target, level) in levels {
        filter.push(',');
        if !target.is_empty() {
            filter.push_str(target);
            filter.push('=');
        }
        filter.push_str(level);
    }
    let _one = started.changing.lock();
    match EnvFilter::try_new(&filter) {
        Ok(filter) => (started.replace)(filter),
        Err(_unreadable) => false,
    }
}
