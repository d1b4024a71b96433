//! A directory fails: its replicas go offline at once, whoever waits on them is told, and so is
//! whoever tells the controller.

use std::path::Path;
use std::sync::Arc;

use tracing::error;

use crate::error::Refusal;
use crate::replicas::Replicas;
use crate::waiting::Wakes;

impl Replicas {
    /// Hears of failures from the store, from now on.
    pub fn watch_directories(self: &Arc<Self>) {
        let replicas = Arc::downgrade(self);
        self.store().on_failure(Box::new(move |directory| {
            if let Some(replicas) = replicas.upgrade() {
                replicas.note_directory_failed(directory);
            }
        }));
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
    }
}
