//! A broker's session: a new one is opened, and what a killed process left behind is put away.
//!
//! The number and password of the session in use lie in a private file beside `meta.properties`.
//! After kill -9 the next process finds it, closes that session, and can register at once, where
//! Kafka has to wait until ZooKeeper has expired it. Invariant: no session is touched that is not
//! in our own file, nor one whose file was copied here with its directory, nor any before the
//! start is known to be for the same cluster and broker: the former process may be at work.

use std::io;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::clock::Clock;
use base::disk::SystemDisk;
use tracing::{debug, info, warn};

use crate::bare::{self, Closed};
use crate::paths;
use crate::store::{Error, Kind, Store};
use crate::zookeeper::{Config, ZooKeeper};

/// The file's name. Only its owner may read it.
pub const FILE: &str = "zookeeper.session";
/// How long a goodbye waits for that file to be gone.
const FILE_PATIENCE: Duration = Duration::from_millis(200);

/// What the file says: where, and which session.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    hosts: String,
    session: i64,
    password: bare::Password,
    /// The inode of the directory it was written in; a copy lies in another.
    directory: Option<u64>,
}

/// The place in the cluster that a former process of this broker may still hold.
#[derive(Debug)]
#[must_use = "the former process's session stays until the place is taken"]
pub struct Place {
    file: Option<PathBuf>,
    hosts: String,
    /// Whether a session's password follows from its number, as ZooKeeper's servers make it.
    known_passwords: bool,
}

impl Place {
    /// Closes what a former process left, and notes the session in use instead. Called once it is
    /// known that the directory's cluster and broker are those of this start.
    pub async fn take(self, zookeeper: &ZooKeeper) {
        let Some(file) = self.file else { return };
        close_former(&file, &self.hosts).await;
        if self.known_passwords {
            keep(&file, &self.hosts, zookeeper.session());
            follow(zookeeper.clone(), file, self.hosts);
        }
    }
}

/// Creates the base nodes and opens a session.
///
/// `directory` is where the session's file lies (none: nothing is kept, and an old session is
/// waited out). `within_ms` bounds the wait for ZooKeeper.
pub async fn open(
    config: Config,
    directory: Option<&Path>,
    clock: Clock,
    within_ms: i64,
) -> Result<(ZooKeeper, Place), Error> {
    let (hosts, chroot) = config.hosts_and_chroot();
    let (hosts, chroot) = (hosts.to_owned(), chroot.to_owned());
    let plain = config.auth.is_empty() && !config.secure;
    let prepare = async {
        // A chroot may be missing, and is made by the client's connect.
        if plain && chroot.is_empty() {
            bare::create_nodes(&hosts, &chroot, &base_nodes()).await
        } else {
            Ok(true)
        }
    };
    let (prepared, opened) = tokio::join!(
        prepare,
        ZooKeeper::connect(config.clone(), clock.clone(), within_ms)
    );
    let zookeeper = opened?;
    let prepared = if plain && !chroot.is_empty() {
        bare::create_nodes(&hosts, &chroot, &base_nodes()).await
    } else {
        prepared
    };
    let known_passwords = match prepared {
        Ok(known) if plain => known,
        Ok(known) => {
            create_base_nodes(&zookeeper).await?;
            known
        }
        Err(refused) => {
            debug!(%refused, "create base nodes the slow way");
            create_base_nodes(&zookeeper).await?;
            true
        }
    };
    let place = Place {
        file: directory.map(|directory| directory.join(FILE)),
        hosts,
        known_passwords,
    };
    Ok((zookeeper, place))
}

/// Closes the session and forgets its file: nothing is left to put away.
pub async fn close(zookeeper: &ZooKeeper, directory: Option<&Path>) {
    zookeeper.close().await;
    if let Some(directory) = directory {
        // On a disk, which may hang. A file that stays names a session the server no longer knows,
        // which harms nobody.
        let file = directory.join(FILE);
        let removing = tokio::task::spawn_blocking(move || std::fs::remove_file(file));
        let _gone = tokio::time::timeout(FILE_PATIENCE, removing).await;
    }
}

/// Every node of the base tree, parents first.
fn base_nodes() -> Vec<String> {
    let mut nodes: Vec<String> = Vec::new();
    for path in paths::PERSISTENT {
        if let Some(parent) = paths::parent(path)
            && !nodes.iter().any(|node| node == parent)
        {
            nodes.push(parent.to_owned());
        }
        nodes.push(path.to_owned());
    }
    nodes
}

/// The same through the crate. Kafka: `KafkaZkClient.createTopLevelPaths`.
pub async fn create_base_nodes(store: &dyn Store) -> Result<(), Error> {
    for path in paths::PERSISTENT {
        create_missing(store, path).await?;
    }
    Ok(())
}

/// Creates a persistent node without data unless it exists.
pub async fn create_missing(store: &dyn Store, path: &str) -> Result<(), Error> {
    loop {
        match store.create(path, &[], Kind::Persistent).await {
            Ok(_) | Err(Error::NodeExists { .. }) => return Ok(()),
            Err(Error::Unknown { .. }) => {}
            Err(Error::NoNode { .. }) => {
                match crate::store::create_with_parents(store, path, &[]).await {
                    Ok(_) | Err(Error::NodeExists { .. }) => return Ok(()),
                    Err(Error::Unknown { .. } | Error::NoNode { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Err(error) => return Err(error),
        }
    }
}

async fn close_former(file: &Path, hosts: &str) {
    let Some(kept) = read(file) else { return };
    if kept.hosts != hosts {
        return;
    }
    if kept.directory.is_some() && kept.directory != inode_beside(file) {
        info!(file = %file.display(), "the directory is a copy: the session noted in it belongs to the original and is left alone");
        return;
    }
    let session = format!("{:#x}", kept.session);
    match bare::close_session(hosts, kept.session, &kept.password).await {
        Ok(Closed::Now) => info!(
            session,
            "closed the ZooKeeper session of the former process"
        ),
        Ok(Closed::Before) => debug!(session, "the former process's session is gone already"),
        Err(refused) => {
            warn!(session, %refused, "could not close the former process's session; it will expire");
        }
    }
}

/// Keeps the file in step with the session for as long as there is one.
fn follow(zookeeper: ZooKeeper, file: PathBuf, hosts: String) {
    let mut state = zookeeper.state();
    let mut kept = zookeeper.session();
    drop(zookeeper);
    base::tasks::spawn("zookeeper session file", async move {
        while state.changed().await.is_ok() {
            let now = *state.borrow_and_update();
            if now.is_alive() && now.session() != kept {
                kept = now.session();
                let (file, hosts) = (file.clone(), hosts.clone());
                // On a disk, which may hang; what is lost then is a fast restart.
                let noted = tokio::task::spawn_blocking(move || keep(&file, &hosts, kept));
                let _panicked = noted.await;
            }
        }
    });
}

fn keep(file: &Path, hosts: &str, session: i64) {
    if let Err(error) = write(file, hosts, session) {
        warn!(file = %file.display(), %error, "could not note the ZooKeeper session; a restart after a crash will wait for its expiry");
    }
}

fn inode_beside(file: &Path) -> Option<u64> {
    let directory = std::fs::metadata(file.parent()?).ok()?;
    Some(directory.ino())
}

/// Not synced: what a power cut takes away is waited for instead.
fn write(file: &Path, hosts: &str, session: i64) -> io::Result<()> {
    let password: String = bare::password_of(session)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut text = format!("hosts={hosts}\nsession={session:#x}\npassword={password}\n");
    if let Some(inode) = inode_beside(file) {
        text.push_str(&format!("directory={inode}\n"));
    }
    let temporary = file.with_extension("session.tmp");
    // A file left by a crash may have other rights than the ones asked for below.
    let _old = std::fs::remove_file(&temporary);
    let mut out = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    out.write_all(text.as_bytes())?;
    base::disk::Disk::rename(&SystemDisk, &temporary, file)
}

fn read(file: &Path) -> Option<Kept> {
    let text = std::fs::read_to_string(file).ok()?;
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(str::to_owned)
    };
    let session = field("session")?;
    let session = u64::from_str_radix(session.strip_prefix("0x")?, 16)
        .ok()?
        .cast_signed();
    let hex = field("password")?;
    let mut password = bare::Password::default();
    for (at, byte) in password.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(Kept {
        hosts: field("hosts")?,
        session,
        password,
        directory: field("directory").and_then(|inode| inode.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_kept_session_is_read_back_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(FILE);
        for session in [0x1000_0234_4cd0_0001, -5] {
            write(&file, "localhost:2181", session).unwrap();
            let kept = read(&file).unwrap();
            assert_eq!(
                (kept.session, kept.password),
                (session, bare::password_of(session))
            );
            assert_eq!(kept.directory, inode_beside(&file));
        }
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        std::fs::write(&file, "session=0x1\npassword=zz\nhosts=h\n").unwrap();
        assert_eq!(read(&file), None);
    }

    #[test]
    fn a_copied_file_is_told_from_its_original() {
        let (original, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (from, to) = (original.path().join(FILE), copy.path().join(FILE));
        write(&from, "h:1", 7).unwrap();
        std::fs::copy(&from, &to).unwrap();
        let kept = read(&to).unwrap();
        assert_eq!(kept.session, 7);
        assert_ne!(kept.directory, inode_beside(&to));
    }
}
