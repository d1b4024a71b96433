//! Topics made on first mention: by clients' metadata requests, and the brokers' own two.
//!
//! Any broker writes the nodes itself. A client hears "no leader yet" and asks again; so does one
//! whose topic somebody else has just made. Kafka: `DefaultAutoTopicCreationManager`.

use std::sync::Arc;

use protocol::kafka::errors::ErrorCode;
use protocol::names::{CONSUMER_OFFSETS, TRANSACTION_STATE};
use tracing::warn;

use crate::admin::topics::{Topics, Wanted};
use crate::config::Live;

/// Makes topics that are asked for.
#[derive(Clone, Debug)]
pub struct AutoCreate {
    topics: Arc<Topics>,
    live: Live,
}

impl AutoCreate {
    pub fn new(topics: Arc<Topics>, live: Live) -> Self {
        AutoCreate { topics, live }
    }

    /// What a client that named the topic hears now.
    pub async fn make(&self, name: &str) -> ErrorCode {
        match self.topics.create(&self.wanted(name), false).await {
            Ok(_) => ErrorCode::LeaderNotAvailable,
            Err(refusal) if refusal.code == ErrorCode::TopicAlreadyExists => {
                ErrorCode::LeaderNotAvailable
            }
            Err(refusal) => {
                warn!(
                    topic = name,
                    code = refusal.code.name(),
                    text = refusal.text,
                    "topic not made"
                );
                refusal.code
            }
        }
    }

    fn wanted(&self, name: &str) -> Wanted {
        let config = self.live.now();
        let text = |key: &str, value: String| (key.to_owned(), Some(value));
        match name {
            CONSUMER_OFFSETS => Wanted {
                name: name.to_owned(),
                partitions: config.groups.topic_partitions,
                replication_factor: config.groups.topic_replication_factor,
                assignments: vec![],
                configs: vec![
                    text("compression.type", "producer".to_owned()),
                    text("cleanup.policy", "compact".to_owned()),
                    text(
                        "segment.bytes",
                        config.groups.topic_segment_bytes.to_string(),
                    ),
                ],
            },
            TRANSACTION_STATE => Wanted {
                name: name.to_owned(),
                partitions: config.transactions.topic_partitions,
                replication_factor: config.transactions.topic_replication_factor,
                assignments: vec![],
                configs: vec![
                    text("compression.type", "uncompressed".to_owned()),
                    text("cleanup.policy", "compact".to_owned()),
                    text(
                        "min.insync.replicas",
                        config.transactions.topic_min_isr.to_string(),
                    ),
                    text(
                        "segment.bytes",
                        config.transactions.topic_segment_bytes.to_string(),
                    ),
                    text("unclean.leader.election.enable", "false".to_owned()),
                ],
            },
            _ => Wanted {
                name: name.to_owned(),
                partitions: -1,
                replication_factor: -1,
                ..Wanted::default()
            },
        }
    }
}
