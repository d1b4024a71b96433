//! A look into ZooKeeper, past every broker: what a person sees in a shell.

use std::time::Duration;

use base::clock::Clock;
use harness::wait;
use tokio::runtime::Runtime;
use znodes::store::{Kind, Stat, Store};
use znodes::zookeeper::{Config, ZooKeeper};

const LIMIT: Duration = Duration::from_secs(90);

/// A session of its own that outlives restarts of the server.
pub(crate) struct Shell {
    runtime: Runtime,
    zookeeper: ZooKeeper,
}

impl Shell {
    pub(crate) fn open(port: u16) -> Shell {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let mut config = Config::new(format!("127.0.0.1:{port}"));
        config.session_timeout_ms = 20_000;
        let zookeeper = runtime
            .block_on(ZooKeeper::connect(config, Clock::system(), 30_000))
            .unwrap();
        Shell { runtime, zookeeper }
    }

    pub(crate) fn node(&self, path: &str) -> Option<(String, Stat)> {
        let node = self
            .runtime
            .block_on(self.zookeeper.get(path, None))
            .ok()??;
        Some((String::from_utf8_lossy(&node.data).into_owned(), node.stat))
    }

    pub(crate) fn get(&self, path: &str) -> Option<String> {
        self.node(path).map(|(data, _)| data)
    }

    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let names = self.runtime.block_on(self.zookeeper.list(path, None));
        let mut names = names.unwrap_or_default().unwrap_or_default();
        names.sort();
        names
    }

    pub(crate) fn create(&self, path: &str, data: &str) {
        let made = self
            .zookeeper
            .create(path, data.as_bytes(), Kind::Persistent);
        self.runtime.block_on(made).unwrap();
    }

    /// The id `/controller` names.
    pub(crate) fn controller(&self) -> Option<i32> {
        let text = self.get("/controller")?;
        let body: serde_json::Value = serde_json::from_str(&text).ok()?;
        i32::try_from(body["brokerid"].as_i64()?).ok()
    }

    pub(crate) fn controller_epoch(&self) -> i32 {
        self.get("/controller_epoch").unwrap().parse().unwrap()
    }

    pub(crate) fn wait_for_controller(&self, id: i32) {
        wait::until(&format!("controller {id}"), LIMIT, || {
            (self.controller() == Some(id)).then_some(())
        });
    }

    /// The bytes of a partition's state, once they are as wanted.
    pub(crate) fn wait_for_state(
        &self,
        topic: &str,
        index: i32,
        fits: impl Fn(&State) -> bool,
    ) -> State {
        let mut last = None;
        let path = state_path(topic, index);
        let what = format!("the state of {topic}-{index}");
        let deadline = std::time::Instant::now() + LIMIT;
        while std::time::Instant::now() < deadline {
            last = self
                .node(&path)
                .and_then(|(text, stat)| State::read(&text, stat.version));
            if let Some(state) = last.as_ref().filter(|state| fits(state)) {
                return state.clone();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("waited {LIMIT:?} in vain: {what}, which is {last:?}");
    }

    /// Waits until a node is there (or gone).
    pub(crate) fn wait_for(&self, path: &str, there: bool) {
        wait::until(&format!("{path}: there is {there}"), LIMIT, || {
            (self.node(path).is_some() == there).then_some(())
        });
    }

    /// Every node below `path` with its data, sorted.
    pub(crate) fn tree(&self, path: &str) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut open = vec![path.to_owned()];
        while let Some(path) = open.pop() {
            for name in self.names(&path) {
                open.push(format!("{}/{name}", path.trim_end_matches('/')));
            }
            if let Some(data) = self.get(&path) {
                found.push((path, data));
            }
        }
        found.sort();
        found
    }
}

pub(crate) fn state_path(topic: &str, index: i32) -> String {
    format!("/brokers/topics/{topic}/partitions/{index}/state")
}

/// A state node, read without help of the code under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) text: String,
    pub(crate) leader: i64,
    pub(crate) leader_epoch: i64,
    pub(crate) controller_epoch: i64,
    pub(crate) isr: Vec<i64>,
    pub(crate) version: i32,
}

impl State {
    fn read(text: &str, version: i32) -> Option<State> {
        let body: serde_json::Value = serde_json::from_str(text).ok()?;
        Some(State {
            text: text.to_owned(),
            leader: body["leader"].as_i64()?,
            leader_epoch: body["leader_epoch"].as_i64()?,
            controller_epoch: body["controller_epoch"].as_i64()?,
            isr: body["isr"]
                .as_array()?
                .iter()
                .filter_map(serde_json::Value::as_i64)
                .collect(),
            version,
        })
    }
}
