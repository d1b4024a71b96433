//! The other side: how a shell of ours connects to a secure client port.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme,
};

use crate::error::Error;
use crate::tls::stores::{self, KeyEntry, Store};
use crate::tls::{provider, versions, wrong};

/// Bytes read from the socket at a time.
const PIECE: usize = 16 << 10;

/// ZooKeeper's `ssl.*` settings of a client.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who the client is; a store that is not named: nobody.
    pub key_store: Store,
    pub trust_store: Store,
    pub protocols: Vec<String>,
    pub suites: Vec<String>,
    /// Whether the server's certificate must be one for the name it was called by.
    pub checks_name: bool,
}

/// Makes secure connections.
#[derive(Clone, Debug)]
pub struct Dialler(Arc<ClientConfig>);

impl Dialler {
    /// Reads the stores.
    pub fn open(settings: &Settings) -> Result<Self, Error> {
        let trust = &settings.trust_store;
        let provider = provider(&settings.suites);
        let roots = Arc::new(stores::trusted(trust)?);
        let known = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let known = known
            .build()
            .map_err(|cause| wrong(&trust.path, cause.to_string()))?;
        let verifier = Arc::new(Verifier {
            known,
            checks_name: settings.checks_name,
        });
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions(&settings.protocols))
            .map_err(|cause| wrong(&trust.path, cause.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = if settings.key_store.is_named() {
            let KeyEntry { key, chain } = stores::own(&settings.key_store)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|cause| wrong(&settings.key_store.path, cause.to_string()))?
        } else {
            builder.with_no_client_auth()
        };
        Ok(Dialler(Arc::new(config)))
    }

    /// Shakes hands with the server that was called `host`.
    pub fn connect(&self, host: &str, mut socket: TcpStream) -> io::Result<Line> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(&self.0), name);
        let mut session = session.map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        let session = Mutex::new(session);
        Ok(Line { socket, session })
    }
}

/// The usual checks, but for the name where nobody asked for that.
#[derive(Debug)]
struct Verifier {
    known: Arc<WebPkiServerVerifier>,
    checks_name: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.known.verify_server_cert(own, others, name, ocsp, now);
        match verified {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.checks_name => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.known.verify_tls12_signature(message, own, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.known.verify_tls13_signature(message, own, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.known.supported_verify_schemes()
    }
}

/// A secure connection that one thread may read while others write. The socket's own settings hold:
/// where reading may not take longer than so, it ends with that error.
#[derive(Debug)]
pub struct Line {
    socket: TcpStream,
    session: Mutex<ClientConnection>,
}

impl Line {
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Some of what the server says; 0 at its end.
    pub fn read(&self, out: &mut [u8]) -> io::Result<usize> {
        let mut piece = vec![0; PIECE];
        loop {
            match self.session.lock().reader().read(out) {
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            // Invariant: nobody who writes waits for this.
            let got = (&self.socket).read(&mut piece)?;
            let mut fresh = &piece[..got];
            let mut session = self.session.lock();
            loop {
                session.read_tls(&mut fresh)?;
                session.process_new_packets().map_err(io::Error::other)?;
                if fresh.is_empty() {
                    break;
                }
            }
            self.send(&mut session)?;
        }
    }

    pub fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let mut session = self.session.lock();
        session.writer().write_all(bytes)?;
        self.send(&mut session)
    }

    fn send(&self, session: &mut ClientConnection) -> io::Result<()> {
        while session.wants_write() {
            session.write_tls(&mut &self.socket)?;
        }
        Ok(())
    }
}
