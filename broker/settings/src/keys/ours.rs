//! Keys of this broker that Kafka does not have.

use crate::row::Bounds::{AtLeast, Between, Free};
use crate::row::Importance::{High, Low, Medium};
use crate::row::Scope::ReadOnly;
use crate::row::State::Works;
use crate::row::{Row, row};
use crate::value::Kind::{Boolean, Int, String};

#[rustfmt::skip]
pub(super) const KEYS: &[Row] = &[
    row("cluster.id", String, None, Free, Medium, ReadOnly,
        Works("identity.cluster_id"),
        "The id that a new cluster gets instead of a random one; an existing cluster must have this one.").internal(),
    row("coordinator.address", String, Some("127.0.0.1"), Free, Medium, ReadOnly,
        Works("coordinator.address"),
        "The address on which the embedded coordinator listens for ZooKeeper clients.").internal(),
    row("coordinator.data.dir", String, None, Free, Medium, ReadOnly,
        Works("coordinator.data_dir"),
        "Where the embedded coordinator keeps its data; beside the broker's unless set.").internal(),
    row("coordinator.enable", Boolean, None, Free, High, ReadOnly,
        Works("coordinator"),
        "Whether this process carries a coordinator of its own; it does where zookeeper.connect is not set.").internal(),
    row("coordinator.port", Int, Some("2181"), Between(0, 65_535), Medium, ReadOnly,
        Works("coordinator.port"),
        "The port on which the embedded coordinator listens; 0 lets the system choose.").internal(),
    row("metrics.address", String, Some("127.0.0.1"), Free, Low, ReadOnly,
        Works("metrics.address"),
        "The address that serves /metrics and /health.").internal(),
    row("metrics.port", Int, None, Between(0, 65_535), Medium, ReadOnly,
        Works("metrics.port"),
        "The port that serves /metrics and /health; without it neither is served, 0 lets the system choose.").internal(),
    row("zookeeper.request.max.bytes", Int, Some("1048575"), AtLeast(1_048_575), Low, ReadOnly,
        Works("zookeeper.request_bytes_max"),
        "The largest request that ZooKeeper takes, its jute.maxbuffer; what would be larger is refused here.").internal(),
];
