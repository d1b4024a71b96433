//! Log lines: levels by target, text or JSON, on standard error or standard output.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// Starts logging for the whole process; `filter` is overruled by the variable `ROTPETER_LOG`.
/// A second call changes nothing, so that several servers in one process may each ask for it.
pub fn start(filter: &str, format: Format) {
    let filter = EnvFilter::try_from_env("ROTPETER_LOG").unwrap_or_else(|_| EnvFilter::new(filter));
    let lines = fmt::Subscriber::builder()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let _already = match format {
        Format::Text => tracing::subscriber::set_global_default(lines.finish()),
        Format::Json => tracing::subscriber::set_global_default(lines.json().finish()),
    };
}
