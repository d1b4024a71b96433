//! What must hold between keys, in Kafka's words where it has some.
//!
//! Kafka: `KafkaConfig.validateValues`.

use settings::layers::{Texts, Values};
use settings::topics;
use settings::value::Fault;
use settings::versions;

use crate::config::parts;

/// Adds a fault for everything that does not go together.
pub(super) fn together(values: &Values, texts: &Texts, faults: &mut Vec<Fault>) {
    identity(values, texts, faults);
    logs(values, faults);
    replication(values, faults);
    network(values, faults);
    promises(values, faults);
}

fn require(holds: bool, key: &str, words: &str, faults: &mut Vec<Fault>) {
    if !holds {
        faults.push(Fault::between(key, words));
    }
}

fn identity(values: &Values, texts: &Texts, faults: &mut Vec<Fault>) {
    let id = values.long("broker.id");
    if texts.contains_key("node.id") && texts.contains_key("broker.id") {
        let words = "You must set `node.id` to the same value as `broker.id`.";
        require(values.long("node.id") == id, "node.id", words, faults);
    }
    if values.text("zookeeper.connect").is_none_or(str::is_empty) {
        let words =
            "Missing required configuration `zookeeper.connect` which has no default value.";
        faults.push(Fault::between("zookeeper.connect", words));
    }
    for wrong in unreadable_servers(values.text("zookeeper.connect").unwrap_or_default()) {
        let words = if wrong.starts_with('/') {
            format!(
                "`{wrong}` is no path of a znode: it may not end in a slash, or have two in a row."
            )
        } else {
            format!(
                "`{wrong}` is no address of a ZooKeeper. Expected HOST:PORT[,HOST:PORT…][/chroot]"
            )
        };
        faults.push(Fault::between("zookeeper.connect", words));
    }
    if values.flag("broker.id.generation.enable") {
        let words = "broker.id must be greater than or equal to -1 and not greater than \
                     reserved.broker.max.id";
        let fits = id >= -1 && id <= values.long("reserved.broker.max.id");
        require(fits, "broker.id", words, faults);
    } else {
        require(
            id >= 0,
            "broker.id",
            "broker.id must be greater than or equal to 0",
            faults,
        );
    }
}

/// What of a connection string nobody could connect to: ZooKeeper would try it until its time is up.
fn unreadable_servers(connect: &str) -> Vec<&str> {
    let (servers, chroot) = match connect.find('/') {
        Some(at) => connect.split_at(at),
        None => (connect, ""),
    };
    let readable = |server: &str| {
        let (host, port) = match server.rsplit_once(':') {
            // The colons of an IPv6 address stand in brackets; a port is behind them.
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (server, "2181"),
        };
        // Port 0 is the embedded coordinator's that the kernel chooses.
        !host.is_empty() && port.parse::<u16>().is_ok()
    };
    // ZooKeeper passes over an empty one between commas.
    let mut named = servers.split(',').map(str::trim);
    let mut wrong: Vec<&str> = named
        .clone()
        .filter(|server| !server.is_empty() && !readable(server))
        .collect();
    if !connect.is_empty() && named.all(str::is_empty) {
        wrong.push(connect);
    }
    if chroot.contains("//") || (chroot.len() > 1 && chroot.ends_with('/')) {
        wrong.push(chroot);
    }
    wrong
}

fn logs(values: &Values, faults: &mut Vec<Fault>) {
    let roll = topics::roll_ms(values) >= 1;
    require(
        roll,
        "log.roll.ms",
        "log.roll.ms must be greater than or equal to 1",
        faults,
    );
    let jitter = topics::roll_jitter_ms(values) >= 0;
    let words = "log.roll.jitter.ms must be greater than or equal to 0";
    require(jitter, "log.roll.jitter.ms", words, faults);
    let words = "log.retention.ms must be unlimited (-1) or, greater than or equal to 1";
    require(
        topics::retention_ms(values) != 0,
        "log.retention.ms",
        words,
        faults,
    );
    let words = "At least one log directory must be defined via log.dirs or log.dir.";
    require(
        !parts::log_dirs(values).is_empty(),
        "log.dirs",
        words,
        faults,
    );
    let each =
        values.long("log.cleaner.dedupe.buffer.size") / values.long("log.cleaner.threads").max(1);
    let words = "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.";
    require(
        each > 1024 * 1024,
        "log.cleaner.dedupe.buffer.size",
        words,
        faults,
    );
    let (min, max) = (
        values.long("log.cleaner.min.compaction.lag.ms"),
        values.long("log.cleaner.max.compaction.lag.ms"),
    );
    if min > max {
        let words = format!(
            "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
        );
        faults.push(Fault::between("log.cleaner.min.compaction.lag.ms", words));
    }
}

fn replication(values: &Values, faults: &mut Vec<Fault>) {
    let wait = values.long("replica.fetch.wait.max.ms");
    let words = "replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to \
                 prevent unnecessary socket timeouts";
    let key = "replica.fetch.wait.max.ms";
    require(
        wait <= values.long("replica.socket.timeout.ms"),
        key,
        words,
        faults,
    );
    let words = "replica.fetch.wait.max.ms should always be less than or equal to \
                 replica.lag.time.max.ms to prevent frequent changes in ISR";
    require(
        wait <= values.long("replica.lag.time.max.ms"),
        key,
        words,
        faults,
    );
    let key = "replica.selector.class";
    let selector = values.text(key).unwrap_or_default();
    if !["", parts::RACK_AWARE, parts::LEADER_ONLY].contains(&selector) {
        let reason = format!(
            "no classes are loaded here; {} and {} are built in",
            parts::RACK_AWARE,
            parts::LEADER_ONLY
        );
        faults.push(Fault::of(key, selector, &reason));
    }
    let ibp = values
        .text("inter.broker.protocol.version")
        .unwrap_or_default();
    let format = values
        .text("log.message.format.version")
        .unwrap_or_default();
    // Kafka: with 3.0 and later between the brokers, the format is always the newest. What counts is
    // the records' own format, which is the same since 0.11.
    let records = versions::records_since(format);
    if !versions::at_least(ibp, "3.0-IV1") && !versions::at_least(ibp, records) {
        let records = records.split('-').next().unwrap_or(records);
        let words = format!(
            "log.message.format.version {format} can only be used when \
             inter.broker.protocol.version is set to version {records} or higher"
        );
        faults.push(Fault::between("log.message.format.version", words));
    }
}

fn network(values: &Values, faults: &mut Vec<Fault>) {
    let queued = values.long("queued.max.request.bytes");
    let words = "queued.max.request.bytes must be larger or equal to socket.request.max.bytes";
    let fits = queued <= 0 || queued >= values.long("socket.request.max.bytes");
    require(fits, "queued.max.request.bytes", words, faults);
    let key = "max.connections.per.ip.overrides";
    let overrides = values.text(key).unwrap_or_default();
    match parts::address_overrides(overrides) {
        Err(item) => {
            let reason = "each item is an address, a colon and a number";
            faults.push(Fault::of(key, item, reason));
        }
        Ok(map) => {
            let words = "max.connections.per.ip can be set to zero only if \
                         max.connections.per.ip.overrides property is set.";
            let fits = values.long("max.connections.per.ip") != 0 || !map.is_empty();
            require(fits, "max.connections.per.ip", words, faults);
        }
    }
    let (delay, idle) = (
        values.long("connection.failed.authentication.delay.ms"),
        values.long("connections.max.idle.ms"),
    );
    if idle >= 0 && delay >= idle {
        let words = format!(
            "connection.failed.authentication.delay.ms={delay} should always be less than \
             connections.max.idle.ms={idle} to prevent failed authentication responses from timing out"
        );
        faults.push(Fault::between("connections.max.idle.ms", words));
    }
}

/// Settings that promise protection, which it would be wrong to accept and not to give.
fn promises(values: &Values, faults: &mut Vec<Fault>) {
    let authorizer = values.text("authorizer.class.name").unwrap_or_default();
    if !authorizer.is_empty() {
        faults.push(Fault::of(
            "authorizer.class.name",
            authorizer,
            "access rules are not enforced yet, and a broker that was asked for them must not run \
             without; leave the key out to let everybody do everything",
        ));
    }
    for key in ["delegation.token.secret.key", "delegation.token.master.key"] {
        if values.text(key).is_some_and(|secret| !secret.is_empty()) {
            let reason = "delegation tokens need SASL, which is not served yet; leave the key out";
            faults.push(Fault::of(key, "[hidden]", reason));
        }
    }
    if values.flag("zookeeper.ssl.client.enable") {
        let reason = "TLS to ZooKeeper is not there yet; connect by its plain port";
        faults.push(Fault::of("zookeeper.ssl.client.enable", "true", reason));
    }
    if values.flag("zookeeper.set.acl") {
        let reason = "the broker does not protect its znodes yet; leave the key out";
        faults.push(Fault::of("zookeeper.set.acl", "true", reason));
    }
    if values.flag("remote.log.storage.system.enable") {
        let reason = "there is no tiered storage here; logs stay on the broker's own disks";
        faults.push(Fault::of(
            "remote.log.storage.system.enable",
            "true",
            reason,
        ));
    }
    if values.flag("zookeeper.metadata.migration.enable") {
        let reason = "this broker keeps its metadata in ZooKeeper and cannot migrate to KRaft";
        faults.push(Fault::of(
            "zookeeper.metadata.migration.enable",
            "true",
            reason,
        ));
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn said(texts: &[(&str, &str)]) -> Vec<String> {
        Config::of(texts)
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn every_fault_is_told_at_once_in_kafkas_words() {
        let faults = said(&[
            ("num.partitions", "none"),
            ("log.segment.bytes", "3"),
            ("replica.lag.time.max.ms", "100"),
            ("broker.id", "5000"),
        ]);
        for words in [
            "Invalid value none for configuration num.partitions: Not a number of type INT",
            "Invalid value 3 for configuration log.segment.bytes: Value must be at least 14",
            "replica.fetch.wait.max.ms should always be less than or equal to \
             replica.lag.time.max.ms to prevent frequent changes in ISR",
            "broker.id must be greater than or equal to -1 and not greater than \
             reserved.broker.max.id",
        ] {
            assert!(
                faults.iter().any(|fault| fault == words),
                "{words}: {faults:#?}"
            );
        }
        assert_eq!(faults.len(), 4);
    }

    #[test]
    fn an_old_protocol_version_is_refused_only_where_records_had_another_format() {
        let key = "inter.broker.protocol.version";
        for fine in ["2.8", "2.6", "0.11.0-IV0"] {
            assert!(Config::of(&[(key, fine)]).is_ok(), "{fine}");
        }
        let words = "log.message.format.version 3.0-IV1 can only be used when \
                     inter.broker.protocol.version is set to version 0.11.0 or higher";
        assert_eq!(said(&[(key, "0.10.2")]), [words]);
    }

    #[test]
    fn a_broker_that_cannot_protect_says_so_instead_of_running_open() {
        let faults = said(&[(
            "authorizer.class.name",
            "kafka.security.authorizer.AclAuthorizer",
        )]);
        assert!(faults[0].contains("authorizer.class.name"), "{faults:?}");
        let faults = said(&[
            ("listeners", "SSL://:9093"),
            ("security.inter.broker.protocol", "SSL"),
        ]);
        assert!(
            faults[0].contains("SSL connections are not served yet"),
            "{faults:?}"
        );
    }

    #[test]
    fn listeners_are_checked_as_kafka_checks_them() {
        for (texts, words) in [
            (
                &[("listeners", "PLAINTEXT://a:1,PLAINTEXT://b:2")][..],
                "Each listener must have a different name",
            ),
            (
                &[("listeners", "INTERNAL://a:1")][..],
                "No security protocol defined for listener INTERNAL",
            ),
            (
                &[("listeners", "PLAINTEXT:/a:1")][..],
                "Unable to parse PLAINTEXT:/a:1 to a broker endpoint",
            ),
            (
                &[("advertised.listeners", "PLAINTEXT://0.0.0.0:9092")][..],
                "cannot use the nonroutable meta-address 0.0.0.0",
            ),
            (
                &[("inter.broker.listener.name", "SSL")][..],
                "inter.broker.listener.name must be a listener name defined in advertised.listeners",
            ),
        ] {
            let faults = said(texts);
            assert!(
                faults.iter().any(|fault| fault.contains(words)),
                "{words}: {faults:#?}"
            );
        }
    }

    #[test]
    fn two_listeners_and_their_advertised_names_are_read() {
        let config = Config::of(&[
            ("listeners", "PLAINTEXT://:9092,inside://0.0.0.0:9093"),
            (
                "advertised.listeners",
                "PLAINTEXT://kafka.example:9092,INSIDE://[::1]:9093",
            ),
            (
                "listener.security.protocol.map",
                "PLAINTEXT:PLAINTEXT,INSIDE:PLAINTEXT",
            ),
            ("inter.broker.listener.name", "inside"),
        ])
        .unwrap();
        let listeners = &config.listeners;
        assert_eq!(listeners.bound.len(), 2);
        assert_eq!(listeners.inter_broker, "INSIDE");
        assert_eq!(listeners.advertised[1].to_string(), "INSIDE://[::1]:9093");
    }
}
