//! Sending a consumer to a replica in its own rack: the leader's half of KIP-392.
//!
//! Kafka: `ReplicaManager.findPreferredReadReplica` with `RackAwareReplicaSelector`. Reading from
//! one that is not the leader is `replication::read`'s, as for any consumer since Fetch 11.

use std::cmp::Reverse;

use protocol::ids::{BrokerId, Offset};
use replication::partition::Partition;

use crate::metadata::Image;

/// The broker that a consumer in `rack` had better ask for the records from `from` on; none where
/// that is this one, or where this one does not lead.
///
/// Only members of the ISR count that have the offset: a replica that lags would be chosen again
/// and again while the consumer falls behind with it.
pub(crate) fn nearest(
    partition: &Partition,
    image: &Image,
    listener: &str,
    rack: &str,
    from: Offset,
) -> Option<BrokerId> {
    // Kafka: a broker that is gone, or does not listen where the client came in, has no rack.
    let is_near = |id: BrokerId| {
        let broker = image.brokers.get(&id);
        broker.is_some_and(|broker| broker.rack.as_deref() == Some(rack))
            && image.endpoint(id, listener).is_some()
    };
    if rack.is_empty() || is_near(partition.shared().config.me) {
        return None;
    }
    let copies = partition.copies(from)?;
    copies
        .into_iter()
        .filter(|copy| is_near(copy.id))
        .max_by_key(|copy| (copy.end, Reverse(copy.behind_ms), copy.id))
        .map(|copy| copy.id)
}
