//! Writes that fail once a newer controller exists.
//!
//! Every write of a controller is a transaction whose first step checks the version that
//! `/controller_epoch` had when it won. Kafka: `wrapRequestWithControllerEpochCheck`.

use crate::paths;
use crate::store::{Done, Error, Op, Store};

/// A transaction may not come near ZooKeeper's limit for one request (1 MiB by default).
pub const BYTES_PER_BATCH: usize = 512 * 1024;
/// Keeps the answer to one transaction small, too.
pub const OPS_PER_BATCH: usize = 4_000;

/// The right to write as controller: the version of `/controller_epoch` at election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence(pub i32);

/// Why a fenced write was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fenced {
    /// Another controller has been elected since.
    #[error("the controller moved to another broker")]
    Moved,
    #[error(transparent)]
    Store(#[from] Error),
}

impl Fence {
    /// All steps or none, and only while no newer controller exists. Steps are counted from the
    /// first of `ops`.
    pub async fn write(self, store: &dyn Store, ops: Vec<Op>) -> Result<Vec<Done>, Fenced> {
        let outcome = store.multi(self.guard(ops)).await;
        unguard(outcome)
    }

    /// Many transactions in order, each guarded; the first that tells of a newer controller ends
    /// it all.
    pub async fn write_all(
        self,
        store: &dyn Store,
        batches: Vec<Vec<Op>>,
    ) -> Result<Vec<Result<Vec<Done>, Error>>, Fenced> {
        let batches = batches.into_iter().map(|ops| self.guard(ops)).collect();
        let mut outcomes = Vec::new();
        for outcome in store.multi_all(batches).await? {
            outcomes.push(match unguard(outcome) {
                Ok(done) => Ok(done),
                Err(Fenced::Store(error)) => Err(error),
                Err(Fenced::Moved) => return Err(Fenced::Moved),
            });
        }
        Ok(outcomes)
    }

    fn guard(self, mut ops: Vec<Op>) -> Vec<Op> {
        ops.insert(0, Op::check(paths::CONTROLLER_EPOCH, self.0));
        ops
    }
}

fn unguard(outcome: Result<Vec<Done>, Error>) -> Result<Vec<Done>, Fenced> {
    match outcome {
        Ok(mut done) => {
            if !done.is_empty() {
                done.remove(0);
            }
            Ok(done)
        }
        Err(Error::Step { index: 0, .. }) => Err(Fenced::Moved),
        Err(Error::Step { index, cause }) => Err(Error::Step {
            index: index - 1,
            cause,
        }
        .into()),
        Err(error) => Err(error.into()),
    }
}

/// Packs groups of steps that belong together into as few transactions as their sizes allow.
pub fn pack(groups: impl IntoIterator<Item = Vec<Op>>) -> Vec<Vec<Op>> {
    let mut batches: Vec<Vec<Op>> = Vec::new();
    let mut size = 0;
    for group in groups {
        let more: usize = group.iter().map(Op::size).sum();
        match batches.last_mut() {
            Some(last)
                if size + more <= BYTES_PER_BATCH && last.len() + group.len() <= OPS_PER_BATCH =>
            {
                size += more;
                last.extend(group);
            }
            _ => {
                size = more;
                batches.push(group);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use base::clock::Clock;

    use super::*;
    use crate::memory::World;
    use crate::store::Kind;

    #[tokio::test]
    async fn a_fenced_controller_writes_nothing() {
        let store = World::new(Clock::by_hand(1)).connect();
        store
            .create(paths::CONTROLLER_EPOCH, b"0", Kind::Persistent)
            .await
            .unwrap();
        let fence = Fence(0);
        fence
            .write(&store, vec![Op::create("/a", "x")])
            .await
            .unwrap();
        store.set(paths::CONTROLLER_EPOCH, b"1", 0).await.unwrap();
        let refused = fence.write(&store, vec![Op::create("/b", "x")]).await;
        assert_eq!(refused, Err(Fenced::Moved));
        assert!(store.get("/b", None).await.unwrap().is_none());
    }

    #[test]
    fn packs_stay_below_the_limit_of_one_request() {
        let groups =
            (0..10_000).map(|number| vec![Op::create(format!("/p/{number}"), vec![0; 200])]);
        let batches = pack(groups);
        assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 10_000);
        assert!(
            batches
                .iter()
                .all(|batch| batch.iter().map(Op::size).sum::<usize>() <= BYTES_PER_BATCH)
        );
        assert!(batches.len() < 10);
    }
}
