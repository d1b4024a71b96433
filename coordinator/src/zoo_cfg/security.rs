//! Who may do what, and how it is proved: schemes, SASL, TLS.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::{Config, DigestAlgorithm};
use crate::sasl::{Settings as SaslSettings, jaas};
use crate::tls::stores::{Secret, Store};
use crate::tls::{ClientAuth, Settings as TlsSettings};
use crate::zoo_cfg::reading::{Reading, names};

const SASL_PROVIDER: &str = "org.apache.zookeeper.server.auth.SASLAuthenticationProvider";
const X509_PROVIDER: &str = "org.apache.zookeeper.server.auth.X509AuthenticationProvider";

impl Reading {
    pub(super) fn security(&mut self, config: &mut Config) {
        self.schemes(config);
        self.sasl(config);
        self.tls(config);
        // What there is of schemes is known by now.
        self.enforced(config);
    }

    fn schemes(&mut self, config: &mut Config) {
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
        let key = "DigestAuthenticationProvider.digestAlg";
        if let Some(value) = self.text(key) {
            match value.to_ascii_uppercase().as_str() {
                "SHA1" | "SHA-1" => config.digest_algorithm = DigestAlgorithm::Sha1,
                "SHA-256" => config.digest_algorithm = DigestAlgorithm::Sha256,
                "SHA-384" => config.digest_algorithm = DigestAlgorithm::Sha384,
                "SHA-512" => config.digest_algorithm = DigestAlgorithm::Sha512,
                _ => self.wrong(key, value, "not an algorithm known here"),
            }
        }
        for (key, class) in self.all("authProvider.") {
            match class.as_str() {
                SASL_PROVIDER => config.sasl_provider = true,
                X509_PROVIDER => config.x509_provider = true,
                _ => {
                    self.left.insert(key, class);
                }
            }
        }
    }

    fn enforced(&mut self, config: &mut Config) {
        let (mut enforced, mut sasl) = (false, false);
        self.flag("enforce.auth.enabled", &mut enforced);
        let mut schemes = self.text("enforce.auth.schemes").unwrap_or_default();
        self.flag("sessionRequireClientSASLAuth", &mut sasl);
        if sasl {
            (enforced, schemes) = (true, "sasl".to_owned());
        }
        if enforced {
            config.enforce_auth_schemes = names(&schemes);
            if config.enforce_auth_schemes.is_empty() {
                self.wrong("enforce.auth.schemes", schemes, "names no scheme");
            }
            for scheme in &config.enforce_auth_schemes {
                let hint = match scheme.as_str() {
                    "ip" => continue,
                    "digest" if config.digest_auth => continue,
                    "sasl" if config.sasl_provider => continue,
                    "x509" if config.x509_provider => continue,
                    "sasl" => format!("nobody could come in: set authProvider.1={SASL_PROVIDER}"),
                    "x509" => format!("nobody could come in: set authProvider.1={X509_PROVIDER}"),
                    _ => "there is no such scheme, so nobody could come in".to_owned(),
                };
                self.wrong("enforce.auth.schemes", scheme, hint);
            }
        }
    }

    fn sasl(&mut self, config: &mut Config) {
        let section = self.text("sasl.serverconfig");
        let section = section.as_deref().unwrap_or("Server");
        let mut fips = true;
        self.flag("fips-mode", &mut fips);
        let mut settings = SaslSettings {
            allowed: !fips,
            ..SaslSettings::default()
        };
        self.flag("allowSaslFailedClients", &mut settings.failed_may_stay);
        let supers = self.all("superUser");
        settings.super_users = supers.into_iter().map(|(_, user)| user).collect();
        let super_password = self.text("SASLAuthenticationProvider.superPassword");
        let key = "java.security.auth.login.config";
        if let Some(path) = self.text(key) {
            let text = std::fs::read_to_string(&path).map_err(|cause| cause.to_string());
            let users = text
                .and_then(|text| jaas::server_users(&text, section).map_err(|why| why.to_owned()));
            match users {
                Ok(users) => settings.users = users,
                Err(why) => self.wrong(key, path, why),
            }
        }
        if let (Some(users), Some(password)) = (&mut settings.users, super_password) {
            users.0.insert("super".to_owned(), password);
        }
        config.sasl = settings;
    }

    fn tls(&mut self, config: &mut Config) {
        self.flag("client.portUnification", &mut config.port_unification);
        let port: Option<u16> = self.parsed("secureClientPort", "not a port");
        let address = self.host("secureClientPortAddress");
        if port.is_none() && address.is_some() {
            self.missing(
                "secureClientPort",
                "secureClientPortAddress alone names no port",
            );
        }
        let address = address.unwrap_or(Config::EVERYWHERE);
        config.secure_address = port.map(|port| SocketAddr::new(address, port));
        if port.is_none() && !config.port_unification {
            return;
        }
        config.x509_provider = true;
        for key in ["ssl.crl", "ssl.ocsp"] {
            let mut asked = false;
            self.flag(key, &mut asked);
            if asked {
                self.wrong(key, "true", "revocation is not checked here");
            }
        }
        let protocol = self.text("ssl.protocol");
        let protocols = self.text("ssl.enabledProtocols").or(protocol);
        // Java: `TLS` alone means whatever there is.
        let protocols = protocols.filter(|names| names.trim() != "TLS");
        let mut settings = TlsSettings {
            client_auth: self.client_auth(),
            protocols: names(&protocols.unwrap_or_default()),
            suites: names(&self.text("ssl.ciphersuites").unwrap_or_default()),
            super_user: self.text("X509AuthenticationProvider.superUser"),
            key_store: self.store("ssl.keyStore", true),
            ..TlsSettings::default()
        };
        let needed = settings.client_auth != ClientAuth::None;
        settings.trust_store = self.store("ssl.trustStore", needed);
        self.flag("client.certReload", &mut settings.reload);
        config.tls = Some(settings);
    }

    fn client_auth(&mut self) -> ClientAuth {
        let value = self.text("ssl.clientAuth").unwrap_or_default();
        match value.as_str() {
            "" | "need" | "NEED" => ClientAuth::Need,
            "want" | "WANT" => ClientAuth::Want,
            "none" | "NONE" => ClientAuth::None,
            _ => {
                self.wrong("ssl.clientAuth", value, "not one of none, want, need");
                ClientAuth::Need
            }
        }
    }

    /// ZooKeeper: the path of a password's file goes before the password itself.
    fn store(&mut self, name: &str, needed: bool) -> Store {
        // Stores are told apart by their bytes.
        self.text(&format!("{name}.type"));
        let key = format!("{name}.location");
        let path = self.text(&key).filter(|path| !path.is_empty());
        if path.is_none() && needed {
            self.missing(&key, "TLS needs it: a file in PEM's form, PKCS12 or JKS");
        }
        let mut password = self.text(&format!("{name}.password")).unwrap_or_default();
        let key = format!("{name}.passwordPath");
        if let Some(path) = self.text(&key).filter(|path| !path.is_empty()) {
            match std::fs::read_to_string(&path) {
                Ok(text) => text
                    .trim_end_matches(['\n', '\r'])
                    .clone_into(&mut password),
                Err(cause) => self.wrong(&key, path, cause.to_string()),
            }
        }
        Store {
            path: path.map(PathBuf::from).unwrap_or_default(),
            password: Secret(password),
        }
    }
}
