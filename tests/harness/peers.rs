//! The programs we compare with, where they are installed. `tests/peers/install` fetches them.
//!
//! A peer that is missing is told loudly and skips its test; under `ROTPETER_REQUIRE_PEERS` it
//! fails it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

/// Where `tests/peers/install` puts its peers.
pub fn folder() -> PathBuf {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("ROTPETER_PEERS").unwrap_or_else(|| {
        let cache = set("XDG_CACHE_HOME")
            .or_else(|| set("HOME").map(|home| home.join(".cache")))
            .unwrap_or_else(|| PathBuf::from("/var/cache"));
        cache.join("rotpeter/peers")
    })
}

/// The folder of an installed peer, or `None` after having said so.
pub fn installed(name: &str) -> Option<PathBuf> {
    let home = folder().join(name);
    if home.join("complete").exists() {
        Some(home)
    } else {
        skip(name)
    }
}

/// A program on the PATH, or `None` after having said so.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    match std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
    {
        Some(found) => Some(found),
        None => skip(name),
    }
}

fn skip<T>(name: &str) -> Option<T> {
    skipped(&format!(
        "peer `{name}` is missing; tests/peers/install fetches it"
    ));
    None
}

/// Says that this test shows nothing here, and why: past the test framework's capture, which keeps
/// what a passing test prints to itself. Where everything is required, it fails.
pub fn skipped(why: &str) {
    let required = std::env::var("ROTPETER_REQUIRE_PEERS").is_ok_and(|value| !value.is_empty());
    assert!(!required, "nothing may be skipped here: {why}");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _nobody_listens = writeln!(std::io::stderr(), "\nSKIPPED {test}: {why}");
}

/// One of Apache's command-line tools.
pub fn apache_tool(release: &str, tool: &str) -> Option<Command> {
    let home = installed(release)?;
    let mut command = Command::new(home.join("bin").join(format!("{tool}.sh")));
    // Small heaps start faster and leave room for the other processes of a test.
    command.env("KAFKA_HEAP_OPTS", "-Xmx256m").env(
        "KAFKA_JVM_PERFORMANCE_OPTS",
        "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    );
    Some(command)
}
