//! The tree's digest: a sum over its nodes, so that a change costs no walk.
//!
//! ZooKeeper writes it into its log and its snapshots and compares on loading; so do we. Nodes
//! beneath `/zookeeper/` do not count.

use protocol::zookeeper::types::StatPersisted;

/// The version of the way digests are made.
pub(crate) const VERSION: i32 = 2;

/// Whether the node at `path` counts.
pub(crate) fn counts(path: &str) -> bool {
    !path.starts_with("/zookeeper/")
}

/// The part of a node's digest that its path and data make; kept with the node.
pub(crate) fn of_content(path: &str, data: Option<&[u8]>) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    if path != "/" {
        crc.update(path.as_bytes());
    }
    crc.update(data.unwrap_or_default());
    crc.finalize()
}

/// A node's digest.
pub(crate) fn of_node(content: u32, stat: &StatPersisted) -> u64 {
    let mut bytes = [0; 60];
    let longs = [stat.czxid, stat.mzxid, stat.pzxid, stat.ctime, stat.mtime];
    for (slot, long) in bytes[..40].chunks_exact_mut(8).zip(longs) {
        slot.copy_from_slice(&long.to_be_bytes());
    }
    for (slot, int) in
        bytes[40..52]
            .chunks_exact_mut(4)
            .zip([stat.version, stat.cversion, stat.aversion])
    {
        slot.copy_from_slice(&int.to_be_bytes());
    }
    bytes[52..].copy_from_slice(&stat.ephemeral_owner.to_be_bytes());
    let mut crc = crc32fast::Hasher::new_with_initial(content);
    crc.update(&bytes);
    u64::from(crc.finalize())
}
