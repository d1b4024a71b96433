//! TLS on the secure client port: ZooKeeper's `ssl.*` settings, and the other side of it for a
//! shell.
//!
//! What the stores of keys and of trusted authorities may be says [`stores`]. Absences: lists of
//! revoked certificates.

pub(crate) mod der;
pub(crate) mod principal;
pub(crate) mod subject;
pub(crate) mod stores;
pub(crate) mod dialling;

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use base::clock::Clock;
use base::stop::Stop;
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, SupportedProtocolVersion, crypto};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::error::Error;
use crate::tls::stores::{KeyEntry, Store};

/// How often stores are looked at that may change.
const LOOK_EVERY_MS: i64 = 1_000;

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
    pub key_store: Store,
    pub trust_store: Store,
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

    /// For the next handshake.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.current.lock().acceptor.clone()
    }

    /// Reads stores that were changed; those that have become unreadable change nothing. Blocks, but
    /// keeps nobody who shakes hands waiting.
    fn refresh(&self) {
        let seen = stamps(&self.settings);
        if seen == self.current.lock().seen {
            return;
        }
        let fresh = acceptor(&self.settings);
        let mut current = self.current.lock();
        current.seen = seen;
        match fresh {
            Ok(fresh) => {
                info!("the stores of keys and certificates were read again");
                current.acceptor = fresh;
            }
            Err(why) => warn!(%why, "changed stores are not used; the ones before stay"),
        }
    }

    /// Looks for changed stores until stopped, where the settings ask for it.
    pub(crate) async fn follow(self: Arc<Self>, clock: Clock, stop: Stop) {
        if !self.settings.reload {
            return;
        }
        loop {
            tokio::select! {
                () = clock.sleep_ms(LOOK_EVERY_MS) => {}
                () = stop.stopped() => return,
            }
            let stores = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || stores.refresh())
                .await
                .is_err()
            {
                warn!("changed stores could not be looked for");
            }
        }
    }
}

fn stamps(settings: &Settings) -> [Option<Stamp>; 2] {
    [&settings.key_store, &settings.trust_store].map(|store| {
        let facts = std::fs::metadata(&store.path).ok()?;
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

/// Ciphers by Java's names; all that are good where none is named.
fn provider(suites: &[String]) -> Arc<CryptoProvider> {
    let mut provider = crypto::aws_lc_rs::default_provider();
    if !suites.is_empty() {
        provider.cipher_suites.retain(|suite| {
            let name = format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
            suites.contains(&name)
        });
    }
    Arc::new(provider)
}

/// Protocols by Java's names; all where none is named.
fn versions(protocols: &[String]) -> Vec<&'static SupportedProtocolVersion> {
    let mut versions = rustls::ALL_VERSIONS.to_vec();
    if !protocols.is_empty() {
        versions.retain(|version| {
            let name = format!("{:?}", version.version).replace('_', ".");
            protocols.contains(&name)
        });
    }
    versions
}

fn acceptor(settings: &Settings) -> Result<TlsAcceptor, Error> {
    let key_store = &settings.key_store;
    let provider = provider(&settings.suites);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(&settings.protocols))
        .map_err(|cause| wrong(&key_store.path, cause.to_string()))?;
    let builder = if settings.client_auth == ClientAuth::None {
        builder.with_no_client_auth()
    } else {
        let roots = Arc::new(stores::trusted(&settings.trust_store)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
        let verifier = match settings.client_auth {
            ClientAuth::Want => verifier.allow_unauthenticated(),
            _ => verifier,
        };
        let verifier = verifier
            .build()
            .map_err(|cause| wrong(&settings.trust_store.path, cause.to_string()))?;
        builder.with_client_cert_verifier(verifier)
    };
    let KeyEntry { key, chain } = stores::own(key_store)?;
    let config = builder
        .with_single_cert(chain, key)
        .map_err(|cause| wrong(&key_store.path, cause.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

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
            key_store: Store::at(&key_store),
            trust_store: Store::at(golden("ca.pem")),
            reload: true,
            ..Settings::default()
        };
        let stores = Stores::open(&settings).unwrap();
        let config = |stores: &Stores| {
            stores.refresh();
            Arc::as_ptr(stores.acceptor().config())
        };
        let first = config(&stores);
        assert_eq!(config(&stores), first);
        std::fs::write(&key_store, "nothing").unwrap();
        assert_eq!(config(&stores), first, "an unreadable store is not used");
        std::fs::copy(golden("client.pem"), &key_store).unwrap();
        assert_ne!(config(&stores), first, "the new store is used");
    }

    #[test]
    fn stores_that_cannot_be_read_are_told_apart() {
        let settings = |key: &Path, trust: &Path| Settings {
            key_store: Store::at(key),
            trust_store: Store::at(trust),
            ..Settings::default()
        };
        let (server, ca) = (golden("server.pem"), golden("ca.pem"));
        assert!(acceptor(&settings(&server, &ca)).is_ok());
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        for (bytes, why) in [
            (&[0xfe, 0xed, 0xfe, 0xed, 0][..], "JKS"),
            (&[0x30, 0x82, 1, 2][..], "PKCS12"),
            (&[0xce, 0xce, 0xce, 0xce][..], "JCEKS"),
            (&b"nothing"[..], "no private key"),
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
