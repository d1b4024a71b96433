//! Which partition a record goes to, and who leads it: a key decides by murmur2, keyless records
//! stay with a partition for a while.

use protocol::kafka::errors::ErrorCode;

use crate::failure::Failure;
use crate::kafka::murmur2;
use crate::kafka::producer::{Message, Producer, Topic};
use crate::kafka::stickiness::{Sticky, drawn};

impl Producer {
    /// Kafka: a key decides; without one a partition is kept for a while. Whether a batch was closed to
    /// go elsewhere comes with it.
    pub(super) async fn choose(
        &mut self,
        message: &Message,
        size: usize,
    ) -> Result<(i32, bool), Failure> {
        if !self.topics.contains_key(&message.topic) {
            self.learn(&message.topic).await?;
        }
        let topic = self
            .topics
            .get_mut(&message.topic)
            .expect("it was learnt above");
        let count = topic.leaders.len() as i32;
        if let Some(partition) = message.partition {
            return match (0..count).contains(&partition) {
                true => Ok((partition, false)),
                false => Err(Failure::said(format!(
                    "Topic {} not present in metadata after {} ms.",
                    message.topic, self.config.max_block_ms
                ))),
            };
        }
        if let Some(key) = &message.key {
            return Ok((murmur2::partition_of(key, count), false));
        }
        let sticky = topic.sticky;
        let place = (message.topic.clone(), sticky.partition);
        if sticky.is_done(self.has_room(&place, size), self.config.batch_bytes) {
            self.close(&place)?;
            return Ok((self.move_on(&message.topic), true));
        }
        Ok((sticky.partition, false))
    }

    /// Draws the partition that keyless records of a topic go to next.
    pub(super) fn move_on(&mut self, name: &str) -> i32 {
        let random = self.admin.chance.next_u64();
        let Some(topic) = self.topics.get_mut(name) else {
            return 0;
        };
        let waiting = topic.leaders.iter().enumerate().map(|(at, leader)| {
            let lane = self.lanes.get(&(name.to_owned(), at as i32));
            let queue = lane.map_or(0, |lane| {
                lane.ready.len() + usize::from(lane.open.is_some())
            });
            (*leader >= 0).then_some(queue)
        });
        topic.sticky = Sticky::new(drawn(&waiting.collect::<Vec<_>>(), random));
        topic.sticky.partition
    }

    async fn learn(&mut self, name: &str) -> Result<(), Failure> {
        let until = self.admin.clock.monotonic_ms() + self.config.max_block_ms;
        loop {
            match self.ask_leaders(&[name.to_string()]).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(failure) if failure.is_passing() => self.admin.tell(&failure),
                Err(failure) => return Err(failure),
            }
            if self.admin.clock.monotonic_ms() > until {
                return Err(Failure::said(format!(
                    "Topic {name} not present in metadata after {} ms.",
                    self.config.max_block_ms
                )));
            }
            self.admin.pause().await;
        }
    }

    /// Asks once for the leaders of all topics it sends to. Whoever does not know now is asked again:
    /// what waits for a leader waits on, until it expires.
    pub(super) async fn learn_all(&mut self) -> Result<(), Failure> {
        let now = self.admin.clock.monotonic_ms();
        let mut names: Vec<String> = self.topics.keys().cloned().collect();
        names.sort();
        let known = match self.ask_leaders(&names).await {
            Err(failure) if failure.is_passing() => {
                self.admin.tell(&failure);
                false
            }
            known => known?,
        };
        self.stale = !known;
        self.learn_at_ms = now + self.config.retry_backoff_ms;
        if known {
            self.aged_at_ms = now.saturating_add(self.config.metadata_age_ms);
        }
        Ok(())
    }

    /// Takes in the leaders of topics; whether all of them are there.
    async fn ask_leaders(&mut self, names: &[String]) -> Result<bool, Failure> {
        let mut known = true;
        for topic in self
            .admin
            .metadata_creating(Some(names), true)
            .await?
            .topics
        {
            let name = topic.name.map(|name| name.0.to_string());
            let name = name.unwrap_or_default();
            let error = ErrorCode::of(topic.error_code);
            if !error.is_none() && !error.is_retriable() {
                return Err(Failure::Refused {
                    code: error,
                    message: Some(format!("Invalid topics: [{name}]"))
                        .filter(|_| error == ErrorCode::InvalidTopicException),
                });
            }
            if !error.is_none() || topic.partitions.is_empty() {
                known = false;
                continue;
            }
            let mut leaders = vec![-1; topic.partitions.len()];
            for partition in &topic.partitions {
                let at = usize::try_from(partition.partition_index).unwrap_or(usize::MAX);
                if let Some(leader) = leaders.get_mut(at) {
                    *leader = partition.leader_id.0;
                }
            }
            let sticky = match self.topics.get(&name) {
                Some(topic) => topic.sticky,
                None => Sticky::new(self.admin.chance.below(leaders.len() as u64) as i32),
            };
            self.topics.insert(name, Topic { leaders, sticky });
        }
        Ok(known)
    }
}
