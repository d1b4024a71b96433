//! What can fail, and how it is said.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

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
    #[error("listen on {address}: {cause}")]
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
        "read {path}: begins at zxid 0x{found:x} where 0x{expected:x} must follow; a log file is missing or cut"
    )]
    Gap {
        path: PathBuf,
        expected: i64,
        found: i64,
    },
    #[error(
        "read {dir}: there are transaction logs but no readable snapshot, so the start of the history is missing"
    )]
    NoSnapshot { dir: PathBuf },
    #[error("read {path}: {key} = {value}: {why}")]
    Setting {
        path: PathBuf,
        key: String,
        value: String,
        why: &'static str,
    },
    #[error("read {path}: {why}")]
    Tls { path: PathBuf, why: String },
    #[error("read {path}: {why}")]
    Jaas { path: PathBuf, why: &'static str },
    #[error("read {path}: {key} is not set")]
    Missing { path: PathBuf, key: &'static str },
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
