//! Stopping: one word that every task hears, and can wait for.

use tokio::sync::watch;

/// Says stop. Dropping it says stop as well: what lost its owner ends.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

/// Hears stop. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

/// A fresh pair.
pub fn pair() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Another ear.
    pub fn listen(&self) -> Stop {
        Stop(self.0.subscribe())
    }
}

impl Stop {
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Returns once stop was said. Dropping the future early is safe.
    pub async fn stopped(&self) {
        let mut receiver = self.0.clone();
        // An error means that the stopper is gone, which says the same.
        let _gone = receiver.wait_for(|stopped| *stopped).await;
    }
}
