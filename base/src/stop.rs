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

    /// What comes, or nothing once stop was said, even if both are there at once.
    pub async fn unless_said<T>(&self, coming: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.stopped() => None,
            came = coming => Some(came),
        }
    }
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn what_comes_is_heard_until_stop_is_said_and_never_after() {
        let (stopper, stop) = super::pair();
        assert_eq!(stop.unless_said(async { 1 }).await, Some(1));
        stopper.stop();
        // By chance, each would be heard every other time.
        for _ in 0..64 {
            assert_eq!(stop.unless_said(async { 1 }).await, None);
        }
        let (stopper, stop) = super::pair();
        drop(stopper);
        assert_eq!(stop.unless_said(std::future::pending::<()>()).await, None);
    }
}
