//! What can fail, and how it is said.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use protocol::zookeeper::jute::Malformed;

/// A failure of the server itself; refusals to clients are reply codes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read {path}: {cause}")]
    Read { path: PathBuf, cause: io::Error },
    #[error("write {path}: {cause}")]
    Write { path: PathBuf, cause: io::Error },
    #[error("lock {path}: another server uses this directory ({cause})")]
    InUse { path: PathBuf, cause: io::Error },
    #[error("listen on {address}: {cause}{}", advice(.cause))]
    Listen {
        address: SocketAddr,
        cause: io::Error,
    },
    #[error("start thread {name}: {cause}")]
    Thread {
        name: &'static str,
        cause: io::Error,
    },
    #[error("read {path}: not a file of ZooKeeper's format (wrong first bytes)")]
    Magic { path: PathBuf },
    #[error(
        "read {path} at offset {offset}: {what}; whole transactions follow, so this is no torn end"
    )]
    Damaged {
        path: PathBuf,
        offset: u64,
        what: Damage,
    },
    #[error(
        "read {path} at offset {offset}: zxid 0x{found:x} stands where 0x{expected:x} must follow; transactions are \
         missing: bring back the log file that is gone or cut, or a copy of the whole directory"
    )]
    Gap {
        path: PathBuf,
        offset: u64,
        expected: i64,
        found: i64,
    },
    #[error(
        "read {dir}: there are transaction logs but no readable snapshot, so the start of the history is missing"
    )]
    NoSnapshot { dir: PathBuf },
    #[error(
        "read {path}: {what} stand in the other directory, and the history in this one would be lost: move all of \
         them to {belongs}, or set dataDir and dataLogDir as they were"
    )]
    Misplaced {
        path: PathBuf,
        what: &'static str,
        belongs: PathBuf,
    },
    #[error("{}", settings(.origin, .faults))]
    Settings {
        /// The file they came from, as far as one was named.
        origin: PathBuf,
        faults: Vec<Fault>,
    },
    #[error("read {path}: {why}")]
    Tls { path: PathBuf, why: String },
}

/// One setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub key: String,
    /// `None`: it is not set, and should be.
    pub value: Option<String>,
    pub why: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { key, value, why } = self;
        match value {
            Some(value) => write!(f, "{key} = {value}: {why}"),
            None => write!(f, "{key} is not set: {why}"),
        }
    }
}

fn settings(origin: &Path, faults: &[Fault]) -> String {
    let told: Vec<String> = faults.iter().map(Fault::to_string).collect();
    let told = told.join("; ");
    if origin.as_os_str().is_empty() {
        return format!("read settings: {told}");
    }
    format!("read settings ({}): {told}", origin.display())
}

/// What to do about an address that cannot be listened on.
fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::AddrInUse => {
            "; another ZooKeeper or coordinator holds it: stop that one, or choose another port with \
             clientPort or --port"
        }
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 are the administrator's: choose another with clientPort or --port"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; no interface of this machine has that address: see clientPortAddress"
        }
        _ => "",
    }
}

/// What is wrong with a place in a transaction log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("a hole of zeros")]
    Hole,
    #[error("the transaction is cut short")]
    Cut,
    #[error("the checksum does not match")]
    Checksum,
    #[error("the transaction cannot be read ({0})")]
    Malformed(#[from] Malformed),
}
