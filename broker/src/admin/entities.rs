//! Overrides of an entity below `/config`: read, written, and told to all brokers.
//!
//! Kafka: `AdminZkClient.changeEntityConfig`. A write is a transaction that also checks
//! `/controller`, so that nothing is written in the moment a KRaft controller takes over. The last
//! writer wins. After every write a notice goes to `/config/changes`.

use std::sync::Arc;

use settings::layers::Texts;
use znodes::bodies::config::{Overrides, encode_notice};
use znodes::paths;
use znodes::session::create_missing;
use znodes::store::{ANY, Error, Kind, Op, Store, create_with_parents};

/// What `<default>` stands for in a path: everybody without a node of his own.
pub const DEFAULT: &str = "<default>";

/// Why overrides were not read or not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nobody is controller right now, or somebody else has just become it.
    #[error("Cannot set entity configs for {0} when there is no controller.")]
    NoController(String),
    /// A name that ZooKeeper takes for no part of a path.
    #[error("{0}")]
    NoPath(String),
    #[error("read {0}: its content is not what Kafka writes")]
    Unreadable(String),
    #[error(transparent)]
    Store(#[from] Error),
}

/// The overrides of `entity` (`topics/t`, `users/alice/clients/app`); none where there is no node.
pub async fn read(store: &dyn Store, entity: &str) -> Result<Overrides, Failure> {
    let path = paths::entity_config(entity);
    if let Some(fault) = paths::fault(&path) {
        return Err(Failure::NoPath(fault));
    }
    match store.get(&path, None).await? {
        None => Ok(Overrides::default()),
        Some(node) => Overrides::decode(&node.data).map_err(|_| Failure::Unreadable(path)),
    }
}

/// Every entity directly below `folder` (`topics`, `users`) with its overrides. An entity whose
/// node cannot be read is left out and told in the log.
pub async fn read_all(
    store: &dyn Store,
    folder: &str,
) -> Result<Vec<(String, Overrides)>, Failure> {
    let path = paths::entity_config(folder);
    let mut names = store.list(&path, None).await?.unwrap_or_default();
    names.sort();
    let nodes = store.get_many(
        names.iter().map(|name| format!("{path}/{name}")).collect(),
        None,
    );
    let mut found = Vec::new();
    for (name, node) in names.into_iter().zip(nodes.await?) {
        let Some(node) = node else { continue };
        match Overrides::decode(&node.data) {
            Ok(overrides) => found.push((name, overrides)),
            Err(error) => {
                tracing::error!(path = %format!("{path}/{name}"), %error, "read overrides: left out");
            }
        }
    }
    Ok(found)
}

/// Writes the whole set of overrides and tells all brokers.
pub async fn write(store: &dyn Store, entity: &str, overrides: &Overrides) -> Result<(), Failure> {
    let tidy = ["clients/", "users/", "ips/"]
        .iter()
        .any(|kind| entity.starts_with(kind));
    if !(tidy && overrides.is_empty() && clean(store, entity).await?) {
        set_or_create(store, entity, overrides.encode().as_bytes()).await?;
    }
    notify(store, entity).await
}

/// As [`write`]; with `check_only` it is only asked whether ZooKeeper would take them.
pub async fn alter(
    store: &dyn Store,
    entity: &str,
    overrides: &Overrides,
    check_only: bool,
) -> Result<(), Failure> {
    if check_only {
        let path = paths::entity_config(entity);
        return Ok(store.fits(&[Op::set(path, overrides.encode(), ANY)])?);
    }
    write(store, entity, overrides).await
}

async fn set_or_create(store: &dyn Store, entity: &str, body: &[u8]) -> Result<(), Failure> {
    let path = paths::entity_config(entity);
    let controller = store
        .exists(paths::CONTROLLER, None)
        .await?
        .ok_or_else(|| Failure::NoController(entity.replacen('/', " ", 1)))?;
    loop {
        let ops = vec![
            Op::check(paths::CONTROLLER, controller.version),
            Op::set(path.as_str(), body, ANY),
        ];
        match store.multi(ops).await {
            Ok(_) => return Ok(()),
            // The step tells them apart: `/controller` is the first.
            Err(error) if error.step() == Some(0) => {
                return Err(Failure::NoController(entity.replacen('/', " ", 1)));
            }
            Err(error) if error.is_no_node() => {}
            // Writing the same once more changes nothing.
            Err(Error::Unknown { .. }) => continue,
            Err(error) => return Err(error.into()),
        }
        match create_with_parents(store, &path, body).await {
            Ok(_) => return Ok(()),
            Err(Error::NodeExists { .. } | Error::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn notify(store: &dyn Store, entity: &str) -> Result<(), Failure> {
    create_missing(store, paths::CONFIG_CHANGES).await?;
    let path = format!("{}/{}", paths::CONFIG_CHANGES, paths::CONFIG_CHANGE_PREFIX);
    loop {
        match store
            .create(
                &path,
                encode_notice(entity).as_bytes(),
                Kind::PersistentSequential,
            )
            .await
        {
            Ok(_) => return Ok(()),
            // One notice too many only makes everybody read once more.
            Err(Error::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Takes away the node of an entity without overrides and without children, and the folders
/// above it that this leaves empty. Says whether it did.
///
/// Kafka: `AdminZkClient.tryCleanQuotaNodes`.
async fn clean(store: &dyn Store, entity: &str) -> Result<bool, Failure> {
    let path = paths::entity_config(entity);
    let children = |path: String| async move {
        Ok::<_, Failure>(store.list(&path, None).await?.unwrap_or_default())
    };
    if !children(path.clone()).await?.is_empty() {
        return Ok(false);
    }
    let mut doomed = vec![path];
    if let Some((user, client)) = entity.split_once("/clients/") {
        let clients = format!("{user}/clients");
        if children(paths::entity_config(&clients)).await? == [client] {
            doomed.push(paths::entity_config(&clients));
            let alone = children(paths::entity_config(user)).await? == ["clients"];
            if alone && read(store, user).await?.is_empty() {
                doomed.push(paths::entity_config(user));
            }
        }
    }
    for path in doomed {
        match store.delete(&path, ANY).await {
            Ok(()) | Err(Error::NoNode { .. } | Error::Unknown { .. }) => {}
            // Somebody was quicker and put something there: it stays.
            Err(Error::NotEmpty { .. }) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// Overrides as the settings' crate has them.
pub fn texts(overrides: &Overrides) -> Texts {
    overrides
        .iter()
        .map(|(key, text)| (key.to_owned(), text.to_owned()))
        .collect()
}

/// A store as the rooms hold it.
pub type SharedStore = Arc<dyn Store>;
