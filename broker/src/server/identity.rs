//! Which cluster and broker the data directories belong to, and whether that fits what ZooKeeper
//! says. Nothing is ever deleted here: what does not fit is told, with the way on.

use std::path::{Path, PathBuf};

use base::disk::Disk;
use protocol::ids::BrokerId;
use storage::identity::Identity;
use znodes::registration;
use znodes::store::Store;

use crate::config::parts;
use crate::server::error::StartError;

/// Who this broker is, agreed between settings, directories and ZooKeeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) broker: BrokerId,
    pub(crate) cluster_id: String,
}

/// What the directories say, read before ZooKeeper is asked.
#[derive(Debug, Default)]
pub(crate) struct Found {
    by_directory: Vec<(PathBuf, Option<Identity>)>,
}

impl Found {
    pub(crate) fn read(disk: &dyn Disk, directories: &[PathBuf]) -> Result<Self, StartError> {
        let mut by_directory = Vec::with_capacity(directories.len());
        for directory in directories {
            by_directory.push((directory.clone(), Identity::read(disk, directory)?));
        }
        Ok(Found { by_directory })
    }

    /// The one value all directories that have any agree on.
    fn agreed<T: PartialEq + Clone + ToString>(
        &self,
        what: &'static str,
        of: impl Fn(&Identity) -> Option<T>,
    ) -> Result<Option<(T, &Path)>, StartError> {
        let mut first: Option<(T, &Path)> = None;
        for (directory, identity) in &self.by_directory {
            let Some(value) = identity.as_ref().and_then(&of) else {
                continue;
            };
            match &first {
                None => first = Some((value, directory)),
                Some((earlier, at)) if *earlier != value => {
                    return Err(StartError::DirectoriesDisagree {
                        what,
                        one: format!("{} in {}", earlier.to_string(), at.display()),
                        other: format!("{} in {}", value.to_string(), directory.display()),
                    });
                }
                Some(_) => {}
            }
        }
        Ok(first)
    }

    /// Settles cluster and broker id, asking ZooKeeper for what nobody has said yet.
    pub(crate) async fn agree(
        &self,
        store: &dyn Store,
        wanted: &parts::Identity,
    ) -> Result<Agreed, StartError> {
        let cluster_id = self.agree_on_cluster(store, wanted).await?;
        let kept = self.agreed("broker.id", |identity| identity.broker_id)?;
        let broker = match (wanted.broker_id, kept) {
            (Some(BrokerId(id)), Some((kept, directory))) if id != kept => {
                return Err(StartError::OtherBroker {
                    configured: id,
                    kept,
                    directory: directory.into(),
                });
            }
            (Some(id), _) => id,
            (None, Some((kept, _))) => BrokerId(kept),
            (None, None) => {
                BrokerId(registration::generate_broker_id(store, wanted.reserved_max).await?)
            }
        };
        Ok(Agreed { broker, cluster_id })
    }

    async fn agree_on_cluster(
        &self,
        store: &dyn Store,
        wanted: &parts::Identity,
    ) -> Result<String, StartError> {
        let kept = self.agreed("cluster.id", |identity| identity.cluster_id.clone())?;
        let known = registration::known_cluster_id(store).await?;
        match (kept, known) {
            (Some((kept, directory)), None) => Err(StartError::EmptyZooKeeper {
                cluster_id: kept,
                directory: directory.into(),
            }),
            (Some((kept, directory)), Some(known)) if kept != known => {
                Err(StartError::OtherCluster {
                    kept,
                    known,
                    directory: directory.into(),
                })
            }
            (_, Some(known)) => match &wanted.cluster_id {
                Some(asked) if *asked != known => Err(StartError::OtherClusterAsked {
                    asked: asked.clone(),
                    known,
                }),
                _ => Ok(known),
            },
            (None, None) => {
                Ok(registration::cluster_id(store, wanted.cluster_id.as_deref()).await?)
            }
        }
    }

    /// Completes every directory's file, where something was missing or different.
    pub(crate) fn complete(
        &self,
        disk: &dyn Disk,
        agreed: &Agreed,
        date: &str,
    ) -> Result<(), StartError> {
        for (directory, identity) in &self.by_directory {
            let mut complete = identity.clone().unwrap_or_default();
            complete.broker_id = Some(agreed.broker.0);
            complete.cluster_id = Some(agreed.cluster_id.clone());
            if identity.as_ref() != Some(&complete) {
                complete.write(disk, directory, date)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::clock::Clock;
    use base::disk::SystemDisk;
    use znodes::memory::World;

    fn wanted(id: Option<i32>) -> parts::Identity {
        parts::Identity {
            broker_id: id.map(BrokerId),
            reserved_max: 1000,
            rack: None,
            cluster_id: None,
            protocol_version: "3.9".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_directory_keeps_its_ids_and_refuses_another_or_an_empty_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let directories = [dir.path().to_path_buf()];
        let cluster = World::new(Clock::by_hand(0));
        let store = cluster.connect();
        let found = Found::read(&SystemDisk, &directories).unwrap();
        let agreed = found.agree(&store, &wanted(None)).await.unwrap();
        assert_eq!(agreed.broker, BrokerId(1001));
        found.complete(&SystemDisk, &agreed, "today").unwrap();

        let found = Found::read(&SystemDisk, &directories).unwrap();
        assert_eq!(found.agree(&store, &wanted(None)).await.unwrap(), agreed);
        assert!(matches!(
            found.agree(&store, &wanted(Some(7))).await,
            Err(StartError::OtherBroker {
                configured: 7,
                kept: 1001,
                ..
            })
        ));
        let empty = World::new(Clock::by_hand(0));
        assert!(matches!(
            found.agree(&empty.connect(), &wanted(None)).await,
            Err(StartError::EmptyZooKeeper { .. })
        ));
        let other = World::new(Clock::by_hand(0));
        registration::cluster_id(&other.connect(), Some("another"))
            .await
            .unwrap();
        assert!(matches!(
            found.agree(&other.connect(), &wanted(None)).await,
            Err(StartError::OtherCluster { .. })
        ));
    }
}
