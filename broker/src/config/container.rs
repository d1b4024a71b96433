//! What a container implies where its settings leave something open: where the volume is, that
//! nobody reaches loopback from outside, and what the common images make of their own variables.
//!
//! Variables, file and arguments stay as they were given; what is implied joins the variables. A
//! file of settings is complete as it stands, but for where the volume is.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use settings::layers::Texts;
use settings::value::Fault;

use crate::config::{Config, LoadArgs};

/// The short way is for one broker that is tried out.
fn is_tried_out(args: &LoadArgs) -> bool {
    args.volume.is_some() && args.file.is_none() && args.environment.by_hosts
}

/// The variables with what the container adds to them, and what to tell whoever starts it.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) texts: Texts,
    pub(super) notices: Vec<String>,
}

/// `told` is what the file and the arguments say.
pub(super) fn settle(volume: &Path, args: &LoadArgs, told: &Texts, host_name: &str) -> Settled {
    let mut settled = Settled {
        texts: args.environment.texts.clone(),
        notices: Vec::new(),
    };
    // An empty variable says nothing; compose files write them as ${NAME:-}.
    settled.texts.retain(|_, text| !text.is_empty());
    settled.old_names();
    let embedded = !settled.says(told, "zookeeper.connect");
    if is_tried_out(args) {
        settled.first_try(volume);
    }
    if args.file.is_none() {
        settled.listeners(told, host_name);
    }
    let placed = ["log.dirs", "log.dir"]
        .iter()
        .any(|key| told.contains_key(*key));
    if args.data_dir.is_none() && !placed {
        settled.directories(volume, embedded, told);
    } else if embedded && !told.contains_key("coordinator.data.dir") {
        // Wherever the logs were told to lie: beside them need not be on the volume.
        let coordinator = volume.join("coordinator");
        settled.imply("coordinator.data.dir", coordinator.to_string_lossy());
    }
    // Published ports lead to the container's own address, never to its loopback.
    if embedded && !told.contains_key("coordinator.address") {
        settled.imply("coordinator.address", "0.0.0.0");
    }
    settled
}

impl Settled {
    fn says(&self, told: &Texts, key: &str) -> bool {
        self.texts.contains_key(key) || told.contains_key(key)
    }

    fn imply(&mut self, key: &str, text: impl Into<String>) {
        self.texts
            .entry(key.to_owned())
            .or_insert_with(|| text.into());
    }

    fn old_names(&mut self) {
        let Some(host) = self.texts.remove("advertised.host.name") else {
            return;
        };
        let port = self.texts.remove("advertised.port");
        self.notices.push(format!(
            "KAFKA_ADVERTISED_HOST_NAME was removed in Kafka 3 and is ignored. What it said is said \
             now by KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://{host}:{}",
            port.as_deref().unwrap_or("9092")
        ));
    }

    /// A generated id would be lost with the container and leave its topics without a leader.
    fn first_try(&mut self, volume: &Path) {
        let known = self.first_directory(volume).join("meta.properties");
        if !known.exists() && !self.texts.contains_key("node.id") {
            self.imply("broker.id", "1");
        }
    }

    fn first_directory(&self, volume: &Path) -> PathBuf {
        ["log.dirs", "log.dir"]
            .iter()
            .find_map(|key| self.texts.get(*key))
            .and_then(|dirs| dirs.split(',').next())
            .map_or_else(|| volume.to_owned(), |first| PathBuf::from(first.trim()))
    }

    fn listeners(&mut self, told: &Texts, host_name: &str) {
        let key = "advertised.listeners";
        if let Some(listeners) = told
            .get("listeners")
            .or_else(|| self.texts.get("listeners"))
        {
            self.notices.extend(on_loopback(listeners));
            return;
        }
        if let Some(advertised) = told.get(key).or_else(|| self.texts.get(key)) {
            // What cannot be read is told once, of the key that has it.
            if let Some(listeners) = everywhere(advertised) {
                self.imply("listeners", listeners);
            }
            return;
        }
        self.imply("listeners", "PLAINTEXT://:9092");
        self.notices.push(format!(
            "This broker tells clients to reach it at {host_name}:9092: containers on its network \
             can. For clients on the host, publish the port (-p 9092:9092) and set, for both kinds \
             at once:\n  \
             KAFKA_LISTENERS=PLAINTEXT://:9093,HOST://:9092\n  \
             KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://{host_name}:9093,HOST://localhost:9092\n  \
             KAFKA_LISTENER_SECURITY_PROTOCOL_MAP=PLAINTEXT:PLAINTEXT,HOST:PLAINTEXT"
        ));
    }

    /// One volume holds everything. A coordinator inside the broker gets a folder beside the logs',
    /// below the directory that was named, for beside that directory would be outside the volume.
    fn directories(&mut self, volume: &Path, embedded: bool, told: &Texts) {
        let first = self.first_directory(volume);
        let named = self.texts.remove("log.dirs");
        let named = named.or_else(|| self.texts.remove("log.dir"));
        self.texts.remove("log.dir");
        let mut dirs = named.unwrap_or_else(|| volume.to_string_lossy().into_owned());
        if embedded && !self.says(told, "coordinator.data.dir") {
            let coordinator = first.join("coordinator");
            self.imply("coordinator.data.dir", coordinator.to_string_lossy());
            let below = |dir: &str| format!("{}/broker", dir.trim().trim_end_matches('/'));
            dirs = dirs.split(',').map(below).collect::<Vec<_>>().join(",");
            self.notices.extend(of_another_kind(&first));
        } else if !embedded && first.join("broker/meta.properties").exists() {
            let first = first.display();
            self.notices.push(format!(
                "{first} belongs to a broker with a coordinator of its own: its topics lie in \
                 {first}/broker, and this start does not see them. To have them, leave out \
                 ZOOKEEPER_HOSTS and KAFKA_ZOOKEEPER_CONNECT; otherwise mount another volume."
            ));
        }
        self.texts.insert("log.dirs".to_owned(), dirs);
    }
}

/// Topics on the volume that a start with an embedded coordinator does not see.
fn of_another_kind(volume: &Path) -> Option<String> {
    if !volume.join("meta.properties").exists() {
        return None;
    }
    let at = volume.display();
    Some(if volume.join("__cluster_metadata-0").exists() {
        format!(
            "{at} belongs to a broker that worked with KRaft: its topics are described in a form \
             that is not read here, and this start does not see them. It leaves them alone, and \
             keeps its own in {at}/broker."
        )
    } else {
        format!(
            "{at} belongs to a broker that worked with a ZooKeeper: its topics lie directly in it, \
             and this start, with a coordinator of its own, does not see them. To have them, set \
             ZOOKEEPER_HOSTS to that ZooKeeper's HOST:PORT; otherwise mount another volume."
        )
    })
}

/// As the common images have it: one listens on every address, on the ports one advertises.
fn everywhere(advertised: &str) -> Option<String> {
    let listen = |item: &str| {
        let (name, address) = item.split_once("://")?;
        let (_, port) = address.rsplit_once(':')?;
        Some(format!("{}://0.0.0.0:{port}", name.trim()))
    };
    let listeners: Option<Vec<String>> = advertised.split(',').map(listen).collect();
    Some(listeners?.join(","))
}

/// A container's loopback is its own.
fn on_loopback(listeners: &str) -> Option<String> {
    let is_loopback = |item: &&str| {
        let host = item
            .split_once("://")
            .and_then(|(_, at)| at.rsplit_once(':'));
        let host = host.map_or("", |(host, _)| host.trim_matches(['[', ']']));
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    };
    let found = listeners.split(',').map(str::trim).find(is_loopback)?;
    Some(format!(
        "listeners has {found}: an address that only this container reaches, whatever ports are \
         published. To be reached from outside, leave its host out of listeners, as in \
         PLAINTEXT://:9092, and name it in advertised.listeners."
    ))
}

/// Directories that the container's user cannot write: folders of the host, as a rule.
pub fn unwritable(config: &Config) -> Vec<Fault> {
    let own = config.coordinator.iter().map(|inside| &inside.data_dir);
    config
        .logs
        .dirs
        .iter()
        .chain(own)
        .filter(|dir| fs::create_dir_all(dir).is_err() || access(*dir, Access::WRITE_OK).is_err())
        .map(|dir| Fault::between("log.dirs", whose(dir)))
        .collect()
}

fn whose(dir: &Path) -> String {
    // A process's own folder belongs to the user it runs as.
    let user = fs::metadata("/proc/self").map_or((0, 0), |own| (own.uid(), own.gid()));
    format!(
        "{} cannot be written by user {uid}. If it is a folder of the host's, give it to that user: \
         chown -R {uid}:{gid} FOLDER; or run the container as its owner: --user.",
        dir.display(),
        uid = user.0,
        gid = user.1,
    )
}

#[cfg(test)]
mod tests {
    use settings::environment;

    use super::*;

    fn args(variables: &[(&str, &str)]) -> LoadArgs {
        let variables = variables
            .iter()
            .map(|(name, text)| ((*name).into(), (*text).into()));
        LoadArgs {
            environment: environment::read(variables),
            ..LoadArgs::default()
        }
    }

    fn settled(volume: &Path, variables: &[(&str, &str)]) -> Settled {
        let args = LoadArgs {
            volume: Some(volume.to_owned()),
            ..args(variables)
        };
        settle(volume, &args, &Texts::new(), "box")
    }

    fn said(settled: &Settled, expected: &[(&str, &str)]) {
        for (key, text) in expected {
            let found = settled.texts.get(*key).map(String::as_str);
            assert_eq!(found, Some(*text), "{key} of {settled:?}");
        }
    }

    #[test]
    fn with_zookeeper_hosts_alone_a_broker_can_be_tried_out() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().to_str().unwrap();
        let settled = settled(dir.path(), &[("ZOOKEEPER_HOSTS", "zk:2181")]);
        said(
            &settled,
            &[
                ("zookeeper.connect", "zk:2181"),
                ("broker.id", "1"),
                ("listeners", "PLAINTEXT://:9092"),
                ("log.dirs", at),
            ],
        );
        assert!(!settled.texts.contains_key("coordinator.address"));
        assert!(settled.notices[0].contains("PLAINTEXT://box:9093,HOST://localhost:9092"));
    }

    #[test]
    fn an_id_that_was_set_or_lies_on_the_volume_stays() {
        let dir = tempfile::tempdir().unwrap();
        let hosts = ("ZOOKEEPER_HOSTS", "zk:2181");
        said(
            &settled(dir.path(), &[hosts, ("KAFKA_BROKER_ID", "7")]),
            &[("broker.id", "7")],
        );
        let by_node = settled(dir.path(), &[hosts, ("KAFKA_NODE_ID", "7")]);
        assert!(!by_node.texts.contains_key("broker.id"));
        fs::write(dir.path().join("meta.properties"), "").unwrap();
        let by_volume = settled(dir.path(), &[hosts]);
        assert!(!by_volume.texts.contains_key("broker.id"));
    }

    #[test]
    fn a_coordinator_inside_shares_the_volume_and_is_reachable() {
        let settled_in = |variables: &[(&str, &str)]| settled(Path::new("/nowhere"), variables);
        said(
            &settled_in(&[("KAFKA_NUM_PARTITIONS", "3")]),
            &[
                ("log.dirs", "/nowhere/broker"),
                ("coordinator.data.dir", "/nowhere/coordinator"),
                ("coordinator.address", "0.0.0.0"),
            ],
        );
        said(
            &settled_in(&[("KAFKA_LOG_DIRS", "/a/, /b")]),
            &[
                ("log.dirs", "/a/broker,/b/broker"),
                ("coordinator.data.dir", "/a/coordinator"),
            ],
        );
        let named = [
            ("KAFKA_COORDINATOR_DATA_DIR", "/c"),
            ("KAFKA_LOG_DIR", "/a"),
        ];
        said(&settled_in(&named), &[("log.dirs", "/a")]);
    }

    #[test]
    fn one_listens_on_the_ports_one_advertises() {
        let variables = [
            (
                "KAFKA_ADVERTISED_LISTENERS",
                "A://localhost:8098, B://[::1]:9093",
            ),
            ("KAFKA_LISTENERS", ""),
        ];
        let settled = settled(Path::new("/nowhere"), &variables);
        said(
            &settled,
            &[("listeners", "A://0.0.0.0:8098,B://0.0.0.0:9093")],
        );
        assert_eq!(settled.notices, [""; 0]);
    }

    #[test]
    fn what_is_advertised_and_cannot_be_read_is_no_listener() {
        for advertised in ["localhost:9092", "PLAINTEXT://localhost"] {
            let settled = settled(
                Path::new("/nowhere"),
                &[("KAFKA_ADVERTISED_LISTENERS", advertised)],
            );
            assert!(!settled.texts.contains_key("listeners"), "{settled:?}");
        }
    }

    #[test]
    fn what_file_and_arguments_say_stays_theirs() {
        let told: Texts = [
            ("log.dirs", "/theirs"),
            ("listeners", "PLAINTEXT://:1"),
            ("coordinator.address", "127.0.0.1"),
        ]
        .map(|(key, text)| (key.to_owned(), text.to_owned()))
        .into();
        let settled = settle(Path::new("/nowhere"), &args(&[]), &told, "box");
        said(
            &settled,
            &[("coordinator.data.dir", "/nowhere/coordinator")],
        );
        assert_eq!(settled.texts.len(), 1);
        assert_eq!(settled.notices, [""; 0]);
    }

    #[test]
    fn a_listener_on_loopback_is_told_to_be_alone_there() {
        for listeners in ["A://localhost:9092", "B://:9093, A://[::1]:9092"] {
            let settled = settled(Path::new("/nowhere"), &[("KAFKA_LISTENERS", listeners)]);
            assert!(settled.notices[0].contains("has A://"), "{settled:?}");
        }
    }

    #[test]
    fn topics_that_this_start_does_not_see_are_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("meta.properties"), "").unwrap();
        let notice = |variables: &[(&str, &str)]| settled(dir.path(), variables).notices.remove(0);
        let alone = [("KAFKA_LISTENERS", "PLAINTEXT://:9092")];
        assert!(notice(&alone).contains("worked with a ZooKeeper"));
        fs::create_dir(dir.path().join("__cluster_metadata-0")).unwrap();
        assert!(notice(&alone).contains("worked with KRaft"));
        fs::create_dir(dir.path().join("broker")).unwrap();
        fs::write(dir.path().join("broker/meta.properties"), "").unwrap();
        let beside = [alone[0], ("KAFKA_ZOOKEEPER_CONNECT", "zk:2181")];
        assert!(notice(&beside).contains("coordinator of its own"));
        let old = [alone[0], ("KAFKA_ADVERTISED_HOST_NAME", "h")];
        assert!(notice(&old).ends_with("PLAINTEXT://h:9092"));
    }
}
