//! Keys and certificates from files: PEM, PKCS12 and JKS, told apart by their bytes.
//!
//! Absences: BCFKS and JCEKS, encryption older than PKCS #5's second scheme, lists of revoked
//! certificates.

mod encrypted;
mod jks;
mod pkcs12;

use std::fmt;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::error::Error;
use crate::tls::wrong;

/// Why a store is not read; what is to be done about it stands in it too.
pub(crate) type Why = &'static str;

/// A word that is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A file and what opens it. An empty path is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    pub path: PathBuf,
    pub password: Secret,
}

impl Store {
    /// One that needs no password.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Store {
            path: path.into(),
            password: Secret::default(),
        }
    }

    pub fn is_named(&self) -> bool {
        !self.path.as_os_str().is_empty()
    }
}

/// A key, and its certificate before those that signed it.
#[derive(Debug)]
pub(crate) struct KeyEntry {
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) chain: Vec<CertificateDer<'static>>,
}

/// What a store holds.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) keys: Vec<KeyEntry>,
    /// Those that belong to no key.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
}

fn read(store: &Store) -> Result<Contents, Error> {
    let bytes = std::fs::read(&store.path).map_err(|cause| Error::Read {
        path: store.path.clone(),
        cause,
    })?;
    let password = &store.password.0;
    let read = match bytes.first_chunk::<4>() {
        Some(&jks::MAGIC) => jks::read(&bytes, password),
        Some([0xce, 0xce, 0xce, 0xce]) => {
            Err("a JCEKS store; write it anew as PKCS12 with `keytool -importkeystore`")
        }
        Some([0x30, ..]) => pkcs12::read(&bytes, password),
        _ => pem(&bytes, password),
    };
    read.map_err(|why| wrong(&store.path, why))
}

fn pem(bytes: &[u8], password: &str) -> Result<Contents, Why> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let chain = chain.map_err(|_| "a certificate in it is not in PEM's form")?;
    let key = match PrivateKeyDer::from_pem_slice(bytes) {
        Ok(key) => Some(key),
        Err(_) => hidden_key(bytes, password)?,
    };
    Ok(match key {
        Some(key) => Contents {
            keys: vec![KeyEntry { key, chain }],
            certificates: Vec::new(),
        },
        None => Contents {
            keys: Vec::new(),
            certificates: chain,
        },
    })
}

/// A key that a password opens, between lines that say so.
fn hidden_key(bytes: &[u8], password: &str) -> Result<Option<PrivateKeyDer<'static>>, Why> {
    const MALFORMED: Why = "an encrypted key in it is not in PEM's form";
    let text = String::from_utf8_lossy(bytes);
    let Some((_, rest)) = text.split_once("-----BEGIN ENCRYPTED PRIVATE KEY-----") else {
        return Ok(None);
    };
    let (body, _) = rest.split_once("-----END").ok_or(MALFORMED)?;
    let body: String = body.split_whitespace().collect();
    let bytes = STANDARD.decode(body).map_err(|_| MALFORMED)?;
    let key = encrypted::open_key(&bytes, password)?;
    Ok(Some(PrivatePkcs8KeyDer::from(key).into()))
}

/// The first key of a store, with its certificates.
pub(crate) fn own(store: &Store) -> Result<KeyEntry, Error> {
    let first = read(store)?.keys.into_iter().next();
    let entry =
        first.ok_or_else(|| wrong(&store.path, "no private key that can be read is in it"))?;
    if entry.chain.is_empty() {
        return Err(wrong(&store.path, "no certificate is in it"));
    }
    Ok(entry)
}

/// Whom to trust: every certificate of a store, of a key's own the first.
pub(crate) fn trusted(store: &Store) -> Result<RootCertStore, Error> {
    let contents = read(store)?;
    let of_keys = contents
        .keys
        .into_iter()
        .filter_map(|key| key.chain.into_iter().next());
    let mut roots = RootCertStore::empty();
    for certificate in contents.certificates.into_iter().chain(of_keys) {
        roots
            .add(certificate)
            .map_err(|cause| wrong(&store.path, cause.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong(&store.path, "no certificate is in it"));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// The same key and certificates in every form, under the password `secret`.
    fn golden(name: &str) -> Store {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tls");
        Store {
            path: dir.join(name),
            password: Secret("secret".to_owned()),
        }
    }

    /// Java writes a key anew, without what can be derived from it.
    fn public_key(entry: &KeyEntry) -> Vec<u8> {
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&entry.key).unwrap();
        key.public_key().unwrap().to_vec()
    }

    #[test]
    fn every_form_holds_the_same_key_and_certificate() {
        let plain = own(&golden("server.pem")).unwrap();
        for name in [
            "server.p12",
            "server-openssl.p12",
            "server.jks",
            "server-encrypted.pem",
        ] {
            let entry = own(&golden(name)).unwrap();
            assert_eq!(entry.chain[0], plain.chain[0], "{name}");
            assert!(!format!("{:?}", golden(name)).contains("\"secret\""));
            assert_eq!(public_key(&entry), public_key(&plain), "{name}");
        }
        for name in ["ca.pem", "ca.p12", "ca.jks"] {
            assert_eq!(trusted(&golden(name)).unwrap().len(), 1, "{name}");
            let told = own(&golden(name)).unwrap_err().to_string();
            assert!(told.contains("no private key"), "{name}: {told}");
        }
    }

    #[test]
    fn a_wrong_password_and_old_encryption_are_told() {
        for name in [
            "server.p12",
            "server-openssl.p12",
            "server.jks",
            "server-encrypted.pem",
        ] {
            for password in ["guessed", ""] {
                let store = Store {
                    password: Secret(password.to_owned()),
                    ..golden(name)
                };
                let told = own(&store).unwrap_err().to_string();
                assert!(told.contains("password"), "{name}: {told}");
            }
        }
        let told = own(&golden("server-old.p12")).unwrap_err().to_string();
        assert!(told.contains("keytool -importkeystore"), "{told}");
    }

    #[test]
    fn broken_stores_are_refused_and_do_no_harm() {
        for name in ["server.p12", "server.jks", "ca.p12", "server-encrypted.pem"] {
            let whole = std::fs::read(golden(name).path).unwrap();
            let dir = tempfile::tempdir().unwrap();
            let store = Store {
                path: dir.path().join("store"),
                ..golden(name)
            };
            for at in (0..whole.len()).step_by(whole.len() / 60) {
                std::fs::write(&store.path, &whole[..at]).unwrap();
                assert!(own(&store).is_err(), "{name} cut at {at}");
                let mut changed = whole.clone();
                changed[at] ^= 0x41;
                std::fs::write(&store.path, &changed).unwrap();
                let _any = (own(&store), trusted(&store));
            }
        }
    }
}
