//! Brokers inside this process, around one coordinator, all on ports the kernel picks.
//!
//! They start in milliseconds and leave nothing behind; what only a process can show (kill -9, exit
//! codes, what is printed) is `process`'s. Each broker is built as the program builds it: a control
//! runtime and a data runtime of its own, and ZooKeeper's protocol between it and the coordinator.
//!
//! Invariant: brokers stop before the coordinator does.

use std::net::SocketAddr;
use std::path::Path;

use broker::config::{Config, LoadArgs};
use broker::server::Server;
use tokio::runtime::{Builder, Runtime};

use crate::asker::Asker;

/// Data workers of one broker: enough that one may sleep.
const WORKERS: usize = 2;

/// One running broker. Stopped cleanly by [`Cluster::stop`]; dropped, it is as good as killed.
pub struct Member {
    pub id: i32,
    pub address: SocketAddr,
    server: Option<Server>,
    control: Runtime,
    /// Held for its threads, which serve the connections.
    _data: Runtime,
}

/// Brokers 1 to n, and the coordinator they share.
pub struct Cluster {
    pub members: Vec<Member>,
    coordinator: Option<coordinator::Handle>,
    runtime: Runtime,
}

fn runtime(name: &str) -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name(name)
        .enable_all()
        .build()
        .unwrap()
}

impl Cluster {
    /// Starts `brokers` brokers with data below `dir`; `overrides` are for all of them.
    pub fn start(dir: &Path, brokers: i32, overrides: &[&str]) -> Cluster {
        let runtime = runtime("coordinator");
        let mut wanted = coordinator::Config::new(dir.join("coordinator"));
        wanted.port = 0;
        let coordinator = runtime.block_on(coordinator::start(wanted)).unwrap();
        let zookeeper = coordinator.address().to_string();
        let members: Vec<Member> = (1..=brokers)
            .map(|id| Member::start(id, dir, &zookeeper, overrides))
            .collect();
        // Each was told of those before it when it began to serve, and hears of the later ones soon.
        for member in &members {
            Asker::connect(&member.address.to_string(), "harness").await_brokers(members.len());
        }
        Cluster {
            members,
            coordinator: Some(coordinator),
            runtime,
        }
    }

    /// `host:port` of the coordinator.
    pub fn zookeeper(&self) -> String {
        self.coordinator.as_ref().unwrap().address().to_string()
    }

    /// Stops the brokers, the newest first, so that the controller hands over for all others and
    /// leaves last; then the coordinator.
    pub fn stop(mut self) {
        for mut member in std::mem::take(&mut self.members).into_iter().rev() {
            member.stop();
        }
        if let Some(coordinator) = self.coordinator.take() {
            self.runtime.block_on(coordinator.stop());
        }
    }
}

impl Member {
    fn start(id: i32, dir: &Path, zookeeper: &str, overrides: &[&str]) -> Member {
        let own = [
            format!("broker.id={id}"),
            "listeners=PLAINTEXT://127.0.0.1:0".to_owned(),
        ];
        let args = LoadArgs {
            overrides: own
                .into_iter()
                .chain(overrides.iter().map(|&text| text.to_owned()))
                .collect(),
            zookeeper: Some(zookeeper.to_owned()),
            data_dir: Some(dir.join(format!("broker-{id}"))),
            ..LoadArgs::default()
        };
        let (config, _warnings) = Config::load(&args).unwrap();
        let (control, data) = (runtime("control"), runtime("data"));
        let server = control
            .block_on(Server::start(config, data.handle().clone()))
            .unwrap();
        let (_listener, address) = server.addresses()[0].clone();
        Member {
            id,
            address,
            server: Some(server),
            control,
            _data: data,
        }
    }

    fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            self.control.block_on(server.stop());
        }
    }
}
