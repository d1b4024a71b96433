//! A broker makes itself known: cluster id, broker id, and its ephemeral node.
//!
//! The broker epoch is the czxid of the node. A node of the same id that is provably ours (made by
//! this process under an earlier session) is replaced; any other is waited out, never deleted.

use std::sync::Arc;

use base::chance;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use protocol::ids::BrokerEpoch;
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::bodies::broker::Broker;
use crate::bodies::cluster;
use crate::paths;
use crate::session::create_missing;
use crate::store::{
    ANY, Error, Event, Kind, Listener, Op, Store, create_with_parents, get_watched,
};

/// Why a broker may not register.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "Configured end points {endpoint} in advertised listeners are already registered by broker {broker}"
    )]
    EndpointTaken { endpoint: String, broker: i32 },
    #[error("the node {path} cannot be read: {reason}")]
    Unreadable { path: String, reason: String },
    #[error(transparent)]
    Store(#[from] Error),
}

/// Reads the cluster's id; the first broker of all makes one up, or writes the one it was given.
pub async fn cluster_id(store: &dyn Store, given: Option<&str>) -> Result<String, Refusal> {
    loop {
        if let Some(id) = known_cluster_id(store).await? {
            return Ok(id);
        }
        let id = given.map_or_else(random_id, str::to_owned);
        match create_with_parents(store, paths::CLUSTER_ID, cluster::encode(&id).as_bytes()).await {
            Ok(_) => return Ok(id),
            Err(Error::NodeExists { .. } | Error::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn random_id() -> String {
    let mut bytes = [0; 16];
    chance::fill_from_kernel(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The cluster's id, if there is one yet. A data directory that names another one, or any where
/// this says none, belongs to a different or a lost ZooKeeper.
pub async fn known_cluster_id(store: &dyn Store) -> Result<Option<String>, Refusal> {
    match store.get(paths::CLUSTER_ID, None).await? {
        None => Ok(None),
        Some(node) => match cluster::decode(&node.data) {
            Ok(id) => Ok(Some(id)),
            Err(error) => Err(Refusal::Unreadable {
                path: paths::CLUSTER_ID.to_owned(),
                reason: error.to_string(),
            }),
        },
    }
}

/// A broker id nobody else has: above `reserved_max` (`reserved.broker.max.id`).
/// Kafka: `KafkaZkClient.generateBrokerSequenceId`, from the version of a node.
pub async fn generate_broker_id(store: &dyn Store, reserved_max: i32) -> Result<i32, Refusal> {
    loop {
        match store.set(paths::SEQUENCE_IDS, &[], ANY).await {
            Ok(stat) => return Ok(stat.version.saturating_add(reserved_max)),
            Err(Error::NoNode { .. }) => create_missing(store, paths::SEQUENCE_IDS).await?,
            // A number that is lost harms nobody.
            Err(Error::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Refuses where another broker says that it is reached at one of our addresses.
pub async fn check_endpoints(store: &dyn Store, id: i32, body: &Broker) -> Result<(), Refusal> {
    for (other, registered) in brokers(store).await? {
        if other == id {
            continue;
        }
        for mine in &body.endpoints {
            let clash = |theirs: &&crate::bodies::broker::Endpoint| {
                theirs.port == mine.port && theirs.host == mine.host
            };
            if registered.endpoints.iter().find(clash).is_some() {
                let endpoint = format!("{}:{}", mine.host, mine.port);
                return Err(Refusal::EndpointTaken {
                    endpoint,
                    broker: other,
                });
            }
        }
    }
    Ok(())
}

/// Every registered broker that can be read.
pub async fn brokers(store: &dyn Store) -> Result<Vec<(i32, Broker)>, Error> {
    let names = store.list(paths::IDS, None).await?.unwrap_or_default();
    let ids: Vec<i32> = names.iter().filter_map(|name| name.parse().ok()).collect();
    let nodes = store
        .get_many(ids.iter().map(|id| paths::broker(*id)).collect(), None)
        .await?;
    let read = ids
        .into_iter()
        .zip(nodes)
        .filter_map(|(id, node)| Some((id, Broker::decode(&node?.data).ok()?)));
    Ok(read.collect())
}

/// Makes the broker's node. `mine` are former sessions of this very process.
///
/// Waits for as long as the id is held by a session that is not ours.
pub async fn register(
    store: &dyn Store,
    id: i32,
    body: &Broker,
    mine: &[i64],
) -> Result<BrokerEpoch, Refusal> {
    let path = paths::broker(id);
    let data = body.encode().into_bytes();
    loop {
        let ops = vec![
            Op::Create {
                path: path.clone(),
                data: vec![],
                kind: Kind::Ephemeral,
            },
            Op::set(path.clone(), data.clone(), 0),
        ];
        match store.multi(ops).await {
            Ok(done) => {
                if let Some(stat) = done.first().and_then(crate::store::Done::stat) {
                    info!(broker = id, epoch = stat.czxid, "registered in ZooKeeper");
                    return Ok(BrokerEpoch(stat.czxid));
                }
            }
            Err(error) if error.is_node_exists() => {}
            Err(Error::Unknown { .. }) => {}
            Err(error) if error.is_no_node() => create_missing(store, paths::IDS).await?,
            Err(error) => return Err(error.into()),
        }
        let Some(node) = store.get(&path, None).await? else {
            continue;
        };
        let owner = node.stat.ephemeral_owner;
        let session = store.state().borrow().session();
        if owner == session {
            return Ok(BrokerEpoch(node.stat.czxid));
        }
        if mine.contains(&owner) {
            // Kafka: ZOOKEEPER-2985; the server may still believe in a session we have given up.
            match store.delete(&path, node.stat.version).await {
                Ok(())
                | Err(Error::NoNode { .. } | Error::BadVersion { .. } | Error::Unknown { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            continue;
        }
        let holder = Broker::decode(&node.data)
            .ok()
            .and_then(|held| held.endpoints.first().cloned());
        warn!(
            broker = id,
            session = format!("{owner:#x}"),
            at = holder.map(|at| format!("{}:{}", at.host, at.port)),
            "broker id is held by another ZooKeeper session; waiting for it to end. \
             A broker that died frees it when its session times out; a running one must be stopped"
        );
        wait_until_gone(store, &path).await?;
    }
}

/// Writes the node again, after a change of listeners; the epoch stays.
pub async fn update(store: &dyn Store, id: i32, body: &Broker) -> Result<(), Refusal> {
    match store
        .set(&paths::broker(id), body.encode().as_bytes(), ANY)
        .await
    {
        Ok(_) | Err(Error::Unknown { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn wait_until_gone(store: &dyn Store, path: &str) -> Result<(), Error> {
    let woken = Arc::new(Notify::new());
    let mut state = store.state();
    state.mark_unchanged();
    let wake = woken.clone();
    let listener = Listener::new(move |_event: Event| wake.notify_one());
    if get_watched(store, path, &listener).await?.is_none() {
        return Ok(());
    }
    tokio::select! {
        () = woken.notified() => {}
        // A watch dies with its session.
        _changed = state.changed() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use base::clock::Clock;

    use super::*;
    use crate::memory::{World, broker_body};
    use crate::session::create_base_nodes;

    #[tokio::test]
    async fn the_epoch_is_the_creation_and_the_data_has_version_one() {
        let store = World::new(Clock::by_hand(1)).connect();
        create_base_nodes(&store).await.unwrap();
        let epoch = register(&store, 1, &broker_body(9092), &[]).await.unwrap();
        let node = store.get("/brokers/ids/1", None).await.unwrap().unwrap();
        assert_eq!(
            (BrokerEpoch(node.stat.czxid), node.stat.version),
            (epoch, 1)
        );
        assert_eq!(
            register(&store, 1, &broker_body(9092), &[]).await.unwrap(),
            epoch
        );
        assert!(matches!(
            check_endpoints(&store, 2, &broker_body(9092)).await,
            Err(Refusal::EndpointTaken { broker: 1, .. })
        ));
        check_endpoints(&store, 1, &broker_body(9092))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_foreign_registration_is_waited_out_and_our_own_old_one_replaced() {
        let world = World::new(Clock::by_hand(1));
        let (old, new) = (world.connect(), world.connect());
        create_base_nodes(&old).await.unwrap();
        let first = register(&old, 1, &broker_body(1), &[]).await.unwrap();
        let mine = register(&new, 1, &broker_body(1), &[old.session()])
            .await
            .unwrap();
        assert!(mine > first);
        let third = world.connect();
        let second_body = broker_body(1);
        let waiting = register(&third, 1, &second_body, &[]);
        tokio::pin!(waiting);
        tokio::select! {
            biased;
            _done = &mut waiting => panic!("took a foreign registration over"),
            () = tokio::task::yield_now() => {}
        }
        world.expire(new.session());
        assert!(waiting.await.unwrap() > mine);
    }

    #[tokio::test]
    async fn ids_are_made_once_and_generated_upward() {
        let store = World::new(Clock::by_hand(1)).connect();
        create_base_nodes(&store).await.unwrap();
        let id = cluster_id(&store, None).await.unwrap();
        assert_eq!(
            (id.len(), cluster_id(&store, None).await.unwrap()),
            (22, id.clone())
        );
        assert_eq!(generate_broker_id(&store, 1000).await.unwrap(), 1001);
        assert_eq!(generate_broker_id(&store, 1000).await.unwrap(), 1002);
    }
}
