//! Leaving ZooKeeper, by a broker that has served or by one whose start came to nothing.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use tracing::warn;
use znodes::session;
use znodes::zookeeper::ZooKeeper;

/// How long ZooKeeper is waited for.
const LIMIT: Duration = Duration::from_secs(1);

/// What there is to take back.
#[derive(Debug, Default)]
pub(super) struct Farewell {
    session: OnceLock<ZooKeeper>,
    directory: OnceLock<PathBuf>,
}

impl Farewell {
    /// A session is open.
    pub(super) fn owe(&self, session: &ZooKeeper) {
        self.session.get_or_init(|| session.clone());
    }

    /// It is noted there. Before, a note in that place speaks of a former process's session.
    pub(super) fn noted_in(&self, directory: &Path) {
        self.directory.get_or_init(|| directory.to_owned());
    }

    /// Closes the session, if there is one. Saying it again does nothing.
    pub(super) async fn say(&self) {
        let Some(zookeeper) = self.session.get() else {
            return;
        };
        let closing = session::close(zookeeper, self.directory.get().map(PathBuf::as_path));
        if tokio::time::timeout(LIMIT, closing).await.is_err() {
            warn!("ZooKeeper did not hear that this broker stops; its session will time out");
        }
    }
}
