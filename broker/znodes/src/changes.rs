//! Notices in sequential nodes: read once, in order, and cleared away when they are old.
//!
//! Kafka: `ZkNodeChangeNotificationListener`. At the start all notices still there are read; after
//! each reading those older than fifteen minutes are deleted, by whichever broker comes first.

use std::collections::VecDeque;
use std::sync::Arc;

use base::clock::Clock;
use base::stop::Stop;
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use crate::paths;
use crate::session::create_missing;
use crate::store::{ANY, Error, Event, Listener, State, Store};

/// How old a notice must be before anybody may delete it.
const KEPT_MS: i64 = 15 * 60 * 1000;
/// Rest before a folder that could not be listed is tried again.
const REST_MS: i64 = 1000;

/// What [`Changes::next`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Somebody wrote this notice.
    Written(Vec<u8>),
    /// The session was cut off or renewed: what the notices are about should be read again. Told
    /// once the folder could be listed, so not by a store that refuses what is not our cluster's.
    Rejoined,
}

/// Reads the notices of one folder.
#[derive(Debug)]
pub struct Changes {
    store: Arc<dyn Store>,
    clock: Clock,
    stop: Stop,
    folder: String,
    prefix: &'static str,
    last: i64,
    queue: VecDeque<(i64, String)>,
    listed: bool,
    /// To be told as soon as the folder is listed.
    rejoined: bool,
    /// That the folder cannot be listed was told already.
    told: bool,
    woken: Arc<Notify>,
    state: watch::Receiver<State>,
    joined: u64,
}

impl Changes {
    /// Follows `folder`, whose notices are called `prefix` and a number. Nothing is read before
    /// the first [`Changes::next`].
    pub fn new(
        store: Arc<dyn Store>,
        clock: Clock,
        stop: Stop,
        folder: impl Into<String>,
        prefix: &'static str,
    ) -> Self {
        let mut state = store.state();
        let joined = joined(*state.borrow_and_update());
        Changes {
            store,
            clock,
            stop,
            folder: folder.into(),
            prefix,
            last: -1,
            queue: VecDeque::new(),
            listed: false,
            rejoined: false,
            told: false,
            woken: Arc::new(Notify::new()),
            state,
            joined,
        }
    }

    /// The next notice; `None` once stop is said or the store is closed. Dropping the future may
    /// lose one notice that was being read.
    pub async fn next(&mut self) -> Option<Notice> {
        loop {
            if self.stop.is_stopped() {
                return None;
            }
            if !self.listed {
                match self.list().await {
                    Ok(()) => self.listed = true,
                    Err(Error::SessionEnded) => return None,
                    Err(error) => {
                        if !std::mem::replace(&mut self.told, true) {
                            info!(folder = self.folder, %error, "could not list change notices; trying on");
                        }
                        tokio::select! {
                            () = self.clock.sleep_ms(REST_MS) => {}
                            () = self.stop.stopped() => return None,
                        }
                    }
                }
                continue;
            }
            self.told = false;
            if std::mem::take(&mut self.rejoined) {
                return Some(Notice::Rejoined);
            }
            if let Some((number, name)) = self.queue.pop_front() {
                self.last = self.last.max(number);
                let path = format!("{}/{name}", self.folder);
                match self.store.get(&path, None).await {
                    Ok(Some(node)) => return Some(Notice::Written(node.data)),
                    Ok(None) => continue,
                    Err(Error::SessionEnded) => return None,
                    Err(error) => {
                        warn!(path, %error, "could not read a change notice");
                        continue;
                    }
                }
            }
            tokio::select! {
                () = self.woken.notified() => self.listed = false,
                changed = self.state.changed() => {
                    if changed.is_err() {
                        return None;
                    }
                    let now = *self.state.borrow_and_update();
                    if now == State::Closed {
                        return None;
                    }
                    if now.is_alive() && joined(now) > self.joined {
                        self.joined = joined(now);
                        self.listed = false;
                        self.rejoined = true;
                    }
                }
                () = self.stop.stopped() => return None,
            }
        }
    }

    async fn list(&mut self) -> Result<(), Error> {
        let woken = self.woken.clone();
        let listener = Listener::new(move |_event: Event| woken.notify_one());
        let names = loop {
            match self
                .store
                .list(&self.folder, Some(listener.clone()))
                .await?
            {
                Some(names) => break names,
                None => create_missing(&*self.store, &self.folder).await?,
            }
        };
        let mut found: Vec<(i64, String)> = names
            .into_iter()
            .filter_map(|name| paths::sequence(&name, self.prefix).map(|number| (number, name)))
            .collect();
        found.sort_unstable();
        self.purge(&found).await?;
        self.queue
            .extend(found.into_iter().filter(|(number, _)| *number > self.last));
        Ok(())
    }

    /// Deletes what was read already and is old.
    async fn purge(&self, found: &[(i64, String)]) -> Result<(), Error> {
        let now = self.clock.wall_ms();
        for (_, name) in found.iter().filter(|(number, _)| *number <= self.last) {
            let path = format!("{}/{name}", self.folder);
            match self.store.exists(&path, None).await? {
                Some(stat) if now.saturating_sub(stat.ctime) > KEPT_MS => {}
                // Sequential nodes are made in the order of time.
                Some(_) => return Ok(()),
                None => continue,
            }
            match self.store.delete(&path, ANY).await {
                Ok(()) | Err(Error::NoNode { .. } | Error::Unknown { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn joined(state: State) -> u64 {
    match state {
        State::Alive { joined, .. } => joined,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::World;
    use crate::store::Kind;

    #[tokio::test]
    async fn notices_are_read_once_in_order_and_old_ones_deleted() {
        let clock = Clock::by_hand(1_000);
        let store = World::new(clock.clone()).connect();
        let (stopper, stop) = base::stop::pair();
        let shared: Arc<dyn Store> = Arc::new(store.clone());
        let mut changes = Changes::new(shared, clock.clone(), stop, "/changes", "n_");
        store
            .create("/changes", b"", Kind::Persistent)
            .await
            .unwrap();
        for text in ["a", "b"] {
            store
                .create("/changes/n_", text.as_bytes(), Kind::PersistentSequential)
                .await
                .unwrap();
        }
        assert_eq!(changes.next().await, Some(Notice::Written(b"a".to_vec())));
        assert_eq!(changes.next().await, Some(Notice::Written(b"b".to_vec())));
        clock.advance(KEPT_MS + 1);
        let writing = async {
            store
                .create("/changes/n_", b"c", Kind::PersistentSequential)
                .await
                .unwrap();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            notice = changes.next() => assert_eq!(notice, Some(Notice::Written(b"c".to_vec()))),
            () = writing => {}
        }
        assert_eq!(
            store.list("/changes", None).await.unwrap().unwrap(),
            ["n_0000000002"]
        );
        stopper.stop();
        assert_eq!(changes.next().await, None);
    }
}
