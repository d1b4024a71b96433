//! What a person reads when the broker has started.

use std::fmt::Write;
use std::net::SocketAddr;

use crate::config::Config;

/// Where it listens, where its data is, what to type next.
pub(crate) fn text(
    config: &Config,
    addresses: &[(String, SocketAddr)],
    coordinator: Option<&coordinator::Handle>,
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
        .map(ToString::to_string)
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
        Some(handle) => line(
            "ZooKeeper",
            &format!("{}  (embedded coordinator)", handle.address()),
        ),
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
        let at = format!("{}:{port}", first.host);
        line(
            "try",
            &format!("kafka topics --bootstrap-server {at} --create --topic test"),
        );
        line(
            "",
            &format!("kafka console-producer --bootstrap-server {at} --topic test"),
        );
        line(
            "",
            &format!(
                "kafka console-consumer --bootstrap-server {at} --topic test --from-beginning"
            ),
        );
    }
    line("stop", "Ctrl-C");
    text
}
