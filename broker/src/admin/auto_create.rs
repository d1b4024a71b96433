//! Topics made on first mention: by clients' metadata requests, and the brokers' own two.
//!
//! Any broker writes the nodes itself. A client hears "no leader yet" and asks again; so does one
//! whose topic somebody else has just made. Kafka: `DefaultAutoTopicCreationManager`.

use std::sync::Arc;

use base::clock::Clock;
use protocol::kafka::errors::ErrorCode;
use protocol::names::{self, CONSUMER_OFFSETS, TRANSACTION_STATE};

use crate::admin::topics::{Topics, Wanted};
use crate::complaints::{Complaint, shown};
use crate::config::Live;

/// Makes topics that are asked for.
#[derive(Clone, Debug)]
pub struct AutoCreate {
    topics: Arc<Topics>,
    live: Live,
    /// Whoever asks for metadata names what he likes, as often as he likes.
    not_made: Arc<Complaint>,
}

impl AutoCreate {
    pub fn new(topics: Arc<Topics>, live: Live, clock: &Clock) -> Self {
        AutoCreate {
            topics,
            live,
            not_made: Complaint::new("topic not made", clock),
        }
    }

    /// What a client that named the topic hears now.
    pub async fn make(&self, name: &str) -> ErrorCode {
        // Kafka: before anything is looked at. Whoever asks for metadata names what he likes.
        if let Err(reason) = names::check_topic_name(name) {
            self.not_made
                .note(|| format!("{}: {}", shown(name), shown(&reason)));
            return ErrorCode::InvalidTopicException;
        }
        match self.topics.create(&self.wanted(name), false).await {
            Ok(_) => ErrorCode::LeaderNotAvailable,
            Err(refusal) if refusal.code == ErrorCode::TopicAlreadyExists => {
                ErrorCode::LeaderNotAvailable
            }
            Err(refusal) => {
                let (code, text) = (
                    refusal.code.name(),
                    shown(refusal.text.as_deref().unwrap_or_default()),
                );
                self.not_made
                    .note(|| format!("{}: {code}, {text}", shown(name)));
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
