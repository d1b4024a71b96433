//! `zoo.cfg` and ZooKeeper's system properties, to a [`Config`].
//!
//! As in ZooKeeper a key of the file that is none of its own becomes the property `zookeeper.key`,
//! so that both ways meet in one table. Keys that only an ensemble, a JVM or the admin web server
//! would need are known and named in one warning; so are keys nobody knows.

mod reading;
mod server;
mod security;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::error::Error;
use crate::zoo_cfg::reading::Reading;

/// Keys and values, under the names of the file: `zookeeper.` is taken off.
#[derive(Clone, Debug, Default)]
pub struct Properties {
    values: BTreeMap<String, String>,
    origin: PathBuf,
}

impl Properties {
    /// Reads a file in the form of Java's properties.
    pub fn read_file(&mut self, path: &Path) -> Result<(), Error> {
        let text = std::fs::read_to_string(path).map_err(|cause| Error::Read {
            path: path.to_path_buf(),
            cause,
        })?;
        self.origin = path.to_path_buf();
        self.read_text(&text);
        Ok(())
    }

    /// The same from a text.
    pub fn read_text(&mut self, text: &str) {
        let mut whole = String::new();
        for line in text.lines() {
            let line = line.trim();
            if whole.is_empty() && (line.is_empty() || line.starts_with(['#', '!'])) {
                continue;
            }
            if let Some(begun) = line.strip_suffix('\\') {
                whole.push_str(begun);
                continue;
            }
            whole.push_str(line);
            let line = std::mem::take(&mut whole);
            // One separator at most: a value may begin with a colon, as `::1` does.
            let end = line.find(['=', ':', ' ', '\t']).unwrap_or(line.len());
            let (key, rest) = line.split_at(end);
            let rest = rest.trim_start();
            let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
            self.set(key, value.trim());
        }
    }

    /// Takes system properties, each `key=value`; a key alone has an empty value, as in Java.
    pub fn define_all<'a>(&mut self, definitions: impl Iterator<Item = &'a str>) {
        for definition in definitions {
            let (key, value) = definition.split_once('=').unwrap_or((definition, ""));
            self.set(key, value);
        }
    }

    pub fn set(&mut self, key: &str, value: &str) {
        let key = key.strip_prefix("zookeeper.").unwrap_or(key);
        self.values.insert(key.to_owned(), value.to_owned());
    }

    /// The settings, and the keys that have no meaning here; or all that is wrong with them.
    pub fn config(&self) -> Result<(Config, Vec<String>), Error> {
        let mut reading = Reading::new(self.values.clone());
        let data_dir = reading.text("dataDir").filter(|dir| !dir.is_empty());
        if data_dir.is_none() {
            reading.missing("dataDir", "name a directory in zoo.cfg or with --data-dir");
        }
        let mut config = Config::new(data_dir.unwrap_or_default());
        reading.server(&mut config);
        reading.security(&mut config);
        if reading.faults.is_empty() {
            return Ok((config, reading.left.into_keys().collect()));
        }
        Err(Error::Settings {
            origin: self.origin.clone(),
            faults: reading.faults,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv6Addr};

    fn config(text: &str) -> Result<(Config, Vec<String>), Error> {
        let mut properties = Properties::default();
        properties.read_text(text);
        properties.config()
    }

    #[test]
    fn a_file_of_zookeeper_is_understood() {
        let mut properties = Properties::default();
        properties.read_text(
            "# comment\ntickTime=500\ndataDir=/data\nclientPort = 2999\ninitLimit=5\n\
             4lw.commands.whitelist=ruok, srvr\nsnapCount=60\njute.maxbuffer:4096\n",
        );
        properties.define_all(["zookeeper.extendedTypesEnabled=true"].into_iter());
        let (config, meaningless) = properties.config().unwrap();
        assert_eq!(
            (config.tick_ms, config.port, config.frame_max),
            (500, 2999, 4096)
        );
        assert_eq!(config.words, ["ruok", "srvr"]);
        assert!(config.extended_types);
        assert_eq!(config.max_timeout_ms(), 10_000);
        assert_eq!(meaningless, ["initLimit"]);
    }

    #[test]
    fn a_value_may_begin_with_a_separator() {
        let (config, _meaningless) = config("dataDir=/data\nclientPortAddress=::1\n").unwrap();
        assert_eq!(config.address, IpAddr::V6(Ipv6Addr::LOCALHOST));
    }

    #[test]
    fn numbers_of_properties_may_be_hexadecimal_and_limits_below_zero_are_none() {
        let text = "dataDir=/data\njute.maxbuffer=0x200000\nmaxClientCnxns=-1\n\
                    autopurge.purgeInterval=-1\nsnapCount=0100\n";
        let (config, meaningless) = config(text).unwrap();
        assert_eq!((config.frame_max, config.snapshot_count), (0x20_0000, 64));
        assert_eq!(
            (config.max_client_connections, config.purge_interval_hours),
            (0, 0)
        );
        assert!(meaningless.is_empty());
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once_with_key_value_and_reason() {
        let told = config(
            "clientPort=x\ntickTime=0\nsnapCount=many\nssl.clientAuth=maybe\nsecureClientPort=1\n",
        )
        .unwrap_err()
        .to_string();
        for part in [
            "dataDir is not set: name a directory in zoo.cfg or with --data-dir",
            "clientPort = x: not a port",
            "tickTime = 0: must be positive",
            "snapCount = many: not a number that fits",
            "ssl.clientAuth = maybe: not one of none, want, need",
            "ssl.keyStore.location is not set",
        ] {
            assert!(told.contains(part), "{part} is not in: {told}");
        }
        assert!(!told.contains('\n'), "{told}");
    }

    #[test]
    fn an_ensemble_is_not_run_by_one_server() {
        let one = "dataDir=/data\nserver.1=a:2888:3888\n";
        assert_eq!(config(one).unwrap().1, ["server.1"]);
        let told = config(&format!("{one}server.2=b:2888:3888\n")).unwrap_err();
        assert!(
            told.to_string().contains("server.2 = b:2888:3888"),
            "{told}"
        );
    }
}
