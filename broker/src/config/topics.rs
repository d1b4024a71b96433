//! What every topic obeys now: its overrides over the broker's settings, made once and kept.
//!
//! Overrides come from `/config/topics`, the rest from [`Live`]; whoever changes either calls
//! here, and readers take a shared, finished struct.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use settings::layers::Texts;

use crate::config::Live;
use crate::config::parts::Topic;

/// The settings of all topics. Clones share them.
#[derive(Clone, Debug)]
pub struct TopicSettings(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    live: Live,
    kept: RwLock<Kept>,
}

#[derive(Debug)]
struct Kept {
    /// What a topic without overrides obeys.
    plain: Arc<Topic>,
    topics: HashMap<Arc<str>, (Texts, Arc<Topic>)>,
}

impl TopicSettings {
    pub fn new(live: Live) -> TopicSettings {
        let plain = Arc::new(live.now().topic(&Texts::new()));
        let kept = RwLock::new(Kept {
            plain,
            topics: HashMap::new(),
        });
        TopicSettings(Arc::new(Shared { live, kept }))
    }

    /// What `topic` obeys. Hot path: one short lock, one reference count.
    pub fn of(&self, topic: &str) -> Arc<Topic> {
        let kept = self.0.kept.read();
        Arc::clone(
            kept.topics
                .get(topic)
                .map_or(&kept.plain, |(_, settings)| settings),
        )
    }

    /// A topic's overrides have changed; what it obeys now.
    pub fn set(&self, topic: &str, overrides: Texts) -> Arc<Topic> {
        let mut kept = self.0.kept.write();
        if overrides.is_empty() {
            kept.topics.remove(topic);
            return Arc::clone(&kept.plain);
        }
        let settings = Arc::new(self.0.live.now().topic(&overrides));
        kept.topics
            .insert(topic.into(), (overrides, Arc::clone(&settings)));
        settings
    }

    /// The broker's own settings have changed: every topic is read anew.
    pub fn refresh(&self) {
        let config = self.0.live.now();
        let mut kept = self.0.kept.write();
        kept.plain = Arc::new(config.topic(&Texts::new()));
        for (overrides, settings) in kept.topics.values_mut() {
            *settings = Arc::new(config.topic(overrides));
        }
    }

    /// The topics that have overrides.
    pub fn named(&self) -> Vec<Arc<str>> {
        self.0.kept.read().topics.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn an_override_holds_against_a_changed_default_and_goes_with_its_removal() {
        let live = Live::new(Config::of(&[]).unwrap());
        let topics = TopicSettings::new(live.clone());
        topics.set(
            "a",
            Texts::from([("retention.ms".to_owned(), "5".to_owned())]),
        );
        live.set_cluster(Texts::from([(
            "log.retention.ms".to_owned(),
            "9".to_owned(),
        )]))
        .unwrap();
        topics.refresh();
        assert_eq!(topics.of("a").log.retention_ms, 5);
        assert_eq!(topics.of("b").log.retention_ms, 9);
        topics.set("a", Texts::new());
        assert_eq!(topics.of("a").log.retention_ms, 9);
    }
}
