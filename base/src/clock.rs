//! Time, handed in: the machine's clock, or one that a test moves by hand.
//!
//! Two times are kept apart. *Monotonic* milliseconds measure waiting (sessions, timeouts); they
//! never go back. *Wall* milliseconds are what records and znodes carry; an operator may set them
//! to anything at any moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

/// A cheap handle on a clock. Clones tell the same time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    System {
        start: Instant,
    },
    Hand {
        monotonic: AtomicI64,
        wall: AtomicI64,
        moved: Notify,
    },
}

impl Clock {
    /// The machine's own clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the replacement the lint points to"
    )]
    pub fn system() -> Self {
        Clock(Arc::new(Kind::System {
            start: Instant::now(),
        }))
    }

    /// A clock that stands still at `wall_ms` until [`Clock::advance`] moves it.
    pub fn by_hand(wall_ms: i64) -> Self {
        Clock(Arc::new(Kind::Hand {
            monotonic: AtomicI64::new(0),
            wall: AtomicI64::new(wall_ms),
            moved: Notify::new(),
        }))
    }

    /// Monotonic milliseconds since this clock was made.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the replacement the lint points to"
    )]
    pub fn monotonic_ms(&self) -> i64 {
        match &*self.0 {
            Kind::System { start } => {
                i64::try_from(Instant::now().duration_since(*start).as_millis()).unwrap_or(i64::MAX)
            }
            Kind::Hand { monotonic, .. } => monotonic.load(Ordering::Acquire),
        }
    }

    /// Monotonic microseconds since this clock was made; for measuring, not for deciding.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the replacement the lint points to"
    )]
    pub fn monotonic_us(&self) -> i64 {
        match &*self.0 {
            Kind::System { start } => {
                i64::try_from(Instant::now().duration_since(*start).as_micros()).unwrap_or(i64::MAX)
            }
            Kind::Hand { monotonic, .. } => monotonic.load(Ordering::Acquire).saturating_mul(1000),
        }
    }

    /// Milliseconds since 1970 as the machine believes them to be.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the replacement the lint points to"
    )]
    pub fn wall_ms(&self) -> i64 {
        match &*self.0 {
            Kind::System { .. } => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
                Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
            },
            Kind::Hand { wall, .. } => wall.load(Ordering::Acquire),
        }
    }

    /// Waits `ms` milliseconds of monotonic time. Dropping the future early is safe.
    pub async fn sleep_ms(&self, ms: i64) {
        let ms = ms.max(0);
        match &*self.0 {
            Kind::System { .. } => {
                tokio::time::sleep(Duration::from_millis(ms.cast_unsigned())).await
            }
            Kind::Hand {
                monotonic, moved, ..
            } => {
                let until = monotonic.load(Ordering::Acquire).saturating_add(ms);
                loop {
                    let woken = moved.notified();
                    tokio::pin!(woken);
                    woken.as_mut().enable();
                    if monotonic.load(Ordering::Acquire) >= until {
                        return;
                    }
                    woken.await;
                }
            }
        }
    }

    /// Moves a hand-driven clock forward, both times together, and wakes its sleepers.
    ///
    /// # Panics
    /// On the machine's clock: nobody moves that from here.
    pub fn advance(&self, ms: i64) {
        match &*self.0 {
            Kind::System { .. } => panic!("the machine's clock is not moved by hand"),
            Kind::Hand {
                monotonic,
                wall,
                moved,
            } => {
                monotonic.fetch_add(ms, Ordering::AcqRel);
                wall.fetch_add(ms, Ordering::AcqRel);
                moved.notify_waiters();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_wakes_when_the_hand_has_passed_its_time() {
        let clock = Clock::by_hand(1_000);
        let sleeper = clock.clone();
        let asleep = async move { sleeper.sleep_ms(50).await };
        tokio::pin!(asleep);
        tokio::select! { biased; () = &mut asleep => panic!("woke early"), () = std::future::ready(()) => {} }
        clock.advance(49);
        tokio::select! { biased; () = &mut asleep => panic!("woke early"), () = std::future::ready(()) => {} }
        clock.advance(1);
        asleep.await;
        assert_eq!((clock.monotonic_ms(), clock.wall_ms()), (50, 1_050));
    }
}
