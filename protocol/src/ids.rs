//! The words both sides of the wire count in. Across crate borders a number carries its unit.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(number: $inner) -> Self {
                $name(number)
            }
        }
    };
}

number!(
    /// A broker's number. −1 stands for none on the wire.
    BrokerId(i32)
);
number!(
    /// A position in a partition's log.
    Offset(i64)
);
number!(
    /// Which leadership of a partition: raised by the controller at every election.
    LeaderEpoch(i32)
);
number!(
    /// Which controllership of the cluster.
    ControllerEpoch(i32)
);
number!(
    /// Which registration of a broker: the czxid of its znode.
    BrokerEpoch(i64)
);
number!(
    /// An idempotent or transactional producer.
    ProducerId(i64)
);
number!(
    /// Which life of a producer; an older one is fenced.
    ProducerEpoch(i16)
);

impl BrokerId {
    pub const NONE: BrokerId = BrokerId(-1);
}

impl LeaderEpoch {
    pub const NONE: LeaderEpoch = LeaderEpoch(-1);
}

impl ProducerId {
    pub const NONE: ProducerId = ProducerId(-1);
}

impl Offset {
    pub const NONE: Offset = Offset(-1);
    pub const ZERO: Offset = Offset(0);
}

impl Add<i64> for Offset {
    type Output = Offset;
    /// Saturates: an offset from the wire may be anything.
    fn add(self, more: i64) -> Offset {
        Offset(self.0.saturating_add(more))
    }
}

impl AddAssign<i64> for Offset {
    fn add_assign(&mut self, more: i64) {
        *self = *self + more;
    }
}

impl Sub for Offset {
    type Output = i64;
    fn sub(self, other: Offset) -> i64 {
        self.0.saturating_sub(other.0)
    }
}

/// A topic's id, written as Kafka writes it: URL-safe Base64 without padding, 22 characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub Uuid);

impl TopicId {
    /// What the wire says where there is no id.
    pub const ZERO: TopicId = TopicId(Uuid::nil());

    pub fn is_zero(self) -> bool {
        self.0.is_nil()
    }

    /// A random id that Kafka would give too: not zero, not one, its text not beginning with `-`.
    pub fn random() -> Self {
        loop {
            let id = TopicId(Uuid::new_v4());
            if !id.to_string().starts_with('-') {
                return id;
            }
        }
    }

    /// Reads the 22 characters; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(TopicId(Uuid::from_bytes(bytes.try_into().ok()?)))
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0.as_bytes()))
    }
}

/// One partition of a topic. Clones share the name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: i32,
}

impl TopicPartition {
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        TopicPartition {
            topic: topic.into(),
            partition,
        }
    }

    /// Partitions of one topic, which share its name: a request may name it once for very many.
    pub fn each_of(topic: &str, partitions: &[i32]) -> impl Iterator<Item = TopicPartition> {
        let topic: Arc<str> = topic.into();
        let named = partitions.iter();
        named.map(move |partition| TopicPartition::new(Arc::clone(&topic), *partition))
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_ids_read_what_they_write() {
        let id = TopicId::random();
        assert_eq!(id.to_string().len(), 22);
        assert_eq!(TopicId::parse(&id.to_string()), Some(id));
        assert_eq!(TopicId::parse("short"), None);
        assert_eq!(TopicId::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
    }
}
