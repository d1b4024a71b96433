//! The nodes of one cluster only: what ZooKeeper holds of another cluster, or none, is neither
//! read nor written.
//!
//! A ZooKeeper may come back empty, or be another one than before. Whoever took what it says then
//! for news of his own cluster would forget topics' settings and lose their records. So
//! `/cluster/id` is looked at once per connection, before anything else goes over it; while it is
//! not ours every verb is refused. Whoever has to see a foreign tree (registration, which waits for
//! the right one) uses the store underneath.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::registration::{self, Refusal};
use crate::store::{Answer, Created, Done, Error, Kind, Listener, Node, Op, Stat, State, Store};

/// A [`Store`] that serves one cluster.
#[derive(Debug)]
pub struct Belonging {
    inner: Arc<dyn Store>,
    cluster_id: Arc<str>,
    state: watch::Receiver<State>,
    /// The last connection over which the id was read and was ours; connections count from 1.
    seen: AtomicU64,
}

impl Belonging {
    pub fn new(inner: Arc<dyn Store>, cluster_id: Arc<str>) -> Self {
        let state = inner.state();
        Belonging {
            inner,
            cluster_id,
            state,
            seen: AtomicU64::new(0),
        }
    }

    fn connection(&self) -> Option<u64> {
        match *self.state.borrow() {
            State::Alive { joined, .. } => Some(joined),
            _ => None,
        }
    }

    /// Waits for a connection to our cluster's ZooKeeper, or refuses; which connection it is.
    async fn ensure(&self, path: &str) -> Result<u64, Error> {
        loop {
            let before = self.connection();
            if let Some(connection) = before
                && connection == self.seen.load(Ordering::Acquire)
            {
                return Ok(connection);
            }
            let known = match registration::known_cluster_id(&*self.inner).await {
                Err(Refusal::Store(error)) => return Err(error),
                known => known,
            };
            let Some(connection) = before else { continue };
            if self.connection() != before {
                continue;
            }
            let reason = match known {
                Ok(Some(id)) if *id == *self.cluster_id => {
                    self.seen.store(connection, Ordering::Release);
                    return Ok(connection);
                }
                Ok(Some(id)) => format!("it holds cluster {id}, not {}", self.cluster_id),
                Ok(None) => format!("it has no /cluster/id; ours is {}", self.cluster_id),
                Err(refusal) => refusal.to_string(),
            };
            let path = path.to_owned();
            return Err(Error::Refused { path, reason });
        }
    }

    /// A read that ended over another connection than it began with may have seen another tree.
    async fn read<'a, T>(
        &self,
        path: &str,
        ask: impl Fn() -> Answer<'a, T> + Send,
    ) -> Result<T, Error> {
        loop {
            let connection = self.ensure(path).await?;
            let answer = ask().await;
            if answer.is_err() || self.connection() == Some(connection) {
                return answer;
            }
        }
    }
}

impl Store for Belonging {
    fn get<'a>(&'a self, path: &'a str, watch: Option<Listener>) -> Answer<'a, Option<Node>> {
        Box::pin(self.read(path, move || self.inner.get(path, watch.clone())))
    }

    fn exists<'a>(&'a self, path: &'a str, watch: Option<Listener>) -> Answer<'a, Option<Stat>> {
        Box::pin(self.read(path, move || self.inner.exists(path, watch.clone())))
    }

    fn list<'a>(
        &'a self,
        path: &'a str,
        watch: Option<Listener>,
    ) -> Answer<'a, Option<Vec<String>>> {
        Box::pin(self.read(path, move || self.inner.list(path, watch.clone())))
    }

    fn get_many(
        &self,
        paths: Vec<String>,
        watch: Option<Listener>,
    ) -> Answer<'_, Vec<Option<Node>>> {
        Box::pin(async move {
            let first = paths.first().cloned().unwrap_or_default();
            let ask = || self.inner.get_many(paths.clone(), watch.clone());
            self.read(&first, ask).await
        })
    }

    fn create<'a>(&'a self, path: &'a str, data: &'a [u8], kind: Kind) -> Answer<'a, Created> {
        Box::pin(async move {
            self.ensure(path).await?;
            self.inner.create(path, data, kind).await
        })
    }

    fn set<'a>(&'a self, path: &'a str, data: &'a [u8], version: i32) -> Answer<'a, Stat> {
        Box::pin(async move {
            self.ensure(path).await?;
            self.inner.set(path, data, version).await
        })
    }

    fn delete<'a>(&'a self, path: &'a str, version: i32) -> Answer<'a, ()> {
        Box::pin(async move {
            self.ensure(path).await?;
            self.inner.delete(path, version).await
        })
    }

    fn multi(&self, ops: Vec<Op>) -> Answer<'_, Vec<Done>> {
        Box::pin(async move {
            self.ensure(ops.first().map_or("", Op::path)).await?;
            self.inner.multi(ops).await
        })
    }

    fn fits(&self, ops: &[Op]) -> Result<(), Error> {
        self.inner.fits(ops)
    }

    fn multi_all(&self, batches: Vec<Vec<Op>>) -> Answer<'_, Vec<Result<Vec<Done>, Error>>> {
        Box::pin(async move {
            let first = batches.first().and_then(|ops| ops.first());
            self.ensure(first.map_or("", Op::path)).await?;
            self.inner.multi_all(batches).await
        })
    }

    fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }
}

#[cfg(test)]
mod tests {
    use base::clock::Clock;

    use super::*;
    use crate::bodies::cluster;
    use crate::memory::World;
    use crate::paths;
    use crate::store::ANY;

    #[tokio::test]
    async fn a_tree_that_turned_into_another_clusters_is_neither_read_nor_written() {
        let world = World::new(Clock::by_hand(1));
        let (admin, broker) = (world.connect(), world.connect());
        registration::cluster_id(&admin, Some("ours"))
            .await
            .unwrap();
        let session = broker.session();
        let store = Belonging::new(Arc::new(broker), "ours".into());
        store.create("/a", b"1", Kind::Persistent).await.unwrap();
        for other in [Some("theirs"), None] {
            world.cut(session);
            match other {
                Some(id) => {
                    let body = cluster::encode(id);
                    let set = admin.set(paths::CLUSTER_ID, body.as_bytes(), ANY);
                    set.await.unwrap();
                }
                None => admin.delete(paths::CLUSTER_ID, ANY).await.unwrap(),
            }
            world.rejoin(session);
            for path in ["/a", "/never"] {
                let read = store.get(path, None).await;
                assert!(matches!(read, Err(Error::Refused { .. })), "{read:?}");
            }
            let written = store.create("/b", b"", Kind::Persistent).await;
            assert!(matches!(written, Err(Error::Refused { .. })), "{written:?}");
            let set = store.multi(vec![Op::set("/a", "2", ANY)]).await;
            assert!(matches!(set, Err(Error::Refused { .. })), "{set:?}");
        }
        assert_eq!(admin.get("/b", None).await.unwrap(), None);
        // Brought back by hand, without a new connection.
        registration::cluster_id(&admin, Some("ours"))
            .await
            .unwrap();
        assert_eq!(store.get("/a", None).await.unwrap().unwrap().data, b"1");
    }
}
