//! What passes through topics, counted.
//!
//! Hot path: an append adds to six numbers and a read to two. Those of all topics together are
//! spread over the workers; those of one topic are plain numbers, because a broker may have tens of
//! thousands of topics.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::metrics::Count;
use parking_lot::RwLock;

/// What is counted, for each topic and for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    MessagesIn,
    BytesIn,
    /// To consumers.
    BytesOut,
    /// In batches that were too large.
    BytesRejected,
    ProduceRequests,
    FetchRequests,
    /// Refused for a reason that is neither the client's map of the cluster nor a full disk.
    FailedProduces,
    FailedFetches,
}

impl Passed {
    pub const ALL: [Passed; 8] = [
        Passed::MessagesIn,
        Passed::BytesIn,
        Passed::BytesOut,
        Passed::BytesRejected,
        Passed::ProduceRequests,
        Passed::FetchRequests,
        Passed::FailedProduces,
        Passed::FailedFetches,
    ];
}

/// One topic's numbers, since its first replica came to this broker.
#[derive(Debug)]
pub struct TopicTraffic {
    topic: [AtomicU64; Passed::ALL.len()],
    all: Arc<[Count; Passed::ALL.len()]>,
}

impl TopicTraffic {
    pub fn add(&self, what: Passed, more: u64) {
        self.topic[what as usize].fetch_add(more, Ordering::Relaxed);
        self.all[what as usize].add(more);
    }

    pub fn get(&self, what: Passed) -> u64 {
        self.topic[what as usize].load(Ordering::Relaxed)
    }
}

/// The numbers of all topics that have had a replica here since the start.
#[derive(Debug, Default)]
pub struct TrafficTable {
    all: Arc<[Count; Passed::ALL.len()]>,
    topics: RwLock<HashMap<Arc<str>, Arc<TopicTraffic>>>,
    /// Sent to followers.
    pub replicated_out: Count,
    pub isr_shrinks: Count,
    pub isr_expands: Count,
    pub isr_failures: Count,
}

impl TrafficTable {
    /// The numbers of a topic, made on its first mention.
    pub fn of(&self, topic: &Arc<str>) -> Arc<TopicTraffic> {
        if let Some(found) = self.topics.read().get(topic) {
            return Arc::clone(found);
        }
        let mut topics = self.topics.write();
        let made = topics.entry(Arc::clone(topic)).or_insert_with(|| {
            Arc::new(TopicTraffic {
                topic: Default::default(),
                all: Arc::clone(&self.all),
            })
        });
        Arc::clone(made)
    }

    /// A topic has no replica here any more: its numbers go, and stay in the sums.
    pub fn forget(&self, topic: &str) {
        self.topics.write().remove(topic);
    }

    pub fn sum(&self, what: Passed) -> u64 {
        self.all[what as usize].get()
    }

    /// Every topic with its numbers, in no order.
    pub fn topics(&self) -> Vec<(Arc<str>, Arc<TopicTraffic>)> {
        let topics = self.topics.read();
        topics
            .iter()
            .map(|(name, traffic)| (Arc::clone(name), Arc::clone(traffic)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_goes_leaves_its_numbers_in_the_sums() {
        let table = TrafficTable::default();
        table.of(&"a".into()).add(Passed::BytesIn, 5);
        table.of(&"a".into()).add(Passed::BytesIn, 2);
        table.of(&"b".into()).add(Passed::BytesIn, 1);
        assert_eq!(table.of(&"a".into()).get(Passed::BytesIn), 7);
        table.forget("a");
        assert_eq!((table.sum(Passed::BytesIn), table.topics().len()), (8, 1));
    }
}
