//! A directory fails, or a replica's bytes turn out to be damaged: replicas go offline at once, whoever
//! waits on them is told, and so is whoever tells the controller.

use std::path::Path;
use std::sync::Arc;

use protocol::ids::TopicPartition;
use storage::directory::Lost;
use tracing::error;

use crate::error::Refusal;
use crate::replicas::Replicas;
use crate::waiting::Wakes;

impl Replicas {
    /// Hears of losses from the store, from now on.
    pub fn watch_store(self: &Arc<Self>) {
        let replicas = Arc::downgrade(self);
        self.store().on_loss(Box::new(move |lost| {
            let Some(replicas) = replicas.upgrade() else {
                return;
            };
            match lost {
                Lost::Directory(path) => replicas.note_directory_failed(path),
                Lost::Replica(id) => replicas.note_replica_damaged(id),
            }
        }));
    }

    fn note_replica_damaged(&self, id: &TopicPartition) {
        // The partition's own lock may be held by whoever met the damage: a move that takes over.
        let is_damaged = self.store().log(id).is_some_and(|log| log.is_damaged());
        let Some(partition) = self.find(id).online().filter(|_| is_damaged) else {
            return;
        };
        if !self.replace_by_offline(&partition) {
            return;
        }
        partition.leave(Refusal::DirectoryOffline).fire();
        self.losses.send_modify(|losses| *losses += 1);
    }

    fn note_directory_failed(&self, directory: &Path) {
        let mut wakes = Wakes::none();
        let mut count = 0_usize;
        for partition in self.all() {
            // The lane tells where a log lies without waiting for the log's own lock.
            if partition.lane().path() == directory {
                self.set_offline(partition.id());
                wakes.add(partition.leave(Refusal::DirectoryOffline));
                count += 1;
            }
        }
        for (id, future) in self.moves.all() {
            if future.directory() == directory
                && let Some(moving) = self.find(&id).online()
            {
                wakes.add(moving.discount_future());
            }
        }
        wakes.fire();
        self.moves.wake();
        error!(directory = %directory.display(), replicas = count, "log directory is offline");
        self.failed
            .send_modify(|failed| failed.push(directory.to_path_buf()));
        self.losses.send_modify(|losses| *losses += 1);
    }
}
