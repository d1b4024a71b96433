//! `zoo.cfg` and ZooKeeper's system properties, to a [`Config`].
//!
//! As in ZooKeeper a key of the file that is none of its own becomes the property `zookeeper.key`,
//! so that both ways meet in one table. Keys that only an ensemble, a JVM or the admin web server
//! would need are known and named in one warning; so are keys nobody knows.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::config::{Config, DigestAlgorithm};
use crate::error::Error;
use crate::sasl::{Settings as SaslSettings, jaas};
use crate::tls::{ClientAuth, Settings as TlsSettings};

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

    /// Takes system properties, each `key=value`.
    pub fn define_all<'a>(&mut self, definitions: impl Iterator<Item = &'a str>) {
        for definition in definitions {
            let (key, value) = definition.split_once('=').unwrap_or((definition, "true"));
            self.set(key, value);
        }
    }

    pub fn set(&mut self, key: &str, value: &str) {
        let key = key.strip_prefix("zookeeper.").unwrap_or(key);
        self.values.insert(key.to_owned(), value.to_owned());
    }

    /// The settings, and the keys that have no meaning here.
    pub fn config(&self) -> Result<(Config, Vec<String>), Error> {
        let mut reading = Reading {
            left: self.values.clone(),
            origin: &self.origin,
        };
        let Some(data_dir) = reading.text("dataDir") else {
            return Err(Error::Missing {
                path: self.origin.clone(),
                key: "dataDir",
            });
        };
        let mut config = Config::new(data_dir);
        reading.files(&mut config)?;
        reading.network(&mut config)?;
        reading.nodes(&mut config)?;
        reading.auth(&mut config)?;
        reading.sasl(&mut config)?;
        reading.tls(&mut config)?;
        reading.metrics(&mut config)?;
        Ok((config, reading.left.into_keys().collect()))
    }
}

/// Takes keys out as they are understood; what stays has no meaning.
struct Reading<'a> {
    left: BTreeMap<String, String>,
    origin: &'a Path,
}

impl Reading<'_> {
    fn text(&mut self, key: &str) -> Option<String> {
        self.left.remove(key)
    }

    fn wrong(&self, key: &str, value: String, why: &'static str) -> Error {
        Error::Setting {
            path: self.origin.to_path_buf(),
            key: key.to_owned(),
            value,
            why,
        }
    }

    fn parsed<T: FromStr>(&mut self, key: &str, why: &'static str) -> Result<Option<T>, Error> {
        let Some(value) = self.text(key) else {
            return Ok(None);
        };
        value
            .parse()
            .map(Some)
            .map_err(|_| self.wrong(key, value, why))
    }

    fn number<T: FromStr>(&mut self, key: &str, into: &mut T) -> Result<(), Error> {
        if let Some(value) = self.parsed(key, "not a number that fits")? {
            *into = value;
        }
        Ok(())
    }

    fn flag(&mut self, key: &str, into: &mut bool) {
        if let Some(value) = self.text(key) {
            *into = value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("yes");
        }
    }

    fn files(&mut self, config: &mut Config) -> Result<(), Error> {
        config.data_log_dir = self.text("dataLogDir").map(PathBuf::from);
        self.number("snapCount", &mut config.snapshot_count)?;
        config.snapshot_count = config.snapshot_count.max(2);
        if let Some(kib) = self.parsed::<i64>("snapSizeLimitInKb", "not a number that fits")? {
            config.snapshot_bytes = kib.max(0).cast_unsigned().saturating_mul(1024);
        }
        if let Some(kib) = self.parsed::<u64>("preAllocSize", "not a number that fits")? {
            config.log_preallocate = kib.saturating_mul(1024);
        }
        if let Some(value) = self.text("forceSync") {
            config.force_sync = value != "no";
        }
        self.number("fsync.warningthresholdms", &mut config.slow_sync_ms)?;
        self.flag("snapshot.trust.empty", &mut config.trust_empty_snapshot);
        self.number("autopurge.purgeInterval", &mut config.purge_interval_hours)?;
        self.number("autopurge.snapRetainCount", &mut config.purge_retain)
    }

    fn network(&mut self, config: &mut Config) -> Result<(), Error> {
        self.number("clientPort", &mut config.port)?;
        // ZooKeeper listens everywhere unless told otherwise.
        config.address = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        if let Some(host) = self.text("clientPortAddress") {
            let found = (host.as_str(), 0)
                .to_socket_addrs()
                .ok()
                .and_then(|mut all| all.next());
            let Some(found) = found else {
                return Err(self.wrong("clientPortAddress", host, "not an address"));
            };
            config.address = found.ip();
        }
        if let Some(backlog) = self.parsed::<i64>("clientPortListenBacklog", "not a number")?
            && let Ok(backlog) = u32::try_from(backlog)
        {
            config.listen_backlog = backlog;
        }
        self.number("tickTime", &mut config.tick_ms)?;
        if config.tick_ms <= 0 {
            return Err(self.wrong("tickTime", config.tick_ms.to_string(), "must be positive"));
        }
        for (key, slot) in [
            ("minSessionTimeout", &mut config.min_session_timeout_ms),
            ("maxSessionTimeout", &mut config.max_session_timeout_ms),
        ] {
            let value = self.parsed::<i32>(key, "not a number that fits")?;
            *slot = value.filter(|ms| *ms != -1).or(*slot);
        }
        if config.min_timeout_ms() > config.max_timeout_ms() {
            let value = config.min_timeout_ms().to_string();
            return Err(self.wrong("minSessionTimeout", value, "larger than maxSessionTimeout"));
        }
        self.number("maxClientCnxns", &mut config.max_client_connections)?;
        self.number("maxCnxns", &mut config.max_connections)?;
        self.number("jute.maxbuffer", &mut config.frame_max)?;
        if let Some(words) = self.text("4lw.commands.whitelist") {
            config.words = words
                .split(',')
                .map(|word| word.trim().to_owned())
                .collect();
        }
        Ok(())
    }

    fn nodes(&mut self, config: &mut Config) -> Result<(), Error> {
        self.flag("extendedTypesEnabled", &mut config.extended_types);
        self.number(
            "znode.container.checkIntervalMs",
            &mut config.container_check_interval_ms,
        )?;
        self.number(
            "znode.container.maxPerMinute",
            &mut config.container_max_per_minute,
        )?;
        self.number(
            "znode.container.maxNeverUsedIntervalMs",
            &mut config.container_never_used_ms,
        )?;
        self.flag("enforceQuota", &mut config.enforce_quota);
        self.flag("reconfigEnabled", &mut config.reconfig_enabled);
        Ok(())
    }

    fn auth(&mut self, config: &mut Config) -> Result<(), Error> {
        if let Some(value) = self.text("skipACL") {
            config.skip_acl = value == "yes";
        }
        // ZooKeeper: only members of an ensemble check early; a standalone server does not.
        self.text("enableEagerACLCheck");
        config.super_digest = self.text("DigestAuthenticationProvider.superDigest");
        self.flag(
            "DigestAuthenticationProvider.enabled",
            &mut config.digest_auth,
        );
        if let Some(value) = self.text("DigestAuthenticationProvider.digestAlg") {
            config.digest_algorithm = match value.to_ascii_uppercase().as_str() {
                "SHA1" | "SHA-1" => DigestAlgorithm::Sha1,
                "SHA-256" => DigestAlgorithm::Sha256,
                "SHA-384" => DigestAlgorithm::Sha384,
                "SHA-512" => DigestAlgorithm::Sha512,
                _ => {
                    let key = "DigestAuthenticationProvider.digestAlg";
                    return Err(self.wrong(key, value, "not an algorithm known here"));
                }
            };
        }
        let providers: Vec<String> = self
            .left
            .keys()
            .filter(|key| key.starts_with("authProvider."))
            .cloned()
            .collect();
        for key in providers {
            match self.left.get(&key).map(String::as_str) {
                Some("org.apache.zookeeper.server.auth.SASLAuthenticationProvider") => {
                    config.sasl_provider = true;
                    self.left.remove(&key);
                }
                Some("org.apache.zookeeper.server.auth.X509AuthenticationProvider") => {
                    config.x509_provider = true;
                    self.left.remove(&key);
                }
                _ => {}
            }
        }
        let (mut enforced, mut sasl) = (false, false);
        self.flag("enforce.auth.enabled", &mut enforced);
        let mut schemes = self.text("enforce.auth.schemes").unwrap_or_default();
        self.flag("sessionRequireClientSASLAuth", &mut sasl);
        if sasl {
            (enforced, schemes) = (true, "sasl".to_owned());
        }
        if enforced {
            let names = schemes
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty());
            config.enforce_auth_schemes = names.map(str::to_owned).collect();
            if config.enforce_auth_schemes.is_empty() {
                return Err(self.wrong("enforce.auth.schemes", schemes, "names no scheme"));
            }
        }
        Ok(())
    }

    fn sasl(&mut self, config: &mut Config) -> Result<(), Error> {
        let section = self.text("sasl.serverconfig");
        let section = section.as_deref().unwrap_or("Server");
        let mut fips = true;
        self.flag("fips-mode", &mut fips);
        let mut settings = SaslSettings {
            allowed: !fips,
            ..SaslSettings::default()
        };
        self.flag("allowSaslFailedClients", &mut settings.failed_may_stay);
        let supers: Vec<String> = self
            .left
            .keys()
            .filter(|key| key.starts_with("superUser"))
            .cloned()
            .collect();
        settings.super_users = supers.iter().filter_map(|key| self.text(key)).collect();
        let super_password = self.text("SASLAuthenticationProvider.superPassword");
        if let Some(path) = self.text("java.security.auth.login.config") {
            let path = PathBuf::from(path);
            let text = std::fs::read_to_string(&path).map_err(|cause| Error::Read {
                path: path.clone(),
                cause,
            })?;
            settings.users =
                jaas::server_users(&text, section).map_err(|why| Error::Jaas { path, why })?;
        }
        if let (Some(users), Some(password)) = (&mut settings.users, super_password) {
            users.0.insert("super".to_owned(), password);
        }
        config.sasl = settings;
        Ok(())
    }

    fn tls(&mut self, config: &mut Config) -> Result<(), Error> {
        self.flag("client.portUnification", &mut config.port_unification);
        let port: Option<u16> = self.parsed("secureClientPort", "not a port")?;
        let host = self.text("secureClientPortAddress");
        let Some(port) = port else { return Ok(()) };
        let address = match host {
            Some(host) => match (host.as_str(), port).to_socket_addrs() {
                Ok(mut all) => all.next(),
                Err(_) => {
                    return Err(self.wrong("secureClientPortAddress", host, "not an address"));
                }
            },
            None => None,
        };
        let anywhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
        config.secure_address = Some(address.unwrap_or(anywhere));
        config.x509_provider = true;
        for key in ["ssl.crl", "ssl.ocsp"] {
            let mut asked = false;
            self.flag(key, &mut asked);
            if asked {
                return Err(self.wrong(key, "true".to_owned(), "revocation is not checked here"));
            }
        }
        // Stores are told apart by their bytes, and are not encrypted.
        for key in ["keyStore.type", "trustStore.type"] {
            self.text(&format!("ssl.{key}"));
        }
        let list = |text: Option<String>| -> Vec<String> {
            let text = text.unwrap_or_default();
            let names = text
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty());
            names.map(str::to_owned).collect()
        };
        let protocol = self.text("ssl.protocol");
        let protocols = self.text("ssl.enabledProtocols").or(protocol);
        let client_auth = match self.text("ssl.clientAuth").as_deref() {
            None | Some("need" | "NEED") => ClientAuth::Need,
            Some("want" | "WANT") => ClientAuth::Want,
            Some("none" | "NONE") => ClientAuth::None,
            Some(other) => {
                let why = "not one of none, want, need";
                return Err(self.wrong("ssl.clientAuth", other.to_owned(), why));
            }
        };
        config.tls = Some(TlsSettings {
            key_store: self.required("ssl.keyStore.location")?,
            trust_store: match client_auth {
                ClientAuth::None => self
                    .text("ssl.trustStore.location")
                    .unwrap_or_default()
                    .into(),
                _ => self.required("ssl.trustStore.location")?,
            },
            client_auth,
            // Java: `TLS` alone means whatever there is.
            protocols: list(protocols.filter(|names| names.trim() != "TLS")),
            suites: list(self.text("ssl.ciphersuites")),
            super_user: self.text("X509AuthenticationProvider.superUser"),
        });
        Ok(())
    }

    fn required(&mut self, key: &'static str) -> Result<PathBuf, Error> {
        let path = self.origin.to_path_buf();
        let value = self.text(key).ok_or(Error::Missing { path, key })?;
        Ok(PathBuf::from(value))
    }

    fn metrics(&mut self, config: &mut Config) -> Result<(), Error> {
        let class = self.text("metricsProvider.className").unwrap_or_default();
        let (mut host, mut port) = ("0.0.0.0".to_owned(), 7_000_u16);
        let keys = ["metricsProvider.httpHost", "metricsProvider.httpPort"];
        if !class.contains("Prometheus") {
            return Ok(());
        }
        self.number(keys[1], &mut port)?;
        host = self.text(keys[0]).unwrap_or(host);
        let Ok(ip) = host.parse::<IpAddr>() else {
            return Err(self.wrong(keys[0], host, "not an address"));
        };
        config.metrics_address = Some(SocketAddr::new(ip, port));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut properties = Properties::default();
        properties.read_text("dataDir=/data\nclientPortAddress=::1\n");
        let (config, _meaningless) = properties.config().unwrap();
        assert_eq!(config.address, IpAddr::V6(std::net::Ipv6Addr::LOCALHOST));
    }

    #[test]
    fn wrong_values_are_named() {
        for (text, key) in [("clientPort=x", "clientPort"), ("tickTime=0", "tickTime")] {
            let mut properties = Properties::default();
            properties.read_text(&format!("dataDir=/data\n{text}\n"));
            assert!(
                properties.config().unwrap_err().to_string().contains(key),
                "{text}"
            );
        }
        assert!(
            Properties::default()
                .config()
                .unwrap_err()
                .to_string()
                .contains("dataDir")
        );
    }
}
