//! Winning the controllership, and losing it.
//!
//! Whoever creates `/controller` and raises `/controller_epoch` in one transaction has won; the
//! version the epoch's node then has is the fence around every later write.

use tracing::info;
use znodes::bodies::controller::{self, Controller};
use znodes::fence::Fence;
use znodes::paths;
use znodes::store::{Error, Kind, Listener, Op, Store, get_watched};

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Won {
        epoch: i32,
        fence: Fence,
    },
    /// Somebody else is controller, or nobody knows yet.
    Lost,
}

/// Whom `/controller` names. As long as it is there, nobody may try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    Broker(i32),
    /// The node's access list keeps it from this broker.
    Forbidden,
    /// It says nothing that could be understood.
    Garbled,
}

impl Holder {
    pub(crate) fn id(self) -> Option<i32> {
        match self {
            Holder::Broker(id) => Some(id),
            Holder::Forbidden | Holder::Garbled => None,
        }
    }

    pub(crate) fn is_hidden(self) -> bool {
        self.id().is_none()
    }
}

/// Who is controller now; watches for a change.
pub(crate) async fn current(
    store: &dyn Store,
    listener: &Listener,
) -> Result<Option<Holder>, Error> {
    let node = match get_watched(store, paths::CONTROLLER, listener).await {
        // Whether the node is there, and so a watch of it, is kept from us by newer ZooKeepers only.
        Err(Error::NoAuth { .. }) => {
            let there = store.exists(paths::CONTROLLER, Some(listener.clone()));
            return match there.await {
                Err(Error::NoAuth { .. }) => Ok(Some(Holder::Forbidden)),
                there => Ok(there?.map(|_| Holder::Forbidden)),
            };
        }
        read => read?,
    };
    Ok(node.map(|node| match Controller::decode(&node.data) {
        Ok(held) => Holder::Broker(held.broker),
        Err(_) => Holder::Garbled,
    }))
}

/// Tries once. Kafka: `registerControllerAndIncrementControllerEpoch`.
pub(crate) async fn attempt(store: &dyn Store, me: i32, now_ms: i64) -> Result<Outcome, Error> {
    let (epoch, version) = read_or_create_epoch(store).await?;
    let next = epoch.saturating_add(1);
    let body = Controller {
        broker: me,
        timestamp: now_ms,
        kraft_epoch: -1,
    };
    let ops = vec![
        Op::Create {
            path: paths::CONTROLLER.to_owned(),
            data: body.encode().into_bytes(),
            kind: Kind::Ephemeral,
        },
        Op::set(paths::CONTROLLER_EPOCH, next.to_string(), version),
    ];
    match store.multi(ops).await {
        Ok(done) => {
            let stat = done.last().and_then(znodes::store::Done::stat);
            let version = stat.map_or(version.saturating_add(1), |stat| stat.version);
            info!(epoch = next, "elected controller");
            Ok(Outcome::Won {
                epoch: next,
                fence: Fence(version),
            })
        }
        Err(error @ Error::SessionEnded) => Err(error),
        // Nobody was quicker: trying again at once would be refused again.
        Err(error) if !is_race(&error) => Err(error),
        // A reply may have been lost: it was our own success if all is as we tried to write it.
        Err(_) => {
            let held = store.get(paths::CONTROLLER, None).await?;
            let mine = held.is_some_and(|node| {
                let session = store.state().borrow().session();
                node.stat.ephemeral_owner == session
                    && Controller::decode(&node.data).is_ok_and(|held| held.broker == me)
            });
            let (epoch, version) = read_or_create_epoch(store).await?;
            if mine && epoch == next {
                return Ok(Outcome::Won {
                    epoch,
                    fence: Fence(version),
                });
            }
            Ok(Outcome::Lost)
        }
    }
}

/// Somebody else may have won, or the answer may have been lost.
fn is_race(error: &Error) -> bool {
    let unknown = matches!(error, Error::Unknown { .. });
    unknown || error.is_node_exists() || error.is_bad_version() || error.is_no_node()
}

/// Gives the controllership up, if it is still ours.
pub(crate) async fn resign(store: &dyn Store, fence: Fence) {
    let ops = vec![Op::delete(paths::CONTROLLER, znodes::store::ANY)];
    if let Err(error) = fence.write(store, ops).await {
        info!(%error, "controllership was gone already");
    }
}

async fn read_or_create_epoch(store: &dyn Store) -> Result<(i32, i32), Error> {
    loop {
        if let Some(node) = store.get(paths::CONTROLLER_EPOCH, None).await? {
            let epoch = controller::decode_epoch(&node.data).map_err(|error| Error::Refused {
                path: paths::CONTROLLER_EPOCH.to_owned(),
                reason: error.to_string(),
            })?;
            return Ok((epoch, node.stat.version));
        }
        match store
            .create(paths::CONTROLLER_EPOCH, b"0", Kind::Persistent)
            .await
        {
            Ok(created) => return Ok((0, created.stat.version)),
            Err(Error::NodeExists { .. } | Error::Unknown { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}
