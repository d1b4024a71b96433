//! What the brokers of a cluster have agreed to understand.

use settings::versions::at_least;

/// What every broker of the agreed `inter.broker.protocol.version` understands. While a cluster is
/// being upgraded, old brokers are spared what is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Since 2.8 a topic has an id; before, the next controller of an old version would drop it.
    pub topic_ids: bool,
    /// Since 3.2 a leader that was elected uncleanly is told so.
    pub recovery: bool,
    /// Since 2.7 the features node is enabled.
    pub features: bool,
    /// The version of the features node's body.
    pub features_version: i32,
    /// Since 2.7 leaders propose ISRs to the controller; before, they write them themselves.
    pub alter_partition: bool,
    /// Since 3.0 the controller allots producer ids; before, brokers take them themselves.
    pub producer_ids: bool,
    /// The version of a broker's registration.
    pub registration_version: i32,
}

impl Agreed {
    /// At the protocol version named by `text`, which the settings know.
    pub fn at(text: &str) -> Self {
        Agreed {
            topic_ids: at_least(text, "2.8-IV0"),
            recovery: at_least(text, "3.2-IV0"),
            features: at_least(text, "2.7-IV0"),
            features_version: if at_least(text, "3.3-IV0") { 2 } else { 1 },
            alter_partition: at_least(text, "2.7-IV2"),
            producer_ids: at_least(text, "3.0-IV0"),
            registration_version: match () {
                () if at_least(text, "2.7-IV0") => 5,
                () if at_least(text, "0.10.0-IV1") => 4,
                () => 2,
            },
        }
    }
}
