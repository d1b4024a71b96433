//! Reading and writing the nodes several of the old commands share.

use std::collections::BTreeMap;

use znodes::bodies::config::{Overrides, encode_notice};
use znodes::bodies::topic::Topic;
use znodes::paths;
use znodes::store::{Kind, Store, set_or_create};

use crate::failure::Failure;
use crate::java;

/// A body nobody can read, told with its path.
pub(crate) fn unreadable(path: &str, cause: &znodes::bodies::BodyError) -> Failure {
    Failure::said(format!("read {path}: {cause}"))
}

pub(crate) async fn topic(zk: &dyn Store, name: &str) -> Result<Option<Topic>, Failure> {
    let path = paths::topic(name);
    let Some(node) = zk.get(&path, None).await? else {
        return Ok(None);
    };
    let topic = Topic::decode(&node.data).map_err(|cause| unreadable(&path, &cause))?;
    Ok(Some(topic))
}

/// The overrides of an entity such as `topics/t`, in the order in which Java's properties give
/// them out.
pub(crate) async fn overrides(zk: &dyn Store, entity: &str) -> Result<Overrides, Failure> {
    let path = paths::entity_config(entity);
    let Some(node) = zk.get(&path, None).await? else {
        return Ok(Overrides::default());
    };
    let read = Overrides::decode(&node.data).map_err(|cause| unreadable(&path, &cause))?;
    Ok(as_java(&read))
}

/// Kafka: `Properties` is a hash map, so its pairs come in the order of their hashes.
fn as_java(overrides: &Overrides) -> Overrides {
    let pairs: Vec<(&str, &str)> = overrides.iter().collect();
    java::order(pairs, java::CAPACITY, |(key, _)| java::string_hash(key))
        .into_iter()
        .collect()
}

/// The overrides as `settings` checks them.
pub(crate) fn texts(overrides: &Overrides) -> BTreeMap<String, String> {
    let pairs = overrides.iter();
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Writes all of an entity's overrides. Kafka: `setOrCreateEntityConfigs`.
pub(crate) async fn write_overrides(
    zk: &dyn Store,
    entity: &str,
    overrides: &Overrides,
) -> Result<(), Failure> {
    let body = as_java(overrides).encode();
    let path = paths::entity_config(entity);
    Ok(set_or_create(zk, &path, body.as_bytes()).await?)
}

/// The same, and every broker is told.
pub(crate) async fn change_overrides(
    zk: &dyn Store,
    entity: &str,
    overrides: &Overrides,
) -> Result<(), Failure> {
    write_overrides(zk, entity, overrides).await?;
    znodes::session::create_missing(zk, paths::CONFIG_CHANGES).await?;
    let prefix = format!("{}/{}", paths::CONFIG_CHANGES, paths::CONFIG_CHANGE_PREFIX);
    let notice = encode_notice(entity);
    zk.create(&prefix, notice.as_bytes(), Kind::PersistentSequential)
        .await?;
    Ok(())
}
