//! An image and an UpdateMetadata make the next image; pure.
//!
//! Kafka: `ZkMetadataCache.updateMetadata`. The list of living brokers replaces the old one as a
//! whole; partitions merge; a leader of −2 removes its partition.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::ids::{BrokerId, ControllerEpoch, TopicId, TopicPartition};

use crate::metadata::image::{Broker, Image, PartitionImage, TopicImage};

/// The leader that stands for "this partition is being deleted".
pub const LEADER_DURING_DELETE: BrokerId = BrokerId(-2);

/// What a controller says, with the wire's shapes taken off.
#[derive(Clone, Debug, Default)]
pub struct Update {
    pub controller: BrokerId,
    pub controller_epoch: ControllerEpoch,
    pub brokers: Vec<Broker>,
    pub topics: Vec<TopicUpdate>,
}

#[derive(Clone, Debug, Default)]
pub struct TopicUpdate {
    pub name: Arc<str>,
    /// `None` where brokers did not tell ids yet; the zero id says that there is none.
    pub id: Option<TopicId>,
    pub partitions: Vec<(i32, PartitionImage)>,
}

/// The next image, and the partitions that left it.
pub fn apply(image: &Image, update: Update) -> (Image, Vec<TopicPartition>) {
    let mut gone = Vec::new();
    let mut topics = image.topics.clone();
    let mut names_by_id = image.names_by_id.clone();
    for told in update.topics {
        let old = topics.get(&told.name);
        let mut partitions = old
            .map(|topic| topic.partitions.clone())
            .unwrap_or_default();
        let old_id = old.map_or(TopicId::ZERO, |topic| topic.id);
        for (index, partition) in told.partitions {
            if partition.leader == LEADER_DURING_DELETE {
                partitions.remove(&index);
                gone.push(TopicPartition {
                    topic: Arc::clone(&told.name),
                    partition: index,
                });
            } else {
                partitions.insert(index, partition);
            }
        }
        let id = match told.id {
            None if !partitions.is_empty() => old_id,
            told => told.unwrap_or(TopicId::ZERO),
        };
        if old_id != id || partitions.is_empty() {
            names_by_id.remove(&old_id);
        }
        if partitions.is_empty() {
            topics.remove(&told.name);
        } else {
            if !id.is_zero() {
                names_by_id.insert(id, Arc::clone(&told.name));
            }
            let name = Arc::clone(&told.name);
            topics.insert(
                told.name,
                Arc::new(TopicImage {
                    name,
                    id,
                    partitions,
                }),
            );
        }
    }
    let brokers: BTreeMap<_, _> = update
        .brokers
        .into_iter()
        .map(|broker| (broker.id, Arc::new(broker)))
        .collect();
    let next = Image {
        controller: Some(update.controller).filter(|id| id.0 >= 0),
        controller_epoch: update.controller_epoch,
        brokers,
        topics,
        names_by_id,
    };
    (next, gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led_by(leader: i32) -> PartitionImage {
        PartitionImage {
            leader: BrokerId(leader),
            ..PartitionImage::default()
        }
    }

    fn told(name: &str, id: TopicId, partitions: &[(i32, i32)]) -> Update {
        let partitions = partitions
            .iter()
            .map(|&(index, leader)| (index, led_by(leader)))
            .collect();
        Update {
            controller: BrokerId(1),
            topics: vec![TopicUpdate {
                name: name.into(),
                id: (!id.is_zero()).then_some(id),
                partitions,
            }],
            ..Update::default()
        }
    }

    #[test]
    fn an_id_is_forgotten_by_a_controller_that_knows_of_ids_and_has_none() {
        let id = TopicId::random();
        let (image, _) = apply(&Image::default(), told("t", id, &[(0, 1)]));
        let (older, _) = apply(&image, told("t", TopicId::ZERO, &[(0, 2)]));
        assert_eq!(older.topic("t").unwrap().id, id);
        let mut update = told("t", id, &[(0, 3)]);
        update.topics[0].id = Some(TopicId::ZERO);
        let (image, _) = apply(&image, update);
        assert!(image.topic("t").unwrap().id.is_zero());
        assert!(image.topic_by_id(id).is_none());
    }

    #[test]
    fn partitions_merge_and_a_deleted_topic_takes_its_id_along() {
        let id = TopicId::random();
        let (image, _) = apply(&Image::default(), told("t", id, &[(0, 1), (1, 1)]));
        let (image, gone) = apply(&image, told("t", id, &[(1, 2)]));
        assert!(gone.is_empty());
        assert_eq!(image.partition("t", 0).unwrap().leader, BrokerId(1));
        assert_eq!(image.partition("t", 1).unwrap().leader, BrokerId(2));
        assert_eq!(&*image.topic_by_id(id).unwrap().name, "t");
        let (image, gone) = apply(&image, told("t", id, &[(0, -2), (1, -2)]));
        assert_eq!(gone.len(), 2);
        assert!(image.topic("t").is_none() && image.names_by_id.is_empty());
    }

    #[test]
    fn the_living_brokers_are_replaced_as_a_whole() {
        let broker = |id| Broker {
            id: BrokerId(id),
            endpoints: Vec::new(),
            rack: None,
        };
        let mut first = told("t", TopicId::ZERO, &[(0, 1)]);
        first.brokers = vec![broker(1), broker(2)];
        let (image, _) = apply(&Image::default(), first);
        let mut second = told("t", TopicId::ZERO, &[]);
        second.brokers = vec![broker(2)];
        let (image, _) = apply(&image, second);
        assert!(!image.is_alive(BrokerId(1)) && image.is_alive(BrokerId(2)));
        assert!(image.topic("t").is_some());
    }
}
