//! Three brokers and a ZooKeeper, each broker behind a proxy of its own on the way to ZooKeeper.

use std::collections::BTreeMap;
use std::path::Path;

use crate::ask::{self, Told};
use crate::proxy::Proxy;
use crate::shell::{Shell, State};
use crate::stage::{Broker, Make, ZooKeeper, eventually};

/// Nobody leaves an ISR by itself here: what leaves it was put out by the controller.
const SETTINGS: [&str; 1] = ["replica.lag.time.max.ms=3600000"];

pub(crate) struct Trio {
    pub(crate) shell: Shell,
    pub(crate) brokers: Vec<Broker>,
    pub(crate) proxies: Vec<Proxy>,
    /// Last, so that it outlives the brokers when all is dropped.
    pub(crate) zookeeper: ZooKeeper,
}

impl Trio {
    /// Brokers 1, 2 and 3; 1 is controller. `None`, loudly, where a peer is missing.
    pub(crate) fn start(zookeeper: Make, brokers: Make, dir: &Path) -> Option<Trio> {
        let zookeeper = ZooKeeper::start(zookeeper, dir)?;
        let shell = Shell::open(zookeeper.port);
        let proxies: Vec<Proxy> = (0..3).map(|_| Proxy::before(zookeeper.port)).collect();
        let mut started = Vec::new();
        for (id, proxy) in (1..).zip(&proxies) {
            started.push(Broker::start(brokers, dir, id, proxy.port, &SETTINGS)?);
            if id == 1 {
                shell.wait_for_controller(1);
            }
        }
        let trio = Trio {
            shell,
            brokers: started,
            proxies,
            zookeeper,
        };
        trio.all_know(&[1, 2, 3]);
        Some(trio)
    }

    pub(crate) fn broker(&mut self, id: i32) -> &mut Broker {
        let index = self.brokers.iter().position(|one| one.id == id).unwrap();
        &mut self.brokers[index]
    }

    pub(crate) fn port(&self, id: i32) -> u16 {
        self.brokers.iter().find(|one| one.id == id).unwrap().port
    }

    pub(crate) fn proxy(&self, id: i32) -> &Proxy {
        let index = self.brokers.iter().position(|one| one.id == id).unwrap();
        &self.proxies[index]
    }

    /// Every broker of `alive` tells clients of exactly these.
    pub(crate) fn all_know(&self, alive: &[i32]) {
        for id in alive {
            let what = format!("brokers {alive:?} in the eyes of {id}");
            let port = self.port(*id);
            eventually(&what, || ask::cluster(port), |(_, known)| known == alive);
        }
    }

    /// Every broker of `seen_by` tells clients that `leader` leads.
    pub(crate) fn led(&self, seen_by: &[i32], topic: &str, index: usize, leader: i32) -> Told {
        let mut last = None;
        for id in seen_by {
            let what = format!("{topic}-{index} led by {leader} in the eyes of {id}");
            let port = self.port(*id);
            let told = eventually(
                &what,
                || ask::partition(port, topic, index),
                |told| told.leader == leader,
            );
            last = Some(told);
        }
        last.unwrap()
    }

    pub(crate) fn state(&self, topic: &str, index: i32, leader: i64, epoch: i64) -> State {
        self.shell.wait_for_state(topic, index, |state| {
            state.leader == leader && state.leader_epoch == epoch
        })
    }

    /// The topic `rf1`, a partition on each broker, by CreateTopics; `three`, on all of them, by
    /// znodes as old tools write them. A record in each partition.
    pub(crate) fn make_topics(&self) {
        let shape = ask::Shape::Given(&[&[1], &[2], &[3]]);
        let made = ask::create_topic(self.port(1), "rf1", &shape).unwrap();
        assert_eq!(
            made.0,
            protocol::kafka::errors::ErrorCode::None,
            "{}",
            made.1
        );
        self.shell
            .create("/config/topics/three", r#"{"version":1,"config":{}}"#);
        self.shell.create(
            "/brokers/topics/three",
            r#"{"version":1,"partitions":{"0":[1,2,3]}}"#,
        );
        for (index, leader) in [(0, 1), (1, 2), (2, 3)] {
            self.led(&[1, 2, 3], "rf1", index, leader);
            let value = format!("kept {index}");
            let index = i32::try_from(index).unwrap();
            self.append("rf1", index, leader, &value);
        }
        self.led(&[1, 2, 3], "three", 0, 1);
    }

    pub(crate) fn append(&self, topic: &str, index: i32, leader: i32, value: &str) {
        let port = self.port(leader);
        let what = format!("{value} appended to {topic}-{index}");
        eventually(
            &what,
            || ask::produce(port, topic, index, value, 1),
            |_| true,
        );
    }

    /// The record [`Trio::make_topics`] left is there.
    pub(crate) fn kept(&self, index: i32, leader: i32) {
        let port = self.port(leader);
        eventually(
            &format!("the record of rf1-{index}"),
            || ask::holds(port, "rf1", index, &format!("kept {index}")),
            |there| *there,
        );
    }

    /// The whole tree as text: ids, times, ports and who won the election masked. State nodes and
    /// topics come with their version, which is the partition's epoch.
    pub(crate) fn tree(&self) -> String {
        let mut masks: BTreeMap<String, String> = BTreeMap::new();
        for one in &self.brokers {
            masks.insert(one.port.to_string(), format!("PORT{}", one.id));
        }
        let mut text = String::new();
        for (path, data) in self.shell.tree("/") {
            // The same on any ZooKeeper, and nothing of Kafka's.
            if path == "/" || path.starts_with("/zookeeper") {
                continue;
            }
            let data = masked(&path, &data, &masks);
            let version = match path.ends_with("/state") {
                true => self
                    .shell
                    .node(&path)
                    .map(|(_, stat)| format!(" v{}", stat.version)),
                false => None,
            };
            text += &format!("{path}{} {data}\n", version.unwrap_or_default());
        }
        text
    }
}

fn masked(path: &str, data: &str, ports: &BTreeMap<String, String>) -> String {
    let mut text = data.to_owned();
    for (port, mask) in ports {
        text = text.replace(port, mask);
    }
    for (key, quoted) in [
        ("\"timestamp\":\"", '"'),
        ("\"topic_id\":\"", '"'),
        ("\"id\":\"", '"'),
    ] {
        if let Some(from) = text.find(key).map(|at| at + key.len())
            && let Some(len) = text[from..].find(quoted)
        {
            text.replace_range(from..from + len, "MASKED");
        }
    }
    if path == "/controller" {
        for id in 1..=3 {
            text = text.replace(&format!("\"brokerid\":{id},"), "\"brokerid\":ANY,");
        }
    }
    text
}
