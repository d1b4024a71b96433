//! The versions in which brokers speak among themselves.
//!
//! Fixed by `inter.broker.protocol.version`, never negotiated: while a cluster is being upgraded,
//! all of its brokers understand the version that is written there. Kafka:
//! `AbstractControllerBrokerRequestBatch`.

use settings::versions::at_least;

/// The versions a controller sends orders in, and the one in which a broker asks it to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub leader_and_isr: i16,
    pub update_metadata: i16,
    pub stop_replica: i16,
    pub controlled_shutdown: i16,
}

/// Each row adds one version to what the rows before it have.
const LEADER_AND_ISR: [&str; 7] = [
    "1.0-IV0", "2.2-IV0", "2.4-IV0", "2.4-IV1", "2.8-IV1", "3.2-IV0", "3.4-IV0",
];
const UPDATE_METADATA: [&str; 8] = [
    "0.9.0",
    "0.10.0-IV1",
    "0.10.2-IV0",
    "1.0-IV0",
    "2.2-IV0",
    "2.4-IV1",
    "2.8-IV1",
    "3.4-IV0",
];
const STOP_REPLICA: [&str; 4] = ["2.2-IV0", "2.4-IV1", "2.6-IV0", "3.4-IV0"];
const CONTROLLED_SHUTDOWN: [&str; 3] = ["0.9.0", "2.2-IV0", "2.4-IV1"];

impl Versions {
    /// At the protocol version named by `text`, which the settings know.
    pub fn of(text: &str) -> Versions {
        let reached = |steps: &[&str]| {
            let reached = steps.iter().filter(|step| at_least(text, step)).count();
            i16::try_from(reached).unwrap_or_default()
        };
        Versions {
            leader_and_isr: reached(&LEADER_AND_ISR),
            update_metadata: reached(&UPDATE_METADATA),
            stop_replica: reached(&STOP_REPLICA),
            controlled_shutdown: reached(&CONTROLLED_SHUTDOWN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As two brokers of Kafka 3.9 were seen to speak at each of these.
    #[test]
    fn versions_follow_the_protocol_version_as_kafkas_do() {
        for (text, expected) in [
            ("3.9-IV0", (7, 8, 4, 3)),
            ("3.9", (7, 8, 4, 3)),
            ("3.4-IV0", (7, 8, 4, 3)),
            ("3.3", (6, 7, 3, 3)),
            ("3.2", (6, 7, 3, 3)),
            ("3.0", (5, 7, 3, 3)),
            ("2.8", (5, 7, 3, 3)),
            ("2.8-IV0", (4, 6, 3, 3)),
            ("2.6", (4, 6, 3, 3)),
            ("2.4", (4, 6, 2, 3)),
            ("2.4-IV0", (3, 5, 1, 2)),
            ("2.2", (2, 5, 1, 2)),
            ("1.0", (1, 4, 0, 1)),
            ("0.11.0", (0, 3, 0, 1)),
            ("0.10.0", (0, 2, 0, 1)),
            ("0.8.2", (0, 0, 0, 0)),
        ] {
            let got = Versions::of(text);
            let got = (
                got.leader_and_isr,
                got.update_metadata,
                got.stop_replica,
                got.controlled_shutdown,
            );
            assert_eq!(got, expected, "{text}");
        }
    }
}
