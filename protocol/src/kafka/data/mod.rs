//! Produce and Fetch, read and written by our own hands: hot, and read before anyone is trusted.
//!
//! Decoders borrow nothing and copy nothing: names and records are slices of the request's frame,
//! and therefore keep all of it alive. Encoders write the whole frame, length prefix and header
//! included; record bytes go in as [`Part`](crate::kafka::reply::Part)s, so that they may be file
//! ranges.
//!
//! Hot path: one allocation a topic on the way in, one for the whole answer on the way out.

mod read;
mod write;
pub mod produce;
pub mod fetch;

pub use fetch::{
    Aborted, DivergingEpoch, FetchAnswer, FetchPartition, FetchPartitionAnswer, FetchRequest,
    FetchTopic, FetchTopicAnswer, ForgottenTopic, ReplicaState, decode_fetch, encode_fetch_answer,
};
pub use produce::{
    ProduceAnswer, ProducePartition, ProducePartitionAnswer, ProduceRequest, ProduceTopic,
    ProduceTopicAnswer, RecordFault, decode_produce, encode_produce_answer,
};

use kafka_protocol::protocol::StrBytes;

/// Who leads a partition, told to a client that asked the wrong broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentLeader {
    pub leader_id: i32,
    pub leader_epoch: i32,
}

/// Where a broker named in a [`CurrentLeader`] listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEndpoint {
    pub node_id: i32,
    pub host: StrBytes,
    pub port: i32,
    pub rack: Option<StrBytes>,
}
