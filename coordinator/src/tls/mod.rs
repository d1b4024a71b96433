//! TLS on the secure client port, and the name a client's certificate gives it.
//!
//! Stores are PEM, as ZooKeeper reads them with `ssl.keyStore.type=PEM`: the key and its chain in
//! one file, the trusted authorities in another. Absences: JKS and PKCS12 (the error says how to
//! convert), revocation lists.

pub(crate) mod subject;

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, crypto};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::error::Error;

/// Whether clients must show a certificate. ZooKeeper's default: they must.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    None,
    Want,
    #[default]
    Need,
}

/// ZooKeeper's `ssl.*` settings.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub key_store: PathBuf,
    pub trust_store: PathBuf,
    pub client_auth: ClientAuth,
    /// `TLSv1.2`, `TLSv1.3`; empty: both.
    pub protocols: Vec<String>,
    /// Java's names of cipher suites; empty: all that are good.
    pub suites: Vec<String>,
    /// The certificate name that is above all access lists.
    pub super_user: Option<String>,
    /// Stores that were changed are read again, as ZooKeeper's `client.certReload` has it.
    pub reload: bool,
}

/// What the port shakes hands with: the stores as they were read last.
#[derive(Debug)]
pub(crate) struct Stores {
    settings: Settings,
    current: Mutex<Current>,
}

struct Current {
    acceptor: TlsAcceptor,
    seen: [Option<Stamp>; 2],
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current")
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

/// What tells one state of a file from the next.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    inode: u64,
}

impl Stores {
    pub(crate) fn open(settings: &Settings) -> Result<Self, Error> {
        let current = Current {
            seen: stamps(settings),
            acceptor: acceptor(settings)?,
        };
        Ok(Stores {
            settings: settings.clone(),
            current: Mutex::new(current),
        })
    }

    /// Who is above all access lists.
    pub(crate) fn super_user(&self) -> Option<&str> {
        self.settings.super_user.as_deref()
    }

    /// For the next handshake. Stores that have become unreadable change nothing.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock();
        if self.settings.reload {
            let seen = stamps(&self.settings);
            if seen != current.seen {
                current.seen = seen;
                match acceptor(&self.settings) {
                    Ok(fresh) => {
                        info!("the stores of keys and certificates were read again");
                        current.acceptor = fresh;
                    }
                    Err(why) => warn!(%why, "changed stores are not used; the ones before stay"),
                }
            }
        }
        current.acceptor.clone()
    }
}

fn stamps(settings: &Settings) -> [Option<Stamp>; 2] {
    [&settings.key_store, &settings.trust_store].map(|path| {
        let facts = std::fs::metadata(path).ok()?;
        Some(Stamp {
            modified: facts.modified().ok(),
            len: facts.len(),
            inode: facts.ino(),
        })
    })
}

fn wrong(path: &Path, why: impl Into<String>) -> Error {
    Error::Tls {
        path: path.to_path_buf(),
        why: why.into(),
    }
}

fn acceptor(settings: &Settings) -> Result<TlsAcceptor, Error> {
    let key_store = &settings.key_store;
    let mut provider = crypto::aws_lc_rs::default_provider();
    if !settings.suites.is_empty() {
        provider.cipher_suites.retain(|suite| {
            let name = format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
            settings.suites.contains(&name)
        });
    }
    let provider = Arc::new(provider);
    let mut versions = rustls::ALL_VERSIONS.to_vec();
    if !settings.protocols.is_empty() {
        versions.retain(|version| {
            let name = format!("{:?}", version.version).replace('_', ".");
            settings.protocols.contains(&name)
        });
    }
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|cause| wrong(key_store, cause.to_string()))?;
    let builder = if settings.client_auth == ClientAuth::None {
        builder.with_no_client_auth()
    } else {
        let roots = Arc::new(trusted(&settings.trust_store)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
        let verifier = match settings.client_auth {
            ClientAuth::Want => verifier.allow_unauthenticated(),
            _ => verifier,
        };
        let verifier = verifier
            .build()
            .map_err(|cause| wrong(&settings.trust_store, cause.to_string()))?;
        builder.with_client_cert_verifier(verifier)
    };
    let (chain, key) = own(key_store)?;
    let config = builder
        .with_single_cert(chain, key)
        .map_err(|cause| wrong(key_store, cause.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The text of a store; other kinds are told apart by their first bytes.
fn pem(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = std::fs::read(path).map_err(|cause| Error::Read {
        path: path.to_path_buf(),
        cause,
    })?;
    let convert = match bytes.first_chunk::<4>() {
        Some([0xfe, 0xed, 0xfe, 0xed]) => {
            "a JKS store; convert it with `keytool -importkeystore -srckeystore STORE -destkeystore \
             store.p12 -deststoretype PKCS12` and then `openssl pkcs12 -in store.p12 -nodes -out store.pem`"
        }
        Some([0x30, ..]) => {
            "a PKCS12 store; convert it with `openssl pkcs12 -in STORE -nodes -out store.pem`"
        }
        _ => return Ok(bytes),
    };
    Err(wrong(path, convert))
}

fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let all = all.map_err(|cause| wrong(path, cause.to_string()))?;
    if all.is_empty() {
        return Err(wrong(path, "no certificate is in it"));
    }
    Ok(all)
}

fn trusted(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, &pem(path)?)? {
        roots
            .add(certificate)
            .map_err(|cause| wrong(path, cause.to_string()))?;
    }
    Ok(roots)
}

type Own = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn own(path: &Path) -> Result<Own, Error> {
    let bytes = pem(path)?;
    let chain = certificates(path, &bytes)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        wrong(
            path,
            "no private key that can be read; an encrypted one is opened with `openssl pkcs8 -in KEY -out open.pem`",
        )
    })?;
    Ok((chain, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden/tls")
            .join(name)
    }

    #[test]
    fn changed_stores_are_read_again_and_bad_ones_are_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let key_store = dir.path().join("server.pem");
        std::fs::copy(golden("server.pem"), &key_store).unwrap();
        let settings = Settings {
            key_store: key_store.clone(),
            trust_store: golden("ca.pem"),
            reload: true,
            ..Settings::default()
        };
        let stores = Stores::open(&settings).unwrap();
        let config = |stores: &Stores| Arc::as_ptr(stores.acceptor().config());
        let first = config(&stores);
        assert_eq!(config(&stores), first);
        std::fs::write(&key_store, "nothing").unwrap();
        assert_eq!(config(&stores), first, "an unreadable store is not used");
        std::fs::copy(golden("client.pem"), &key_store).unwrap();
        assert_ne!(config(&stores), first, "the new store is used");

        let fixed = Stores::open(&Settings {
            reload: false,
            ..settings
        })
        .unwrap();
        let first = config(&fixed);
        std::fs::copy(golden("server.pem"), &key_store).unwrap();
        assert_eq!(config(&fixed), first, "nobody asked for it");
    }

    #[test]
    fn stores_that_cannot_be_read_are_told_apart() {
        let settings = |key: &Path, trust: &Path| Settings {
            key_store: key.to_path_buf(),
            trust_store: trust.to_path_buf(),
            ..Settings::default()
        };
        let (server, ca) = (golden("server.pem"), golden("ca.pem"));
        assert!(acceptor(&settings(&server, &ca)).is_ok());
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        for (bytes, why) in [
            (&[0xfe, 0xed, 0xfe, 0xed, 0][..], "keytool"),
            (&[0x30, 0x82, 1, 2][..], "pkcs12"),
            (&b"nothing"[..], "no certificate"),
        ] {
            std::fs::write(&store, bytes).unwrap();
            let told = acceptor(&settings(&store, &ca)).map(drop).unwrap_err();
            assert!(told.to_string().contains(why), "{told}");
            assert!(acceptor(&settings(&server, &store)).is_err());
        }
        let told = acceptor(&settings(&ca, &ca)).map(drop).unwrap_err();
        assert!(told.to_string().contains("private key"), "{told}");
    }
}
