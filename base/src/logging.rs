//! Log lines: levels by target, text or JSON, on standard error; levels may change while running.

use std::io::IsTerminal;
use std::sync::OnceLock;

use parking_lot::Mutex;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

/// What the process began with, and how to change it.
struct Started {
    filter: String,
    levels: reload::Handle<Targets, Registry>,
    /// One change at a time.
    changing: Mutex<()>,
}

static STARTED: OnceLock<Started> = OnceLock::new();

/// Starts logging for the whole process; `filter` is overruled by the variable `ROTPETER_LOG`, and
/// `ROTPETER_LOG_FORMAT=json` makes every line an object.
/// A second call changes nothing, so that several servers in one process may each ask for it.
pub fn start(filter: &str) {
    let mut refused = Vec::new();
    let mut asked = |name, takes, is_readable: fn(&str) -> bool| {
        let text = variable(name)?;
        if is_readable(&text) {
            return Some(text);
        }
        refused.push((name, text, takes));
        None
    };
    let filter = asked(
        "ROTPETER_LOG",
        "levels such as info or warn,controller=debug",
        |text| text.parse::<Targets>().is_ok(),
    )
    .unwrap_or_else(|| filter.to_owned());
    let format = asked("ROTPETER_LOG_FORMAT", "text or json", |text| {
        ["text", "json"].contains(&text)
    });
    let json = format.as_deref() == Some("json");
    let begun_with = filter.parse().unwrap_or_else(|_none| Targets::new());
    let (levels, handle) = reload::Layer::new(begun_with);
    let lines = fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let lines = match json {
        false => lines.boxed(),
        true => lines.json().flatten_event(true).boxed(),
    };
    let whole = Registry::default().with(levels).with(lines);
    if tracing::subscriber::set_global_default(whole).is_ok() {
        let _first = STARTED.set(Started {
            filter,
            levels: handle,
            changing: Mutex::new(()),
        });
        for (name, value, takes) in refused {
            tracing::warn!(name, value, "a variable is passed over: it takes {takes}");
        }
    }
}

/// A variable that is there and not empty.
fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?.to_string_lossy().into_owned();
    (!value.is_empty()).then_some(value)
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
    let readable = filter.parse::<Targets>().ok();
    readable.is_some_and(|levels| started.levels.reload(levels).is_ok())
}
