//! `zoo.cfg` and ZooKeeper's system properties, to a [`Config`].
//!
//! As in ZooKeeper a key of the file that is none of its own becomes the property `zookeeper.key`,
//! so that both ways meet in one table. Keys that only an ensemble, a JVM or the admin web server
//! would need are known and named in one warning; so are keys nobody knows.

mod reading;
mod server;
mod security;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use base::properties;

use crate::config::Config;
use crate::error::Error;
use crate::zoo_cfg::reading::Reading;

/// Keys and values, under the names of the file: `zookeeper.` is taken off.
#[derive(Clone, Debug, Default)]
pub struct Properties {
    values: BTreeMap<String, String>,
    /// Keys that the file names.
    in_file: BTreeSet<String>,
    origin: PathBuf,
}

impl Properties {
    /// Reads a file in the form of Java's properties.
    pub fn read_file(&mut self, path: &Path) -> Result<(), Error> {
        self.origin = path.to_path_buf();
        let read = std::fs::read(path).and_then(|bytes| self.read(&bytes));
        read.map_err(|cause| Error::Read {
            path: path.to_path_buf(),
            cause,
        })
    }

    fn read(&mut self, bytes: &[u8]) -> io::Result<()> {
        let bad = |escape| io::Error::new(ErrorKind::InvalidData, escape);
        for (key, value) in properties::parse(bytes).map_err(bad)? {
            let key = short(key.trim());
            self.in_file.insert(key.to_owned());
            self.set(key, value.trim());
        }
        Ok(())
    }

    /// Takes system properties, each `key=value`; a key alone has an empty value, as in Java.
    /// ZooKeeper makes every key of the file the property `zookeeper.key` after Java has read its
    /// arguments: so the file has the last word on those, and none on properties without that prefix.
    pub fn define_all<'a>(&mut self, definitions: impl Iterator<Item = &'a str>) {
        for definition in definitions {
            let (key, value) = definition.split_once('=').unwrap_or((definition, ""));
            if short(key) == key || !self.in_file.contains(short(key)) {
                self.set(short(key), value);
            }
        }
    }

    /// Overrules all that was said so far.
    pub fn set(&mut self, key: &str, value: &str) {
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
        reading.ports(&config);
        if reading.faults.is_empty() {
            return Ok((config, reading.left.into_keys().collect()));
        }
        Err(Error::Settings {
            origin: self.origin.clone(),
            faults: reading.faults,
        })
    }
}

/// The name of a property without ZooKeeper's prefix.
fn short(key: &str) -> &str {
    key.strip_prefix("zookeeper.").unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DigestAlgorithm, Packing};
    use std::net::{IpAddr, Ipv6Addr};

    fn config(text: &str) -> Result<(Config, Vec<String>), Error> {
        let mut properties = Properties::default();
        properties.read(text.as_bytes()).unwrap();
        properties.config()
    }

    #[test]
    fn a_file_of_zookeeper_is_understood() {
        let mut properties = Properties::default();
        let read = properties.read(
            b"# comment\ntickTime=500\ndataDir=/data\nclientPort = 2999\ninitLimit=5\n\
             4lw.commands.whitelist=ruok, srvr\nsnapCount=60\njute.maxbuffer:4096\n",
        );
        read.unwrap();
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
    fn a_file_is_read_as_java_reads_it() {
        let mut properties = Properties::default();
        let text = b"# caf\xe9\ndataDir=/my\\ data\\u00e9\nclientPortAddress=\\:\\:1\nclient\\u0050ort=7\n";
        properties.read(text).unwrap();
        let (config, meaningless) = properties.config().unwrap();
        assert_eq!(config.data_dir, Path::new("/my data\u{e9}"));
        assert_eq!(
            (config.address, config.port),
            (Ipv6Addr::LOCALHOST.into(), 7)
        );
        assert!(meaningless.is_empty());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("zoo.cfg");
        std::fs::write(&path, "dataDir=C:\\users\n").unwrap();
        let why = properties.read_file(&path).unwrap_err().to_string();
        for part in ["zoo.cfg", "C:\\users", "four hexadecimal digits"] {
            assert!(why.contains(part), "{part} is not in: {why}");
        }
    }

    #[test]
    fn the_file_goes_before_properties_with_zookeepers_prefix() {
        let mut properties = Properties::default();
        let text = b"dataDir=/data\nsnapCount=60\nznode.container.maxPerMinute=1\n";
        properties.read(text).unwrap();
        let defined = [
            "zookeeper.snapCount=70",
            "znode.container.maxPerMinute=2",
            "zookeeper.preAllocSize=1",
            "zookeeper.preAllocSize=2",
        ];
        properties.define_all(defined.into_iter());
        let (config, _meaningless) = properties.config().unwrap();
        assert_eq!(config.snapshot_count, 60);
        assert_eq!(config.container_max_per_minute, 2);
        assert_eq!(config.log_preallocate, 2_048);
    }

    #[test]
    fn a_value_may_begin_with_a_separator() {
        let (config, _meaningless) =
            config("dataDir=/data\nclientPort=1\nclientPortAddress=::1\n").unwrap();
        assert_eq!(config.address, IpAddr::V6(Ipv6Addr::LOCALHOST));
    }

    #[test]
    fn a_packing_that_nobody_knows_is_none_and_is_told() {
        let of = |name: &str| {
            config(&format!(
                "dataDir=/data\nsnapshot.compression.method={name}\n"
            ))
            .unwrap()
        };
        let (known, meaningless) = of("GZ");
        assert_eq!(
            (known.snapshot_packing, meaningless.len()),
            (Packing::Gzip, 0)
        );
        let (unknown, meaningless) = of("zip");
        assert_eq!(unknown.snapshot_packing, Packing::Plain);
        assert_eq!(meaningless, ["snapshot.compression.method"]);
    }

    #[test]
    fn stores_have_passwords_that_are_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let word = dir.path().join("word");
        std::fs::write(&word, "fromfile\n").unwrap();
        let (config, meaningless) = config(&format!(
            "dataDir=/data\nsecureClientPort=2281\nssl.keyStore.location=/k.p12\n\
             ssl.keyStore.type=PKCS12\nssl.keyStore.password=hidden\n\
             ssl.trustStore.location=/t.jks\nssl.trustStore.passwordPath={}\n",
            word.display()
        ))
        .unwrap();
        let tls = config.tls.as_ref().unwrap();
        assert_eq!(tls.key_store.password.0, "hidden");
        assert_eq!(tls.trust_store.password.0, "fromfile");
        assert!(meaningless.is_empty());
        let shown = format!("{config:?}");
        assert!(!shown.contains("hidden") && !shown.contains("fromfile"));
    }

    #[test]
    fn what_is_not_set_is_as_in_zookeeper() {
        let (config, _meaningless) = config("dataDir=/data\n").unwrap();
        assert_eq!(config.data_log_dir, None);
        assert_eq!((config.address, config.port), (Config::EVERYWHERE, 2181));
        assert_eq!(
            (config.secure_address, config.metrics_address),
            (None, None)
        );
        assert!(config.tls.is_none() && !config.secure_only && !config.port_unification);
        assert_eq!(config.tick_ms, 3_000);
        assert_eq!(
            (config.min_timeout_ms(), config.max_timeout_ms()),
            (6_000, 60_000)
        );
        assert_eq!(
            (config.max_client_connections, config.max_connections),
            (60, 0)
        );
        assert_eq!(config.frame_max, 0xf_ffff);
        assert_eq!(
            (config.snapshot_count, config.snapshot_bytes),
            (100_000, 4 << 30)
        );
        assert_eq!(config.snapshot_packing, Packing::Plain);
        assert!(config.force_sync && !config.trust_empty_snapshot);
        assert_eq!(config.slow_sync_ms, 1_000);
        assert_eq!((config.purge_interval_hours, config.purge_retain), (0, 3));
        assert_eq!(config.words, ["srvr"]);
        assert!(!config.extended_types && !config.enforce_quota && !config.reconfig_enabled);
        assert_eq!(
            (
                config.container_check_interval_ms,
                config.container_max_per_minute,
                config.container_never_used_ms
            ),
            (60_000, 10_000, 0)
        );
        assert!(!config.skip_acl && config.super_digest.is_none() && config.digest_auth);
        assert_eq!(config.digest_algorithm, DigestAlgorithm::Sha1);
        assert!(!config.sasl.allowed && !config.sasl.failed_may_stay);
        assert!(!config.sasl_provider && !config.x509_provider);
        assert!(config.enforce_auth_schemes.is_empty());
    }

    #[test]
    fn a_secure_port_alone_is_the_only_one() {
        let of = |lines: &str| {
            let text =
                format!("dataDir=/data\nssl.keyStore.location=/k\nssl.clientAuth=none\n{lines}");
            config(&text).map(|(config, _meaningless)| config.secure_only)
        };
        assert!(of("secureClientPort=2281\n").unwrap());
        assert!(!of("secureClientPort=2281\nclientPort=2181\n").unwrap());
        assert!(!of("").unwrap());
        let why = of("secureClientPort=2281\nclientPortAddress=::1\n").unwrap_err();
        let part = "clientPort is not set: clientPortAddress alone names no port";
        assert!(why.to_string().contains(part), "{why}");
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
    fn what_zookeeper_refuses_is_refused_with_its_reason() {
        for (lines, why) in [
            (
                "minSessionTimeout=9\nmaxSessionTimeout=8",
                "larger than maxSessionTimeout",
            ),
            (
                "minSessionTimeout=-5\nmaxSessionTimeout=-2",
                "no session would last",
            ),
            (
                "maxSessionTimeout=0\nminSessionTimeout=0",
                "no session would last",
            ),
            ("znode.container.checkIntervalMs=0", "must be positive"),
            ("reconfigEnabled=maybe", "neither true nor false"),
            ("standaloneEnabled=yes", "neither true nor false"),
            ("initLimit=x", "not a number that fits"),
            ("electionAlg=1", "3 is all there is"),
            ("peerType=x", "neither observer nor participant"),
            (
                "metricsProvider.className=no.Such",
                "not a metrics provider known here",
            ),
            ("enforce.auth.enabled=true", "names no scheme"),
            (
                "enforce.auth.enabled=true\nenforce.auth.schemes=ip,kerberos",
                "there is no such scheme",
            ),
            ("sessionRequireClientSASLAuth=true", "set authProvider.1="),
            (
                "clientPort=7000\nmetricsProvider.className=\
                 org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider",
                "clientPort is the same",
            ),
            (
                "clientPort=1\nclientPortAddress=127.0.0.1\nsecureClientPort=1\n\
                 ssl.keyStore.location=/k\nssl.trustStore.location=/t",
                "secureClientPort = 1: clientPort is the same",
            ),
        ] {
            let told = config(&format!("dataDir=/data\n{lines}\n")).unwrap_err();
            assert!(told.to_string().contains(why), "{lines}: {told}");
        }
    }

    #[test]
    fn what_zookeeper_puts_up_with_is_put_up_with() {
        let (config, meaningless) = config(
            "dataDir=/data\nsnapCount=-7\npreAllocSize=-1\nextendedTypesEnabled=yes\n\
             minSessionTimeout=-1\nmaxSessionTimeout=-1\nstandaloneEnabled=FALSE\npeerType=observer\n\
             metricsProvider.className=org.apache.zookeeper.metrics.impl.NullMetricsProvider\n",
        )
        .unwrap();
        assert_eq!((config.snapshot_count, config.log_preallocate), (2, 0));
        assert!(!config.extended_types, "only the word true is true");
        assert_eq!(config.max_timeout_ms(), 60_000);
        assert_eq!(meaningless, ["peerType", "standaloneEnabled"]);
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
