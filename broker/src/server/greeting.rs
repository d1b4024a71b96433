//! What a person reads when the broker has started.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use client::dial::host_and_port;

use crate::config::Config;

/// Where it listens, where its data is, what to type next.
pub(crate) fn text(
    config: &Config,
    addresses: &[(String, SocketAddr)],
    coordinator: Option<SocketAddr>,
    operating: Option<SocketAddr>,
) -> String {
    let mut text = String::from("\nRotpeter is running.\n");
    let mut line = |name: &str, value: &str| {
        // Writing to a String does not fail.
        let _always = writeln!(text, "  {name:<12} {value}");
    };
    let told: Vec<String> = config
        .listeners
        .advertised
        .iter()
        .map(|one| {
            let mut one = one.clone();
            // Port 0 was the kernel's to choose.
            let bound = addresses.iter().find(|(name, _)| *name == one.name);
            if let (0, Some((_, address))) = (one.port, bound) {
                one.port = address.port();
            }
            one.to_string()
        })
        .collect();
    let at: Vec<String> = addresses
        .iter()
        .map(|(_, address)| address.to_string())
        .collect();
    line(
        "clients",
        &format!("{}  (listening on {})", told.join(", "), at.join(", ")),
    );
    match coordinator {
        Some(address) => line("ZooKeeper", &format!("{address}  (embedded coordinator)")),
        None => line("ZooKeeper", &config.zookeeper.connect),
    }
    let mut places: Vec<String> = config
        .logs
        .dirs
        .iter()
        .map(|dir| dir.display().to_string())
        .collect();
    places.extend(
        config
            .coordinator
            .iter()
            .map(|coordinator| coordinator.data_dir.display().to_string()),
    );
    line("data", &places.join(", "));
    if let Some(address) = operating {
        line("metrics", &format!("http://{address}/metrics, /health"));
    }
    if let Some(first) = config.listeners.advertised.first() {
        let port = match (first.port, addresses.first()) {
            (0, Some((_, address))) => address.port(),
            (port, _) => port,
        };
        let at = host_and_port(&first.host, port);
        let kafka = tools();
        if kafka.is_none() {
            line("tools", "cargo build --release  makes target/release/kafka");
        }
        let kafka = kafka.unwrap_or_else(|| "target/release/kafka".to_owned());
        let tries = [
            format!("topics --bootstrap-server {at} --create --topic test"),
            format!("console-producer --bootstrap-server {at} --topic test"),
            format!("console-consumer --bootstrap-server {at} --topic test --from-beginning"),
        ];
        for (at, words) in tries.iter().enumerate() {
            line(
                if at == 0 { "try" } else { "" },
                &format!("{kafka} {words}"),
            );
        }
    }
    line("stop", "Ctrl-C");
    text
}

/// How the tools are called here: by name where the shell finds them, by path where they lie beside
/// this program.
fn tools() -> Option<String> {
    let there = |dir: &Path| dir.join("kafka").is_file();
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|dir| there(&dir)) {
        return Some("kafka".to_owned());
    }
    let program = std::env::current_exe().ok()?;
    let dir = program.parent().filter(|dir| there(dir))?;
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let dir = dir.strip_prefix(here).unwrap_or(dir);
    Some(dir.join("kafka").display().to_string())
}
