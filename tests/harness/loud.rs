//! What a program said at WARN or ERROR though nobody had announced it.
//!
//! A warning says that something should not have happened, so a test in which one comes up has
//! either found a fault or must say beforehand that it provokes it.

/// What a slow or busy machine makes any program say: the machine's doing, not the test's.
const THE_MACHINES: [&str; 2] = [
    "slow sync of the transaction log",
    // Of a broker that looks at itself.
    "cannot reach itself there (no answer within",
];

/// What a broker rightly says whose neighbours, controller or ZooKeeper are killed, frozen, cut off,
/// replaced or slow. Which of these come up is a matter of moments, so a test that does any of it
/// announces them all.
pub const OF_NEIGHBOURS: [&str; 23] = [
    "connection to ZooKeeper lost",
    "ZooKeeper session is over",
    "ZooKeeper not reached; trying on",
    "ZooKeeper is away: stopping without handing over leaderships",
    "ZooKeeper did not hear that this broker stops",
    "ZooKeeper did not confirm the end of the session",
    "could not close the former process's session",
    "could not register again; trying on",
    "could not take part in the election",
    "broker id is held by another ZooKeeper session",
    "cannot reach a broker; trying on",
    "order not answered in time; sending again",
    // By one that is elsewhere meanwhile, or of a controller that is none any more.
    "a broker refused an order",
    "order not applied",
    "no leader",
    "leader to follow is not alive",
    "not every topic found on disk has been announced yet",
    "the controller gave no producer ids; clients ask again",
    "others could not take all leaderships yet",
    "controlled shutdown was refused",
    "stopping without having handed over all leaderships",
    "the replica does not move",
    "told to follow, and records are not copied yet",
];

/// What a broker rightly says of the files of one that was killed in the middle of a write or a move.
pub const AFTER_A_KILL: [&str; 7] = [
    "cut a torn tail",
    "dropped segments after a torn tail",
    "an empty log is removed: its server died making it",
    "a torn end is passed over",
    "the torn end of the log is cut off",
    "a copy that cannot take the replica's place is removed",
    "a producer snapshot is damaged; using the one before",
];

/// Lines of our programs at WARN or ERROR that hold none of the announced texts, and panics. Lines
/// of another shape are a peer's, and not judged here.
pub(crate) fn unannounced<'a>(log: &'a str, announced: &[String]) -> Vec<&'a str> {
    let is_known = |line: &&str| {
        let mut known = announced.iter().map(String::as_str).chain(THE_MACHINES);
        known.any(|text| line.contains(text))
    };
    let loud = log.lines().filter(|line| is_loud(line));
    loud.filter(|line| !is_known(line)).collect()
}

/// `2026-01-31T10:00:00.000000Z  WARN broker::net: …`, or `thread 'data' (17) panicked at …`.
fn is_loud(line: &str) -> bool {
    if line.starts_with("thread '") && line.contains("panicked at ") {
        return true;
    }
    let mut words = line.split_ascii_whitespace();
    let is_ours = words.next().is_some_and(|first| {
        first.ends_with('Z') && first.as_bytes().get(10) == Some(&b'T') && first.starts_with("20")
    });
    is_ours && matches!(words.next(), Some("WARN" | "ERROR"))
}

#[cfg(test)]
mod tests {
    use super::unannounced;

    const LOG: &str = "\
2026-01-31T10:00:00.000001Z  INFO broker::server: started
2026-01-31T10:00:00.000002Z  WARN broker::net: connection refused address=1.2.3.4
2026-01-31T10:00:00.000003Z ERROR storage::flush: directory offline
2026-01-31T10:00:00.000004Z  WARN coordinator::log: slow sync of the transaction log ms=1200
[2026-01-31 10:00:00,000] WARN of a neighbour (kafka.server.KafkaServer)
thread 'data' (17) panicked at broker/src/net/connection.rs:1:1:
";

    #[test]
    fn our_warnings_and_errors_are_found_unless_announced() {
        let found = unannounced(LOG, &[]);
        assert_eq!(found.len(), 3, "{found:?}");
        let found = unannounced(LOG, &["connection refused".to_owned()]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("directory offline"));
    }
}
