//! How to connect to a server that asks for TLS or SASL: what ZooKeeper's client properties say, as a
//! file or as `-D` words in the variables of Apache's scripts.

use std::path::PathBuf;

use coordinator::{Dialler, DiallerSettings, Login, Secret, Store};

use crate::failure::Failure;
use crate::properties::Properties;

/// Nothing of it: in the open, and as nobody.
#[derive(Clone, Debug, Default)]
pub(crate) struct Security {
    pub(crate) dialler: Option<Dialler>,
    pub(crate) login: Option<Login>,
}

/// Kafka's names of what ZooKeeper's client knows by others.
const KAFKAS: [(&str, &str); 11] = [
    ("ssl.client.enable", "client.secure"),
    ("ssl.keystore.location", "ssl.keyStore.location"),
    ("ssl.keystore.password", "ssl.keyStore.password"),
    ("ssl.keystore.type", "ssl.keyStore.type"),
    ("ssl.truststore.location", "ssl.trustStore.location"),
    ("ssl.truststore.password", "ssl.trustStore.password"),
    ("ssl.truststore.type", "ssl.trustStore.type"),
    ("ssl.enabled.protocols", "ssl.enabledProtocols"),
    ("ssl.cipher.suites", "ssl.ciphersuites"),
    ("ssl.crl.enable", "ssl.crl"),
    ("ssl.ocsp.enable", "ssl.ocsp"),
];
const IDENTIFICATION: &str = "ssl.endpoint.identification.algorithm";
const JAAS: &str = "java.security.auth.login.config";

impl Security {
    /// `variables` are those whose `-D` words Java would be given; `file` goes before them.
    pub(crate) fn read(variables: &[&str], file: Option<&str>) -> Result<Security, Failure> {
        let mut all = Properties::default();
        for variable in variables {
            let text = std::env::var(variable).unwrap_or_default();
            let words = text.split_whitespace();
            let pairs = words.filter_map(|word| word.strip_prefix("-D"));
            all.add_pairs(&pairs.map(str::to_owned).collect::<Vec<_>>())?;
        }
        all.0.extend(Properties::load(file)?.0);
        Security::of(&all)
    }

    fn of(all: &Properties) -> Result<Security, Failure> {
        let mut known = Properties::default();
        for (key, value) in &all.0 {
            let key = key.strip_prefix("zookeeper.").unwrap_or(key);
            let ours = KAFKAS.iter().find(|(theirs, _)| *theirs == key);
            let key = ours.map_or(key, |(_, ours)| ours);
            known.0.insert(key.to_owned(), value.clone());
        }
        let secure = known.is_true("client.secure", false);
        Ok(Security {
            dialler: secure.then(|| dialler(&known)).transpose()?,
            login: login(&known)?,
        })
    }
}

fn names(text: Option<&str>) -> Vec<String> {
    let names = text.unwrap_or_default().split(',').map(str::trim);
    let names = names.filter(|name| !name.is_empty() && *name != "TLS");
    names.map(str::to_owned).collect()
}

fn store(all: &Properties, name: &str) -> Result<Store, Failure> {
    let of = |end: &str| {
        let value = all.get(&format!("ssl.{name}.{end}"));
        value.filter(|value| !value.is_empty())
    };
    let password = match of("passwordPath") {
        None => of("password").unwrap_or_default().to_owned(),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(Failure::reading(path))?;
            text.trim_end_matches(['\n', '\r']).to_owned()
        }
    };
    Ok(Store {
        path: of("location").map(PathBuf::from).unwrap_or_default(),
        password: Secret(password),
    })
}

fn dialler(all: &Properties) -> Result<Dialler, Failure> {
    for key in ["ssl.crl", "ssl.ocsp"] {
        if all.is_true(key, false) {
            return Err(Failure::said(format!(
                "{key}: whether certificates were revoked is not checked here"
            )));
        }
    }
    let trust_store = store(all, "trustStore")?;
    if !trust_store.is_named() {
        return Err(Failure::said(
            "TLS needs ssl.trustStore.location: a file in PEM's form, PKCS12 or JKS",
        ));
    }
    let protocols = all.get("ssl.enabledProtocols").or(all.get("ssl.protocol"));
    let by_name = all.is_true("ssl.hostnameVerification", true);
    let settings = DiallerSettings {
        key_store: store(all, "keyStore")?,
        trust_store,
        protocols: names(protocols),
        suites: names(all.get("ssl.ciphersuites")),
        // Kafka: no algorithm, no look at the name.
        checks_name: by_name && all.get(IDENTIFICATION) != Some(""),
    };
    Dialler::open(&settings).map_err(|why| Failure::said(why.to_string()))
}

/// Who to be by SASL. ZooKeeper: a file without the section is no fault, but for whoever named one.
fn login(all: &Properties) -> Result<Option<Login>, Failure> {
    let Some(path) = all.get(JAAS).filter(|_| all.is_true("sasl.client", true)) else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(path).map_err(Failure::reading(path))?;
    let section = all.get("sasl.clientconfig").unwrap_or("Client");
    let found = Login::read(&text, section);
    let found = found.map_err(|why| Failure::said(format!("{path}, section {section}: {why}")))?;
    if found.is_none() {
        crate::warn!("{path} has no section {section}: connecting without SASL");
    } else if all.is_true("fips-mode", true) {
        return Err(Failure::said(
            "DIGEST-MD5 is forbidden as long as fips-mode is on, as it is in ZooKeeper by default; \
             -Dzookeeper.fips-mode=false allows it",
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &[&str]) -> Result<Security, Failure> {
        let mut all = Properties::default();
        let pairs: Vec<String> = text.iter().map(|pair| (*pair).to_owned()).collect();
        all.add_pairs(&pairs).expect("pairs");
        Security::of(&all)
    }

    #[test]
    fn nothing_is_asked_for_unless_it_is_said() {
        let security = told(&["zookeeper.ssl.keyStore.location=/none"]).expect("legal");
        assert!(security.dialler.is_none() && security.login.is_none());
    }

    #[test]
    fn what_is_missing_is_said() {
        for (pairs, part) in [
            (
                &["zookeeper.client.secure=true"][..],
                "ssl.trustStore.location",
            ),
            (
                &[
                    "zookeeper.ssl.client.enable=true",
                    "zookeeper.ssl.truststore.location=/none",
                ],
                "/none",
            ),
            (&["client.secure=true", "ssl.crl=true"], "revoked"),
            (&["java.security.auth.login.config=/none"], "/none"),
        ] {
            let why = told(pairs).expect_err("refused").to_string();
            assert!(why.contains(part), "{why}");
        }
    }
}
